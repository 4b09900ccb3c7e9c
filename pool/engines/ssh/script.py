"""What is sent to a host and what comes back: the script with its values before it, and its lines (pure).

Values travel over stdin, never in a command line, which other users of the host could read.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from acp.shutdown import StopLimits

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MARK = re.compile(r"[A-Za-z0-9_.=-]+")
_LONGEST = 4096
"""Bytes in the longest line of the script; what is longer is not one."""

_DIGITS = 18

PULSE = 30
"""Seconds between two signs of life that the script sends, so that a connection without its other end breaks."""


@cache
def _script() -> str:
    return files("pool.engines.ssh").joinpath("agent.sh").read_text()


def message(
    mode: str,
    nonce: str,
    values: Mapping[str, str],
    arguments: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> bytes:
    """Return what a host's shell is to evaluate.

    Args:
        values: the script's variables, without ``weft_`` before their names.
        arguments: the script's: an agent's command.
        env: what the command gets beside what the host's login gives.

    Raises:
        ValueError: a name or a value can't be handed over.
    """
    env = env or {}
    if bad := sorted(name for name in env if not _NAME.fullmatch(name)):
        raise ValueError(f"no shell takes a variable with the name {bad[0]!r}")
    given = {"mode": mode, "nonce": nonce, "pulse": str(PULSE), **values}
    # All of it is quoted: the far shell evaluates this, and people and agents chose some of the values.
    lines = [f"weft_{name}={shlex.quote(value)}" for name, value in given.items()]
    lines += ["weft_environment() {", "    :", *(f"    export {n}={shlex.quote(v)}" for n, v in env.items()), "}"]
    lines += [f"set -- {shlex.join(arguments)}", _script()]
    text = "\n".join(lines)
    if "\0" in text:
        raise ValueError("no variable or argument can have a zero byte in it")
    # Bytes of the environment that are no UTF-8 go as they came.
    return text.encode(errors="surrogateescape")


def number(words: Sequence[str], place: int) -> int | None:
    """Return the number at a place of a line; None: there is none. Anybody with that account may have written it."""
    word = words[place] if place < len(words) else ""
    return int(word) if word.isascii() and word.isdecimal() and len(word) <= _DIGITS else None


def marked(name: str, value: str) -> str:
    """Return the entry of an environment that marks processes.

    Raises:
        ValueError: the value is not one that awk and the shell leave as it is.
    """
    if not _MARK.fullmatch(value):
        raise ValueError(f"{value!r} can't mark a process")
    return f"{name}={value}"


def command(size: int) -> str:
    """Return the remote command that evaluates so many bytes of its stdin; every login shell takes it."""
    # Not a byte more is read: what follows is the agent's input.
    return f"exec sh -c 'eval \"$(head -c {size})\"'"


def steps(limits: StopLimits) -> dict[str, str]:
    """Return the escalation's limits as the script takes them, in tenths of a second."""
    return {name: str(round(10 * getattr(limits, name))) for name in ("eof", "term", "kill")}


def shared_part(directory: str, thread: str) -> str:
    """Return the part of a working directory that has to be there: what comes before the thread's own."""
    # A single digit is no thread's, and may stand in any path.
    found = re.search(rf"(?<!\d){re.escape(thread)}(?!\d)", directory) if len(thread) > 1 else None
    return (directory[: found.start()].rpartition("/")[0] or "/") if found else directory


class Frames:
    """Takes the script's lines out of a stream that is somebody else's otherwise.

    Args:
        behind: what comes before the first line is left out: a banner, what a login says.
    """

    def __init__(self, nonce: str, *, behind: bool = False) -> None:
        self._begin = b"\x1e" + nonce.encode() + b" "
        self._held = b""
        self._early = behind

    def feed(self, data: bytes) -> tuple[bytes, list[list[str]]]:
        """Return what of the data is the stream's own, and the words of each line that is now complete."""
        plain, found = self._split(data)
        return b"" if self._early else plain, found

    def _split(self, data: bytes) -> tuple[bytes, list[list[str]]]:
        data, plain = self._held + data, b""
        found: list[list[str]] = []
        self._held = b""
        while (at := data.find(self._begin)) >= 0:
            plain += data[:at]
            end = data.find(b"\n", at)
            if end < 0 and len(data) - at <= _LONGEST:
                self._held = data[at:]
                return plain, found
            if end < 0:
                return plain + data[at:], found
            found.append(data[at + len(self._begin) : end].decode(errors="replace").split(" "))
            data = data[end + 1 :]
            if self._early:
                self._early, plain = False, b""
        # The beginning of a line may be the end of the data.
        last = data.rfind(b"\x1e", max(0, len(data) - len(self._begin)))
        if last >= 0 and self._begin.startswith(data[last:]):
            data, self._held = data[:last], data[last:]
        return plain + data, found

    def rest(self) -> bytes:
        """Return what was held back, at the end of the stream or where no more lines are expected."""
        held, self._held = self._held, b""
        return b"" if self._early else held
