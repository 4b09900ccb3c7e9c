"""The work as Discord sees it: takes messages, answers commands at once, sees every message to its one outcome.

How that is done is `floor`'s. The mutable state is what came too late to be taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import anyio
import anyio.lowlevel
import structlog
from anyio.abc import TaskGroup

from bot.agents.model import Agents, only
from bot.model import Actor, Inbound, Lane, QueueMode
from bot.observer import Observer
from bot.work import cutoffs
from bot.work.assignments import Assignments, gone_line
from bot.work.choices import Choices
from bot.work.commands import Commands
from bot.work.counts import WorkCounts
from bot.work.floor import Floor
from bot.work.hasty import RateLimiter
from bot.work.limits import WorkLimits
from bot.work.modes import Modes
from bot.work.ports import Answer, Chat
from bot.work.queue.rate import RateLimit
from bot.work.queue.thread_queue import ThreadQueue
from bot.work.recovery import Recovery
from bot.work.stopping import Shutdown
from pool.pool import ConnectionPool
from pool.store import SessionStore

log = structlog.get_logger(__name__)

ONE_AGENT = only((), "")
RESTARTING = Answer("Weft is restarting: please try again afterwards.", accepted=False)


class Dispatcher:
    """Implements `bot.work.ports.Desk`.

    Args:
        tasks: owns every task of the work: accepts, turns, editors, timers.
        redact: takes secrets out of what agents say about their failures.
        agents: which there are.

    Attributes:
        permissions: the permission requests that people may press.
        deliveries: sees final replies to their end, and tells of each outcome.
        modes: what people chose for threads and servers.
        assignments: which agent each thread has.
        may: says whether a message's author would be let in now.
    """

    def __init__(
        self,
        tasks: TaskGroup,
        chat: Chat,
        pool: ConnectionPool,
        store: SessionStore,
        limits: WorkLimits,
        redact: Callable[[str], str],
        agents: Agents = ONE_AGENT,
    ) -> None:
        self.may: Callable[[Inbound], bool] = lambda _inbound: True
        self._pool = pool
        self._store = store
        self._too_late: set[int] = set()
        self._floor = floor = Floor(tasks, chat, pool, store, limits, redact, self.thread_gone)
        self.permissions = floor.permissions
        self.deliveries = floor.deliveries
        self._choices = Choices(floor.steps, store)
        self.modes = Modes(self._choices, limits.rules.mode)
        self.assignments = Assignments(self._choices, agents)
        floor.runs.limits_in, floor.runs.agent_in = self.assignments.turn_limits, self.assignments.shown
        rate = RateLimit(limits.user_messages, limits.user_window)
        self._hasty = RateLimiter(floor.steps, store, rate, in_channel=floor.intake.refuse, in_thread=floor.skipped.end)
        self._commands = Commands(
            floor.scheduler, floor.runs, floor.leftovers, pool, store, self.modes, self._choices, self.assignments
        )
        self._stopping = Shutdown(
            floor.scheduler, floor.runs, floor.steps, floor.editors, store, floor.notices, floor.reactions
        )
        floor.on_turn_over = self._stopping.turn_ended
        self._restart = Recovery(
            floor.steps, chat, store, floor.editors, floor.deliveries, floor.reactions, queue_again=self._take_up
        )

    # --- from Discord: synchronous, whatever an agent does ---------------------------------------------------

    def submit(self, inbound: Inbound) -> None:
        """Take a message over; from here on it gets exactly one outcome."""
        if self._floor.steps.over or (self._floor.intake.closed and self._store.durable):
            # Not accepted, and not counted as seen: the next run fetches it from Discord.
            self._too_late.add(inbound.message_id)
            log.info("message.left", message=inbound.message_id, reason="the bot stops")
            return
        if self._floor.scheduler.queue(inbound.thread_id).line.holds(inbound.message_id):
            return  # Discord sent the event twice; a copy that comes later is the store's to refuse
        if self._hasty.refuses(inbound):
            return
        self._settle(inbound)
        inbound = replace(inbound, mode=self.modes.of(inbound))
        self._floor.take(inbound)

    def waiting(self) -> dict[int, list[int]]:
        """Return the ids of the messages that wait for their turn, by the place where they were posted."""
        found: dict[int, list[int]] = {}
        for entry in self._floor.scheduler.waiting():
            for message in entry.messages:
                found.setdefault(message.inbound.channel_id, []).append(message.id)
        return found

    def authors(self) -> frozenset[tuple[int, int]]:
        """Return who wrote what waits for its turn, bots left out, as ids of server and person."""
        waiting = (message.inbound for entry in self._floor.scheduler.waiting() for message in entry.messages)
        return frozenset((one.guild_id, one.author.id) for one in waiting if one.guild_id and one.lane is Lane.MAIN)

    def roles_now(self, guild_id: int, user_id: int, roles: frozenset[int]) -> None:
        """Take note of the roles that somebody has now: a message that was kept has those of its acceptance (D2)."""
        for entry in self._floor.scheduler.waiting():
            for message in entry.messages:
                inbound = message.inbound
                if (inbound.guild_id, inbound.author.id) == (guild_id, user_id):
                    message.inbound = replace(inbound, author=replace(inbound.author, roles=roles))
        self.expel()

    def edited(self, message_id: int, text: str) -> None:
        """Take the new text of a message that waits (Q5)."""
        self._floor.about(message_id, lambda queue: queue.edit(message_id, text))

    def deleted(self, message_id: int) -> None:
        """Take a message out that was deleted while it waited (Q5)."""
        self._floor.reactions.forget(message_id)
        self._floor.about(message_id, lambda queue: queue.delete(message_id))

    def pending(self) -> frozenset[int]:
        """Return the ids of the messages that were handed over and are not written down yet."""
        return frozenset(self._too_late).union(
            self._floor.scheduler.accepting(), self._hasty.pending, self._restart.missing
        )

    @property
    def running(self) -> int:
        """How many turns run."""
        return len(self._floor.runs)

    def hold(self) -> None:
        """Start nothing new until `release` (Q1)."""
        self._floor.scheduler.held = True

    def release(self) -> None:
        """Let waiting prompts start again."""
        self.expel()
        self._floor.scheduler.held = False
        self.admit()

    def expel(self) -> None:
        """Take out what waits of people who are let in no more: they may have been let in when it was accepted (D2)."""
        for entry in list(self._floor.scheduler.waiting()):
            for message in list(entry.messages):
                if not self.may(message.inbound):
                    self._floor.about(message.id, partial(ThreadQueue.expel, message_id=message.id))

    def missed(self, inbound: Inbound) -> None:
        """Take a message that was posted too long ago to be run unasked (R2)."""
        self._restart.miss(inbound)

    def go_on(self, thread_id: int, prompt: int, notice: int, by: Actor) -> Answer:
        """Go on with an interrupted prompt (R2)."""
        if self._floor.intake.closed:
            return RESTARTING
        # A stop-all of before does not mean what is asked for now; the notice that is pressed may be older than it.
        cutoff = self._floor.scheduler.queue(thread_id).memory.cutoff
        return self._restart.go_on(thread_id, prompt, notice, by, cutoff)

    def admit(self) -> None:
        """Look again at what may start: an agent may be free now."""
        self._floor.admit()

    def stop(self, thread_id: int, by: Actor, prompt: int | None = None, before: int | None = None) -> Answer:
        """Stop the oldest running turn of the thread, else take its next waiting prompt out (Q7, T6)."""
        return self._commands.stop(thread_id, by, prompt, before)

    def stop_all(self, thread_id: int, by: Actor, before: int) -> Answer:
        """End the turns of the thread and empty its queue, up to snowflake ``before`` (Q7)."""
        return self._commands.stop_all(thread_id, by, before)

    def clear(self, thread_id: int, by: Actor) -> Answer:
        """Take everything out that waits in a thread; the running turn goes on."""
        return self._commands.clear(thread_id, by)

    def promote(self, thread_id: int, prompt: int, by: Actor) -> Answer:
        """Run a waiting prompt now (Q5)."""
        answer = self._commands.promote(thread_id, prompt, by)
        self._floor.show_waiting(thread_id)  # in another order, perhaps
        return answer

    def remove(self, thread_id: int, prompt: int, by: Actor) -> Answer:
        """Take a waiting prompt out (Q5)."""
        return self._commands.remove(thread_id, prompt, by)

    def end_left(self, thread_id: int, token: str, by: Actor) -> Answer:
        """End what a turn has left running (P13)."""
        return self._floor.leftovers.end(thread_id, token, by)

    def choose_mode(self, place_id: int, mode: QueueMode, by: Actor, *, server: bool) -> Answer:
        """Choose what a message does that comes while a turn runs (Q2)."""
        return self._commands.choose_mode(place_id, mode, by, server=server)

    def queue(self, thread_id: int, guild_id: int | None = None) -> str:
        """Return what waits in a thread and by which rules, as Discord Markdown (Q11)."""
        return self._commands.queue(thread_id, guild_id)

    def status(self, thread_id: int | None) -> str:
        """Return the state of a thread, or of the whole bot, as Discord Markdown (Q11)."""
        return self._commands.status(thread_id)

    def reset(self, thread_id: int, by: Actor) -> Answer:
        """End the thread's agent and forget its session; what waits goes on with a new one (Q8)."""
        if self._floor.intake.closed:
            return RESTARTING
        self._floor.do(thread_id, lambda queue: queue.reset(by.name))
        self._floor.claims.forget(thread_id)
        self._pool.reset(thread_id)
        return Answer("Done. Your next message starts a new conversation.", accepted=True, lasting=True)

    async def saved(self) -> bool:
        """Wait until all that was asked for so far is written down; False: for now it is in memory only."""
        await anyio.lowlevel.checkpoint()  # what was asked for is handed in by steps that begin in this moment
        await self._floor.steps.until(lambda: not self._restart.going_on)  # these read before they write
        return await self._store.flush()

    def agents(self) -> tuple[str, ...]:
        """Return the names of the agents, of which people may choose one."""
        return self.assignments.agents.names

    def renew(self, thread_id: int | None, agent: str | None, by: Actor) -> Answer:
        """Go on afresh with an agent (Q8); without a thread, say whether one may be opened for that."""
        if self._floor.intake.closed:
            return RESTARTING
        refusal = self.assignments.renew(thread_id, agent)
        if refusal is None and thread_id is not None:
            self.reset(thread_id, by)
        opening = self.assignments.opening(thread_id, agent)
        return refusal or Answer(opening, accepted=True, lasting=thread_id is not None)

    def assign(self, thread_id: int, agent: str) -> None:
        """Give a thread an agent before its first message."""
        self.assignments.assign(thread_id, agent)

    def decide(self, request: str, option: int, by: Actor) -> Answer:
        """Answer a permission request, if ``by`` may (D6)."""
        return self.permissions.decide(request, option, by)

    def thread_gone(self, thread_id: int, reason: str) -> None:
        """Cancel what runs and drop what waits in a thread that can't be written to any more (D10)."""
        log.info("thread.gone", thread=thread_id, reason=reason)
        running = self._floor.runs.in_thread(thread_id)
        for turn in running:
            turn.abandoned = True
        self._floor.do(thread_id, lambda queue: queue.gone(reason))
        if not running:
            self._pool.evict(thread_id)

    def at_rest(self, thread_id: int) -> bool:
        """Return whether nothing waits or runs in a thread."""
        return self._floor.scheduler.queue(thread_id).idle

    def forget(self, *gone: int) -> None:
        """Forget threads, channels or servers that don't exist any more."""
        for place_id in gone:
            for part in (self._choices, self.modes, self.assignments, self._floor.claims, self._floor.scheduler):
                part.forget(place_id)
        self._floor.steps.begin(self._store.forget, gone, name=f"forget {gone[0]}")

    def counts(self) -> WorkCounts:
        """Return how much work there is in all threads."""
        return self._floor.counts()

    def _take_up(self, inbound: Inbound, asked_after: int) -> None:
        self._settle(inbound)
        self._floor.take_up(inbound, asked_after)

    def _settle(self, inbound: Inbound) -> None:
        """See that the message's thread has an agent; one whose agent is gone starts afresh with another (P8)."""
        gone = self.assignments.settle(inbound)
        if gone is not None:
            self._floor.claims.forget(inbound.thread_id)
            self._pool.reset(inbound.thread_id)
            self._floor.editors.of(inbound.thread_id).say(gone_line(gone, self.assignments.of(inbound.thread_id)))

    # --- start and end ---------------------------------------------------------------------------------------

    def limit(self, limits: WorkLimits) -> None:
        """Put other limits in force; a turn that runs keeps its own."""
        self._floor.limits = self._floor.runs.limits = limits
        self._floor.scheduler.rules_changed(anyio.current_time())
        self._floor.asking.timeout = limits.permission_timeout

    def observe(self, observer: Observer) -> None:
        """Tell ``observer`` from now on what happens."""
        self._floor.observe(observer)

    async def recover(self) -> None:
        """Go on where an earlier run on this state ended (R2)."""
        await self._choices.load()
        self.modes.load()
        self.assignments.load()
        cutoffs.restore(self._choices, self._floor.scheduler)
        await self._restart.recover()
        for kept in await self._store.notices():
            self._floor.notices.adopt(kept, self._floor.scheduler.queue(kept.thread_id))

    async def shutdown(self) -> None:
        """Take nothing more, let turns finish for a while, end the others, deliver what is left; bounded (R1)."""
        self._floor.intake.closed = self._floor.scheduler.closed = self._floor.asking.closed = True
        self._floor.skipped.hurry()
        self._floor.leftovers.close()
        await self._stopping.run(self._floor.limits)

    def hurry(self) -> None:
        """Let a `shutdown` that is under way wait for turns and messages only a moment longer (R1)."""
        self._stopping.hurry()
