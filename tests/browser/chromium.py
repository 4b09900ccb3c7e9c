"""Chromium as the system's packages have it, driven by Playwright; nothing is downloaded for it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Error, async_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
ARGUMENTS = (
    # Nothing but this machine has an address: a page that calls elsewhere fails, and the test sees the attempt.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--disable-gpu",
    # The default, /dev/shm, is 64 MB in a container.
    "--disable-dev-shm-usage",
)
PATIENCE = 60_000.0
"""Milliseconds that anything on a page may take: a net for a busy machine, not a measure."""


class NoChromium(Exception):
    """There is no Chromium that starts; the message says why, and what helps."""


def program() -> str:
    """Return Chromium's path.

    Raises:
        NoChromium: none is installed.
    """
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        raise NoChromium("Chromium is not installed (Debian: apt install chromium)")
    return found


@asynccontextmanager
async def started(*arguments: str) -> AsyncIterator[Browser]:
    """Run Chromium without a window until left.

    Raises:
        NoChromium: it is not there, or does not start.
    """
    path = program()
    async with async_playwright() as playwright:
        try:
            # Root has no sandbox, and all that these pages load comes from the test.
            browser = await playwright.chromium.launch(
                executable_path=path, args=[*ARGUMENTS, *arguments], chromium_sandbox=False
            )
        except Error as exc:
            raise NoChromium(f"{path} does not start: {exc.message.splitlines()[0]}") from exc
        try:
            yield browser
        finally:
            await browser.close()
