"""The state directory: real files, a real database, a real lock."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from bot.ops.doctor.finding import Finding, Verdict, ok, warn
from bot.ops.doctor.state import (
    Marked,
    StateLimits,
    check_database,
    check_modes,
    check_socket,
    check_space,
    check_state,
    check_strays,
    in_use,
    report,
    strays,
)
from bot.ops.instance import sole_instance
from pool.storage.database import connect, open_file
from pool.storage.steps import STEPS
from tests.bot.mcp.host import short_directory

OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL
HOLD = (
    "import sys; from pathlib import Path; from bot.ops.instance import sole_instance\n"
    "with sole_instance(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()\n"
)


@contextmanager
def held(state: Path) -> Iterator[int]:
    """A process that holds the state as a bot does."""
    with subprocess.Popen(
        [sys.executable, "-P", "-c", HOLD, str(state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        try:
            assert holder.stdout
            assert holder.stdout.readline() == b"held\n"
            yield holder.pid
        finally:
            holder.kill()


def kept(tmp_path: Path) -> Path:
    """A state directory as a bot leaves it."""
    state = tmp_path / "state"
    with sole_instance(state):
        open_file(state / "weft.db", connect, 1).close()
    return state


def contents(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir()}


def database(state: Path, limits: StateLimits = StateLimits()) -> Finding:  # noqa: B008
    before = contents(state)
    (found,) = check_database(state, limits)
    assert contents(state) == before
    assert found.subject == "database"
    return found


@pytest.mark.asyncio
async def test_a_sound_state_is_well_and_is_left_as_it_was(tmp_path: Path) -> None:
    """R6."""
    state = kept(tmp_path)
    before = contents(state)
    found = await check_state(state, tmp_path / ".env")
    assert [(finding.verdict, finding.subject) for finding in found] == [(OK, "space"), (OK, "database")]
    assert f", format {len(STEPS)}" in found[1].text
    assert contents(state) == before


@pytest.mark.asyncio
async def test_before_the_first_start_nothing_is_made(tmp_path: Path) -> None:
    found = await check_state(tmp_path / "deep" / "state", tmp_path / ".env")
    assert found[0].text.endswith(f"free at {tmp_path}")
    assert found[1] == ok("database", "none yet; the first start makes it")
    assert contents(tmp_path) == {}


def test_what_a_killed_bot_had_in_its_log_is_read_too(tmp_path: Path) -> None:
    """R6: and stays there for the next start."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    crash = (
        "import os, sys; from pathlib import Path; from pool.storage.database import connect, open_file\n"
        "open_file(Path(sys.argv[1]), connect, 1); os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-P", "-c", crash, str(state / "weft.db")], check=True, timeout=20)
    assert (state / "weft.db-wal").stat().st_size > 0
    found = database(state)
    assert (found.verdict, found.text.split(", ")[-1]) == (OK, f"format {len(STEPS)}")


def test_a_damaged_database_is_a_warning(tmp_path: Path) -> None:
    """R6: the start moves it aside."""
    state = kept(tmp_path)
    with (state / "weft.db").open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(8192))
    found = database(state)
    assert found.verdict is WARN
    assert "aside" in found.text


def test_what_is_no_database_is_a_warning(tmp_path: Path) -> None:
    """R6."""
    state = kept(tmp_path)
    (state / "weft.db").write_bytes(b"something else " * 100)
    found = database(state)
    assert found.verdict is WARN
    assert "aside" in found.text


def test_a_database_of_a_newer_version_fails(tmp_path: Path) -> None:
    """R6: the bot refuses it with 78."""
    state = kept(tmp_path)
    with closing(sqlite3.connect(state / "weft.db")) as raw:
        raw.execute("PRAGMA user_version = 99")
    found = database(state)
    assert found.verdict is FAIL
    assert "format 99" in found.text


def test_a_database_of_an_older_format_is_well(tmp_path: Path) -> None:
    state = kept(tmp_path)
    with closing(sqlite3.connect(state / "weft.db")) as raw:
        raw.execute("PRAGMA user_version = 0")
    found = database(state)
    assert found.verdict is OK
    assert "format 0, which the next start upgrades to" in found.text


def test_a_database_in_use_is_left_alone_and_its_user_named(tmp_path: Path) -> None:
    """R4."""
    state = kept(tmp_path)
    (state / "weft.db").write_bytes(b"not to be read")
    with held(state) as pid:
        assert database(state) == ok("database", f"in use by process {pid}")
    assert in_use(state) is None


def test_a_bot_can_start_after_the_lock_was_looked_at(tmp_path: Path) -> None:
    """R4."""
    state = kept(tmp_path)
    assert in_use(state) is None
    with sole_instance(state):
        pass


def test_a_database_that_is_too_large_or_too_slow_is_not_judged(tmp_path: Path) -> None:
    state = kept(tmp_path)
    assert database(state, StateLimits(copy=10)).verdict is WARN
    with closing(sqlite3.connect(state / "weft.db")) as raw:
        rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
        raw.execute(
            f"{rows} INSERT INTO prompts (message_id, thread_id, channel_id, author_id, started, shown) "
            "SELECT i, 1, 1, 1, 0, '' FROM n"
        )
        raw.commit()
    found = database(state, StateLimits(reading=0))
    assert (found.verdict, found.text) == (WARN, "not checked: reading it takes longer than 0 s")


def test_little_space_is_a_warning(tmp_path: Path) -> None:
    """R6."""
    assert check_space(tmp_path, 1).verdict is OK
    assert check_space(tmp_path, 1 << 60).verdict is WARN


@pytest.mark.parametrize("name", ["", "weft.db", "lock", "identity"])
def test_what_others_may_use_is_named(name: str, tmp_path: Path) -> None:
    """R6."""
    state = kept(tmp_path)
    assert list(check_modes(state, tmp_path / ".env")) == []
    (state / name).chmod(0o750 if not name else 0o604)
    (found,) = check_modes(state, tmp_path / ".env")
    assert (found.verdict, found.subject) == (WARN, "modes")
    assert f"{state / name} (0{'750' if not name else '604'})" in found.text


@pytest.mark.parametrize(
    ("mode", "text", "told"),
    [
        (0o644, "DISCORD_TOKEN=canary\n", True),
        (0o640, "DISCORD_TOKEN=canary\n", True),
        (0o600, "DISCORD_TOKEN=canary\n", False),
        (0o644, "DISCORD_TOKEN=\nWEFT_WORKSPACE=/w\n", False),
    ],
)
def test_a_token_that_others_may_read_is_told(mode: int, text: str, told: bool, tmp_path: Path) -> None:
    """R5."""
    path = tmp_path / ".env"
    path.write_text(text)
    path.chmod(mode)
    found = list(check_modes(tmp_path / "state", path))
    assert [finding.verdict for finding in found] == ([WARN] if told else [])
    assert "canary" not in "".join(finding.text for finding in found)


LEAVE = (
    "import os, subprocess, sys\n"
    "child = subprocess.Popen([sys.executable, '-S', '-c', 'input()', 'canary-argument'],"
    " stdin=0, stdout=-3, start_new_session=True)\n"
    "print(child.pid, flush=True); os._exit(0)\n"
)


@contextmanager
def orphan(**marks: str) -> Iterator[int]:
    """A process whose parent is gone; it ends with the block."""
    reader, writer = os.pipe()
    environment = {"PATH": os.environ["PATH"], "SECRET": "canary", **marks}
    parent = [sys.executable, "-S", "-c", LEAVE]
    done = subprocess.run(parent, stdin=reader, env=environment, stdout=subprocess.PIPE, check=True, timeout=20)
    pid = int(done.stdout)
    try:
        yield pid
    finally:
        os.close(reader)
        os.close(writer)
        with suppress(ProcessLookupError):  # it ends by itself when its input does
            os.kill(pid, signal.SIGKILL)


@contextmanager
def agent(**marks: str) -> Iterator[int]:
    """A process whose parent is this one; it ends with the block."""
    environment = {"PATH": os.environ["PATH"], **marks}
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, env=environment) as child:
        try:
            yield child.pid
        finally:
            child.kill()


async def told(state: Path, pid: int) -> list[Finding]:
    """Return what is told of one process: others on this machine may have strays of their own."""
    found = [finding for finding in await check_strays(state) if finding.text.startswith(f"process {pid} ")]
    assert "canary" not in "".join(finding.text for finding in found)
    return found


@pytest.mark.asyncio
async def test_what_an_earlier_run_left_behind_is_told(tmp_path: Path) -> None:
    """P9: neither arguments nor environment are."""
    with sole_instance(tmp_path) as identity:
        pass
    with orphan(WEFT_AGENT=uuid.uuid4().hex, WEFT_STATE=identity) as pid:
        (found,) = await told(tmp_path, pid)
    assert found.verdict is Verdict.WARN
    assert "python" in found.text
    assert "MiB, was left behind by a bot; the next start ends it" in found.text


@pytest.mark.asyncio
async def test_an_orphan_of_no_known_state_is_told(tmp_path: Path) -> None:
    with orphan(WEFT_AGENT=uuid.uuid4().hex) as pid:
        (found,) = await told(tmp_path, pid)
    assert found.text.endswith(f"belongs to no running bot; to end it: kill {pid}")


@pytest.mark.asyncio
async def test_an_agent_whose_bot_lives_is_no_stray(tmp_path: Path) -> None:
    with agent(WEFT_AGENT=uuid.uuid4().hex) as pid:
        assert await told(tmp_path, pid) == []


@pytest.mark.asyncio
async def test_a_daemon_of_an_agent_that_works_is_no_stray(tmp_path: Path) -> None:
    """P9: its agent's marker finds it when the agent ends."""
    marker = uuid.uuid4().hex
    with agent(WEFT_AGENT=marker), orphan(WEFT_AGENT=marker) as pid:
        assert await told(tmp_path, pid) == []


@pytest.mark.asyncio
async def test_while_a_bot_runs_its_agents_are_its_own(tmp_path: Path) -> None:
    """R4."""
    with held(tmp_path):
        identity = (tmp_path / "identity").read_text()
        with agent(WEFT_AGENT=uuid.uuid4().hex, WEFT_STATE=identity) as pid:
            assert await told(tmp_path, pid) == []
    with agent(WEFT_AGENT=uuid.uuid4().hex, WEFT_STATE=identity) as pid:
        assert len(await told(tmp_path, pid)) == 1


def marked(pid: int, agent: str = "a", state: str = "", *, owned: bool = False, age: float = 5) -> Marked:
    return Marked(pid, "agent", age, 5 * 1024 * 1024, agent, state, owned)


def test_all_of_a_state_without_a_bot_are_strays_whoever_their_parent_is() -> None:
    assert strays([marked(1, state="s", owned=True)], "s", running=False) == [marked(1, state="s", owned=True)]
    assert strays([marked(1, state="s", owned=True)], "s", running=True) == []
    assert strays([marked(1, state="t", owned=True)], "s", running=False) == []


@pytest.mark.parametrize(("age", "text"), [(5, "5 s"), (90, "2 min"), (7200, "2 h"), (3 * 86400, "3 d"), (-1, "0 s")])
def test_age_is_told_in_words(age: float, text: str) -> None:
    (found,) = report([marked(7, age=age)], "")
    assert found.text == f"process 7 (agent), {text} old, 5 MiB, belongs to no running bot; to end it: kill 7"


def test_many_strays_are_counted() -> None:
    found = report([marked(pid) for pid in range(1, 31)], "")
    assert len(found) == 21
    assert found[-1].text == "and 10 more"


def test_no_strays_is_well() -> None:
    assert [finding.verdict for finding in report([], "")] == [Verdict.OK]


def test_where_agents_will_reach_the_bot_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """M1"""
    with short_directory() as base:
        state = base / "state"
        assert check_socket(state, {}) == ok("socket", f"agents reach Weft at {state}/mcp/socket")
        assert not state.exists()
        there = check_socket(state, {"RUNTIME_DIRECTORY": str(base)})
        assert there == ok("socket", f"agents reach Weft at {base}/mcp-00000000/socket")
        assert check_socket(state, {}, unit=True).verdict is OK
        long = base / ("x" * 100)
        user = check_socket(long, {"XDG_RUNTIME_DIR": str(base)})
        assert user == ok("socket", f"agents reach Weft at {base}/weft-00000000/socket")
        monkeypatch.setattr("tempfile.tempdir", str(base))
        assert check_socket(long, {}) == warn(
            "socket",
            f"{long} can't hold the socket (too long, or no access): "
            f"agents reach Weft in a new one in {base} each time",
        )
        # Too long as well: then it is /tmp, which everybody has.
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("y" * 100)))
        assert check_socket(long, {}).text.endswith("agents reach Weft in a new one in /tmp each time")
