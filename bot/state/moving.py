"""Moving a state between a directory and a database, or between two of a kind, while nobody else works on either.

A directory is held by its lock, a database by the lease on it. The source is not changed: of a file a copy is read, and
a database in a transaction that may not write.
"""

from __future__ import annotations

import platform
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import click
import sqlalchemy as sa

from acp.errors import leaves
from bot.config import ConfigError, Settings, load_settings
from bot.files import user_name
from bot.log import configure_logging
from bot.ops.database_address import database_problem, database_secrets
from bot.ops.instance import DATABASE, IDENTITY, AlreadyRunning, sole_instance
from bot.preflight import NO_DRIVER, database_of
from bot.redaction import Redactor
from pool.storage import database, reading
from pool.storage.database import Database
from pool.storage.model import LeaseLost, StateTooOld, StorageFault, StorageLimits
from pool.storage.move import NotAllThere, NotEmpty, copy, refuse_rows

Opened = AbstractContextManager[sa.Connection]

_STARTED = "a bot may have started on {} meanwhile: nothing was copied"

PATIENCE = 25.0
"""Seconds that a lease is waited for: longer than one lasts that a killed bot has left behind."""


@dataclass(frozen=True, slots=True)
class Held:
    """A place that nobody else works on.

    Attributes:
        called: as people know it, without any secret.
        identity: the id of the state that is there, or None.
        adopt: takes over the id of a state that comes there.
        is_ours: whether nobody else can have begun to work on it by now.
    """

    called: str
    identity: str | None
    open: Callable[[], Opened]
    adopt: Callable[[str], None] = lambda _identity: None
    is_ours: Callable[[], bool] = lambda: True


def run_move(env_file: Path, source: str | None, target: str | None) -> None:
    """Copy the state, and say what was copied and what to do next.

    Raises:
        ConfigError: a place is none, or can't be used, or the target is not empty; nothing was changed.
        AlreadyRunning: a bot runs on one of them.
    """
    settings = load_settings(env_file)
    url = database_of(settings)
    source = source or str(settings.state_dir)
    if target is None and url is None:
        raise ConfigError("name the place with --to, or set WEFT_DATABASE_URL")
    target = target or url or ""
    # Before anything is opened: whatever a driver says of an address must not show its password.
    configure_logging("error", "auto", Redactor([*_secrets(source), *_secrets(target)]))
    for option, place in (("--from", source), ("--to", target)):
        if "://" in place and (problem := database_problem(place)):
            raise ConfigError(f"{option}: {problem}")
    try:
        copied = anyio.run(partial(_move, source, target))
    except BaseExceptionGroup as group:
        # Of the lease's task there is nothing to tell: the body's own error counts.
        raise leaves(group)[0] from None
    told = ", ".join(f"{name.replace('_', ' ')}: {count:,}" for name, count in copied.items() if count) or "nothing"
    click.echo(f"Copied {sum(copied.values()):,} rows ({told}).")
    click.echo(_next(target, settings))


def _secrets(place: str) -> list[str]:
    return database_secrets(place) if "://" in place else []


def _next(target: str, settings: Settings) -> str:
    if "://" not in target:
        todo = f"set WEFT_STATE_DIR={target} and no WEFT_DATABASE_URL, and start the bot"
    elif database_of(settings) == target:
        todo = "start the bot"
    else:
        todo = "set WEFT_DATABASE_URL to the new place, and start the bot"
    return f"Next: {todo}. The old place is as it was."


async def _move(source: str, target: str) -> dict[str, int]:
    # Both are held before anything is read, so that what is copied is one moment's state.
    async with _held(source, changes=False) as one, _held(target, changes=True) as other:
        try:
            return await anyio.to_thread.run_sync(_copy, one, other)
        except NotEmpty as exc:
            what = f"{other.called} holds a state already ({exc}): nothing was copied"
            raise ConfigError(f"{what}. Name an empty place, or use that one as it is") from exc
        except NotAllThere as exc:
            raise ConfigError(f"the copy in {other.called} was not complete and was given up ({exc})") from exc


def _copy(source: Held, target: Held) -> dict[str, int]:
    with _told(source), source.open() as here, _told(target), target.open() as there:
        refuse_rows(there)
        # Before the rows: killed in between, the next try finds no state here yet, but the id that belongs to it.
        if source.identity is not None:
            target.adopt(source.identity)
        copied = copy(here, there, source.identity)
        # Only now is it written. What a bot has added to the source since would be missing.
        if not source.is_ours():
            raise AlreadyRunning(_STARTED.format(source.called))
        return copied


@contextmanager
def _told(place: Held) -> Iterator[None]:
    try:
        yield
    except StateTooOld as exc:
        raise ConfigError(f"{place.called}: {exc}: start this version of the bot on it once") from exc
    except StorageFault as exc:
        raise ConfigError(f"{place.called}: {exc}") from exc
    except LeaseLost as exc:
        raise AlreadyRunning(_STARTED.format(place.called)) from exc


@asynccontextmanager
async def _held(place: str, *, changes: bool) -> AsyncIterator[Held]:
    if "://" in place:
        async with _held_database(place, changes=changes) as held:
            yield held
    else:
        with _held_directory(Path(place), changes=changes) as held:
            yield held


# --- a directory -----------------------------------------------------------------------------------------------------


@contextmanager
def _held_directory(directory: Path, *, changes: bool) -> Iterator[Held]:
    directory = directory.expanduser()
    if not changes and not (directory / DATABASE).exists():
        raise ConfigError(f"there is no {directory / DATABASE}: name the state directory of the bot")
    # Before it is held, which makes one.
    known = (directory / IDENTITY).exists()
    try:
        with sole_instance(directory) as identity:
            if not changes:
                yield Held(str(directory), identity, partial(_copy_of_file, directory))
                return
            try:
                yield Held(str(directory), None, partial(_file, directory), partial(_adopt, directory, known))
            except BaseException:
                # A copy that fails must neither leave a directory with the id of another state, nor with one that
                # keeps this id away at the next try.
                if not known:
                    (directory / IDENTITY).unlink(missing_ok=True)
                raise
    except OSError as exc:
        raise ConfigError(f"{directory} can't be used by {user_name()}: {exc.strerror}") from exc


@contextmanager
def _file(directory: Path) -> Iterator[sa.Connection]:
    file = database.open_file(directory / DATABASE, database.connect, StorageLimits().busy)
    with closing(file), file.transaction() as connection:
        yield connection


@contextmanager
def _copy_of_file(directory: Path) -> Iterator[sa.Connection]:
    opened = reading.opened(directory / DATABASE, in_use=False)
    with database.faults(), opened as raw, closing(Database(raw)) as file:
        file.check()
        # The copy, not the file: the old place stays good for the version that has used it.
        file.migrate()
        with file.transaction() as connection:
            yield connection


def _adopt(directory: Path, known: bool, identity: str) -> None:
    # Agents that the bot has left on other machines are known by it. Those on this one are by its own, if it has one.
    if not known:
        (directory / IDENTITY).write_text(identity)


# --- a database ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _held_database(url: str, *, changes: bool) -> AsyncIterator[Held]:
    try:
        from pool.storage.lease import LeaseRefused
        from pool.storage.postgres_lease import hold_lease
        from pool.storage.postgres_reading import examine
        from pool.storage.postgres_server import where
    except ImportError as exc:
        raise ConfigError(NO_DRIVER) from exc
    try:
        called = where(url)
        found = await anyio.to_thread.run_sync(examine, url)
    except StorageFault as exc:
        raise ConfigError(str(exc)) from exc
    if found.leader:
        raise AlreadyRunning(f"{found.leader} works on {called}: stop it, and try again in a few seconds")
    if found.missing:
        raise ConfigError(f"{called}: {found.missing}")
    with anyio.move_on_after(PATIENCE) as waiting:
        try:
            async with hold_lease(url, f"weft state move on {platform.node()}") as lease:
                # The patience is for the lease alone; copying may take longer.
                waiting.deadline = float("inf")
                open_ = partial(_database, url, lambda: lease.epoch, reading=not changes)
                yield Held(called, found.identity, open_, is_ours=lease.held)
        except LeaseRefused as exc:
            raise ConfigError(str(exc)) from exc
    if waiting.cancelled_caught:
        raise AlreadyRunning(f"somebody else works on {called}: stop the bots there")


@contextmanager
def _database(url: str, epoch: Callable[[], int], *, reading: bool) -> Iterator[sa.Connection]:
    from pool.storage.postgres import Postgres

    there = Postgres(url, StorageLimits(), epoch, reading=reading)
    with closing(there), there.transaction() as connection:
        yield connection
