"""Tool calls as text: one line each, their output and diffs in full, and where what they do is to be done (pure)."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from bot.reply.sanitise import clip_middle, code_block, inline_code, one_line

_OUTPUT_HEAD = 1_500
_OUTPUT_TAIL = 4_500
"""Characters of a tool's output that an answer made of tool calls shows."""

_DIFF_LINES = 2_000
_DIFF_CHARACTERS = 200_000
_COMPARISONS = 4_000_000
_LONGEST_FENCED = 65_536
_MARKS = {"completed": "✓", "failed": "✗", "in_progress": "▸", "pending": "·"}
_COMMAND_KEYS = ("command", "cmd", "script")
_TERM_KEYS = (*_COMMAND_KEYS, "env", "environment")


def tool_line(title: str | None, status: str | None, kind: str | None = None) -> str:
    """Return a tool call as ``✓ `npm test` ``; a failed one says so."""
    mark = _MARKS.get(status or "", "·")
    failed = " (failed)" if status == "failed" else ""
    return f"{mark} {inline_code(title or kind or 'tool', 100)}{failed}"


def output_block(output: str) -> str:
    """Return a tool's output in a code block; one that the agent fenced already is not fenced twice."""
    return code_block(clip_middle(_unfenced(output.strip("\n")), _OUTPUT_HEAD, _OUTPUT_TAIL))


def _unfenced(output: str) -> str:
    if not output.startswith("```") or len(output) > _LONGEST_FENCED:
        return output
    lines = output.split("\n")
    whole = len(lines) > 1 and lines[-1].strip() == "```"
    return "\n".join(lines[1:-1]) if whole and not any(line.startswith("```") for line in lines[1:-1]) else output


def diff_texts(changes: Iterable[tuple[str, str | None, str | None]]) -> Iterator[str]:
    """Yield each change (path, old, new) as `diff_text()`; those beyond what may be compared in one go, uncompared.

    Comparing costs up to the product of the two numbers of lines, and all threads wait meanwhile.
    """
    room = _COMPARISONS
    for path, old, new in changes:
        cost = (old or "").count("\n") * (new or "").count("\n")
        yield diff_text(path, old, new, compared=cost <= room)
        room -= min(cost, room)


def diff_text(path: str, old: str | None, new: str | None, *, compared: bool = True) -> str:
    """Return a unified diff; a new file is all additions; a change too large to compare is told in one line.

    ``compared``: without it, all old lines go and all new ones come.
    """
    before, after = (old or "").splitlines(), (new or "").splitlines()
    name = one_line(path)
    if len(old or "") + len(new or "") > _DIFF_CHARACTERS or len(before) + len(after) > _DIFF_LINES:
        return f"{name}: {len(before):,} lines become {len(after):,}"
    source = "/dev/null" if old is None else name
    if not compared:
        return "\n".join(
            [f"--- {source}", f"+++ {name}", *(f"-{line}" for line in before), *(f"+{line}" for line in after)]
        )
    return "\n".join(difflib.unified_diff(before, after, source, name, lineterm=""))


def command_of(raw_input: Any) -> str | None:
    """Return the command line in a tool call's input, if there is one."""
    key = _command_key(raw_input)
    if key is None:
        return None
    value = raw_input[key]
    return value if isinstance(value, str) else " ".join(_quoted(word) for word in value)


def terms_of(raw_input: Any) -> str:
    """Return what stands beside the command and changes what it does: switches, the environment, another command."""
    command = _command_key(raw_input)
    terms = {
        key: value
        for key, value in raw_input.items()
        if key != command and (isinstance(value, bool) or (key in _TERM_KEYS and value))
    }
    return json.dumps(terms, ensure_ascii=False, default=str) if terms else ""


def _command_key(raw_input: Any) -> str | None:
    if not isinstance(raw_input, dict):
        return None
    for key in _COMMAND_KEYS:
        value = raw_input.get(key)
        if isinstance(value, str) and value.strip():
            return key
        if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
            return key
    return None


def input_text(raw_input: Any) -> str:
    """Return a tool call's input as indented JSON; empty if there is none."""
    if raw_input in (None, {}, []):
        return ""
    return json.dumps(raw_input, indent=2, ensure_ascii=False, default=str)


def places(paths: Iterable[tuple[str, int | None]], most: int) -> str:
    """Return the first ``most`` paths, with their lines where known, as inline code; the rest is counted."""
    unique = list(dict.fromkeys(paths))
    shown = ", ".join(_places(unique[:most]))
    more = len(unique) - most
    return f"{shown} and {more} more" if more > 0 else shown


def _places(paths: list[tuple[str, int | None]]) -> Iterator[str]:
    for path, line in paths:
        yield inline_code(path if line is None else f"{path}:{line}", 120)


def _quoted(word: str) -> str:
    """Return a word of a command as a shell would need it; one that needs no quotes stays as it is."""
    if word and all(character.isalnum() or character in "@%+=:,./-_" for character in word):
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"
