# Sourced by the scripts that need programs beside Python: installs them where that takes nobody's leave.
# shellcheck shell=bash

PACKAGES_LIMIT=300 # seconds

# Chromium, for the tests of the page and for its pictures; root on Debian gets it.
ensure_chromium() {
    local name
    for name in chromium chromium-browser google-chrome-stable google-chrome; do
        command -v "$name" >/dev/null && return
    done
    install_packages 'Chromium for the tests of the page' chromium fonts-noto-color-emoji
}

# The font of the pictures, which looks like the one that people know from Discord; with any other they tell the same.
ensure_fonts() {
    fc-list : family 2>/dev/null | grep -q '^Inter' && return
    install_packages 'the font of the pictures' fonts-inter fonts-noto-color-emoji
}

# Servers for the tests of engines and of PostgreSQL; only where WEFT_TEST_SERVERS is set, as in continuous integration:
# nobody who tries the tests expects a daemon of them. Without it, or elsewhere, these tests are skipped and say so.
ensure_servers() {
    local wanted=()
    [ -n "${WEFT_TEST_SERVERS:-}" ] || return 0
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || wanted+=(postgresql)
    [ -x /usr/sbin/sshd ] || wanted+=(openssh-server)
    command -v dockerd >/dev/null || wanted+=(docker.io runc tini)
    [ -x /usr/sbin/pgbouncer ] || wanted+=(pgbouncer)
    command -v busybox >/dev/null || wanted+=(busybox-static)
    [ "${#wanted[@]}" = 0 ] || install_packages 'servers for the tests' "${wanted[@]}"
}

# Says in one line what it does, and never fails: tests that need it are skipped without it, and say so.
install_packages() {
    local what=$1 policy=/usr/sbin/policy-rc.d ours=
    shift
    { [ "$(id -u 2>/dev/null)" = 0 ] && command -v apt-get >/dev/null; } || return 0
    printf 'installing %s ...\n' "$what" >&2
    export DEBIAN_FRONTEND=noninteractive
    # None of them is started: tests start their own, with files of their own.
    if [ ! -e "$policy" ] && printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"; then
        ours=yes
    fi
    { timeout "$PACKAGES_LIMIT" apt-get update && timeout "$PACKAGES_LIMIT" apt-get install --yes \
        --no-install-recommends "$@"; } >/dev/null 2>&1 </dev/null ||
        printf 'that did not work; what needs it is left out\n' >&2
    [ -z "$ours" ] || rm -f "$policy"
}
