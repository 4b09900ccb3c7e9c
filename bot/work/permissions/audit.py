"""The last decisions as people read them in Discord (C5, pure): newest first, a line each."""

from __future__ import annotations

from collections.abc import Sequence

from bot.reply.sanitise import clip, inline_code, units
from pool.store import Decision, DecisionOutcome

LIMIT = 2000
SHOWN = 15
"""How many are asked for."""

NOTHING_HERE = "No agent's request was decided in this thread yet."
NOTHING_ANYWHERE = "No agent's request was decided in this server yet."
_MORE = "-# Newest first; older ones and all details: `weft audit` on the machine that runs me."
SIGNS: dict[DecisionOutcome, str] = {
    "allowed": "✅",
    "rejected": "⛔",
    "agreed": "☑️",
    "answered": "💬",
    "cancelled": "⏹",
    "expired": "⌛",
    "kept": "📌",
    "revoked": "🗑",
    "done": "🌿",
}
TOOL_SIGN = "🔧"
_WIDTHS = (90, 60, 40, 24)
"""Units of what was asked: as many as there is room for."""


def describe_decisions(decisions: Sequence[Decision], *, server: bool) -> str:
    """Return the decisions as Discord Markdown within its limit; ``server``: each with its thread."""
    if not decisions:
        return NOTHING_ANYWHERE if server else NOTHING_HERE
    for width in _WIDTHS:
        text = "\n".join([*(_line(one, width, server=server) for one in decisions), _MORE])
        if units(text) <= LIMIT:
            return text
    # Names and rules are long here: the oldest go.
    return describe_decisions(decisions[:-1], server=server)


def _line(one: Decision, width: int, *, server: bool) -> str:
    place = f" in <#{one.thread_id}>" if server else ""
    sign = TOOL_SIGN if one.decided_by == "agent" else SIGNS[one.outcome]
    return f"{sign} <t:{int(one.at)}:R>{place} {inline_code(one.what, width)}: {told(one)}"


def told(one: Decision) -> str:
    """Return what was decided, and by whom or what."""
    if one.decided_by == "timeout":
        return "nobody answered in time"
    if one.decided_by in ("mode", "rule"):
        # As its line in the thread says it: a rule denies, also where the agent has no option for that.
        done = "allowed" if one.outcome == "allowed" else "denied"
        return f"{done} by the {one.decided_by} {inline_code(one.rule or '?', 40)}"
    if one.decided_by == "agent":
        # Nobody was asked: an agent did it in the name of whoever had asked it.
        done = "not done" if one.outcome == "rejected" else one.outcome
        why = f" ({clip(one.reason, 60)})" if one.reason else ""
        return f"{done} by the agent for {inline_code(one.asker_name, 30)}{why}"
    if one.kind == "rule":
        done = "added" if one.outcome == "kept" else "taken back"
        return f"rule {inline_code(one.rule or '?', 40)} {done} by {inline_code(one.person_name or '?', 30)}"
    if one.decided_by == "person":
        # As the buttons say it: a question is declined.
        done = "declined" if one.kind == "question" and one.outcome == "rejected" else one.outcome
        return f"{done} by {inline_code(one.person_name or '?', 30)}"
    return f"{one.outcome} ({clip(one.reason, 60)})" if one.reason else one.outcome
