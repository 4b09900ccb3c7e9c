"""One agent process as the pool sees it: whose sessions live in it, and how its owner task is told to stop.

A process is one thread's own or shared by several; each thread's part in it is a `pool.slot.Slot`. What is decided
about it is the registry's business. The mutable state is its attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from acp.errors import AgentSpawnError, SpawnFailure
from pool.launcher import Sharing
from pool.model import SlotState
from pool.ports import Connection

if TYPE_CHECKING:
    from pool.slot import Slot


class PooledAgent:
    """One agent process.

    Attributes:
        sharing: whose threads may share it; None: it is the own one of a thread.
        slots: the threads' sessions in it that are not closed yet, in the order in which they joined.
        after: what has to be gone before it may start: what came before in the thread that it was made for.
        begun: whether the owner task was started.
        serving: whether a session was opened; from then on the owner is told to stop, before that it is cancelled.
        leased: whether a turn was ever given to one of its sessions.
        barred: whether it takes no further sessions, as one went wrong in a way that may not be its own.
        left: whether the owner is done with it.
        leaked: whether it outlived its stop ladder; the place stays taken until it is gone.
        gone: whether nothing of it is left.
        stopping_since: when it was told to stop, or ended.
    """

    def __init__(self, sharing: Sharing | None = None, after: tuple[Slot, ...] = ()) -> None:
        self.sharing = sharing
        self.slots: dict[Slot, None] = {}
        self.after = after
        self.scope = anyio.CancelScope()
        self.connection: Connection | None = None
        self.begun = False
        self.serving = False
        self.leased = False
        self.barred = False
        self.left = False
        self.leaked = False
        self.gone = False
        self.stopping_since: float | None = None
        self._calls = anyio.Event()

    @property
    def state(self) -> SlotState:
        """Where the process is; READY once a session was opened in it."""
        if self.gone:
            return SlotState.CLOSED
        if self.stopping_since is not None:
            return SlotState.CLOSING
        return SlotState.READY if self.serving else SlotState.STARTING

    @property
    def claimed(self) -> bool:
        """Whether a turn or a reservation protects any of its sessions."""
        return any(slot.claimed for slot in self.slots)

    @property
    def last_used(self) -> float:
        """When any of its sessions was last used."""
        return max((slot.last_used for slot in self.slots), default=0.0)

    def takes(self, sharing: Sharing) -> bool:
        """Whether one more thread may join it: there is room, and it is fit for that."""
        return len(self.slots) < sharing.sessions and self.fits(sharing)

    def fits(self, sharing: Sharing) -> bool:
        """Whether it is going to live, and its key is equal."""
        if self.sharing is None or self.sharing.key != sharing.key:
            return False
        hung_up = self.connection is not None and not self.connection.usable()
        return self.stopping_since is None and not self.barred and not hung_up

    def stop(self, now: float) -> None:
        """Tell the owner to end the process."""
        self.stopping_since = now
        self.call()
        # A start may hang anywhere; a living connection is left in order, so that its pipes are read to the end.
        if not self.serving:
            self.scope.cancel()

    def call(self) -> None:
        """Have the owner look: a session is to be opened, or the process to be ended."""
        self._calls.set()

    async def called(self) -> None:
        """Wait for the next `call`, or return at once if there was one."""
        await self._calls.wait()
        self._calls = anyio.Event()

    def newcomers(self) -> list[Slot]:
        """Return whose sessions are to be opened and have no task yet."""
        return [slot for slot in self.slots if slot.begun and slot.live and not slot.attended]

    def alive(self) -> bool:
        """Whether the process is known to run."""
        return self.connection is not None and self.connection.alive()

    def usable(self) -> bool:
        """Whether a turn may be given to it."""
        return self.connection is not None and self.connection.usable()

    def can_fork(self) -> bool:
        """Whether turns can run on copies of its sessions."""
        return self.connection is not None and self.connection.can_fork

    def death(self) -> AgentSpawnError:
        """Return what those are told whose sessions were still to be opened when it was over."""
        ended = self.connection.exit() if self.connection is not None else None
        how = f" ({ended.describe()})" if ended is not None else ""
        text = f"the agent ended{how} before the session was open"
        return AgentSpawnError(text, failure=SpawnFailure.EXITED, exit=ended)

    def remains(self) -> bool:
        """Whether anything of it outlived the stop ladder: the process, or what it started."""
        report = self.connection.stop_report if self.connection is not None else None
        return self.alive() or (report is not None and bool(report.leaked_pids()))
