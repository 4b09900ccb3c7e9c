"""Where operations are carried out: `Ledger`, and `FileLedger`, which has a file or, while that fails, memory.

The other one is `pool.storage.postgres_ledger`. While the file is out of order, a copy in memory takes its place, with
a backlog of what the file has yet to see. After `FileLedger.open` no fault of the storage leaves it, except into the
log and into `trouble`. It runs in a worker thread, one call at a time; the properties may be read from elsewhere. The
mutable state is the two databases with what is known of them, the backlog, the two texts, and the times of the last try
and of the next look at what is to be forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import structlog

from pool.storage import database
from pool.storage.backlog import Backlog
from pool.storage.database import Connect, Database, connect
from pool.storage.model import Answer, FileDamaged, Operation, StateTooNew, StorageFault, StorageLimits
from pool.storage.operations import Change, Prune
from pool.storage.tables import DECISIONS, PLACES, PROMPTS, SESSIONS, SPENDING, THREADS, TRANSCRIPTS

log = structlog.get_logger(__name__)

DISCORD_EPOCH = 1_420_070_400
"""The first second of 2015, in seconds since the epoch: snowflakes count from there."""


class Ledger(Protocol):
    """Carries out operations, in one worker thread, one call at a time."""

    @property
    def trouble(self) -> str:
        """What is wrong, in a few words for people; empty when all is well."""

    @property
    def backlog(self) -> int:
        """How many changes were answered, and are in memory only."""

    @property
    def due(self) -> float:
        """When `tend` has something to do, by the clock."""

    def open(self) -> None:
        """Open the storage, or say in `trouble` why it is not open yet.

        Raises:
            StateRefused: it can't be used, and trying again can't help.
        """

    def work(self, operations: Sequence[Operation[Any]]) -> list[Answer]:
        """Carry out the operations in order; return the answer to each.

        Raises:
            StorageFault: it is not known that they were written. They are to be handed in again, the same sequence.
            LeaseLost: somebody else writes now; nothing of ours was written since.
        """

    def tend(self) -> None:
        """Look at a storage that is out of order, and forget rows that are long out of use, a few at a time.

        Raises:
            LeaseLost: somebody else writes now.
        """

    def close(self) -> None:
        """Close; what is committed stays."""


class FileLedger:
    """Carries out operations, come what may."""

    def __init__(
        self,
        path: Path,
        limits: StorageLimits,
        connect: Connect = connect,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._limits, self._connect, self._clock, self._now = path, limits, connect, clock, now
        self._file: Database | None = None
        self._standby: Database | None = None
        self._complete = False  # the standby knows what the file knew
        self._replaced = False  # the file that is to be opened takes the place of a damaged one
        self._backlog = Backlog(limits.backlog)
        self._fault = ""
        self._notice = ""
        self._tried = 0.0
        self._next_prune = clock() + limits.prune_first

    @property
    def trouble(self) -> str:
        """What is wrong, in a few words; a file that was moved aside is mentioned until the process ends."""
        return "; ".join(filter(None, (self._fault, self._notice)))

    @property
    def backlog(self) -> int:
        """How many changes the file has yet to see."""
        return len(self._backlog)

    @property
    def due(self) -> float:
        """When `tend` has something to do, by the clock."""
        return self._next_prune if self._file is not None else self._tried + self._limits.retry

    def open(self) -> None:
        """Open the file, or go on without it.

        Raises:
            StateTooNew: the file was written by a newer version.
        """
        try:
            self._file, self._replaced = self._open_or_replace(self._limits.busy), False
        except StateTooNew:
            raise  # going on in memory would lose, at the next start, all that happens until then
        except StorageFault as fault:
            self._degrade(fault)

    def work(self, operations: Sequence[Operation[Any]]) -> list[Answer]:
        """Carry out the operations in order; return the answer to each."""
        if self._file is not None:
            try:
                return self._file.apply(operations)
            except StorageFault as fault:
                self._degrade(fault)
                return self._remember(operations)  # all of them: the transaction left nothing in the file
        # Remembered first: a try that succeeds brings these to the file with all the others.
        answers = self._remember(operations)
        # Not at every call: each try costs the wait for a lock, and the others queue up behind it.
        if self._clock() >= self._tried + self._limits.retry_pause:
            self._recover()
        return answers

    def tend(self) -> None:
        """Try a file again that is out of order; else forget a few rows that are long out of use, if it is time."""
        now = self._clock()
        if self._file is None:
            self._recover()
            # Still: the try has just failed.
            if self._standby is not None:
                # Memory has no room for what a disk may take.
                self._standby.apply([old_transcripts(self._limits, self._now())])
        elif now >= self._next_prune:
            answers = self.work(prunes(self._limits, self._now()))
            # A table that grew for long is not emptied in one go: those who write would wait for that.
            more = any(answer.value == self._limits.prune_step for answer in answers)
            self._next_prune = now + (self._limits.prune_pause if more else self._limits.prune_every)

    def close(self) -> None:
        """Close; a backlog gets a last chance."""
        if self._file is None and self._backlog:
            self._recover()
        if self._backlog:
            log.error("store.abandoned", changes=len(self._backlog), trouble=self.trouble)
        for each in (self._file, self._standby):
            if each is not None:
                each.close()
        self._file = self._standby = None

    def _open_or_replace(self, busy: float) -> Database:
        with suppress(FileDamaged):  # it was moved aside, with a log line and a notice: the next one is new
            return database.open_file(self._path, self._connect, busy, self._move_aside)
        return database.open_file(self._path, self._connect, busy)

    def _move_aside(self, fault: FileDamaged) -> None:
        with database.faults():
            target = database.move_aside(
                self._path, datetime.fromtimestamp(self._now(), UTC).strftime("%Y%m%dT%H%M%SZ")
            )
        self._replaced = True
        self._notice = f"the state file was damaged and moved aside to {target.name}"
        log.error("store.moved_aside", path=str(self._path), moved_to=str(target), reason=str(fault))

    def _degrade(self, fault: StorageFault) -> None:
        """From now on everything happens in memory, on a copy of the file as far as it can be read."""
        self._standby, self._complete = database.open_memory(), False
        if self._file is not None:
            try:
                self._file.copy_to(self._standby)
                # A copy of a damaged file is as damaged: it is read through before it counts for what the file knew.
                self._standby.check()
                self._complete = True
            except StorageFault as unread:
                log.warning("store.not_copied", reason=str(unread))
                self._standby.close()
                self._standby = database.open_memory()  # half a copy would contradict itself
            self._file.close()
            self._file = None
        self._say(fault)
        log.error("store.degraded", path=str(self._path), reason=str(fault), copied=self._complete)

    def _say(self, fault: StorageFault) -> None:
        lost = f", {self._backlog.lost} changes can't be kept" if self._backlog.lost else ""
        self._fault = f"{fault}: kept in memory only{lost}"
        self._tried = self._clock()

    def _remember(self, operations: Sequence[Operation[Any]]) -> list[Answer]:
        assert self._standby is not None
        answers = self._standby.apply(operations)
        for operation, answer in zip(operations, answers, strict=True):
            # What a second call of `accept` was refused has nothing that the file would have to see.
            if isinstance(operation, Change) and answer.error is None and answer.value is not False:
                self._backlog.add(operation)
        return answers

    def _recover(self) -> None:
        """Try the file again; it gets all it has yet to see in one transaction, or nothing."""
        assert self._standby is not None
        try:
            file = self._open_or_replace(self._limits.busy_again)
            try:
                # What took the place of a damaged file gets all that memory knows, if that is what the old file knew.
                if self._replaced and self._complete:
                    self._standby.copy_to(file)
                else:
                    file.apply(self._backlog.changes())
            except StorageFault:
                file.close()
                raise
        except StorageFault as fault:
            self._say(fault)
            return
        # It was opened with a shorter wait, since the others queue up behind each try.
        file.wait_for_locks(self._limits.busy)
        self._standby.close()
        self._file, self._standby, self._fault, self._replaced = file, None, "", False
        log.info("store.recovered", path=str(self._path), changes=len(self._backlog), lost=self._backlog.lost)
        # Last: until the file has them, the changes are nowhere else.
        self._backlog.clear()


# --- what is forgotten ----------------------------------------------------------------------------------------------


def prunes(limits: StorageLimits, now: float) -> list[Prune]:
    """Return what forgets a few rows of each table that grows; ``now``: seconds since the epoch."""
    # Places know no time, but the snowflake of their newest message: milliseconds above 22 bits.
    today = int(now)
    quiet_since = max(0, today - limits.places_age - DISCORD_EPOCH) * 1000 << 22
    return [
        Prune(PROMPTS, today - limits.finished_age, limits.finished_kept, limits.prune_step),
        Prune(THREADS, today - limits.threads_age, limits.threads_kept, limits.prune_step),
        Prune(PLACES, quiet_since, limits.places_kept, limits.prune_step),
        Prune(DECISIONS, today - limits.decisions_age, limits.decisions_kept, limits.prune_step),
        Prune(SPENDING, today - limits.spending_age, limits.spending_kept, limits.prune_step),
        Prune(SESSIONS, today - limits.threads_age, limits.sessions_kept, limits.prune_step),
        old_transcripts(limits, now),
    ]


def old_transcripts(limits: StorageLimits, now: float) -> Prune:
    """Return what forgets a few transcripts."""
    oldest = int(now) - limits.transcripts_age
    return Prune(TRANSCRIPTS, oldest, limits.transcripts_kept, limits.prune_step, limits.transcripts_bytes)
