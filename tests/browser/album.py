"""The pictures of the documentation, and beside each what it tells somebody who can't see it.

What differs from run to run is evened out before: the page's clock runs as if each run began at the same minute, and
durations in texts are replaced. So a picture changes only where the page, or what the bot says, has changed.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from playwright.async_api import Locator

from tests.browser.client import Client

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
LARGEST = 150 * 1024
"""Bytes of a picture at most."""

# Texts, and the colours of people, are changed for the picture alone: the page draws them anew when they change again.
EVEN_OUT = """pairs => {
    for (const one of document.querySelectorAll("[class*=avatar-colour-]")) {
        const colour = [...one.textContent.trim()].reduce((sum, letter) => sum + letter.codePointAt(0), 6) % 8;
        one.className = one.className.replace(/avatar-colour-\\d/, `avatar-colour-${colour}`);
    }
    const all = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = all.nextNode(); node; node = all.nextNode()) {
        for (const [pattern, text] of pairs) {
            const evened = node.data.replace(new RegExp(pattern, "g"), text);
            if (evened !== node.data) node.data = evened;
        }
    }
}"""


@dataclass(slots=True)
class Album:
    """Takes pictures, or only what they tell.

    Attributes:
        pixels: whether the pictures themselves are made, too.
        told: what each tells, by its name.
    """

    pixels: bool
    directory: Path = PICTURES
    told: dict[str, str] = field(default_factory=dict)

    async def take(self, name: str, person: Client, about: Locator | None = None) -> None:
        """Take a picture of the page; what is kept of its structure is what it is about, or all of it."""
        await person.page.evaluate(EVEN_OUT, [list(pair) for pair in DIFFERING])
        await person.frames(2)
        self.told[name] = await structure(about or person.page.locator("body"))
        if self.pixels:
            data = await person.page.screenshot(animations="disabled", caret="hide", scale="device")
            save(data, self.directory / f"{name}.png")
            (self.directory / f"{name}.txt").write_text(self.told[name])


# Durations, the part of a branch's name that is a thread's, and commits.
DIFFERING = (
    (r"\b\d+ s\b", "9 s"),
    (r"(weft/[a-z-]+-)[0-9a-f]{3}\b", "$1a56"),
    (r"^[0-9a-f]{7}$", "81c2392"),
    # A slow run goes on into the next minutes.
    (r"\b9:4\d AM", "9:41 AM"),
    # Who types is forgotten after ten seconds, and a run may be quicker.
    (r"^Weft is typing…$", ""),
)


# Whether a message has been edited is a matter of how quick the run was.
_UNTOLD = (
    (r"^ *- text: \(edited\)\n", ""),
    (r" \(edited\)", ""),
    (r"\b9:4\d AM", "9:41 AM"),
    (r"http://127\.0\.0\.1:\S+", "ADDRESS"),
    (r"\d{17,}", "ID"),
)


async def structure(part: Locator) -> str:
    """Return roles, names and texts as the accessibility tree has them, without what differs from run to run."""
    told = await part.aria_snapshot()
    for pattern, text in _UNTOLD:
        told = re.sub(pattern, text, told, flags=re.MULTILINE)
    return told.rstrip() + "\n"


def save(data: bytes, path: Path) -> None:
    """Write a picture in as few colours as it takes to keep it small.

    Raises:
        ValueError: it is too large all the same.
    """
    picture = Image.open(io.BytesIO(data)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path.name} has {path.stat().st_size:,} bytes, more than {LARGEST:,}: show less on it")
