"""A database server while it is there; while it is not, nothing is done, and the caller tries again.

Unlike a file's, its place is not taken by memory: what is not durable is never acted on, since another machine may go
on with the state at any time. The mutable state is the connection, the number of the last batch, the one text, and the
times of the last word from the server and of the next look at what is to be forgotten.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog

from pool.storage.durable import SessionStore, opened
from pool.storage.ledger import prunes
from pool.storage.model import Answer, Operation, StateRefused, StorageFault, StorageLimits
from pool.storage.postgres import Fence, Postgres
from pool.storage.postgres_server import where

log = structlog.get_logger(__name__)


class DatabaseLedger:
    """Carries out operations in a database; see `pool.storage.ledger.Ledger`."""

    def __init__(
        self,
        url: str,
        limits: StorageLimits,
        fence: Fence | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._limits, self._clock, self._now = limits, clock, now
        self._database = Postgres(url, limits, fence)
        self._where = where(url)
        self._number = 0
        self._last: Sequence[Operation[Any]] = ()
        self._fault = ""
        self._heard = clock()
        self._next_prune = clock() + limits.prune_first

    @property
    def trouble(self) -> str:
        return self._fault

    @property
    def backlog(self) -> int:
        return 0

    @property
    def due(self) -> float:
        # Nobody may want anything for long, and `trouble` is to say so when it is back.
        if self._fault:
            return self._heard + self._limits.pause_most
        return min(self._next_prune, self._heard + self._limits.ping)

    def open(self) -> None:
        try:
            self._database.open()
        except StateRefused:
            raise
        except StorageFault as fault:
            self._away(fault)
        else:
            self._heard = self._clock()

    def work(self, operations: Sequence[Operation[Any]]) -> list[Answer]:
        # The same sequence is the same batch, which may have been committed already; any other one is new.
        if operations is not self._last:
            self._number, self._last = self._number + 1, operations
        try:
            answers = self._database.apply(operations, self._number)
        except StorageFault as fault:
            self._away(fault)
            raise
        self._back()
        return answers

    def tend(self) -> None:
        now = self._clock()
        try:
            if now >= self._next_prune and not self._fault:
                # Whatever happens: what takes the server too long now would do so at every try.
                self._next_prune = now + self._limits.prune_every
                if self._prune():
                    self._next_prune = now + self._limits.prune_pause
            else:
                self._database.ping()
            self._back()
        except StorageFault as fault:
            self._away(fault)

    def _prune(self) -> bool:
        """Forget a few rows of each table; return whether there are more."""
        more = False
        for prune in prunes(self._limits, self._now()):
            # A separate batch, or the writer's next one would be taken for one that was committed.
            self._number += 1
            answer = self._database.apply([prune], self._number)[0]
            more = more or answer.value == self._limits.prune_step
        return more

    def close(self) -> None:
        self._database.close()

    def _away(self, fault: StorageFault) -> None:
        if not self._fault:
            log.error("store.away", database=self._where, reason=str(fault))
        # The people in Discord need not know where it is; the log does.
        words = str(fault).replace(f" at {self._where}", "").replace(f" ({self._where})", "")
        self._fault = f"{words}: nothing is saved until it is back, and what needs that waits"
        self._heard = self._clock()

    def _back(self) -> None:
        if self._fault:
            log.info("store.recovered", database=self._where)
        self._fault, self._heard = "", self._clock()


@asynccontextmanager
async def open_database_store(
    url: str,
    limits: StorageLimits | None = None,
    fence: Fence | None = None,
    *,
    now: Callable[[], float] = time.time,
) -> AsyncIterator[SessionStore]:
    """Keep the store in the database at ``url``, in which tables are made if there are none.

    A server that is away is no error: see `SessionStore.trouble`. On leaving, all that was handed in is written, as far
    as the server is there.

    Args:
        fence: gives the epoch in which this process may write; None: nobody else could.

    Raises:
        StateRefused: it can't be used, and trying again can't help.
        LeaseLost: somebody else works on it.
    """
    limits = limits or StorageLimits()
    async with opened(DatabaseLedger(url, limits, fence, now=now), limits, now) as store:
        yield store
