"""Where in ``.env`` each name stands, and what in it is no assignment; the values are python-dotenv's."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream

from bot.files import mode_of, read_text

_ASSIGNED = re.compile(r"^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(['\"]?)", re.MULTILINE)

# It says on stderr that it left out a line, without saying what is wrong with it; `EnvFile.problems` does.
logging.getLogger("dotenv").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class EnvFile:
    """A file of settings as it was read.

    Attributes:
        values: what it assigns, by name.
        lines: where each name stands, in capitals as settings are found whatever their case.
        problems: what can't be understood, a line each.
        lost: names of which the value was lost with that, in capitals.
    """

    values: Mapping[str, str]
    lines: Mapping[str, int]
    problems: tuple[str, ...]
    lost: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> EnvFile:
        """Read a file; one that is not there is empty.

        Raises:
            Unusable: it can't be read.
        """
        text = "" if mode_of(path) is None else read_text(path)
        lines: dict[str, int] = {}
        problems: list[str] = []
        lost: set[str] = set()
        for binding in parse_stream(io.StringIO(text)):
            line = _line(binding)
            names = [name.upper() for name, _ in _ASSIGNED.findall(binding.original.string)]
            if binding.error or _runs_on(binding) or (binding.key is not None and binding.value is None):
                problems.append(f"{path}, line {line}: {_fault(binding)}")
                lost.update(names)
            elif binding.key is not None:
                lines[binding.key.upper()] = line
        values = {name: value for name, value in dotenv_values(stream=io.StringIO(text)).items() if value}
        return cls(values, lines, tuple(problems), frozenset(lost - lines.keys()))


def _runs_on(binding: Binding) -> bool:
    """Whether a setting has swallowed the lines after it: its quote is closed by the opening one of another."""
    return is_ours(binding.key or "") and "\n" in (binding.value or "")


def is_ours(name: str) -> bool:
    """Whether a name belongs to Weft; all others are variables for agents."""
    return name.upper().startswith("WEFT_") or name.upper() == "DISCORD_TOKEN"


def _line(binding: Binding) -> int:
    """Return the line on which the name stands: blank lines before it belong to the binding, too."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _fault(binding: Binding) -> str:
    text = binding.original.string.strip()
    found = _ASSIGNED.match(text)
    if found is None:  # the line itself is not repeated: it may hold a secret
        return "this is no setting: write NAME=value, or # before a comment"
    name, quote = found.groups()
    if quote and quote not in text.splitlines()[0][found.end() :]:
        return f"the quote before the value of {name} is not closed: write {name}={quote}value{quote}"
    return f"{name}: there is something after the closing quote: put the whole value in quotes, or none of it"
