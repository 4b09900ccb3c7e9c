"""The waiting prompts of one thread, and the policy that says which runs next (pure).

This is the plain first-in, first-out policy: one turn at a time, in order of arrival by Discord snowflake.
It is the seam for other queue modes: the scheduler only calls what is here. The mutable state is the list of waiting
prompts and the one that runs.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from enum import Enum, auto

from bot.work.ending import TurnEnd
from bot.work.model import Inbound


class PromptState(Enum):
    """Where a prompt is on its way."""

    ACCEPTING = auto()
    WAITING = auto()
    RUNNING = auto()
    ENDED = auto()


@dataclass(slots=True, eq=False)
class Prompt:
    """An inbound message on its way through the queue.

    Attributes:
        state: ACCEPTING until the store has it; only a WAITING prompt may start (O2).
        told_to_wait: whether its author has already been told that no agent is free.
        withdrawn: the end it was given while it was ACCEPTING; whoever accepts it tells that, once (O1).
    """

    inbound: Inbound
    state: PromptState = PromptState.ACCEPTING
    told_to_wait: bool = False
    withdrawn: TurnEnd | None = None

    @property
    def id(self) -> int:
        """The snowflake of the message: the order of arrival."""
        return self.inbound.message_id


@dataclass(slots=True, eq=False)
class ThreadQueue:
    """One thread's prompts: at most one runs, the others wait in order of arrival (Q1)."""

    waiting: list[Prompt] = field(default_factory=list)
    running: Prompt | None = None

    def add(self, prompt: Prompt) -> None:
        """Give the prompt its place by snowflake."""
        bisect.insort(self.waiting, prompt, key=lambda item: item.id)

    def holds(self, message_id: int) -> bool:
        """Whether the message runs or waits here."""
        return any(prompt.id == message_id for prompt in (self.running, *self.waiting) if prompt)

    def head(self) -> Prompt | None:
        """Return the prompt that may start now, or None.

        A prompt that the store has not taken yet holds the place for those behind it: order is by arrival.
        """
        if self.running is not None or not self.waiting:
            return None
        first = self.waiting[0]
        return first if first.state is PromptState.WAITING else None

    def start(self, prompt: Prompt) -> None:
        """Move the head to running."""
        assert self.running is None
        assert self.waiting[0] is prompt
        self.running = self.waiting.pop(0)
        prompt.state = PromptState.RUNNING

    def end(self, prompt: Prompt) -> None:
        """Forget the prompt, wherever it is; only the running one frees the thread."""
        if self.running is prompt:
            self.running = None
        elif prompt in self.waiting:
            self.waiting.remove(prompt)
        prompt.state = PromptState.ENDED

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return self.running is None and not self.waiting
