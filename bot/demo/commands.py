"""A line of the terminal as the use of a slash command, by the commands that the bot has registered (pure)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TERMINAL_S_OWN = ("new", "quit")
_COMMAND = re.compile(r"/[A-Za-z][\w-]*(?!\S)")  # not a path such as /etc/hosts, with which a prompt may begin
_SUB_COMMAND = 1


@dataclass(frozen=True, slots=True)
class CommandUse:
    """A command by its name, with that of the sub-command after a space, and the values of its options."""

    path: str
    options: Mapping[str, str] = field(default_factory=dict)


class NotACommand(ValueError):
    """The line can't be used; the text says why, and what could be meant."""


def is_command(line: str) -> bool:
    """Whether a line is meant as a command, be there one or not."""
    return _COMMAND.match(line) is not None


def parse(line: str, registered: Iterable[Mapping[str, Any]]) -> CommandUse:
    """Return what a line asks for; a command with sub-commands alone stands for its first.

    Raises:
        NotACommand: there is no such command, or its options don't fit.
    """
    name, *words = line.removeprefix("/").split()
    known = {command["name"]: command for command in registered}
    if name not in known:
        raise NotACommand(_no_such(f"/{name}", [f"/{one}" for one in (*known, *TERMINAL_S_OWN)]))
    command, path = known[name], name
    below = {option["name"]: option for option in command.get("options") or [] if option["type"] == _SUB_COMMAND}
    if below:
        first, *words = words or list(below)[:1]
        path = f"{name} {first}"
        if first not in below:
            raise NotACommand(_no_such(f"/{path}", [f"/{name} {one}" for one in below]))
        command = below[first]
    return CommandUse(path, _options(path, command.get("options") or [], words))


def _options(path: str, declared: Sequence[Mapping[str, Any]], words: Sequence[str]) -> dict[str, str]:
    """Take the words for the options in their order."""
    if len(words) > len(declared):
        raise NotACommand(f"/{path} takes no {words[len(declared)]!r}")
    for option in declared[len(words) :]:
        if option.get("required"):
            raise NotACommand(f"/{path} needs {_form(option)}")
    for option, word in zip(declared, words, strict=False):
        if option.get("choices") and word not in _choices(option):
            raise NotACommand(f"/{path} needs {_form(option)}, not {word!r}")
    return {option["name"]: word for option, word in zip(declared, words, strict=False)}


def _choices(option: Mapping[str, Any]) -> list[str]:
    return [str(choice["value"]) for choice in option.get("choices") or []]


def _form(option: Mapping[str, Any]) -> str:
    return " or ".join(_choices(option)) or option["name"]


def _no_such(wanted: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(wanted, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(sorted(set(known)))}."
    return f"no such command: {wanted}. {hint}"
