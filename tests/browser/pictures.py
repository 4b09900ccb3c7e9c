"""Makes the pictures of the documentation anew: `scripts/screenshots`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import anyio
from playwright.async_api import expect

from tests.browser.album import PICTURES, Album
from tests.browser.chromium import PATIENCE, NoChromium, started
from tests.browser.scenes import play_scenes

# Glyphs are drawn alike on every machine that has the same fonts.
SAME_EVERYWHERE = ("--font-render-hinting=none", "--disable-lcd-text", "--force-color-profile=srgb")


async def make() -> None:
    expect.set_options(timeout=PATIENCE)
    PICTURES.mkdir(exist_ok=True)
    album = Album(pixels=True)
    with tempfile.TemporaryDirectory(prefix="weft-pictures-") as directory:
        async with started(*SAME_EVERYWHERE) as chromium:
            await play_scenes(chromium, Path(directory), album)
    for name in album.told:
        path = PICTURES / f"{name}.png"
        sys.stdout.write(f"{path.relative_to(Path.cwd())}: {path.stat().st_size // 1024} KB\n")


if __name__ == "__main__":
    try:
        anyio.run(make)
    except NoChromium as exc:
        sys.exit(str(exc))
