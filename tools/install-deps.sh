#!/bin/sh
# Installs what a purpose needs from Debian: install-deps.sh PURPOSE... (build test sdk demo bench).
# Does nothing, and needs no network, when all of it is installed. The list is packages.txt; a row
# that names a command is content with any that is in PATH.
# PROA_SKIP_DEPS=1 leaves it out: for systems whose packages have other names.
set -eu

list=$(dirname "$0")/packages.txt
[ "${PROA_SKIP_DEPS:-0}" = 1 ] && exit 0

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "install-deps: this is not a Debian system: install what docs/dependencies.md lists" >&2
    echo "by hand and say PROA_SKIP_DEPS=1" >&2
    exit 1
fi

# package=version of each that isn't installed
missing=
for purpose; do
    case $purpose in
    build | test | sdk | demo | bench) ;;
    *) echo "install-deps: '$purpose' is none of: build test sdk demo bench" >&2; exit 2 ;;
    esac
    while read -r for_purpose package version program; do
        [ "$for_purpose" = "$purpose" ] || continue
        [ -n "$program" ] && command -v "$program" >/dev/null && continue
        case "$missing " in *" $package="*) continue ;; esac
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$status" = installed ] || missing="$missing $package=$version"
    done <"$list"
done
[ -z "$missing" ] && exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install-deps: these packages are missing, and there is neither root nor sudo:" >&2
        echo "  ${missing# }" >&2
        echo "As root, run: tools/install-deps.sh $*" >&2
        exit 1
    fi
    as_root="sudo"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The log is shown only when something went wrong; a lock held by another apt is waited for.
apt() {
    if ! $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
        -o Acquire::Retries=3 "$@" >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        return 1
    fi
}

echo "Installing$missing"
# A repository that isn't Debian's may be out of reach; what counts is that the packages come.
apt update || echo "install-deps: apt-get update failed; trying with the lists at hand" >&2
set -f # the stars are for apt
if ! apt install -y --no-install-recommends $missing; then
    echo "install-deps: could not install these; Proa's list is made for Debian 12 (bookworm)." >&2
    exit 1
fi
