"""What a message does that comes while a turn runs: interrupt, followup, steer; and stopping."""

from __future__ import annotations

import pytest

from bot.model import Lane, Outcome, QueueMode
from bot.work.prompt import SAID_MEANWHILE
from bot.work.queue.entry import Cancel, Entry, Inject, Warm
from bot.work.queue.rules import Rules
from tests.bot.work.queue.bench import ALICE, BOB, Bench, cancels, ends, written

# Interrupt


def test_an_interrupt_cancels_supersedes_and_is_next() -> None:
    """Q2, G3: it starts only after the old turn has really ended."""
    bench = Bench()
    running = bench.busy()
    bench.say(2, 3)
    decisions = bench.say(4, mode=QueueMode.INTERRUPT)
    assert cancels(decisions) == [(1, Outcome.SUPERSEDED)]
    assert ends(decisions) == [(2, Outcome.SUPERSEDED), (3, Outcome.SUPERSEDED)]
    assert bench.heads() == []
    bench.queue.ended(running)
    assert bench.heads() == [4]


def test_an_interrupt_waits_for_every_turn_that_it_cancelled() -> None:
    """Q2, Q9: also where another place is free."""
    bench = Bench(Rules(debounce=0.0, max_concurrent=3))
    first, second = bench.busy(1), bench.busy(2)
    bench.say(3, mode=QueueMode.INTERRUPT)
    bench.queue.ended(first)
    assert bench.heads() == []
    bench.queue.ended(second)
    assert bench.heads() == [3]


def test_an_interrupt_leaves_what_came_after_it() -> None:
    """Q2: the store may answer late."""
    bench = Bench()
    bench.busy()
    bench.queue.arrive(written(2, mode=QueueMode.INTERRUPT), 0)
    bench.say(3)
    assert ends(bench.queue.accepted(2)) == []
    assert bench.waiting() == [2, 3]


def test_an_interrupt_in_a_row_acts_once() -> None:
    """Q2, Q4: its author goes on writing, and does not supersede the own words."""
    bench = Bench(Rules())
    bench.queue.restore(written(1))
    bench.run()
    bench.say(2, mode=QueueMode.INTERRUPT)
    assert bench.say(3, mode=QueueMode.INTERRUPT) == []
    assert bench.waiting() == [2]


def test_an_interrupt_does_not_cancel_a_turn_that_has_answered() -> None:
    """Q2, T6: its answer stands."""
    bench = Bench()
    running = bench.busy()
    running.finishing = True
    assert cancels(bench.say(2, mode=QueueMode.INTERRUPT)) == []
    assert bench.heads() == []


# Followup


def test_followups_that_wait_become_one_turn() -> None:
    """Q2, G2: in order, authors named."""
    bench = Bench(Rules(mode=QueueMode.FOLLOWUP, debounce=0.0))
    running = bench.busy()
    bench.say(2)
    bench.say(3, author=BOB)
    bench.queue.ended(running)
    entry = bench.run()
    assert (entry.prompt_text(), bench.waiting()) == (
        "[alice (user 11) wrote:]\n> 2\n\n[bob (user 12) wrote:]\n> 3",
        [],
    )


def test_only_followups_in_a_row_become_one_turn() -> None:
    """Q2, Q1: what stands between them keeps its place."""
    bench = Bench()
    running = bench.busy()
    bench.say(2, 3, mode=QueueMode.FOLLOWUP)
    bench.say(4)
    bench.say(5, mode=QueueMode.FOLLOWUP)
    bench.queue.ended(running)
    entry = bench.run()
    assert ([message.message_id for message in entry.messages], bench.waiting()) == ([2, 3], [4, 5])


def test_a_followup_that_the_store_does_not_have_is_left_for_the_next_turn() -> None:
    """Q2, O2."""
    bench = Bench()
    running = bench.busy()
    bench.say(2, mode=QueueMode.FOLLOWUP)
    bench.queue.arrive(written(3, mode=QueueMode.FOLLOWUP), 0)
    bench.queue.ended(running)
    bench.run()
    assert bench.waiting() == [3]


def test_followups_of_another_lane_are_a_turn_of_their_own() -> None:
    """Q2, Q6."""
    bench = Bench()
    running = bench.busy()
    bench.say(2, mode=QueueMode.FOLLOWUP)
    bench.queue.arrive(written(3, mode=QueueMode.FOLLOWUP, lane=Lane.BACKGROUND), 0)
    bench.queue.accepted(3)
    bench.queue.ended(running)
    bench.run()
    assert bench.waiting() == [3]


def test_a_followup_sent_now_goes_alone() -> None:
    """Q2, Q5: the others keep their places."""
    bench = Bench()
    running = bench.busy()
    bench.say(2, 3, 4, mode=QueueMode.FOLLOWUP)
    bench.queue.promote(2, "alice")
    bench.queue.ended(running)
    bench.run()
    assert bench.waiting() == [3, 4]


# Steer


def steered(bench: Bench, number: int = 2) -> Entry:
    """Let a message be handed to the running turn."""
    [inject] = bench.say(number, mode=QueueMode.STEER)
    assert isinstance(inject, Inject)
    return inject.entry


def steerable(rules: Rules | None = None) -> tuple[Bench, Entry]:
    bench = Bench(rules or Rules(debounce=0.0))
    bench.queue.memory.can_steer = True
    return bench, bench.busy()


def test_a_steering_message_is_put_into_the_running_turn() -> None:
    """Q2, PC5: its outcome is then the turn's, and it is no turn of its own."""
    bench, running = steerable()
    entry = steered(bench)
    assert bench.queue.steered(entry, ok=True) == []
    assert [message.message_id for message in running.owed] == [1, 2]
    assert bench.queue.line.holds(2)
    bench.queue.ended(running)
    assert bench.queue.idle


def test_steering_messages_in_a_row_go_one_by_one() -> None:
    """Q2, Q4: none waits for the debounce, or for the store to have the next."""
    bench, _ = steerable()
    bench.queue.rules = Rules()
    for number in (2, 3):
        bench.queue.arrive(written(number, mode=QueueMode.STEER), 0)
    [inject] = bench.queue.accepted(2)
    assert isinstance(inject, Inject)
    assert [message.message_id for message in inject.entry.messages] == [2]


def test_a_turn_that_does_not_take_it_is_cancelled_for_it() -> None:
    """Q2: it runs next, marked as said while working, before what waits."""
    bench, running = steerable()
    bench.say(2)
    entry = steered(bench, 3)
    assert cancels(bench.queue.steered(entry, ok=False)) == [(1, Outcome.SUPERSEDED)]
    assert (bench.waiting(), bench.heads()) == ([3, 2], [])
    bench.queue.ended(running)
    assert bench.run().prompt_text() == f"{SAID_MEANWHILE}\n3"


def test_where_the_agent_offers_no_steering_the_turn_is_cancelled_at_once() -> None:
    """Q2."""
    bench = Bench()
    bench.busy()
    assert cancels(bench.say(2, mode=QueueMode.STEER)) == [(1, Outcome.SUPERSEDED)]


def test_what_was_said_to_a_turn_waits_for_the_end_of_that_turn() -> None:
    """Q2, Q9: also where another place is free."""
    bench = Bench(Rules(debounce=0.0, max_concurrent=2))
    first, second = bench.busy(1), bench.busy(2)
    bench.say(3, mode=QueueMode.STEER)
    bench.queue.ended(second)
    assert bench.heads() == []
    bench.queue.ended(first)
    assert bench.heads() == [3]


def test_what_is_said_while_the_turn_winds_down_is_asked_together() -> None:
    """Q2, PB4: with the names and ids of all."""
    bench = Bench()
    running = bench.busy()
    bench.say(2, mode=QueueMode.STEER)
    assert bench.say(3, author=BOB, mode=QueueMode.STEER) == []
    bench.queue.ended(running)
    entry = bench.run()
    assert entry.prompt_text() == f"{SAID_MEANWHILE}\n[alice (user 11) wrote:]\n> 2\n\n[bob (user 12) wrote:]\n> 3"
    assert [message.message_id for message in entry.messages] == [2, 3]


def test_with_nothing_running_a_steering_message_is_an_ordinary_one() -> None:
    """Q2."""
    bench = Bench()
    bench.say(1)
    bench.say(2, mode=QueueMode.STEER)
    assert bench.waiting() == [1, 2]
    assert bench.run().prompt_text() == "1"


def test_a_steering_message_in_a_turns_last_moments_is_next() -> None:
    """Q2, PC6, T3: unmarked, and nothing is cancelled."""
    bench, running = steerable()
    bench.say(2)
    running.finishing = True
    assert bench.say(3, mode=QueueMode.STEER) == []
    bench.queue.ended(running)
    assert bench.run().prompt_text() == "3"


def test_a_turn_that_ends_before_it_took_them_leaves_them_next_in_order() -> None:
    """Q2, PC6, O1: the late answer changes nothing any more."""
    bench, running = steerable()
    first, second = steered(bench, 2), steered(bench, 3)
    bench.say(4)
    assert bench.queue.ended(running) == []
    assert bench.waiting() == [2, 3, 4]
    assert bench.queue.steered(first, ok=True) == bench.queue.steered(second, ok=False) == []
    assert bench.run().prompt_text() == "2"


def test_a_message_in_flight_that_is_deleted_does_not_run_afterwards() -> None:
    """Q5, O1: the first reason stays."""
    bench, _ = steerable()
    entry = steered(bench)
    assert bench.queue.delete(2) == []
    assert ends(bench.queue.stop_all("bob", 9)) == []
    decisions = bench.queue.steered(entry, ok=False)
    assert (ends(decisions), cancels(decisions)) == ([(2, Outcome.REMOVED)], [])


def test_a_failed_steering_does_not_cancel_a_turn_that_is_being_cancelled() -> None:
    """Q2, T6: the first reason stays."""
    bench, running = steerable()
    entry = steered(bench)
    bench.queue.stop("bob")
    assert bench.queue.steered(entry, ok=False) == []
    assert running.cancelled is not None
    assert running.cancelled.outcome is Outcome.STOPPED


def test_the_oldest_turn_that_goes_on_is_steered() -> None:
    """Q2, Q9: the one that a stop would end."""
    bench = Bench(Rules(debounce=0.0, max_concurrent=3))
    bench.queue.memory.can_steer = True
    for number in (1, 2, 3):
        bench.busy(number)
    bench.queue.stop("alice")
    [inject] = bench.say(4, mode=QueueMode.STEER)
    assert isinstance(inject, Inject)
    assert inject.into.place == 2


# Stop


def test_a_stop_ends_the_oldest_running_turn_and_keeps_what_waits() -> None:
    """Q7, G14."""
    bench = Bench(Rules(debounce=0.0, max_concurrent=2))
    bench.busy(1)
    bench.busy(2)
    bench.say(3)
    assert cancels(bench.queue.stop("bob")) == [(1, Outcome.STOPPED)]
    assert bench.waiting() == [3]
    assert cancels(bench.queue.stop("bob")) == [(2, Outcome.STOPPED)]


def test_a_second_stop_is_told_of_the_first() -> None:
    """Q7: it does not take the waiting one."""
    bench = Bench()
    bench.busy()
    bench.say(2)
    [first] = bench.queue.stop("bob")
    [second] = bench.queue.stop("alice")
    assert isinstance(first, Cancel)
    assert second == first
    assert bench.waiting() == [2]


def test_a_stop_with_nothing_running_takes_the_next_out() -> None:
    """Q7, T6."""
    bench = Bench()
    bench.say(1, 2)
    assert ends(bench.queue.stop("bob")) == [(1, Outcome.STOPPED)]


def test_a_stop_while_the_turn_drains_changes_nothing() -> None:
    """T6: already finished."""
    bench = Bench()
    running = bench.busy()
    bench.say(2)
    running.finishing = True
    assert bench.queue.stop("bob") == []
    assert bench.waiting() == [2]


def test_there_may_be_nothing_to_stop() -> None:
    """Q7, G14."""
    bench = Bench()
    assert bench.queue.stop("bob") == []
    assert bench.queue.idle


def test_a_stop_of_one_message_leaves_the_others() -> None:
    """T6: the button of a turn that is over stops no other."""
    bench = Bench()
    first = bench.busy()
    bench.queue.ended(first)
    bench.busy(2)
    bench.say(3, 4)
    assert bench.queue.stop("bob", 1) == []
    assert ends(bench.queue.stop("bob", 4)) == [(4, Outcome.STOPPED)]
    assert cancels(bench.queue.stop("bob", 2)) == [(2, Outcome.STOPPED)]


def test_a_stop_of_all_ends_what_is_older_and_leaves_what_is_newer() -> None:
    """Q7, G15, G16."""
    bench = Bench()
    running = bench.busy()
    bench.say(2, 3, 9)
    decisions = bench.queue.stop_all("bob", 5)
    assert cancels(decisions) == [(1, Outcome.STOPPED)]
    assert ends(decisions) == [(2, Outcome.STOPPED), (3, Outcome.STOPPED)]
    bench.queue.ended(running)
    assert bench.heads() == [9]


def test_what_is_older_than_a_stop_of_all_and_arrives_later_is_stale() -> None:
    """Q7, G16: told once the store has it."""
    bench = Bench()
    bench.queue.stop_all("bob", 5)
    assert ends(bench.say(4)) == [(4, Outcome.STALE)]
    assert bench.say(6) == [Warm(100)]
    assert bench.heads() == [6]


def test_a_stop_of_all_leaves_a_turn_of_a_newer_message() -> None:
    """Q7: it was handled first, and written later."""
    bench = Bench()
    bench.busy(7)
    assert bench.queue.stop_all("bob", 5) == []


def test_a_stop_of_all_splits_a_row_at_its_own_time() -> None:
    """Q4, Q7: what is still in the debounce is skipped, what came after runs."""
    bench = Bench(Rules())
    turn = bench.busy(3)
    bench.say(4, 6)
    assert ends(bench.queue.stop_all("bob", 5)) == [(4, Outcome.STOPPED)]
    bench.queue.ended(turn)
    bench.now = 1.0
    assert bench.run().prompt_text() == "6"


@pytest.mark.parametrize("ok", [True, False])
def test_a_stop_of_all_reaches_what_is_on_its_way_into_the_turn(ok: bool) -> None:
    """Q7, O1."""
    bench, running = steerable()
    entry = steered(bench)
    assert cancels(bench.queue.stop_all("bob", 5)) == [(1, Outcome.STOPPED)]
    assert ends(bench.queue.steered(entry, ok=ok)) == ([] if ok else [(2, Outcome.STOPPED)])
    assert [message.message_id for message in running.owed] == ([1, 2] if ok else [1])
    assert bench.waiting() == []


def test_an_older_stop_of_all_does_not_move_the_cutoff_back() -> None:
    """Q7."""
    bench = Bench()
    bench.queue.stop_all("bob", 5)
    bench.queue.stop_all("bob", 3)
    assert ends(bench.say(4)) == [(4, Outcome.STALE)]


def test_a_stale_message_that_is_restored_does_not_run() -> None:
    """Q7, R2."""
    bench = Bench()
    bench.queue.stop_all("bob", 5)
    assert ends(bench.queue.restore(written(4, ALICE))) == [(4, Outcome.STALE)]


def test_a_thread_that_is_gone_ends_everything_and_may_come_back() -> None:
    """D10."""
    bench = Bench()
    running = bench.busy()
    bench.say(2)
    decisions = bench.queue.gone("the thread was deleted")
    assert (cancels(decisions), ends(decisions)) == ([(1, Outcome.STOPPED)], [(2, Outcome.STOPPED)])
    bench.queue.ended(running)
    bench.say(3)
    assert bench.heads() == [3]


def test_a_stopped_turn_keeps_its_place_until_it_has_ended() -> None:
    """B1: the place was free at once, and two turns ran in one session."""
    bench = Bench()
    running = bench.busy()
    bench.say(2)
    bench.queue.stop("bob")
    assert bench.heads() == []
    bench.queue.ended(running)
    assert bench.heads() == [2]


def test_an_interrupted_turn_keeps_its_place_until_it_has_ended() -> None:
    """B2: the same by interrupt."""
    bench = Bench()
    running = bench.busy()
    bench.say(2, mode=QueueMode.INTERRUPT)
    assert bench.heads() == []
    bench.queue.ended(running)
    assert bench.heads() == [2]


def test_the_end_of_one_asker_changes_nothing_for_the_next() -> None:
    """B9: a turn ran under the context of whoever had asked first, and was cancelled with it."""
    bench = Bench()
    first = bench.busy(1)
    bench.say(2, author=BOB)
    bench.queue.stop("alice")
    bench.queue.ended(first)
    following = bench.run()
    assert (following.authors, following.cancelled) == ((BOB,), None)


def test_a_steering_message_never_meets_a_full_queue_in_silence() -> None:
    """PB3: the eleventh was dropped with a line in the log only."""
    bench = Bench(Rules(debounce=0.0, cap=0))
    bench.queue.memory.can_steer = True
    running = bench.busy()
    handed = [decision for decision in bench.say(*range(2, 30), mode=QueueMode.STEER) if isinstance(decision, Inject)]
    assert len(handed) == 28
    bench.queue.ended(running)
    assert (bench.waiting(), bench.heads()) == (list(range(2, 30)), [2])


def test_a_steering_message_keeps_its_id_and_author() -> None:
    """PB4: only the text was kept, so its answer hung on another message."""
    bench = Bench()
    running = bench.busy()
    bench.say(2, author=BOB, mode=QueueMode.STEER)
    bench.queue.ended(running)
    following = bench.run()
    assert [(message.message_id, message.author) for message in following.messages] == [(2, BOB)]


def test_a_message_after_the_answer_does_not_replace_the_answer() -> None:
    """PB5: what was said late took over the turn, and the first answer was never shown."""
    bench = Bench()
    bench.queue.memory.can_steer = True
    running = bench.busy()
    running.finishing = True
    assert bench.say(2, mode=QueueMode.STEER) == []
    assert ([message.message_id for message in running.owed], running.cancelled) == ([1], None)


def test_a_stop_between_the_arrival_and_the_start_takes_the_message_out() -> None:
    """PC7: also while the store is still being asked."""
    bench = Bench()
    bench.queue.arrive(written(1), 0)
    assert bench.queue.stop("bob") == []
    assert ends(bench.queue.accepted(1)) == [(1, Outcome.STOPPED)]
    assert bench.heads() == []


def test_a_stop_names_what_it_stopped() -> None:
    """PC14."""
    bench = Bench()
    bench.busy()
    [cancel] = bench.queue.stop("bob")
    assert isinstance(cancel, Cancel)
    assert (cancel.entry.prompt_text(), cancel.why.by) == ("1", "bob")
