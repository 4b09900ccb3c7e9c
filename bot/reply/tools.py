"""Tool calls as text: one line each, their output, and all of them in one line (pure)."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import PurePath

from acp.snapshot import Diff, ToolState
from bot.reply.sanitise import clip_middle, code_block, inline_code, units

_OUTPUT_HEAD = 1_500
_OUTPUT_TAIL = 4_500
"""Characters of a tool's output that an answer made of tool calls shows."""

_DIFF_LINES = 2_000
_DIFF_CHARACTERS = 200_000
COMPARISONS = 4_000_000
"""Pairs of lines that are compared in one go, over all files: all threads wait meanwhile."""
_LONGEST_FENCED = 65_536
_MARKS = {"completed": "✓", "failed": "✗", "in_progress": "▸", "pending": "·"}


def tool_line(title: str | None, status: str | None, kind: str | None = None, *, rejected: bool = False) -> str:
    """Return a tool call as ``✓ `npm test` ``; one that failed or was not allowed says so."""
    if rejected:
        # Agents call such a tool failed, done, or nothing more: what counts is that the answer was no.
        ran = ", but the agent says that it ran" if status == "completed" else ""
        return f"⛔ {inline_code(title or kind or 'tool', 100)} (not allowed{ran})"
    mark = _MARKS.get(status or "", "·")
    failed = " (failed)" if status == "failed" else ""
    return f"{mark} {inline_code(title or kind or 'tool', 100)}{failed}"


def worth_showing(tools: Sequence[ToolState]) -> list[ToolState]:
    """Return the tool calls without a plan that waits for approval: that has a card, which says more than a line."""
    return [tool for tool in tools if tool.kind != "switch_mode" or not tool.unfinished]


def output_block(output: str) -> str:
    """Return a tool's output in a code block; one that the agent fenced already is not fenced twice."""
    output = output.strip("\n")
    if output.startswith("```") and len(output) <= _LONGEST_FENCED:
        lines = output.split("\n")
        # Only if the fence is around all of it: with others inside, what is in and what is out would change places.
        if len(lines) > 1 and lines[-1].strip() == "```" and not any(line.startswith("```") for line in lines[1:-1]):
            output = "\n".join(lines[1:-1])
    return code_block(clip_middle(output, _OUTPUT_HEAD, _OUTPUT_TAIL))


def comparison_cost(old: str | None, new: str | None) -> float:
    """Return how many pairs of lines a comparison takes at worst; infinite: too large to compare at all."""
    texts = (old or "", new or "")
    if sum(map(len, texts)) > _DIFF_CHARACTERS or sum(len(text.splitlines()) for text in texts) > _DIFF_LINES:
        return inf
    return float(texts[0].count("\n") * texts[1].count("\n"))


SMALL = "-# "
"""What begins a line of small print in Discord."""

SUMMARY_LIMIT = 120
_MORE_ROOM = len(" · and 1,000 more")
_TITLE, _NAME = 40, 40

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


def tools_in_short(tools: Sequence[ToolState], cut: int = 0, *, counted: bool = True) -> str:
    """Return the line; empty without tools.

    Args:
        cut: tool calls that the turn did not keep.
        counted: count the lines of changes, which are compared for that.
    """
    if not tools:
        return ""
    pieces = list(_pieces(tools, counted=counted))
    left_out = cut + sum(tool.diffs_cut for tool in tools)
    room = SUMMARY_LIMIT - len(SMALL)
    whole = not left_out and sum(units(piece.text) + 3 for piece in pieces) - 3 <= room
    kept: set[int] = set()
    # What went wrong or changed a file has its place first; shown it stands where it happened.
    for number in sorted(range(len(pieces)), key=lambda one: pieces[one].rank):
        needed = units(pieces[number].text) + 3
        if whole or needed <= room - _MORE_ROOM:
            kept.add(number)
            room -= needed
        else:
            left_out += pieces[number].count
    shown = [piece.text for number, piece in enumerate(pieces) if number in kept]
    more = [f"and {left_out:,} more"] if left_out else []
    return SMALL + " · ".join([*shown, *more])


def _pieces(tools: Sequence[ToolState], *, counted: bool) -> Iterator[_Piece]:
    """Yield what stands in the line, in the order in which it first happened."""
    done = [tool for tool in tools if tool.status == "completed" and not tool.rejected]
    # The lines that came and went in each file, as far as tools said so: many tools may have changed one.
    room, changed = COMPARISONS, dict[str, tuple[int, int]]()
    for diff in (diff for tool in done for diff in tool.diffs):
        added, removed, cost = changed_lines(diff, room) if counted else (0, 0, 0)
        room -= cost
        before = changed.get(diff.path, (0, 0))
        changed[diff.path] = (before[0] + added, before[1] + removed)
    kinds = Counter(tool.kind for tool in done if not tool.diffs and tool.kind not in _NAMED)
    files = {path: PurePath(path) for path in changed}
    # Two files of one name are told apart by their directories.
    of_name = Counter(file.name for file in files.values())
    for tool in tools:
        if tool.rejected:
            yield _Piece(0, f"⛔ {_title(tool)} not allowed")
        elif tool.status == "failed":
            yield _Piece(0, f"✗ {_title(tool)}")
        elif tool.status != "completed":
            yield _Piece(2, f"▸ {_title(tool)} unfinished")
        elif tool.diffs or tool.kind in _NAMED:
            paths = dict.fromkeys(diff.path for diff in tool.diffs)
            if not paths:
                yield _Piece(1, f"✓ {_title(tool)}")
            for path in paths:
                if (lines := changed.pop(path, None)) is not None:  # named where it first changed
                    file = files[path]
                    name = "/".join(file.parts[-2:]) if of_name[file.name] > 1 else file.name or path
                    counts = f" +{lines[0]:,} −{lines[1]:,}" if counted else ""
                    yield _Piece(1, f"✓ edit {inline_code(name, _NAME)}{counts}")
        elif (count := kinds.pop(tool.kind, 0)) > 1:
            yield _Piece(3, f"✓ {count:,} {_PLURALS.get(tool.kind, 'tools')}", count)
        elif count:
            yield _Piece(3, f"✓ {_title(tool)}")


def _title(tool: ToolState) -> str:
    return inline_code(tool.title or tool.kind, _TITLE)


def changed_lines(diff: Diff, most: int = COMPARISONS) -> tuple[int, int, int]:
    """Return how many lines came, how many went, and the pairs of lines that were compared.

    ``most``: of what takes more pairs, all lines between the first and the last difference count.
    """
    old, new = (diff.old or "").splitlines(), diff.new.splitlines()
    # Most changes are small: what is the same at both ends needs no comparison.
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
