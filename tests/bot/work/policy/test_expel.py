"""Who is let in no more: what waits of theirs is taken out, and of nobody else."""

from __future__ import annotations

from bot.outcome import Outcome
from bot.work.model import QueueMode
from bot.work.policy.decisions import End
from bot.work.policy.rules import Rules
from bot.work.policy.thread import ThreadQueue
from tests.bot.work.samples import ALICE, BOB, inbound


def test_a_waiting_message_of_somebody_expelled_never_runs() -> None:
    """D2, O1"""
    queue = ThreadQueue(Rules(mode=QueueMode.QUEUE, debounce=0))
    for number, author in ((1, ALICE), (2, BOB)):
        queue.arrive(inbound(number, author=author), 0.0)
        queue.accepted(number)
    (end,) = queue.expel(2)
    assert isinstance(end, End)
    assert (end.message.id, end.why.outcome) == (2, Outcome.REMOVED)
    assert [entry.place for entry in queue.line] == [1]
    assert queue.expel(2) == []


def test_what_runs_already_goes_on() -> None:
    """Q5"""
    queue = ThreadQueue(Rules(mode=QueueMode.QUEUE, debounce=0))
    queue.arrive(inbound(1), 0.0)
    queue.accepted(1)
    (head,) = queue.heads(0.0)
    queue.started(head)
    assert queue.expel(1) == []
    assert queue.running == [head]
