"""What was given on the command line and what is there already, and the answers where nobody is asked."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from bot.agents.file import FILE_NAME
from bot.config import ConfigError, Settings
from bot.ops.doctor.rest import DISCORD
from bot.preflight import token_of
from bot.setup.answers import Agent, Answers, Project
from bot.setup.portal import Portal, only_ids
from bot.setup.reading import (
    found_agents,
    read_agent,
    read_health,
    read_project,
    read_token,
    read_workspace,
    refuse_controls,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of ``weft init``; what is empty was not given.

    Attributes:
        token: of the standard input or the environment.
        users, roles, approvers: ids or names.
        health: None: not given; "": none is wanted.
        yes: files that are there may be replaced.
    """

    token: str = field(default="", repr=False)
    agents: tuple[str, ...] = ()
    agent_env: tuple[str, ...] = ()
    workspace: str = ""
    projects: tuple[str, ...] = ()
    base: str = ""
    users: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    health: str | None = None
    offline: bool = False
    yes: bool = False


@dataclass(frozen=True, slots=True)
class Present:
    """What there is before anything is asked.

    Attributes:
        env_file: where ``.env`` is, or is to be.
        settings: as they would be read now; what can't be understood has its default.
        environment: what agents may be given by name.
    """

    env_file: Path
    settings: Settings
    environment: Mapping[str, str] = field(repr=False)

    @property
    def agents_file(self) -> Path:
        """Where ``weft.toml`` is, or is to be."""
        there = self.settings.agents_file
        return there.path if there is not None else self.env_file.parent / FILE_NAME

    @property
    def api(self) -> str:
        """The address of Discord's REST interface."""
        return self.settings.discord_api or DISCORD


def answers_without_asking(options: Options, present: Present) -> Answers:
    """Return the answers that options give, and what is there already where they give none.

    Raises:
        ConfigError: something is missing or wrong: all of it, a line each.
    """
    problems: list[str] = []

    def checked(read: Callable[[], T], usual: T) -> T:
        try:
            return read()
        except ConfigError as exc:
            problems.extend(exc.problems)
            return usual

    settings = present.settings
    # First, since Discord is asked with it; what is wrong elsewhere is still collected.
    token = checked(lambda: read_token(options.token or token_of(settings), settings.discord_api), "")
    portal = Portal(present.api, token) if token and not options.offline else None
    if portal is not None and (account := portal.account()).refused:
        problems += [one.text for one in account.findings]
        portal = None
    answers = Answers(
        token=token,
        agents=checked(lambda: _agents(options, present), ()),
        workspace=checked(lambda: _workspace(options, present), ""),
        projects=checked(lambda: _projects(options, present), ()),
        users=checked(lambda: ids_of("user", options.users, settings.allowed_users, portal), ()),
        roles=checked(lambda: ids_of("role", options.roles, settings.allowed_roles, portal), ()),
        approvers=checked(lambda: ids_of("role", options.approvers, settings.approver_roles, portal), ()),
        health=checked(lambda: read_health(settings.health or "" if options.health is None else options.health), ""),
        as_file=settings.agents_file is not None,
    )
    if problems:
        raise ConfigError(*problems)
    return answers


def _agents(options: Options, present: Present) -> tuple[Agent, ...]:
    """Return the agents; none if those of a ``weft.toml`` that is there stay."""
    given = options.agents
    if not given and present.settings.agents_file is None:
        given = (shlex.join(present.settings.agent_command),) if present.settings.agent_command else ()
        if not given:
            found = " or ".join(f'--agent "{shlex.join(one.command)}"' for one in found_agents())
            raise ConfigError(f"the agent is missing: give {found or '--agent COMMAND (docs/agents.md lists some)'}")
    agents: list[Agent] = []
    for text in given:
        agent = read_agent(text, [one.name for one in agents])
        agents.append(replace(agent, env=options.agent_env or present.settings.agent_env))
    return tuple(agents)


def _workspace(options: Options, present: Present) -> str:
    given = options.workspace or present.settings.workspace or ""
    if not given and not options.agents and present.settings.agents_file is not None:
        return ""  # that file says where its agents work
    return read_workspace(given).text


def _projects(options: Options, present: Present) -> tuple[Project, ...]:
    if options.projects and present.settings.agents_file is not None and not options.agents:
        raise ConfigError(f"--project: {present.agents_file} is there already: write it there, or give --agent, too")
    projects: list[Project] = []
    for text in options.projects:
        projects.append(read_project(text, [one.name for one in projects], options.base))
    return tuple(projects)


def ids_of(kind: str, given: Sequence[str], usual: tuple[int, ...], portal: Portal | None) -> tuple[int, ...]:
    """Return the ids of people (``user``) or roles (``role``); without any, those that are there already.

    Raises:
        ConfigError: a line for each that leads nowhere.
    """
    if not given:
        return usual
    for text in given:
        refuse_controls(text)
    # Offline, or with a token that Discord refuses: only ids can be taken then.
    if portal is None:
        return only_ids(kind, given)
    return portal.users(given) if kind == "user" else portal.roles(given)
