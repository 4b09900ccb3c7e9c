"""What people chose for threads and servers, kept over restarts: the queue mode (Q2).

The mutable state is the map of choices by the id of the thread or server.
"""

from __future__ import annotations

import structlog

from bot.model import Inbound, QueueMode
from bot.work.choices import Choices

log = structlog.get_logger(__name__)

_KEY = "queue_mode"


class Modes:
    """Queue modes by place.

    Args:
        default: where nobody has chosen.
    """

    def __init__(self, choices: Choices, default: QueueMode) -> None:
        self.default = default
        self._choices = choices
        self._chosen: dict[int, QueueMode] = {}

    def load(self) -> None:
        """Take over what the choices hold; a mode that is none counts as not chosen."""
        for place_id, mode in self._choices.all(_KEY).items():
            try:
                self._chosen[place_id] = QueueMode(mode)
            except ValueError:
                log.warning("choice.ignored", place=place_id)

    def of(self, inbound: Inbound) -> QueueMode:
        """Return the mode of a message: its own, else that of its thread, else of its server, else the default."""
        return inbound.mode or self.at(inbound.thread_id, inbound.guild_id)

    def at(self, thread_id: int, guild_id: int | None = None) -> QueueMode:
        """Return the mode in force in a thread."""
        of_server = self._chosen.get(guild_id) if guild_id is not None else None
        return self._chosen.get(thread_id) or of_server or self.default

    def forget(self, place_id: int) -> None:
        """Drop the choice for a thread or server that is gone."""
        self._chosen.pop(place_id, None)

    def choose(self, place_id: int, mode: QueueMode) -> None:
        """Take a choice for a thread or a server; it holds at once."""
        self._chosen[place_id] = mode
        self._choices.put(place_id, _KEY, str(mode))
