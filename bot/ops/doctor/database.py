"""The database that keeps the state, if one does: whether it can be reached and used. Nothing in it is changed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio.to_thread

from bot.config import Settings
from bot.ops.doctor.finding import Finding, fail, ok, warn
from bot.ops.instance import DATABASE
from bot.preflight import NO_DRIVER, database_of
from pool.storage.model import StorageFault


async def check_server(settings: Settings) -> list[Finding]:
    """Look at the database, in a worker thread; nothing is said where the state is in a file."""
    url = database_of(settings)
    if url is None:
        return []
    look = partial(_look, url, settings.called("WEFT_DATABASE_URL"), settings.state_dir)
    # Abandoned where it hangs: the other checks come next, and the thread ends with the process.
    return await anyio.to_thread.run_sync(lambda: list(look()), abandon_on_cancel=True)


def _password_file(url: str) -> str:
    """Return why the driver passes over the password file of an address, of which it says nothing; or ""."""
    for path in map(Path, parse_qs(urlsplit(url).query).get("passfile", ())):
        try:
            mode = path.stat().st_mode
        except OSError as exc:
            return f"; passfile: {path}: {exc.strerror}"
        # As libpq has it, which then goes on without a password.
        if mode & 0o077:
            return f"; passfile: {path} is not used while others may read it: chmod 600 {path}"
    return ""


def _look(url: str, called: str, state_dir: Path) -> Iterator[Finding]:
    try:
        from pool.storage.postgres import newest
        from pool.storage.postgres_reading import examine
    except ImportError:
        yield fail("database", f"{called}: {NO_DRIVER}")
        return
    try:
        found = examine(url)
    except StorageFault as exc:
        yield fail("database", f"{called}: {exc}{_password_file(url)}")
        return
    # First: of a format that it does not know, this version can judge nothing else.
    if found.format > newest():
        what = f"the database has format {found.format}, and this version knows formats up to {newest()}"
        yield fail("database", f"{what}: install the version that wrote it, or go back to a backup")
        return
    if found.missing:
        yield fail("database", f"{found.missing}: make it the owner of {found.where}, on the server that takes changes")
        return
    tables = f"format {found.format}" if found.format else "no tables yet, which the first start makes"
    later = "" if found.format in (0, newest()) else f", which the next start upgrades to {newest()}"
    used = f"; {found.leader} works on it" if found.leader else ""
    yield ok("database", f"PostgreSQL {found.server} at {found.where}, {tables}{later}{used}")
    if not found.durable:
        yield warn("database", "the server has fsync off: what it has committed may be gone after a crash")
    if not found.format and (state_dir / DATABASE).exists():
        yield warn("database", f"{state_dir / DATABASE} is not used any more: `weft state move` copies what is in it")
