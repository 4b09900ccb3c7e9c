"""The pictures of the documentation show what the page and the bot are today."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.bot.work.repositories import needs_git
from tests.browser.album import LARGEST, PICTURES, Album
from tests.browser.scenes import play_scenes

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide.md"


@pytest.mark.long(40)
@pytest.mark.soak
@pytest.mark.timeout(300)
@needs_git
@pytest.mark.asyncio(loop_scope="session")
async def test_each_picture_tells_what_the_page_tells_today(tmp_path: Path, chromium: Browser) -> None:
    """Roles, names and texts; not pixels, which differ with fonts and versions of Chromium."""
    album = Album(pixels=False)
    await play_scenes(chromium, tmp_path, album)
    changed = [
        line
        for name, told in album.told.items()
        for line in difflib.unified_diff(
            kept(name).splitlines(), told.splitlines(), f"{name}.txt", "today", lineterm="", n=1
        )
    ]
    advice = "the page has changed: run scripts/screenshots, look at the pictures, and commit them"
    assert not changed, "\n".join([advice, *changed])


def kept(name: str) -> str:
    path = PICTURES / f"{name}.txt"
    return path.read_text() if path.exists() else ""


def test_every_picture_is_small_has_its_text_and_is_shown_with_words_for_it() -> None:
    pictures = sorted(path.stem for path in PICTURES.glob("*.png"))
    assert pictures == sorted(path.stem for path in PICTURES.glob("*.txt"))
    assert [path.name for path in PICTURES.glob("*.png") if path.stat().st_size > LARGEST] == []
    shown = dict(re.findall(r"!\[([^\]]*)\]\(pictures/(\w+)\.png\)", GUIDE.read_text()))
    assert sorted(shown.values()) == pictures
    assert [alt for alt in shown if len(alt) < 40] == []
