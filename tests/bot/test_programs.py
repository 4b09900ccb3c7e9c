"""Programs that run for a moment leave nothing behind, however that moment ends."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import anyio
import psutil
import pytest

from bot.programs import running
from tests.acp.children import gone

pytestmark = pytest.mark.asyncio

# Starts a child in the background that ignores SIGHUP and SIGTERM, and tells its pid.
LEAVES_A_CHILD = """
import subprocess, sys
code = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 15)]; print(flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
"""
SAYS_BYE = """
import signal, sys, time
def bye(*_):
    open(sys.argv[1], "w").write("bye")
    sys.exit(0)
signal.signal(signal.SIGTERM, bye)
print("ready", flush=True)
time.sleep(600)
"""


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-c", code, *arguments]


async def line_of(process: anyio.abc.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.receive()).decode().strip()


@pytest.mark.parametrize("waits", [True, False], ids=["at its end", "given up"])
async def test_what_a_program_has_started_ends_with_it(waits: bool) -> None:
    more = "" if waits else "import time; time.sleep(600)"
    async with running(python(LEAVES_A_CHILD + more)) as process:
        child = int(await line_of(process))
        if waits:
            assert await process.wait() == 0
    assert process.returncode == (0 if waits else -signal.SIGKILL)
    await gone(child)


@pytest.mark.parametrize("patience", [0.0, 30.0])
async def test_it_may_put_things_in_order_first_if_somebody_has_the_patience(tmp_path: Path, patience: float) -> None:
    said = tmp_path / "said"
    with anyio.CancelScope() as scope:
        async with running(python(SAYS_BYE, str(said)), patience=patience) as process:
            assert await line_of(process) == "ready"
            scope.cancel()
            await process.wait()
    assert scope.cancelled_caught
    assert process.returncode == (0 if patience else -signal.SIGKILL)
    assert said.exists() is bool(patience)


async def test_a_start_that_is_given_up_leaves_no_process() -> None:
    before = {one.pid for one in psutil.Process().children()}
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with running(python("import time; time.sleep(600)")) as process:
            await process.wait()
    assert {one.pid for one in psutil.Process().children()} <= before


async def test_a_program_that_is_not_there_is_told() -> None:
    with pytest.raises(FileNotFoundError):
        async with running(["/nowhere/at/all"]):
            pytest.fail("it has started")
