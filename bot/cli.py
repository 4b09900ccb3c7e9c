"""The command line: ``weft run``, ``status``, ``demo``, ``sandbox``, ``doctor``, ``service``, and their exit codes.

0 done; 1 a crash, an outcome other than answered, or a bot that is not well; 2 wrong usage; 75 a second instance;
78 the configuration needs a person.
Commands import what they need when they run, so that ``weft --help`` answers at once.
"""

from __future__ import annotations

import faulthandler
import functools
import math
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from bot.service.unit import Plan

T = TypeVar("T")
PATH = click.Path(dir_okay=False, path_type=Path)


def fail(*problems: str) -> NoReturn:
    """Print one line for each problem and leave with the exit code that a restart can't heal."""
    from bot.config import EX_CONFIG

    for problem in problems:
        click.echo(f"weft: {problem}", err=True)
    sys.exit(EX_CONFIG)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="weft")
def main() -> None:
    """Put coding agents into Discord threads."""
    if sys.platform == "win32":
        fail("Windows is not supported: run Weft on Linux")


def _env_file(context: click.Context, parameter: click.Parameter, path: Path) -> Path:
    """Refuse a file that was asked for and is not there; the default one need not be."""
    asked = context.get_parameter_source(parameter.name or "") is not ParameterSource.DEFAULT
    if asked and not path.exists():
        raise click.BadParameter(f"{path} does not exist")
    return path


env_file_option = click.option(
    "--env-file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(".env"),
    show_default=True,
    callback=_env_file,
    help="Settings are read from here as well; the environment goes first.",
)


@main.command()
@env_file_option
@click.option("--token-stdin", is_flag=True, help="The first line of the standard input is the bot's token.")
def run(env_file: Path, token_stdin: bool) -> None:
    """Run the bot until SIGTERM or SIGINT."""
    from bot.config import ConfigError, load_environment, load_settings, preflight
    from bot.ops.notify import take_supervisor
    from bot.ops.secrecy import keep_to_itself

    keep_to_itself()
    supervisor = take_supervisor(os.environ)
    supervisor.notifier.extend()
    try:
        load = functools.partial(load_settings, env_file, _token(token_stdin))
        settings = load()
        wanted = preflight(settings, load_environment(env_file))
    except ConfigError as exc:
        supervisor.notifier.send(f"STATUS={exc}")
        fail(*exc.problems)
    from bot.app import run_bot
    from bot.log import log_crash

    sys.excepthook = log_crash
    faulthandler.enable(2)  # a watchdog's SIGABRT then shows where the bot hung
    _guarded(lambda: run_bot(settings, wanted, load, supervisor))


def _token(stdin: bool) -> str | None:
    """Take the token out of where it came from; None leaves it to the file of settings."""
    from bot.config import ConfigError, take_token
    from bot.ops.secrecy import take_line

    token = take_token(os.environ)
    if stdin and not (token := take_line(sys.stdin.buffer)):
        raise ConfigError("--token-stdin: there is no token on the standard input")
    return token


@main.command()
@click.option("--prompt", "prompt", metavar="TEXT", help="Post one message, print the thread, leave with its outcome.")
@click.option("--agent", "agent", metavar="COMMAND", help='A real agent, such as "opencode acp".')
@click.option(
    "--permission",
    type=click.Choice(["allow", "reject", "wait"]),
    default="allow",
    show_default=True,
    help="What the simulated owner presses when the agent asks (with --prompt).",
)
@click.option("--timeout", type=click.FloatRange(min=0.1), default=120.0, show_default=True, help="Seconds.")
def demo(prompt: str | None, agent: str | None, permission: str, timeout: float) -> None:
    """Try Weft without any account: a loopback Discord, the bot and an agent in this terminal."""
    from bot.demo.session import Permission, converse, one_prompt
    from bot.demo.terminal import text_problem

    if prompt is not None and (problem := text_problem(prompt)):
        raise click.BadParameter(problem, param_hint="--prompt")
    if math.isnan(timeout):
        raise click.BadParameter("not a number of seconds", param_hint="--timeout")
    argv = _words(agent) if agent is not None else None
    _guarded(
        (lambda: one_prompt(prompt, argv, Permission(permission), timeout))
        if prompt is not None
        else (lambda: converse(argv))
    )


@main.command("status")
@env_file_option
def tell_status(env_file: Path) -> None:
    """Ask the running bot how it is (WEFT_HEALTH); 0: well, 1: not, or no answer, 2: the setting is off."""
    from bot.ops.status import run_status

    _guarded(lambda: run_status(env_file))


@main.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 picks a free one.")
@click.option(
    "--rate-limits",
    type=click.Choice(["off", "real", "scaled"]),
    default="real",
    show_default=True,
    help="As Discord's.",
)
def sandbox(port: int, rate_limits: str) -> None:
    """Run the loopback Discord alone, to play with a bot by hand."""
    from bot.demo.standalone import serve_sandbox

    _guarded(lambda: serve_sandbox(port, rate_limits))


@main.command()
@env_file_option
@click.option("--offline", is_flag=True, help="Ask Discord nothing.")
@click.option("--json", "as_json", is_flag=True, help="An object for each finding, for scripts.")
def doctor(env_file: Path, offline: bool, as_json: bool) -> None:
    """Check machine, settings, state, agent and Discord, one line each."""
    from bot.ops.doctor import run_doctor
    from bot.ops.secrecy import keep_to_itself

    keep_to_itself()  # the agent that is tried runs beside a token as it does under `run`
    _guarded(lambda: run_doctor(env_file, offline=offline, as_json=as_json))


@main.group()
def service() -> None:
    """Run the bot as a service of systemd."""


own_option = click.option("--user", "own", is_flag=True, help="A service of your own, without root.")
plan_options = (
    own_option,
    click.option("--strict", is_flag=True, help="Take more away; see docs/operations.md for what that breaks."),
    env_file_option,
    click.option("--run-as", default="weft", show_default=True, help="The user of the service, unless it is your own."),
    click.option("--token-file", type=PATH, help="Holds the bot's token, instead of the settings; only root reads it."),
    click.option("--sealed-token", type=PATH, help="Holds it as systemd-creds has encrypted it; agents can read it."),
)


def _planned(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(plan_options):
        command = option(command)
    return command


@service.command()
@_planned
def show(own: bool, strict: bool, **files: Any) -> None:
    """Print what `install` would write."""
    from bot.service import unit
    from bot.service.install import Place

    plan, place = _plan(own, strict, **files), Place(own)
    click.echo(f"# {place.unit}\n{unit.unit(plan)}", nl=False)
    if strict:
        click.echo(f"\n# {place.strict}\n{unit.strict(plan)}", nl=False)


@service.command()
@_planned
@click.option("--now", is_flag=True, help="Start it, too.")
def install(own: bool, strict: bool, now: bool, **files: Any) -> None:
    """Write the unit and enable it, so that it starts with the machine."""
    from bot.service.install import Place, install

    plan, place = _plan(own, strict, **files), Place(own)
    _served(lambda: install(place, plan, with_strict=strict, now=now))
    click.echo(f"{place.unit}: installed and enabled" + (", starting" if now else ""))


@service.command()
@own_option
def uninstall(own: bool) -> None:
    """Stop the service and remove its unit; state and settings stay."""
    from bot.service.install import Place, uninstall

    place = Place(own)
    click.echo(f"{place.unit}: {'removed' if _served(lambda: uninstall(place)) else 'is not there'}")


@service.command()
@own_option
def status(own: bool) -> None:
    """Show what systemd knows of the service; the exit code is systemctl's."""
    from bot.service.install import Place, environment
    from bot.service.unit import NAME

    command = Place(own).command("status", "--no-pager", NAME)
    try:
        os.execvpe(command[0], command, environment())  # noqa: S606
    except OSError as exc:
        _leave(f"{command[0]} can't be run: {exc.strerror}")


def _plan(own: bool, strict: bool, env_file: Path, run_as: str, **token: Path | None) -> Plan:
    from bot.config import ConfigError
    from bot.service.install import make_plan

    if own and strict:
        raise click.UsageError("--strict needs a system service: a user's own systemd can't do most of it")
    try:
        return make_plan(env_file, None if own else run_as, **token)
    except ConfigError as exc:
        fail(*exc.problems)


def _served(work: Callable[[], T]) -> T:
    from bot.service.install import ServiceError

    try:
        return work()
    except ServiceError as exc:
        _leave(str(exc))


def _leave(problem: str) -> NoReturn:
    click.echo(f"weft: {problem}", err=True)
    sys.exit(1)


def _words(command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--agent") from exc


def _guarded(work: Callable[[], int]) -> NoReturn:
    """Leave with the code of ``work``; what a person has to mend is told in a line each, without a traceback."""
    from bot.config import EX_SECOND_INSTANCE, ConfigError
    from bot.ops.instance import AlreadyRunning

    try:
        code = work()
    except ConfigError as exc:
        fail(*exc.problems)
    except AlreadyRunning as exc:
        click.echo(f"weft: {exc}", err=True)
        code = EX_SECOND_INSTANCE
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
