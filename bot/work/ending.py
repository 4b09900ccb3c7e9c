"""How a prompt ended, and what its thread is told about it (pure).

Which of the contract's outcomes a finished turn stands for is decided here and nowhere else (O1); what an agent's error
codes mean stands in `bot.work.errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from acp.errors import AcpError, AgentExited, AgentSpawnError, RequestFailed
from acp.snapshot import Ending, TurnSnapshot
from bot.model import Inbound, Outcome
from bot.reply.cards import turn_button
from bot.reply.pending_reply import FinalReply, Handout
from bot.reply.render import footer, outcome_lines
from bot.reply.sanitise import visible
from bot.reply.tools import tools_in_short
from bot.work.errors import told_of_answer, told_of_start, with_data

_LOOKED_AT = 4_096
"""Characters of an answer that are looked at before all of it is, which may be megabytes."""

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
        stderr: the last words of an agent that ended in its start.
        rejection: a sentence for a turn that the agent ended by itself since what it asked for was rejected.
        snapshot: the turn, if the prompt reached the agent.
        handout: the files that the agent hands out.
    """

    outcome: Outcome
    by: str = ""
    reason: str = ""
    stderr: str = ""
    rejection: str = ""
    snapshot: TurnSnapshot | None = None
    handout: Handout | None = None


def end_of_snapshot(snapshot: TurnSnapshot, methods: Sequence[str] = ()) -> TurnEnd:
    """Return the end of a turn that reached the agent; ``methods`` are the names of its ways to log in."""
    assert snapshot.ending is not None
    by, reason = snapshot.cancelled_by or "", snapshot.error.message if snapshot.error else ""
    if snapshot.ending is not Ending.FAILED or snapshot.error is None:
        return TurnEnd(_ENDINGS[snapshot.ending], by=by, reason=reason, snapshot=snapshot)
    told = told_of_answer(snapshot.error.code, with_data(reason, snapshot.error.data), methods)
    return TurnEnd(told.outcome, by=by, reason=told.reason, snapshot=snapshot)


def end_of_error(error: AcpError, methods: Sequence[str] = ()) -> TurnEnd:
    """Return the end of a prompt for which there was no session."""
    if isinstance(error, RequestFailed):
        message, text = with_data(error.message, error.data), with_data(str(error), error.data)
        told = told_of_start(error.code, message, text, methods)
        return TurnEnd(told.outcome, reason=told.reason)
    refusal = _refusal(error)
    reason = with_data(str(error), refusal.data) if refusal is not None else str(error)
    exit = error.exit if isinstance(error, AgentSpawnError | AgentExited) else None  # noqa: A001
    if exit is None:
        return TurnEnd(Outcome.COULD_NOT_START, reason=reason)
    reason = reason if exit.describe() in reason else f"{reason} ({exit.describe()})"
    return TurnEnd(Outcome.COULD_NOT_START, reason=reason, stderr=exit.stderr_tail)


def _refusal(error: BaseException | None) -> RequestFailed | None:
    """Return the agent's own error behind a failed start: the connection and the pool chain theirs to it."""
    while error is not None and not isinstance(error, RequestFailed):
        error = error.__cause__
    return error


def stopped(by: str | None) -> TurnEnd:
    """Return the end of a prompt that was stopped before the agent got it."""
    return TurnEnd(Outcome.STOPPED, by=by or "")


def interrupted(snapshot: TurnSnapshot | None = None) -> TurnEnd:
    """Return the end of a prompt that the stop of the bot cut off."""
    if snapshot is not None and snapshot.ending is Ending.ANSWERED:
        return end_of_snapshot(snapshot)
    reason = "Weft is restarting"
    return TurnEnd(Outcome.INTERRUPTED, reason=reason, snapshot=snapshot)


def busy() -> TurnEnd:
    """Return the end of a message that came while too much waited to be written down."""
    return TurnEnd(Outcome.DROPPED, reason="Weft is too busy to take messages just now")


def crashed() -> TurnEnd:
    """Return the end of a prompt in which Weft itself failed; the log has the traceback."""
    return TurnEnd(Outcome.FAILED, reason="something went wrong in Weft itself")


def not_opened(why: str) -> TurnEnd:
    """Return the end of a prompt whose thread could not be opened."""
    return TurnEnd(Outcome.FAILED, reason=f"the thread could not be opened: {why}")


def lines(end: TurnEnd, redact: Callable[[str], str]) -> tuple[str, ...]:
    """Return what is said about the end."""
    return outcome_lines(
        end.outcome,
        end.snapshot,
        by=end.by,
        reason=end.reason,
        stderr=end.stderr,
        rejection=end.rejection if end.outcome is Outcome.STOPPED else "",
        redact=redact,
    )


def _tools_line(snapshot: TurnSnapshot | None) -> tuple[str, ...]:
    """Return what the agent did beside what it said; an answer without text is made of that anyway (T4)."""
    if snapshot is None or not (visible(snapshot.text[:_LOOKED_AT]) or visible(snapshot.text)):
        return ()
    line = tools_in_short(snapshot.tools, snapshot.tools_cut)
    return (line,) if line else ()


def final_reply(
    end: TurnEnd, inbound: Inbound, elapsed: float, redact: Callable[[str], str], *, kept: bool
) -> FinalReply:
    """Return the last state of a reply.

    Args:
        elapsed: seconds since the prompt was admitted.
        kept: the next run of the bot will know the prompt.
    """
    again = kept and end.outcome is Outcome.INTERRUPTED
    return FinalReply(
        outcome=end.outcome,
        lines=(*_tools_line(end.snapshot), *lines(end, redact)),
        footer=footer(end.snapshot, elapsed) if end.snapshot else "",
        ping=inbound.author.id if end.snapshot and elapsed >= LONG_TURN else None,
        buttons=(turn_button("go", inbound.thread_id, inbound.message_id),) if again else (),
        handout=end.handout,
    )
