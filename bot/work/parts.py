"""The parts of the work, and how they are put together: each is made of those before it.

What happens to a message between them is for `bot.work.dispatcher`, whose state is made here as well.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
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
from bot.work.ports import Chat, Lookups
from bot.work.projects.actions import TreeActions
from bot.work.projects.branches import Branches
from bot.work.projects.listing import TreeList
from bot.work.projects.removal import Removal
from bot.work.projects.service import Projects
from bot.work.projects.tending import Tending
from bot.work.projects.trees import Trees
from bot.work.projects.upkeep import Upkeep
from bot.work.queue.rate import RateLimit
from bot.work.queue.scheduler import Host, Lanes, Scheduler
from bot.work.queue_notices import QueueNotices
from bot.work.reactions import Reactions
from bot.work.recovery import Recovery, Shutdown
from bot.work.running_turn import Claim
from bot.work.runs import Runs
from bot.work.schedules.runner import ScheduleRunner
from bot.work.schedules.service import Schedules
from bot.work.schedules.zones import TimeZones, usual_zone
from bot.work.sessions.sessions import Sessions
from bot.work.skipped import RateLimiter, SkippedMessages
from bot.work.slash.commands import AgentCommands
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


class Parts(Host[Claim]):
    """All that the work consists of.

    Args:
        tasks: owns every task of the work: accepts, turns, editors, timers.
        agents: which there are.
        may: says whether a message's author would be let in now.
        rights: gives somebody the rights to decide that they have in a thread now; None: they are not let in.
        redact: takes secrets out of what agents say about their failures.
        lookups: asks Discord for what prompts refer to.
        journals: the directory in which merges under way are written down.
        mirrors: the directory in which files of agents on other machines are kept.
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
        mirrors: Path,
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
        self._make_display(tasks, transcriber, mirrors)
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

    def _make_display(self, tasks: TaskGroup, transcriber: Transcriber | None, mirrors: Path) -> None:
        """Make what shows things in threads, and what takes files in and out."""
        tracker, chat, limits = self._tracker, self._chat, self._limits
        self._nonces = nonce_source(time.time_ns())
        self._editors = editors = Editors(
            tasks, chat.thread, replace(limits.pacing, streaming=lambda: len(self._runs.running)), self._nonces,
            self._scheduler, self.thread_gone, as_shown=self._redact, long_as_file=limits.long_as_file,
        )  # fmt: skip
        self._reactions = Reactions(tasks, chat, enabled=limits.reactions)
        self._files = TurnFiles(tracker, chat.fetch, self.thread_settings, limits.files, mirrors, transcriber)
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
        place_here, tree_of = self._files.place_here, self.projects.tree_of
        self._changes = WorkspaceChanges(tracker, store, place_here, tree_of, branches.changes)
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
            ThreadReader(lookups, self._redact), starter, self.outside.titles, self._may,
            partial(self.schedules.add, by_agent=True),
        )  # fmt: skip

    # --- what parts ask of the whole -------------------------------------------------------------------------------

    @abstractmethod
    def thread_gone(self, thread_id: int, reason: str) -> None:
        """Cancel what runs and drop what waits in a thread that can no longer be written to (D10)."""

    @abstractmethod
    async def saved(self) -> bool:
        """Wait until all that was asked for so far is written down; False: for now it is in memory only."""

    @abstractmethod
    async def _keep_time(self) -> None:
        """Look at the queues again when a debounce is over; never returns."""
