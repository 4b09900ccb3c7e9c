"""What the commands share: an option, and how they leave with a line for the person who must fix it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from click.core import ParameterSource

Command = TypeVar("Command", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)


def fail(*problems: str) -> NoReturn:
    """Print one line for each problem and leave with the exit code for what a restart can't fix."""
    from bot.config import EX_CONFIG

    leave(EX_CONFIG, *problems)


def leave(code: int, *problems: str) -> NoReturn:
    """Print one line for each problem and leave with ``code``."""
    # To stderr: what stdout has may be read by a script.
    for problem in problems:
        click.echo(f"weft: {problem}", err=True)
    sys.exit(code)


def _env_file(context: click.Context, parameter: click.Parameter, path: Path) -> Path:
    """Refuse a file that was asked for and can't be read; the default one need not be there.

    With 78, not 2: a service that finds its file gone or closed to it must not try again and again.
    """
    from bot.files import Unusable, read_text
    from bot.ops.supervisor import take_supervisor

    # Not by the path: somebody may name the default one, and then it has to be there.
    if context.get_parameter_source(parameter.name or "") is not ParameterSource.DEFAULT:
        try:
            read_text(path)
        except Unusable as exc:
            take_supervisor(os.environ).notifier.send(f"STATUS=--env-file: {exc}")
            fail(f"--env-file: {exc}")
    return path


def env_file_option(
    text: str = "Settings are read from here as well; the environment goes first.",
) -> Callable[[Command], Command]:
    """Return the option that names the file of settings; ``text`` is its help."""
    return click.option("--env-file", type=FILE, default=Path(".env"), show_default=True, callback=_env_file, help=text)
