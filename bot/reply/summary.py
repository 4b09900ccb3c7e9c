"""The finished tool calls of a turn in one small line, by kind: ``✓ 3 reads · ✓ edit `README.md` +4 −1`` (pure).

It has to fit a phone: what there is no room for is counted, and what went wrong or changed a file goes first.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from acp.snapshot import Diff, ToolState
from bot.reply.sanitise import inline_code, units

_LIMIT = 120
_MORE_ROOM = len(" · and 1,000 more")
_TITLE, _NAME = 40, 40
_COMPARISONS = 4_000_000
"""Pairs of lines that are compared in one go, over all files: all threads wait meanwhile."""

_PLURALS = {
    "read": "reads",
    "edit": "edits",
    "search": "searches",
    "execute": "commands",
    "think": "thoughts",
    "fetch": "fetches",
}
_NAMED = ("delete", "move")
"""Kinds of tools that are never only counted: they change files, and tell no difference."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of the line; the lowest ``rank`` is left out last, and stands for ``count`` tool calls or files."""

    rank: int
    text: str
    count: int = 1


def tools_in_short(tools: Sequence[ToolState], cut: int = 0) -> str:
    """Return the line; empty without tools. ``cut``: tool calls that the turn did not keep."""
    if not tools:
        return ""
    pieces = list(_pieces(tools))
    left_out = cut + sum(tool.diffs_cut for tool in tools)
    room = _LIMIT - len("-# ")
    whole = not left_out and sum(units(piece.text) + 3 for piece in pieces) - 3 <= room
    kept: set[int] = set()
    for number in sorted(range(len(pieces)), key=lambda one: pieces[one].rank):
        needed = units(pieces[number].text) + 3
        if whole or needed <= room - _MORE_ROOM:
            kept.add(number)
            room -= needed
        else:
            left_out += pieces[number].count
    shown = [piece.text for number, piece in enumerate(pieces) if number in kept]
    more = [f"and {left_out:,} more"] if left_out else []
    return "-# " + " · ".join([*shown, *more])


def _pieces(tools: Sequence[ToolState]) -> Iterator[_Piece]:
    """Yield what is told, in the order in which it first happened."""
    done = [tool for tool in tools if tool.status == "completed" and not tool.rejected]
    changed = _changes(done)
    kinds = Counter(tool.kind for tool in done if _is_counted(tool))
    names = short_names(changed)
    for tool in tools:
        title = inline_code(tool.title or tool.kind, _TITLE)
        if tool.rejected:
            yield _Piece(0, f"⛔ {title} not allowed")
        elif tool.status == "failed":
            yield _Piece(0, f"✗ {title}")
        elif tool.status != "completed":
            yield _Piece(2, f"▸ {title} unfinished")
        elif not _is_counted(tool):
            paths = dict.fromkeys(diff.path for diff in tool.diffs)
            if not paths:
                yield _Piece(1, f"✓ {title}")
            for path in paths:
                if (lines := changed.pop(path, None)) is not None:  # told where it first changed
                    yield _Piece(1, f"✓ edit {inline_code(names[path], _NAME)} +{lines[0]:,} −{lines[1]:,}")
        elif (count := kinds.pop(tool.kind, 0)) > 1:
            yield _Piece(3, f"✓ {count:,} {_PLURALS.get(tool.kind, 'tools')}", count)
        elif count:
            yield _Piece(3, f"✓ {title}")


def _is_counted(tool: ToolState) -> bool:
    return not tool.diffs and tool.kind not in _NAMED


def _changes(tools: Iterable[ToolState]) -> dict[str, tuple[int, int]]:
    """Return the lines that came and went in each file, as far as tools said so."""
    room = _COMPARISONS
    changes: dict[str, tuple[int, int]] = {}
    for diff in (diff for tool in tools for diff in tool.diffs):
        added, removed, cost = changed_lines(diff, room)
        room -= cost
        before = changes.get(diff.path, (0, 0))
        changes[diff.path] = (before[0] + added, before[1] + removed)
    return changes


def changed_lines(diff: Diff, most: int = _COMPARISONS) -> tuple[int, int, int]:
    """Return how many lines came, how many went, and the pairs of lines that were compared.

    ``most``: of what takes more pairs, all lines between the first and the last difference count.
    """
    old, new = (diff.old or "").splitlines(), diff.new.splitlines()
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    old, new = old[start : len(old) - end], new[start : len(new) - end]
    cost = len(old) * len(new)
    if cost > most:
        return len(new), len(old), 0
    same = sum(block.size for block in difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks())
    return len(new) - same, len(old) - same, cost


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Return for each path its file's name, with the directory where two files have the same."""
    every = list(paths)
    known = Counter(PurePath(path).name for path in every)

    def short(path: str) -> str:
        name = PurePath(path).name or path
        return "/".join(PurePath(path).parts[-2:]) if known[name] > 1 else name

    return {path: short(path) for path in every}
