"""What stands before an agent's command: limits on its resources, and a wrapper such as a sandbox (pure).

The result is started like any other program; what a wrapper does with it is up to the wrapper. Placeholders are words
in braces; anything else in braces stays as it is, as in JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

PLACEHOLDERS = ("workspace", "thread_id", "home", "repository", "mcp_socket", "weft", "weft_code", "weft_python")
"""What a wrapper may name: the directory that the process starts in, the thread, the agent's ``HOME``, the git
repository of the thread's project, which without one is the same as the workspace, the directory of the socket by
which the tools reach the bot, and those of the bot's libraries, its code and its Python."""

LIMITER = "prlimit"
"""The program of util-linux that sets limits on resources and becomes the command."""

SCOPE = "systemd-run"
"""A wrapper with its own limits, over all processes of the agent together."""

# ${name} is a shell's, which the wrapper may be.
_WORD = re.compile(r"(?<!\$)\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """Limits on what an agent takes; None: none.

    Attributes:
        memory: bytes. Of each process its private writable memory (RLIMIT_DATA); in a scope of systemd all that
            all processes of the agent have.
        processes: threads count, too. Of the user, all its agents together (RLIMIT_NPROC, which does not bind root);
            in a scope of systemd of this agent alone.
        open_files: of each process.
    """

    memory: int | None = None
    processes: int | None = None
    open_files: int | None = None

    def __bool__(self) -> bool:
        """Whether there are any."""
        return any(limit is not None for limit in (self.memory, self.processes, self.open_files))


def wrapped(
    command: Iterable[str], wrapper: Iterable[str], limits: ResourceLimits, values: Mapping[str, str]
) -> tuple[str, ...]:
    """Return what to start: the limits, the wrapper with its placeholders filled, and the command as it is."""
    before = tuple(filled(word, values) for word in wrapper)
    # Not --as: what node only reserves counts there, and below 11 GB WebAssembly can't be used.
    each = {"data": limits.memory, "nproc": limits.processes, "nofile": limits.open_files}
    if before and PurePath(before[0]).name == SCOPE:
        together = {"MemoryMax": limits.memory, "TasksMax": limits.processes}
        properties = (f"--property={name}={limit}" for name, limit in together.items() if limit is not None)
        before = (before[0], *properties, *before[1:])
        # A scope knows no limit on open files; the others would count for each process what is meant for all together.
        each = {"nofile": limits.open_files}
    options = tuple(f"--{name}={limit}" for name, limit in each.items() if limit is not None)
    return (*((LIMITER, *options, "--") if options else ()), *before, *command)


def filled(word: str, values: Mapping[str, str]) -> str:
    """Return the text with the values of its placeholders."""
    return _WORD.sub(lambda found: values.get(found[1], found[0]), word)


def unknown_placeholders(words: Iterable[str]) -> list[str]:
    """Return the words in braces that look like placeholders and are none."""
    found = (name for word in words for name in _WORD.findall(word))
    return [name for name in dict.fromkeys(found) if name not in PLACEHOLDERS]
