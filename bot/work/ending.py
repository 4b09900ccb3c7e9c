"""How a prompt ended, and what its thread reads about it (pure).

Which of the contract's outcomes a finished turn stands for is decided here and nowhere else (O1); what an agent's error
codes mean stands in `bot.work.errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from acp.errors import AcpError, AgentExited, AgentSpawnError, RequestFailed, SpawnFailure
from acp.snapshot import Ending, TurnSnapshot
from bot.model import Inbound, Outcome, Verbosity
from bot.reply.cards import TurnButton, turn_button
from bot.reply.live_status import thought_line
from bot.reply.pending_reply import FinalReply, Handout
from bot.reply.port import MESSAGE_LIMIT
from bot.reply.render import footer, outcome_lines
from bot.reply.sanitise import units, visible
from bot.reply.tool_details import tool_details
from bot.reply.tools import tools_in_short
from bot.work.errors import FREE_FORM, LOGIN, ROWS, advised, with_data

_LOOKED_AT = 4_096
"""Characters of an answer that are looked at before all of it is, which may be megabytes."""

USE_LOGIN = "`/login` shows how to log in."

_WORK_LIMIT, _LEAST_ROOM, _SPARE = 1_200, 400, 160
"""Units for the work in detail, below which it is one line, and for the footer and whom the message notifies."""

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
        login: it takes a login first.
        rejection: a sentence for a turn that the agent ended by itself since what it asked for was rejected.
        snapshot: the turn, if the prompt reached the agent.
        handout: the files that the agent hands out.
    """

    outcome: Outcome
    by: str = ""
    reason: str = ""
    stderr: str = ""
    login: bool = False
    rejection: str = ""
    snapshot: TurnSnapshot | None = None
    handout: Handout | None = None


def end_of_snapshot(snapshot: TurnSnapshot, methods: Sequence[str] = ()) -> TurnEnd:
    """Return the end of a turn that reached the agent; ``methods`` are the names of its ways to log in."""
    assert snapshot.ending is not None
    by, reason = snapshot.cancelled_by or "", snapshot.error.message if snapshot.error else ""
    if snapshot.ending is not Ending.FAILED or snapshot.error is None:
        outcome = _ENDINGS[snapshot.ending]
        if outcome is Outcome.AGENT_DIED and snapshot.exit is not None and snapshot.exit.unreachable:
            outcome = Outcome.AGENT_UNREACHABLE  # it may well be at work still: nobody can say that it crashed
        return TurnEnd(outcome, by=by, reason=reason, snapshot=snapshot)
    code = snapshot.error.code
    row = FREE_FORM if code is None else ROWS.get(code, FREE_FORM)
    reason = advised(row, with_data(reason, snapshot.error.data), methods)
    return TurnEnd(row.outcome, by=by, reason=reason, login=row.advice == LOGIN, snapshot=snapshot)


def end_of_error(error: AcpError, methods: Sequence[str] = ()) -> TurnEnd:
    """Return the end of a prompt for which there was no session."""
    # 1. The agent refused the session. Only the advice to log in fits here: the rest of the rows is about prompts.
    if isinstance(error, RequestFailed):
        row, message = ROWS.get(error.code, FREE_FORM), with_data(error.message, error.data)
        # Elsewhere the text that also names the request and the code says most.
        reason = advised(row, message, methods) if row.advice == LOGIN else with_data(str(error), error.data)
        return TurnEnd(Outcome.COULD_NOT_START, reason=reason, login=row.advice == LOGIN)
    # 2. It did not get that far. The connection and the pool chain their errors to the agent's own, if it sent one.
    refusal: BaseException | None = error
    while refusal is not None and not isinstance(refusal, RequestFailed):
        refusal = refusal.__cause__
    reason = with_data(str(error), refusal.data) if refusal is not None else str(error)
    exit = error.exit if isinstance(error, AgentSpawnError | AgentExited) else None  # noqa: A001
    if exit is None:
        wants_login = isinstance(error, AgentSpawnError) and error.failure is SpawnFailure.AUTH_REQUIRED
        return TurnEnd(Outcome.COULD_NOT_START, reason=reason, login=wants_login)
    # Some errors are made of how the process ended, and say it already.
    reason = reason if exit.describe() in reason else f"{reason} ({exit.describe()})"
    return TurnEnd(Outcome.COULD_NOT_START, reason=reason, stderr=exit.stderr_tail)


def stopped(by: str | None) -> TurnEnd:
    """Return the end of a prompt that was stopped before the agent got it."""
    return TurnEnd(Outcome.STOPPED, by=by or "")


def interrupted(snapshot: TurnSnapshot | None = None) -> TurnEnd:
    """Return the end of a prompt that the stop of the bot cut off."""
    # It answered before the cancel reached it: it is not to be offered for a second run.
    if snapshot is not None and snapshot.ending is Ending.ANSWERED:
        return end_of_snapshot(snapshot)
    return TurnEnd(Outcome.INTERRUPTED, reason="Weft is restarting", snapshot=snapshot)


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
    told = outcome_lines(
        end.outcome,
        end.snapshot,
        by=end.by,
        reason=end.reason,
        stderr=end.stderr,
        rejection=end.rejection if end.outcome is Outcome.STOPPED else "",
        redact=redact,
    )
    return (*told, USE_LOGIN) if end.login else told


def work_lines(
    snapshot: TurnSnapshot, verbosity: Verbosity, room: int, redact: Callable[[str], str]
) -> tuple[str, ...]:
    """Return what is said of the agent's work below its answer (V1, D5); ``room``: units for all of it."""
    # An answer without text is made of that anyway (T4).
    if verbosity is Verbosity.QUIET or not (visible(snapshot.text[:_LOOKED_AT]) or visible(snapshot.text)):
        return ()
    if verbosity is Verbosity.VERBOSE and room >= _LEAST_ROOM:
        thought = thought_line(snapshot.thoughts, redact)
        details = tool_details(snapshot.tools, snapshot.tools_cut, room - units(thought) - 1, redact)
        return tuple(part for part in (thought, details) if part)
    tools = tools_in_short(snapshot.tools, snapshot.tools_cut)
    return (tools,) if tools else ()


def final_reply(
    end: TurnEnd,
    inbound: Inbound,
    elapsed: float,
    redact: Callable[[str], str],
    *,
    kept: bool,
    ping: int | None = None,
    details: bool = False,
    verbosity: Verbosity = Verbosity.NORMAL,
) -> FinalReply:
    """Return the last state of a reply.

    Args:
        elapsed: seconds since the prompt was admitted.
        kept: the next run of the bot will know the prompt.
        ping: whom it notifies (A1).
        details: there is more to be shown of the turn (V2).
        verbosity: how much is said of the agent's work.
    """
    snapshot, told = end.snapshot, lines(end, redact)
    # The end and the footer have their room before the work, or they would be cut off.
    room = min(_WORK_LIMIT, MESSAGE_LIMIT - _SPARE - units("\n".join(told)))
    work = work_lines(snapshot, verbosity, room, redact) if snapshot is not None else ()
    # Without a record the button could only say that nobody knows what was asked.
    kinds: list[TurnButton] = ["go"] if kept and end.outcome is Outcome.INTERRUPTED else []
    kinds += ["details"] if details else []
    return FinalReply(
        outcome=end.outcome,
        lines=(*work, *told),
        footer=footer(snapshot, elapsed) if snapshot else "",
        ping=ping,
        buttons=tuple(turn_button(kind, inbound.thread_id, inbound.message_id) for kind in kinds),
        handout=end.handout,
    )
