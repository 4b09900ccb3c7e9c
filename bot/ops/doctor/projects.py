"""The projects: whether git is new enough, and whether work trees can be made of each repository."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping

from bot.agents.model import Agents, Project
from bot.files import may, user_name
from bot.ops.doctor.finding import Finding, fail, ok, warn
from bot.ops.doctor.machine import run_command
from bot.ops.doctor.settings import check_agent_variables
from bot.work.workspace.repository import Unreadable
from bot.work.workspace.worktrees import check_project

OLDEST_GIT = (2, 30)

_VERSION = re.compile(r"(\d+)\.(\d+)")


async def check_projects(agents: Agents, environment: Mapping[str, str], user: str | None = None) -> list[Finding]:
    """Look at each project; ``user``: as whom the bot runs, if not as this one."""
    projects = agents.projects.values()
    found = [await _git()] if any(one.worktree for one in projects) else []
    for project in projects:
        found.append(await _repository(project, user) if project.worktree else _directory(project, user))
        found += check_agent_variables(f"projects.{project.name}.env", project.env, environment)
        found += _cautions(project, agents)
    return found


async def _git() -> Finding:
    program = shutil.which("git")
    ran = await run_command(program, "--version") if program else None
    version = _VERSION.search(ran.said) if ran is not None and ran.code == 0 else None
    if version is None:
        return fail("git", "git does not work here: install it, since work trees need it")
    # As numbers: as text, 2.9 would be newer than 2.30.
    if (int(version[1]), int(version[2])) < OLDEST_GIT:
        return fail("git", f"git {version[0]} is too old: work trees need {OLDEST_GIT[0]}.{OLDEST_GIT[1]}")
    return ok("git", f"git {version[0]} ({program})")


async def _repository(project: Project, user: str | None) -> Finding:
    try:
        await check_project(project.path, project.base, project.remote)
    except Unreadable as exc:
        return fail("project", f"{project.name}: {project.path}: {exc}")
    # Branches and objects are written there, by us and by agents that commit.
    if not may(user, "w", project.path / ".git"):
        return fail("project", f"{project.name}: {project.path}/.git is not writable for {user or user_name()}")
    return ok("project", f"{project.name}: {project.path}, from {project.base}")


def _directory(project: Project, user: str | None) -> Finding:
    text = f"{project.name}: {project.path}, which all its threads share"
    if may(user, "w", project.path):
        return ok("project", text)
    return warn("project", f"{text}; it is not writable for {user or user_name()}")


def _cautions(project: Project, agents: Agents) -> Iterator[Finding]:
    if not project.worktree:
        return
    if project.hooks:
        yield warn("project", f"{project.name}: hooks = true: what agents write into its .git is run as your user")
    for agent in agents:
        # Only a guess, as a wrapper may lead anywhere; it names the place in one of these ways if it shows it.
        named = any(place in word for word in agent.wrapper for place in ("{repository}", str(project.path)))
        if agent.wrapper and not named:
            where = "its wrapper does not name {repository} (docs/isolation.md)"
            yield warn("project", f"{project.name}: {agent.name} may not be able to commit: {where}")
