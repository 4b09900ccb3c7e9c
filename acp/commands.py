"""The commands that an agent offers in a session, as far as people can use them (pure).

An agent sends the complete list, `available_commands_update`, and later another one that takes its place. Whoever runs
one sends ``/name input`` as the first text of a prompt: the protocol has no other way. Source: the Agent Client
Protocol, "Slash Commands".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from acp.schema import AvailableCommand

MOST_COMMANDS = 500
NAME_LIMIT, TEXT_LIMIT = 80, 1000
"""Characters of a name, and of a description or a hint: far more than is shown, so that no secret in what is shown is
one that was cut here.
"""


@dataclass(frozen=True, slots=True)
class AgentCommand:
    """A command by its name, without the slash; ``hint`` says what may follow it, "" if nothing is expected."""

    name: str
    description: str = ""
    hint: str = ""


def usable_commands(announced: Iterable[AvailableCommand]) -> tuple[AgentCommand, ...]:
    """Return the commands that can be typed, each name once, in the agent's order; at most `MOST_COMMANDS`."""
    found: dict[str, AgentCommand] = {}
    for one in announced:
        name = one.name.removeprefix("/")
        # A name that is cut would be another command, one with a blank would end there, and `//` is for people (D2).
        if not 0 < len(name) <= NAME_LIMIT or not name.isprintable() or " " in name or name[0] == "/":
            continue
        hint = one.input.hint if one.input is not None else ""
        found.setdefault(name, AgentCommand(name, _one_line(one.description), _one_line(hint)))
        if len(found) >= MOST_COMMANDS:
            break
    return tuple(found.values())


def _one_line(text: str) -> str:
    # Cut first: nothing of a text of megabytes is worth splitting.
    return " ".join(text[: 2 * TEXT_LIMIT].split())[:TEXT_LIMIT]
