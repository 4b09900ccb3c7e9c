"""What a bot keeps and leaves: its state directory, its socket, and processes that belong to no bot that runs (P9).

Of the directory: its room, who may read it, and whether the database is sound. Nothing in it is changed, and no process
is ended. Of a process: id, age, memory and program; neither arguments nor environment, which can hold secrets.

A database is read only while no bot runs on it, and then a copy of it is: opening the file itself would leave SQLite's
companions beside it, or take away those that a killed bot left. The lock is looked at for an instant only.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio.to_thread
import psutil
from dotenv import dotenv_values

from acp.shutdown import MARKER, is_alive
from bot.mcp.place import INSTANCE_CHARACTERS, NAME, candidates, temporary_directories
from bot.ops.address import fits
from bot.ops.doctor.finding import Finding, fail, ok, warn
from bot.ops.instance import DATABASE, IDENTITY, LOCK, STATE_MARKER
from pool.storage import database, steps
from pool.storage.model import StateTooNew, StorageFault

_LITTLE_SPACE = 500 * 1024 * 1024
_LARGEST_COPY = 1024 * 1024 * 1024
_READING = 30.0
_STEPS_BETWEEN_LOOKS = 100_000
_OTHERS = 0o077
_MIB = 1024 * 1024

_MOST = 20
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_REAPERS = frozenset({"systemd", "launchd", "init"})
_OUT_OF_SIGHT = (psutil.Error, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class StateLimits:
    """Bytes of free space below which it warns, bytes of the largest database that is read, seconds for reading it."""

    space: int = _LITTLE_SPACE
    copy: int = _LARGEST_COPY
    reading: float = _READING


async def check_state(
    state_dir: Path, env_file: Path, limits: StateLimits = StateLimits(), *, file: bool = True
) -> list[Finding]:
    """Look at everything that is kept, in a worker thread: a disk may be slow.

    Args:
        file: whether the database is a file there; of another one `bot.ops.doctor.database` says how it is.
    """
    look = partial(_look, state_dir, env_file, limits, file)
    return await anyio.to_thread.run_sync(lambda: list(look()), abandon_on_cancel=True)


def _look(state_dir: Path, env_file: Path, limits: StateLimits, file: bool) -> Iterator[Finding]:
    yield from check_modes(state_dir, env_file)
    existing = next(path for path in (state_dir, *state_dir.absolute().parents) if path.exists())
    yield check_space(existing, limits.space)
    try:
        yield from check_database(state_dir, limits) if file else ()
    except OSError as exc:
        yield warn("database", f"could not be checked: {exc}")


def check_space(directory: Path, least: int = _LITTLE_SPACE) -> Finding:
    """Say how much room there is."""
    free = shutil.disk_usage(directory).free
    text = f"{free // _MIB:,} MiB are free at {directory}"
    return (
        ok("space", text) if free >= least else warn("space", f"{text}: when it is full, state is kept in memory only")
    )


# --- who may read it ---------------------------------------------------------------------------------------------


def check_modes(state_dir: Path, env_file: Path) -> Iterator[Finding]:
    """Say what others than its owner may read: conversations in the state directory, the token in ``.env``."""
    loose = [f"{path} ({_mode(path):04o})" for path in _kept(state_dir) if _mode(path) & _OTHERS]
    if loose:
        yield warn("modes", f"others may use {', '.join(loose)}: chmod 700 the directory, 600 the files")
    if env_file.is_file() and _mode(env_file) & _OTHERS and dotenv_values(env_file).get("DISCORD_TOKEN"):
        yield warn("modes", f"{env_file} holds the token and others may read it: chmod 600 {env_file}")


def _kept(state_dir: Path) -> list[Path]:
    names = (LOCK, IDENTITY, DATABASE, *(DATABASE + suffix for suffix in database.COMPANIONS))
    return [path for path in (state_dir, *(state_dir / name for name in names)) if path.exists()]


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


# --- where agents reach the bot ---------------------------------------------------------------------------------


def check_socket(state_dir: Path, environment: Mapping[str, str], *, unit: bool = False) -> Finding:
    """Say where the socket for agents will lie.

    Args:
        unit: a unit runs the bot, which gives it a directory that is not there now.
    """
    if unit:
        return ok("socket", "agents reach Weft in the runtime directory of the unit")
    identity = state_dir / IDENTITY
    instance = identity.read_text() if identity.exists() else "0" * INSTANCE_CHARACTERS  # of the same length
    found = [each / NAME for each in candidates(environment, state_dir, instance)]
    usable = next((path for path in found if fits(path) and _can_be_made(path.parent)), None)
    if usable is not None:
        return ok("socket", f"agents reach Weft at {usable}")
    temporary = next((base for base in temporary_directories() if _can_be_made(base / "x")), None)
    if temporary is None:
        return warn(
            "socket", f"no directory can hold the socket, not even {tempfile.gettempdir()}: Weft will not start"
        )
    # Not a fault, but a sandbox has to be told, and cannot be.
    why = "too long, or no access"
    text = f"{state_dir} can't hold the socket ({why}): agents reach Weft in a new one in {temporary} each time"
    return warn("socket", text)


def _can_be_made(directory: Path) -> bool:
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


# --- the database ------------------------------------------------------------------------------------------------


def check_database(state_dir: Path, limits: StateLimits = StateLimits()) -> Iterator[Finding]:
    """Read the database through, unless a bot uses it."""
    path = state_dir / DATABASE
    if not path.exists():
        yield ok("database", "none yet; the first start makes it")
        return
    if (used := in_use(state_dir)) is not None:
        yield ok("database", used)
        return
    size = path.stat().st_size
    if size > limits.copy:
        yield warn("database", f"{size // _MIB:,} MiB are too large to be checked here")
        return
    finding = _read(path, limits.reading)
    # A bot that has started meanwhile may have changed the file while it was copied.
    used = in_use(state_dir)
    yield finding if used is None else ok("database", used)


def in_use(state_dir: Path) -> str | None:
    """Say that a bot runs on this state and which, or None if none does."""
    path = state_dir / LOCK
    if not path.exists():
        return None
    with path.open() as lock:
        try:
            # Shared, and given back at once: a bot that starts in this very instant would be refused.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = holder(path)
            return f"in use by process {pid}" if pid else "in use by a running bot"
    return None


def holder(lock: Path) -> int | None:
    """Return the process that has this file open, if it can be told."""
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and any(file.path == str(lock.resolve()) for file in process.open_files()):
                return process.pid
        except (psutil.Error, OSError):
            continue  # gone, or another user's
    return None


def _read(path: Path, seconds: float) -> Finding:
    with tempfile.TemporaryDirectory(prefix="weft-doctor-") as directory:
        copy = Path(directory) / path.name
        # With its log of changes: without it the copy may lack what was committed last.
        for suffix in ("", "-wal"):
            if database.beside(path, suffix).exists():
                shutil.copyfile(database.beside(path, suffix), database.beside(copy, suffix))
        try:
            with database.faults(), closing(database.connect(copy)) as raw:
                return _judge(raw, path, seconds)
        except StateTooNew as exc:
            return fail("database", f"{exc}: install the version that wrote it, or go back to a backup")
        except StorageFault as exc:
            return warn("database", f"{exc}: starting the bot will move {path} aside and begin a new one")


def _judge(raw: sqlite3.Connection, path: Path, seconds: float) -> Finding:
    deadline = time.monotonic() + seconds
    # SQLite asks this now and then while it works: nothing else could cut a check short.
    raw.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
    try:
        steps.refuse_newer(raw)
        # One fault is enough to know.
        found = raw.execute("PRAGMA integrity_check(1)").fetchone()
        version = raw.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.OperationalError:
        if time.monotonic() > deadline:
            return warn("database", f"not checked: reading it takes longer than {seconds:g} s")
        raise
    if found != ("ok",):
        return warn("database", f"damaged ({found[0]}): starting the bot will move {path} aside if it can't be read")
    newest = len(steps.STEPS)
    later = "" if version == newest else f", which the next start upgrades to {newest}"
    return ok("database", f"sound, {path.stat().st_size // 1024:,} KiB, format {version}{later}")


# --- processes that are left -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Marked:
    """A process that carries an agent's marker.

    Attributes:
        state: the state it belongs to, empty if it says none.
        owned: whether it descends from something that is neither marked nor the last resort of orphans.
    """

    pid: int
    name: str
    age: float
    memory: int
    agent: str
    state: str
    owned: bool


async def check_strays(state_dir: Path) -> list[Finding]:
    """Name the processes that no bot looks after."""
    marked = await anyio.to_thread.run_sync(lambda: list(_marked()), abandon_on_cancel=True)
    identity = _identity(state_dir)
    running = in_use(state_dir) is not None
    return report(strays(marked, identity, running), identity)


def _identity(state_dir: Path) -> str:
    path = state_dir / IDENTITY
    return path.read_text().strip() if path.exists() else ""


def strays(marked: Iterable[Marked], identity: str, running: bool) -> list[Marked]:
    """Return those that belong to nobody.

    All of this state do when no bot runs on it. Of other states, and while one runs, all those of an agent of which
    nothing descends from a living process any more: a daemon alone may have left its parent while its agent works.
    """
    every = list(marked)
    owned = {process.agent for process in every if process.owned}
    own = {process.pid for process in every if identity and process.state == identity and not running}
    return [process for process in every if process.pid in own or process.agent not in owned]


def report(found: list[Marked], identity: str) -> list[Finding]:
    """Return a line for each, and how many more there are."""
    if not found:
        return [ok("strays", "no processes were left behind")]
    more = [warn("strays", f"and {len(found) - _MOST} more")] if len(found) > _MOST else []
    return [warn("strays", _told(process, identity)) for process in found[:_MOST]] + more


def _told(process: Marked, identity: str) -> str:
    what = f"process {process.pid} ({process.name}), {_age(process.age)} old, {process.memory // 1024**2:,} MiB"
    if identity and process.state == identity:
        return f"{what}, was left behind by a bot; the next start ends it"
    return f"{what}, belongs to no running bot; to end it: kill {process.pid}"


def _age(seconds: float) -> str:
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"


# --- looking at processes ----------------------------------------------------------------------------------------


def _marked() -> Iterator[Marked]:
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            # Not ourselves: the doctor may be called by an agent.
            if environment.get(MARKER) and process.pid != os.getpid() and is_alive(process):
                yield _described(process, environment[MARKER], environment.get(STATE_MARKER, ""))
        except _OUT_OF_SIGHT:
            continue  # gone meanwhile, or another user's


def _described(process: psutil.Process, agent: str, state: str) -> Marked:
    return Marked(
        pid=process.pid,
        name=process.name(),
        age=time.time() - process.create_time(),
        memory=process.memory_info().rss,
        agent=agent,
        state=state,
        owned=_is_owned(process, agent),
    )


def _is_owned(process: psutil.Process, agent: str) -> bool:
    for parent in process.parents():
        if not _carries(parent, agent):
            # Orphans go to the first process, or to a service manager that has asked for them.
            return parent.pid != 1 and parent.name() not in _REAPERS
    return False


def _carries(process: psutil.Process, agent: str) -> bool:
    try:
        return process.environ().get(MARKER) == agent
    except _OUT_OF_SIGHT:
        return False
