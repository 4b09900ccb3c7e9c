"""A command that is run to its end: what is known of it then, and that nothing of it is left, whatever it did."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import psutil
import pytest

from acp.command import KEPT, CommandEnd, run_command
from acp.engine import LaunchSpec
from acp.errors import AgentSpawnError, SpawnFailure
from acp.shutdown import StopLimits

pytestmark = pytest.mark.asyncio

QUICK = StopLimits(term=0.2)
CHILD = (
    "import subprocess; child = subprocess.Popen(['sleep', '60'], start_new_session={own}); "
    "print(child.pid, flush=True)"
)


def spec(directory: Path, *argv: str, **env: str) -> LaunchSpec:
    return LaunchSpec(argv, str(directory), {"PATH": os.environ["PATH"], **env})


def python(directory: Path, program: str, **env: str) -> LaunchSpec:
    return spec(directory, sys.executable, "-c", program, **env)


async def ended(launch: LaunchSpec, seconds: float = 30) -> CommandEnd:
    with anyio.fail_after(30):
        return await run_command(launch, seconds, QUICK)


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_what_it_says_on_both_outputs_is_kept_in_order(tmp_path: Path) -> None:
    """W2"""
    program = "import os\nfor n in range(6): os.write(1 + n % 2, b'%d ' % n)\nprint(os.getcwd(), os.environ['KEY'])"
    end = await ended(python(tmp_path, program, KEY="value"))
    assert (end.succeeded, end.output) == (True, f"0 1 2 3 4 5 {tmp_path} value\n")


async def test_only_the_end_of_what_it_says_is_kept_and_how_it_ended(tmp_path: Path) -> None:
    """W2"""
    end = await ended(python(tmp_path, f"print('x' * {3 * KEPT} + 'the end'); raise SystemExit(3)"))
    assert end.exit is not None
    assert (end.succeeded, end.exit.describe()) == (False, "exit status 3")
    assert (len(end.output), end.output[-8:]) == (KEPT, "the end\n")


async def test_it_has_no_input_to_wait_for(tmp_path: Path) -> None:
    """W2: nobody would answer."""
    assert (await ended(spec(tmp_path, "cat"))).succeeded


@pytest.mark.parametrize("own_session", [False, True])
async def test_what_it_leaves_running_is_ended_with_it(tmp_path: Path, own_session: bool) -> None:
    """W2, P9: also what holds its outputs."""
    end = await ended(python(tmp_path, CHILD.format(own=own_session)))
    assert end.succeeded
    assert not lives(int(end.output))


async def test_its_time_is_limited(tmp_path: Path) -> None:
    """W2: also of what ignores the polite signal."""
    program = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{CHILD.format(own=True)}\nsignal.pause()"
    end = await ended(python(tmp_path, program), seconds=1.0)
    assert (end.exit, end.succeeded) == (None, False)
    assert not lives(int(end.output))


async def test_a_cancel_ends_it(tmp_path: Path) -> None:
    """W2"""
    told = tmp_path / "told"
    program = f"import os, signal; open('{told}.new', 'w').write(str(os.getpid())); os.rename('{told}.new', '{told}')"
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_command, python(tmp_path, f"{program}\nsignal.pause()"), 60.0, QUICK)
            while not told.exists():  # noqa: ASYNC110  another process makes it
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
    assert not lives(int(told.read_text()))


async def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    """W2"""
    with pytest.raises(AgentSpawnError, match="no-such-program could not be started") as caught:
        await ended(spec(tmp_path, "no-such-program"))
    assert caught.value.failure is SpawnFailure.NOT_FOUND
