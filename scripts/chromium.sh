# Sourced by the scripts that use a browser: installs Chromium where that takes nobody's leave, that is as root with apt.
# shellcheck shell=bash

CHROMIUM_LIMIT=300 # seconds

# Says in one line what it does, and never fails: the tests that need Chromium are skipped without it, and say so.
ensure_chromium() {
    local name
    for name in chromium chromium-browser google-chrome-stable google-chrome; do
        command -v "$name" >/dev/null && return
    done
    { [ "$(id -u 2>/dev/null)" = 0 ] && command -v apt-get >/dev/null; } || return 0
    printf 'installing Chromium for the tests of the page ...\n' >&2
    export DEBIAN_FRONTEND=noninteractive
    { timeout "$CHROMIUM_LIMIT" apt-get update && timeout "$CHROMIUM_LIMIT" apt-get install --yes \
        --no-install-recommends chromium fonts-noto-color-emoji; } >/dev/null 2>&1 </dev/null ||
        printf 'that did not work; these tests will be skipped\n' >&2
}
