"""What the settings say, as far as it can be judged without starting or asking anything."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sized

from acp.process import named
from bot.agents.checks import THREAD_FIELD, fixed_part
from bot.agents.model import AgentProfile
from bot.config import ConfigError, Settings
from bot.files import may, user_name
from bot.ops.doctor.finding import Finding, fail, ok, warn
from bot.ops.doctor.machine import Unit
from bot.preflight import (
    NO_TOKEN,
    agent_problem,
    agents_of,
    looks_like_token,
    state_problem,
    token_of,
    workspace_problem,
)
from bot.work.permissions.rules import Mode


def check_settings(settings: Settings, environment: Mapping[str, str], unit: Unit | None = None) -> Iterator[Finding]:
    """Look at each setting that the bot can't do without, as ``unit`` will if that runs it."""
    path, user = (unit.path, unit.user) if unit else (None, None)
    # This is not reached otherwise: see `report`.
    yield ok("settings", "no mistakes found")
    if unit is not None:
        yield ok("path", f"{unit.name} looks for programs in {path}, and so do these checks")
    yield check_token(settings)
    yield check_access(settings)
    if settings.agents_file is None:
        problem = workspace_problem(settings.workspace, settings.called("WEFT_WORKSPACE"))
        yield fail("workspace", problem) if problem else check_workspace(settings.workspace or "", user)
    state = state_problem(settings.state_dir, settings.called("WEFT_STATE_DIR"))
    yield _problem_or("state", state, f"{settings.state_dir}")
    if settings.agents_file is not None:
        yield from check_agents_file(settings, environment, path, user)
        return
    problem = agent_problem(settings.agent_command, settings.called("WEFT_AGENT_COMMAND"), path)
    program = settings.agent_command[0] if settings.agent_command else ""
    here = shutil.which(program)
    # The usual reason: a unit has another PATH than the shell that it was installed from.
    if problem and path and here:
        problem += f"; this shell finds {here}: write that, or run `weft service install` from this shell"
    yield _problem_or("agent", problem, shutil.which(program, path=path) or "")
    yield from check_agent_variables("WEFT_AGENT_ENV", settings.agent_env, environment)


def check_workspace(workspace: str, user: str | None = None) -> Finding:
    """Say whether agents can write where they are to work; ``user``: as whom the bot runs, if not as this one."""
    fixed = fixed_part(workspace)
    # Both: without the right to enter it, nothing is made in a directory.
    if may(user, "w", fixed) and may(user, "x", fixed):
        return ok("workspace", workspace)
    text = f"{fixed} is not writable for {user or user_name()}"
    if THREAD_FIELD in workspace:
        return fail("workspace", f"{text}, and each thread needs a directory in it")
    return warn("workspace", f"{text}: agents can't change files there")


def _problem_or(subject: str, problem: str, found: str) -> Finding:
    return fail(subject, problem) if problem else ok(subject, found)


def check_token(settings: Settings) -> Finding:
    """Look at the token's shape; the loopback Discord's tokens have another."""
    token = token_of(settings)
    if not token:
        return fail("token", "DISCORD_TOKEN is not set")
    # There is nothing to be said about its shape.
    if settings.discord_api:
        return ok("token", f"set, for {settings.discord_api}")
    if not looks_like_token(token):
        return fail("token", f"{settings.called('DISCORD_TOKEN')}: {NO_TOKEN}")
    return ok("token", "has the shape of a bot token")


def check_access(settings: Settings) -> Finding:
    """Say who may speak to the bot besides its owner."""
    if settings.allowed_users or settings.allowed_roles:
        people = f"{_counted(settings.allowed_users, 'user')}, {_counted(settings.allowed_roles, 'role')}"
        people += f"; {_counted(settings.approver_roles, 'approver role')}" if settings.approver_roles else ""
        return ok("access", f"the application's owner, {people}")
    return warn(
        "access",
        "only the application's owner can use the bot: to let others in, set WEFT_ALLOWED_USERS or WEFT_ALLOWED_ROLES",
    )


def check_agents_file(
    settings: Settings, environment: Mapping[str, str], path: str | None = None, user: str | None = None
) -> Iterator[Finding]:
    """Look at the file that names several agents; ``path``, ``user``: of the unit that runs the bot, if one does."""
    try:
        agents = agents_of(settings, path)
    except ConfigError as exc:
        yield from (fail("agents", problem) for problem in exc.problems)
        return
    yield ok("agents", f"{', '.join(agents.names)} (default: {agents.default})")
    # Each once, as agents often share one; an engine has its own on its machines.
    for workspace in dict.fromkeys(agent.workspace for agent in agents if agent.engine is None):
        yield check_workspace(workspace, user)
    for agent in agents:
        yield from check_agent_variables(f"agents.{agent.name}.env", agent.env, environment)
    yield from map(check_permissions, agents)


def _counted(items: Sized, thing: str) -> str:
    return f"{len(items)} {thing}{'' if len(items) == 1 else 's'}"


def check_permissions(agent: AgentProfile) -> Finding:
    """Say what answers an agent's requests in people's place."""
    rules = agent.rules
    counts = f"{len(rules.allow)} to allow, {len(rules.deny)} to deny, {len(rules.two_person)} for two people"
    text = f"{agent.name}: mode {agent.mode}; rules: {counts}"
    # The bot starts like this only where somebody has written that they trust the agent (C3).
    alone = agent.mode is Mode.ALLOW and not (agent.wrapper or agent.contained)
    return (
        warn("permissions", f"{text}; it may do whatever it asks for, with no wrapper around it (docs/isolation.md)")
        if alone
        else ok("permissions", text)
    )


def check_agent_variables(place: str, names: Iterable[str], environment: Mapping[str, str]) -> Iterator[Finding]:
    """Name the variables that an agent is to be given and that are not set anywhere."""
    for name in names:
        if not named(environment, [name]):
            yield warn("agent env", f"{name} is listed in {place}, but is not set")
