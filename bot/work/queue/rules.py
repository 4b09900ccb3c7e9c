"""The settings of a thread's queue, and what is remembered of a thread while its queue is empty (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from bot.model import QueueMode
from bot.work.queue.drop_rule import Drop


@dataclass(frozen=True, slots=True)
class Rules:
    """How a thread's messages become turns.

    Attributes:
        mode: for messages that ask for no mode themselves (Q2).
        cap: how many prompts may wait behind what runs or could start at once; see `drop_rule` (Q3).
        debounce: seconds to wait for more of the same author; 0: none; see `debounce` (Q4).
        debounce_max: seconds that it may take in all.
        max_concurrent: how many turns of the thread run at once (Q9).
        throttle: share of the context window from which on that is 1 for new starts.

    Raises:
        ValueError: a number makes no sense.
    """

    mode: QueueMode = QueueMode.QUEUE
    cap: int = 10
    drop: Drop = Drop.OLD
    debounce: float = 0.8
    debounce_max: float = 3.0
    max_concurrent: int = 1
    throttle: float = 0.6

    def __post_init__(self) -> None:
        # Here and not in the settings alone: a queue that lets nothing run would look like a bot that hangs.
        if self.cap < 0 or self.max_concurrent < 1:
            raise ValueError(f"cap is {self.cap} (at least 0), max_concurrent is {self.max_concurrent} (at least 1)")
        if self.debounce < 0 or self.debounce_max < 0:
            raise ValueError(f"debounce is {self.debounce} s, at most {self.debounce_max} s; neither may be negative")

    def limit(self, share: float | None) -> int:
        """Return how many turns may run at once when ``share`` of the context window is used (None: unknown)."""
        # A turn beside another one runs on a copy of the session, which begins as full as that is.
        return 1 if share is not None and share >= self.throttle else self.max_concurrent


@dataclass(slots=True)
class Remembered:
    """What outlives an empty queue.

    Attributes:
        cutoff: messages with a smaller snowflake never run: they are older than a stop-all (Q7).
        share: how much of the context window is used, 0 to 1; None: the agent does not say.
        can_steer: whether the agent takes messages into a running turn.
        generation: counts the resets (Q8).
    """

    cutoff: int = 0
    share: float | None = None
    can_steer: bool = False
    generation: int = 0
