"""``weft init``: its options; everything else is imported when it runs."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import click

from bot.usage import FILE, fail, leave


def _names(_context: click.Context, _parameter: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    if wrong := [name for name in names if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*\*?", name)]:
        raise click.BadParameter(f"{wrong[0]!r} is not the name of a variable")
    return names


@click.command()
@click.option(
    "--env-file", type=FILE, default=Path(".env"), show_default=True, help="Written; weft.toml lies beside it."
)
@click.option(
    "--token-stdin", is_flag=True, help="The first line of the standard input is the token; nothing is asked."
)
@click.option(
    "--agent", "agents", multiple=True, metavar="[NAME=]COMMAND", help='Such as "opencode acp"; several may be.'
)
@click.option(
    "--agent-env", multiple=True, metavar="NAME", callback=_names, help="A variable that agents get, such as a key's."
)
@click.option("--workspace", default="", metavar="DIR", help="Where agents work; made if it is not there.")
@click.option("--project", "projects", multiple=True, metavar="[NAME=]DIR", help="A git repository; several may be.")
@click.option("--base", default="", metavar="BRANCH", help="Where the projects' branches begin; found if not given.")
@click.option("--allow-user", "users", multiple=True, metavar="ID|NAME", help="Who may use the bot beside its owner.")
@click.option("--allow-role", "roles", multiple=True, metavar="ID|NAME", help="Whose members may use it.")
@click.option(
    "--approver-role", "approvers", multiple=True, metavar="ID|NAME", help="Whose members may approve for all."
)
@click.option("--health", metavar="ADDRESS", help="127.0.0.1:PORT or unix:/PATH, for `weft status` and monitoring.")
@click.option("--offline", is_flag=True, help="Ask Discord nothing.")
@click.option("--yes", is_flag=True, help="Change files that are there; the old ones are kept beside them.")
@click.option("--non-interactive", is_flag=True, help="Ask nothing: options say it all, and what is there already.")
@click.option("--examples", type=FILE, metavar="DIR", help="Only copy the example settings and the pages to DIR.")
def init(
    env_file: Path,
    token_stdin: bool,
    non_interactive: bool,
    examples: Path | None,
    agents: tuple[str, ...],
    **given: Any,
) -> None:
    """Set Weft up: ask, check each answer, write .env.

    The token is asked for without being shown, or taken from --token-stdin or DISCORD_TOKEN; it is never an option.
    """
    from bot.config import ConfigError
    from bot.ops.hardening import deny_process_inspection

    deny_process_inspection()  # the agent that is tried runs beside a token
    try:
        if examples is not None:
            from bot.setup.examples import copy_examples

            copied = copy_examples(examples)
            click.echo(f"Copied {len(copied)} files to {examples}; what was there already is as it was.")
            return
        asks = not (non_interactive or token_stdin)
        if asks and not (sys.stdin.isatty() and sys.stdout.isatty()):
            leave(2, "init asks questions: run it in a terminal, or give --non-interactive and options (--help)")
        from bot.setup.command import run_init
        from bot.setup.options import Options

        token = _token(token_stdin)
        code = run_init(env_file, Options(token=token, agents=agents, **given), asks=asks)
    except ConfigError as exc:
        fail(*exc.problems)
    sys.exit(code)


def _token(stdin: bool) -> str:
    from bot.config import ConfigError, take_token
    from bot.ops.hardening import take_line

    token = take_token(os.environ)
    if stdin and not (token := take_line(sys.stdin.buffer)):
        raise ConfigError("--token-stdin: the standard input is empty; its first line must be the token")
    return token or ""
