"""When the next edit of a thread may start (pure).

All edits of a channel share one bucket of five in five seconds. An edit that empties it stalls its caller for the
rest of the window, so ordinary edits leave one token for a final text. The editor waits and edits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

EDITS_PER_SECOND = 40
"""What all threads together may use of Discord's 50 requests a second."""


@dataclass(frozen=True, slots=True)
class Pacing:
    """How close edits of a thread may follow each other; times in seconds.

    Attributes:
        interval: the least time between the starts of two edits.
        streaming: how many threads have a running turn; many stretch the interval.
        bucket: edits that Discord takes in one ``window``.
        penalty: the factor on the interval after a refusal; it decays by ``recovery`` with each edit that succeeds,
            and is never more than ``penalty_max``.
        glance: the least time between two looks at a turn that has no message yet.
        refresh: how often the status line is rendered while nothing else changes.
        first_status: after which time a turn without text, tools or plan shows a status line.
        patience: how long a final text waits for an edit that Discord does not take; then it is a new message.
        backoff: the first wait after a refusal; it doubles up to ``backoff_max``.
    """

    interval: float = 1.25
    streaming: Callable[[], int] = lambda: 1
    bucket: int = 5
    window: float = 5.0
    penalty: float = 1.5
    penalty_max: float = 8.0
    recovery: float = 0.8
    glance: float = 0.1
    refresh: float = 5.0
    first_status: float = 8.0
    patience: float = 5.0
    backoff: float = 1.0
    backoff_max: float = 60.0


class Pacer:
    """Remembers the last edits of one thread and says when the next may start.

    ``closed_until``: Discord takes no edit here before that.
    """

    def __init__(self, pacing: Pacing) -> None:
        self.pacing = pacing
        self.closed_until = 0.0
        self._starts: deque[float] = deque(maxlen=pacing.bucket)
        self._factor = 1.0

    @property
    def interval(self) -> float:
        """Return the least time between two ordinary edits, as things are."""
        # Many threads share what Discord takes in a second; none may use up the others' part.
        return max(self.pacing.interval, self.pacing.streaming() / EDITS_PER_SECOND) * self._factor

    def ready_at(self, *, final: bool) -> float:
        """Return from when on an edit may start: a final one at once while a token is left, others at their pace."""
        # One token is left for a final text: to empty the bucket would stall it for the rest of the window.
        tokens, ready = self.pacing.bucket - (not final), self.closed_until
        if 0 < tokens <= len(self._starts):
            ready = max(ready, self._starts[-tokens] + self.pacing.window)
        if self._starts and not final:
            ready = max(ready, self._starts[-1] + self.interval)
        return ready

    def started(self, now: float) -> None:
        self._starts.append(now)

    def refused(self) -> None:
        """Discord did not take an edit: slow down."""
        # Others may edit in the channel, too: the bucket can be empty although we counted right.
        self._factor = min(self._factor * self.pacing.penalty, self.pacing.penalty_max)

    def succeeded(self) -> None:
        """Discord took an edit: back towards the usual pace."""
        self._factor = max(1.0, self._factor * self.pacing.recovery)

    def backoff(self, failures: int) -> float:
        """Return how long to wait after so many refusals in a row."""
        # The exponent is bounded, or a day of refusals would overflow it.
        return min(self.pacing.backoff * 2.0 ** min(failures - 1, 10), self.pacing.backoff_max)
