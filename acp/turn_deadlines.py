"""When something is due in a turn: liveness probe, hard timeout, end of the grace, end of the drain (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from math import inf

from acp.snapshot import Phase


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """Limits of one turn: times in seconds, sizes in bytes.

    Attributes:
        liveness: without an event for so long, the process is probed.
        hard_timeout: from the prompt to the cancel, apart from the time that people take to answer.
        cancel_grace: from the cancel to the kill.
        drain_quiet: after the response, silence that ends the turn; ``drain_max`` bounds it.
        card_extension_max: how much later open permission requests make the hard timeout, in all.
        text_bytes, tool_calls, tool_head, tool_tail: what is kept of the answer, and of each tool's output.
        files, file_bytes: how many files in content blocks are kept, and their bytes in all.
    """

    liveness: float = 30.0
    hard_timeout: float = 1800.0
    cancel_grace: float = 10.0
    drain_quiet: float = 0.2
    drain_max: float = 2.0
    card_extension_max: float = 3600.0
    text_bytes: int = 8 * 1024 * 1024
    tool_calls: int = 1000
    tool_head: int = 64 * 1024
    tool_tail: int = 192 * 1024
    files: int = 20
    file_bytes: int = 24 * 1024 * 1024


class Action(Enum):
    """What is due; `Turn.tick` leaves all but the end to `acp.turn_runner.run_turn`."""

    END = auto()
    """The drain is over, and so is the turn."""
    PROBE = auto()
    """See whether the process lives; if not, tell the turn with `Turn.died`."""
    CANCEL = auto()
    """Answer the open permission requests and send the cancel."""
    KILL = auto()
    """End the process: it did not react in time. The turn is over."""


class TurnDeadlines:
    """The deadlines of one turn. `acp.turn.Turn` reports what happens and enters the phase that follows.

    Attributes:
        started: when the prompt was written.
        last_event: when the agent was last heard of, or a permission request was opened or closed.
    """

    def __init__(self, limits: TurnLimits, now: float) -> None:
        self.started = self.last_event = now
        self._limits = limits
        self._probed = now
        self._until = inf  # the end of the grace while cancelling, the latest end of the drain while draining
        self._waiting: dict[str, str] = {}
        self._waiting_since = 0.0
        self._waited = 0.0

    def cancelled(self, now: float) -> None:
        """The cancel is sent: the agent has its grace."""
        self._until = now + self._limits.cancel_grace

    def answered(self, now: float) -> None:
        """The response has come: the drain begins."""
        self.last_event = now
        self._until = now + self._limits.drain_max

    # --- the time of people --------------------------------------------------------------------------------------

    def permission_opened(self, key: str, tool_call_id: str, now: float) -> None:
        """The agent waits for a person: until the answer, the hard timeout moves."""
        self.last_event = now
        # Time begins to count only before the deadline: a request opened after it does not bring the turn back.
        if now < self._hard_timeout():
            # Requests that are open at once count once: it is the time that is waited for, not the requests.
            self._waiting_since = self._waiting_since if self._waiting else now
            self._waiting[key] = tool_call_id

    def permission_closed(self, key: str, now: float) -> bool:
        """A request is no longer open; False if it did not move the deadline."""
        if self._waiting.pop(key, None) is None:
            return False
        self.last_event = now
        if not self._waiting:
            self._waited += max(0.0, now - self._waiting_since)
        return True

    def waiting(self) -> tuple[str, ...]:
        """Return the tool call ids of the requests that move the deadline."""
        return tuple(self._waiting.values())

    # --- what is due ---------------------------------------------------------------------------------------------

    def due(self, phase: Phase, now: float) -> list[Action]:
        """Return what has to be done in this phase; each deadline is looked at on each call."""
        # 1. Drain: the agent has answered, and what was still on its way has had its moment. After the end: never.
        if phase in (Phase.DRAINING, Phase.ENDED):
            return [Action.END] if now >= self.next_wakeup(phase) else []
        # 2. End of the grace: it did not stop in time.
        if phase is Phase.CANCELLING and now >= self._until:
            return [Action.KILL]
        due: list[Action] = []
        # 3. Hard timeout: events do not put it off, or an agent that chats for ever would never end.
        if phase is Phase.RUNNING and now >= self._hard_timeout():
            due.append(Action.CANCEL)
        # 4. Liveness probe, also after the cancel: a process that died without closing its pipes answers nothing.
        if now >= self._next_probe():
            self._probed = now
            due.append(Action.PROBE)
        return due

    def next_wakeup(self, phase: Phase) -> float:
        """Return when `due` has something to do, if nothing happens before; infinity after the end."""
        if phase is Phase.ENDED:
            return inf
        if phase is Phase.DRAINING:
            # Each late message prolongs the silence that is waited for, but not for ever.
            return min(self._until, self.last_event + self._limits.drain_quiet)
        return min(self._hard_timeout() if phase is Phase.RUNNING else self._until, self._next_probe())

    def _hard_timeout(self) -> float:
        # While a request is open it runs ahead of the time, up to its limit: when the answer comes is unknown.
        most = self._limits.card_extension_max
        return self.started + self._limits.hard_timeout + (most if self._waiting else min(self._waited, most))

    def _next_probe(self) -> float:
        # From the last probe, too, or a silent turn would be probed at every turn of the loop.
        return max(self.last_event, self._probed) + self._limits.liveness
