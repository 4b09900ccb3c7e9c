"""What a board says: a line for each thread that is alive, those that need somebody first (pure).

Times are Discord's own: a reader's client counts on by itself, so that a board is only edited when a state changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bot.reply.port import MESSAGE_LIMIT
from bot.reply.sanitise import inline_code, units
from bot.work.thread_states import State, ThreadState

HEADING = "**Board**"
"""What a message of Weft's begins with that is a board."""
ENDING = "-# Updated by itself. `/board off` removes it."
NOTHING = "Nothing is going on."
MOST_LINES = 25
QUIET_AFTER = 3600.0
"""Seconds after its end in which a thread is still listed."""

_ORDER = (State.NEEDS_YOU, State.FAILED, State.WORKING, State.WAITING, State.DONE)
_SIGNS = {
    State.NEEDS_YOU: "🔐",
    State.FAILED: "❌",
    State.WORKING: "⚙️",
    State.WAITING: "⏳",
    State.DONE: "✅",
}
_AGENT_LIMIT = 32


@dataclass(frozen=True, slots=True)
class Line:
    """A thread on a board.

    Attributes:
        cost: what it has cost today, as text, "" if nobody knows.
        project: what it works on, by name; None: no project.
    """

    thread: ThreadState
    cost: str = ""
    project: str | None = None


def alive(thread: ThreadState, now: float) -> bool:
    """Return whether a thread is listed: something runs or waits there, or ended not long ago."""
    return thread.outcome is None or now - thread.since < QUIET_AFTER


def board(lines: Sequence[Line]) -> str:
    """Return a board with its most urgent lines, as many as a message holds, and how many there are besides."""
    # Of two in the same state the one that is in it for longer; what is done, the latest first.
    ordered = sorted(
        lines,
        key=lambda one: (
            _ORDER.index(one.thread.state),
            -one.thread.since if one.thread.state is State.DONE else one.thread.since,
        ),
    )
    counts = Counter(one.thread.state for one in ordered)
    told = ", ".join(f"{counts[state]} {state}" for state in _ORDER if counts[state])
    head = f"{HEADING} · {told}" if told else f"{HEADING}\n{NOTHING}"
    shown = [_line(one) for one in ordered[:MOST_LINES]]
    # Measured with the longest line about the others: how many there are is known only afterwards.
    while units("\n".join([head, *shown, _more(len(ordered)), ENDING])) > MESSAGE_LIMIT:
        shown.pop()
    left_out = len(ordered) - len(shown)
    return "\n".join([head, *shown, *([_more(left_out)] if left_out else []), ENDING])


def _more(count: int) -> str:
    return f"-# and {count} more"


def _line(line: Line) -> str:
    thread = line.thread
    # Bold where somebody has to act. The name of a thread is filled in by Discord, for those who may see it.
    state = f"**{thread.state}**" if thread.state in (State.NEEDS_YOU, State.FAILED) else str(thread.state)
    parts = [
        f"{_SIGNS[thread.state]} <#{thread.place.thread_id}> {state} <t:{int(thread.since)}:R>",
        inline_code(line.project, _AGENT_LIMIT) if line.project else "",
        inline_code(thread.agent, _AGENT_LIMIT) if thread.agent else "",
        line.cost,
    ]
    return " · ".join(part for part in parts if part)
