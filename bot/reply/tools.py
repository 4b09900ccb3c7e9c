"""Tool calls as text: one line each, their output and diffs in full, and where what they do is to be done (pure)."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import orjson

from acp.snapshot import Diff, ToolState
from bot.reply.sanitise import clip_middle, code_block, inline_code, one_line, units

_OUTPUT_HEAD = 1_500
_OUTPUT_TAIL = 4_500
"""Characters of a tool's output that an answer made of tool calls shows."""

_DIFF_LINES = 2_000
_DIFF_CHARACTERS = 200_000
_COMPARISONS = 4_000_000
"""Pairs of lines that are compared in one go, over all files: all threads wait meanwhile."""
_LONGEST_FENCED = 65_536
_MARKS = {"completed": "✓", "failed": "✗", "in_progress": "▸", "pending": "·"}
_COMMAND_KEYS = ("command", "cmd", "script")
_ESCAPES = {f"\\u{code:04x}": f"<U+{code:04X}>" for code in range(0x20)}
_ESCAPES |= {"\\b": "<U+0008>", "\\f": "<U+000C>", "\\r": "<U+000D>"}


def tool_line(title: str | None, status: str | None, kind: str | None = None, *, rejected: bool = False) -> str:
    """Return a tool call as ``✓ `npm test` ``; one that failed or was not allowed says so."""
    if rejected:
        # Agents call such a tool failed, done, or nothing more: what counts is that the answer was no.
        ran = ", but the agent says that it ran" if status == "completed" else ""
        return f"⛔ {inline_code(title or kind or 'tool', 100)} (not allowed{ran})"
    mark = _MARKS.get(status or "", "·")
    failed = " (failed)" if status == "failed" else ""
    return f"{mark} {inline_code(title or kind or 'tool', 100)}{failed}"


def output_block(output: str) -> str:
    """Return a tool's output in a code block; one that the agent fenced already is not fenced twice."""
    output = output.strip("\n")
    if output.startswith("```") and len(output) <= _LONGEST_FENCED:
        lines = output.split("\n")
        # Only if the fence is around all of it: with others inside, what is in and what is out would change places.
        if len(lines) > 1 and lines[-1].strip() == "```" and not any(line.startswith("```") for line in lines[1:-1]):
            output = "\n".join(lines[1:-1])
    return code_block(clip_middle(output, _OUTPUT_HEAD, _OUTPUT_TAIL))


class Comparing:
    """How much may still be compared for one answer or card.

    Comparing costs up to the product of the two numbers of lines, and all threads wait meanwhile.
    """

    def __init__(self) -> None:
        self._room = _COMPARISONS

    def may(self, old: str | None, new: str | None) -> bool:
        """Return whether the two may be compared; if so, that is taken off."""
        # Of all changes of one answer together: a thousand cunning ones would add up.
        cost = (old or "").count("\n") * (new or "").count("\n")
        if cost > self._room or _too_large_to_compare(old, new):
            return False
        self._room -= cost
        return True


def diff_texts(changes: Iterable[tuple[str, str | None, str | None]]) -> Iterator[str]:
    """Yield each change (path, old, new) as `diff_text()`; those beyond what may be compared in one go, uncompared."""
    comparing = Comparing()
    for path, old, new in changes:
        yield diff_text(path, old, new, compared=comparing.may(old, new))


def diff_text(path: str, old: str | None, new: str | None, *, compared: bool = True) -> str:
    """Return a unified diff; a new file is all additions; a change too large to compare is summed up in one line.

    ``compared``: without it, all old lines go and all new ones come.
    """
    before, after = (old or "").splitlines(), (new or "").splitlines()
    name = one_line(path)
    # What nobody would read to its end costs seconds to compare, and all threads would wait.
    if _too_large_to_compare(old, new):
        return f"{name}: {len(before):,} lines replaced by {len(after):,}"
    source = "/dev/null" if old is None else name
    if not compared:
        return "\n".join(
            [f"--- {source}", f"+++ {name}", *(f"-{line}" for line in before), *(f"+{line}" for line in after)]
        )
    return "\n".join(difflib.unified_diff(before, after, source, name, lineterm=""))


def command_of(raw_input: Any) -> str | None:
    """Return the command line in a tool call's input, if there is one."""
    key = command_key(raw_input)
    if key is None:
        return None
    value = raw_input[key]
    return value if isinstance(value, str) else " ".join(_quoted(word) for word in value)


def command_key(raw_input: Any) -> str | None:
    """Return the key of the command line in a tool call's input, if there is one."""
    if not isinstance(raw_input, dict):
        return None
    for key in _COMMAND_KEYS:
        value = raw_input.get(key)
        if isinstance(value, str) and value.strip():
            return key
        # Some agents send the words of a command instead of a line.
        if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
            return key
    return None


def input_text(raw_input: Any) -> str:
    """Return a tool call's input as indented JSON; empty if there is none."""
    return "" if raw_input in (None, {}, []) else json_text(raw_input)


def json_text(value: Any) -> str:
    """Return ``value`` as indented JSON in which control characters are written as ``<U+001B>``; never raises."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    except (TypeError, RecursionError):  # too deep, too large a number, half a character
        text = "".join(_tokens(value))
    text = text.replace("\\\\", "\0")  # JSON has no NUL, so this can be undone
    for escape, shown in _ESCAPES.items():
        text = text.replace(escape, shown)
    return text.replace("\0", "\\\\")


@dataclass(frozen=True, slots=True)
class _Token:
    text: str


def _tokens(value: Any) -> Iterator[str]:
    """Yield the pieces of ``value`` as JSON; however deep it is, as nothing here calls itself."""
    todo: list[Any] = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, _Token):
            yield item.text
        elif isinstance(item, dict):
            yield "{"
            todo.append(_Token("}"))
            for number, (key, inner) in reversed(list(enumerate(item.items()))):
                todo += [inner, _Token(f"{', ' if number else ''}{json.dumps(str(key), ensure_ascii=False)}: ")]
        elif isinstance(item, list):
            yield "["
            todo.append(_Token("]"))
            for number, inner in reversed(list(enumerate(item))):
                todo += [inner, _Token(", " if number else "")]
        else:
            yield json.dumps(item, ensure_ascii=False, default=str)


def places(paths: Iterable[tuple[str, int | None]], most: int) -> str:
    """Return the first ``most`` paths, with their lines where known, as inline code; the rest is counted."""
    unique = list(dict.fromkeys(paths))
    shown = ", ".join(inline_code(path if line is None else f"{path}:{line}", 120) for path, line in unique[:most])
    more = len(unique) - most
    return f"{shown} and {more} more" if more > 0 else shown


def _too_large_to_compare(old: str | None, new: str | None) -> bool:
    texts = (old or "", new or "")
    return sum(map(len, texts)) > _DIFF_CHARACTERS or sum(len(text.splitlines()) for text in texts) > _DIFF_LINES


def _quoted(word: str) -> str:
    """Return a word of a command as a shell would need it; one that needs no quotes stays as it is."""
    if word and all(character.isalnum() or character in "@%+=:,./-_" for character in word):
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"


_LIMIT = 120
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


def tools_in_short(tools: Sequence[ToolState], cut: int = 0) -> str:
    """Return the line; empty without tools. ``cut``: tool calls that the turn did not keep."""
    if not tools:
        return ""
    pieces = list(_pieces(tools))
    left_out = cut + sum(tool.diffs_cut for tool in tools)
    room = _LIMIT - len("-# ")
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
    return "-# " + " · ".join([*shown, *more])


def _pieces(tools: Sequence[ToolState]) -> Iterator[_Piece]:
    """Yield what stands in the line, in the order in which it first happened."""
    done = [tool for tool in tools if tool.status == "completed" and not tool.rejected]
    # The lines that came and went in each file, as far as tools said so: many tools may have changed one.
    room, changed = _COMPARISONS, dict[str, tuple[int, int]]()
    for diff in (diff for tool in done for diff in tool.diffs):
        added, removed, cost = changed_lines(diff, room)
        room -= cost
        before = changed.get(diff.path, (0, 0))
        changed[diff.path] = (before[0] + added, before[1] + removed)
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
                if (lines := changed.pop(path, None)) is not None:  # named where it first changed
                    yield _Piece(1, f"✓ edit {inline_code(names[path], _NAME)} +{lines[0]:,} −{lines[1]:,}")
        elif (count := kinds.pop(tool.kind, 0)) > 1:
            yield _Piece(3, f"✓ {count:,} {_PLURALS.get(tool.kind, 'tools')}", count)
        elif count:
            yield _Piece(3, f"✓ {title}")


def _is_counted(tool: ToolState) -> bool:
    return not tool.diffs and tool.kind not in _NAMED


def changed_lines(diff: Diff, most: int = _COMPARISONS) -> tuple[int, int, int]:
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


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Return for each path its file's name, with the directory where two files have the same."""
    every = [(path, PurePath(path)) for path in paths]
    known = Counter(pure.name for _, pure in every)
    return {path: "/".join(pure.parts[-2:]) if known[pure.name] > 1 else pure.name or path for path, pure in every}
