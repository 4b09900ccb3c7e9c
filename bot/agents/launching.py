"""How the agents are started: each with an environment of its own, and what of it must be in no message (R5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from acp.environment import agent_environment, named
from bot.agents.model import AgentProfile, Agents
from pool.launcher import LauncherByName, LocalLauncher


def launcher_of(
    agents: Agents,
    environ: Mapping[str, str],
    marker: Mapping[str, str],
    name_of: Callable[[int], str],
    sessions_per_process: int = 1,
) -> LauncherByName:
    """Return what starts each thread's agent.

    Args:
        environ: where the variables are taken from that agents get by name.
        marker: goes into the environment of every agent.
        name_of: the name of a thread's agent.
        sessions_per_process: how many threads may share a process of an agent that says nothing of it.
    """
    launchers = {agent.name: local(agent, environ, marker, sessions_per_process) for agent in agents}
    return LauncherByName(launchers, name_of)


def local(
    agent: AgentProfile, environ: Mapping[str, str], marker: Mapping[str, str], sessions_per_process: int = 1
) -> LocalLauncher:
    """Return what starts one agent; the arguments are those of `launcher_of`."""
    # A wrapper that keeps threads apart would be told of their common directory: that has to be asked for.
    usual = 1 if agent.wrapper else sessions_per_process
    return LocalLauncher(
        argv=agent.command,
        workspace=agent.workspace,
        env=agent_environment(environ, agent.env) | dict(agent.fixed) | dict(marker),
        sessions_per_process=agent.sessions_per_process or usual,
        wrapper=agent.wrapper,
        limits=agent.limits,
        session_directory=agent.session_directory,
        start_timeout=agent.start_timeout,
    )


def secret_values(agents: Agents, environ: Mapping[str, str]) -> list[str]:
    """Return the values of all variables that any agent is given by name."""
    return [value for agent in agents for value in named(environ, agent.env).values()]
