"""``weft init`` from the first look to the doctor's report; what is asked is in `bot.setup.asking`."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from bot.agents.checks import fixed_part
from bot.config import TOKEN_VARIABLE, ConfigError, load_environment, read_settings
from bot.files import refusal
from bot.log import configure_logging
from bot.ops.doctor import run_doctor
from bot.ops.doctor.finding import harmless
from bot.preflight import token_of
from bot.redaction import Redactor
from bot.setup.answers import Answers
from bot.setup.asking import Conversation
from bot.setup.cautions import cautions
from bot.setup.options import Options, Present, answers_without_asking
from bot.setup.portal import Portal
from bot.setup.texts import agents_text, env_text
from bot.setup.writing import Change, directory_fault, present_settings, present_text, write

_INTERRUPTED = 130


def run_init(env_file: Path, options: Options, *, asks: bool) -> int:
    """Ask or take the options, write, and return the doctor's exit code; 1 if the person does not want it, 130 left.

    Raises:
        ConfigError: something is missing or wrong; nothing was written then.
    """
    configure_logging("error", "auto", Redactor())  # as for the doctor, which starts the agent in the same way
    present = _look(env_file)
    written = False
    try:
        if asks:
            conversation = Conversation(options, present)
            answers, invitation = conversation.answers(), conversation.account.invitation
        else:
            answers, invitation = answers_without_asking(options, present), ""
        changes = _changes(present, answers)
        for caution in cautions(env_file, answers.workspace, changes):
            click.echo(caution.line())
        if not _agreed(changes, answers, options, asks=asks):
            click.echo("Nothing was written.")
            return 1
        _write(changes, answers)
        written = True
        return _report(present, answers, options, invitation)
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nThe files are written; `weft doctor` checks them." if written else "\nNothing was written.")
        return _INTERRUPTED


def _look(env_file: Path) -> Present:
    """Return what is there.

    Raises:
        ConfigError: no file can be put there, or one that is there can't be read or would not be understood.
    """
    # Before anything is asked: nobody should answer five steps for nothing.
    if problem := directory_fault(env_file):
        raise ConfigError(problem)
    # For its errors: what could not be kept must be known before the first question.
    present_settings(env_file)
    present = Present(env_file, read_settings(env_file).settings, load_environment(env_file))
    present_text(present.agents_file)
    return present


def _changes(present: Present, answers: Answers) -> list[Change]:
    """Return the files that would not stay as they are, ``weft.toml`` first: `.env` alone may leave no agent."""
    changes = []
    if answers.needs_file:
        changes.append(Change(present.agents_file, present_text(present.agents_file), agents_text(answers)))
    old = present_settings(present.env_file)
    changes.append(Change(present.env_file, old, env_text(answers, old or "")))
    return [one for one in changes if one.old != one.new]


def _agreed(changes: Sequence[Change], answers: Answers, options: Options, *, asks: bool) -> bool:
    for change in changes:
        click.echo(f"\n{change.path}: {'new' if change.old is None else 'changed; the old one is kept beside it'}")
        for line in change.difference([answers.token]):
            click.echo(f"  {harmless(line)}")
    replaced = [change.path for change in changes if change.old is not None]
    if not asks:
        # Nobody can be asked, so nothing that is there is touched unless --yes says so.
        if replaced and not options.yes:
            raise ConfigError(
                *(f"{path} is there already: --yes has it changed, the old one is kept" for path in replaced)
            )
        return True
    return options.yes or not changes or click.confirm("\nWrite this?", default=True)


def _write(changes: Sequence[Change], answers: Answers) -> None:
    fixed = fixed_part(answers.workspace)
    # Made now and not when it was named: until here everything can be left as it was.
    if not fixed.exists():
        try:
            fixed.mkdir(parents=True)
        except OSError as exc:
            raise ConfigError(refusal(fixed, exc)) from exc
        click.echo(f"Made {fixed}.")
    for copy in write(changes, datetime.now()):  # noqa: DTZ005  a file's name for people, in their time
        click.echo(f"Kept the old one as {copy}.")
    for change in changes:
        click.echo(f"Wrote {change.path}.")


def _report(present: Present, answers: Answers, options: Options, invitation: str) -> int:
    for name, value in answers.settings().items():
        # The token is no longer in the environment; a run from this shell would find it there first, though.
        if name != TOKEN_VARIABLE and os.environ.get(name) not in (None, "", value):
            click.echo(f"{name} is set in this shell, which overrides the file: unset it.", err=True)
    click.echo("\nThe doctor's report:")
    # From the file, as the bot will read it: what was answered may not be what counts.
    code = run_doctor(present.env_file, offline=options.offline)
    if not invitation and not options.offline:
        invitation = Portal(present.api, token_of(read_settings(present.env_file).settings)).account().invitation
    _next(present.env_file, invitation, healthy=code == 0)
    return code


def _next(env_file: Path, invitation: str, *, healthy: bool) -> None:
    weft = _program()
    where = "" if env_file == Path(".env") else f" --env-file {shlex.quote(str(env_file))}"
    click.echo("\nNext:" if healthy else f"\nFirst fix what says FAIL, then `{weft} doctor{where}`. Next:")
    if invitation:
        click.echo(f"  invite the bot:  {invitation}")
    click.echo(f"  run it:          {weft} run{where}   (then mention the bot in a channel)")
    click.echo(f"  keep it running: {weft} service install --user --now{where}")


def _program() -> str:
    """Return how this program was called, as far as a shell finds it that way again."""
    called = Path(sys.argv[0])
    found = shutil.which(called.name)
    return str(called) if called.name == "weft" and (found is None or Path(found) != called.absolute()) else "weft"
