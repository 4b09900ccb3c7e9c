"""Where and how a thread's agent process is started: the seam for wrappers, containers and other hosts.

Only says what to start, and whose threads may share it. Starting it is `acp.process`'s business.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from acp.errors import AgentSpawnError, SpawnFailure
from acp.process import LaunchSpec

THREAD_FIELD = "{thread_id}"


@dataclass(frozen=True, slots=True)
class Sharing:
    """Threads of an equal key may share a process, at most ``sessions`` of them."""

    key: Hashable
    sessions: int


class Launcher(Protocol):
    """Says how to start the agent of a thread."""

    def spec(self, thread_id: int) -> LaunchSpec:
        """Return what to start and where.

        Raises:
            AgentSpawnError: the thread's directory is missing or can't be made.
        """

    def sharing(self, thread_id: int) -> Sharing | None:
        """Return with whom the thread may share a process; None: it has one of its own. Never raises."""


@dataclass(frozen=True, slots=True)
class LocalLauncher:
    """Starts agents on this machine.

    Attributes:
        argv: the agent's command.
        workspace: the working directory; ``{thread_id}`` in it gives each thread its own, made when it is needed.
        env: the complete environment of the child.
        sessions_per_process: how many threads may share a process; it then starts in the part of the workspace that
            is the same for all, and each session works in its thread's own.
    """

    argv: tuple[str, ...]
    workspace: str
    env: Mapping[str, str]
    sessions_per_process: int = 1

    def spec(self, thread_id: int) -> LaunchSpec:
        """Return what to start and where; makes the thread's own directory.

        Raises:
            AgentSpawnError: BAD_DIRECTORY.
        """
        directory = self._directory(thread_id)
        if THREAD_FIELD in self.workspace:
            self._make(directory)
        elif not directory.is_dir():
            raise AgentSpawnError(f"{directory} is not a directory", failure=SpawnFailure.BAD_DIRECTORY)
        if self.sessions_per_process > 1:
            return LaunchSpec(argv=self.argv, cwd=str(self._base()), env=self.env, session_cwd=str(directory))
        return LaunchSpec(argv=self.argv, cwd=str(directory), env=self.env)

    def sharing(self, thread_id: int) -> Sharing | None:
        """Return with whom the thread may share a process: all that its process is made of has to be equal."""
        if self.sessions_per_process <= 1:
            return None
        owner = _owner(self._directory(thread_id))
        key = (self.argv, frozenset(self.env.items()), str(self._base()), owner)
        return Sharing(key, self.sessions_per_process)

    def _directory(self, thread_id: int) -> Path:
        return Path(self.workspace.replace(THREAD_FIELD, str(thread_id)))

    def _base(self) -> Path:
        """Return the part of the workspace that is the same for all threads."""
        head = self.workspace.split(THREAD_FIELD)[0]
        return Path(head) if head.endswith("/") or THREAD_FIELD not in self.workspace else Path(head).parent

    def _make(self, directory: Path) -> None:
        # Only the thread's part is made: a base that is missing is a disk that is not mounted or a typing error.
        base = self._base()
        if not base.is_dir():
            raise AgentSpawnError(f"{base} is not a directory", failure=SpawnFailure.BAD_DIRECTORY)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            message = f"{directory} can't be made: {exc.strerror}"
            raise AgentSpawnError(message, failure=SpawnFailure.BAD_DIRECTORY) from exc


def _owner(directory: Path) -> int:
    """Return the user who owns a directory; ourselves for one that is still to be made."""
    try:
        return directory.stat().st_uid
    except OSError:
        return os.geteuid()
