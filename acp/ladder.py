"""Ending everything an agent has started, step by step and within limits.

Close its stdin, give it time, TERM, give them time, KILL, and list again until two lists agree. What belongs to the
agent is `acp.tree`'s business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from signal import SIGKILL, SIGTERM

import anyio
import anyio.lowlevel
import anyio.to_thread
import psutil

from acp import tree
from acp.tree import Members

_LOOK = 0.02


@dataclass(frozen=True, slots=True)
class StopLimits:
    """How long each step of the stop ladder may take, in seconds."""

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
    """How an agent was ended, and what outlived it (which is what only the kernel or another user can end)."""

    stage: StopStage
    seconds: float
    leaked: tuple[psutil.Process, ...] = ()

    def leaked_pids(self) -> tuple[int, ...]:
        """Return the ids of the leaked processes that still live."""
        return tuple(process.pid for process in self.leaked if tree.is_alive(process))


async def end_tree(
    root: Members, marker: str, limits: StopLimits, close_stdin: Callable[[], Awaitable[None]]
) -> StopReport:
    """End ``root``, its descendants and all that carries ``marker``; shielded, and bounded by ``limits``."""
    started = anyio.current_time()
    with anyio.CancelScope(shield=True):
        # Listed before the first step: once its parent is gone, a process is nobody's descendant.
        members = await _survey(root, marker)
        stage = StopStage.GONE
        if members & root:
            stage = StopStage.EOF
            await close_stdin()
            members = await _wait(members, marker, limits.eof)
        if members:
            stage = StopStage.TERM
            tree.send_signal(members, SIGTERM)
            members = await _wait(members, marker, limits.term)
        if members:
            stage = StopStage.KILL
        leaked = await _kill(members, marker, anyio.current_time() + limits.kill)
    return StopReport(stage, anyio.current_time() - started, tuple(leaked))


async def end_strays(name: str, value: str, limits: StopLimits) -> StopReport:
    """End all whose environment has ``name=value``: what an earlier run left behind, if that run marked it so.

    A bot that was itself started by such a stray carries the mark, too; it is spared.
    """
    return await end_processes(await anyio.to_thread.run_sync(tree.carriers, value, name), limits)


async def end_processes(processes: Members, limits: StopLimits) -> StopReport:
    """End these very processes and what they have started; no agent listens on their stdin."""
    return await end_tree(processes, "", replace(limits, eof=0.0), anyio.lowlevel.checkpoint)


async def _kill(members: Members, marker: str, deadline: float) -> Members:
    """Kill what is there until two lists agree that nothing is; return what is left at the deadline."""
    while True:
        tree.send_signal(members, SIGKILL)
        left = await _wait(members, marker, deadline - anyio.current_time())
        if left == members or anyio.current_time() >= deadline:
            return left
        members = left


async def _wait(members: Members, marker: str, seconds: float) -> Members:
    """Wait until all members are gone, at most so long; return a new list."""
    with anyio.move_on_after(max(seconds, 0)):
        while any(tree.is_alive(process) for process in members):  # noqa: ASYNC110 - only our child tells of its end
            await anyio.sleep(_LOOK)
    return await _survey(members, marker)


async def _survey(known: Members, marker: str) -> Members:
    return await anyio.to_thread.run_sync(tree.survey, known, marker)
