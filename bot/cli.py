"""The command line: ``weft run``, ``status``, ``audit``, ``demo``, ``sandbox``, ``doctor``, and their exit codes.

``weft init`` is `bot.setup.cli`, ``weft service`` is `bot.service.cli`, ``weft state`` is `bot.state.cli`; ``weft mcp``
is for agents.

0 done; 1 a crash, an outcome other than answered, or a bot that is not healthy; 2 wrong usage; 75 a second instance;
78 the configuration needs a person.
Commands import what they need when they run, so that ``weft --help`` answers at once.
"""

from __future__ import annotations

import faulthandler
import functools
import gc
import math
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import click

from bot.service.cli import service
from bot.setup.cli import init
from bot.state.cli import state
from bot.usage import env_file_option, fail, leave


def _tell_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from bot.version import full

        click.echo(f"weft {full()}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_tell_version,
    help="Say which Weft this is.",
)
def main() -> None:
    """Put coding agents into Discord threads."""
    if sys.platform == "win32":
        fail("Windows is not supported: run Weft on Linux")


@main.command()
@env_file_option()
@click.option("--token-stdin", is_flag=True, help="The first line of the standard input is the bot's token.")
def run(env_file: Path, token_stdin: bool) -> None:
    """Run the bot until SIGTERM or SIGINT."""
    from bot.ops.hardening import deny_process_inspection
    from bot.ops.init import SHORTEST, part_from_init

    # First of all: the token may be in the environment that this process was started with (R5).
    deny_process_inspection()
    part_from_init(SHORTEST)  # before what else is imported: the first process of a container keeps none of it
    from bot.config import ConfigError, load_settings
    from bot.ops.supervisor import take_supervisor
    from bot.preflight import checked_settings

    supervisor = take_supervisor(os.environ)
    supervisor.notifier.extend()
    try:
        token = _token(token_stdin)
        settings, wanted = checked_settings(env_file, token)
    except ConfigError as exc:
        supervisor.notifier.send(f"STATUS={exc}")
        fail(*exc.problems)
    from bot.life import run_bot
    from bot.log import log_crash

    # Python would print what nobody caught, with the secrets that are in it.
    sys.excepthook = log_crash
    faulthandler.enable(2)  # a watchdog's SIGABRT then shows where the bot hung
    load = functools.partial(load_settings, env_file, token)
    _guarded(lambda: run_bot(settings, wanted, load, supervisor))


def _token(stdin: bool) -> str | None:
    """Take the token out of where it came from; None leaves it to the file of settings."""
    from bot.config import ConfigError, take_token
    from bot.ops.hardening import take_line

    # In any case: it has to leave the environment even if the standard input has another.
    token = take_token(os.environ)
    if stdin and not (token := take_line(sys.stdin.buffer)):
        raise ConfigError("--token-stdin: the standard input is empty; its first line must be the token")
    return token


@main.command()
@click.option("--prompt", "prompt", metavar="TEXT", help="Post one message, print the thread, leave with its outcome.")
@click.option("--agent", "agent", metavar="COMMAND", help='A real agent, such as "opencode acp".')
@click.option(
    "--permission",
    type=click.Choice(["allow", "reject", "wait"]),
    default="allow",
    show_default=True,
    help="What the simulated owner presses when the agent asks, a question too (with --prompt).",
)
@click.option("--timeout", type=click.FloatRange(min=0.1), default=120.0, show_default=True, help="Seconds.")
@click.option("--terminal", is_flag=True, help="Talk to it in this terminal, without a page.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the page; 0 picks a free one.")
@click.option("--no-open", is_flag=True, help="Only print the address, open no browser.")
def demo(
    prompt: str | None, agent: str | None, permission: str, timeout: float, terminal: bool, port: int, no_open: bool
) -> None:
    """Try Weft without any account.

    Runs a loopback Discord, the bot and an agent on this machine, with a page in the browser to talk to them.
    """
    if prompt is None and not terminal:
        argv = _words(agent) if agent is not None else None
        _light(lambda: _show_page(argv, port, no_open))
    from bot.demo.session import Permission, converse, one_prompt
    from bot.demo.terminal import text_problem

    if prompt is not None and (problem := text_problem(prompt)):
        raise click.BadParameter(problem, param_hint="--prompt")
    # A range lets it through: no comparison with it is true.
    if math.isnan(timeout):
        raise click.BadParameter("not a number of seconds", param_hint="--timeout")
    argv = _words(agent) if agent is not None else None
    _guarded(
        (lambda: one_prompt(prompt, argv, Permission(permission), timeout))
        if prompt is not None
        else (lambda: converse(argv))
    )


def _show_page(argv: tuple[str, ...] | None, port: int, no_open: bool) -> int:
    from bot.demo.page import show_page

    return show_page(argv, port, open_browser=not no_open)


@main.command("status")
@env_file_option()
def tell_status(env_file: Path) -> None:
    """Show how the running bot is doing.

    It is asked at the address in WEFT_HEALTH. The exit code is 0 if it is healthy, 1 if it is not or does not answer,
    and 2 without the setting.
    """
    from bot.ops.status import run_status

    _guarded(lambda: run_status(env_file))


@main.command()
@env_file_option()
@click.option("--since", default="7d", show_default=True, metavar="TIME", help="30m, 12h, 7d, 4w, or a date.")
@click.option("--thread", type=click.IntRange(min=1), metavar="ID", help="Only those of this thread.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each decision, for scripts.")
def audit(env_file: Path, since: str, thread: int | None, as_json: bool) -> None:
    """Show what was decided about what agents asked.

    It is read out of the state, whether the bot runs or not; the oldest decision comes first.
    """
    from bot.ops.audit import run_audit

    _guarded(lambda: run_audit(env_file, since, thread, as_json=as_json))


@main.command()
def mcp() -> None:
    """Serve an agent with what it can do in Discord.

    Agents start this themselves, once for each session: it speaks MCP over the standard input and output, and reaches
    the bot at the socket in WEFT_MCP_SOCKET, as the session that WEFT_MCP_TOKEN belongs to.
    """
    from bot.mcp.protocol import SOCKET_VARIABLE, TOKEN_VARIABLE
    from bot.ops.hardening import deny_process_inspection

    deny_process_inspection()  # or any process of this user would read the token out of /proc
    socket, token = os.environ.get(SOCKET_VARIABLE), os.environ.pop(TOKEN_VARIABLE, None)
    if not socket or not token:
        fail(f"{SOCKET_VARIABLE} and {TOKEN_VARIABLE} are not set: agents start this by themselves")
    gc.disable()  # most of the start is imports, of which nothing is garbage: a tenth of it
    from bot.mcp.server import run_server

    gc.enable()
    run_server(socket, token)


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
    """Run the loopback Discord alone.

    For a bot that you start by hand, and people whom you play.
    """
    from bot.demo.standalone import serve_sandbox

    _guarded(lambda: serve_sandbox(port, rate_limits))


@main.command()
@env_file_option()
@click.option("--offline", is_flag=True, help="Skip the checks that ask Discord.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each finding, for scripts.")
def doctor(env_file: Path, offline: bool, as_json: bool) -> None:
    """Check machine, settings, agents and Discord."""
    from bot.ops.doctor import run_doctor
    from bot.ops.hardening import deny_process_inspection

    deny_process_inspection()  # the agent that is tried runs beside a token as it does under `run`
    _guarded(lambda: run_doctor(env_file, offline=offline, as_json=as_json))


main.add_command(init)
main.add_command(service)
main.add_command(state)


def _words(command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--agent") from exc


def _light(work: Callable[[], int]) -> NoReturn:
    """Leave with the code of ``work``, which tells by itself what a person must fix: nothing is imported for that."""
    try:
        code = work()
    except KeyboardInterrupt:
        # 128 and the number of SIGINT, as shells have it.
        code = 130
    sys.exit(code)


def _guarded(work: Callable[[], int]) -> NoReturn:
    """Leave with the code of ``work``; what a person must fix is printed, a line each, without a traceback."""
    from bot.config import EX_SECOND_INSTANCE, ConfigError
    from bot.ops.instance import AlreadyRunning

    try:
        code = work()
    except ConfigError as exc:
        fail(*exc.problems)
    except AlreadyRunning as exc:
        leave(EX_SECOND_INSTANCE, str(exc))
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
