#!/usr/bin/env bash
# generate.sh LANGUAGE... makes the clients of the OpenAPI document anew. Each
# language has a directory here, a function below that pins its generator and
# says with which options it runs, and a README that begins with lines that work.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Generators that cannot read 3.1 as well read this.
readonly document=openapi/openapi-3.0.yaml

# oapi-codegen is pinned by tools/oapi-codegen.mod.
generate_go() {
	CGO_ENABLED=0 go tool -modfile=tools/oapi-codegen.mod oapi-codegen \
		-config openapi/clients/go/oapi-codegen.yaml "$document"
	go test ./openapi/clients/go -run '^TestSum$' -count=1 -args -write >/dev/null
}

for language in "$@"; do
	declare -F "generate_$language" >/dev/null || { echo "generate.sh: no client for $language" >&2; exit 2; }
	"generate_$language"
done
