"""What the settings say, as far as it can be judged without starting or asking anything."""

from __future__ import annotations

import base64
import binascii
import shutil
from collections.abc import Iterable, Iterator, Mapping

from acp.environment import named
from bot.config import ConfigError, Settings, agent_problem, agents_of, state_problem, workspace_problem
from bot.ops.doctor.finding import Finding, fail, ok, warn

_TOKEN_PARTS = 3


def check_settings(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Look at each setting that the bot can't do without."""
    yield ok("settings", "understood")
    yield check_token(settings)
    yield check_access(settings)
    if settings.agents_file is None:
        yield _problem_or("workspace", workspace_problem(settings.workspace), f"{settings.workspace}")
    yield _problem_or("state", state_problem(settings.state_dir), f"{settings.state_dir}")
    if settings.agents_file is not None:
        yield from check_agents_file(settings, environment)
        return
    problem = agent_problem(settings.agent_command)
    yield _problem_or("agent", problem, shutil.which(settings.agent_command[0]) or "" if not problem else "")
    yield from check_agent_variables("WEFT_AGENT_ENV", settings.agent_env, environment)


def _problem_or(subject: str, problem: str, found: str) -> Finding:
    return fail(subject, problem) if problem else ok(subject, found)


def token_of(settings: Settings) -> str:
    """Return the bot's token, empty if there is none."""
    return settings.discord_token.get_secret_value().strip() if settings.discord_token else ""


def check_token(settings: Settings) -> Finding:
    """Look at the token's shape; the loopback Discord's tokens have another."""
    token = token_of(settings)
    if not token:
        return fail("token", "DISCORD_TOKEN is not set")
    if settings.discord_api:
        return ok("token", f"set, for {settings.discord_api}")
    if not looks_like_token(token):
        return fail("token", "DISCORD_TOKEN does not have the shape of a bot token (three parts)")
    return ok("token", "has the shape of a bot token")


def looks_like_token(token: str) -> bool:
    """Whether the text is built as Discord builds bot tokens: three parts, the first being an id in base 64."""
    parts = token.split(".")
    if len(parts) != _TOKEN_PARTS or not all(parts):
        return False
    try:
        return base64.urlsafe_b64decode(parts[0] + "=" * (-len(parts[0]) % 4)).isdigit()
    except (binascii.Error, ValueError):
        return False


def check_access(settings: Settings) -> Finding:
    """Say who may speak to the bot besides its owner."""
    if settings.allowed_users or settings.allowed_roles:
        people = f"{len(settings.allowed_users)} users, {len(settings.allowed_roles)} roles"
        return ok("access", f"the application's owner, {people}")
    return warn("access", "only the application's owner may speak: set WEFT_ALLOWED_USERS or WEFT_ALLOWED_ROLES")


def check_agents_file(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Look at the file that names several agents."""
    try:
        agents = agents_of(settings)
    except ConfigError as exc:
        yield from (fail("agents", problem) for problem in exc.problems)
        return
    yield ok("agents", f"{', '.join(agents.names)}; {agents.default} where nothing else is said")
    for agent in agents:
        yield from check_agent_variables(f"agents.{agent.name}.env", agent.env, environment)


def check_agent_variables(place: str, names: Iterable[str], environment: Mapping[str, str]) -> Iterator[Finding]:
    """Name the variables that an agent is to be given and that are not set anywhere."""
    for name in names:
        if not named(environment, [name]):
            yield warn("agent env", f"{name} is named in {place}, but is not set")
