"""The work as Discord sees it: takes messages, and carries out what the queues decide.

Every call but `saved`, `recover` and `shutdown` returns at once, whatever an agent does. Each part decides its
own: `queue` which message becomes which turn, `runs` what happens to a turn, `delivery` how a reply gets to its end.
The mutable state is which messages came too late to be taken, and the event that wakes the clock of the queues.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import structlog
from anyio.abc import TaskGroup

from bot.agents.model import Agents
from bot.model import Actor, Inbound, ThreadPlace
from bot.work.agent_tools.calls import AgentTools
from bot.work.agent_tools.reading import ThreadReader
from bot.work.agent_tools.sending import FileSender
from bot.work.agent_tools.starting import ThreadStarter
from bot.work.asking import Asking
from bot.work.attention.inbox import Inbox
from bot.work.attention.notifications import Notifications
from bot.work.background import Backgrounds
from bot.work.budget.budgets import Budgets
from bot.work.controls import Controls
from bot.work.delivery import Deliveries
from bot.work.editors import Editors, nonce_source
from bot.work.ending import TurnEnd
from bot.work.files.handouts import Handouts
from bot.work.files.transcription import Transcriber
from bot.work.files.turn_files import TurnFiles
from bot.work.guide.situation import Guide
from bot.work.guide.welcome import Welcome
from bot.work.intake import Intake
from bot.work.late_output import LateOutputs
from bot.work.leftovers import Leftovers
from bot.work.limits import WorkLimits
from bot.work.login.logins import Logins
from bot.work.observer import Observer
from bot.work.options.giving import OptionGiver
from bot.work.options.memory import OptionMemory
from bot.work.options.service import SessionChoices
from bot.work.outside.outside import Outside
from bot.work.permissions.waiting import Asked, asked_of
from bot.work.ports import Answer, Chat, Lookups
from bot.work.projects.actions import TreeActions
from bot.work.projects.branches import Branches
from bot.work.projects.listing import TreeList
from bot.work.projects.removal import Removal
from bot.work.projects.service import Projects
from bot.work.projects.tending import Tending
from bot.work.projects.trees import Trees
from bot.work.projects.upkeep import Upkeep
from bot.work.queue.entry import Cancel, Decision, Edited, End, Entry, Inject, Joined, Queued, Warm
from bot.work.queue.rate import RateLimit
from bot.work.queue.rules import Rules
from bot.work.queue.scheduler import Lanes, Scheduler
from bot.work.queue.thread_queue import ThreadQueue
from bot.work.queue_notices import QueueNotices
from bot.work.reactions import Mark, Reactions
from bot.work.recovery import Recovery, Shutdown
from bot.work.running_turn import Claim
from bot.work.runs import Runs
from bot.work.schedules.runner import ScheduleRunner
from bot.work.schedules.service import Schedules
from bot.work.schedules.zones import TimeZones, usual_zone
from bot.work.serialization import accepted_prompt
from bot.work.sessions.sessions import Sessions
from bot.work.skipped import RateLimiter, SkippedMessages
from bot.work.slash.commands import AgentCommands
from bot.work.status import WorkCounts, work_counts
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from bot.work.thread_states import ThreadStates
from bot.work.transcripts.export import Exports
from bot.work.transcripts.handoffs import Handoffs
from bot.work.transcripts.service import Transcripts
from bot.work.turn_events import TurnEvents, WaitsForPeople
from bot.work.turns import TurnService
from bot.work.verbosity import VerbosityChoices
from bot.work.workspace.changes import WorkspaceChanges
from pool.launcher import LauncherByName
from pool.pool import ConnectionPool
from pool.storage.durable import SessionStore

log = structlog.get_logger(__name__)


class Dispatcher:
    """What Discord may ask of the work; it is the host of the scheduler, too.

    Args:
        tasks: owns every task of the work: accepts, turns, editors, timers.
        agents: which there are.
        may: says whether a message's author would be let in now.
        rights: gives somebody the rights to decide that they have in a thread now; None: they are not let in.
        redact: takes secrets out of what agents say about their failures.
        lookups: asks Discord for what prompts refer to.
        journals: the directory in which merges under way are written down.
        transcriber: writes down voice messages for agents that take no sounds.
        launcher: says how commands of projects are run in the directories of threads; None: there are no projects.

    Attributes:
        projects: the work trees of threads.
        controls: what people do to turns and queues, by command, button or typed word.
        commands: which commands the agents offer.
        logins: logs in to agents, and out.
        guide: says what one can do in a place.
        turn_events: tells who watches turns.
        budgets: what was spent, and what may be.
        notifications: whom to ping.
        inbox: what ended unread.
        sessions: which sessions there are, and threads that go on with one.
        thread_settings: what is settled for each thread and server.
        trees: what people see and do of work trees.
        verbosity: how much of its turns each thread shows.
        thread_states: what is going on in each thread, for whoever shows that elsewhere.
        outside: what threads look like from outside.
        schedules: prompts that run again and again.
        permissions: the permission requests that people may press.
        rules: what is allowed without a question.
        decisions: what was decided.
        transcripts: what was said and done in turns; ``exports``: the same as files.
        questions: the questions that people may answer.
        options: what people choose for the sessions of their threads.
        tools: what agents do in Discord by their tools.
        deliveries: sees final replies to their end, and knows who listens to outcomes.
        late_outputs: shows what agents say outside turns, and that one was ended amid that.
    """

    def __init__(
        self,
        tasks: TaskGroup,
        chat: Chat,
        pool: ConnectionPool,
        store: SessionStore,
        limits: WorkLimits,
        agents: Agents,
        observer: Observer,
        *,
        may: Callable[[Inbound], bool],
        rights: Callable[[Actor, ThreadPlace], Actor | None],
        redact: Callable[[str], str],
        lookups: Lookups,
        journals: Path,
        transcriber: Transcriber | None = None,
        launcher: LauncherByName | None = None,
    ) -> None:
        self._may, self._rights, self._redact = may, rights, redact
        self._limits, self._observer = limits, observer
        self._chat, self._pool, self._store = chat, pool, store
        self._too_late: set[int] = set()
        self._woken = anyio.Event()
        self._tracker = TaskTracker(tasks)
        self._scheduler: Scheduler[Claim] = Scheduler(Lanes(limits.lanes), self)
        self.thread_settings = ThreadSettings(self._tracker, store, agents, limits.rules.mode)
        # Each of these builds on those before it.
        self._make_display(tasks, transcriber)
        self.projects = Projects(store, self.thread_settings, self._editors, launcher, redact)
        self._make_records(agents)
        self._make_watchers(tasks)
        self._make_turns(tasks, lookups)
        self._make_controls()
        self._make_schedules(agents, lookups)
        tasks.start_soon(self._schedule_runner.run, name="schedules")
        self._make_trees(tasks, journals)
        self._make_tools(lookups)
        tasks.start_soon(self._keep_time, name="queue clock")
        tasks.start_soon(self._files.remove_old_ones, name="old files")

    def _make_display(self, tasks: TaskGroup, transcriber: Transcriber | None) -> None:
        """Make what shows things in threads, and what takes files in and out."""
        tracker, chat, limits = self._tracker, self._chat, self._limits
        self._nonces = nonce_source(time.time_ns())
        self._editors = editors = Editors(
            tasks, chat.thread, replace(limits.pacing, streaming=lambda: len(self._runs.running)), self._nonces,
            self._scheduler, self.thread_gone, as_shown=self._redact, long_as_file=limits.long_as_file,
        )  # fmt: skip
        self._reactions = Reactions(tasks, chat, enabled=limits.reactions)
        self._files = TurnFiles(tracker, chat.fetch, self.thread_settings, limits.files, transcriber)
        self._handouts = Handouts(editors, self._files.place_of, chat.upload_limit)
        self._notices = QueueNotices(tasks, tracker, editors, self._store, self._scheduler)
        self._leftovers = Leftovers(tasks, self._notices)
        self.late_outputs = LateOutputs(tasks, tracker, editors)

    def _make_records(self, agents: Agents) -> None:
        """Make what keeps, of each turn, how it ended, what was said in it and what it took."""
        store, settings, redact = self._store, self.thread_settings, self._redact
        self.transcripts = Transcripts(store, redact, self._limits.transcript_days, settings.gone)
        self.exports = Exports(self.transcripts, self._chat.upload_limit)
        self._handoffs = Handoffs(self.transcripts, settings)
        self.notifications = Notifications(settings)
        self.deliveries = Deliveries(
            self._tracker, self._editors, store, self._reactions, self._observer, self._handouts, self.notifications,
            redact, self.transcripts,
        )  # fmt: skip
        self.inbox = Inbox(settings, redact)
        self.thread_states = ThreadStates(self._scheduler, settings)
        self.deliveries.listeners += [self.inbox.ended, self.thread_states.recorded]
        self.budgets = Budgets(agents.budget, store, self._scheduler, self._editors, self._observer)
        self._skipped = SkippedMessages(self._tracker, self._editors, self.deliveries, store, redact)

    def _make_watchers(self, tasks: TaskGroup) -> None:
        """Make what watches turns, and what agents ask people."""
        chat, settings, editors, redact = self._chat, self.thread_settings, self._editors, self._redact
        self.commands = AgentCommands(self._pool, settings, redact)
        self.outside = Outside(
            tasks, self._tracker, chat, self._store, settings, self.thread_states, self.budgets, self._nonces, redact
        )
        memory = OptionMemory(settings, redact)
        self._giver = OptionGiver(editors, self._pool, settings, memory, redact)
        # The budgets first: others may want to know what was spent.
        self.turn_events = TurnEvents([self.budgets, self.thread_states, self.commands])
        self.turn_events.listeners.append(Welcome(editors, settings, self._files, self._limits.welcome))
        self.turn_events.listeners += [self._giver, *self.outside.listeners]
        self._asking = asking = Asking(
            tasks, self._tracker, self._store, chat, editors, settings,
            WaitsForPeople(self._scheduler, self.turn_events), self.notifications,
            approver_in=lambda guild_id: chat.first_role(guild_id, self._limits.approvers),
            timeout=self._limits.permission_timeout,
            redact=redact,
        )  # fmt: skip
        self.permissions, self.questions = asking.permissions, asking.questions
        self.rules, self.decisions = asking.rules, asking.decisions
        self.options = SessionChoices(self._tracker, self._pool, memory, self._giver, asking.decisions)

    def _make_turns(self, tasks: TaskGroup, lookups: Lookups) -> None:
        """Make what takes a message to its turn, and the turn to its end."""
        tracker, store, pool, limits = self._tracker, self._store, self._pool, self._limits
        editors, settings, redact = self._editors, self.thread_settings, self._redact
        self._branches = branches = Branches(tasks, self.projects)
        self._changes = WorkspaceChanges(tracker, store, self._files.place_of, self.projects.tree_of, branches.changes)
        turns = TurnService(
            pool, store, self._scheduler, editors, self.deliveries, self._asking.cards, self._asking.forms,
            self._leftovers, self.late_outputs, Backgrounds(lookups, store, limits.context, limits.lookup),
            self._files, self._handouts, self._handoffs, self._changes, self._giver,
            self.projects, self._branches, redact,
        )  # fmt: skip
        self._runs = Runs(
            tasks, tracker, pool, store, self._scheduler, editors, self.deliveries, self._notices, self._leftovers,
            turns, settings, self._observer, self.turn_events, limits,
        )  # fmt: skip
        self._intake = Intake(
            tracker, self._chat, store, pool, self._scheduler, editors, self._reactions, self.deliveries, settings,
            self._runs, self.budgets, self.commands, self._observer, redact,
        )  # fmt: skip
        rate = RateLimit(limits.user_messages, limits.user_window)
        self._rate_limiter = RateLimiter(tracker, store, rate, self._intake, self._skipped)
        self._recovery = Recovery(
            tracker, self._chat, store, editors, self.deliveries, self._reactions, self._intake, self._handouts,
            self._asking.records, self.notifications, self._may,
        )  # fmt: skip
        self._shutdown = Shutdown(self._scheduler, self._runs, tracker, editors, store, self._notices, self._reactions)

    def _make_controls(self) -> None:
        """Make what commands and buttons call."""
        pool, store, settings, redact = self._pool, self._store, self.thread_settings, self._redact
        self.controls = Controls(
            self._scheduler, self._runs, self._intake, self._recovery, self._notices, self._leftovers, settings,
            self._changes, self.budgets, self._handoffs, self.options, self._branches, pool, store,
        )  # fmt: skip
        self.sessions = Sessions(
            self._tracker, self._chat, pool, store, settings, self._editors, self._intake, self.budgets, self.options,
            self.projects, redact,
        )  # fmt: skip
        self.logins = Logins(pool, settings, redact)
        self.guide = Guide(self._scheduler, self._runs, self._asking, settings, self._files, self._limits.context)
        self.verbosity = VerbosityChoices(self._runs, settings)
        self.turn_events.listeners.append(self.verbosity)

    def _make_schedules(self, agents: Agents, lookups: Lookups) -> None:
        """Make what lets prompts run again and again."""
        zones = TimeZones(self.thread_settings, usual_zone(agents.budget.zone))
        self.schedules = Schedules(self._tracker, self._store, zones)
        self._schedule_runner = ScheduleRunner(
            self.schedules, self._tracker, self._chat, lookups, self._store, self._editors, self._intake,
            self._rate_limiter, self._redact,
        )  # fmt: skip

    def _make_trees(self, tasks: TaskGroup, journals: Path) -> None:
        """Make what people see and do of work trees."""
        settings, editors, decisions, branches = self.thread_settings, self._editors, self.decisions, self._branches
        actions = TreeActions(
            self.projects, branches, self._runs, self._scheduler, settings, editors, decisions, journals, self._redact,
            self.saved,
        )  # fmt: skip
        known = TreeList(self.projects, branches)
        removal = Removal(self.projects, actions, self._pool)
        upkeep = Upkeep(self.projects, removal, settings, editors, self._tracker, self._pool)
        self.trees = Trees(actions, known, Tending(actions, removal, decisions, editors), upkeep)
        self.turn_events.listeners += [actions, upkeep]
        tasks.start_soon(upkeep.run, name="work trees")

    def _make_tools(self, lookups: Lookups) -> None:
        """Make what agents call."""
        starter = ThreadStarter(
            self._tracker, self._chat, lookups, self._store, self.thread_settings, self._editors, self._intake,
            self.budgets, self._rate_limiter.rate, self._may, self._redact,
        )  # fmt: skip
        self.turn_events.listeners.append(starter)
        self.tools = AgentTools(
            self._runs, lookups, self.decisions, FileSender(self._tracker, self._editors, self._handouts),
            ThreadReader(lookups, self._redact), starter, self.outside.titles, self._may, self.schedules.add,
        )  # fmt: skip

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
