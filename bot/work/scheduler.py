"""All-or-nothing admission: starts a waiting prompt when its thread, a place in the lane and an agent are free at once.

No function here awaits, so each is one critical section on the loop, and nobody ever waits while holding one of the
three (Q6). The mutable state is the map of queues and the number of running prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from bot.work.queue import Prompt, PromptState, ThreadQueue


class Releasable(Protocol):
    """A claim on an agent that can be given back."""

    def release(self) -> None:
        """Give the claim back; a second call does nothing."""


R = TypeVar("R", bound=Releasable)


class Scheduler(Generic[R]):
    """Admits prompts in order of arrival, over all threads.

    Args:
        lane: how many prompts run at once.
        reserve: claims an agent for a thread, or returns None; never waits.
        start: begins an admitted prompt; must only schedule it.
        wait: told once for a prompt that is held up by a lack of agents (P4).

    Attributes:
        held: nothing starts for the moment; call `admit` when that is over. ``closed``: nothing starts any more.
    """

    def __init__(
        self,
        *,
        lane: int,
        reserve: Callable[[int], R | None],
        start: Callable[[Prompt, R], None],
        wait: Callable[[Prompt], None],
    ) -> None:
        self.lane = lane
        self.running = 0
        self.closed = False
        self.held = False
        self._admitting = False
        self._reserve = reserve
        self._start = start
        self._wait = wait
        self._queues: dict[int, ThreadQueue] = {}

    def queue(self, thread_id: int) -> ThreadQueue:
        """Return the thread's queue; an empty one, not kept, if it has none."""
        return self._queues.get(thread_id) or ThreadQueue()

    def waiting(self) -> Iterator[Prompt]:
        """Return all prompts that wait, thread by thread."""
        return (prompt for queue in list(self._queues.values()) for prompt in list(queue.waiting))

    def add(self, prompt: Prompt) -> None:
        """Give a prompt its place; it may start once `accepted` was called."""
        self._queues.setdefault(prompt.inbound.thread_id, ThreadQueue()).add(prompt)

    def accepted(self, prompt: Prompt) -> None:
        """Say that the store has the prompt."""
        if prompt.state is PromptState.ACCEPTING:
            prompt.state = PromptState.WAITING
            self.admit()

    def end(self, prompt: Prompt) -> None:
        """Forget a prompt: it ran to its end, or it was taken out before."""
        queue = self._queues.get(prompt.inbound.thread_id)
        if queue is None or prompt.state is PromptState.ENDED:
            return
        if queue.running is prompt:
            self.running -= 1
        queue.end(prompt)
        if queue.idle:
            del self._queues[prompt.inbound.thread_id]
        self.admit()

    def admit(self) -> None:
        """Start every prompt whose three conditions hold; call it whenever one of them may have changed."""
        # A reservation that marks a victim may itself report a change: the walk that is under way sees it.
        if self.closed or self.held or self._admitting:
            return
        self._admitting = True
        try:
            for prompt in sorted(self._heads(), key=lambda item: item.id):
                self._try_start(prompt)
        finally:
            self._admitting = False

    def _heads(self) -> list[Prompt]:
        return [head for queue in self._queues.values() if (head := queue.head())]

    def _try_start(self, prompt: Prompt) -> None:
        reservation = self._reserve(prompt.inbound.thread_id) if self.running < self.lane else None
        if reservation is None:
            self._tell(prompt)
            return
        self._queues[prompt.inbound.thread_id].start(prompt)
        self.running += 1
        self._start(prompt, reservation)

    def _tell(self, prompt: Prompt) -> None:
        if not prompt.told_to_wait:
            prompt.told_to_wait = True
            self._wait(prompt)
