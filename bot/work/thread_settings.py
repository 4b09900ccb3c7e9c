"""What is settled for each thread and server: queue mode, agent and cutoff, kept over restarts (Q2, P8, Q7).

The store keeps one JSON object for each place. The mutable state is these objects by the id of the thread or server;
keys that nobody here knows stay in them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import structlog

from acp.turn_deadlines import TurnLimits
from bot.agents.model import Agents
from bot.model import Inbound, QueueMode
from bot.reply.port import Body
from bot.reply.sanitise import inline_code
from bot.work.ports import Answer
from bot.work.task_tracker import TaskTracker
from pool.storage.durable import SessionStore

log = structlog.get_logger(__name__)

_MODE, _AGENT, _CUTOFF = "queue_mode", "agent", "cutoff"


def gone_line(gone: str, instead: str) -> Body:
    """Return what a thread reads whose agent is in the settings no more."""
    return Body(f"-# The agent {inline_code(gone)} is gone: {inline_code(instead)} takes over, and starts afresh.")


class ThreadSettings:
    """What people and Weft have settled, by place.

    Args:
        agents: which there are. Where there is no choice, no agent is kept.
        default_mode: where nobody has chosen a queue mode.
    """

    def __init__(self, tracker: TaskTracker, store: SessionStore, agents: Agents, default_mode: QueueMode) -> None:
        self.agents = agents
        self._default_mode = default_mode
        self._tracker = tracker
        self._store = store
        self._kept: dict[int, dict[str, Any]] = {}

    async def load(self) -> None:
        """Read what was settled in earlier runs; what can't be understood counts as not settled."""
        for place_id, options in (await self._store.choices()).items():
            try:
                self._kept[place_id] = dict(orjson.loads(options))
            except (orjson.JSONDecodeError, TypeError, ValueError):
                log.warning("choice.ignored", place=place_id)
                continue
            if _MODE in self._kept[place_id] and self._mode_at(place_id) is None:
                log.warning("choice.ignored", place=place_id)

    def forget(self, place_id: int) -> None:
        """Drop what is settled for a place that is gone; its row is the store's to forget."""
        self._kept.pop(place_id, None)

    def _put(self, place_id: int, key: str, value: object) -> None:
        """Settle something; it holds at once, and is written down soon."""
        kept = self._kept.setdefault(place_id, {})
        # In memory first: it holds for what comes in the same moment. Of several writes the last has all of it.
        kept[key] = value
        options = orjson.dumps(kept).decode()

        async def write() -> None:
            await self._store.bind(place_id, options=options)

        self._tracker.begin(write, name=f"choose {place_id}")

    def _get(self, place_id: int, key: str) -> Any:
        return self._kept.get(place_id, {}).get(key)

    # --- queue mode ------------------------------------------------------------------------------------------------

    def mode_of(self, inbound: Inbound) -> QueueMode:
        """Return the mode of a message: its own, else that of its thread, else of its server, else the default."""
        return inbound.mode or self.mode_in(inbound.thread_id, inbound.guild_id)

    def mode_in(self, thread_id: int, guild_id: int | None = None) -> QueueMode:
        """Return the mode in force in a thread."""
        of_server = self._mode_at(guild_id) if guild_id is not None else None
        return self._mode_at(thread_id) or of_server or self._default_mode

    def choose_mode(self, place_id: int, mode: QueueMode) -> None:
        """Take a choice for a thread or a server."""
        self._put(place_id, _MODE, str(mode))

    def _mode_at(self, place_id: int) -> QueueMode | None:
        try:
            return QueueMode(self._get(place_id, _MODE))
        except ValueError:
            return None

    # --- agent -----------------------------------------------------------------------------------------------------

    def agent_of(self, thread_id: int) -> str:
        """Return the thread's agent: one that there is."""
        name = self._agent_kept(thread_id)
        return name if name is not None and name in self.agents else self.agents.default

    def agent_name_for(self, thread_id: int) -> str | None:
        """Return the name of the thread's agent where there is a choice."""
        return self.agent_of(thread_id) if self.agents.chosen else None

    def limits_for(self, thread_id: int, usual: TurnLimits) -> TurnLimits:
        """Return the limits of a turn of the thread's agent."""
        hard_timeout = self.agents.profiles[self.agent_of(thread_id)].hard_timeout
        return usual if hard_timeout is None else replace(usual, hard_timeout=hard_timeout)

    def assign(self, thread_id: int, name: str) -> None:
        """Give a thread an agent."""
        self._put(thread_id, _AGENT, name)

    def settle_agent(self, inbound: Inbound) -> str | None:
        """Give the message's thread an agent if it has none; return the name of the one it had if that is gone.

        A thread keeps the agent of its first message, since its session belongs to that one (P8).
        """
        if not self.agents.chosen:
            return None
        before = self._agent_kept(inbound.thread_id)
        if before is None:
            channel_id = inbound.channel_id if inbound.parent_id is None else inbound.parent_id
            self.assign(inbound.thread_id, self.agents.for_channel(channel_id))
        elif before not in self.agents:
            self.assign(inbound.thread_id, self.agents.default)
            return before
        return None

    def renew(self, thread_id: int | None, name: str | None) -> Answer | None:
        """Give the thread, if it is there already, the agent that was asked for; return why there is none such."""
        if name is not None and name not in self.agents:
            names = ", ".join(inline_code(known) for known in self.agents.names)
            return Answer(f"There is no agent {inline_code(name)}, only {names}.", accepted=False)
        if name is not None and thread_id is not None:
            self.assign(thread_id, name)
        return None

    def opening(self, thread_id: int | None, asked: str | None) -> str:
        """Return what stands over a new conversation."""
        name = asked if asked is not None or thread_id is None else self.agent_name_for(thread_id)
        return f"A new conversation with {inline_code(name)}." if name is not None else "A new conversation."

    def _agent_kept(self, thread_id: int) -> str | None:
        name = self._get(thread_id, _AGENT)
        return name if isinstance(name, str) and self.agents.chosen else None

    # --- cutoff ----------------------------------------------------------------------------------------------------

    def keep_cutoff(self, thread_id: int, cutoff: int) -> None:
        """Write down the snowflake before which nothing of a thread runs, since a stop-all is newer (Q7)."""
        self._put(thread_id, _CUTOFF, cutoff)

    def cutoffs(self) -> list[tuple[int, int]]:
        """Return threads and their cutoffs, the oldest first: the queues forget the oldest first, too."""
        kept = ((place_id, self._get(place_id, _CUTOFF)) for place_id in self._kept)
        return sorted((one for one in kept if type(one[1]) is int), key=lambda one: one[1])
