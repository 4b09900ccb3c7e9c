"""Memory with a bound: what was put in longest ago is forgotten first (pure)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class RecentMap(dict[K, V]):
    """A dict whose `put` moves a key to the end and, beyond ``limit`` keys, drops the first.

    Read and remove as with any dict; only `put` keeps the bound.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def put(self, key: K, value: V) -> None:
        # Deleted first: a dict leaves a key that it has already in its old position.
        self.pop(key, None)
        self[key] = value
        # One is enough, since only this adds keys, and one at a time.
        if len(self) > self._limit:
            del self[next(iter(self))]


class Recent(Generic[K]):
    """The latest keys, so that what comes again is neither taken nor counted twice."""

    def __init__(self, limit: int) -> None:
        self._keys: RecentMap[K, None] = RecentMap(limit)

    def __contains__(self, key: K) -> bool:
        return key in self._keys

    def first(self, key: K) -> bool:
        """Remember a key; return whether it comes for the first time."""
        if key in self._keys:
            return False
        self._keys.put(key, None)
        return True
