"""Long answers in several messages (pure).

A part ends at a paragraph, at the border of a code block or table, at a line, at a space, or, last, between two
characters. A code block that goes over the border is closed in the one part and opened again in the next. What is a
fence is decided by what the parts show, so each part is balanced by itself. Sizes are UTF-16 code units.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile

from bot.reply.sanitise import clean, fitting, units

PAGE = 1870
"""Room for text in a message of 2,000: the rest is the footer's (120), a line break's, and spare."""

_SMALLEST = 200
_CLOSING_ROOM = 26
_FENCE = re.compile(r"^([ \t]{0,12})(`{3,12}(?!`)|~{3,12}(?!~))([^\n]*)", re.MULTILINE)
_LINE = re.compile(r"[^\n]*\n|[^\n]+")  # not `splitlines()`: Discord ends a line at a line feed only


@dataclass(frozen=True, slots=True)
class Fence:
    """An open code block: the indentation and marker of its first line, and the first word after them."""

    indent: str
    marker: str
    info: str = ""

    @property
    def opening(self) -> str:
        """Return the line that opens the block again."""
        return f"{self.indent}{self.marker}{self.info}\n"

    @property
    def closing(self) -> str:
        """Return the line that ends the block, without a line break."""
        return f"{self.indent}{self.marker}"


@dataclass(frozen=True, slots=True)
class Part:
    """The text of one message.

    Attributes:
        text: the piece of the original with the fence lines that were added; see `shown` for what a message gets.
        opened: how many characters at its front were added to open a code block again.
        closed: how many characters at its end were added to close one.
        fence: the code block that the next part goes on with.
    """

    text: str
    opened: int = 0
    closed: int = 0
    fence: Fence | None = None

    @property
    def source(self) -> str:
        return self.text[self.opened : len(self.text) - self.closed]

    @property
    def shown(self) -> str:
        """Return the text as a reader gets it: `clean()`, which the fences are decided by and made for."""
        end = len(self.text) - self.closed
        return self.text[: self.opened] + clean(self.source) + self.text[end:]


def take(text: str, start: int = 0, limit: int = PAGE, fence: Fence | None = None) -> Part:
    """Return the first part of ``text[start:]``; the cost depends on ``limit`` only.

    Args:
        limit: how many units the part may show; at least 200.
        fence: the code block that is open at ``start``: that of the part before.
    """
    if limit < _SMALLEST:
        raise ValueError(f"limit is too small ({limit} of at least {_SMALLEST})")
    # No more is looked at: an edit costs what its message costs, and not what the answer does.
    window = text[start : start + 2 * limit]
    whole = _part(window, fence)
    if start + len(window) == len(text) and units(whole.text) <= limit:
        return whole
    return _part(window[: _cut(window, limit, fence)], fence)


def fence_after(text: str, fence: Fence | None = None) -> Fence | None:
    """Return the code block that is open at the end of ``text`` as a reader sees it, without escapes and controls."""
    for indent, marker, behind in _FENCE.findall(clean(text)):
        info = behind.strip()
        if fence is not None:
            # As Markdown has it: the same sign, at least as many of them, and nothing behind.
            if not info and marker[0] == fence.marker[0] and len(marker) >= len(fence.marker):
                fence = None
        elif marker[0] != "`" or "`" not in info:  # else it is inline code of three backticks
            fence = Fence(indent, marker, info.split()[0][:40] if info else "")
    return fence


def _part(source: str, fence: Fence | None) -> Part:
    opening = fence.opening if fence else ""
    after = fence_after(source, fence)
    closing = "" if after is None else after.closing if source.endswith("\n") else f"\n{after.closing}"
    return Part(f"{opening}{source}{closing}", len(opening), len(closing), after)


def _cut(window: str, limit: int, fence: Fence | None) -> int:
    """Return how much of ``window``, which is too long, goes into the part."""
    # 1. Walk the lines that fit, and remember the last border of a block and of a line.
    strong = at_line = offset = 0
    used = units(fence.opening) if fence else 0
    table = blank = None
    within = fence
    for line in _LINE.findall(window):
        after = fence_after(line, within)
        if within is None and (after is not None or blank == offset):
            strong = offset
        is_row = within is None and line.lstrip().startswith("|")
        table = (offset if table is None else table) if is_row else None
        used += units(line)
        offset += len(line)
        # A block that is open here has to be closed in this part, which takes room, too.
        if used + (units(after.closing) if after else 0) > limit or not line.endswith("\n"):
            break
        at_line = offset
        if not line.strip() and after is None:
            blank = offset
        if within is not None and after is None:
            strong = offset
        within = after
    # 2. A table without its head is no table: one that fits into a part by itself is not cut.
    if table and window[:table].strip():
        rows = takewhile(lambda line: line.lstrip().startswith("|"), _LINE.findall(window[table:]))
        if sum(map(units, rows)) <= limit:
            return table
    # 3. A better border is worth a part that is not full, but not one that is nearly empty.
    if units(window[:strong]) >= limit // 2:
        return strong
    return at_line if units(window[:at_line]) >= limit // 4 else _inside_line(window, limit, fence)


def _inside_line(window: str, limit: int, fence: Fence | None) -> int:
    """Return an offset at a space or between two characters; not before or inside a run of fence characters."""
    room = limit - _CLOSING_ROOM - (units(fence.opening) if fence else 0)
    end = fitting(window, room)
    # A part that began with the rest of a fence would open or close a block that the text does not have.
    space = window.rfind(" ", end // 2, end) + 1
    for candidate in filter(None, (space, end)):
        back = candidate
        while back > candidate // 2 and window[back : back + 1] in ("`", "~", " ", "\t", "\n"):
            back -= 1
        if back > candidate // 2:
            return fitting(window, units(window[:back]))
    return end
