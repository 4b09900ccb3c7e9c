"""What the doctor and `weft audit` say of a state that is in PostgreSQL."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import anyio
import anyio.to_thread
import psycopg
from click.testing import CliRunner, Result
from pydantic import SecretStr

from bot.cli import main
from bot.config import Settings
from bot.ops.doctor.database import check_server
from bot.ops.doctor.finding import Finding
from pool.storage.postgres_ledger import open_database_store
from tests import postgres
from tests.pool.samples import decision

pytestmark = postgres.needed


def found(url: str, state_dir: Path) -> list[str]:
    settings = Settings(_env_file=None, database_url=SecretStr(url), state_dir=state_dir)
    findings: list[Finding] = anyio.run(functools.partial(check_server, settings))
    return [finding.line() for finding in findings]


def test_a_database_that_can_be_used_is_described(tmp_path: Path) -> None:
    """R9, R10: without tables, with them, and while somebody works on it."""
    url = postgres.fresh()
    (tmp_path / "weft.db").touch()
    first = found(url, tmp_path)
    assert "PostgreSQL 1" in first[0]
    assert first[0].startswith("ok    database")
    assert first[0].endswith("/postgres, no tables yet, which the first start makes")
    assert "fsync off" in first[1], "the tests' server is quick, and may lose everything"
    assert "`weft state move`" in first[2]
    assert postgres.rows(url, "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()") == [(0,)]

    async def make() -> None:
        async with open_database_store(url):
            pass

    anyio.run(make)
    with psycopg.connect(url, autocommit=True) as raw:
        raw.execute(
            "CREATE TABLE leadership (epoch bigint PRIMARY KEY, holder text, released boolean, until timestamptz)"
        )
        raw.execute("INSERT INTO leadership VALUES (4, 'weft@one', false, now() + interval '1 hour')")
    assert found(url, tmp_path)[0].endswith(", format 12"), "the server's clock was set back since"
    postgres.rows(url, "UPDATE leadership SET until = now() + interval '15 s' RETURNING 1")
    line = found(url, tmp_path)[0]
    assert line.endswith(", format 12; weft@one works on it")


def test_what_keeps_a_bot_from_a_database_is_named_with_what_to_do(tmp_path: Path) -> None:
    """R9: nobody answers, no such database, no rights, a newer version."""
    there = postgres.server()
    with psycopg.connect(there.url(), autocommit=True) as raw:
        raw.execute("DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    url = postgres.fresh()
    reader = url.replace("user=weft", "user=reader")
    assert "can't be reached" in found("postgresql://weft:canary@127.0.0.1:1/weft", tmp_path)[0]
    assert "there is no such database" in found(there.url("nothing"), tmp_path)[0]
    assert "no schema for its tables" in found(there.url(schema="nowhere"), tmp_path)[0]
    with psycopg.connect(url, autocommit=True) as raw:
        raw.execute("GRANT USAGE ON SCHEMA " + url.partition("search_path%3D")[2].partition("&")[0] + " TO reader")
        assert "the user may make no tables there" in found(reader, tmp_path)[0]
        raw.execute("CREATE TABLE state (single boolean, format bigint, identity text)")
        raw.execute("INSERT INTO state VALUES (true, 99, 'x')")
    assert "format 99, and this version knows formats up to 12: install the version" in found(url, tmp_path)[0]
    told = [*found(url, tmp_path), *found("postgresql://weft:canary@127.0.0.1:1/weft", tmp_path)]
    assert "canary" not in "".join(told)
    assert all(line.startswith("FAIL  database") for line in told)


def audit(url: str, tmp_path: Path) -> Result:
    env = {"WEFT_DATABASE_URL": url, "WEFT_STATE_DIR": str(tmp_path)}
    return CliRunner().invoke(main, ["audit", "--since", "2020-01-01", "--json"], env=env)


def test_decisions_are_read_out_of_a_database_beside_the_bot(tmp_path: Path) -> None:
    """C5, R9: nothing is changed there, and no tables are made."""
    url = postgres.fresh()
    untouched = audit(url, tmp_path)
    assert (untouched.exit_code, "start this version of the bot once" in untouched.stderr) == (78, True)

    async def decide() -> None:
        async with open_database_store(url) as store:
            await store.decided(decision(1)).value()
            await store.decided(decision(2)).value()
            done = await anyio.to_thread.run_sync(audit, url, tmp_path)
        assert [json.loads(line)["what"] for line in done.stdout.splitlines()] == ["rm -r build/1", "rm -r build/2"]

    anyio.run(decide)
    away = audit("postgresql://weft:canary@127.0.0.1:1/weft", tmp_path)
    assert (away.exit_code, "`weft doctor` looks closer" in away.stderr, "canary" in away.output) == (78, True, False)


def test_a_password_file_that_is_passed_over_is_named(tmp_path: Path) -> None:
    """R9: the driver says nothing of it, and the server only that the password is wrong."""
    url, file = "postgresql://weft@127.0.0.1:1/weft?passfile=", tmp_path / "pgpass"
    assert found(f"{url}{file}", tmp_path)[0].endswith(f"passfile: {file}: No such file or directory")
    file.touch(0o644)
    assert found(f"{url}{file}", tmp_path)[0].endswith(f"others may read it: chmod 600 {file}")
    file.chmod(0o600)
    assert found(f"{url}{file}", tmp_path)[0].endswith("can't be reached")
