"""Ending a process and all it has started: the escalation, its limits, and what carries a mark."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import psutil
import pytest

from acp import shutdown
from acp.process import AgentProcess
from acp.shutdown import StopLimits, StopStage, end_strays, end_tree
from tests.acp.children import ENV, QUICK_STOP, lines_of, python, with_a_shell
from tests.agents import alive

PATIENT = StopLimits(eof=20.0, term=20.0, kill=5.0)

READ_TO_END = "import sys; sys.stdin.read()"
IGNORE_EOF = "import sys, time; print('up', flush=True); time.sleep(60)"
IGNORE_TERM = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"

DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("pids", "w").write(f"{os.getpid()}\\n")
        for fd in (0, 1, 2):
            os.close(fd)
        time.sleep(60)
    os._exit(0)
os.wait()
sys.stdin.read()
"""


@pytest.mark.asyncio
async def test_an_agent_that_obeys_the_end_of_its_input_is_not_signalled(tmp_path: Path) -> None:
    """P9."""
    process = await AgentProcess.start(python(READ_TO_END, tmp_path))
    with anyio.fail_after(30):
        report = await process.stop(PATIENT)
    assert report.stage is StopStage.EOF
    assert (await process.wait()).returncode == 0


@pytest.mark.asyncio
async def test_an_agent_that_ignores_the_end_of_its_input_gets_term(tmp_path: Path) -> None:
    """P9."""
    process = await AgentProcess.start(python(IGNORE_EOF, tmp_path))
    with anyio.fail_after(30):
        await process.stdout.receive()
        report = await process.stop(StopLimits(eof=0.1, term=20.0, kill=5.0))
    assert report.stage is StopStage.TERM
    assert (await process.wait()).returncode == -signal.SIGTERM


@pytest.mark.asyncio
async def test_an_agent_that_ignores_term_gets_kill(tmp_path: Path) -> None:
    """P9."""
    process = await AgentProcess.start(python(IGNORE_TERM, tmp_path))
    with anyio.fail_after(30):
        await process.stdout.receive()
        report = await process.stop(StopLimits(eof=0.1, term=0.1, kill=2.0))
    assert report.stage is StopStage.KILL
    assert report.leaked == ()
    assert (await process.wait()).returncode == -signal.SIGKILL


@pytest.mark.asyncio
async def test_a_shell_in_a_session_of_its_own_without_our_marker_is_found_by_descent(tmp_path: Path) -> None:
    """P9."""
    environment, pipes = "{'PATH': '/bin:/usr/bin'}", "stdin=-3, stdout=-3, stderr=-3"
    spec = with_a_shell(tmp_path, READ_TO_END, environment=environment, pipes=pipes)
    process = await AgentProcess.start(spec)
    with anyio.fail_after(30):
        [shell] = await lines_of(tmp_path / "pids", 1)
        assert alive(int(shell))
        await process.stop(QUICK_STOP)
    assert not alive(int(shell))


@pytest.mark.asyncio
async def test_a_daemon_that_is_nobodys_descendant_is_found_by_the_marker(tmp_path: Path) -> None:
    """P9."""
    process = await AgentProcess.start(python(DAEMON, tmp_path))
    with anyio.fail_after(30):
        [daemon] = await lines_of(tmp_path / "pids", 1)
        found = {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
        assert int(daemon) not in found
        await process.stop(QUICK_STOP)
    assert not alive(int(daemon))


@pytest.mark.asyncio
async def test_what_a_dead_agent_left_behind_is_ended_too(tmp_path: Path) -> None:
    """P9."""
    process = await AgentProcess.start(with_a_shell(tmp_path, "os.kill(os.getpid(), 9)"))
    with anyio.fail_after(30):
        await process.wait()
        [shell] = await lines_of(tmp_path / "pids", 1)
        report = await process.stop(PATIENT)
    assert report.stage is StopStage.TERM
    assert not alive(int(shell))


@pytest.mark.asyncio
async def test_processes_of_another_agent_are_left_alone(tmp_path: Path) -> None:
    """O4, P9."""
    one = await AgentProcess.start(python(READ_TO_END, tmp_path))
    other = await AgentProcess.start(python(READ_TO_END, tmp_path))
    with anyio.fail_after(30):
        await one.stop(QUICK_STOP)
        assert other.exit() is None
        assert alive(other.pid)
        await other.stop(QUICK_STOP)


@pytest.mark.asyncio
async def test_what_an_earlier_run_left_is_found_by_the_mark_of_that_run(tmp_path: Path) -> None:
    """P9."""
    spec = python(READ_TO_END, tmp_path)
    ours = await AgentProcess.start(replace(spec, env={**ENV, "RUN": str(tmp_path)}))
    other = await AgentProcess.start(replace(spec, env={**ENV, "RUN": f"{tmp_path}2"}))
    with anyio.fail_after(30):
        report = await end_strays("RUN", str(tmp_path), PATIENT)
        assert report.stage is StopStage.TERM
        assert [alive(ours.pid), alive(other.pid)] == [False, True]
        await ours.stop(QUICK_STOP)
        await other.stop(QUICK_STOP)


@pytest.mark.asyncio
async def test_stopping_twice_at_once_is_stopping_once(tmp_path: Path) -> None:
    """P9."""
    process = await AgentProcess.start(python(READ_TO_END, tmp_path))
    reports = []

    async def stop() -> None:
        reports.append(await process.stop(QUICK_STOP))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop)
            tasks.start_soon(stop)
    assert reports[0] is reports[1]


@pytest.mark.asyncio
async def test_a_cancelled_stop_goes_on_to_its_end(tmp_path: Path) -> None:
    """P9."""
    process = await AgentProcess.start(python(IGNORE_TERM, tmp_path))
    with anyio.fail_after(30):
        await process.stdout.receive()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await process.stop(StopLimits(eof=0.1, term=0.1, kill=2.0))
    assert not alive(process.pid)


@pytest.mark.asyncio
async def test_starting_and_stopping_leaves_no_open_file(tmp_path: Path) -> None:
    """P9."""
    counts = []
    with anyio.fail_after(30):
        for _ in range(3):
            process = await AgentProcess.start(python(READ_TO_END, tmp_path))
            await process.stop(QUICK_STOP)
            counts.append(psutil.Process().num_fds())
    assert counts == counts[:1] * 3


@pytest.mark.asyncio
async def test_a_reused_process_id_is_not_signalled(tmp_path: Path) -> None:
    """P9."""
    process = await AgentProcess.start(python(READ_TO_END, tmp_path))
    namesake = psutil.Process(process.pid)
    vars(namesake)["_ident"] = (process.pid, 1.0)
    assert shutdown.send_signal([namesake], signal.SIGKILL) == 0
    assert not shutdown.is_alive(namesake)
    with anyio.fail_after(30):
        await process.stop(PATIENT)
        assert (await process.wait()).returncode == 0


def test_a_marker_that_nothing_carries_finds_nothing() -> None:
    """P9."""
    assert shutdown.carriers("no such marker") == shutdown.carriers("") == frozenset()


@pytest.mark.asyncio
@pytest.mark.parametrize("linux", [True, False])
async def test_a_process_in_the_middle_of_an_exec_is_found_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linux: bool
) -> None:
    """P9: its environment reads as empty for a moment; whoever looks then must look again."""
    process = await AgentProcess.start(python(READ_TO_END, tmp_path))
    read, opened, empty = psutil.Process.environ, os.open, [True, True]

    def environ(self: psutil.Process) -> dict[str, str]:
        return {} if self.pid == process.pid and empty and empty.pop() else read(self)

    def open_file(path: str, flags: int) -> int:
        return opened(os.devnull if path == f"/proc/{process.pid}/environ" and empty and empty.pop() else path, flags)

    monkeypatch.setattr(psutil, "LINUX", linux)
    monkeypatch.setattr(psutil.Process, "environ", environ)
    monkeypatch.setattr(os, "open", open_file)
    assert {found.pid for found in shutdown.carriers(process.marker)} == {process.pid}
    assert empty == []
    with anyio.fail_after(30):
        await process.stop(PATIENT)
        await process.wait()


def test_a_process_that_is_gone_is_in_no_list() -> None:
    """P9."""
    assert shutdown.find(2**22 + 1) == frozenset()


@pytest.mark.asyncio
async def test_processes_that_appear_while_others_are_killed_are_killed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """P9: the lists go on until two agree."""
    one, two = psutil.Process(os.getpid()), psutil.Process(os.getppid())
    lists = [{one}, {one}, {two}, set(), set()]
    killed = []
    monkeypatch.setattr(shutdown, "survey", lambda *_: frozenset(lists.pop(0)))
    monkeypatch.setattr(shutdown, "is_alive", lambda _: False)
    monkeypatch.setattr(shutdown, "send_signal", lambda members, number: killed.append((number, set(members))))
    with anyio.fail_after(30):
        report = await end_tree(frozenset(), "marker", QUICK_STOP, anyio.lowlevel.checkpoint)
    assert report.leaked == ()
    assert lists == []
    kills = [members for number, members in killed if number is signal.SIGKILL]
    assert kills[:2] == [{one}, {two}]


@pytest.mark.asyncio
async def test_what_cannot_be_ended_is_reported_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """P5, P9."""
    stuck = psutil.Process(os.getpid())
    monkeypatch.setattr(shutdown, "survey", lambda *_: frozenset({stuck}))
    monkeypatch.setattr(shutdown, "send_signal", lambda *_: 0)
    with anyio.fail_after(30):
        report = await end_tree(frozenset(), "marker", StopLimits(0, 0, 0.05), anyio.lowlevel.checkpoint)
    assert report.stage is StopStage.KILL
    assert report.leaked_pids() == (os.getpid(),)


def test_the_limits_of_a_stop_add_up_to_five_seconds() -> None:
    """P9."""
    limits = StopLimits()
    assert limits.eof + limits.term + limits.kill == 5.0


ROOT = Path(__file__).parents[2]
LOOK = """
import anyio, sys
from acp.shutdown import StopLimits, end_strays
report = anyio.run(end_strays, "WEFT_STATE", sys.argv[1], StopLimits(eof=20, term=20, kill=5))
print(report.stage.value, report.leaked_pids())
"""


@pytest.mark.parametrize(
    ("started_by", "stage"), [([], "gone"), (["sh", "-c", '"$@"; true', "sh"], "term")], ids=["alone", "by a stray"]
)
def test_a_bot_that_a_stray_started_does_not_end_itself(started_by: list[str], stage: str) -> None:
    """P9: an agent that starts the next bot hands its mark on, and is the bot's ancestor as well."""
    mark = uuid.uuid4().hex
    done = subprocess.run(
        [*started_by, sys.executable, "-c", LOOK, mark],
        cwd=ROOT,
        env={**os.environ, "WEFT_STATE": mark},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == f"{stage} ()\n", done.stderr
