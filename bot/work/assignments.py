"""Which agent each thread has, kept over restarts: a thread's session belongs to the agent that made it (P8).

A thread gets its agent with its first message; what the settings say later is for other threads. The mutable state is
the map of agents by thread.
"""

from __future__ import annotations

from dataclasses import replace

from acp.turn import TurnLimits
from bot.agents.model import Agents
from bot.model import Inbound
from bot.reply.port import Body
from bot.reply.sanitise import inline_code
from bot.work.choices import Choices
from bot.work.ports import Answer

_KEY = "agent"


def gone_line(gone: str, instead: str) -> Body:
    """Return what a thread is told whose agent is in the settings no more."""
    return Body(f"-# The agent {inline_code(gone)} is gone: {inline_code(instead)} takes over, and starts afresh.")


class Assignments:
    """The agents of threads. Where there is no choice, nothing is kept."""

    def __init__(self, choices: Choices, agents: Agents) -> None:
        self.agents = agents
        self._choices = choices
        self._names: dict[int, str] = {}

    def load(self) -> None:
        """Take over what earlier runs kept."""
        if self.agents.chosen:
            self._names = {place: name for place, name in self._choices.all(_KEY).items() if isinstance(name, str)}

    def of(self, thread_id: int) -> str:
        """Return the thread's agent: one that there is."""
        name = self._names.get(thread_id)
        return name if name is not None and name in self.agents else self.agents.default

    def assign(self, thread_id: int, name: str) -> None:
        """Give a thread an agent."""
        self._names[thread_id] = name
        self._choices.put(thread_id, _KEY, name)

    def forget(self, thread_id: int) -> None:
        """Drop a thread that is gone."""
        self._names.pop(thread_id, None)

    def renew(self, thread_id: int | None, name: str | None) -> Answer | None:
        """Give the thread, if it is there already, the agent that was asked for; return why there is none such."""
        if name is not None and name not in self.agents:
            names = ", ".join(inline_code(known) for known in self.agents.names)
            return Answer(f"There is no agent {inline_code(name)}, only {names}.", accepted=False)
        if name is not None and thread_id is not None:
            self.assign(thread_id, name)
        return None

    def opening(self, thread_id: int | None, asked: str | None) -> str:
        """Return what is said over a new conversation."""
        name = asked if asked is not None or thread_id is None else self.shown(thread_id)
        return f"A new conversation with {inline_code(name)}." if name is not None else "A new conversation."

    def shown(self, thread_id: int) -> str | None:
        """Return the name of the thread's agent where there is a choice."""
        return self.of(thread_id) if self.agents.chosen else None

    def turn_limits(self, thread_id: int, usual: TurnLimits) -> TurnLimits:
        """Return the limits of a turn of the thread's agent."""
        own = self.agents.profiles[self.of(thread_id)].hard_timeout
        return usual if own is None else replace(usual, hard_timeout=own)

    def settle(self, inbound: Inbound) -> str | None:
        """Give the message's thread an agent if it has none; return the name of the one it had if that is gone."""
        if not self.agents.chosen:
            return None
        before = self._names.get(inbound.thread_id)
        if before is None:
            channel_id = inbound.channel_id if inbound.parent_id is None else inbound.parent_id
            self.assign(inbound.thread_id, self.agents.for_channel(channel_id))
        elif before not in self.agents:
            self.assign(inbound.thread_id, self.agents.default)
            return before
        return None
