"""A turn as text: status line, the answer made of tool calls, the lines about its end, the footer (pure).

Titles, outputs and errors are an agent's or a program's: they are shown as code, so that nothing in them has an effect.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from acp.snapshot import BY_AGENT, Lost, Phase, ToolState, TurnSnapshot
from bot.model import Outcome
from bot.reply.sanitise import clip, code_block, inline_code, one_line, reveal, units
from bot.reply.tools import diff_texts, output_block, tool_line

SILENCE = 60.0
"""Seconds without an event after which the status line says so (T7)."""

_FOOTER_LIMIT = 120
STATUS_LIMIT = 110
"""Units of a status line for which there is room below any text."""

_LAST_WORDS = 120
_TITLE_LIMIT = 60
_REASON_LIMIT = 900
_STDERR_LINES, _STDERR_LINE, _STDERR_ROOM = 10, 200, 900
_DETAIL_ROOM = 1_000_000
_MOST_OF_CONTEXT, _MOST_COST = 10, 1e9

_LIMITS = {
    "refusal": "The agent refused to go on with this request.",
    "max_tokens": "The agent reached its limit of tokens; the answer may be incomplete.",
    "max_turn_requests": "The agent reached its limit of requests in one turn; the work may be incomplete.",
}


# --- while the turn runs ---------------------------------------------------------------------------------------------


def status_line(snapshot: TurnSnapshot, now: float, limit: int = STATUS_LIMIT) -> str:
    """Return what the turn is doing in one small line: ``-# ⏳ 25 s · `npm test` · plan 2/5``."""
    parts = [coarse(now - snapshot.started), *_doing(snapshot, now)]
    if snapshot.plan:
        done = sum(entry.status == "completed" for entry in snapshot.plan)
        parts.append(f"plan {done}/{len(snapshot.plan)}")
    return clip("-# ⏳ " + " · ".join(parts), limit)


def worth_showing(snapshot: TurnSnapshot) -> bool:
    """Return whether the status alone is worth a message."""
    return bool(snapshot.tools or snapshot.plan)


def _doing(snapshot: TurnSnapshot, now: float) -> list[str]:
    silent = snapshot.silent_for(now)
    if snapshot.phase is Phase.CANCELLING:
        return ["stopping"]
    if snapshot.permissions:
        return ["waiting for a decision"]
    tool = snapshot.current_tool
    doing = [inline_code(tool.title or tool.kind, _TITLE_LIMIT)] if tool else []
    if silent >= SILENCE:
        doing.append(f"no sign of life for {coarse(silent)}: {why_silent(snapshot)}")
    return doing


def why_silent(snapshot: TurnSnapshot) -> str:
    """Return what a long silence may mean, what to do, and the agent's last words on its stderr (T7)."""
    if snapshot.current_tool is not None:
        return "the tool may be slow. Wait or press Stop"
    # While a provider refuses or is overloaded, agents retry and tell nobody: for minutes.
    said = f" (it last said {inline_code(snapshot.last_words, _LAST_WORDS)})" if snapshot.last_words else ""
    return f"the model's provider may refuse or be overloaded{said}. Wait or press Stop"


def coarse(seconds: float) -> str:
    """Return a time that changes seldom, so that it alone causes few edits: ``25 s``, ``2 min``, ``1 h 05 min``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole // 5 * 5} s"
    minutes = whole // 60
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def tools_summary(snapshot: TurnSnapshot) -> str:
    """Return the last tool calls in one small line; empty if there is none."""
    if not snapshot.tools:
        return ""
    last = " · ".join(
        tool_line(tool.title, tool.status, tool.kind, rejected=tool.rejected) for tool in snapshot.tools[-3:]
    )
    more = f"{len(snapshot.tools) - 3} more · " if len(snapshot.tools) > 3 else ""
    return clip(f"-# {more}{last}", 500)


# --- an answer without text ------------------------------------------------------------------------------------------


def final_text(snapshot: TurnSnapshot, outcome: Outcome) -> str:
    """Return what stands in place of an answer that has no text (T4); empty if the outcome's lines say enough."""
    if snapshot.tools:
        return _tools_text(snapshot)
    if outcome is Outcome.ANSWERED:
        reason = inline_code(snapshot.stop_reason or "unknown", 40)
        return f"The agent ended its turn without a word and without using a tool (stop reason {reason})."
    return ""


def _tools_text(snapshot: TurnSnapshot) -> str:
    """Return the tool calls with their states, outputs and diffs; beyond a megabyte the states only."""
    diffs = diff_texts((diff.path, diff.old, diff.new) for tool in snapshot.tools for diff in tool.diffs)
    blocks, room = [], _DETAIL_ROOM
    for tool in snapshot.tools:
        block = tool_line(tool.title, tool.status, tool.kind, rejected=tool.rejected)
        if room > 0:
            block = "\n".join([block, *_details(tool, diffs)])
        blocks.append(block)
        room -= len(block)
    return "\n\n".join(blocks)


def _details(tool: ToolState, diffs: Iterator[str]) -> list[str]:
    parts = [code_block(text, "diff") for text in itertools.islice(diffs, len(tool.diffs))]
    if tool.diffs_cut:
        parts.append(f"-# {tool.diffs_cut} more changes were too large to keep")
    if tool.output.strip():
        parts.append(output_block(tool.output))
    return parts


# --- the end ---------------------------------------------------------------------------------------------------------


def outcome_lines(
    outcome: Outcome,
    snapshot: TurnSnapshot | None = None,
    *,
    by: str = "",
    reason: str = "",
    stderr: str = "",
    rejection: str = "",
    redact: Callable[[str], str] = str,
) -> tuple[str, ...]:
    """Return what is said about the end of an accepted message (O1) and about what was cut (T10).

    Args:
        by: who stopped it, for `Outcome.STOPPED` and `Outcome.SUPERSEDED`.
        reason: why; without it the snapshot's error is used.
        stderr: the last words of an agent that ended in its start.
        rejection: said in place of the outcome: nobody stopped the turn, the agent gave up.
        redact: takes secrets out of messages and of the agent's stderr.
    """
    cut = _cut(snapshot) if snapshot else ()
    if outcome is Outcome.ANSWERED:
        limit = _LIMITS.get(snapshot.stop_reason or "") if snapshot else None
        return (f"-# ⚠️ {limit}", *cut) if limit else cut
    if rejection:
        return (f"⏹ {rejection}", *cut)
    sign = "⏹" if outcome in (Outcome.STOPPED, Outcome.SUPERSEDED, Outcome.REMOVED) else "⚠️"
    words = redact(stderr)  # whole, before lines are taken: a secret may go over several
    detail = _detail(outcome, snapshot, by, ": ".join([reason, *_last_lines(words, 1)]), redact)
    return (f"{sign} **{outcome}**" + (f": {detail}" if detail else ""), *_stderr_block(words), *cut)


def _cut(snapshot: TurnSnapshot) -> tuple[str, ...]:
    """Return a line for each kind of thing that the turn could not keep."""
    text = (f"-# {snapshot.text_cut:,} more bytes of the answer were not kept",) if snapshot.text_cut else ()
    tools = (f"-# {snapshot.tools_cut:,} more tool calls were not kept",) if snapshot.tools_cut else ()
    return text + tools + _lost(snapshot.lost)


def _lost(lost: Lost) -> tuple[str, ...]:
    """Return a line for what the agent wrote and nobody could take (T9)."""
    size = f"{lost.size / 1e6:.0f} MB" if lost.size >= 1e6 else f"{lost.size / 1e3:.0f} kB"
    lines = (
        _missing(lost.too_long, f"too large ({size})", f"too large ({size} in all)"),
        _missing(lost.unreadable, "not readable", "not readable"),
    )
    return tuple(line for line in lines if line)


def _missing(count: int, one: str, many: str) -> str:
    if not count:
        return ""
    if count == 1:
        return f"-# ⚠️ A message of the agent was {one} and is missing here."
    return f"-# ⚠️ {count:,} messages of the agent were {many} and are missing here."


def _detail(outcome: Outcome, snapshot: TurnSnapshot | None, by: str, reason: str, redact: Callable[[str], str]) -> str:
    if outcome is Outcome.AGENT_DIED and snapshot is not None and snapshot.exit is not None:
        last = _last_lines(redact(snapshot.exit.stderr_tail), 1)
        return ", last said ".join([snapshot.exit.describe(), *(inline_code(line, 300) for line in last)])
    if outcome is Outcome.STOPPED:
        who = by or (snapshot.cancelled_by if snapshot else None) or BY_AGENT
        forced = ", forced: the agent did not answer the cancel" if snapshot is not None and snapshot.killed else ""
        return f"by {who if who == BY_AGENT else inline_code(who, 60)}{forced}"
    why = redact(reason or (snapshot.error.message if snapshot is not None and snapshot.error else ""))
    return inline_code(why, _REASON_LIMIT) if why else (f"by {inline_code(by, 60)}" if by else "")


def last_line(text: str) -> str:
    """Return the last line in which a reader would see something; empty if there is none."""
    return "".join(_last_lines(text, 1))


def _last_lines(text: str, count: int) -> list[str]:
    """Return the last lines in which a reader would see something, at most ``count``."""
    return [line.rstrip() for line in reveal(text).splitlines() if line.strip()][-count:]


def _stderr_block(words: str) -> tuple[str, ...]:
    """Return the last lines of a stderr, as many as have room; nothing where there is no more than one."""
    lines = [clip(line, _STDERR_LINE) for line in _last_lines(words, _STDERR_LINES)]
    while len(lines) > 1 and units(code_block("\n".join(lines))) > _STDERR_ROOM:
        del lines[0]
    return (code_block("\n".join(lines)),) if len(lines) > 1 else ()


def footer(snapshot: TurnSnapshot, seconds: float) -> str:
    """Return ``-# 12 s · 3 tools · 41 % of context · $0.02 · model``; unknown parts are left out (D5)."""
    parts = [
        _exactly(seconds),
        _tools(sum(not tool.rejected for tool in snapshot.tools) + snapshot.tools_cut),
        context_share(snapshot),
        cost(snapshot),
        _model(snapshot),
    ]
    return clip("-# " + " · ".join(part for part in parts if part), _FOOTER_LIMIT)


def _exactly(seconds: float) -> str:
    whole = max(0, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02} s"


def _tools(count: int) -> str:
    return "" if not count else "1 tool" if count == 1 else f"{count} tools"


def context_share(snapshot: TurnSnapshot) -> str:
    """Return how full the context window is: ``41 % of context``; empty if unknown."""
    use = snapshot.context
    # An agent's numbers have no bound; a share beyond reason is as good as unknown.
    if use is None or use.size <= 0 or not 0 <= use.used <= use.size * _MOST_OF_CONTEXT:
        return ""
    return f"{use.used * 100 / use.size:.0f} % of context"


def cost(snapshot: TurnSnapshot) -> str:
    """Return what the session has cost so far: ``$0.02``; empty if unknown."""
    spent = snapshot.cost
    if spent is None or not 0 < spent.amount < _MOST_COST:
        return ""
    amount = f"{spent.amount:.2f}" if spent.amount >= 0.005 else f"{spent.amount:.4f}"
    return f"${amount}" if spent.currency.upper() == "USD" else f"{amount} {one_line(reveal(spent.currency))[:8]}"


def _model(snapshot: TurnSnapshot) -> str:
    return inline_code(snapshot.model, 40) if snapshot.model else ""
