"""What is settled for each thread and server: project, agent, queue mode, cutoff, kept over restarts (W1, P8, Q2, Q7).

The store keeps one JSON object for each place. The mutable state is these objects by the id of the thread or server;
keys that nobody here knows stay in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
import structlog

from acp.turn_deadlines import TurnLimits
from bot.agents.model import AgentProfile, Agents, Project
from bot.model import Inbound, QueueMode
from bot.reply.port import Body
from bot.reply.sanitise import inline_code
from bot.wording import nearest
from bot.work.gone_places import GonePlaces
from bot.work.ports import Answer
from bot.work.task_tracker import TaskTracker
from pool.launcher import THREAD_FIELD
from pool.storage.durable import SessionStore

log = structlog.get_logger(__name__)

_MODE, _AGENT, _PROJECT, _CUTOFF, _HOME = "queue_mode", "agent", "project", "cutoff", "home"

CHOSEN = frozenset({_MODE, "options", "verbosity", "notify"})
"""What people choose for a thread: a copy of its conversation has it, too. All else is the thread's own state."""


def gone_line(gone: str, instead: str) -> Body:
    """Return what a thread reads whose agent is no longer in the settings."""
    return Body(f"-# The agent {inline_code(gone)} is gone: {inline_code(instead)} takes over, and starts afresh.")


class ThreadSettings:
    """What people and Weft have settled, by place.

    Args:
        agents: which there are. Where there is no choice, no agent is kept.
        default_mode: where nobody has chosen a queue mode.

    Attributes:
        gone: places that were forgotten, for which nothing is kept any more.
    """

    def __init__(self, tracker: TaskTracker, store: SessionStore, agents: Agents, default_mode: QueueMode) -> None:
        self.agents = agents
        self.gone = GonePlaces()
        self._default_mode = default_mode
        self._tracker = tracker
        self._store = store
        self._kept: dict[int, dict[str, Any]] = {}
        self._stand_ins: dict[int, str] = {}

    async def load(self) -> None:
        """Read what was settled in earlier runs; what can't be understood counts as not settled."""
        for place_id, options in (await self._store.choices()).items():
            # One damaged row must not keep the bot from starting; it stays as it is until something is settled there.
            try:
                self._kept[place_id] = dict(orjson.loads(options))
                QueueMode(self._kept[place_id].get(_MODE, self._default_mode))
            except (orjson.JSONDecodeError, TypeError, ValueError):
                log.warning("choice.ignored", place=place_id)

    def forget(self, place_id: int) -> None:
        """Drop what is settled for a place that is gone; its row is the store's to forget."""
        self._kept.pop(place_id, None)
        self.gone.add(place_id)

    def settle(
        self, place_id: int, *, mode: QueueMode | None = None, agent: str | None = None, cutoff: int | None = None
    ) -> None:
        """Settle something for a thread or a server; it holds at once, and is written down soon.

        Args:
            cutoff: the snowflake before which nothing of a thread runs, since a stop-all is newer (Q7).
        """
        new = {_MODE: str(mode) if mode is not None else None, _AGENT: agent, _CUTOFF: cutoff}
        self.keep(place_id, {key: value for key, value in new.items() if value is not None})

    def mode_in(self, thread_id: int, guild_id: int | None = None, own: QueueMode | None = None) -> QueueMode:
        """Return the mode of a message: its ``own``, else that of its thread, else of its server, else the default."""
        for place_id in (thread_id, guild_id) if own is None else ():
            kept = self._kept.get(place_id, {}).get(_MODE) if place_id is not None else None
            if kept in tuple(QueueMode):  # what an older or newer version wrote may be none
                return QueueMode(kept)
        return own or self._default_mode

    # --- choices that only their own part understands ---------------------------------------------------------------

    def kept(self, place_id: int | None, key: str) -> Any:
        """Return what is kept under a key for a thread, channel or server, as JSON has it; None if nothing is.

        It may be what an older or newer version wrote, so whoever asks looks at its type.
        """
        return self._kept.get(place_id, {}).get(key) if place_id is not None else None

    def all_kept(self, key: str) -> dict[int, Any]:
        """Return what is kept under a key, by place."""
        return {place_id: settled[key] for place_id, settled in self._kept.items() if key in settled}

    def keep(self, place_id: int, values: Mapping[str, Any], *, at_once: bool = True) -> None:
        """Keep JSON values by key for a place; they hold at once, and are written down soon. None: no more.

        Without ``at_once`` they are written with what is kept next for the place, for what may be lost in a crash.
        """
        if place_id in self.gone:
            return  # a row made now would stay for good: nobody forgets the place once more
        # In memory first: it holds for what comes in the same moment. Of several writes the last has all of it.
        kept = self._kept.setdefault(place_id, {})
        kept.update(values)
        for key in [key for key, value in kept.items() if value is None]:
            del kept[key]
        if not at_once:
            return
        # Dumped now and not when it is written: the store keeps the order in which it was called.
        write = partial(self._store.bind, place_id, options=orjson.dumps(kept).decode())
        self._tracker.begin(write, name=f"choose {place_id}")

    # --- threads that go on with the session of another one ---------------------------------------------------------

    def home_of(self, thread_id: int) -> int:
        """Return the thread in whose directory a thread works, where each has its own: agents know sessions by it."""
        home = self.kept(thread_id, _HOME)
        return home if type(home) is int else thread_id

    def shares_home(self, thread_id: int) -> bool:
        """Return whether another thread works in the same directory."""
        home = self.home_of(thread_id)
        return home != thread_id or any(kept.get(_HOME) == home for kept in self._kept.values())

    def at_home(self, home: int) -> list[int]:
        """Return the threads that work in the directory of a thread, which may be gone itself."""
        guests = [thread_id for thread_id, kept in self._kept.items() if kept.get(_HOME) == home]
        return [home, *guests] if home in self._kept and self.home_of(home) == home else guests

    def inherit(
        self, thread_id: int, agent: str, home: int | None, origin: int | None = None, project: str | None = None
    ) -> None:
        """Settle a thread that is about to be opened, with all that people chose for the thread ``origin``."""
        chosen = self._kept.get(origin, {}) if origin is not None else {}
        values = {key: value for key, value in chosen.items() if key in CHOSEN}
        own = {_AGENT: agent} if self.agents.chosen else {}
        if project is not None:
            own[_PROJECT] = project
        self.keep(thread_id, values | own | ({} if home is None else {_HOME: home}))

    # --- project ---------------------------------------------------------------------------------------------------

    def project_name(self, thread_id: int) -> str | None:
        """Return the name of a thread's project, which the settings may have lost; None: it has none."""
        name = self.kept(thread_id, _PROJECT)
        # Also where there is no choice of agents any more: the thread must not work elsewhere then.
        return name if isinstance(name, str) else None

    def project_of(self, thread_id: int) -> Project | None:
        """Return a thread's project; None: it has none, or one that is gone from the settings."""
        name = self.project_name(thread_id)
        return self.agents.projects.get(name) if name is not None else None

    def profile_of(self, thread_id: int) -> AgentProfile:
        """Return how the agent of a thread is started, with what its project adds."""
        return self.agents.profile(self.agent_of(thread_id), self.project_name(thread_id))

    def rules_place(self, thread_id: int) -> str:
        """Return where the rules hold that people keep from a card: ``./test.sh`` of one place is not that of another.

        All threads of a project have the same: their work trees are of one repository.
        """
        project = self.project_of(thread_id)
        if project is not None:
            return str(project.path)
        return self.profile_of(thread_id).workspace.replace(THREAD_FIELD, str(self.home_of(thread_id)))

    # --- agent -----------------------------------------------------------------------------------------------------

    def agent_of(self, thread_id: int) -> str:
        """Return the agent of a thread, or the one that threads of a channel get: one that there is."""
        name = self._stand_ins.get(thread_id) or self._agent_kept(thread_id)
        # The settings may have lost the one that is kept: it is replaced for good by the thread's next message only.
        return name if name is not None and name in self.agents else self.agents.for_channel(thread_id)

    @contextmanager
    def standing_in(self, place_id: int, agent: str) -> Iterator[None]:
        """Let an id that is no place's stand for an agent, while that is asked for something beside all threads."""
        self._stand_ins[place_id] = agent
        try:
            yield
        finally:
            del self._stand_ins[place_id]

    def agent_name_for(self, thread_id: int) -> str | None:
        """Return the name of the thread's agent where there is a choice."""
        return self.agent_of(thread_id) if self.agents.chosen else None

    def called(self, place_id: int) -> str:
        """Return what a place's agent is called amid a sentence; where there is no choice, its name means nothing."""
        name = self.agent_name_for(place_id)
        return inline_code(name) if name is not None else "the agent"

    def limits_for(self, thread_id: int, usual: TurnLimits) -> TurnLimits:
        """Return the limits of a turn of the thread's agent."""
        hard_timeout = self.profile_of(thread_id).hard_timeout
        return usual if hard_timeout is None else replace(usual, hard_timeout=hard_timeout)

    def settle_agent(self, inbound: Inbound) -> str | None:
        """Give the message's thread project and agent if it has none; return the name of the agent it had if gone.

        A thread keeps those of its first message, since its session belongs to both (P8, W1).
        """
        if not self.agents.chosen:
            return None
        before = self._agent_kept(inbound.thread_id)
        if before is None:
            # A thread counts as its channel, whose agent is settled in the file.
            self.begin(inbound.thread_id, inbound.channel_id if inbound.parent_id is None else inbound.parent_id)
        elif before not in self.agents:
            self.settle(inbound.thread_id, agent=self.agents.default)
            return before
        return None

    def begin(self, thread_id: int, channel_id: int, *, agent: str | None = None, project: str | None = None) -> None:
        """Settle what a new thread works on and who works there; None: as its channel says, else as the file does."""
        project = project or self.project_name(thread_id) or self.agents.channel_projects.get(channel_id)
        agent = agent or self.agents.for_channel(channel_id, project)
        self.keep(thread_id, {_AGENT: agent} if project is None else {_AGENT: agent, _PROJECT: project})

    def unknown(self, name: str) -> Answer | None:
        """Return what is said where there is no agent of this name."""
        if name in self.agents:
            return None
        names = ", ".join(inline_code(known) for known in self.agents.names)
        return Answer(f"There is no agent {inline_code(name)}, only {names}.", accepted=False)

    def unknown_project(self, name: str) -> Answer | None:
        """Return what is said where there is no project of this name."""
        known = self.agents.projects
        if name in known:
            return None
        if not known:
            return Answer("No projects are set up here. The person who runs Weft can add some.", accepted=False)
        near = nearest(name, known)
        hint = f"Did you mean {inline_code(near)}?" if near else f"There are {', '.join(map(inline_code, known))}."
        return Answer(f"There is no project {inline_code(name)}. {hint}", accepted=False)

    def renew(self, thread_id: int | None, name: str | None, project: str | None = None) -> Answer:
        """Give the thread, if it is there already, the agent that was asked for; say what stands over it then."""
        if name is not None and (unknown := self.unknown(name)) is not None:
            return unknown
        if project is not None and (refused := self._project_refused(thread_id, project)) is not None:
            return refused
        if (refused := self._far_from_project(thread_id, name, project)) is not None:
            return refused
        if thread_id is not None:
            if name is not None:
                self.settle(thread_id, agent=name)
            name, project = name or self.agent_name_for(thread_id), project or self.project_name(thread_id)
        text = f"A new conversation with {inline_code(name)}" if name is not None else "A new conversation"
        text += f" on {inline_code(project)}." if project is not None else "."
        return Answer(text, accepted=True, lasting=thread_id is not None)

    def _project_refused(self, thread_id: int | None, project: str) -> Answer | None:
        if (unknown := self.unknown_project(project)) is not None:
            return unknown
        if thread_id is None or self.project_name(thread_id) == project:
            return None
        # Its work lies there: in a thread that changes its project, nobody would find it again.
        now = self.project_name(thread_id)
        on = f"works on {inline_code(now)}" if now is not None else "works on no project"
        text = f"This thread {on}, and that can't change. Use `/new project:{project}` in the channel for a new thread."
        return Answer(text, accepted=False)

    def _far_from_project(self, thread_id: int | None, name: str | None, project: str | None) -> Answer | None:
        """Refuse an agent that runs on another machine for work on a project, which is a directory of this one."""
        if project is None and thread_id is not None:
            project = self.project_name(thread_id)
        known = self.agents.projects.get(project) if project is not None else None
        if known is None:
            return None
        name = name or known.agent or (self.agent_of(thread_id) if thread_id is not None else self.agents.default)
        if name not in self.agents or self.agents.profiles[name].engine is None:
            return None
        text = f"{inline_code(name)} runs on another machine and can't work on {inline_code(known.name)}."
        return Answer(f"{text} Choose another agent, or no project.", accepted=False)

    def _agent_kept(self, thread_id: int) -> str | None:
        name = self._kept.get(thread_id, {}).get(_AGENT)
        # Without a choice nobody asked for what is kept: it was settled under other settings, which may come back.
        return name if isinstance(name, str) and self.agents.chosen else None

    def cutoffs(self) -> list[tuple[int, int]]:
        """Return threads and their cutoffs, the oldest first: the queues forget the oldest first, too."""
        kept = ((place_id, settled.get(_CUTOFF)) for place_id, settled in self._kept.items())
        # Exactly int: JSON's true is one as well, for isinstance.
        return sorted(((place_id, cutoff) for place_id, cutoff in kept if type(cutoff) is int), key=lambda one: one[1])
