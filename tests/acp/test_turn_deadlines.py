"""When something is due in a turn: liveness probe, hard timeout, drain, and the time of people."""

from __future__ import annotations

from math import inf

import pytest

from acp.snapshot import Ending, Phase
from acp.turn_deadlines import Action, TurnDeadlines, TurnLimits
from tests.acp.turns import call, over, text, turn, update

LIMITS = TurnLimits()
HARD = LIMITS.hard_timeout


# --- liveness ----------------------------------------------------------------------------------------------------


def test_a_silent_process_is_probed_every_thirty_seconds() -> None:
    """T1: alive goes on, and is probed again."""
    one = turn()
    assert one.next_wakeup() == 30.0
    assert one.tick(29.9) == ()
    assert one.tick(30.0) == (Action.PROBE,)
    assert one.tick(30.1) == ()
    assert one.next_wakeup() == 60.0
    assert one.tick(60.0) == (Action.PROBE,)
    assert one.phase is Phase.RUNNING


def test_an_event_puts_off_the_probe() -> None:
    """T1: only silence is probed."""
    one = turn()
    one.feed(text("x"), 20.0)
    assert one.tick(30.0) == ()
    assert one.next_wakeup() == 50.0


def test_updates_that_cannot_be_seen_are_signs_of_life() -> None:
    """T1, T7: an unknown update is an event, though nothing changes."""
    one = turn()
    version = one.version
    one.feed(update("from_the_future"), 20.0)
    assert (one.snapshot().last_event, one.version) == (20.0, version)


def test_a_probe_that_finds_nobody_ends_the_turn() -> None:
    """T1: dead ends the turn at once."""
    one = turn()
    assert one.tick(30.0) == (Action.PROBE,)
    one.died(None, 30.0)
    assert one.tick(30.0) == ()
    assert one.snapshot().ending is Ending.AGENT_DIED


def test_silence_is_reported() -> None:
    """T7: for how long nothing was heard."""
    one = turn()
    one.feed(text("x"), 10.0)
    assert (one.snapshot().silent_for(10.0), one.snapshot().silent_for(130.0)) == (0.0, 120.0)


def test_an_open_card_is_no_silence() -> None:
    """T7: quiet while a card is open; after it, silence counts from its answer on."""
    one = turn()
    one.permission_opened("1", call(), 10.0)
    assert one.snapshot().silent_for(500.0) == 0.0
    one.permission_closed("1", 500.0)
    assert one.snapshot().silent_for(560.0) == 60.0


def test_a_finished_turn_is_not_silent() -> None:
    """T7: nobody waits for the agent any more."""
    one = turn()
    one.respond("end_turn", None, 1.0)
    assert one.snapshot().silent_for(100.0) == 0.0


# --- the hard timeout --------------------------------------------------------------------------------------------


def test_the_hard_timeout_cancels_waits_and_kills() -> None:
    """T2: cancel, 10 s of grace, kill; the outcome is `timed_out`."""
    one = turn()
    one.feed(text("x"), HARD - 1)
    assert one.next_wakeup() == HARD
    assert one.tick(HARD - 0.001) == ()
    assert one.tick(HARD) == (Action.CANCEL,)
    assert (one.phase, one.next_wakeup()) == (Phase.CANCELLING, HARD + 10.0)
    assert one.tick(HARD + 9.9) == ()
    assert one.tick(HARD + 10.0) == (Action.KILL,)
    snapshot = one.snapshot()
    assert (snapshot.ending, snapshot.killed, snapshot.cancelled_by) == (Ending.TIMED_OUT, True, None)
    assert (snapshot.text, one.tick(HARD + 99.0), one.next_wakeup()) == ("x", (), inf)


def test_an_agent_that_chats_for_ever_ends_too() -> None:
    """T2: the deadline is absolute; no event moves it, not even while it is cancelled."""
    one = turn(hard_timeout=60.0)
    seen: list[tuple[float, Action]] = []
    for step in range(1_000):
        now = step / 10
        one.feed(text("bla "), now)
        seen += [(now, action) for action in one.tick(now)]
    assert seen == [(60.0, Action.CANCEL), (70.0, Action.KILL)]
    assert one.snapshot().ending is Ending.TIMED_OUT


def test_a_deadline_that_was_slept_through_is_seen_on_the_next_pass() -> None:
    """T2: checked on every pass; the grace counts from the decision."""
    one = turn()
    assert one.tick(HARD + 500.0) == (Action.CANCEL, Action.PROBE)
    assert one.next_wakeup() == HARD + 510.0


def test_a_response_within_the_grace_is_still_a_time_out() -> None:
    """T2: we remember why we cancelled."""
    one = turn()
    one.tick(HARD)
    one.respond("cancelled", None, HARD + 1)
    snapshot = over(one, HARD + 2)
    assert (snapshot.ending, snapshot.killed, snapshot.cancelled_by) == (Ending.TIMED_OUT, False, None)


def test_a_stop_after_the_time_out_changes_nothing() -> None:
    """T2, T6: it is being cancelled already."""
    one = turn()
    one.tick(HARD)
    assert not one.cancel(HARD + 1, "ada")
    one.died(None, HARD + 2)
    assert one.snapshot().ending is Ending.TIMED_OUT


def test_the_deadline_moves_by_the_time_waited_for_a_person() -> None:
    """T2: while a permission card is open the deadline moves."""
    one = turn(liveness=inf)
    one.permission_opened("1", call(), 100.0)
    assert one.tick(HARD + 100.0) == ()
    one.permission_closed("1", HARD + 100.0)
    assert one.next_wakeup() == HARD + HARD
    assert one.tick(2 * HARD - 1) == ()
    assert one.tick(2 * HARD) == (Action.CANCEL,)


def test_cards_that_are_open_at_once_count_once() -> None:
    """T2: time waited is time, not cards."""
    one = turn(liveness=inf)
    one.permission_opened("1", call("a"), 100.0)
    one.permission_opened("2", call("b"), 110.0)
    one.permission_closed("1", 120.0)
    one.permission_closed("2", 130.0)
    assert one.next_wakeup() == HARD + 30.0


def test_the_deadline_moves_by_at_most_an_hour() -> None:
    """T2: in all by at most 60 min a turn, while a card is open and over several cards."""
    one = turn(liveness=inf)
    one.permission_opened("1", call("a"), 100.0)
    assert one.next_wakeup() == HARD + 3600.0
    one.permission_closed("1", 2100.0)
    assert one.next_wakeup() == HARD + 2000.0
    one.permission_opened("2", call("b"), 2200.0)
    assert one.tick(HARD + 3600.0 - 1) == ()
    assert one.tick(HARD + 3600.0) == (Action.CANCEL,)


def test_a_card_opened_after_the_deadline_does_not_move_it() -> None:
    """T2: a turn that is overdue does not come back."""
    one = turn()
    one.permission_opened("1", call(), HARD + 1)
    assert Action.CANCEL in one.tick(HARD + 2)


def test_closing_a_request_that_is_not_open_changes_nothing() -> None:
    """D6: first of click, timeout, cancel wins."""
    one = turn()
    one.permission_opened("1", call(), 1.0)
    one.permission_closed("1", 2.0)
    version = one.version
    one.permission_closed("1", 50.0)
    assert (one.version, one.snapshot().last_event) == (version, 2.0)


# --- drain -------------------------------------------------------------------------------------------------------


def test_the_drain_ends_after_200_ms_of_quiet() -> None:
    """T3: the loop reads on, and each late chunk is waited after."""
    one = turn()
    one.feed(text("a"), 1.0)
    one.respond("end_turn", None, 5.0)
    assert (one.phase, one.next_wakeup()) == (Phase.DRAINING, 5.2)
    one.feed(text("b"), 5.1)
    assert one.next_wakeup() == pytest.approx(5.3)
    one.tick(5.25)
    assert one.phase is Phase.DRAINING
    snapshot = over(one, 5.31)
    assert (snapshot.text, snapshot.ending) == ("ab", Ending.ANSWERED)


def test_the_drain_is_bounded_by_two_seconds() -> None:
    """T3: an agent that goes on chatting does not hold up the next prompt."""
    one = turn()
    one.respond("end_turn", None, 5.0)
    for step in range(1, 20):
        one.feed(text("x"), 5.0 + step / 10)
        one.tick(5.0 + step / 10)
    assert one.next_wakeup() == 7.0
    assert over(one, 7.0).text == "x" * 19


def test_without_a_drain_the_turn_ends_with_the_response() -> None:
    """T3: drain 0 works for an agent that keeps order."""
    one = turn(drain_quiet=0.0)
    one.respond("end_turn", None, 5.0)
    assert one.next_wakeup() == 5.0
    assert over(one, 5.0).ending is Ending.ANSWERED


def test_a_cancelled_turn_drains() -> None:
    """O3, T3: late chunks of a cancelled turn belong to it."""
    one = turn()
    one.cancel(1.0, "ada")
    one.respond("cancelled", None, 1.1)
    one.feed(text("late"), 1.2)
    snapshot = over(one, 1.5)
    assert (snapshot.text, snapshot.ending) == ("late", Ending.STOPPED)


def test_metadata_in_the_drain_is_kept() -> None:
    """T3: title and cost are what comes late."""
    one = turn()
    one.respond("end_turn", None, 1.0)
    one.feed(update("session_info_update", title="Fix the build"), 1.04)
    one.feed(update("usage_update", used=10, size=100, cost={"amount": 0.5, "currency": "EUR"}), 1.05)
    snapshot = over(one, 2.0)
    assert snapshot.title == "Fix the build"
    assert snapshot.context is not None
    assert (snapshot.context.used, snapshot.context.size) == (10, 100)
    assert snapshot.cost is not None
    assert (snapshot.cost.amount, snapshot.cost.currency) == (0.5, "EUR")


def test_the_text_is_up_to_date_when_the_response_arrives() -> None:
    """T3, T8: what was held back as a possible retry is shown with the response, before the drain."""
    one = turn()
    one.feed(text("d0 d1", "a"), 1.0)
    one.feed(text("d0", "b"), 1.1)
    assert one.snapshot().text == "d0 d1"
    one.respond("end_turn", None, 2.0)
    assert one.snapshot().text == "d0 d1\n\nd0"


def test_what_was_held_back_is_shown_after_a_death() -> None:
    """T1, T8: never lost."""
    one = turn()
    one.feed(text("d0 d1", "a"), 1.0)
    one.feed(text("d0", "b"), 1.1)
    one.died(None, 2.0)
    assert one.snapshot().text == "d0 d1\n\nd0"


# --- the time of people ------------------------------------------------------------------------------------------


def deadlines() -> TurnDeadlines:
    return TurnDeadlines(TurnLimits(liveness=inf, hard_timeout=100.0, card_extension_max=60.0), 0.0)


def test_nothing_waited_moves_nothing() -> None:
    """T2: without a card the deadline stands."""
    assert deadlines().next_wakeup(Phase.RUNNING) == 100.0


def test_time_waited_moves_the_deadline() -> None:
    """T2: by the time waited, summed over cards."""
    waiting = deadlines()
    for since, until in ((0.0, 10.0), (50.0, 55.0)):
        waiting.permission_opened("k", "call", since)
        assert waiting.waiting()
        assert waiting.permission_closed("k", until)
    assert not waiting.waiting()
    assert waiting.next_wakeup(Phase.RUNNING) == 115.0


def test_the_time_that_counts_is_bounded() -> None:
    """T2: at most so much in all."""
    waiting = deadlines()
    waiting.permission_opened("k", "call", 0.0)
    assert waiting.next_wakeup(Phase.RUNNING) == 160.0
    waiting.permission_closed("k", 500.0)
    assert waiting.next_wakeup(Phase.RUNNING) == 160.0


def test_open_requests_are_named_by_their_tool_calls() -> None:
    """Q11: what the turn waits for can be told."""
    waiting = deadlines()
    waiting.permission_opened("1", "a", 0.0)
    waiting.permission_opened("2", "b", 0.0)
    assert waiting.waiting() == ("a", "b")
    assert waiting.permission_closed("1", 1.0)
    assert waiting.permission_closed("2", 1.0)
    assert waiting.waiting() == ()
    assert not waiting.permission_closed("1", 2.0)


def test_the_default_bounds_are_the_promised_ones() -> None:
    """T1, T2, T3, T6, T10: numbers that people plan with."""
    assert TurnLimits(30.0, 1800.0, 10.0, 0.2, 2.0, 3600.0, 8 * 2**20, 1000, 64 * 2**10, 192 * 2**10) == LIMITS
