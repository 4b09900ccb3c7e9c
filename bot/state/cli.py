"""``weft state move``: what it is given, and what it says; `bot.state.moving` does it."""

from __future__ import annotations

from pathlib import Path

import click

from bot.usage import env_file_option, fail, leave


@click.group()
def state() -> None:
    """Handle what the bot keeps."""


@state.command()
@env_file_option()
@click.option("--from", "source", metavar="PLACE", help="Default: the state directory of the settings.")
@click.option("--to", "target", metavar="PLACE", help="Default: the WEFT_DATABASE_URL of the settings.")
def move(env_file: Path, source: str | None, target: str | None) -> None:
    """Copy a state into an empty place, while no bot runs on either.

    A place is a state directory, or the address of a PostgreSQL database. What is in the first one stays there.
    """
    # In here: `weft --help` has to answer without the database's library.
    from bot.config import EX_SECOND_INSTANCE, ConfigError
    from bot.ops.instance import AlreadyRunning
    from bot.state.moving import run_move

    try:
        run_move(env_file, source, target)
    except ConfigError as exc:
        fail(*exc.problems)
    except AlreadyRunning as exc:
        leave(EX_SECOND_INSTANCE, str(exc))
