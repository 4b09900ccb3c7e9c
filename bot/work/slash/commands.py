"""Which commands the agent of a thread offers, as last known, and what a person who names one gets (K3).

A living session knows its commands. What it knew at the end of a turn is remembered for its thread and, over restarts,
for its agent in that server, so that there are suggestions while an agent is starting or not running. These may be out
of date, and of another directory: a message that begins with ``/name`` reaches the agent whatever is known here. The
mutable state is what was seen, by thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches

from acp.commands import NAME_LIMIT, AgentCommand
from bot.model import Inbound
from bot.recent import RecentMap
from bot.reply.sanitise import inline_code
from bot.work.ending import TurnEnd
from bot.work.ports import Answer
from bot.work.prompt import is_command
from bot.work.running_turn import RunningTurn
from bot.work.thread_settings import ThreadSettings
from bot.work.turn_events import TurnListener
from pool.pool import ConnectionPool

MOST_THREADS = 200
"""Threads of which the commands are remembered; of others the agent's are suggested."""

KEPT_TEXT = 100
"""Characters of a description and of a hint that are remembered: a suggestion shows no more."""

_KEY = "commands"
_NEAREST = 5

NO_COMMANDS = "This agent has not listed its commands yet. It does so in the first turn of a conversation."
AS_MESSAGE = "To send it anyway, write it as a message."


class AgentCommands(TurnListener):
    """The commands of the agents, by thread."""

    def __init__(self, pool: ConnectionPool, settings: ThreadSettings, redact: Callable[[str], str]) -> None:
        self._pool = pool
        self._redact = redact
        self._settings = settings
        self._seen: RecentMap[int, tuple[AgentCommand, ...]] = RecentMap(MOST_THREADS)

    def of(self, thread_id: int, guild_id: int | None) -> tuple[AgentCommand, ...]:
        """Return the commands of a thread's agent: what its session offers now, else what was last known."""
        session = self._pool.live_session(thread_id)
        if session is not None and session.commands:
            return session.commands
        return self._seen.get(thread_id) or self._kept(guild_id or thread_id, self._settings.agent_of(thread_id))

    def prompt(self, thread_id: int, guild_id: int | None, name: str, given: str) -> Answer:
        """Return the prompt that runs a command, to be shown and asked; refused is a name that nobody knows."""
        name, given = name.strip().removeprefix("/"), given.strip()
        text = f"/{name} {given}".rstrip()
        offered = [one.name for one in self.of(thread_id, guild_id)]
        if name in offered or (not offered and is_command(text)):
            return Answer(text, accepted=True)
        if not offered:
            return Answer(NO_COMMANDS, accepted=False)
        nearest = ", ".join(inline_code(f"/{one}", NAME_LIMIT + 1) for one in nearest_names(name, offered))
        advice = f"Did you mean {nearest}?" if nearest else "Start typing in `command`, and choose one."
        return Answer(f"The agent has no command {inline_code(f'/{name}')}. {advice} {AS_MESSAGE}", accepted=False)

    def named_in(self, message: Inbound) -> bool:
        """Return whether a message begins with one of the commands that are known for its thread."""
        # Most messages begin with something else: for these nothing is looked up.
        if not message.text.startswith("/"):
            return False
        first = message.text.split(maxsplit=1)[0].removeprefix("/")
        return any(one.name == first for one in self.of(message.thread_id, message.guild_id))

    def ended(self, running: RunningTurn, end: TurnEnd) -> None:
        del end
        session, entry = running.session, running.entry
        if session is None or not session.commands:
            return
        message = entry.messages[0] if entry.messages else None
        self._remember(entry.thread_id, message.guild_id if message is not None else None, session.commands)

    def forget(self, thread_id: int) -> None:
        """Drop what is remembered of a thread that is gone."""
        self._seen.pop(thread_id, None)

    def _remember(self, thread_id: int, guild_id: int | None, commands: tuple[AgentCommand, ...]) -> None:
        # Redacted before it is cut: of a secret that the cut divides, the rest would not be recognised for certain.
        commands = tuple(
            AgentCommand(one.name, self._redact(one.description)[:KEPT_TEXT], self._redact(one.hint)[:KEPT_TEXT])
            for one in commands
        )
        # Threads of one agent mostly have the same commands: one list in memory serves all of them.
        same = next((known for known in self._seen.values() if known == commands), commands)
        self._seen.put(thread_id, same)
        place_id, agent = guild_id or thread_id, self._settings.agent_of(thread_id)
        rows = [[one.name, one.description, one.hint] for one in commands]
        kept = self._settings.kept(place_id, _KEY)
        known = kept.items() if isinstance(kept, dict) else ()
        by_agent = {name: listed for name, listed in known if name in self._settings.agents}
        # Written only when it changes: each turn of a thread ends here.
        if by_agent.get(agent) != rows:
            self._settings.keep(place_id, {_KEY: by_agent | {agent: rows}})

    def _kept(self, place_id: int, agent: str) -> tuple[AgentCommand, ...]:
        kept = self._settings.kept(place_id, _KEY)
        rows = kept.get(agent) if isinstance(kept, dict) else None
        # A newer version may keep it otherwise: then nothing is known, until the next turn.
        try:
            return tuple(AgentCommand(str(name), str(says), str(hint)) for name, says, hint in rows or ())
        except (TypeError, ValueError):
            return ()


def nearest_names(typed: str, names: Sequence[str]) -> list[str]:
    """Return the names that somebody may have meant, the likeliest first."""
    typed = typed.casefold()
    begin = [name for name in names if typed and name.casefold().startswith(typed)]
    close = get_close_matches(typed, [name.casefold() for name in names], n=_NEAREST, cutoff=0.5)
    alike = [name for found in close for name in names if name.casefold() == found]
    return list(dict.fromkeys([*begin, *alike]))[:_NEAREST]
