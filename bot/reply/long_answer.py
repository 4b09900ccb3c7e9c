"""What stands in a thread for a long answer that is in a file: its first paragraph and its headings (pure)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from bot.reply.markdown import for_discord
from bot.reply.sanitise import clean, clip, units
from bot.reply.split import Fence, fence_after

LONG = 3
"""Messages of text beyond which an answer is long (V5)."""

WHOLE = "-# The whole answer ("
_IN_FILE = "{size:,} characters) is in the file."
_BELOW = "-# The whole answer is in the file below."
_ROOM = 1_700
_PARAGRAPH = 900
_TITLE = 100
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$")
_NO_PARAGRAPH = re.compile(r"\s*(?:$|[|]|(?:[-*_=][ \t]*){3,}$)")


def file_note(text: str) -> str:
    """Return the line of the message that has the answer as its file."""
    return WHOLE + _IN_FILE.format(size=len(text))


def summary(text: str, redact: Callable[[str], str] = str) -> str:
    """Return the message for a long answer; the cost is one pass over its lines.

    Args:
        redact: takes secrets out, before Discord's Markdown makes them look different.
    """
    paragraph, headings = _outline(clean(text))
    first = clip(for_discord(redact("\n".join(paragraph))), _PARAGRAPH)
    # Indented from the highest that there is: many answers begin with the second level.
    top = min((level for level, _ in headings), default=1)
    lines = [f"{'  ' * min(level - top, 3)}- {clip(for_discord(redact(title)), _TITLE)}" for level, title in headings]
    room = _ROOM - units(first)
    kept = 0
    while kept < len(lines) and (room := room - units(lines[kept]) - 1) >= 0:
        kept += 1
    # Nothing is left out without saying how much.
    more = [f"-# and {len(lines) - kept:,} more headings"] if kept < len(lines) else []
    parts = [first, "\n".join([*lines[:kept], *more]), _BELOW]
    return "\n\n".join(part for part in parts if part)


def _outline(text: str) -> tuple[list[str], list[tuple[int, str]]]:
    """Return the lines of the first paragraph, and all headings with their levels; what is in code is neither."""
    paragraph: list[str] = []
    headings: list[tuple[int, str]] = []
    ended = False
    for line in _outside_of_code(text):
        heading = _HEADING.match(line)
        if heading and heading[2]:
            headings.append((len(heading[1]), heading[2]))
        if heading or _NO_PARAGRAPH.match(line):
            ended = ended or bool(paragraph)
        elif not ended:
            paragraph.append(line)
    return paragraph, headings


def _outside_of_code(text: str) -> Iterator[str]:
    """Yield the lines that are in no code block; an empty one for each block."""
    fence: Fence | None = None
    for line in text.split("\n"):
        before = fence
        if "```" in line or "~~~" in line:
            fence = fence_after(line, fence)
        # The line that opens a block is code, too; an empty one in its place keeps apart what is around it.
        if before is None:
            yield line if fence is None else ""
