"""One agent process: its start, its pipes, its end.

It runs in its own process session, with a marker in an environment that is an allow-list: the bot's secrets stay with
the bot. `acp.peer` handles what goes over the pipes, `acp.shutdown` how it is ended. The mutable state is the tail of
stderr with its count, what the last look has found, and the report of the stop.
"""

from __future__ import annotations

import errno
import shutil
import subprocess
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.abc
import anyio.lowlevel
import anyio.to_thread
import structlog

from acp.engine import LaunchSpec
from acp.errors import AgentExit, AgentSpawnError, SpawnFailure
from acp.shutdown import MARKER, Members, SingleStop, StopLimits, StopReport, end_tree, find, survey
from acp.stderr_tail import StderrTail

_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")

ALLOWED: tuple[str, ...] = (
    *("HOME", "PATH", "LANG", "LC_*", "TZ", "TERM", "TMPDIR", "USER", "SHELL", "XDG_*"),
    *("SSL_CERT_*", "NODE_EXTRA_CA_CERTS"),
    *_PROXIES,
    *(name.upper() for name in _PROXIES),
)
"""Names that every agent gets when they are set."""

WITHHELD: tuple[str, ...] = (
    "DISCORD_TOKEN",
    "WEFT_DATABASE_URL",
    "CREDENTIALS_DIRECTORY",
    "NOTIFY_SOCKET",
    "WATCHDOG_*",
)
"""Names that no agent gets, even when a setting asks for them: the token, where it lies, the state's database, and what
speaks to the service supervisor."""

OF_THE_DATABASE: tuple[str, ...] = ("PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE")
"""Names that belong to these where the state is in a database, whose driver reads them: by them comes its password."""


def agent_environment(environ: Mapping[str, str], extra_names: Iterable[str]) -> dict[str, str]:
    """Return the part of ``environ`` that an agent may see: the allow-list and ``extra_names``, less the withheld."""
    return named_environment(environ, (*ALLOWED, *extra_names))


def named_environment(environ: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return the part of ``environ`` that ``names`` mean, less the withheld."""
    allowed = named(environ, names)
    # Last, as the settings may name anything: ``*`` must not hand the bot's token to an agent.
    withheld = named(allowed, (*WITHHELD, *(OF_THE_DATABASE if environ.get("WEFT_DATABASE_URL") else ())))
    return {name: value for name, value in allowed.items() if name not in withheld}


def named(environ: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return the part of ``environ`` that ``names`` mean; a trailing ``*`` stands for any ending."""
    names = tuple(names)
    exact = {name for name in names if not name.endswith("*")}
    beginnings = tuple(name[:-1] for name in names if name.endswith("*"))
    return {name: value for name, value in environ.items() if name in exact or name.startswith(beginnings)}


_POLL = 0.25
_CLOSE = 0.5
_READ_SIZE = 256 * 1024
_CLOSED = (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError)

log = structlog.get_logger(__name__)


class AgentProcess:
    """A started agent process. Its owner runs `drain_stderr` in a task group, and `stop` in the end.

    Attributes:
        drained: set once its stderr was read to the end.
    """

    def __init__(self, process: anyio.abc.Process, marker: str) -> None:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self.pid: int = process.pid
        self.marker = marker
        self.stdin: anyio.abc.ByteSendStream = process.stdin
        self.stdout: anyio.abc.ByteReceiveStream = process.stdout
        self.drained = anyio.Event()
        self._stderr: anyio.abc.ByteReceiveStream = process.stderr
        self._process = process
        self._tail = StderrTail()
        self._root = find(process.pid)
        self._looking = anyio.Lock()
        self._seen: Members = frozenset()
        self._stopping = SingleStop()

    @property
    def stderr_bytes(self) -> int:
        """How much it has said on its stderr so far."""
        return self._tail.total

    @property
    def place(self) -> str:
        """Where it is."""
        return f"pid {self.pid}"

    @classmethod
    async def start(cls, spec: LaunchSpec) -> AgentProcess:
        """Start the process.

        Raises:
            AgentSpawnError: it could not be started; ``failure`` says why.
        """
        marker = uuid.uuid4().hex
        with anyio.CancelScope(shield=True):  # a spawn cut short would leave a process that nobody knows
            try:
                process = await anyio.open_process(
                    spec.argv,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    cwd=spec.cwd,
                    env={**spec.env, MARKER: marker},
                    # Away from our terminal: Ctrl-C is for the bot, which ends its agents in order.
                    start_new_session=True,
                )
            except (OSError, ValueError) as exc:
                raise spawn_error(spec, exc) from exc
        log.info("agent.spawned", pid=process.pid, program=Path(spec.argv[0]).name)
        return cls(process, marker)

    def exit(self) -> AgentExit | None:
        """Return how the process ended, or None while it runs; polled, as waiting can hang on a pipe."""
        code = self._process.returncode
        return None if code is None else AgentExit(code, self._tail.text())

    def stderr_since(self, mark: int) -> str:
        """Return what was said on stderr since it had ``mark`` bytes, as far as it is kept."""
        return self._tail.since(mark)

    async def wait(self) -> AgentExit:
        """Return how the process ended, soon after it did, even if a process it started holds the pipes."""
        # In short pieces: asyncio's wait ends only with the pipes, which a child of the agent's may hold.
        while (ended := self.exit()) is None:
            with anyio.move_on_after(_POLL):
                await self._process.wait()
        return ended

    async def drain_stderr(self) -> None:
        """Read stderr to its end and keep the last 64 KiB."""
        with suppress(*_CLOSED):  # whatever way the pipe ends, that is its end
            while True:
                self._tail.add(await self._stderr.receive(_READ_SIZE))
                await anyio.lowlevel.checkpoint()  # a full pipe is read without ever giving way
        self.drained.set()

    async def members(self, *, everywhere: bool) -> Members:
        """Return the process and what it has started.

        One look at a time, in the order of the calls. Without ``everywhere`` it looks for descendants only, which is
        quicker, and adds what the last look everywhere has found.
        """
        async with self._looking:
            found = await anyio.to_thread.run_sync(survey, self._root, self.marker if everywhere else "")
            self._seen = found if everywhere else self._seen
            return found | self._seen

    async def stop(self, limits: StopLimits = StopLimits()) -> StopReport:  # noqa: B008
        """End the process and all it has started, within the limits; a second call returns the same report."""
        return await self._stopping.run(lambda: self._stop(limits))

    async def _stop(self, limits: StopLimits) -> StopReport:
        report = await end_tree(self._root, self.marker, limits, self._close_stdin)
        # `aclose` of the process waits without a limit, so only once it is dead.
        with anyio.move_on_after(_CLOSE):
            await self._process.wait()
        if self._process.returncode is not None:
            await self._process.aclose()
        else:
            for pipe in (self.stdin, self.stdout, self._stderr):
                with suppress(*_CLOSED):  # nothing is left to be said on it
                    await pipe.aclose()
        ended = self.exit()
        # Not what outlived it: the pool, which counts the places, logs that it leaked.
        log.info(
            "agent.exited",
            pid=self.pid,
            how=ended.describe() if ended else None,
            stage=report.stage,
            seconds=round(report.seconds, 2),
        )
        return report

    async def _close_stdin(self) -> None:
        with suppress(*_CLOSED):  # it may have closed its end before us
            await self.stdin.aclose()


# --- why a start failed ------------------------------------------------------------------------------------------


def spawn_error(spec: LaunchSpec, error: OSError | ValueError) -> AgentSpawnError:
    """Return what to tell of a failed spawn; the error itself often names the wrong file."""
    code, named_file = (error.errno, error.filename) if isinstance(error, OSError) else (None, None)
    program, cwd = spec.argv[0], Path(spec.cwd)
    # 1. The directory: the error names it, or the program in its place, depending on the platform.
    bad_directory = not cwd.is_dir() or (named_file == spec.cwd and spec.cwd != program)
    if code in (errno.ENOENT, errno.ENOTDIR, errno.EACCES) and bad_directory:
        text = f"the working directory {spec.cwd} does not exist or cannot be used"
        return AgentSpawnError(text, failure=SpawnFailure.BAD_DIRECTORY)
    # 2. The program is there, so what was "not found" is the interpreter in its first line.
    if code == errno.ENOENT:
        path = spec.env.get("PATH")
        if (cwd / program).is_file() if "/" in program else shutil.which(program, path=path) is not None:
            text = f"{program} names an interpreter that does not exist"
            return AgentSpawnError(text, failure=SpawnFailure.BAD_FORMAT)
    # 3. All else the code says itself.
    failure = {
        errno.ENOENT: SpawnFailure.NOT_FOUND,
        errno.ENOTDIR: SpawnFailure.NOT_FOUND,
        errno.EACCES: SpawnFailure.NOT_EXECUTABLE,
        errno.EPERM: SpawnFailure.NOT_EXECUTABLE,
        errno.ENOEXEC: SpawnFailure.BAD_FORMAT,
    }.get(code or 0, SpawnFailure.OTHER)
    reason: object = failure
    if failure is SpawnFailure.OTHER:
        reason = error.strerror if isinstance(error, OSError) else error
    return AgentSpawnError(f"{program} could not be started: {reason}", failure=failure)
