"""Looks whether agents can be started on this machine, without starting any."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from bot.agents.engines import engines_problems
from bot.agents.file import AgentsFile
from bot.agents.model import AgentProfile, Agents, Project
from bot.files import Unusable, is_directory, mode_of, not_absolute, user_name
from pool.wrapping import LIMITER

THREAD_FIELD = "{thread_id}"


def agents_problems(agents: Agents, file: AgentsFile, path: str | None = None) -> Iterator[str]:
    """Say what each agent of a file lacks, a line each; ``path``: where programs are, if not in our own PATH."""
    for name, problem in engines_problems(agents.engines):
        yield file.line(("engines", name), problem)
    for agent in agents:
        if agent.engine is not None:
            continue  # what is there is for the engine to say: `weft doctor` asks it
        for setting, problem in agent_problems(agent, path):
            yield file.line(("agents", agent.name, setting), problem)
    for project in agents.projects.values():
        for setting, problem in project_problems(project):
            yield file.line(("projects", project.name, setting), problem)


def project_problems(project: Project) -> Iterator[tuple[str, str]]:
    """Say what a project lacks, each with the name of its setting; what git says of it is the doctor's to ask."""
    if problem := directory_problem(str(project.path)):
        # One line: of a directory that is not there, everything else would be wrong as well.
        yield "path", problem
        return
    if project.worktree:
        yield from _repository_problems(project)


def _repository_problems(project: Project) -> Iterator[tuple[str, str]]:
    try:
        # A directory, or a file that leads to one, as in another work tree.
        repository = mode_of(project.path / ".git") is not None
    except Unusable as exc:
        yield "path", str(exc)
        return
    if project.worktrees.is_relative_to(project.path.resolve()):
        # git would show the work trees of all threads as files of the repository.
        yield "path", "the state directory is in it: choose another WEFT_STATE_DIR"
    elif not repository:
        yield "path", f"{project.path} is not a git repository: write worktree = false, or run git init in it"
    # Ours, on our own PATH: what agents find has nothing to do with it.
    if not shutil.which("git"):
        yield "worktree", "git was not found: install it, or write worktree = false"


def agent_problems(agent: AgentProfile, path: str | None = None) -> Iterator[tuple[str, str]]:
    """Say what an agent lacks, each with the name of its setting."""
    # With a wrapper the command may be in a container or on another machine: only the wrapper can tell.
    name, argv = ("wrapper", agent.wrapper) if agent.wrapper else ("command", agent.command)
    # What the settings fix for an agent is what it gets.
    path = agent.fixed.get("PATH", path)
    if problem := program_problem(argv[0], path):
        yield name, problem
    # On the agent's PATH, as it is started by that.
    if agent.limits and not shutil.which(LIMITER, path=path):
        yield "limits", f"{LIMITER} was not found"
    if problem := directory_problem(agent.workspace):
        yield "workspace", problem


def program_problem(program: str, path: str | None = None) -> str:
    """Say why a program can't be started, or nothing; ``path``: where it is looked for, if not in our own PATH."""
    if "/" in program and not Path(program).is_absolute():
        # Agents start in the workspace: a path that begins here would lead elsewhere from there.
        return not_absolute(program)
    if shutil.which(program, path=path):
        return ""
    try:
        mode = mode_of(Path(program)) if "/" in program else None
    except Unusable as exc:
        return str(exc)
    if mode is None:
        return f"{program} was not found{f' on the PATH {path}' if path and '/' not in program else ''}"
    return f"{program} is a directory, not a program" if stat.S_ISDIR(mode) else f"{program} is not executable"


def wants_node(program: str, path: str | None = None) -> bool:
    """Whether a program is a script for Node; not when that can't be told."""
    try:
        with Path(shutil.which(program, path=path) or program).open("rb") as file:
            # Bounded: a binary may have no line in all its megabytes.
            return re.match(rb"#!.*\bnode\b", file.readline(256)) is not None
    except OSError:
        return False


def directory_problem(workspace: str) -> str:
    """Say why a workspace can't be used, or nothing. A part with ``{thread_id}`` is made when it is needed."""
    fixed = fixed_part(workspace)
    if not fixed.is_absolute():
        return not_absolute(workspace)
    try:
        if not is_directory(fixed):
            return f"{fixed} is not a directory"
    except Unusable as exc:
        return str(exc)
    if not os.access(fixed, os.X_OK):
        return f"{fixed} can't be entered by {user_name()}"
    if THREAD_FIELD in workspace and not os.access(fixed, os.W_OK):
        return f"{fixed} is not writable for {user_name()}, and each thread needs a directory in it"
    return ""


def fixed_part(workspace: str) -> Path:
    """Return the directory that all threads have in common: what stands before the part with ``{thread_id}``."""
    before = workspace.split(THREAD_FIELD, maxsplit=1)[0]
    # `/work/t-{thread_id}` has only `/work` in common.
    return Path(before) if before.endswith("/") or before == workspace else Path(before).parent
