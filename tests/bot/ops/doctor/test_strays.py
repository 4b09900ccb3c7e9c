"""Processes that a bot left behind: real ones, that the test leaves behind and ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bot.ops.doctor.finding import Finding, Verdict
from bot.ops.doctor.strays import Marked, check_strays, report, strays
from bot.ops.instance import sole_instance
from tests.bot.ops.doctor.test_state import held

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
    assert "MiB, was left behind; the next start ends it" in found.text


@pytest.mark.asyncio
async def test_an_orphan_of_no_known_state_is_told(tmp_path: Path) -> None:
    with orphan(WEFT_AGENT=uuid.uuid4().hex) as pid:
        (found,) = await told(tmp_path, pid)
    assert found.text.endswith(f"belongs to no bot that runs: kill {pid}")


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
    assert found.text == f"process 7 (agent), {text} old, 5 MiB, belongs to no bot that runs: kill 7"


def test_many_strays_are_counted() -> None:
    found = report([marked(pid) for pid in range(1, 31)], "")
    assert len(found) == 21
    assert found[-1].text == "and 10 more"


def test_no_strays_is_well() -> None:
    assert [finding.verdict for finding in report([], "")] == [Verdict.OK]
