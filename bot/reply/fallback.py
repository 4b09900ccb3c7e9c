"""The fallback built from tool output: what a reply shows where its agent said nothing (pure)."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Iterator
from math import inf

from acp.snapshot import TurnSnapshot
from bot.model import Outcome
from bot.reply.sanitise import clip, code_block, inline_code, one_line
from bot.reply.tools import COMPARISONS, comparison_cost, output_block, tool_line, worth_showing

_DETAIL_ROOM = 1_000_000

_DIFF_LINES = 30
"""Lines of a change that a message shows; a longer one is a file (V3)."""


def fallback_text(snapshot: TurnSnapshot, outcome: Outcome, files: list[str] | None = None) -> str:
    """Return what stands in place of an answer that has no text (T4); empty if the outcome's lines say enough.

    ``files``: takes the changes that are to be a file (V3); without it they stand in the text as well.
    """
    if not snapshot.tools:
        if outcome is not Outcome.ANSWERED:
            return ""
        # An agent's stop reason may be any text: as code, nothing in it has an effect.
        reason = inline_code(snapshot.stop_reason or "unknown", 40)
        return f"The agent finished without saying anything or using a tool (stop reason {reason})."
    # One iterator for all tools: what may be compared is limited for the answer as a whole.
    diffs = diff_texts((diff.path, diff.old, diff.new) for tool in snapshot.tools for diff in tool.diffs)
    blocks, room = [], _DETAIL_ROOM
    for tool in snapshot.tools:
        parts = [tool_line(tool.title, tool.status, tool.kind, rejected=tool.rejected)]
        if room > 0:  # beyond a megabyte the states only
            for diff, text in zip(tool.diffs, itertools.islice(diffs, len(tool.diffs)), strict=True):
                parts.append(_headline(diff.path, text))
                if files is not None and text.count("\n") >= _DIFF_LINES:
                    parts[-1] += f" ({text.count(chr(10)) + 1:,} lines, in the file)"
                    files.append(text)
                else:
                    parts.append(code_block(text, "diff"))
            parts += [f"-# Changes too large to keep: {tool.diffs_cut}"] if tool.diffs_cut else []
            parts += [output_block(tool.output)] if tool.output.strip() else []
        blocks.append("\n".join(parts))
        room -= len(blocks[-1])
    return "\n\n".join(blocks)


def _headline(path: str, diff: str) -> str:
    """Return a file with the lines that came and went in it: `` `README.md` +4 −1``."""
    # Counted in what is shown, so that the two never differ; the first two lines name the file.
    lines = diff.split("\n")[2:]
    added, removed = (sum(line.startswith(sign) for line in lines) for sign in "+-")
    return f"{inline_code(path, 120)} +{added:,} −{removed:,}" if lines else inline_code(path, 120)


def diff_texts(changes: Iterable[tuple[str, str | None, str | None]]) -> Iterator[str]:
    """Yield each change (path, old, new) as a unified diff; a new file is all additions.

    Beyond what may be compared in one go, all old lines go and all new ones come; a change that is too large by itself
    is summed up in one line.
    """
    room = COMPARISONS
    for path, old, new in changes:
        before, after = (old or "").splitlines(), (new or "").splitlines()
        name, cost = one_line(path), comparison_cost(old, new)
        source = "/dev/null" if old is None else name
        if cost == inf:
            # A diff that nobody would read to its end takes seconds to compute, and all threads would wait.
            yield f"{name}: {len(before):,} lines replaced by {len(after):,}"
        elif cost > room:
            lines = [f"--- {source}", f"+++ {name}", *(f"-{line}" for line in before), *(f"+{line}" for line in after)]
            yield "\n".join(lines)
        else:
            # Taken off for all changes of one answer together: a thousand cunning ones would add up.
            room -= int(cost)
            yield "\n".join(difflib.unified_diff(before, after, source, name, lineterm=""))


def tools_summary(snapshot: TurnSnapshot) -> str:
    """Return the last tool calls in one small line; empty if there is none."""
    tools = worth_showing(snapshot.tools)
    if not tools:
        return ""
    lines = [tool_line(tool.title, tool.status, tool.kind, rejected=tool.rejected) for tool in tools[-3:]]
    more = f"{len(tools) - 3} more · " if len(tools) > 3 else ""
    return clip(f"-# {more}{' · '.join(lines)}", 500)
