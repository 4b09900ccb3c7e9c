"""Everything an agent process has started: finding it, signalling it, and ending it within limits.

A process group does not contain it, as agents run each shell command in its own session. Two marks do: descent, looked
up while the ancestors still live, and an environment variable with a unique value, which everything inherits. A process
is known by id and creation time, so that a reused id is never signalled.

The escalation: close its stdin, give it time, TERM, give them time, KILL, and list again until two lists agree.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from signal import SIGKILL, SIGTERM

import anyio
import anyio.lowlevel
import anyio.to_thread
import psutil

MARKER = "WEFT_AGENT"
"""The environment variable that marks the processes of one agent."""

_OUT_OF_SIGHT = (psutil.Error, OSError, ValueError)
"""Gone, another user's, or a process table entry that cannot be read: skipped."""

_NEWBORN = 10.0
_LOOKS, _BETWEEN_LOOKS = 20, 0.01
"""A process younger than so many seconds, whose environment reads as empty, is looked at again so often."""

_LOOK = 0.02

_BLOCK = 1 << 16
"""How many bytes of an environment are read at once."""

Members = frozenset[psutil.Process]


def find(pid: int) -> Members:
    """Return the process with this id, or nothing when it is gone."""
    try:
        return frozenset({psutil.Process(pid)})
    except psutil.Error:
        return frozenset()


def survey(known: Members, marker: str) -> Members:
    """Return all that live of ``known``, of their descendants and of what carries ``marker``; never this process."""
    found = {process for process in known if is_alive(process)}
    for process in tuple(found):
        with suppress(*_OUT_OF_SIGHT):
            found.update(process.children(recursive=True))
    found |= carriers(marker)
    # A bot that an agent started carries the mark of its ancestor: it must not end itself.
    return frozenset(process for process in found if process.pid != os.getpid() and is_alive(process))


def carriers(marker: str, name: str = MARKER) -> Members:
    """Return the processes whose environment carries this marker; what cannot be read is left out."""
    found: set[psutil.Process] = set()
    candidates: Iterable[psutil.Process] = psutil.process_iter() if marker else ()
    for look in range(1 + _LOOKS):
        unclear: list[psutil.Process] = []
        for process in candidates:
            with suppress(*_OUT_OF_SIGHT):
                carried = _carries(process, name, marker)
                if carried:
                    found.add(process)
                # While a process becomes another program (exec), its environment reads as empty for a moment.
                elif carried is None and time.time() - process.create_time() < _NEWBORN and is_alive(process):
                    unclear.append(process)
        if not unclear or look == _LOOKS:
            break
        candidates = unclear
        time.sleep(_BETWEEN_LOOKS)
    return frozenset(found)


def _carries(process: psutil.Process, name: str, value: str) -> bool | None:
    """Whether the process was started with ``name=value``; None if its environment reads as empty."""
    if not psutil.LINUX:
        environment = process.environ()
        return environment.get(name) == value if environment else None
    # Bytes, as they stand: this is done to every process of the machine, several times at the end of each agent, and
    # psutil takes all the variables apart.
    descriptor = os.open(f"/proc/{process.pid}/environ", os.O_RDONLY | os.O_CLOEXEC)
    try:
        block = b"".join(iter(lambda: os.read(descriptor, _BLOCK), b""))
    finally:
        os.close(descriptor)
    return os.fsencode(f"\0{name}={value}\0") in b"\0" + block if block else None


def is_alive(process: psutil.Process) -> bool:
    """Whether this very process still runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def outermost(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return those that were not started by another of them, the oldest first."""
    found = set(processes)
    pids = {process.pid for process in found}
    for process in tuple(found):
        with suppress(*_OUT_OF_SIGHT):  # one whose parent is out of sight is shown rather than lost
            if process.ppid() in pids:
                found.discard(process)
    return sorted(found, key=lambda one: (one.create_time(), one.pid))


def command_line(process: psutil.Process) -> str:
    """Return how a process was started, for people; its name where nobody may see more."""
    try:
        return " ".join(process.cmdline()) or process.name()
    except _OUT_OF_SIGHT:
        return "a process"


def send_signal(processes: Iterable[psutil.Process], number: signal.Signals) -> int:
    """Signal each process that is still the one that was found; return how many took it."""
    taken = 0
    for process in processes:
        with suppress(*_OUT_OF_SIGHT):
            process.send_signal(number)  # psutil compares the creation time first: a reused id is left alone
            taken += 1
    return taken


@dataclass(frozen=True, slots=True)
class StopLimits:
    """How long each step of the shutdown escalation may take, in seconds."""

    eof: float = 3.0
    term: float = 1.0
    kill: float = 1.0


class StopStage(StrEnum):
    """The last step that ending an agent took; GONE if there was nothing left to end."""

    GONE = "gone"
    EOF = "eof"
    TERM = "term"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class StopReport:
    """How an agent was ended, and what outlived it.

    Attributes:
        leaked: processes of this machine that only the kernel or another user can end.
        left: what an engine could not confirm to be gone, by name; it is ended once the engine answers again.
    """

    stage: StopStage
    seconds: float
    leaked: tuple[psutil.Process, ...] = ()
    left: tuple[str, ...] = ()

    def leaked_pids(self) -> tuple[int, ...]:
        """Return the ids of the leaked processes that still live."""
        return tuple(process.pid for process in self.leaked if is_alive(process))


class SingleStop:
    """Has an agent stopped once: who asks meanwhile, or later, gets the same report. Its state is that report."""

    def __init__(self) -> None:
        self._lock = anyio.Lock()
        self._report: StopReport | None = None

    @property
    def under_way(self) -> bool:
        """Whether it is being stopped now."""
        return self._lock.statistics().locked

    async def run(self, stop: Callable[[], Awaitable[StopReport]]) -> StopReport:
        """Return the report of the stop, which ``stop`` carries out if nobody has had it done."""
        # Shielded: who is cancelled meanwhile must leave nothing running. One at a time: a second caller gets this
        # stop's report, not one of an agent that is gone already.
        with anyio.CancelScope(shield=True):
            async with self._lock:
                if self._report is None:
                    self._report = await stop()
        assert self._report is not None
        return self._report


async def end_tree(
    root: Members, marker: str, limits: StopLimits, close_stdin: Callable[[], Awaitable[None]]
) -> StopReport:
    """End ``root``, its descendants and all that carries ``marker``; shielded, and bounded by ``limits``."""
    started = anyio.current_time()
    with anyio.CancelScope(shield=True):
        # Listed before the first step: once its parent is gone, a process is nobody's descendant.
        members = await anyio.to_thread.run_sync(survey, root, marker)
        stage = StopStage.GONE
        if members & root:
            # 1. Politely: an agent that reads the end of its input can save its session and end its own children.
            stage = StopStage.EOF
            await close_stdin()
            members = await _wait(members, marker, limits.eof)
        if members:
            # 2. All of them, not the agent alone: its shells are in sessions of their own and would never hear of it.
            stage = StopStage.TERM
            send_signal(members, SIGTERM)
            members = await _wait(members, marker, limits.term)
        if members:
            stage = StopStage.KILL
        # 3. Until two lists agree, also when nothing is left to kill: what was just being started may be in the next
        # list only. Bounded, as what hangs in the kernel never goes.
        deadline = anyio.current_time() + limits.kill
        while True:
            send_signal(members, SIGKILL)
            left = await _wait(members, marker, deadline - anyio.current_time())
            if left == members or anyio.current_time() >= deadline:
                break
            members = left
    return StopReport(stage, anyio.current_time() - started, tuple(left))


async def end_strays(name: str, value: str, limits: StopLimits) -> StopReport:
    """End all whose environment has ``name=value``: what an earlier run left behind, if that run marked it so.

    A bot that was itself started by such a stray carries the mark, too; it is spared.
    """
    return await end_processes(await anyio.to_thread.run_sync(carriers, value, name), limits)


async def end_processes(processes: Members, limits: StopLimits) -> StopReport:
    """End these very processes and what they have started; no agent listens on their stdin."""
    return await end_tree(processes, "", replace(limits, eof=0.0), anyio.lowlevel.checkpoint)


async def _wait(members: Members, marker: str, seconds: float) -> Members:
    """Wait until all members are gone, at most so long; return a new list."""
    with anyio.move_on_after(max(seconds, 0)):
        while any(is_alive(process) for process in members):  # noqa: ASYNC110 - only our child tells of its end
            await anyio.sleep(_LOOK)
    # Listed anew, in a worker thread as it reads the whole process table: what dies may have left children behind.
    return await anyio.to_thread.run_sync(survey, members, marker)
