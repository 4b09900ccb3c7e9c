"""The work as Discord sees it: takes messages, and carries out what the queues decide.

Every call but `saved`, `recover` and `shutdown` returns at once, whatever an agent does. Each part decides its
own: `queue` which message becomes which turn, `runs` what happens to a turn, `delivery` how a reply gets to its end.
The mutable state is which messages came too late to be taken, and the event that wakes the clock of the queues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import anyio
import anyio.lowlevel
import structlog

from bot.model import Actor, Inbound, ThreadPlace
from bot.work.ending import TurnEnd
from bot.work.limits import WorkLimits
from bot.work.parts import Parts
from bot.work.permissions.waiting import Asked, asked_of
from bot.work.ports import Answer
from bot.work.queue.entry import Cancel, Decision, Edited, End, Entry, Inject, Joined, Queued, Warm
from bot.work.queue.rules import Rules
from bot.work.queue.thread_queue import ThreadQueue
from bot.work.reactions import Mark
from bot.work.running_turn import Claim
from bot.work.serialization import accepted_prompt
from bot.work.status import WorkCounts, work_counts

log = structlog.get_logger(__name__)


class Dispatcher(Parts):
    """What Discord may ask of the work; it is the host of the scheduler, too. `Parts` says what it is made of."""

    # --- messages --------------------------------------------------------------------------------------------------

    def submit(self, inbound: Inbound) -> None:
        """Take a message over; from here on it gets exactly one outcome."""
        if self._tracker.over or (self._intake.closed and self._store.durable):
            # Not accepted, and not counted as seen: the next run fetches it from Discord.
            self._too_late.add(inbound.message_id)
            log.info("message.left", message=inbound.message_id, reason="the bot stops")
            return
        self.thread_settings.gone.heard_from(inbound.guild_id)
        if self._scheduler.queue(inbound.thread_id).line.holds(inbound.message_id):
            return  # Discord sent the event twice; a copy that comes later is the store's to refuse
        if not self._rate_limiter.refuses(inbound):
            self._intake.take(inbound)

    def missed(self, inbound: Inbound) -> None:
        """Take a message that was posted too long ago to be run unasked (R2)."""
        self._recovery.miss(inbound)

    def edited(self, message_id: int, text: str) -> None:
        """Take the new text of a message that waits (Q5)."""
        self._about(message_id, lambda queue: queue.edit(message_id, text=text))

    def deleted(self, message_id: int) -> None:
        """Take a message out that was deleted while it waited (Q5)."""
        self._reactions.forget(message_id)
        self.outside.boards.deleted(message_id)
        self._about(message_id, lambda queue: queue.delete(message_id))

    def roles_now(self, guild_id: int, user_id: int, roles: frozenset[int]) -> None:
        """Take note of the roles that somebody has now: a message that was kept has those of its acceptance (D2)."""
        for entry in self._scheduler.waiting():
            for index, one in enumerate(entry.messages):
                if (one.guild_id, one.author.id) == (guild_id, user_id):
                    entry.messages[index] = replace(one, author=replace(one.author, roles=roles))
        self.permissions.roles_now(guild_id, user_id, roles)
        self.expel()

    def pressed(self, guild_id: int, by: Actor) -> None:
        """Take note of who presses or types: what they agreed to before goes by the roles that they have now (C1)."""
        self.thread_settings.gone.heard_from(guild_id)
        if self.permissions.roles_now(guild_id, by.id, by.roles):
            self.permissions.recheck(self._rights)

    def expel(self) -> None:
        """Take out what waits, and what was agreed to, of people who may no longer use Weft; they might then (D2)."""
        # Lists: each that goes changes what is gone through here.
        for entry in list(self._scheduler.waiting()):
            for message in list(entry.messages):
                if not self._may(message):
                    self._about(message.message_id, partial(ThreadQueue.expel, message_id=message.message_id))
        self.permissions.recheck(self._rights)

    def hold(self) -> None:
        """Start nothing new until `release`: what was missed is being looked up (Q1). Calls don't add up."""
        self._scheduler.held = True

    def release(self) -> None:
        """Let waiting prompts start again."""
        self.expel()
        # After `expel`: nothing of those people may start in this step.
        self._scheduler.held = False
        self.admit()

    def admit(self) -> None:
        """Look again at what may start: an agent may be free now."""
        self._scheduler.admit(anyio.current_time())

    def waiting(self) -> dict[int, list[int]]:
        """Return the ids of the messages that wait for their turn, by the place where they were posted."""
        found: dict[int, list[int]] = {}
        for entry in self._scheduler.waiting():
            for message in entry.messages:
                found.setdefault(message.channel_id, []).append(message.message_id)
        return found

    def authors(self) -> frozenset[tuple[int, int]]:
        """Return who wrote what waits for its turn, bots left out, as ids of server and person."""
        waiting = (message for entry in self._scheduler.waiting() for message in entry.messages)
        return frozenset((one.guild_id, one.author.id) for one in waiting if one.guild_id and not one.automatic)

    def pending(self) -> frozenset[int]:
        """Return the ids of the messages that were handed over and are not written down yet."""
        return frozenset(self._too_late).union(
            self._scheduler.accepting(), self._rate_limiter.pending, self._recovery.missing
        )

    async def saved(self) -> bool:
        """Wait until all that was asked for so far is written down; False: for now it is in memory only."""
        await anyio.lowlevel.checkpoint()  # what was asked for is handed in by steps that begin in this moment
        await self._tracker.until(lambda: not self._recovery.going_on)  # these read before they write
        return await self._store.flush()

    def _about(self, message_id: int, act: Callable[[ThreadQueue], list[Decision]]) -> None:
        """Let the queue decide that a message is in; one that is no longer in any is left as it is."""
        entry = self._scheduler.find(message_id)
        if entry is not None:
            with self._scheduler.deciding(entry.thread_id, anyio.current_time()) as (queue, decisions):
                decisions.extend(act(queue))

    # --- what agents ask -------------------------------------------------------------------------------------------

    def decide(self, request: str, option: int, by: Actor, message_id: int = 0) -> Answer:
        """Answer a permission request, if ``by`` may; ``message_id``: of the card that was pressed (D6)."""
        return self.permissions.decide(request, option, by, message_id)

    def place_of(self, token: str) -> ThreadPlace | None:
        """Return the thread in which a request or a question is shown, if it is remembered."""
        return self._asking.place_of(token)

    def asked_of(self, by: Actor) -> list[Asked]:
        """Return what somebody may decide, in all threads, what waits longest first (A2)."""
        return asked_of(self.permissions.waiting(), self.questions.waiting(), by)

    # --- threads come and go ---------------------------------------------------------------------------------------

    def thread_gone(self, thread_id: int, reason: str) -> None:
        """Cancel what runs and drop what waits in a thread that can no longer be written to (D10)."""
        log.info("thread.gone", thread=thread_id, reason=reason)
        running = self._runs.in_thread(thread_id)
        for turn in running:
            # Before the cancel: when the turn ends it has to be known that its agent goes, too.
            turn.abandoned = True
        with self._scheduler.deciding(thread_id, anyio.current_time()) as (queue, decisions):
            decisions.extend(queue.gone(reason))
        # A turn that runs lets its agent go itself: ended under it, the turn would seem to have failed.
        if not running:
            self._pool.evict(thread_id)

    def archived(self, thread_id: int) -> None:
        """Let go of the agent of a thread that somebody archived, once nothing runs or waits there (W5, D10)."""
        for turn in self._runs.in_thread(thread_id):
            turn.abandoned = turn.abandoned or self.projects.row_of(thread_id) is not None
        if self.at_rest(thread_id):
            self.trees.upkeep.archived(thread_id)

    def at_rest(self, thread_id: int) -> bool:
        """Return whether nothing waits or runs in a thread."""
        return self._scheduler.queue(thread_id).idle

    def forget(self, *gone: int) -> None:
        """Forget threads, channels or servers that no longer exist; call `thread_gone` before."""
        for place_id in gone:
            self.thread_settings.forget(place_id)
            self.thread_states.forget(place_id)
            self.options.memory.forget(place_id)
            self.outside.forget(place_id)
            self._runs.serial.pop(place_id, None)
            self._scheduler.forget(place_id)
            self._changes.forget(place_id)
            self.commands.forget(place_id)
            self._branches.forget(place_id)
            self.budgets.forget(place_id)
            self.schedules.forget(place_id)
        self._tracker.begin(self._store.forget, gone, name=f"forget {gone[0]}")

    # --- what the scheduler asks for -------------------------------------------------------------------------------

    def rules_of(self, thread_id: int) -> Rules:
        """Return the rules of a thread: they are the same for all."""
        del thread_id
        return self._limits.rules

    def reserve(self, thread_id: int, behind: bool) -> Claim | None:
        """Claim an agent for a thread, if one may be had now."""
        return self._runs.reserve(thread_id, behind)

    def start(self, entry: Entry, claim: Claim) -> None:
        """Begin the turn of an admitted entry, and show it."""
        self._runs.start(entry, claim)
        with _contained():
            self._notices.show(entry.thread_id)
        for message in entry.messages:
            with _contained():
                self._reactions.show(message, Mark.RUNNING)

    def carry_out(self, decision: Decision) -> None:
        """Do what a queue decided."""
        with _contained():
            match decision:
                case Cancel(entry, why):
                    # By its entry: by its thread it might be the wrong turn, and one that is over is none.
                    running = self._runs.running.get(entry)
                    if running is not None:
                        running.stop(why.by or why.reason)
                case End(message, why):
                    self._skipped.end(message, TurnEnd(why.outcome, by=why.by, reason=why.reason))
                    self._notices.show(message.thread_id)
                case Inject(into, entry):
                    self._tracker.begin(self._runs.steer, into, entry, name=f"steer {entry.place}")
                case Joined(message):
                    self._reactions.show(message, Mark.RUNNING)
                case Queued(message):
                    self._reactions.show(message, Mark.WAITING)
                    self._notices.show(message.thread_id)
                case Edited(message):
                    row = accepted_prompt(message)
                    self._tracker.begin(self._store.amend, row.message_id, row.payload, name=f"amend {row.message_id}")
                    self._notices.show(message.thread_id)
                case Warm(thread_id):
                    if self.projects.prepared(thread_id):
                        self._pool.warm(thread_id)

    def looked(self, held_up: list[Entry]) -> None:
        """Wake the clock, and let people see what waits for an agent or a place."""
        # Only an event: the scheduler calls this in the middle of a step, and may be in another one by the next.
        self._woken.set()
        for entry in held_up:
            with _contained():
                self._runs.held_up(entry)
                self._notices.show(entry.thread_id)

    async def _keep_time(self) -> None:
        """Look at the queues again when a debounce is over."""
        while True:
            due = self._scheduler.next_wakeup()
            # Made after the look at the next due time and before any await: no wake-up can get lost in between.
            self._woken = anyio.Event()
            with anyio.move_on_after(None if due is None else max(0.0, due - anyio.current_time())) as waited:
                await self._woken.wait()
            if waited.cancelled_caught:
                self._scheduler.tick(anyio.current_time())

    # --- start and end ---------------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """How many turns run."""
        return len(self._runs.running)

    def counts(self) -> WorkCounts:
        """Return how much work there is in all threads."""
        scheduler = self._scheduler
        return work_counts(scheduler.counts(), scheduler.waiting(), self._asking.open, self._tracker.under_way)

    def limit(self, limits: WorkLimits) -> None:
        """Put other limits in force; a turn that runs keeps its own."""
        self._limits = self._runs.limits = limits
        self._scheduler.rules_changed(anyio.current_time())
        self._asking.limit(limits.permission_timeout)
        self._files.limits = limits.files

    async def recover(self) -> None:
        """Go on where an earlier run on this state ended (R2)."""
        await self.thread_settings.load()
        await self.projects.load()
        await self.trees.actions.recover()
        self.thread_states.load()
        self.outside.load()
        await self._asking.load()
        await self.budgets.load()
        # Before anything comes in: what a stop-all skipped in an earlier run must not be run by this one.
        for thread_id, cutoff in self.thread_settings.cutoffs():
            with self._scheduler.deciding(thread_id, anyio.current_time()) as (queue, _):
                queue.memory.cutoff = max(queue.memory.cutoff, cutoff)
        await self._recovery.recover()
        await self.sessions.openings.recover()
        await self._schedule_runner.load()
        await self.tools.starter.recover()
        for kept in await self._store.notices():
            self._notices.adopt(kept)

    async def shutdown(self) -> None:
        """Take nothing more, let turns finish for a while, end the others, deliver what is left; bounded (R1)."""
        # All three in one step: what is refused here must not be started or asked there.
        self._intake.closed = self._scheduler.closed = True
        self._asking.close()
        self._skipped.hurry()
        self._leftovers.close()
        await self._shutdown.run(self._limits)

    def hurry(self) -> None:
        """Let a `shutdown` that is under way wait for turns and messages only a moment longer (R1)."""
        self._shutdown.hurry()


@contextmanager
def _contained() -> Iterator[None]:
    # The queues of all threads are carried out by whoever has changed one of them: a fault in one thread must neither
    # reach the others nor keep a turn from starting (O4, Q10).
    try:
        yield
    except Exception:
        log.exception("decision.failed")
