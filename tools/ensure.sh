#!/usr/bin/env bash
# ensure.sh NEED... sees to what the tests start besides Go's own tools:
#
#   postgres  programs of PostgreSQL 14 or newer
#   venv      a python3 that can make virtual environments
#   cc        a C compiler, for the race detector
#   nginx     nginx, which the bench compares with
#   chromium  Chromium, for the tests that use pages as people do
#   node      Node.js 20 or newer with npm, for the linters of the document
#   clients   node, a JDK 17 or newer, and Maven, for the generated clients
#
# What is there is used as it is. What is missing is installed where we are
# root on a machine with apt-get; elsewhere one sentence says what to do.
set -euo pipefail

readonly oldest_postgres=14 oldest_node=20 oldest_java=17

installable() { [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; }

install_packages() {
	echo "ensure.sh: installing $*"
	export DEBIAN_FRONTEND=noninteractive
	{ apt-get update -q && apt-get install -qy --no-install-recommends "$@"; } >/dev/null
}

has_postgres() {
	local program
	for program in "$(command -v postgres || true)" /usr/lib/postgresql/*/bin/postgres \
		/usr/pgsql-*/bin/postgres /usr/local/pgsql/bin/postgres; do
		[[ -x $program ]] || continue
		[[ $("$program" --version) =~ \ ([0-9]+) ]] || continue
		((BASH_REMATCH[1] >= oldest_postgres)) && return
	done
	return 1
}

ensure_postgres() {
	has_postgres && return
	if ! installable; then
		echo "ensure.sh: no PostgreSQL >= $oldest_postgres found, the tests fetch one for themselves"
		return
	fi
	# Only the programs are wanted: Debian would also make a cluster of its own
	# and start it on port 5432.
	local conf=/etc/postgresql-common/createcluster.d/plantdb.conf
	mkdir -p "${conf%/*}"
	echo 'create_main_cluster = false' >"$conf"
	# shellcheck disable=SC2064 # conf is local: expand it now
	trap "rm -f '$conf'" EXIT
	install_packages postgresql
}

ensure_venv() {
	if ! command -v python3 >/dev/null; then
		installable || { echo "ensure.sh: python3 is missing; install Python 3.9 or newer" >&2; exit 1; }
		install_packages python3 python3-venv
	fi
	python3 -c 'import ensurepip, venv' 2>/dev/null && return
	installable || { echo "ensure.sh: python3 cannot make virtual environments; as root: apt-get install python3-venv" >&2; exit 1; }
	install_packages python3-venv
}

ensure_cc() {
	command -v "$(go env CC)" >/dev/null && return
	installable || { echo "ensure.sh: the race detector needs a C compiler; as root: apt-get install gcc libc6-dev" >&2; exit 1; }
	install_packages gcc libc6-dev
}

ensure_nginx() {
	PATH=$PATH:/usr/sbin command -v nginx >/dev/null && return
	installable || { echo "ensure.sh: nginx is missing; as root: apt-get install nginx-light" >&2; exit 1; }
	# Only the program is wanted: Debian would also start it on port 80.
	local policy=/usr/sbin/policy-rc.d
	if [[ ! -e $policy ]]; then
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
		# shellcheck disable=SC2064 # policy is local: expand it now
		trap "rm -f '$policy'" EXIT
	fi
	install_packages nginx-light
}

ensure_chromium() {
	command -v chromium >/dev/null && return
	installable || { echo "ensure.sh: chromium is missing; as root: apt-get install chromium" >&2; exit 1; }
	install_packages chromium
}

has_node() {
	local version
	command -v npm >/dev/null && version=$(node --version 2>/dev/null) || return 1
	version=${version#v}
	((${version%%.*} >= oldest_node))
}

ensure_node() {
	has_node && return
	installable || { echo "ensure.sh: Node.js $oldest_node or newer with npm is missing; as root: apt-get install nodejs npm" >&2; exit 1; }
	install_packages nodejs npm
	has_node && return
	echo "ensure.sh: this system's Node.js is older than $oldest_node; install a newer one" >&2
	exit 1
}

has_java() {
	command -v mvn >/dev/null && [[ $(javac -version 2>&1) =~ ^javac\ ([0-9]+) ]] && ((BASH_REMATCH[1] >= oldest_java))
}

ensure_clients() {
	ensure_node
	has_java && return
	installable || { echo "ensure.sh: a JDK $oldest_java or newer and Maven are missing; as root: apt-get install default-jdk-headless maven" >&2; exit 1; }
	install_packages default-jdk-headless maven
	has_java && return
	echo "ensure.sh: this system's JDK is older than $oldest_java; install a newer one" >&2
	exit 1
}

for need in "$@"; do
	case $need in
	postgres | venv | cc | nginx | node | clients | chromium) "ensure_$need" ;;
	*) echo "ensure.sh: unknown need $need" >&2; exit 2 ;;
	esac
done
