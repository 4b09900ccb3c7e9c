"""What people ask of a thread's queue: edits, deletions, removals, sending now, a reset."""

from __future__ import annotations

from bot.model import Outcome, QueueMode
from bot.work.queue.entry import Cancel, Edited, End
from bot.work.queue.rules import Rules
from bot.work.queue.thread_queue import ThreadQueue
from tests.bot.work.queue.bench import ALICE, BOB, Bench, cancels, ends, removed, written
from tests.bot.work.samples import inbound


def test_an_edit_changes_what_will_be_asked() -> None:
    """Q5."""
    bench = Bench()
    bench.busy()
    bench.say(2)
    [edited] = bench.queue.edit(2, text="better")
    assert isinstance(edited, Edited)
    entry = bench.queue.line.where.get(2)
    assert entry is not None
    assert entry.prompt_text() == "better"


def test_an_edit_of_what_the_agent_was_told_changes_nothing() -> None:
    """Q5."""
    bench = Bench()
    entry = bench.busy()
    assert bench.queue.edit(1, text="better") == []
    assert entry.prompt_text() == "1"


def test_deleting_takes_one_message_out_of_its_prompt() -> None:
    """Q5: the place stays."""
    bench = Bench(Rules())
    bench.say(1, 2)
    assert ends(bench.queue.delete(1)) == [(1, Outcome.REMOVED)]
    entry = bench.queue.line.where.get(2)
    assert entry is not None
    assert (entry.place, entry.prompt_text()) == (1, "2")


def test_removing_takes_the_whole_prompt_out() -> None:
    """Q5."""
    bench = Bench(Rules())
    bench.say(1, 2)
    assert ends(bench.queue.end_waiting(removed("bob"), 1)) == [(1, Outcome.REMOVED), (2, Outcome.REMOVED)]
    assert bench.queue.idle


def test_what_is_edited_or_deleted_before_the_agent_was_told_is_asked_otherwise_or_not() -> None:
    """Q5: its agent may take long to start; one of several shares the end of the others."""
    bench = Bench(Rules())
    bench.say(1)
    entry = bench.start()
    assert [type(decision) for decision in bench.queue.edit(1, text="better")] == [Edited]
    assert entry.prompt_text() == "better"
    bench.say(2)
    assert [type(decision) for decision in bench.queue.delete(1)] == [Edited]
    assert (entry.prompt_text(), entry.cancelled) == ("2", None)
    bench = Bench(Rules())
    bench.say(1)
    bench.start()
    [cancelled] = bench.queue.delete(1)
    assert isinstance(cancelled, Cancel)
    assert cancelled.why.outcome is Outcome.REMOVED


def test_what_runs_is_neither_deleted_nor_removed() -> None:
    """Q5."""
    bench = Bench()
    bench.busy()
    assert (
        bench.queue.delete(1) + bench.queue.end_waiting(removed("bob"), 1) + bench.queue.end_waiting(removed("bob"))
        == []
    )


def test_clearing_leaves_what_runs() -> None:
    """Q5."""
    bench = Bench()
    bench.busy()
    bench.say(2, 3)
    assert ends(bench.queue.end_waiting(removed("bob"))) == [(2, Outcome.REMOVED), (3, Outcome.REMOVED)]
    assert [entry.place for entry in bench.queue.running] == [1]


def test_a_message_withdrawn_while_the_store_is_asked_is_told_afterwards() -> None:
    """O1: once, and it holds nobody up meanwhile."""
    bench = Bench()
    bench.queue.arrive(written(1), 0)
    bench.say(2)
    assert bench.queue.delete(1) == []
    assert bench.heads() == [2]
    assert 1 in bench.queue.line.undecided
    assert ends(bench.queue.accepted(1)) == [(1, Outcome.REMOVED)]
    assert bench.queue.accepted(1) == []


def test_a_copy_withdrawn_while_the_store_is_asked_is_told_nothing() -> None:
    """O1: its first one has the outcome."""
    bench = Bench()
    bench.queue.arrive(written(1), 0)
    bench.queue.delete(1)
    assert bench.queue.refused(1) == []
    assert bench.queue.idle


def test_taking_a_message_out_lets_the_rest_of_its_prompt_have_its_effect() -> None:
    """Q2, Q4: the interrupt waits for all of its messages, and no longer."""
    bench = Bench(Rules())
    bench.now = 1.0
    bench.say(1)
    bench.now = 2.0
    bench.run()
    bench.queue.arrive(written(2, mode=QueueMode.INTERRUPT), 2.0)
    bench.queue.arrive(written(3, mode=QueueMode.INTERRUPT), 2.0)
    assert bench.queue.accepted(2) == []
    assert cancels(bench.queue.delete(3)) == [(1, Outcome.SUPERSEDED)]


def test_sending_now_cancels_the_running_turn_and_keeps_the_others_places() -> None:
    """Q5."""
    bench = Bench()
    running = bench.busy()
    bench.say(2, 3, 4)
    assert cancels(bench.queue.promote(3, "bob")) == [(1, Outcome.SUPERSEDED)]
    assert (bench.waiting(), bench.heads()) == ([3, 2, 4], [])
    bench.queue.ended(running)
    assert bench.heads() == [3]


def test_sending_now_ends_the_debounce() -> None:
    """Q4, Q5."""
    bench = Bench(Rules())
    turn = bench.busy(1)
    bench.say(2)
    bench.queue.promote(2, "alice")
    bench.queue.ended(turn)
    assert bench.heads() == [2]


def test_sending_now_cancels_nothing_where_there_is_room_or_an_end_in_sight() -> None:
    """Q5, Q9."""
    bench = Bench(Rules(debounce=0.0, max_concurrent=2))
    first = bench.busy(1)
    bench.busy(2)
    bench.say(3, 4)
    bench.queue.stop("alice")
    assert bench.queue.promote(4, "alice") == []
    bench.queue.ended(first)
    assert bench.heads() == [4]


def test_a_prompt_sent_now_has_no_other_effect() -> None:
    """Q5: the others keep their places, whatever its mode."""
    bench = Bench()
    bench.busy()
    bench.say(2)
    bench.queue.arrive(written(3, mode=QueueMode.INTERRUPT), 0)
    bench.queue.promote(3, "alice")
    assert bench.queue.accepted(3) == []
    assert bench.waiting() == [3, 2]


def test_a_reset_cancels_what_runs_and_keeps_what_waits() -> None:
    """Q8, G17."""
    bench = Bench()
    running = bench.busy()
    bench.say(2)
    assert cancels(bench.queue.reset("bob")) == [(1, Outcome.STOPPED)]
    assert bench.heads() == []
    bench.queue.ended(running)
    assert bench.heads() == [2]


def test_a_waiting_message_of_somebody_expelled_never_runs() -> None:
    """D2, O1"""
    queue = ThreadQueue(Rules(mode=QueueMode.QUEUE, debounce=0))
    for number, author in ((1, ALICE), (2, BOB)):
        queue.arrive(inbound(number, author=author), 0.0)
        queue.accepted(number)
    (end,) = queue.expel(2)
    assert isinstance(end, End)
    assert (end.message.message_id, end.why.outcome) == (2, Outcome.REMOVED)
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
