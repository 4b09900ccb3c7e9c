"""Where and how a thread's agent process is started: on this machine, behind a wrapper, or by an engine elsewhere.

It only says what to start, and whose threads may share it. `acp.process` starts it, `pool.wrapping` knows what stands
before an agent's command, and the bot which agent a thread has.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Protocol

import anyio.lowlevel

from acp.engine import Engine, LaunchSpec
from acp.errors import AgentSpawnError, SpawnFailure
from pool.wrapping import ResourceLimits, filled, wrapped

THREAD_FIELD = "{thread_id}"


@dataclass(frozen=True, slots=True)
class Sharing:
    """Threads of an equal key may share a process, at most ``sessions`` of them."""

    key: Hashable
    sessions: int


class Launcher(Protocol):
    """Says how to start the agent of a thread."""

    async def prepare(self, thread_id: int) -> None:
        """Have the thread's directory made, where that takes longer than a moment; called before each `spec`.

        It bounds itself: the limits of an agent's start begin after it. It may be cancelled at any time.

        Raises:
            AgentSpawnError: that was not possible; the text says to people why, and what to do.
        """

    def spec(self, thread_id: int) -> LaunchSpec:
        """Return what to start and where.

        Raises:
            AgentSpawnError: the thread's directory is missing or can't be made.
        """

    def sharing(self, thread_id: int) -> Sharing | None:
        """Return with whom the thread may share a process; None: with nobody. Never raises."""

    def errand(self, place_id: int) -> LaunchSpec:
        """Return what to start for requests without a session, as `ConnectionPool.borrow` does.

        Raises:
            AgentSpawnError: the directory is missing.
        """

    def same_agent(self, place_id: int, other: int) -> bool:
        """Whether two places have the same agent, so that a process of one tells what holds for the other."""


@dataclass(frozen=True, slots=True)
class LocalLauncher:
    """Starts one agent, on this machine or by a wrapper that leads elsewhere.

    Attributes:
        argv: the agent's command.
        workspace: the working directory; ``{thread_id}`` in it gives each thread its own, made when it is needed.
        env: the complete environment of the child.
        sessions_per_process: how many threads may share a process; it then starts in the part of the workspace that
            is the same for all, and each session works in its thread's own.
        wrapper: what stands before the command, with `pool.wrapping.PLACEHOLDERS`.
        limits: what the agent may take of the machine.
        session_directory: where sessions work as the agent sees it, if not where they do on this machine; may hold the
            same placeholders.
        start_timeout: seconds for each step of the start; None: as for all.
        makes_directories: whether a thread's directory is made here; if not, somebody else does that in `prepare`.
        repository: where the git repository is that threads work on; empty: in the workspace, if at all.
        places: what further placeholders stand for, whatever the thread.
    """

    argv: tuple[str, ...]
    workspace: str
    env: Mapping[str, str]
    sessions_per_process: int = 1
    wrapper: tuple[str, ...] = ()
    limits: ResourceLimits = field(default_factory=ResourceLimits)
    session_directory: str | None = None
    start_timeout: float | None = None
    makes_directories: bool = True
    repository: str = ""
    places: Mapping[str, str] = field(default_factory=dict)

    async def prepare(self, thread_id: int) -> None:
        del thread_id
        await anyio.lowlevel.checkpoint()

    def spec(self, thread_id: int) -> LaunchSpec:
        directory, base = self._directory(thread_id), self._existing_base()
        if not self.makes_directories and not directory.is_dir():
            # An empty directory in its place would look like work that is lost.
            raise AgentSpawnError(f"{directory} is gone", failure=SpawnFailure.BAD_DIRECTORY)
        if directory != base:
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except OSError as exc:
                message = f"{directory} can't be made: {exc.strerror}"
                raise AgentSpawnError(message, failure=SpawnFailure.BAD_DIRECTORY) from exc
        # A process that is shared outlives the thread that it was started for, and must not stand in its directory.
        if self.sessions_per_process > 1:
            return self.spec_in(base, thread_id, str(directory))
        return self.spec_in(directory, thread_id)

    def errand(self, place_id: int) -> LaunchSpec:
        # No directory is made for a thread that may never be.
        return self.spec_in(self._existing_base(), place_id)

    def same_agent(self, place_id: int, other: int) -> bool:
        del place_id, other
        return True

    def spec_in(self, directory: Path, thread_id: int, session_cwd: str | None = None) -> LaunchSpec:
        """Return what to start in a directory that is there, whatever the workspace is."""
        values = self._values(str(directory), thread_id)
        return LaunchSpec(
            argv=wrapped(self.argv, self.wrapper, self.limits, values),
            cwd=str(directory),
            env=self.env,
            session_cwd=session_cwd if self.session_directory is None else filled(self.session_directory, values),
            start_timeout=self.start_timeout,
        )

    def command(self, argv: tuple[str, ...], thread_id: int) -> LaunchSpec:
        """Return how to run a command in a thread's directory just as its agent would be run.

        Raises:
            AgentSpawnError: the directory is missing.
        """
        return replace(self, argv=argv, session_directory=None).spec_in(self._directory(thread_id), thread_id)

    def sharing(self, thread_id: int) -> Sharing | None:
        """Return with whom the thread may share a process: whatever its process is made of has to be equal."""
        if self.sessions_per_process <= 1:
            return None
        try:
            owner = self._directory(thread_id).stat().st_uid
        except OSError:
            owner = os.geteuid()  # it does not exist yet, and will be ours
        argv = wrapped(self.argv, self.wrapper, self.limits, self._values(str(self._base()), thread_id))
        key = (argv, frozenset(self.env.items()), str(self._base()), owner)
        return Sharing(key, self.sessions_per_process)

    def _values(self, directory: str, thread_id: int) -> dict[str, str]:
        repository = self.repository or directory
        home = self.env.get("HOME", "")
        own = {"workspace": directory, "thread_id": str(thread_id), "home": home, "repository": repository}
        return {**self.places, **own}

    def _directory(self, thread_id: int) -> Path:
        return Path(self.workspace.replace(THREAD_FIELD, str(thread_id)))

    def _existing_base(self) -> Path:
        # Only a thread's part is ever made: a base that is missing is a disk that is not mounted or a typing error.
        base = self._base()
        if not base.is_dir():
            raise AgentSpawnError(f"{base} is not a directory", failure=SpawnFailure.BAD_DIRECTORY)
        return base

    def _base(self) -> Path:
        return Path(base_of(self.workspace))


@dataclass(frozen=True, slots=True)
class RemoteLauncher:
    """Has one agent started by an engine, on a machine of which nothing is known here.

    Attributes:
        workspace: the working directory there; ``{thread_id}`` in it gives each thread its own, which the engine makes.
        env: what is set beside what the account or the image there has.
        labels: whose agents they are; each gets its thread in addition.
        start_timeout: seconds for each step of the handshake, once the process runs; None: as for all.
    """

    argv: tuple[str, ...]
    workspace: str
    env: Mapping[str, str]
    engine: Engine
    labels: Mapping[str, str] = field(default_factory=dict)
    start_timeout: float | None = None

    async def prepare(self, thread_id: int) -> None:
        del thread_id
        await anyio.lowlevel.checkpoint()

    def spec(self, thread_id: int) -> LaunchSpec:
        return self._spec(self.workspace.replace(THREAD_FIELD, str(thread_id)), thread_id)

    def errand(self, place_id: int) -> LaunchSpec:
        # No directory is made for a thread that may never be.
        return self._spec(base_of(self.workspace), place_id)

    def same_agent(self, place_id: int, other: int) -> bool:
        del place_id, other
        return True

    def sharing(self, thread_id: int) -> None:
        # A container that several threads share would keep none of them apart.
        del thread_id

    def _spec(self, directory: str, thread_id: int) -> LaunchSpec:
        return LaunchSpec(
            argv=self.argv,
            cwd=directory,
            env=self.env,
            start_timeout=self.start_timeout,
            engine=self.engine,
            labels={**self.labels, "thread": str(thread_id)},
        )


def base_of(workspace: str) -> str:
    """Return the part of a workspace that is the same for all threads."""
    head = workspace.split(THREAD_FIELD, maxsplit=1)[0]
    whole = head.endswith("/") or THREAD_FIELD not in workspace
    return str(PurePosixPath(head) if whole else PurePosixPath(head).parent)


async def ready(thread_id: int) -> None:
    """Prepare nothing."""
    del thread_id
    await anyio.lowlevel.checkpoint()


def no_project(thread_id: int) -> None:
    """Return that a thread has no project."""
    del thread_id


@dataclass(frozen=True, slots=True)
class LauncherByName:
    """Starts each thread's own agent.

    Attributes:
        launchers: by the name of the agent, for threads without a project.
        name_of: the name of a thread's agent; must not wait, and may give another one from one call to the next.
        home_of: the thread in whose directory a thread works; its own, unless it goes on with a session of that one.
        projects: by the names of agent and project.
        project_of: the name of a thread's project, which need not be there any more; None: it has none.
        preparing: does what `prepare` is for.
    """

    launchers: Mapping[str, Launcher]
    name_of: Callable[[int], str]
    home_of: Callable[[int], int] = int
    projects: Mapping[tuple[str, str], LocalLauncher] = field(default_factory=dict)
    project_of: Callable[[int], str | None] = no_project
    preparing: Callable[[int], Awaitable[None]] = ready

    async def prepare(self, thread_id: int) -> None:
        await self.preparing(thread_id)

    def spec(self, thread_id: int) -> LaunchSpec:
        # As if it were for that thread: a wrapper lets the agent into its directory, and may keep its home by its id.
        return self._known(thread_id).spec(self.home_of(thread_id))

    def errand(self, place_id: int) -> LaunchSpec:
        return self._known(place_id).errand(place_id)

    def directory(self, thread_id: int, home: int) -> str:
        """Return where a session of a thread's agent works in the directory of thread ``home``, as the agent sees it.

        Raises:
            AgentSpawnError: the directory is missing, or the project is gone.
        """
        return self._known(thread_id).spec(home).directory

    def command(self, argv: tuple[str, ...], thread_id: int) -> LaunchSpec:
        """Return how to run a command for a thread's project, as its agent would be run.

        Raises:
            AgentSpawnError: the project is gone.
        """
        self._known(thread_id)
        launcher = self.projects[self.name_of(thread_id), self.project_of(thread_id) or ""]
        return launcher.command(argv, self.home_of(thread_id))

    def same_agent(self, place_id: int, other: int) -> bool:
        # Whatever they work on: logins and lists of sessions are the agent's.
        return self.name_of(place_id) == self.name_of(other)

    def sharing(self, thread_id: int) -> Sharing | None:
        launcher = self._launcher(thread_id)
        # However alike two agents or two projects are: no agent knows the sessions of the other, and people who may
        # see one project need not see the other one.
        sharing = launcher.sharing(self.home_of(thread_id)) if launcher is not None else None
        key = (self.name_of(thread_id), self.project_of(thread_id))
        return sharing and Sharing((*key, sharing.key), sharing.sessions)

    def _known(self, thread_id: int) -> Launcher:
        launcher = self._launcher(thread_id)
        if launcher is None:
            # Never in another place instead: the agent would change files that have nothing to do with the thread.
            project = self.project_of(thread_id)
            gone = f"the project {project} is not in the settings any more"
            if any(project == known for _, known in self.projects):
                gone = f"{self.name_of(thread_id)} runs on another machine, where there is no project {project}"
            raise AgentSpawnError(gone, failure=SpawnFailure.BAD_DIRECTORY)
        return launcher

    def _launcher(self, thread_id: int) -> Launcher | None:
        name, project = self.name_of(thread_id), self.project_of(thread_id)
        return self.launchers[name] if project is None else self.projects.get((name, project))
