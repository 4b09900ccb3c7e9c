"""``weft service``: shows, writes and removes the unit, and asks systemd for its status.

What is in the unit is decided in `bot.service.unit`; `bot.service.install` puts it into its place. Both are imported
when a command runs, so that ``weft --help`` answers at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bot.usage import FILE, env_file_option, fail, leave

if TYPE_CHECKING:
    from bot.service.unit import Plan

T = TypeVar("T")


@click.group()
def service() -> None:
    """Run the bot as a service of systemd."""


own_option = click.option("--user", "own", is_flag=True, help="A service of your own, without root.")
plan_options = (
    own_option,
    click.option("--strict", is_flag=True, help="Restrict it further; docs/operations.md says what that breaks."),
    env_file_option("The service's settings, and all of them: it does not see this shell's variables."),
    click.option("--run-as", default="weft", show_default=True, help="The user of the service, unless it is your own."),
    click.option("--token-file", type=FILE, help="Holds the bot's token, instead of the settings; only root reads it."),
    click.option("--sealed-token", type=FILE, help="Holds it as systemd-creds has encrypted it; agents can read it."),
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
@click.option("--now", is_flag=True, help="Start it as well.")
def install(own: bool, strict: bool, now: bool, **files: Any) -> None:
    """Write the unit and enable it.

    From then on it starts with the machine, or, if it is your own, with your first login.
    """
    from bot.service.install import Place, install

    plan, place = _plan(own, strict, **files), Place(own)
    _served(lambda: install(place, plan, with_strict=strict, now=now))
    click.echo(f"{place.unit}: installed and enabled" + (", starting" if now else ""))


@service.command()
@own_option
def uninstall(own: bool) -> None:
    """Stop the service and remove its unit.

    State and settings stay.
    """
    from bot.service.install import Place, uninstall

    place = Place(own)
    click.echo(f"{place.unit}: {'removed' if _served(lambda: uninstall(place)) else 'not installed'}")


@service.command()
@own_option
def status(own: bool) -> None:
    """Show what systemd knows of it.

    The exit code is systemctl's.
    """
    from bot.service.install import Place, environment
    from bot.service.unit import NAME

    command = Place(own).command("status", "--no-pager", NAME)
    try:
        os.execvpe(command[0], command, environment())  # noqa: S606
    except OSError as exc:
        leave(1, f"{command[0]} can't be run: {exc.strerror}")


def _plan(own: bool, strict: bool, env_file: Path, run_as: str, **token: Path | None) -> Plan:
    from bot.config import ConfigError
    from bot.service.install import make_plan

    if own and strict:
        raise click.UsageError("--strict needs a system service: your own systemd can't do most of it")
    try:
        return make_plan(env_file, None if own else run_as, **token)
    except ConfigError as exc:
        fail(*exc.problems)


def _served(work: Callable[[], T]) -> T:
    from bot.service.install import ServiceError

    try:
        return work()
    except ServiceError as exc:
        leave(1, str(exc))
