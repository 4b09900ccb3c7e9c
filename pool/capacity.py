"""Who holds a place in the pool, and who gets it next (pure)."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Capacity(Generic[T]):
    """A fixed number of places, given to objects by identity.

    A place stands for a process that lives, starts or ends. A newcomer either takes a free place or becomes the
    successor of one that ends.

    Attributes:
        holders: who holds a place, in the order in which they got it.
        successors: by holder, who gets its place in the step in which it is given back.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"a pool needs a place for at least one agent, not {limit}")
        self.limit = limit
        # Both maps are all there is: a counter beside them could be wrong.
        self.holders: dict[T, None] = {}
        self.successors: dict[T, T] = {}

    @property
    def free(self) -> int:
        """How many places nobody holds."""
        return self.limit - len(self.holders)

    def includes(self, item: T) -> bool:
        """Whether ``item`` has a place, or gets one as soon as another gives it back."""
        return item in self.holders or item in self.successors.values()

    def take(self, item: T) -> None:
        """Give ``item`` a free place."""
        assert self.free > 0
        self.holders[item] = None

    def succeed(self, item: T, previous: T) -> None:
        """Let ``item`` have the place that ``previous`` has, once it is given back, or the one it expects."""
        holder = previous
        if previous in self.holders:
            assert previous not in self.successors
        else:
            # A newcomer that never started has no place to hand on, only what it expects.
            holder = next(one for one, successor in self.successors.items() if successor is previous)
        self.successors[holder] = item

    def give_back(self, item: T) -> None:
        """Take back the place that ``item`` holds or expects; one that has neither changes nothing."""
        if item in self.holders:
            del self.holders[item]
            # In the same step, or somebody who looks at what is free would come in between.
            successor = self.successors.pop(item, None)
            if successor is not None:
                self.holders[successor] = None
            return
        # The holder is left without a successor, or its place would go to one that is gone.
        self.successors = {holder: successor for holder, successor in self.successors.items() if successor is not item}
