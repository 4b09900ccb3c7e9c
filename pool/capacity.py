"""Who holds one of the pool's places, and who gets it next (pure).

A place stands for a process that lives, starts or ends. A newcomer either takes a free place or becomes the heir of one
that ends; the place passes on in the same step in which it becomes free. There is no counter that could go wrong: the
mutable state is the set of holders and the map from a holder to its heir.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Capacity(Generic[T]):
    """A fixed number of places, given to objects by identity."""

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"a pool needs a place for at least one agent, not {limit}")
        self.limit = limit
        self._holders: dict[T, None] = {}
        self._heirs: dict[T, T] = {}

    @property
    def free(self) -> int:
        """How many places nobody holds."""
        return self.limit - len(self._holders)

    @property
    def holders(self) -> tuple[T, ...]:
        """Return who holds a place."""
        return tuple(self._holders)

    def holds(self, item: T) -> bool:
        """Whether ``item`` has a place."""
        return item in self._holders

    def expects(self, item: T) -> bool:
        """Whether ``item`` gets a place as soon as another gives it back."""
        return item in self._heirs.values()

    def heir_of(self, item: T) -> T | None:
        """Return who gets the place of ``item``."""
        return self._heirs.get(item)

    def take(self, item: T) -> None:
        """Give ``item`` a free place."""
        assert self.free > 0
        self._holders[item] = None

    def succeed(self, item: T, previous: T) -> None:
        """Let ``item`` have the place that ``previous`` has, once it is given back, or the one it expects."""
        if previous in self._holders:
            assert previous not in self._heirs
            self._heirs[previous] = item
            return
        self._heirs[self._ancestor(previous)] = item

    def disinherit(self, item: T) -> None:
        """Let nobody wait for the place of ``item`` any more."""
        self._heirs.pop(item, None)

    def give_back(self, item: T) -> None:
        """Take back the place that ``item`` holds or expects; a heir has it in the same step."""
        if item in self._holders:
            del self._holders[item]
            heir = self._heirs.pop(item, None)
            if heir is not None:
                self._holders[heir] = None
        elif self.expects(item):
            del self._heirs[self._ancestor(item)]

    def _ancestor(self, item: T) -> T:
        return next(holder for holder, heir in self._heirs.items() if heir is item)
