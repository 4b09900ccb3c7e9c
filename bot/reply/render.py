"""A turn that is over as text: the lines about its end, and the footer (pure).

Titles, outputs and errors are an agent's or a program's: they are shown as code, so that nothing in them has an effect.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from acp.snapshot import BY_AGENT, TurnSnapshot
from bot.model import Outcome
from bot.reply.sanitise import clip, code_block, inline_code, one_line, reveal, units

_FOOTER_LIMIT = 120
_REASON_LIMIT = 900
_STDERR_LINES, _STDERR_LINE, _STDERR_ROOM = 10, 200, 900
_MOST_OF_CONTEXT, _MOST_COST = 10, 1e9

_LIMITS = {
    "refusal": "The agent refused to go on with this request.",
    "max_tokens": "The agent hit its token limit, so the answer may be incomplete.",
    "max_turn_requests": "The agent hit its limit of requests per turn, so the work may be incomplete.",
}

HEADLINES = {
    Outcome.ANSWERED: "Answered",
    Outcome.FAILED: "Failed",
    Outcome.STOPPED: "Stopped",
    Outcome.SUPERSEDED: "Replaced",
    Outcome.REMOVED: "Removed",
    Outcome.DROPPED: "Not run",
    Outcome.STALE: "Not run",
    Outcome.TIMED_OUT: "Timed out",
    Outcome.AGENT_DIED: "The agent crashed",
    Outcome.AGENT_UNREACHABLE: "The agent can't be reached",
    Outcome.COULD_NOT_START: "The agent could not start",
    Outcome.OVER_BUDGET: "Not run",
    Outcome.INTERRUPTED: "Interrupted",
}
"""What people read for an outcome; its own word is for logs and metrics (O1)."""

_NEXT_STEPS = {
    Outcome.FAILED: "Send it again to retry.",
    Outcome.DROPPED: "Send it again later.",
    Outcome.STALE: "Send it again if you still want it.",
    Outcome.TIMED_OUT: "Write again to go on.",
    Outcome.AGENT_DIED: "Write again to go on.",
    Outcome.AGENT_UNREACHABLE: "Write again to go on, on another machine if need be.",
    Outcome.COULD_NOT_START: "Send it again once that is fixed.",
    Outcome.OVER_BUDGET: "An approver can allow it.",
    Outcome.INTERRUPTED: "Continue or send this message again once it is back.",
}


def coarse(seconds: float) -> str:
    """Return a time that changes seldom, so that it alone causes few edits: ``25 s``, ``2 min``, ``1 h 05 min``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole // 5 * 5} s"
    minutes = whole // 60
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def duration(seconds: float) -> str:
    """Return a limit of time as people say it, never shorter than it is: ``4 s``, ``1 min 30 s``, ``10 min``."""
    whole = max(1, ceil(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


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
    """Return what people read about the end of an accepted message (O1) and about what was cut (T10).

    Args:
        by: who stopped it, for `Outcome.STOPPED`, `Outcome.SUPERSEDED` and `Outcome.REMOVED`.
        reason: why; without it the snapshot's error is used.
        stderr: the last words of an agent that ended in its start.
        rejection: said in place of the outcome: nobody stopped the turn, the agent gave up.
        redact: takes secrets out of messages and of the agent's stderr.
    """
    cut = _left_out(snapshot) if snapshot else ()
    if outcome is Outcome.ANSWERED:
        limit = _LIMITS.get(snapshot.stop_reason or "") if snapshot else None
        return (f"-# ⚠️ {limit}", *cut) if limit else cut
    if rejection:
        return (f"⏹ {rejection}", *cut)
    # Redacted whole, before lines are taken: a secret may go over several.
    words = redact(stderr)
    sign = "⏹" if outcome in (Outcome.STOPPED, Outcome.SUPERSEDED, Outcome.REMOVED) else "⚠️"
    told = _sentence(outcome, snapshot, by, ": ".join([reason, *last_lines(words)]), redact)
    step = _NEXT_STEPS.get(outcome)
    headline = f"{sign} {told} {step}" if step else f"{sign} {told}"
    lines = [clip(line, _STDERR_LINE) for line in last_lines(words, _STDERR_LINES)]
    while len(lines) > 1 and units(code_block("\n".join(lines))) > _STDERR_ROOM:
        del lines[0]  # the last lines say why it ended
    # A single line stands in the sentence already.
    return (headline, *([code_block("\n".join(lines))] if len(lines) > 1 else []), *cut)


def _left_out(snapshot: TurnSnapshot) -> tuple[str, ...]:
    """Return a line for each kind of thing that the turn could not keep (T10) or nobody could take (T9)."""
    lines, lost = [], snapshot.lost
    if snapshot.text_cut:
        lines.append(f"-# {snapshot.text_cut:,} bytes of the answer were left out: it was too long")
    if snapshot.tools_cut:
        lines.append(f"-# {snapshot.tools_cut:,} more tool calls are not listed")
    size = f"{lost.size / 1e6:.0f} MB" if lost.size >= 1e6 else f"{lost.size / 1e3:.0f} kB"
    for count, what in ((lost.too_long, "too large"), (lost.unreadable, "not readable")):
        if count == 1:
            sizes = f" ({size})" if what == "too large" else ""
            lines.append(f"-# ⚠️ A message of the agent was {what}{sizes} and is missing here.")
        elif count:
            sizes = f" ({size} in all)" if what == "too large" else ""
            lines.append(f"-# ⚠️ {count:,} messages of the agent were {what}{sizes} and are missing here.")
    return tuple(lines)


def _sentence(
    outcome: Outcome, snapshot: TurnSnapshot | None, by: str, reason: str, redact: Callable[[str], str]
) -> str:
    """Return what happened, as one sentence that begins with the outcome's headline."""
    head = HEADLINES[outcome]
    reason = redact(reason or (snapshot.error.message if snapshot is not None and snapshot.error else ""))
    if outcome is Outcome.STOPPED:
        # What is not ours is somebody's name, and shown as code.
        who = by or (snapshot.cancelled_by if snapshot else None) or BY_AGENT
        forced = " The agent did not react, so it was ended." if snapshot is not None and snapshot.killed else ""
        return f"**{head}** by {who if who == BY_AGENT else inline_code(who, 60)}.{forced}"
    if outcome is Outcome.SUPERSEDED:
        return f"**{head}** by a newer message{f' from {inline_code(by, 60)}' if by else ''}."
    if outcome is Outcome.REMOVED:
        # Reasons for this and for not running are Weft's own words, none of an agent's: they need no code around them.
        return f"**{head}** from the queue{f' by {inline_code(by, 60)}' if by else f': {reason}' if reason else ''}."
    gone = (Outcome.AGENT_DIED, Outcome.AGENT_UNREACHABLE)
    if outcome in gone and snapshot is not None and snapshot.exit is not None:
        last = last_lines(redact(snapshot.exit.stderr_tail))
        told = ", last said ".join([snapshot.exit.describe(), *(inline_code(line, 300) for line in last)])
        return f"**{head}:** {told}."
    if not reason:
        return f"**{head}.**"
    if outcome in (Outcome.DROPPED, Outcome.STALE, Outcome.OVER_BUDGET, Outcome.INTERRUPTED):
        return f"**{head}:** {reason}."
    return f"**{head}:** {inline_code(reason, _REASON_LIMIT)}."


def last_lines(text: str, count: int = 1) -> list[str]:
    """Return the last lines in which a reader would see something."""
    return [line.rstrip() for line in reveal(text).splitlines() if line.strip()][-count:]


def footer(snapshot: TurnSnapshot, seconds: float) -> str:
    """Return ``-# 12 s · 3 tools · 41% of context · $0.02 · model · mode``; unknown parts are left out (D5)."""
    whole = max(0, round(seconds))
    # What was not allowed did not run, whatever the agent calls it.
    tools = sum(not tool.rejected for tool in snapshot.tools) + snapshot.tools_cut
    parts = [
        f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02} s",
        "" if not tools else "1 tool" if tools == 1 else f"{tools} tools",
        context_share(snapshot),
        cost(snapshot),
        inline_code(snapshot.model, 40) if snapshot.model else "",
        inline_code(snapshot.mode, 24) if snapshot.mode else "",
    ]
    return clip("-# " + " · ".join(part for part in parts if part), _FOOTER_LIMIT)


def context_share(snapshot: TurnSnapshot) -> str:
    """Return how full the context window is: ``41% of context``; empty if unknown."""
    use = snapshot.context
    # An agent's numbers have no bound; a share beyond reason is as good as unknown.
    if use is None or use.size <= 0 or not 0 <= use.used <= use.size * _MOST_OF_CONTEXT:
        return ""
    return f"{use.used * 100 / use.size:.0f}% of context"


def cost(snapshot: TurnSnapshot) -> str:
    """Return what the session has cost so far: ``$0.02``; empty if unknown."""
    spent = snapshot.cost
    if spent is None or not 0 < spent.amount < _MOST_COST:
        return ""
    # Two places would show a cheap turn as free.
    amount = f"{spent.amount:.2f}" if spent.amount >= 0.005 else f"{spent.amount:.4f}"
    return f"${amount}" if spent.currency.upper() == "USD" else f"{amount} {one_line(reveal(spent.currency))[:8]}"
