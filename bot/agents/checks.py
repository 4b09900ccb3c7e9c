"""Looks whether agents can be started on this machine, without starting any."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bot.agents.model import AgentProfile, Agents
from pool.wrapping import LIMITER

THREAD_FIELD = "{thread_id}"


def agents_problems(agents: Agents, file_name: str) -> Iterator[str]:
    """Say what each agent of a file lacks, a line each."""
    for agent in agents:
        for problem in agent_problems(agent):
            yield f"{file_name}: agents.{agent.name}.{problem}"


def agent_problems(agent: AgentProfile) -> Iterator[str]:
    """Say what an agent lacks, each with the name of its setting."""
    # With a wrapper the command may be in a container or on another machine: only the wrapper can tell.
    name, argv = ("wrapper", agent.wrapper) if agent.wrapper else ("command", agent.command)
    path = agent.fixed.get("PATH")
    if problem := program_problem(argv[0], path):
        yield f"{name}: {problem}"
    if agent.limits and not shutil.which(LIMITER, path=path):
        yield f"limits: {LIMITER} was not found"
    if problem := directory_problem(agent.workspace):
        yield f"workspace: {problem}"


def program_problem(program: str, path: str | None = None) -> str:
    """Say why a program can't be started, or nothing; ``path``: where it is looked for, if not in our own PATH."""
    if "/" in program and not Path(program).is_absolute():
        # Agents start in the workspace: a path that begins here would lead elsewhere from there.
        return f"{program} is not an absolute path"
    if shutil.which(program, path=path):
        return ""
    return f"{program} is not executable" if Path(program).is_file() else f"{program} was not found"


def directory_problem(workspace: str) -> str:
    """Say why a workspace can't be used, or nothing. A part with ``{thread_id}`` is made when it is needed."""
    fixed = fixed_part(workspace)
    if not fixed.is_absolute():
        return f"{workspace} is not an absolute path"
    if not fixed.is_dir():
        return f"{fixed} is not a directory"
    if THREAD_FIELD in workspace and not os.access(fixed, os.W_OK | os.X_OK):
        return f"{fixed} is not writable"
    return ""


def fixed_part(workspace: str) -> Path:
    """Return the directory that all threads have in common: what stands before the part with ``{thread_id}``."""
    before = workspace.split(THREAD_FIELD, maxsplit=1)[0]
    return Path(before) if before.endswith("/") or before == workspace else Path(before).parent
