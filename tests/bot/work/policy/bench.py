"""A thread's queue with a record of what became of each message."""

from __future__ import annotations

from dataclasses import replace

from bot.outcome import Outcome
from bot.work.model import Actor, Inbound, Lane, QueueMode
from bot.work.policy.decisions import Cancel, Decision, End
from bot.work.policy.entry import Entry
from bot.work.policy.rules import Rules
from bot.work.policy.thread import ThreadQueue
from tests.bot.work.samples import ALICE, BOB, inbound

__all__ = ["ALICE", "BOB", "PLAIN", "Bench", "cancels", "ends", "written"]

PLAIN = Rules(debounce=0.0)


def written(
    number: int,
    author: Actor = ALICE,
    *,
    text: str = "",
    mode: QueueMode | None = None,
    lane: Lane = Lane.MAIN,
    files: int = 0,
    thread_id: int = 100,
) -> Inbound:
    """Return message ``number``, which says its number unless told otherwise."""
    message = inbound(number, thread_id=thread_id, text=text or str(number), author=author)
    return replace(message, mode=mode, lane=lane, files=files)


def ends(decisions: list[Decision]) -> list[tuple[int, Outcome]]:
    return [(decision.message.id, decision.why.outcome) for decision in decisions if isinstance(decision, End)]


def cancels(decisions: list[Decision]) -> list[tuple[int, Outcome]]:
    return [(decision.entry.place, decision.why.outcome) for decision in decisions if isinstance(decision, Cancel)]


class Bench:
    """One thread, without a store: what is said is accepted."""

    def __init__(self, rules: Rules = PLAIN) -> None:
        self.queue = ThreadQueue(rules)
        self.now = 0.0

    def say(
        self, *numbers: int, author: Actor = ALICE, mode: QueueMode | None = None, files: int = 0
    ) -> list[Decision]:
        decisions: list[Decision] = []
        for number in numbers:
            decisions += self.queue.arrive(written(number, author, mode=mode, files=files), self.now)
            decisions += self.queue.accepted(number)
        return decisions

    def heads(self) -> list[int]:
        return [entry.place for entry in self.queue.heads(self.now)]

    def run(self) -> Entry:
        """Start the first that may start."""
        entry = self.queue.heads(self.now)[0]
        self.queue.started(entry)
        return entry

    def busy(self, number: int = 1) -> Entry:
        """Let a message arrive and run."""
        self.say(number)
        return self.run()

    def waiting(self) -> list[int]:
        return [entry.place for entry in self.queue.line]
