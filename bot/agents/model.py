"""The agents as the rest of the bot knows them: names, which of them a channel's threads get, how each is started."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from acp.process import agent_environment, named, named_environment
from bot.agents.engines import EngineProfile
from bot.work.budget.limits import Budget
from bot.work.permissions.rules import Mode, Rules
from pool.engines.model import PoolEngine
from pool.launcher import THREAD_FIELD, Launcher, LauncherByName, LocalLauncher, RemoteLauncher, no_project, ready
from pool.wrapping import ResourceLimits

ONLY = "default"
"""The agent's name where there is only one, which the environment describes."""

WORKTREES = "worktrees"
"""Where work trees are, in the state directory: a directory for each project, with one for each thread."""


@dataclass(frozen=True, slots=True)
class Project:
    """A repository, or another directory, in which the threads of some people or channels work (W1).

    Attributes:
        path: the repository; with ``worktree`` it is the place that branches go back to, without it where agents work.
        worktrees: the directory that the project's work trees are made in.
        agent: the agent of its threads for which nothing else was said; None: that of any other thread.
        worktree: each thread works in a work tree, on a branch, that no other thread has.
        base: the branch that these begin at and go back to.
        setup: the command that runs once in a new work tree; a shell's line is ``("sh", "-c", LINE)``.
        setup_timeout: seconds that it may take.
        env: names of variables that the agent gets here, beside its own.
        hooks: the repository is trusted: git is called on it as it is, with its configuration and its hooks.
        remote: where branches are pushed to.
        rules: on requests in it, beside those of the agent.
        mode: what happens to requests that no rule decides; None: what the agent says.
        modes: as `AgentProfile.modes`, beside those of the agent.
        keep_days: days after which a work tree goes that nobody needs any more.
    """

    name: str
    path: Path
    worktrees: Path
    agent: str | None = None
    worktree: bool = True
    base: str = "main"
    setup: tuple[str, ...] = ()
    setup_timeout: float = 600.0
    env: tuple[str, ...] = ()
    hooks: bool = False
    remote: str = "origin"
    rules: Rules = field(default_factory=Rules)
    mode: Mode | None = None
    modes: frozenset[str] = frozenset()
    keep_days: int = 14

    @property
    def workspace(self) -> str:
        """Where its threads work, as `AgentProfile.workspace`."""
        return f"{self.worktrees}/{THREAD_FIELD}" if self.worktree else str(self.path)


@dataclass(frozen=True, slots=True)
class AgentProfile:
    """How one agent is started.

    Attributes:
        command: what is run; with a wrapper, what is given to the wrapper.
        workspace: where it works; ``{thread_id}`` in it gives each thread its own directory.
        env: names of variables that it gets beside the allow-list; a trailing ``*`` stands for any ending.
        fixed: variables with fixed values; no secrets.
        wrapper: what stands before the command, with `pool.wrapping.PLACEHOLDERS`.
        session_directory: where its sessions work as it sees it; None: in the workspace.
        start_timeout: seconds for each step of its start; None: as for all.
        hard_timeout: seconds that a turn of it may last; None: as for all.
        sessions_per_process: how many threads may share a process of it; None: as for all, behind a wrapper one.
        rules: on its permission requests, those for all agents among them.
        mode: what happens to requests that no rule decides.
        trusted: somebody wrote that it may be allowed everything without a wrapper.
        options: what its sessions begin with, by option, or "model", "mode" and "effort" (K1).
        modes: modes, and ids of other options, that everybody who may prompt may choose.
        tools: its sessions get the tools of Weft (M1).
        tool_command: what starts the server of these where the agent is; empty: this very installation.
        engine: the name of the engine that runs it; None: it is a process of this machine. What `workspace` names is
            then on another machine.
        contained: that engine keeps it in a container.
    """

    name: str
    command: tuple[str, ...]
    workspace: str
    env: tuple[str, ...] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)
    wrapper: tuple[str, ...] = ()
    session_directory: str | None = None
    start_timeout: float | None = None
    hard_timeout: float | None = None
    sessions_per_process: int | None = None
    limits: ResourceLimits = field(default_factory=ResourceLimits)
    rules: Rules = field(default_factory=Rules)
    mode: Mode = Mode.ASK
    trusted: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    modes: frozenset[str] = frozenset()
    tools: bool = True
    tool_command: tuple[str, ...] = ()
    engine: str | None = None
    contained: bool = False


@dataclass(frozen=True, slots=True)
class Agents:
    """All agents.

    Attributes:
        default: the one of threads for which nothing else was said.
        channels: the agents of the threads in some channels, by the channel's id.
        channel_options: what sessions of the threads in some channels begin with, as `AgentProfile.options`.
        chosen: whether there is a choice that has to be remembered for each thread.
        budget: what turns may take.
        projects: what threads may work on, by name.
        channel_projects: the projects of the threads in some channels, by the channel's id.
        engines: what runs agents on other machines, by name.
    """

    profiles: Mapping[str, AgentProfile]
    default: str
    channels: Mapping[int, str] = field(default_factory=dict)
    channel_options: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    chosen: bool = True
    budget: Budget = field(default_factory=Budget)
    projects: Mapping[str, Project] = field(default_factory=dict)
    channel_projects: Mapping[int, str] = field(default_factory=dict)
    engines: Mapping[str, EngineProfile] = field(default_factory=dict)

    def __iter__(self) -> Iterator[AgentProfile]:
        return iter(self.profiles.values())

    def __contains__(self, name: object) -> bool:
        return name in self.profiles

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order of the file."""
        return tuple(self.profiles)

    def longest_turn(self, usual: float) -> float:
        """Return the seconds that the turn of any agent may last, of which ``usual`` is for those that say nothing."""
        return max(usual if agent.hard_timeout is None else agent.hard_timeout for agent in self)

    def for_channel(self, channel_id: int, project: str | None = None) -> str:
        """Return which agent a new thread in the channel gets, if it is to work on a project."""
        # The channel goes before the project: it was named for this very place.
        if channel_id in self.channels:
            return self.channels[channel_id]
        known = self.projects.get(project) if project is not None else None
        return self.default if known is None or known.agent is None else known.agent

    def profile(self, agent: str, project: str | None = None) -> AgentProfile:
        """Return how an agent is started for a project's threads; for a project that is gone, without a workspace."""
        own = self.profiles[agent]
        if project is None:
            return own
        if (known := self.projects.get(project)) is None:
            # Not the agent's own: a thread of a project must never find itself in another directory.
            return replace(own, workspace="")
        return replace(
            own,
            workspace=known.workspace,
            env=tuple(dict.fromkeys(own.env + known.env)),
            rules=own.rules + known.rules,
            mode=own.mode if known.mode is None else known.mode,
            modes=own.modes | known.modes,
        )


def only(command: tuple[str, ...], workspace: str, env: tuple[str, ...] = ()) -> Agents:
    """Return one agent that every thread has."""
    return Agents({ONLY: AgentProfile(ONLY, command, workspace, env)}, ONLY, chosen=False)


def launcher_of(
    agents: Agents,
    environ: Mapping[str, str],
    marker: Mapping[str, str],
    name_of: Callable[[int], str],
    sessions_per_process: int = 1,
    home_of: Callable[[int], int] = int,
    project_of: Callable[[int], str | None] = no_project,
    preparing: Callable[[int], Awaitable[None]] = ready,
    places: Mapping[str, str] | None = None,
    engines: Mapping[str, PoolEngine] | None = None,
    state: str = "",
) -> LauncherByName:
    """Return what starts each thread's agent.

    Args:
        environ: where the variables are taken from that agents get by name.
        marker: goes into the environment of every agent.
        name_of: the name of a thread's agent.
        sessions_per_process: how many threads may share a process of an agent that says nothing of it.
        home_of: the thread in whose directory a thread works.
        project_of: the name of a thread's project.
        preparing: has a thread's directory made.
        places: values of further placeholders, the same for all threads.
        engines: what runs agents on other machines, by name; entered by the caller.
        state: the id of the state to which agents on other machines belong.
    """
    launchers: dict[str, Launcher] = {
        agent.name: local(agent, environ, marker, sessions_per_process, places)
        if agent.engine is None
        else remote(agent, environ, (engines or {})[agent.engine], state)
        for agent in agents
    }
    of_projects = {
        (agent.name, project.name): replace(
            local(agents.profile(agent.name, project.name), environ, marker, sessions_per_process, places),
            makes_directories=not project.worktree,
            repository=str(project.path),
        )
        for agent in agents
        for project in agents.projects.values()
        if agent.engine is None  # a project is a directory of this machine
    }
    return LauncherByName(launchers, name_of, home_of, of_projects, project_of, preparing)


def local(
    agent: AgentProfile,
    environ: Mapping[str, str],
    marker: Mapping[str, str],
    sessions_per_process: int = 1,
    places: Mapping[str, str] | None = None,
) -> LocalLauncher:
    """Return what starts one agent; the arguments are those of `launcher_of`."""
    # A wrapper that keeps threads apart would get the directory that they share: that must be asked for.
    usual = 1 if agent.wrapper else sessions_per_process
    return LocalLauncher(
        argv=agent.command,
        workspace=agent.workspace,
        # The marker last: nothing in the settings may replace it, or the agent would not be found again (P9).
        env=agent_environment(environ, agent.env) | dict(agent.fixed) | dict(marker),
        sessions_per_process=agent.sessions_per_process or usual,
        wrapper=agent.wrapper,
        limits=agent.limits,
        session_directory=agent.session_directory,
        start_timeout=agent.start_timeout,
        places=places or {},
    )


def remote(agent: AgentProfile, environ: Mapping[str, str], engine: PoolEngine, state: str) -> RemoteLauncher:
    """Return what has an engine start one agent; the arguments are those of `launcher_of`."""
    return RemoteLauncher(
        argv=agent.command,
        workspace=agent.workspace,
        # Not the allow-list: this machine's HOME and PATH say nothing about another one.
        env=named_environment(environ, agent.env) | dict(agent.fixed),
        engine=engine,
        # By the state a later run finds what this one has left on the engine (P14).
        labels={"state": state, "agent": agent.name},
        start_timeout=agent.start_timeout,
    )


def secret_values(agents: Agents, environ: Mapping[str, str]) -> list[str]:
    """Return the values of all variables that any agent is given by name."""
    # Fixed values are no secrets, and often common words, which every text would lose.
    givers = [*agents, *agents.projects.values()]
    return [value for giver in givers for value in named(environ, giver.env).values()]
