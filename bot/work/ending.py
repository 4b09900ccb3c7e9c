"""How a prompt ended, and what its thread is told about it (pure).

Which of the contract's outcomes an error or a finished turn stands for is decided here and nowhere else (O1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from acp.errors import AUTH_REQUIRED, AcpError, AgentExited, AgentSpawnError, RequestFailed
from acp.turn import Ending, TurnSnapshot
from bot.outcome import Outcome
from bot.reply.final import FinalReply
from bot.reply.render import footer, outcome_lines
from bot.work.model import Inbound

LONG_TURN = 120.0
"""Seconds from which on the requester is notified that the turn is over (D9)."""

_ENDINGS = {
    Ending.ANSWERED: Outcome.ANSWERED,
    Ending.FAILED: Outcome.FAILED,
    Ending.STOPPED: Outcome.STOPPED,
    Ending.TIMED_OUT: Outcome.TIMED_OUT,
    Ending.AGENT_DIED: Outcome.AGENT_DIED,
}


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """The end of a prompt.

    Attributes:
        by: who stopped it.
        reason: why, where neither the outcome nor the turn itself says so.
        snapshot: the turn, if the prompt reached the agent.
    """

    outcome: Outcome
    by: str = ""
    reason: str = ""
    snapshot: TurnSnapshot | None = None


def end_of_snapshot(snapshot: TurnSnapshot) -> TurnEnd:
    """Return the end of a turn that reached the agent."""
    if snapshot.auth_required:
        return TurnEnd(Outcome.COULD_NOT_START, reason=_log_in(snapshot.error.message if snapshot.error else ""))
    assert snapshot.ending is not None
    reason = snapshot.error.message if snapshot.error else ""
    return TurnEnd(_ENDINGS[snapshot.ending], by=snapshot.cancelled_by or "", reason=reason, snapshot=snapshot)


def end_of_error(error: AcpError) -> TurnEnd:
    """Return the end of a prompt for which there was no session."""
    if isinstance(error, RequestFailed) and error.code == AUTH_REQUIRED:
        return TurnEnd(Outcome.COULD_NOT_START, reason=_log_in(error.message))
    reason = str(error)
    exit = error.exit if isinstance(error, AgentSpawnError | AgentExited) else None  # noqa: A001
    if exit is not None:
        last = [line for line in exit.stderr_tail.splitlines() if line.strip()][-1:]
        reason = ": ".join([reason if exit.describe() in reason else f"{reason} ({exit.describe()})", *last])
    return TurnEnd(Outcome.COULD_NOT_START, reason=reason)


def _log_in(message: str) -> str:
    return message if "log in" in message.lower() else f"log in to the agent first: {message}".rstrip(": ")


def stopped(by: str | None) -> TurnEnd:
    """Return the end of a prompt that was stopped before the agent got it."""
    return TurnEnd(Outcome.STOPPED, by=by or "")


def interrupted(snapshot: TurnSnapshot | None = None) -> TurnEnd:
    """Return the end of a prompt that the stop of the bot cut off."""
    if snapshot is not None and snapshot.ending is Ending.ANSWERED:
        return end_of_snapshot(snapshot)
    reason = "Weft is restarting; please send this message again afterwards"
    return TurnEnd(Outcome.INTERRUPTED, reason=reason, snapshot=snapshot)


def crashed() -> TurnEnd:
    """Return the end of a prompt in which Weft itself failed; the log has the traceback."""
    return TurnEnd(Outcome.FAILED, reason="something went wrong in Weft itself")


def not_opened(why: str) -> TurnEnd:
    """Return the end of a prompt whose thread could not be opened."""
    return TurnEnd(Outcome.FAILED, reason=f"the thread could not be opened: {why}")


def lines(end: TurnEnd, redact: Callable[[str], str]) -> tuple[str, ...]:
    """Return what is said about the end."""
    return outcome_lines(end.outcome, end.snapshot, by=end.by, reason=end.reason, redact=redact)


def final_reply(end: TurnEnd, inbound: Inbound, elapsed: float, redact: Callable[[str], str]) -> FinalReply:
    """Return the last state of a reply; ``elapsed`` is in seconds since the prompt was admitted."""
    return FinalReply(
        outcome=end.outcome,
        lines=lines(end, redact),
        footer=footer(end.snapshot, elapsed) if end.snapshot else "",
        ping=inbound.author.id if end.snapshot and elapsed >= LONG_TURN else None,
    )
