"""The end of messages that never ran: dropped, superseded, removed, stale, stopped, one too many, beyond a budget.

Nobody is notified again and again: messages of one author that ended alike within a moment share one notice (O1, Q3,
A4). The mutable state is the notices that are being gathered, in which threads one is on its way, and which messages of
somebody who sends too many are not written down yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
import structlog

from bot.model import Inbound, Outcome, posted_at
from bot.reply.cards import turn_button
from bot.reply.pending_reply import FinalReply, SavedReply
from bot.reply.port import Body, Button
from bot.reply.sanitise import inline_code
from bot.work.delivery import SHARED, Deliveries
from bot.work.editors import Editors
from bot.work.ending import TurnEnd, lines
from bot.work.intake import Intake
from bot.work.queue.rate import RateLimit
from bot.work.serialization import accepted_prompt
from bot.work.task_tracker import TaskTracker
from pool.storage.durable import SessionStore
from pool.store import StoreBusy

log = structlog.get_logger(__name__)

BURST = 1.0
"""Seconds in which ends of one author are gathered for one notice."""


@dataclass(slots=True)
class _Notice:
    end: TurnEnd
    messages: list[Inbound] = field(default_factory=list)


@dataclass(eq=False)
class SkippedMessages:
    """Tells the ends of messages that never ran."""

    tracker: TaskTracker
    editors: Editors
    deliveries: Deliveries
    store: SessionStore
    redact: Callable[[str], str]
    burst: float = BURST
    _gathering: dict[tuple[int, int, Outcome], _Notice] = field(init=False, default_factory=dict)
    _speaking: dict[int, anyio.Lock] = field(init=False, default_factory=dict)
    _hurry: anyio.Event = field(init=False, default_factory=anyio.Event)

    def end(self, message: Inbound, end: TurnEnd) -> None:
        """Tell the end of a message, together with others of its author."""
        key = message.thread_id, message.author.id, end.outcome
        notice = self._gathering.get(key)
        if notice is None:
            self._gathering[key] = notice = _Notice(end)
            self.tracker.begin(self._tell, key, name=f"unrun {message.message_id}")
        notice.messages.append(message)
        # At once, and not when it is shown: what a person took out must not be run by the next run after a kill.
        payload, message_id = SHARED, message.message_id
        if len(notice.messages) == 1:
            payload = self._kept(notice, lines(notice.end, self.redact))
        self.tracker.begin(
            self.store.save_pending_reply, message_id, end.outcome, payload, name=f"save pending reply {message_id}"
        )

    def hurry(self) -> None:
        """Stop gathering: the bot stops."""
        self._hurry.set()

    async def _tell(self, key: tuple[int, int, Outcome]) -> None:
        editor = self.editors.of(key[0])
        # The end of the bot cuts the gathering short: what is said now need not be said by the next run.
        with anyio.move_on_after(self.burst):
            await self._hurry.wait()
        thread_id, _, outcome = key
        # One at a time: while Discord keeps a thread's notices waiting, more are gathered and not more notices made.
        async with self._speaking.setdefault(thread_id, anyio.Lock()):
            notice = self._gathering.pop(key)
            first, text = notice.messages[0], "\n".join(lines(notice.end, self.redact))
            if len(notice.messages) > 1:
                text += f"\n-# {len(notice.messages)} messages of {inline_code(first.author.name)}"
                # Before it is shown: the next run looks for the text that is kept, and would say it once more.
                await self.store.save_pending_reply(first.message_id, outcome, self._kept(notice, (text,)))
            body = Body(text, self._buttons(first, outcome))
            # Not by a new editor where this one was told that nothing can be written there: it would try again (D10).
            said = None if editor.gone else self.editors.of(thread_id).say(body, reply_to=first.message_id)
            delivered = said is not None and await said.delivered()
        # Whoever still gathers there will want the lock, also while nobody holds it just now.
        if all(other != thread_id for other, _, _ in self._gathering):
            self._speaking.pop(thread_id, None)
        for message in notice.messages:
            log.info(
                "turn.finished",
                outcome=str(outcome),
                thread=thread_id,
                prompt=message.message_id,
                lane=str(message.lane),
                attempts=0,
                delivered=delivered,
            )
            await self.deliveries.record(message, outcome, together_with=first.message_id)
        self.editors.let_go(thread_id)

    def _kept(self, notice: _Notice, said: tuple[str, ...]) -> str:
        first, outcome = notice.messages[0], notice.end.outcome
        final = FinalReply(outcome, said, buttons=self._buttons(first, outcome))
        return SavedReply("", final, reply_to=first.message_id, after=first.message_id).to_json()

    def _buttons(self, first: Inbound, outcome: Outcome) -> tuple[Button, ...]:
        """Return the way out of a refusal: the prompt is kept for it, if anything is."""
        if outcome is not Outcome.OVER_BUDGET or not self.store.durable:
            return ()
        return (turn_button("allow", first.thread_id, first.message_id),)


@dataclass(eq=False)
class RateLimiter:
    """Refuses messages of somebody who sends too many; what counts is when they were posted (O1).

    Attributes:
        pending: refused messages that are not written down yet.
    """

    tracker: TaskTracker
    store: SessionStore
    rate: RateLimit
    intake: Intake
    skipped: SkippedMessages
    pending: set[int] = field(init=False, default_factory=set)

    def refuses(self, inbound: Inbound) -> bool:
        """Count a message; True: it is one too many, and will be answered with that."""
        # By its snowflake and not by the clock: a catch-up hands over in a moment what was written over minutes.
        at, author = posted_at(inbound.message_id), inbound.author.id
        if self.rate.take(author, at):
            return False
        window, wait = self.rate.window, self.rate.wait(author, at)
        reason = f"more than {self.rate.per_user} messages in {window:.0f} s; wait {wait:.0f} s"
        # Until it is written down it counts as not seen: after a kill the next run has to fetch it.
        self.pending.add(inbound.message_id)
        end = TurnEnd(Outcome.DROPPED, reason=reason)
        self.tracker.begin(self._refuse, inbound, end, name=f"refuse {inbound.message_id}")
        return True

    async def _refuse(self, inbound: Inbound, end: TurnEnd) -> None:
        # Written down like any other: what had its end in an earlier run gets no second one, and this one no turn.
        try:
            first = await self.store.accept(accepted_prompt(inbound))
        except StoreBusy:
            first = True  # it can't be known, and a refusal that is shown twice does no harm
        finally:
            self.pending.discard(inbound.message_id)
        if first and inbound.opens_thread:
            await self.intake.refuse(inbound, end)  # it has no thread yet
        elif first:
            self.skipped.end(inbound, end)
