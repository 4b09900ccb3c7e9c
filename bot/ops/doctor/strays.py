"""Processes that a bot left behind: those of agents that belong to no bot that runs (P9).

Told of each: id, age, memory and the name of its program; neither arguments nor environment, which can hold secrets.
Nothing is ended here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
import psutil

from acp.tree import MARKER, is_alive
from bot.ops.doctor.finding import Finding, ok, warn
from bot.ops.doctor.state import in_use
from bot.ops.instance import IDENTITY, STATE_MARKER

_MOST = 20
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_REAPERS = frozenset({"systemd", "launchd", "init"})
_OUT_OF_SIGHT = (psutil.Error, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class Marked:
    """A process that carries an agent's marker.

    Attributes:
        state: the state it belongs to, empty if it says none.
        owned: whether it descends from something that is neither marked nor the last resort of orphans.
    """

    pid: int
    name: str
    age: float
    memory: int
    agent: str
    state: str
    owned: bool


async def check_strays(state_dir: Path) -> list[Finding]:
    """Name the processes that no bot looks after."""
    marked = await anyio.to_thread.run_sync(lambda: list(_marked()), abandon_on_cancel=True)
    identity = _identity(state_dir)
    running = in_use(state_dir) is not None
    return report(strays(marked, identity, running), identity)


def _identity(state_dir: Path) -> str:
    path = state_dir / IDENTITY
    return path.read_text().strip() if path.exists() else ""


def strays(marked: Iterable[Marked], identity: str, running: bool) -> list[Marked]:
    """Return those that belong to nobody.

    All of this state do when no bot runs on it. Of other states, and while one runs, all those of an agent of which
    nothing descends from a living process any more: a daemon alone may have left its parent while its agent works.
    """
    every = list(marked)
    owned = {process.agent for process in every if process.owned}
    own = {process.pid for process in every if identity and process.state == identity and not running}
    return [process for process in every if process.pid in own or process.agent not in owned]


def report(found: list[Marked], identity: str) -> list[Finding]:
    """Return a line for each, and how many more there are."""
    if not found:
        return [ok("strays", "no process is left of a bot that is gone")]
    more = [warn("strays", f"and {len(found) - _MOST} more")] if len(found) > _MOST else []
    return [warn("strays", _told(process, identity)) for process in found[:_MOST]] + more


def _told(process: Marked, identity: str) -> str:
    what = f"process {process.pid} ({process.name}), {_age(process.age)} old, {process.memory // 1024**2:,} MiB"
    if identity and process.state == identity:
        return f"{what}, was left behind; the next start ends it"
    return f"{what}, belongs to no bot that runs: kill {process.pid}"


def _age(seconds: float) -> str:
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"


# --- looking at processes ----------------------------------------------------------------------------------------


def _marked() -> Iterator[Marked]:
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            if environment.get(MARKER) and process.pid != os.getpid() and is_alive(process):
                yield _described(process, environment[MARKER], environment.get(STATE_MARKER, ""))
        except _OUT_OF_SIGHT:
            continue  # gone meanwhile, or another user's


def _described(process: psutil.Process, agent: str, state: str) -> Marked:
    return Marked(
        pid=process.pid,
        name=process.name(),
        age=time.time() - process.create_time(),
        memory=process.memory_info().rss,
        agent=agent,
        state=state,
        owned=_is_owned(process, agent),
    )


def _is_owned(process: psutil.Process, agent: str) -> bool:
    for parent in process.parents():
        if not _carries(parent, agent):
            # Orphans go to the first process, or to a service manager that has asked for them.
            return parent.pid != 1 and parent.name() not in _REAPERS
    return False


def _carries(process: psutil.Process, agent: str) -> bool:
    try:
        return process.environ().get(MARKER) == agent
    except _OUT_OF_SIGHT:
        return False
