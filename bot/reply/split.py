"""Long answers in several messages (pure).

A part ends at a paragraph, at the border of a code block or table, at a line, at a space, or, last, between two
characters; a heading stays with what is below it. A code block that goes over the border is closed in the one part and
opened again in the next. What is a fence is decided by what the parts show, so each part is balanced by itself. A table
that goes over the border has its head in both. Parts are pieces of the original: each is converted to Discord's
Markdown by itself, and has to fit before and after. Sizes are UTF-16 code units.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import takewhile

from bot.reply.markdown import for_discord
from bot.reply.markdown_inline import with_nothing_hidden
from bot.reply.sanitise import clean, fitting, units

PAGE = 1870
"""Room for text in a message of 2,000: the rest is the footer's (120), a line break's, and spare."""

_SMALLEST = 200
_CLOSING_ROOM = 26
_LEAST_ROOM = 120
_FENCE = re.compile(
    r"^((?:[ \t]{0,12}(?:[-*+]|\d{1,9}[.)])(?=[ \t])){0,4}[ \t]{0,12})(`{3,12}(?!`)|~{3,12}(?!~))([^\n]*)", re.MULTILINE
)
"""Behind the signs of an item, too: there a fence may begin, and not end."""
_DELIMITERS = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*\n")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+\S")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")  # not `splitlines()`: Discord ends a line at a line feed only


@dataclass(frozen=True, slots=True)
class Fence:
    """An open code block: the indentation and marker of its first line, and the first word after them.

    ``item``: it began behind the signs of an item of a list, and ends with that.
    """

    indent: str
    marker: str
    info: str = ""
    item: bool = False

    @property
    def opening(self) -> str:
        """Return the line that opens the block again."""
        return f"{self.indent}{self.marker}{self.info}\n"

    @property
    def closing(self) -> str:
        """Return the line that ends the block, without a line break."""
        return f"{self.indent}{self.marker}"


@dataclass(frozen=True, slots=True)
class Table:
    """An open table: ``opening`` are its head and the line below."""

    opening: str


Open = Fence | Table


@dataclass(frozen=True, slots=True)
class Part:
    """The text of one message.

    Attributes:
        text: the piece of the original with the lines that were added to it.
        opened: how many characters at its front were added to open a code block or table again.
        closed: how many characters at its end were added to close a code block.
        fence: the code block or table that the next part may go on with.
        shown: what a message gets of it: `clean()`, which the fences are decided by, in Discord's Markdown.
    """

    text: str
    opened: int = 0
    closed: int = 0
    fence: Open | None = None
    shown: str = ""

    @property
    def source(self) -> str:
        return self.text[self.opened : len(self.text) - self.closed]


def take(
    text: str, start: int = 0, limit: int = PAGE, fence: Open | None = None, redact: Callable[[str], str] = str
) -> Part:
    """Return the first part of ``text[start:]``; the cost depends on ``limit`` only.

    Args:
        limit: how many units the part may show; at least 200.
        fence: the code block or table that is open at ``start``: that of the part before.
        redact: takes secrets out, before Discord's Markdown makes them look different.
    """
    if limit < _SMALLEST:
        raise ValueError(f"limit is too small ({limit} of at least {_SMALLEST})")
    if isinstance(fence, Table) and units(fence.opening) > limit // 4:
        fence = None
    # No more is looked at: an edit costs what its message costs, and not what the answer does.
    window = text[start : start + 2 * limit]
    room = limit
    if start + len(window) == len(text) and units(window) <= limit:
        whole = _part(window, fence, redact)
        if units(whole.text) <= limit:
            if units(whole.shown) <= limit:
                return whole
            room = limit * units(window) // units(whole.shown)
    # A table grows when its columns are aligned: less of the text goes into the part until that fits, too.
    while room >= _LEAST_ROOM:
        part = _part(window[: _cut(window, room, fence)], fence, redact)
        if units(part.shown) <= limit:
            return part
        # Below what was cut, too: a little less room may end at the same row, and a conversion is what costs.
        room = min(room * limit // units(part.shown), units(part.text) - 1)
    part = _part(window[: _cut(window, min(limit * 9 // 10, units(window)), fence)], fence, redact)
    return part if units(part.shown) <= limit else replace(part, shown=with_nothing_hidden(redact(clean(part.text))))


def reopened(fence: Open | None, rest: str) -> str:
    """Return the lines that open again, in front of ``rest``, what is open where it begins."""
    if isinstance(fence, Table):
        # The table may have ended where the text was cut.
        line = rest.partition("\n")[0].lstrip()
        goes_on = line.startswith("|") if fence.opening.lstrip().startswith("|") else "|" in line
        return fence.opening if goes_on else ""
    return fence.opening if fence else ""


def open_after(text: str) -> Open | None:
    """Return the code block or table that is open at the end of ``text``."""
    return fence_after(text) or _table_after(text)


def fence_after(text: str, fence: Fence | None = None) -> Fence | None:
    """Return the code block that is open at the end of ``text`` as a reader sees it, without escapes and controls."""
    text, end = clean(text), 0
    for found in _FENCE.finditer(text):
        (indent, marker, behind), info = found.groups(), found[3].strip()
        fence = _inside(fence, text[end : found.start()])
        end = found.end()
        # As Markdown has it: the same sign, at least as many of them, and nothing else on the line.
        ends = fence is not None and not info and not indent.strip()
        if fence is not None and ends and marker[0] == fence.marker[0] and len(marker) >= len(fence.marker):
            fence = None
            continue
        if _inside(fence, found[0]) is None and (marker[0] != "`" or "`" not in behind):
            # Else it is inline code of three backticks.
            fence = Fence(
                re.sub(r"[^ \t]", " ", indent), marker, info.split()[0][:40] if info else "", bool(indent.strip())
            )
    return _inside(fence, text[end:])


def _inside(fence: Fence | None, text: str) -> Fence | None:
    """Return a code block that goes on below ``text``; None: that is less indented, and has ended its item with it."""
    if fence is None or not fence.item:
        return fence
    lines = (line.expandtabs(4) for line in text.split("\n"))
    ended = any(line.strip() and len(line) - len(line.lstrip()) < len(fence.indent.expandtabs(4)) for line in lines)
    return None if ended else fence


def _table_after(text: str) -> Table | None:
    """Return the table that the last lines of ``text`` belong to; the next line may belong to it as well."""
    lines = [*takewhile(lambda line: "|" in line and line.endswith("\n"), reversed(_LINE.findall(text)))][::-1]
    for number, line in enumerate(lines):
        if number and _DELIMITERS.fullmatch(line):
            return Table(lines[number - 1] + line)
    return None


def _part(source: str, before: Open | None, redact: Callable[[str], str]) -> Part:
    opening = reopened(before, source)
    after = fence_after(source, before if isinstance(before, Fence) else None)
    closing = "" if after is None else after.closing if source.endswith("\n") else f"\n{after.closing}"
    plain = redact(f"{opening}{clean(source)}{closing}")
    shown = for_discord(plain)
    # The parser takes a fence that is indented too far for something else; Discord and the balance here do not.
    if fence_after(shown) is not None:
        shown = with_nothing_hidden(plain)
    still = after or _table_after(opening + source)
    return Part(f"{opening}{source}{closing}", len(opening), len(closing), still, shown)


def _cut(window: str, limit: int, before: Open | None) -> int:
    """Return how much of ``window``, which is too long, goes into the part."""
    # 1. Walk the lines that fit, and remember the last border of a block and of a line.
    strong = at_line = offset = 0
    opening = units(reopened(before, window))
    used, fence = opening, before if isinstance(before, Fence) else None
    table = blank = heading = None  # the heading, or the first of several, that is right above
    within = fence
    for line in _LINE.findall(window):
        after = fence_after(line, within)
        is_heading = within is None and _HEADING.match(line) is not None
        begins = offset if heading is None else heading
        if within is None and (is_heading or after is not None or blank == offset):
            strong = begins
        is_row = within is None and line.lstrip().startswith("|")
        table = (begins if table is None else table) if is_row else None
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
        heading = begins if is_heading else heading if not line.strip() else None
    if heading is not None and units(window[:heading]) >= limit // 4:
        at_line = heading
    # 2. A table without its head is no table: one that fits into a part by itself is not cut.
    if table and window[:table].strip():
        rows = takewhile(lambda line: line.lstrip().startswith("|"), _LINE.findall(window[table:]))
        if sum(map(units, rows)) <= limit:
            return table
    # 3. A better border is worth a part that is not full, but not one that is nearly empty.
    if units(window[:strong]) >= limit // 2:
        return strong
    return at_line if units(window[:at_line]) >= limit // 4 else _inside_line(window, limit - opening)


def _inside_line(window: str, limit: int) -> int:
    """Return an offset at a space or between two characters; not before or inside a run of fence characters."""
    end = fitting(window, limit - _CLOSING_ROOM)
    # A part that began with the rest of a fence would open or close a block that the text does not have.
    space = window.rfind(" ", end // 2, end) + 1
    for candidate in filter(None, (space, end)):
        back = candidate
        while back > candidate // 2 and window[back : back + 1] in ("`", "~", " ", "\t", "\n"):
            back -= 1
        if back > candidate // 2:
            return fitting(window, units(window[:back]))
    return end
