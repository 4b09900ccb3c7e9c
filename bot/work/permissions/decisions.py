"""What was decided about what agents ask: a log line and a row in the store, before anything of it is shown (C5).

The agent has its answer first: its reader can't wait for a disk, and what it then does is known to have begun by the
mark of its prompt. A kill in between ends the agent, too; the log has the line, and nobody was shown anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import anyio
import structlog

from acp.schema import PermissionOption, ToolCallUpdate
from bot.model import Actor, Inbound
from bot.reply.request_detail import command_in, one_row, paths_of
from bot.reply.sanitise import clip
from bot.work.permissions.cards import Card, CardState
from bot.work.task_tracker import TaskTracker
from pool.storage.durable import SessionStore
from pool.store import DecidedBy, Decision, DecisionOutcome

__all__ = [
    "OPTION",
    "TOOL",
    "WORKTREE",
    "DecidedBy",
    "Decision",
    "DecisionOutcome",
    "Decisions",
    "decision_of",
    "decision_on",
    "what_of",
]

KEEP_LIMIT = 5.0
"""Seconds that the end of a card waits until its decision is written down before it is shown."""

WHAT_LIMIT, NAME_LIMIT, NOTE_LIMIT = 1_000, 100, 300
"""Characters of what was asked, of a name, and of anything else: what bounds a row."""

NOT_IN_FULL = "it could not be shown in full"

OPTION = "option"
"""The kind of a decision about an option of a session in which the agent may ask for less (K1)."""

TOOL = "tool"
"""The kind of what an agent did by a tool of ours: nobody was asked, and others see it all the same (M2)."""

WORKTREE = "worktree"
"""The kind of what a person did with a work tree: nobody was asked, and others see it all the same (W4)."""

_KINDS = frozenset(
    (
        "read",
        "edit",
        "delete",
        "move",
        "search",
        "execute",
        "think",
        "fetch",
        "switch_mode",
        "other",
        "question",
        "rule",
        OPTION,
        TOOL,
        WORKTREE,
    )
)
"""Those of the protocol, and our own; what else an agent says may be any text, and is logged as ``other``."""

_MOST_PATHS = 3
_LOOKED_AT = 4
"""How many times the limit is looked at: an agent's text may have megabytes."""

log = structlog.get_logger(__name__)


def what_of(call: ToolCallUpdate) -> str:
    """Return in one line what a tool call is to do: its command, else its title; and the first places."""
    command = command_in(call.raw_input)
    paths, _ = paths_of(call.as_sent())
    parts = [command[1] if command else call.title or "an unnamed tool", *paths[:_MOST_PATHS]]
    more = [f"{len(paths) - _MOST_PATHS} more places"] if len(paths) > _MOST_PATHS else []
    return one_row(" · ".join([*(part[: _LOOKED_AT * WHAT_LIMIT] for part in dict.fromkeys(parts)), *more]))


def decision_on(
    call: ToolCallUpdate,
    asked_by: Inbound,
    decided_by: DecidedBy,
    outcome: DecisionOutcome,
    *,
    person: Actor | None = None,
    rule: str | None = None,
    option: PermissionOption | None = None,
    reason: str | None = None,
) -> Decision:
    """Return what was decided now about a tool call of the turn that ``asked_by`` began."""
    return Decision(
        at=time.time(),
        guild_id=asked_by.guild_id,
        thread_id=asked_by.thread_id,
        prompt_id=asked_by.message_id,
        asker_id=asked_by.author.id,
        asker_name=asked_by.author.name,
        what=what_of(call),
        kind=call.kind or "other",
        decided_by=decided_by,
        person_id=person.id if person else None,
        person_name=person.name if person else None,
        rule=rule,
        option=(option.name or option.option_id) if option else None,
        outcome=outcome,
        reason=reason,
    )


def decision_of(card: Card, asked_by: Inbound, stopped_by: str | None) -> Decision:
    """Return what was decided about a card that is over; ``stopped_by``: who stopped its turn, if somebody did."""
    call = card.request.tool_call
    if card.state is CardState.ANSWERED and card.chosen is not None:
        outcome: DecisionOutcome = "rejected" if card.chosen.kind.startswith("reject") else "allowed"
        # By its id, as the reason goes into the log, which has no names.
        also = f"the other of two was {card.seconded.id}" if card.seconded else None
        return decision_on(call, asked_by, "person", outcome, person=card.answered_by, option=card.chosen, reason=also)
    if card.state is CardState.EXPIRED:
        return decision_on(call, asked_by, "timeout", "expired", option=card.chosen)
    reason = NOT_IN_FULL if card.state is CardState.UNSEEN else card.reason
    cancelled = decision_on(call, asked_by, "cancel", "cancelled", reason=reason)
    return replace(cancelled, person_name=stopped_by)


@dataclass(eq=False)
class Decisions:
    """Records decisions.

    Args:
        redact: takes secrets out of a text.
    """

    tracker: TaskTracker
    store: SessionStore
    redact: Callable[[str], str]

    def record(self, decision: Decision, then: Callable[[], None] | None = None) -> None:
        """Log a decision and hand it to the store, now; ``then`` shows it, and is called once it is written.

        A disk that hangs delays that, and does not keep it away.
        """
        # No await: called by the agent's reader and by timers. And no fault of it may keep the card from its end.
        try:
            decision = self._bounded(decision)
            _log(decision)
            written = self.store.decided(decision)
        except Exception:
            log.exception("decision.not_recorded", thread=decision.thread_id)
            if then is not None:
                then()
            return

        async def show_when_written() -> None:
            try:
                with anyio.move_on_after(KEEP_LIMIT) as waited:
                    await written.value()
                if waited.cancelled_caught:
                    log.warning("decision.not_written", thread=decision.thread_id)
            finally:
                # However the writing went: people wait for it, and the log has the line.
                if then is not None:
                    then()

        self.tracker.begin(show_when_written, name=f"decision in {decision.thread_id}")

    async def last(self, count: int, *, thread_id: int | None = None, guild_id: int | None = None) -> list[Decision]:
        """Return the newest decisions of a thread or a server, the newest first."""
        return await self.store.decisions(count, thread_id=thread_id, guild_id=guild_id)

    def _bounded(self, decision: Decision) -> Decision:
        def short(text: str, limit: int) -> str:
            # Redacted before it is cut: the rest of a cut secret would not be recognised for certain.
            return clip(self.redact(one_row(text[: _LOOKED_AT * limit])), limit)

        def note(text: str | None) -> str | None:
            return None if text is None else short(text, NOTE_LIMIT)

        return replace(
            decision,
            asker_name=short(decision.asker_name, NAME_LIMIT),
            what=short(decision.what, WHAT_LIMIT),
            kind=short(decision.kind, NAME_LIMIT),
            person_name=None if decision.person_name is None else short(decision.person_name, NAME_LIMIT),
            rule=note(decision.rule),
            option=note(decision.option),
            reason=note(decision.reason),
        )


def _log(decision: Decision) -> None:
    """Write the line: numbers and words of ours; those of agents and people are for who debugs."""
    fields = {
        "outcome": decision.outcome,
        "decided_by": decision.decided_by,
        "kind": decision.kind if decision.kind in _KINDS else "other",
        "person": decision.person_id,
        "thread": decision.thread_id,
        "prompt": decision.prompt_id,
        "asker": decision.asker_id,
        "reason": decision.reason,
    }
    log.info("permission.decided", **{name: value for name, value in fields.items() if value is not None})
    log.debug("permission.asked", what=decision.what, kind=decision.kind, rule=decision.rule, option=decision.option)
