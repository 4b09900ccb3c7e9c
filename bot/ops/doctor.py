"""``weft doctor``: one line for each thing that has to be right before the bot can work.

It looks at this machine only: nothing is sent to Discord. The agent is started once, asked to introduce itself, and
ended again.
"""

from __future__ import annotations

import base64
import binascii
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import anyio
import click

from acp.connection import ConnectionLimits, open_connection
from acp.environment import agent_environment, named
from acp.errors import AcpError
from acp.process import LaunchSpec
from acp.schema import InitializeResult
from bot.config import (
    EX_CONFIG,
    ConfigError,
    Settings,
    agent_problem,
    load_environment,
    load_settings,
    state_problem,
    workspace_problem,
)
from bot.log import Redactor, configure_logging

_TOKEN_PARTS = 3


class Verdict(StrEnum):
    """How a check ended; only FAIL keeps the bot from working."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    verdict: Verdict
    subject: str
    text: str

    def line(self) -> str:
        """Return the line as it is printed."""
        return f"{self.verdict:<4}  {self.subject:<10}  {self.text}"


def run_doctor(env_file: Path) -> int:
    """Print the findings; return 0, or 78 when something has to be mended first."""
    # The agent's start and end are logged to stdout where nothing is configured; the report says what matters of it.
    configure_logging("error", "auto", Redactor())
    findings = []
    for finding in _findings(env_file):
        click.echo(finding.line())
        findings.append(finding)
    return EX_CONFIG if any(finding.verdict is Verdict.FAIL for finding in findings) else 0


def _findings(env_file: Path) -> Iterator[Finding]:
    yield check_python()
    yield check_platform()
    try:
        settings = load_settings(env_file)
    except ConfigError as exc:
        yield from (Finding(Verdict.FAIL, "settings", problem) for problem in exc.problems)
        return
    yield Finding(Verdict.OK, "settings", "understood")
    yield check_token(settings)
    yield check_access(settings)
    yield _problem_or("workspace", workspace_problem(settings.workspace), f"{settings.workspace}")
    yield _problem_or("state", state_problem(settings.state_dir), f"{settings.state_dir}")
    problem = agent_problem(settings.agent_command)
    yield _problem_or("agent", problem, shutil.which(settings.agent_command[0]) or "" if not problem else "")
    environment = load_environment(env_file)
    yield from check_agent_variables(settings, environment)
    if not problem:
        yield check_agent(settings, environment)


def _problem_or(subject: str, problem: str, found: str) -> Finding:
    return Finding(Verdict.FAIL, subject, problem) if problem else Finding(Verdict.OK, subject, found)


def check_python() -> Finding:
    """Say which Python this is; the package can't be installed on one that is too old."""
    return Finding(Verdict.OK, "python", f"{platform.python_version()} ({sys.executable})")


def check_platform() -> Finding:
    """Say what is missing on platforms other than Linux."""
    if platform.system() == "Linux":
        return Finding(Verdict.OK, "platform", "Linux")
    missing = "stray agents can't be found by their environment, and there is no systemd"
    return Finding(Verdict.WARN, "platform", f"{platform.system()} is best effort: {missing}")


def check_token(settings: Settings) -> Finding:
    """Look at the token's shape; the loopback Discord's tokens have another."""
    token = settings.discord_token.get_secret_value().strip() if settings.discord_token else ""
    if not token:
        return Finding(Verdict.FAIL, "token", "DISCORD_TOKEN is not set")
    if settings.discord_api:
        return Finding(Verdict.OK, "token", f"set, for {settings.discord_api}")
    if not looks_like_token(token):
        return Finding(Verdict.FAIL, "token", "DISCORD_TOKEN does not have the shape of a bot token (three parts)")
    return Finding(Verdict.OK, "token", "has the shape of a bot token")


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
        return Finding(Verdict.OK, "access", f"the application's owner, {people}")
    return Finding(
        Verdict.WARN, "access", "only the application's owner may speak: set WEFT_ALLOWED_USERS or WEFT_ALLOWED_ROLES"
    )


def check_agent_variables(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Name the variables that agents are to be given and that are not set anywhere."""
    for name in settings.agent_env:
        if not named(environment, [name]):
            yield Finding(Verdict.WARN, "agent env", f"{name} is named in WEFT_AGENT_ENV, but is not set")


def check_agent(settings: Settings, environment: Mapping[str, str]) -> Finding:
    """Start the agent, let it introduce itself, end it."""
    try:
        agent = anyio.run(_introduce, settings, environment)
    except AcpError as exc:
        return Finding(Verdict.FAIL, "initialize", str(exc))
    who = agent.agent_info
    name = f"{who.title or who.name} {who.version}".strip() if who else "an agent that does not name itself"
    return Finding(Verdict.OK, "initialize", f"{name}; {_abilities(agent)}")


async def _introduce(settings: Settings, environment: Mapping[str, str]) -> InitializeResult:
    with tempfile.TemporaryDirectory(prefix="weft-doctor-") as directory:
        spec = LaunchSpec(
            argv=settings.agent_command, cwd=directory, env=agent_environment(environment, settings.agent_env)
        )
        async with open_connection(spec, ConnectionLimits(start=settings.start_timeout)) as connection:
            return connection.agent


def _abilities(agent: InitializeResult) -> str:
    sessions = agent.agent_capabilities.session_capabilities
    if sessions.resume is not None:
        return "sessions can be resumed"
    if agent.agent_capabilities.load_session:
        return "sessions can be loaded"
    return "sessions end with the process"
