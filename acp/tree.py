"""Everything an agent process has started: finding it and signalling it.

A process group does not contain it, as agents run each shell command in a session of its own. Two marks do: descent,
looked up while the ancestors still live, and an environment variable with a value of its own, which everything
inherits. A process is known by id and creation time, so that a reused id is never signalled. Synchronous; the scan
reads the whole process table and belongs into a worker thread. When to signal what is `acp.process`' business.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable

import psutil

MARKER = "WEFT_AGENT"
"""The environment variable that marks the processes of one agent."""

_OUT_OF_SIGHT = (psutil.Error, OSError, ValueError)
"""Gone, another user's, or a process table entry that cannot be read: skipped."""

_NEWBORN = 10.0
_LOOKS, _BETWEEN_LOOKS = 20, 0.01
"""A process younger than so many seconds, whose environment reads as empty, is looked at again so often."""

Members = frozenset[psutil.Process]


def find(pid: int) -> Members:
    """Return the process with this id, or nothing when it is gone."""
    try:
        return frozenset({psutil.Process(pid)})
    except psutil.Error:
        return frozenset()


def survey(known: Members, marker: str) -> Members:
    """Return all that live of ``known``, of their descendants and of what carries ``marker``; never this process."""
    living = {process for process in known if is_alive(process)}
    descendants = {child for process in living for child in _descendants(process)}
    found = living | descendants | carriers(marker)
    return frozenset(process for process in found if process.pid != os.getpid() and is_alive(process))


def carriers(marker: str, name: str = MARKER) -> Members:
    """Return the processes whose environment carries this marker; what cannot be read is left out."""
    if not marker:
        return frozenset()
    found, unclear = _sort(psutil.process_iter(), name, marker)
    tries = 0
    while unclear and tries < _LOOKS:
        tries += 1
        time.sleep(_BETWEEN_LOOKS)
        more, unclear = _sort(unclear, name, marker)
        found |= more
    return frozenset(found)


def _sort(
    processes: Iterable[psutil.Process], name: str, marker: str
) -> tuple[set[psutil.Process], set[psutil.Process]]:
    """Return those that carry the marker, and those of which it can't be told yet."""
    found: set[psutil.Process] = set()
    unclear: set[psutil.Process] = set()
    for process in processes:
        try:
            environment = process.environ()
            if environment.get(name) == marker:
                found.add(process)
            elif not environment and _is_newborn(process):
                unclear.add(process)
        except _OUT_OF_SIGHT:
            continue
    return found, unclear


def _is_newborn(process: psutil.Process) -> bool:
    # While a process becomes another program (exec), its environment reads as empty for a moment.
    return time.time() - process.create_time() < _NEWBORN and is_alive(process)


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
    return sorted((one for one in found if _parent_id(one) not in pids), key=lambda one: (one.create_time(), one.pid))


def command_line(process: psutil.Process) -> str:
    """Return how a process was started, for people; its name where nobody may see more."""
    try:
        return " ".join(process.cmdline()) or process.name()
    except _OUT_OF_SIGHT:
        return "a process"


def _parent_id(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except _OUT_OF_SIGHT:
        return None


def send_signal(processes: Iterable[psutil.Process], number: signal.Signals) -> int:
    """Signal each process that is still the one that was found; return how many took it."""
    return sum(_send(process, number) for process in processes)


def _send(process: psutil.Process, number: signal.Signals) -> bool:
    try:
        process.send_signal(number)  # psutil compares the creation time first
    except _OUT_OF_SIGHT:
        return False
    return True


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except _OUT_OF_SIGHT:
        return []
