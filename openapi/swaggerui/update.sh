#!/usr/bin/env bash
# update.sh [VERSION] renews dist/ from the npm package swagger-ui-dist, by
# default with the newest 5.x, and records what it took in VERSION. Needs npm,
# which verifies the package's own checksum. Look at the page afterwards.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly files=(swagger-ui-bundle.js swagger-ui-bundle.js.LICENSE.txt swagger-ui.css
	favicon-16x16.png favicon-32x32.png LICENSE NOTICE)

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
npm pack --silent --pack-destination "$tmp" "swagger-ui-dist@${1:-5}" >/dev/null
tar -xzf "$tmp"/swagger-ui-dist-*.tgz -C "$tmp"
version=$(sed -n 's/.*"version": *"\([^"]*\)".*/\1/p' "$tmp/package/package.json")

rm -rf dist
mkdir dist
for f in "${files[@]}"; do
	install -m 0644 "$tmp/package/$f" "dist/$f"
done
{
	echo "swagger-ui-dist $version"
	(cd dist && LC_ALL=C sha256sum -- *)
} >VERSION
# The page asks for its files by version, so that browsers may keep them.
sed -i "s/?v=[^\"]*/?v=$version/" index.html
echo "swagger-ui-dist $version"
