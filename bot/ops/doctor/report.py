"""The doctor's round: which checks there are, in which order, each bounded in time; it prints what they find.

A check that finds something wrong does not keep the others from running. What a check looks at is decided in
its own module.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import click

from acp.connection import ConnectionLimits
from acp.engine import LaunchSpec
from bot.agents.checks import fixed_part
from bot.agents.model import Agents, local, secret_values
from bot.agents.tool_access import ToolAccess
from bot.config import EX_CONFIG, ConfigError, Settings, load_environment, read_settings, unknown_variables
from bot.log import configure_logging
from bot.mcp.place import NAME, candidates
from bot.ops.doctor.account import check_discord
from bot.ops.doctor.agents import check_agents, default_name
from bot.ops.doctor.database import check_server
from bot.ops.doctor.engines import check_engine
from bot.ops.doctor.finding import Finding, Verdict, fail, warn
from bot.ops.doctor.machine import (
    Unit,
    check_node,
    check_platform,
    check_python,
    check_service,
    check_tools,
    check_weft,
    installed_unit,
)
from bot.ops.doctor.projects import check_projects
from bot.ops.doctor.rest import DISCORD
from bot.ops.doctor.settings import check_settings
from bot.ops.doctor.state import check_socket, check_state, check_strays
from bot.preflight import agents_of, looks_like_token, token_of, unusable
from bot.redaction import Redactor

_HELP = "What to do about each message: docs/troubleshooting.md (`weft init --examples DIR` copies the pages)"
_SHORT, _LONG = 15.0, 60.0
_END_OF_AGENT = 10.0
_ENGINE_LIMIT = 300.0


@dataclass(frozen=True, slots=True)
class Check:
    """A part of the round.

    Attributes:
        limit: seconds after which it is broken off.
    """

    subject: str
    run: Callable[[], Awaitable[list[Finding]]]
    limit: float = _SHORT


def run_doctor(env_file: Path, *, offline: bool = False, as_json: bool = False) -> int:
    """Print the findings; return 0, or 78 when something must be fixed first.

    Args:
        offline: ask Discord nothing.
        as_json: print an object for each finding instead of a line for people.
    """
    # The agent's start and end are logged where nothing is configured; the report says what matters of it.
    configure_logging("error", "auto", Redactor())
    verdicts: set[Verdict] = set()

    def tell(finding: Finding) -> None:
        click.echo(finding.json() if as_json else finding.line())
        verdicts.add(finding.verdict)

    anyio.run(_all, env_file, env_file.absolute(), offline, tell)
    if Verdict.FAIL in verdicts and not as_json:
        click.echo(_HELP)
    return EX_CONFIG if Verdict.FAIL in verdicts else 0


async def _all(env_file: Path, there: Path, offline: bool, tell: Callable[[Finding], None]) -> None:
    # First: where a unit runs the bot, what counts is what is there for the unit, not for this shell.
    unit = await installed_unit(there)
    await _round(_checks(env_file, offline, unit), tell)


async def _round(checks: Iterator[Check], tell: Callable[[Finding], None]) -> None:
    for check in checks:
        # Told at once: the next check may take a minute.
        for finding in await within_limit(check):
            tell(finding)


async def within_limit(check: Check) -> list[Finding]:
    """Return what a check finds, or that it took too long or could not look."""
    try:
        with anyio.fail_after(check.limit):
            return await check.run()
    except TimeoutError:
        return [warn(check.subject, f"gave up after {check.limit:g} s")]
    except OSError as exc:
        return [warn(check.subject, f"could not be checked: {exc}")]


def _checks(env_file: Path, offline: bool, unit: Unit | None) -> Iterator[Check]:
    # A generator, since what is looked at next depends on what was read before.
    yield Check("machine", _these(check_weft, check_python, check_platform))
    yield Check("systemd", check_service)
    yield Check("tools", partial(check_tools, path=unit.path if unit else None))
    try:
        reading = read_settings(env_file)
    except ConfigError as exc:
        yield Check("settings", _these(*(partial(fail, "settings", problem) for problem in exc.problems)))
        return
    for problem in unknown_variables(reading.settings, os.environ):
        yield Check("settings", _these(partial(warn, "settings", problem)))
    if reading.problems:
        problems = [*reading.problems, *unusable(reading.settings, reading.wrong)]
        yield Check("settings", _these(*(partial(fail, "settings", problem) for problem in problems)))
        return
    yield from _checks_of(reading.settings, env_file, offline, unit)


def _these(*looks: Callable[[], Finding]) -> Callable[[], Awaitable[list[Finding]]]:
    async def run() -> list[Finding]:
        return [look() for look in looks]

    return run


def _checks_of(settings: Settings, env_file: Path, offline: bool, unit: Unit | None) -> Iterator[Check]:
    path = unit.path if unit else None
    environment = load_environment(env_file) | ({"PATH": unit.path} if unit else {})
    found = check_settings(settings, environment, unit)
    yield Check("settings", _these(*(partial(_same, finding) for finding in found)))
    yield Check("state", partial(check_state, settings.state_dir, env_file, file=settings.database_url is None), _LONG)
    yield Check("database", partial(check_server, settings), _LONG)
    yield Check("socket", _these(partial(check_socket, settings.state_dir, os.environ, unit=unit is not None)))
    yield Check("strays", partial(check_strays, settings.state_dir))
    with suppress(ConfigError):  # what is wrong with them is reported above
        agents = agents_of(settings, path)
        yield Check("projects", partial(check_projects, agents, environment, unit.user if unit else None), _LONG)
        specs = specs_of(agents, environment, settings.state_dir)
        yield Check("node", partial(check_node, [spec.argv for spec in specs.values()], path))
        yield agents_check(specs, settings, secret_values(agents, environment))
        yield from engines_checks(agents, environment, settings)
    token = token_of(settings)
    if not offline and (settings.discord_api or looks_like_token(token)) and token:
        yield Check("discord", partial(check_discord, settings, settings.discord_api or DISCORD, token), _LONG)


def _same(finding: Finding) -> Finding:
    return finding


def specs_of(agents: Agents, environment: Mapping[str, str], state_dir: Path) -> dict[str, LaunchSpec]:
    """Return how each agent is started, by its name, the default one first.

    Behind a wrapper it is started in its workspace: of other directories the wrapper may know nothing.
    """
    # While no bot runs there is no socket, and a sandbox has to start without it.
    places = ToolAccess(next(candidates(environment, state_dir, "")) / NAME).places()
    specs = {}
    # The default first, since only its faults count as failures.
    for agent in sorted(agents, key=lambda one: one.name != agents.default):
        if agent.engine is not None:
            continue  # tried with its engine
        name = agent.name if agents.chosen else default_name(agent.command)
        base = fixed_part(agent.workspace)
        specs[name] = local(agent, environment, {}, places=places).spec_in(
            base, 0, str(base) if agent.wrapper else None
        )
    return specs


def engines_checks(agents: Agents, environment: Mapping[str, str], settings: Settings) -> Iterator[Check]:
    """Return the look at each engine, with the trial of its agents."""
    limits = ConnectionLimits(start=settings.start_timeout, session=settings.start_timeout)
    redactor = Redactor([token_of(settings), *secret_values(agents, environment)])
    for profile in agents.engines.values():
        run = partial(check_engine, profile, agents, environment, limits, redactor.text)
        # Every step has its own limit; this one is for what none of them covers.
        yield Check("engine", run, _ENGINE_LIMIT)


def agents_check(specs: Mapping[str, LaunchSpec], settings: Settings, secrets: list[str]) -> Check:
    """Return the trial of all agents, as they are started."""
    limits = ConnectionLimits(start=settings.start_timeout, session=settings.start_timeout)
    redactor = Redactor([token_of(settings), *secrets])
    # Every step has its own limit; this one is for what none of them covers.
    limit = sum(3 * (spec.start_timeout or settings.start_timeout) + _END_OF_AGENT for spec in specs.values())
    return Check("agent", partial(check_agents, specs, limits, redactor.text), limit)
