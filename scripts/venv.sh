# Sourced by the other scripts: makes .venv and keeps it in step with the locks. Sets $PYTHON, the interpreter in .venv.
#
#   ensure_venv requirements.lock|requirements-dev.lock
#
# A stamp over the lock, pyproject.toml and the interpreter decides whether anything has to be installed.
# shellcheck shell=bash

die() {
    printf '%s\n' "$*" >&2
    exit 1
}

fits() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

find_python() {
    local candidate found
    # What was asked for is taken or refused: another one in its place would be found out late.
    if [ -n "${WEFT_PYTHON:-}" ]; then
        command -v "$WEFT_PYTHON" >/dev/null || die "WEFT_PYTHON: $WEFT_PYTHON was not found, or is no program."
        fits "$WEFT_PYTHON" || die "WEFT_PYTHON: $WEFT_PYTHON is not Python 3.11 or newer."
        command -v "$WEFT_PYTHON"
        return
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    if found=$(version_of python3) && [ -n "$found" ]; then
        die "Weft needs Python 3.11 or newer; python3 is $found. WEFT_PYTHON=/path/to/python3.11 names another one."
    fi
    die "Weft needs Python 3.11 or newer; there is no python3 on the PATH."
}

make_venv() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null ||
        die "Python's venv module is missing: install it first (Debian and Ubuntu: apt install python3-venv)."
    printf 'making .venv ...\n' >&2
    "$1" -m venv --clear .venv || die "could not make .venv with $1"
}

install_locked() {
    printf 'installing %s into .venv ...\n' "$1" >&2
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$1" >&2 &&
        # Hash mode refuses a local project, and its build tools come from the lock: two steps.
        "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . >&2 ||
        die "could not install $1"
}

ensure_venv() {
    local lock=$1 base interpreter wanted stamp
    # Two scripts that are started at once take turns.
    if command -v flock >/dev/null; then
        exec 9>.venv.lock
        flock 9
    fi
    base=$(find_python) || exit 1 # it has said why
    interpreter=$("$base" -c 'import sys; print(sys.base_prefix, sys.version)')
    PYTHON=$PWD/.venv/bin/python
    if [ "$(cat .venv/interpreter 2>/dev/null)" != "$interpreter" ] || ! [ -x "$PYTHON" ]; then
        make_venv "$base"
        printf '%s\n' "$interpreter" >.venv/interpreter
    fi
    wanted=$(cat "$lock" pyproject.toml | cksum)
    stamp=.venv/stamp-$lock
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        install_locked "$lock"
        printf '%s\n' "$wanted" >"$stamp"
    fi
    exec 9>&-
}
