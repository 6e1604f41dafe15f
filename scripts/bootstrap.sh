#!/usr/bin/env bash
# Make .venv from requirements.lock, on a machine that has only Python 3 with pip.
#
#   scripts/bootstrap.sh             make or complete .venv
#   scripts/bootstrap.sh compliance  make .venv-compliance from compliance.lock
#   scripts/bootstrap.sh lock        write both locks anew
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV
# Trust the certificates this machine trusts, as pip and git do; the second is for older uv.
export UV_SYSTEM_CERTS=true UV_NATIVE_TLS=true

version=$(tr -d '[:space:]' <.python-version)
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Run a command here or, if that fails, outside of this folder: pyenv reads .python-version too,
# and where it lacks that version its python3 refuses to start, though uv could fetch one.
here_or_away() { "$@" || (cd / && "$@"); }

say() { echo "setup: $*"; }

fail() {
    echo "setup: error: $*" >&2
    exit 1
}

# Run a command in silence; when it fails, show what it said and stop with our own message.
quietly() {
    local message=$1
    shift
    "$@" >"$log" 2>&1 && return
    tail -n 15 "$log" >&2
    fail "$message"
}

# Set `uv` to a working one. A command that exists need not work: pyenv's shims may not.
find_uv() {
    for uv in "$root/.uv/bin/uv" uv; do
        if "$uv" --version >"$log" 2>&1; then
            return
        fi
    done
    here_or_away python3 -c '' >"$log" 2>&1 ||
        fail "needs Python 3 with pip: no working python3 on PATH"
    here_or_away python3 -m pip --version >"$log" 2>&1 ||
        fail "needs Python 3 with pip: this python3 has no pip (try: python3 -m ensurepip)"
    say "fetching uv with pip into .uv"
    quietly "could not fetch uv with pip (no network, or no package index within reach)" \
        here_or_away python3 -m pip install --quiet --target "$root/.uv" uv
    uv=$root/.uv/bin/uv
    "$uv" --version >"$log" 2>&1 || fail "the uv that pip fetched does not run on this machine"
}

choose() {
    local file=$1
    shift
    say "choosing versions for $file"
    quietly "could not choose versions (no network, or requirements that contradict)" \
        "$uv" pip compile "$@" --upgrade --universal --python-version "$version" \
        --no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file "$file"
}

lock() {
    choose requirements.lock pyproject.toml --group dev --group docs
    choose compliance.lock --group compliance
}

# The checker of netCDF files has packages of its own, which ours must work without.
compliance() {
    say "installing the packages of compliance.lock into .venv-compliance"
    quietly "needs Python $version: none was found here, and uv could not fetch one; install it and run make again" \
        here_or_away "$uv" venv --clear --python "$version" "$root/.venv-compliance"
    quietly "could not install the packages (no network, or no package index within reach)" \
        "$uv" pip install --python .venv-compliance/bin/python --compile-bytecode -r compliance.lock
}

install() {
    if ! .venv/bin/python -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" \
        >"$log" 2>&1; then
        say "making .venv with Python $version"
        quietly "needs Python $version: none was found here, and uv could not fetch one; install it and run make again" \
            here_or_away "$uv" venv --clear --python "$version" "$root/.venv"
    fi
    say "installing the packages of requirements.lock"
    # Compiled now, or every start compiles them anew where Python may not write bytecode.
    quietly "could not install the packages (no network, or no package index within reach)" \
        "$uv" pip install --python .venv/bin/python --compile-bytecode -r requirements.lock
    say "installing diffsoil itself, editable"
    quietly "could not install diffsoil from this folder" \
        "$uv" pip install --python .venv/bin/python --no-deps --no-build-isolation --editable .
    say "done: .venv/bin/diffsoil --help"
}

find_uv
case ${1:-install} in
install) install ;;
lock) lock ;;
compliance) compliance ;;
*) fail "unknown argument $1: install, compliance or lock" ;;
esac
