"""Tool calls with the end of their output and the beginning of their changes, for a message with little room (pure).

All of it is shown nowhere here: what an answer without text is made of stands in `bot.reply.fallback`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from acp.snapshot import Diff, ToolState
from bot.reply.sanitise import clean, clip, code_block, inline_code, units
from bot.reply.tools import SMALL, SUMMARY_LIMIT, comparison_cost, tool_line, tools_in_short

_MOST_TOOLS, _MOST_IN_SHORT = 8, 100
_MOST_DIFFS = 2
_OUTPUT_LINES, _DIFF_LINES = 6, 10
_LINE_LIMIT, _BLOCK_LIMIT = 120, 500
_OUTPUT_LOOKED_AT = 8_192
"""Characters at the end of an output that are looked at: far more than is shown, so that no secret is cut unseen."""
_MOST_COMPARED = 40_000
"""Pairs of lines that are compared for one change: it is done anew at each edit of the message."""


def tool_details(tools: Sequence[ToolState], cut: int, room: int, redact: Callable[[str], str] = str) -> str:
    """Return the last tool calls in detail and those before them in one line; empty without tools.

    Args:
        cut: tool calls that the turn did not keep.
        room: units for all of it.
        redact: takes secrets out, before anything is cut.
    """
    shown: list[str] = []
    left = room - SUMMARY_LIMIT - 1
    for tool in reversed(tools[-_MOST_TOOLS:]):
        detail = _detail(tool, redact)
        if units(detail) + 1 > left and not shown:
            # The latest one is what people look at: its line at least.
            detail = _headline(tool, " · no room for its output")
        if units(detail) + 1 > left:
            break
        shown.append(detail)
        left -= units(detail) + 1
    before = [tool for tool in tools[: len(tools) - len(shown)] if not tool.unfinished]
    far = max(0, len(before) - _MOST_IN_SHORT)
    summary = tools_in_short(before[far:], cut + far, counted=False)
    return "\n".join([*([summary] if summary and units(summary) <= room else []), *reversed(shown)])


def _headline(tool: ToolState, more: str = "") -> str:
    return f"{SMALL}{tool_line(tool.title, tool.status, tool.kind, rejected=tool.rejected)}{more}"


def _detail(tool: ToolState, redact: Callable[[str], str]) -> str:
    """Return a tool call's line, the last lines of what it printed, and the first ones of what it changed."""
    text, shown, all_lines = _last_lines(tool.output, redact)
    cut = shown < all_lines or tool.output_cut > 0
    lines = [_headline(tool, f" · last {shown} of {all_lines:,} lines" if cut and shown else "")]
    lines += [_code(text)] if text else []
    for diff in tool.diffs[:_MOST_DIFFS]:
        lines += _change(diff, redact)
    more = len(tool.diffs) - _MOST_DIFFS + tool.diffs_cut
    told = f"{SMALL}and {more:,} more change{'s' * (more > 1)}"
    return "\n".join([*lines, *([told] if more > 0 else [])])


def _last_lines(output: str, redact: Callable[[str], str]) -> tuple[str, int, int]:
    """Return the end of an output, how many lines that are, and how many there are in all."""
    output = output.strip("\n")
    # Redacted before it is cut: the rest of a cut secret could not be recognised for certain.
    lines = redact(clean(output[-_OUTPUT_LOOKED_AT:])).rstrip().split("\n")
    kept: list[str] = []
    room = _BLOCK_LIMIT
    for line in reversed(lines[-_OUTPUT_LINES:]):
        shown = clip(line.rstrip(), _LINE_LIMIT)
        if units(shown) + 1 > room:
            break
        kept.append(shown)
        room -= units(shown) + 1
    text = "\n".join(reversed(kept))
    return (text, len(kept), output.count("\n") + 1) if text.strip() else ("", 0, 0)


def _change(diff: Diff, redact: Callable[[str], str]) -> list[str]:
    """Return a changed file's line with its counts, and the beginning of the change."""
    name = inline_code(diff.path, 80)
    if comparison_cost(diff.old, diff.new) > _MOST_COMPARED:
        return [f"{SMALL}· {name} · a large change"]
    old, new = (diff.old or "").splitlines(), diff.new.splitlines()
    # Without the two lines that name the file, which stands above.
    text = "\n".join(list(difflib.unified_diff(old, new, lineterm="", n=1))[2:])
    lines = redact(clean(text)).split("\n") if text else []
    added, removed = (sum(line.startswith(sign) for line in lines) for sign in "+-")
    shown = "\n".join(clip(line, _LINE_LIMIT) for line in lines[:_DIFF_LINES])
    cut = f" · first {_DIFF_LINES} of {len(lines):,} lines" if len(lines) > _DIFF_LINES else ""
    return [f"{SMALL}· {name} +{added:,} −{removed:,}{cut}", *([_code(shown, "diff")] if shown else [])]


def _code(text: str, language: str = "") -> str:
    # A line that looks like a status line would be taken for one after a restart: see `bot.reply.live_status`.
    return code_block(text.replace("-# ⏳", "-# \u200b⏳"), language)
