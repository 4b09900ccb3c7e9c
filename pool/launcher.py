"""Where and how a thread's agent process is started: the seam for wrappers, containers and other hosts.

Only says what to start. Starting it is `acp.process`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from acp.errors import AgentSpawnError, SpawnFailure
from acp.process import LaunchSpec

THREAD_FIELD = "{thread_id}"


class Launcher(Protocol):
    """Says how to start the agent of a thread."""

    def spec(self, thread_id: int) -> LaunchSpec:
        """Return what to start and where.

        Raises:
            AgentSpawnError: the thread's directory is missing or can't be made.
        """


@dataclass(frozen=True, slots=True)
class LocalLauncher:
    """Starts agents on this machine.

    Attributes:
        argv: the agent's command.
        workspace: the working directory; ``{thread_id}`` in it gives each thread its own, made when it is needed.
        env: the complete environment of the child.
    """

    argv: tuple[str, ...]
    workspace: str
    env: Mapping[str, str]

    def spec(self, thread_id: int) -> LaunchSpec:
        """Return what to start and where; makes the thread's own directory.

        Raises:
            AgentSpawnError: BAD_DIRECTORY.
        """
        directory = Path(self.workspace.replace(THREAD_FIELD, str(thread_id)))
        if THREAD_FIELD in self.workspace:
            self._make(directory)
        elif not directory.is_dir():
            raise AgentSpawnError(f"{directory} is not a directory", failure=SpawnFailure.BAD_DIRECTORY)
        return LaunchSpec(argv=self.argv, cwd=str(directory), env=self.env)

    def _make(self, directory: Path) -> None:
        # Only the thread's part is made: a base that is missing is a disk that is not mounted or a typing error.
        head = self.workspace.split(THREAD_FIELD)[0]
        base = Path(head) if head.endswith("/") else Path(head).parent
        if not base.is_dir():
            raise AgentSpawnError(f"{base} is not a directory", failure=SpawnFailure.BAD_DIRECTORY)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            message = f"{directory} can't be made: {exc.strerror}"
            raise AgentSpawnError(message, failure=SpawnFailure.BAD_DIRECTORY) from exc
