"""The end of a prompt: its final reply is kept, shown and written down, in this order (O1, D3).

`bot.reply` draws the reply, `bot.work.ending` says which end it stands for. A turn ends when its reply was handed over
here; delivery outlives it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import anyio
import structlog

from bot.model import Inbound, Outcome, Verbosity
from bot.reply.live_reply import LiveReply
from bot.reply.pending_reply import FinalReply
from bot.reply.port import Body
from bot.reply.render import HEADLINES
from bot.work.attention.notifications import Notifications
from bot.work.editors import Editors
from bot.work.ending import final_reply
from bot.work.files.handouts import Handouts
from bot.work.observer import Observer, TurnReport
from bot.work.projects.branch_look import BranchLook
from bot.work.reactions import Reactions, mark_of
from bot.work.task_tracker import TaskTracker
from bot.work.transcripts.record import FinishedTurn
from bot.work.transcripts.service import Transcripts
from pool.storage.durable import SessionStore

log = structlog.get_logger(__name__)

KEEP_LIMIT = 5.0
"""Seconds that a final reply waits to be written down before it is shown."""

SHARED = "shared"
"""What is kept for a message whose reply is kept with another one."""

NOT_SHOWN = "-# ⚠️ **{headline}:** the reply could not be shown."


@dataclass(eq=False)
class Deliveries:
    """Sees final replies to their end.

    Args:
        redact: takes secrets out of what agents say about their failures.
        transcripts: keeps what was said and done, for whoever asks for details later.

    Attributes:
        listeners: called with each outcome once it is recorded; one that fails is logged and hurts nobody.
    """

    tracker: TaskTracker
    editors: Editors
    store: SessionStore
    reactions: Reactions
    observer: Observer
    handouts: Handouts
    notifications: Notifications
    redact: Callable[[str], str]
    transcripts: Transcripts
    listeners: list[Callable[[Inbound, Outcome], None]] = field(init=False, default_factory=list)
    _marked: set[int] = field(init=False, default_factory=set)

    def finish(
        self, turn: FinishedTurn, reply: LiveReply, report: TurnReport, branch: BranchLook | None = None
    ) -> None:
        """Hand the final reply of a turn over; ``report`` is logged once it is delivered.

        ``branch`` is added to the footer: at once if it is known by now, else when it is, below what is shown by then.
        """
        name, final = f"deliver {turn.messages[0].message_id}", self._final(turn, reply.verbosity)
        if branch is not None and branch.words and final.footer:
            final, branch = replace(final, footer=final.footer + branch.words), None
        self.tracker.begin(self._deliver, turn, reply, report, final, branch, name=name)

    def announce(self, turn: FinishedTurn, reply: LiveReply) -> None:
        """Show the end of a turn of which something may still be on its way; `finish` is to follow."""
        name = f"announce {turn.messages[0].message_id}"
        self.tracker.begin(self._announce, turn, reply, self._final(turn, reply.verbosity), name=name)

    def _final(self, turn: FinishedTurn, verbosity: Verbosity) -> FinalReply:
        first, kept = turn.messages[0], self.store.durable
        try:
            ping = self.notifications.at_end(first, turn.end, turn.seconds)
            details = kept and self.transcripts.worth(turn)
            return final_reply(
                turn.end,
                first,
                turn.seconds,
                self.redact,
                kept=kept,
                ping=ping,
                details=details,
                verbosity=verbosity,
            )
        except Exception:
            # The outcome is owed whatever goes wrong in drawing it.
            log.exception("reply.failed", prompt=first.message_id)
            return FinalReply(turn.end.outcome)

    async def _announce(self, turn: FinishedTurn, reply: LiveReply, final: FinalReply) -> None:
        messages, outcome = turn.messages, turn.end.outcome
        # Record before show: after a kill the next run must not tell another end than people have seen.
        await self.transcripts.keep(turn)
        await self._keep(messages, outcome, reply.owed(final, ended=False))
        # The turn may have ended while this was written; its final reply says more.
        if reply.final is not None:
            return
        reply.announce(final)
        for message in messages:
            self.reactions.show(message, mark_of(outcome))
            # Shown now, so not once more when the outcome is recorded.
            self._marked.add(message.message_id)

    async def _deliver(
        self,
        turn: FinishedTurn,
        reply: LiveReply,
        report: TurnReport,
        final: FinalReply,
        branch: BranchLook | None = None,
    ) -> None:
        """Record the outcome once it is visible, or given up because the thread is gone."""
        messages, end, first = turn.messages, turn.end, turn.messages[0]
        # In the store's inbox ahead of the reply, so that it is there whenever a button for it is.
        await self.transcripts.keep(turn)
        await self._keep(messages, end.outcome, reply.owed(final))  # no name for it: it may have megabytes
        # Record before show, as above. The delivery itself has no bound: Discord may be away for hours.
        reply.finish(final)
        # In the queue at once: what the next turn says in this thread comes below.
        files = self.handouts.post(first, final.handout) if final.handout else []
        as_it_is = delivered = await reply.delivered()
        if not delivered and not (editor := self.editors.of(first.thread_id)).gone:
            # It can't be shown as it is, but the thread can be written to: at least how it ended must be visible (O1).
            body = Body(NOT_SHOWN.format(headline=HEADLINES[end.outcome]))
            delivered = await editor.say(body, reply_to=first.message_id).delivered()
        log.info("turn.finished", **report.fields(), delivered=delivered)
        try:
            self.observer.turn_finished(report)
        except Exception:  # whoever counts must not keep the outcome from being recorded
            log.exception("turn.listener_failed", prompt=report.prompt)
        if final.handout:
            await self.handouts.settle(first, final.handout, files)
        for message in reversed(messages):  # the first one's row holds the reply: it goes last
            await self.record(message, end.outcome)
        if as_it_is and branch is not None and final.footer:
            # Not waited for: the outcome does not depend on git. And not before it is recorded: a later run knows what
            # is visible by its end, and would take a reply with more below for one that is not all there.
            branch.then(lambda words: self.editors.of(first.thread_id).amend(reply, final.footer, words))
        self.editors.let_go(first.thread_id)

    async def _keep(self, messages: Sequence[Inbound], outcome: Outcome, payload: str | None) -> None:
        """Keep the reply until it is known to be visible: a later run goes on with it if this one can't.

        It is written before anything of the end is shown, or a later run could tell another end. Where several messages
        share it, it is kept with the first.
        """
        if payload is None:
            return
        try:
            with anyio.fail_after(KEEP_LIMIT):
                for message in messages[1:]:
                    await self.store.save_pending_reply(message.message_id, outcome, SHARED)
                await self.store.save_pending_reply(messages[0].message_id, outcome, payload)
        except Exception:
            # The delivery goes on: what can't be kept can still be shown.
            log.exception("reply.not_kept", prompt=messages[0].message_id)

    async def record(self, inbound: Inbound, outcome: Outcome, together_with: int | None = None) -> None:
        """Write an outcome down; what fails in that is logged and hurts no other prompt (O4).

        Args:
            together_with: the message whose notice tells this end, too.
        """
        turn = together_with if together_with != inbound.message_id else None
        try:
            # Somebody may ask for these again: see `Recovery.go_on`.
            again = outcome in (Outcome.INTERRUPTED, Outcome.OVER_BUDGET)
            await self.store.finished(inbound.message_id, outcome, keep=again, turn=turn if again else None)
        except Exception:
            log.exception("outcome.not_written", prompt=inbound.message_id, outcome=str(outcome))
        if inbound.message_id in self._marked:
            self._marked.remove(inbound.message_id)
        else:
            self.reactions.show(inbound, mark_of(outcome))
        try:
            self.observer.prompt_ended(inbound.lane, outcome)
            # After the write: who hears of an outcome may rely on its being recorded.
            for listener in self.listeners:
                listener(inbound, outcome)
        except Exception:
            log.exception("outcome.listener_failed", prompt=inbound.message_id)
