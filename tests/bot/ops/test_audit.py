"""``weft audit``: what it prints, of a bot that runs and of one that does not, and what it says when it can't."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bot.cli import main
from bot.ops.audit import by_whom, since_of, table
from bot.ops.instance import DATABASE, sole_instance
from pool.storage import steps
from pool.storage.durable import open_store
from pool.store import Decision
from tests.pool.samples import decision

NOW = 1_764_000_000.0


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    import time

    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("WEFT_STATE_DIR", str(tmp_path))
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def audit(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["audit", *arguments])


async def keep(folder: Path, *decisions: Decision) -> None:
    async with open_store(folder / DATABASE) as store:
        for one in decisions:
            store.decided(one)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


EARLY = decision(1, asker_name="alice \x1b[2J", thread_id=77)
LATE = decision(2, decided_by="timeout", person_id=None, person_name=None, option="No", outcome="expired", kind="edit")


@pytest.mark.asyncio
async def test_decisions_are_printed_the_oldest_first_and_leave_the_state_as_it_is(tmp_path: Path) -> None:
    """C5: as a table for people, which nothing in it can steer, and as JSON with ids that no reader rounds."""
    added = decision(3, kind="rule", outcome="kept", rule="npm test", thread_id=5)
    await keep(tmp_path, EARLY, LATE, added)
    before = contents(tmp_path)
    shown = audit("--since", "2025-11-24T16:00")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == [
        "TIME                 OUTCOME  BY              ASKED BY    THREAD  WHAT",
        "2025-11-24 16:00:01  allowed  bob ü🧵          alice �[2J  77      execute: rm -r build/1",
        "2025-11-24 16:00:02  expired  nobody in time  alice       1       edit: rm -r build/2",
        "2025-11-24 16:00:03  kept     bob ü🧵          alice       5       rule: npm test",
    ]
    lines = [json.loads(line) for line in audit("--since", "2025-11-24", "--json").stdout.splitlines()]
    assert [(one["at"], one["thread_id"], one["outcome"]) for one in lines] == [
        ("2025-11-24T16:00:01.000+00:00", "77", "allowed"),
        ("2025-11-24T16:00:02.000+00:00", "1", "expired"),
        ("2025-11-24T16:00:03.000+00:00", "5", "kept"),
    ]
    assert (lines[0]["person_id"], lines[1]["person_id"], lines[1]["option"]) == ("4", None, "No")
    assert audit("--since", "2025-11-24", "--thread", "77", "--json").stdout.count("\n") == 1
    assert audit("--thread", "6").stdout.startswith("No decisions in thread 6 since ")
    long_ago = audit("--thread", "6", "--since", "999999w")
    assert long_ago.stdout == "No decisions in thread 6 since 1970-01-01 00:00:00.\n"
    assert contents(tmp_path) == before


@pytest.mark.asyncio
async def test_the_decisions_of_a_bot_that_runs_are_there_at_once(tmp_path: Path) -> None:
    """C5: and it can go on writing."""
    with sole_instance(tmp_path):
        async with open_store(tmp_path / DATABASE) as store:
            await store.decided(EARLY).value()
            assert "rm -r build/1" in audit("--since", "2025-11-24").stdout
            await store.decided(LATE).value()
            assert audit("--since", "2025-11-24", "--json").stdout.count("\n") == 2
            assert store.trouble == ""


@pytest.mark.asyncio
async def test_what_can_not_be_read_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C5"""
    path = tmp_path / DATABASE
    missing = audit()
    assert (missing.exit_code, missing.stdout) == (78, "")
    assert f"there is no {path}: name the state directory" in missing.stderr
    await keep(tmp_path)
    for version, advice in ((99, "use the version that wrote it"), (5, "start this version of the bot once")):
        with closing(sqlite3.connect(path)) as other:
            other.execute(f"PRAGMA user_version = {version}")
        refused = audit()
        assert (refused.exit_code, advice in refused.stderr) == (78, True), refused.stderr
    path.write_bytes(b"no database" * 100)
    damaged = audit()
    assert (damaged.exit_code, "the state file is damaged" in damaged.stderr) == (78, True)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("bot.ops.audit.read_decisions", refuse)
    assert "run this as the user that the bot runs as" in audit().stderr
    wrong = audit("--since", "yesterday")
    assert (wrong.exit_code, "write 30m, 12h, 7d, 4w, or a date" in wrong.stderr) == (2, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7d", NOW - 7 * 86400), ("90m", NOW - 5400), ("2w", NOW - 14 * 86400), ("2025-11-24T16:00", NOW)],
)
def test_a_time_is_a_span_or_a_date(text: str, expected: float) -> None:
    """C5"""
    assert since_of(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "7", "d7", "-7d", "tomorrow", "9999999d", "99999-01-01"])
def test_other_words_are_no_time(text: str) -> None:
    """C5"""
    with pytest.raises(ValueError, match="is not a time"):
        since_of(text, NOW)


def test_the_table_says_who_or_what_decided() -> None:
    """C5"""
    found = [
        by_whom(decision(decided_by="rule", rule="execute: npm test", person_name=None)),
        by_whom(decision(decided_by="mode", rule="deny", person_name=None)),
        by_whom(decision(decided_by="cancel", person_name=None, reason="the bot stops")),
        by_whom(decision(decided_by="cancel", person_name="bob", reason="the turn ended")),
    ]
    assert found == ["rule execute: npm test", "mode deny", "- (the bot stops)", "bob (the turn ended)"]
    assert len(list(table([]))) == 1


def test_the_first_format_with_decisions_is_known() -> None:
    """C5, R6"""
    makes = [number for number, step in enumerate(steps.STEPS, 1) if any("TABLE decisions" in line for line in step)]
    assert makes == [steps.DECISIONS_SINCE]
