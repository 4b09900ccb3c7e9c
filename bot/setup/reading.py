"""Understands and checks each answer, be it typed or given as an option; what is wrong is said in lines for people."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from bot.agents.checks import directory_problem, fixed_part, program_problem
from bot.agents.model import only, secret_values
from bot.config import ConfigError, Settings
from bot.files import Unusable, mode_of
from bot.ops.address import parse_address
from bot.ops.doctor.finding import Finding, warn
from bot.ops.doctor.report import agents_check, specs_of, within_limit
from bot.ops.doctor.settings import check_workspace
from bot.preflight import NO_TOKEN, looks_like_token, token_problem
from bot.setup.answers import KNOWN, NAME, Agent, KnownAgent, Project, name_for
from bot.work.workspace.repository import Repository, Unreadable, branch_of, commit_of
from bot.work.workspace.worktrees import find_base, find_project

REMOTE = "origin"
_USUAL_BRANCHES = ("main", "master")


def read_token(text: str, api: str | None) -> str:
    """Return a token that has the right shape; on another address than Discord's every shape is right.

    Raises:
        ConfigError: it can't be one; the message does not repeat it.
    """
    token = text.strip()
    if not token:
        raise ConfigError("the token is missing: paste it, or give it by --token-stdin or DISCORD_TOKEN")
    if problem := token_problem(token):
        raise ConfigError(problem)
    if not api and not looks_like_token(token):
        raise ConfigError(NO_TOKEN)
    return token


# --- agents ---------------------------------------------------------------------------------------------------------


def found_agents(path: str | None = None) -> list[KnownAgent]:
    """Return the agents that are on the PATH."""
    return [one for one in KNOWN if not program_problem(one.command[0], path)]


def read_agent(text: str, taken: Collection[str] = ()) -> Agent:
    """Return the agent that ``[NAME=]COMMAND`` means.

    Raises:
        ConfigError: it is no command, the program is not there, or the name is taken.
    """
    name, line = split_name(text)
    try:
        words = tuple(shlex.split(line))
    except ValueError as exc:
        raise ConfigError(f"{line}: {exc}: check its quotes and backslashes") from exc
    if not words:
        raise ConfigError('the agent is missing: give the command that starts it, such as "opencode acp"')
    refuse_controls(line)
    problem = program_problem(words[0])
    if problem and "/" in words[0] and Path(words[0]).expanduser().exists():
        # Typed in a shell's way, it is clear what is meant; agents start elsewhere.
        words = (str(Path(words[0]).expanduser().absolute()), *words[1:])
        problem = program_problem(words[0])
    if problem:
        raise ConfigError(f"{problem}: install it, or give the whole path")
    if name in taken:
        raise ConfigError(f"there is an agent called {name} already")
    return Agent(name or name_for(Path(words[0]).name, taken), words)


def split_name(text: str) -> tuple[str, str]:
    """Part ``NAME=`` from what follows; the name is empty where there is none."""
    name, equals, rest = text.strip().partition("=")
    # Only if it can be a name: a command may have an = in it.
    return (name, rest.strip()) if equals and NAME.fullmatch(name) else ("", text.strip())


def try_agent(agent: Agent, settings: Settings, environment: Mapping[str, str]) -> list[Finding]:
    """Start an agent as the doctor does, and return what it finds."""
    agents = only(agent.command, "/", agent.env)  # the trial has its own directory
    specs = specs_of(agents, environment, settings.state_dir)
    return anyio.run(within_limit, agents_check(specs, settings, secret_values(agents, environment)))


# --- directories ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where agents work.

    Attributes:
        missing: it has to be made, with those above it.
        cautions: what a person should know of it.
    """

    text: str
    missing: bool
    cautions: tuple[Finding, ...] = ()


def read_workspace(text: str) -> Workspace:
    """Return a directory that is there or can be made; the part with ``{thread_id}`` is made when it is needed.

    Raises:
        ConfigError: it is neither.
    """
    given = text.strip()
    if not given:
        raise ConfigError("the workspace is missing: give the directory in which agents are to work")
    refuse_controls(given)
    with suppress(RuntimeError):  # nobody has that home: the path is wrong, which is said below
        given = str(Path(given).expanduser())
    path = os.path.abspath(given)  # noqa: PTH100  not resolved: a link may be meant
    fixed = fixed_part(path)
    try:
        if mode_of(fixed) is None:
            return _to_be_made(path, fixed)
    except Unusable as exc:
        raise ConfigError(str(exc)) from exc
    if problem := directory_problem(path):
        raise ConfigError(problem)
    return Workspace(path, missing=False, cautions=(check_workspace(path), *_cautions(fixed)))


def _to_be_made(path: str, fixed: Path) -> Workspace:
    above = next(one for one in fixed.parents if mode_of(one) is not None)
    if problem := directory_problem(str(above)):
        raise ConfigError(problem)
    if not os.access(above, os.W_OK):
        raise ConfigError(f"{fixed} does not exist, and {above} is not writable: make it, or choose another one")
    return Workspace(path, missing=True)


def _cautions(fixed: Path) -> tuple[Finding, ...]:
    # Allowed all the same: somebody may run a machine for nothing else.
    if fixed in (Path("/"), Path.home()):
        return (warn("workspace", f"{fixed} holds far more than a project: better give agents a directory in it"),)
    return ()


def read_project(text: str, taken: Collection[str] = (), base: str = "") -> Project:
    """Return the git repository that ``[NAME=]PATH`` means, with the branch that new ones begin at.

    Args:
        base: that branch; "": it is found.

    Raises:
        ConfigError: no work trees can be made of it, or the name is taken.
    """
    name, where = split_name(text)
    refuse_controls(where)
    refuse_controls(base)
    path = Path(where).expanduser().absolute()
    if name in taken:
        raise ConfigError(f"there is a project called {name} already")
    try:
        repository = find_project(path)
        branch = base or _base_of(repository)
        # Asked for its errors: a branch that is not there is found out now, not by the first thread.
        find_base(repository, branch, REMOTE)
    except Unreadable as exc:
        raise ConfigError(f"{path}: {exc}") from exc
    return Project(name or name_for(path.name, taken), path, branch)


def _base_of(repository: Repository) -> str:
    """Return the branch that a repository's work goes to, as far as it can be told."""
    for name in _USUAL_BRANCHES:
        if commit_of(repository, f"refs/heads/{name}") or commit_of(repository, f"refs/remotes/{REMOTE}/{name}"):
            return name
    current = branch_of(repository) or ""
    return current.removeprefix("refs/heads/") or _USUAL_BRANCHES[0]


# --- the rest -------------------------------------------------------------------------------------------------------


def read_health(text: str) -> str:
    """Return an address on this machine, or nothing.

    Raises:
        ConfigError: it is none.
    """
    try:
        return str(parse_address(text.strip())) if text.strip() else ""
    except ValueError as exc:
        raise ConfigError(str(exc)) from exc


def refuse_controls(text: str) -> None:
    """Refuse what no file of settings can hold on one line.

    Raises:
        ConfigError: there is such a character.
    """
    # Halves of characters too, which no file in UTF-8 can hold.
    if not text.isprintable():
        raise ConfigError("there are characters in it that can't be shown, such as a line break: leave them out")
