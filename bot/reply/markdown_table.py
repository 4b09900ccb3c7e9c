"""A Markdown table as Discord can show it: an aligned code block, or a list of its rows (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from markdown_it.rules_block.table import escapedSplit
from wcwidth import wcswidth

from bot.reply.markdown_inline import WEB, bold, converted_inline, inline_tokens
from bot.reply.sanitise import without_fences

TABLE_WIDTH = 60
"""Cells of a monospaced font: the widest table that is shown as one; a phone breaks the lines of a wider one."""

_LINE_BREAK = re.compile(r"<br[ \t]*/?>", re.IGNORECASE)


def cells_of(row: str) -> list[str]:
    """Return the cells of a row, also those for which the table has no column."""
    cells = escapedSplit(row.strip())
    cells = cells[1:] if cells and not cells[0] else cells
    cells = cells[:-1] if cells and not cells[-1] else cells
    # What only breaks lines is an empty cell, and no reason against a table.
    return [cell.strip() if _LINE_BREAK.sub("", cell).strip() else "" for cell in cells]


def aligned(rows: list[list[str]], aligns: Sequence[str]) -> str:
    """Return a table as a code block; empty if it is too wide, or has what can't stand in code: links, line breaks."""
    plain = [[_plain(cell) for cell in row] for row in rows]
    if any(cell is None for row in plain for cell in row):
        return ""
    texts = [[cell or "" for cell in row] for row in plain]
    widths = [max(_width(row[column]) for row in texts) for column in range(len(rows[0]))]
    if sum(widths) + 2 * (len(widths) - 1) > TABLE_WIDTH:
        return ""
    head, *body = (
        [_padded(cell, width, side) for cell, width, side in zip(row, widths, _sides(aligns), strict=False)]
        for row in texts
    )
    lines = [head, ["-" * width for width in widths], *body]
    return "\n".join(["```", *("  ".join(line).rstrip() for line in lines), "```"])


def _sides(aligns: Sequence[str]) -> Iterator[str]:
    for align in aligns:
        yield ("center" if align.startswith(":") else "right") if align.endswith(":") else "left"
    while True:
        yield "left"


def _width(text: str) -> int:
    """Return how many cells a text takes: CJK and emoji take two."""
    width = wcswidth(text)
    return width if width >= 0 else len(text)


def _padded(text: str, width: int, side: str) -> str:
    room = width - _width(text)
    left = {"left": 0, "right": room, "center": room // 2}[side]
    return " " * left + text + " " * (room - left)


def listed(rows: list[list[str]]) -> str:
    """Return a table with the names of its columns at each value, a blank line between two rows."""
    head, *body = rows
    body = [row for row in body if any(row)]
    if not body:
        return "\n".join(_value(name) for name in head if name)
    names = [bold(f"{name.rstrip(':')}:") if name else "" for name in head]
    groups = []
    for number, row in enumerate(body):
        # A column without any value has its name in the first group, or that would be lost.
        said = [
            bool(row[column]) or (not number and not any(one[column] for one in body)) for column in range(len(row))
        ]
        lines = [f"{name} {_value(cell)}".strip() for name, cell, says in zip(names, row, said, strict=True) if says]
        groups.append("\n".join(line for line in lines if line))
    return "\n\n".join(group for group in groups if group)


def _value(cell: str) -> str:
    return "\n".join(part.strip() for part in _LINE_BREAK.split(converted_inline(cell)))


def _plain(cell: str) -> str | None:
    """Return a cell's text without its Markdown; None if it can't stand in a code block."""
    if _LINE_BREAK.search(cell) or WEB.search(cell):
        return None
    words = []
    for token in inline_tokens(cell):
        if token.type in ("link_open", "image"):
            return None
        words.append(token.content if token.type != "softbreak" else " ")
    return without_fences("".join(words))
