"""How many messages a person may send in a while (pure).

Times are those of the posting: a catch-up hands over at once what was written over minutes, and out of order. The
mutable state is one token bucket for each person who wrote lately, and at most `PEOPLE` of them.
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

    def take(self, user_id: int, at: float) -> bool:
        """Count a message that was posted ``at`` (seconds); False: it is one too many."""
        if not self.per_user:
            return True
        # What is refused costs nothing: or whoever goes on writing would never be let in again.
        bucket = self._bucket(user_id, at)
        allowed = bucket.tokens >= 1
        self._buckets[user_id] = _Bucket(bucket.tokens - 1 if allowed else bucket.tokens, bucket.at)
        self._buckets.move_to_end(user_id)
        if len(self._buckets) > self._people:
            # Not who was silent for long: an older message of theirs may still be found.
            self._buckets.popitem(last=False)
        return allowed

    def wait(self, user_id: int, at: float) -> float:
        """Return in how many seconds after ``at`` the person's next message will be taken."""
        if not self.per_user:
            return 0.0
        bucket = self._bucket(user_id, at)
        return max(0.0, (1 - bucket.tokens) * self.window / self.per_user)

    def _bucket(self, user_id: int, at: float) -> _Bucket:
        """Return the person's bucket as of ``at``; one that is as of later stays so, or it would be filled twice."""
        bucket = self._buckets.get(user_id)
        if bucket is None:
            return _Bucket(float(self.per_user), at)
        # Out of order: a message from before the last one has gained nothing by waiting.
        gained = max(0.0, at - bucket.at) * self.per_user / self.window
        return _Bucket(min(float(self.per_user), bucket.tokens + gained), max(bucket.at, at))
