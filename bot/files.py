"""Reads what settings and options name; a path that can't be used costs one line, which names the path and the user.

`EnvFile` finds where in ``.env`` each name stands, and what in it is no assignment; the values are python-dotenv's.
"""

from __future__ import annotations

import io
import logging
import os
import pwd
import re
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream

_ASSIGNED = re.compile(r"^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(['\"]?)", re.MULTILINE)

# It says on stderr that it left out a line, without saying what is wrong with it; `EnvFile.problems` does.
logging.getLogger("dotenv").setLevel(logging.ERROR)


class Unusable(ValueError):
    """A path can't be used; the message says which and why. A ValueError, so that pydantic takes it for a bad value."""


def user_name() -> str:
    """Return who this process acts as."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"


def read_text(path: Path) -> str:
    """Return the text of a file, without the mark that some editors put before it (BOM).

    Raises:
        Unusable: it can't be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise Unusable(f"{path} can't be read: line {line} is not text in UTF-8") from exc
    except (OSError, ValueError) as exc:
        raise Unusable(refusal(path, exc)) from exc


def mode_of(path: Path) -> int | None:
    """Return what is at a path (`st_mode`), None if nothing is. `Path.exists` raises where a parent can't be entered.

    Raises:
        Unusable: this user may not look.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as exc:
        raise Unusable(refusal(path, exc)) from exc


def is_directory(path: Path) -> bool:
    """Whether a directory is at a path.

    Raises:
        Unusable: this user may not look.
    """
    mode = mode_of(path)
    return mode is not None and stat.S_ISDIR(mode)


def may(user: str | None, test: str, path: Path) -> bool:
    """Whether a user, by default this one, may read (`r`), write to (`w`) or enter (`x`) a path.

    Only root can try that for somebody else. True where it can't be tried: nothing speaks against it.
    """
    if user is None or user == user_name():
        return os.access(path, {"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}[test])
    if os.geteuid() != 0:
        return True
    entry = pwd.getpwnam(user)
    # Tried, not worked out: there are groups, parents that can't be entered, and access lists.
    tried = subprocess.run(  # noqa: S603
        ["test", f"-{test}", str(path.absolute())],  # noqa: S607
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=os.getgrouplist(user, entry.pw_gid),
        cwd="/",
        check=False,
    )
    return tried.returncode == 0


def not_absolute(path: str) -> str:
    """Say what to write in place of a path that is not absolute; only shells know what ``~`` means."""
    whole = os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111  they raise for nobody's home
    return f"{path} is not an absolute path: write the whole path, such as {whole}"


def refusal(path: Path, exc: OSError | ValueError) -> str:
    """Say why a path can't be used, after an attempt."""
    if isinstance(exc, FileNotFoundError):
        return f"{path} does not exist"
    if isinstance(exc, IsADirectoryError):
        return f"{path} is a directory, not a file"
    reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    return f"{path} can't be used by {user_name()}: {reason}"


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
            bare = binding.value is None and is_ours(binding.key or "")  # another name alone does no harm
            if binding.error or bare or _runs_on(binding):
                problems.append(f"{path}, line {line}: {_fault(binding)}")
                lost.update(names)
            elif binding.key is not None:
                lines[binding.key.upper()] = line
        # What is empty is not set.
        values = {name: value for name, value in dotenv_values(stream=io.StringIO(text)).items() if value}
        return cls(values, lines, tuple(problems), frozenset(lost - lines.keys()))


def _runs_on(binding: Binding) -> bool:
    """Whether a setting has swallowed another one: its quote is closed by the opening one of that."""
    return is_ours(binding.key or "") and len(_ASSIGNED.findall(binding.original.string)) > 1


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
        return "this is not a setting: write NAME=value, or put # before a comment"
    name, quote = found.groups()
    if quote and quote not in text.splitlines()[0][found.end() :]:
        return f"the quote before the value of {name} is not closed: write {name}={quote}value{quote}"
    return f"{name}: there is text after the closing quote: put the whole value in quotes, or none of it"
