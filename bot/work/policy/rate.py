"""How many messages a person may send in a while (pure).

The mutable state is one token bucket for each person who wrote lately, and at most `PEOPLE` of them.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

PEOPLE = 10_000


@dataclass(frozen=True, slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimit:
    """A token bucket for each person.

    Args:
        per_user: messages that one person may send in a row; 0: no limit.
        window: seconds in which an empty bucket is full again.
    """

    def __init__(self, per_user: int, window: float, *, people: int = PEOPLE) -> None:
        if per_user < 0 or window <= 0:
            raise ValueError(f"per_user is {per_user} (at least 0), window is {window} s (above 0)")
        self.per_user = per_user
        self.window = window
        self._people = people
        self._buckets: OrderedDict[int, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, user_id: int, now: float) -> bool:
        """Count a message; False: it is one too many."""
        if not self.per_user:
            return True
        tokens = self._tokens(user_id, now)
        allowed = tokens >= 1
        self._buckets[user_id] = _Bucket(tokens - 1 if allowed else tokens, now)
        self._buckets.move_to_end(user_id)
        self._forget(now)
        return allowed

    def wait(self, user_id: int, now: float) -> float:
        """Return in how many seconds the person's next message will be taken."""
        missing = 1 - self._tokens(user_id, now) if self.per_user else 0.0
        return max(0.0, missing * self.window / self.per_user) if self.per_user else 0.0

    def _tokens(self, user_id: int, now: float) -> float:
        bucket = self._buckets.get(user_id)
        if bucket is None:
            return float(self.per_user)
        return min(float(self.per_user), bucket.tokens + (now - bucket.at) * self.per_user / self.window)

    def _forget(self, now: float) -> None:
        # The longest silent first: whoever was silent for a whole window has a full bucket, which is none.
        while self._buckets:
            user_id, bucket = next(iter(self._buckets.items()))
            if len(self._buckets) <= self._people and now - bucket.at < self.window:
                return
            del self._buckets[user_id]
