"""A command that is run in the place of an agent: the end of what it said is kept, and nothing outlives it.

It is started as an agent is (`acp.process`), with nothing on its stdin, and ended as one is (`acp.shutdown`). There is
no state.
"""

from __future__ import annotations

import subprocess
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace

import anyio
import anyio.abc
import anyio.lowlevel
import structlog

from acp.engine import LaunchSpec
from acp.errors import AgentExit
from acp.process import spawn_error
from acp.shutdown import MARKER, StopLimits, end_tree, find

KEPT = 64 * 1024
"""Bytes of what a command says that are kept: its last ones, of both its outputs together."""

_POLL = 0.05
_LAST_WORDS = 0.5  # seconds for what is still in the pipe of a command that has ended
_CLOSE = 0.5
_READ_SIZE = 256 * 1024
_CLOSED = (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CommandEnd:
    """How a command ended.

    Attributes:
        exit: None if its time was up.
        output: the end of what it said, at most `KEPT` bytes.
    """

    exit: AgentExit | None
    output: str

    @property
    def succeeded(self) -> bool:
        """Whether it did what it was to do."""
        return self.exit is not None and self.exit.returncode == 0


async def run_command(spec: LaunchSpec, seconds: float, limits: StopLimits = StopLimits()) -> CommandEnd:  # noqa: B008
    """Run a command, and end all that it has started: at its end, after so many seconds, or when cancelled.

    Raises:
        AgentSpawnError: it could not be started; ``failure`` says why.
    """
    marker, said = uuid.uuid4().hex, bytearray()
    with anyio.CancelScope(shield=True):  # a spawn cut short would leave a process that nobody knows
        try:
            process = await anyio.open_process(
                spec.argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                # Into one pipe, or nobody could tell what was said before what.
                stderr=subprocess.STDOUT,
                cwd=spec.cwd,
                env={**spec.env, MARKER: marker},
                start_new_session=True,
            )
        except (OSError, ValueError) as exc:
            raise spawn_error(spec, exc) from exc
    root, ended, drained = find(process.pid), None, anyio.Event()
    log.info("command.started", pid=process.pid)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_keep_end, process, said, drained)
            with anyio.move_on_after(seconds):
                # Polled: what it leaves running may hold the pipe for ever, and waiting with it.
                while (code := process.returncode) is None:  # noqa: ASYNC110
                    await anyio.sleep(_POLL)
                ended = AgentExit(code)
                with anyio.move_on_after(_LAST_WORDS):
                    await drained.wait()
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            # Nobody listens on its stdin.
            report = await end_tree(root, marker, replace(limits, eof=0.0), anyio.lowlevel.checkpoint)
            await _close(process)
        left = report.leaked_pids()
        log.info("command.ended", pid=process.pid, code=process.returncode, stage=str(report.stage), left=left)
    return CommandEnd(ended, said.decode(errors="replace"))


async def _close(process: anyio.abc.Process) -> None:
    assert process.stdout is not None
    with anyio.move_on_after(_CLOSE):
        await process.wait()
    # `aclose` of the process waits without a limit, so only once it is dead.
    with suppress(*_CLOSED):
        await (process.aclose() if process.returncode is not None else process.stdout.aclose())


async def _keep_end(process: anyio.abc.Process, said: bytearray, drained: anyio.Event) -> None:
    """Read what a command says to its end, and keep the last of it."""
    assert process.stdout is not None
    with suppress(*_CLOSED):  # whatever way the pipe ends, that is its end
        while True:
            # Read on even though most is thrown away: a command whose pipe is full would wait for ever.
            said += await process.stdout.receive(_READ_SIZE)
            del said[:-KEPT]
            await anyio.lowlevel.checkpoint()  # a full pipe is read without ever giving way
    drained.set()
