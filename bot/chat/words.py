"""What single words at the start of a message, or alone in it, mean (pure).

`!queue fix it` chooses what happens to that message while a turn runs (Q2); `stop`, `stop all` and `status` typed alone
are commands and never prompts (Q7, Q11). Who may use them is decided elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from bot.model import QueueMode

_MODE = re.compile(rf"!({'|'.join(QueueMode)})(?:\s+|$)", re.IGNORECASE)
_COMMAND = re.compile(r"!?(stop(?P<all>\s+all)?|status)[.!]?", re.IGNORECASE)


class Command(Enum):
    """What can be asked for with a word alone."""

    STOP = "stop"
    STOP_ALL = "stop all"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a message says once the mentions of Weft are cut out: a command, or a prompt and perhaps its queue mode."""

    text: str = ""
    mode: QueueMode | None = None
    command: Command | None = None


def read(text: str) -> Wish:
    """Return what a text asks for; ``text`` has no white space at its ends."""
    if command := _command(text):
        return Wish(command=command)
    chosen = _MODE.match(text)
    if chosen is None:
        return Wish(text)
    return Wish(text[chosen.end() :], QueueMode(chosen[1].lower()))


def _command(text: str) -> Command | None:
    found = _COMMAND.fullmatch(text)
    if found is None:
        return None
    if found["all"]:
        return Command.STOP_ALL
    return Command.STATUS if found[1].lower() == "status" else Command.STOP
