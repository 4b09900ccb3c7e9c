"""`weft state move`: into an empty place while no bot runs, with all that was there, and back."""

from __future__ import annotations

import logging
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
import structlog
from click.testing import CliRunner, Result

from bot.cli import main
from bot.ops.instance import AlreadyRunning, sole_instance
from bot.state import moving
from bot.state.moving import Held
from pool.storage import database
from pool.storage.operations import Bind, Notice, See
from pool.storage.postgres_lease import hold_lease
from pool.storage.postgres_ledger import open_database_store
from pool.storage.sessions import ClaimSession
from pool.store import KeptNotice, SeenPlace, SessionClaim
from tests import postgres
from tests.pool.samples import decision
from tests.pool.test_storage_operations import any_change, contents
from tests.postgres import rows
from tests.repeat import in_soak


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave the logging of this process as it was."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def move(*arguments: str, **settings: str) -> Result:
    return CliRunner().invoke(main, ["state", "move", "--env-file", "/dev/null", *arguments], env=settings)


def filled(directory: Path, seed: int = 1) -> Path:
    """Make a state directory with all kinds of rows in it, some of which PostgreSQL would not take as they are."""
    directory.mkdir()
    file = database.open_file(directory / "weft.db", database.connect, 1)
    rng = random.Random(seed)
    file.apply([any_change(rng) for _ in range(300)])
    file.apply([See((SeenPlace(1, 7),)), Notice(1, KeptNotice(1, 2)), ClaimSession(SessionClaim(9, "other", "{}"))])
    file.apply([Bind(1, (("agent", "a"),), 5)])
    (directory / "identity").write_text("f" * 32)
    with closing(file._raw.cursor()) as cursor:
        cursor.execute("UPDATE threads SET title = 'a' || char(0, 26, 48) || 'ü🧵' WHERE thread_id = 1")
        cursor.execute("UPDATE decisions SET at = 0.1 + 0.2")
    file.close()
    return directory


def every_row(directory: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(directory / "weft.db")) as raw:
        names = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: raw.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in sorted(names)}


@postgres.needed
@pytest.mark.parametrize("seed", [1, *in_soak(range(2, 8))])
def test_a_state_is_the_same_after_a_move_there_and_back(tmp_path: Path, seed: int) -> None:
    """R9: every value of every row, and what is counted up goes on from there."""
    url, source, back = postgres.fresh(), filled(tmp_path / "source", seed), tmp_path / "back"
    before = (source / "weft.db").read_bytes()
    done = move("--from", str(source), "--to", url)
    assert done.exit_code == 0, done.output
    total = sum(map(len, every_row(source).values()))
    assert done.output.startswith(f"Copied {total} rows (")
    assert "Next: set WEFT_DATABASE_URL to the new place, and start the bot. The old place is as it was." in done.output
    assert (source / "weft.db").read_bytes() == before
    assert rows(url, "SELECT identity FROM state") == [("f" * 32,)]
    done = move("--to", str(back), "--from", url)
    assert done.exit_code == 0, done.output
    assert f"set WEFT_STATE_DIR={back}" in done.output
    assert every_row(back) == every_row(source)
    assert seed > 1 or all(every_row(source).values()), "every table has rows"
    assert (back / "identity").read_text() == "f" * 32
    assert (back / "weft.db").stat().st_mode & 0o777 == 0o600
    file, old = (database.open_file(one / "weft.db", database.connect, 1) for one in (back, source))
    assert contents(file) == contents(old)
    file.close()
    old.close()

    async def goes_on() -> None:
        async with open_database_store(url) as store:
            await store.decided(decision(3)).value()
            await store.copied("another", 77).value()
        newest = rows(url, "SELECT entry = (SELECT max(entry) FROM sessions) FROM sessions WHERE thread_id = 77")
        assert newest == [(True,)]

    anyio.run(goes_on)


@postgres.needed
def test_a_place_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    """R9: nothing is lost to a mistake."""
    url, source = postgres.fresh(), filled(tmp_path / "source")
    settings = {"WEFT_STATE_DIR": str(source), "WEFT_DATABASE_URL": url}
    done = move(**settings)
    assert (done.exit_code, "Next: start the bot." in done.output) == (0, True)
    before = rows(url, "SELECT * FROM prompts ORDER BY 1")
    again = move(**settings)
    assert again.exit_code == 78
    assert "holds a state already (" in again.stderr
    assert "nothing was copied. Name an empty place" in again.stderr
    assert rows(url, "SELECT * FROM prompts ORDER BY 1") == before
    other = filled(tmp_path / "other", seed=2)
    kept = every_row(other)
    assert move("--from", str(source), "--to", str(other)).exit_code == 78
    assert every_row(other) == kept


@postgres.needed
def test_nothing_is_moved_while_a_bot_runs_on_either_place(tmp_path: Path) -> None:
    """R9, R4, R10"""
    url, source = postgres.fresh(), filled(tmp_path / "source")
    with sole_instance(source):
        done = move("--from", str(source), "--to", url)
        assert (done.exit_code, "another Weft is running on" in done.stderr) == (75, True)

    async def held() -> Result:
        async with hold_lease(url, "weft on another machine"):
            return await anyio.to_thread.run_sync(move, "--from", str(source), "--to", url)

    done = anyio.run(held)
    assert (done.exit_code, "weft on another machine works on" in done.stderr) == (75, True)
    assert move("--from", str(source), "--to", url).exit_code == 0


def test_a_directory_is_copied_into_another(tmp_path: Path) -> None:
    """R9"""
    source = filled(tmp_path / "source")
    assert move("--from", str(source), "--to", str(tmp_path / "other")).exit_code == 0
    assert every_row(tmp_path / "other") == every_row(source)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--from", "/no/such"], "name the place with --to, or set WEFT_DATABASE_URL"),
        (["--from", "/no/such", "--to", "/tmp/x"], "there is no /no/such/weft.db"),
        (["--from", "/no/such", "--to", "mysql://weft:canary@db/weft"], "--to: this is not the address of a"),
        pytest.param(
            ["--from", "postgresql://weft:canary@127.0.0.1:1/weft", "--to", "/tmp/x"],
            "the database at 127.0.0.1:1/weft can't be reached",
            marks=postgres.needed,
        ),
    ],
)
def test_what_cannot_be_moved_is_told_without_a_password(arguments: list[str], told: str) -> None:
    """R9, R5"""
    done = move(*arguments)
    assert (done.exit_code, told in done.stderr, "canary" in done.output) == (78, True, False)


def test_a_damaged_file_is_not_copied(tmp_path: Path) -> None:
    """R9, R6"""
    source = tmp_path / "source"
    source.mkdir()
    (source / "weft.db").write_bytes(b"no database" * 1000)
    done = move("--from", str(source), "--to", str(tmp_path / "other"))
    assert (done.exit_code, "the state file is damaged" in done.stderr) == (78, True)


def test_a_second_try_still_brings_the_id_by_which_agents_elsewhere_are_known(tmp_path: Path) -> None:
    """R9, P9: what a first try has left in the target does not count as a state of its own."""
    source, other = filled(tmp_path / "source"), tmp_path / "other"
    whole = (source / "weft.db").read_bytes()
    (source / "weft.db").write_bytes(b"no database" * 1000)
    assert move("--from", str(source), "--to", str(other)).exit_code == 78
    (source / "weft.db").write_bytes(whole)
    assert move("--from", str(source), "--to", str(other)).exit_code == 0
    assert (other / "identity").read_text() == "f" * 32


def test_a_source_on_which_a_bot_may_have_begun_meanwhile_is_not_taken_for_whole(tmp_path: Path) -> None:
    """R9, R10: one that was out of reach for longer than the lease on it."""
    source, other = filled(tmp_path / "source"), tmp_path / "other"
    other.mkdir()
    lost = Held("one", None, partial(moving._copy_of_file, source), is_ours=lambda: False)
    with pytest.raises(AlreadyRunning, match="may have started on one"):
        moving._copy(lost, Held("two", None, partial(moving._file, other)))
    assert set(map(len, every_row(other).values())) == {0}
