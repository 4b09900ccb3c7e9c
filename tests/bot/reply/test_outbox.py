"""Which request to Discord comes next."""

from __future__ import annotations

import itertools

import pytest

from bot.reply.outbox import Op, Outbox, OutgoingMessage
from bot.reply.pacing import Pacer, Pacing
from bot.reply.port import Body, MessageGone, PortError, ThreadArchived, ThreadGone, Unavailable


def outbox() -> Outbox:
    numbers = itertools.count(1)
    return Outbox(Pacer(Pacing()), lambda: f"n{next(numbers)}")


def posted(box: Outbox, text: str = "text", message_id: int = 1) -> OutgoingMessage:
    """Return a message whose message is on Discord."""
    message = OutgoingMessage(desired=Body(text))
    box.post(message)
    (op,) = box.next(0.0)
    box.succeeded(op, message_id)
    return message


def change(box: Outbox, message: OutgoingMessage, text: str) -> None:
    message.desired = Body(text)
    box.changed(message)


def edit(box: Outbox, message: OutgoingMessage, text: str, now: float) -> Op:
    change(box, message, text)
    (op,) = box.next(now)
    return op


def test_new_messages_go_out_one_after_another_in_order() -> None:
    box = outbox()
    first, second = OutgoingMessage(desired=Body("1")), OutgoingMessage(desired=Body("2"))
    box.post(first)
    box.post(second)
    (op,) = box.next(0.0)
    assert (op.message, list(box.next(0.0))) == (first, [])
    box.succeeded(op, 1)
    assert [op.message for op in box.next(0.0)] == [second]


def test_posting_a_cell_twice_makes_one_message() -> None:
    box = outbox()
    message = posted(box)
    box.post(message)
    assert list(box.next(0.0)) == []


def test_the_latest_body_wins_and_what_was_overtaken_is_never_sent() -> None:
    """D3"""
    box = outbox()
    message = posted(box)
    op = edit(box, message, "a", 10.0)
    change(box, message, "b")
    change(box, message, "c")
    assert list(box.next(20.0)) == []
    box.succeeded(op)
    assert [op.body.text for op in box.next(20.0)] == ["c"]


def test_a_change_that_was_taken_back_is_not_sent() -> None:
    box = outbox()
    message = posted(box, "a")
    change(box, message, "b")
    change(box, message, "a")
    assert (list(box.next(10.0)), box.settled) == ([], True)


def test_when_a_token_comes_back_the_final_edit_goes_first() -> None:
    """D3: final messages first."""
    box = outbox()
    messages = [posted(box, message_id=number) for number in range(3)]
    for _ in range(5):
        box.pacer.started(10.0)
    for message in messages:
        change(box, message, "new")
    messages[2].final = messages[1].urgent = True
    messages[2].edited_at = messages[1].edited_at = 9.0
    assert list(box.next(14.9)) == []
    assert [op.message for op in box.next(15.0)][:2] == [messages[2], messages[1]]


def test_among_ordinary_edits_the_message_that_waited_longest_goes_first() -> None:
    """D3"""
    box = outbox()
    one, two = posted(box, message_id=1), posted(box, message_id=2)
    box.succeeded(edit(box, one, "a", 10.0))
    change(box, one, "b")
    change(box, two, "b")
    assert [op.message for op in box.next(20.0)] == [two]


def test_it_wakes_up_when_the_next_edit_may_start() -> None:
    """D3"""
    box = outbox()
    message = posted(box)
    box.succeeded(edit(box, message, "a", 10.0))
    change(box, message, "b")
    assert list(box.next(11.0)) == []
    assert box.wake_at() == 11.25


def test_a_refused_message_keeps_its_nonce_and_waits_ever_longer() -> None:
    """D3"""
    box = outbox()
    box.post(OutgoingMessage(desired=Body("a")))
    nonces, now = [], 0.0
    for wait in (1.0, 2.0, 4.0):
        (op,) = box.next(now)
        nonces.append(op.nonce)
        box.failed(op, Unavailable(), now)
        assert box.wake_at() == now + wait
        now += wait
    assert nonces == ["n1"] * 3


def test_after_an_edit_that_may_have_been_applied_what_is_shown_is_unknown() -> None:
    """D3: going back to the former text needs an edit."""
    box = outbox()
    message = posted(box, "a")
    box.failed(edit(box, message, "b", 10.0), Unavailable(), 10.0)
    change(box, message, "a")
    assert [op.body.text for op in box.next(20.0)] == ["a"]


@pytest.mark.parametrize(
    ("error", "calls"), [(ThreadArchived(), 3), (MessageGone(), 3), (ValueError(), 3), (ThreadGone(), 1)]
)
def test_a_new_message_that_can_not_be_sent_is_tried_three_times_at_most(error: Exception, calls: int) -> None:
    """D10"""
    box = outbox()
    message = OutgoingMessage(desired=Body("a"))
    box.post(message)
    count, now = 0, 0.0
    while not message.given_up:
        for op in box.next(now):
            count += 1
            box.failed(op, error, now)
        now += 100.0
    assert (count, box.settled) == (calls, True)


@pytest.mark.parametrize("error", [ThreadArchived(), MessageGone(), Unavailable(), PortError()])
def test_a_failed_edit_of_one_message_leaves_the_others_alone(error: PortError) -> None:
    """O4"""
    box = outbox()
    bad, good = posted(box, message_id=1), posted(box, message_id=2)
    box.failed(edit(box, bad, "b", 10.0), error, 10.0)
    change(box, good, "b")
    assert good in [op.message for op in box.next(15.0)]


def test_a_gone_thread_ends_everything_and_takes_nothing_more() -> None:
    """D10"""
    box = outbox()
    message = posted(box)
    box.failed(edit(box, message, "b", 10.0), ThreadGone("deleted"), 10.0)
    late = OutgoingMessage(desired=Body("late"))
    box.post(late)
    change(box, message, "c")
    assert (box.gone, late.given_up, list(box.next(99.0)), box.settled) == ("deleted", True, [], True)


def test_an_archived_thread_is_told_to_the_owner_of_the_message() -> None:
    """D10"""
    box, told = outbox(), list[OutgoingMessage]()
    message = posted(box)
    message.on_archived = lambda: told.append(message)
    box.failed(edit(box, message, "b", 10.0), ThreadArchived(), 10.0)
    assert told == [message]


def test_a_request_that_was_abandoned_on_its_way_still_counts() -> None:
    """D10: what is shown is known."""
    box = outbox()
    message = OutgoingMessage(desired=Body("a"), mark=7)
    box.post(message)
    (op,) = box.next(0.0)
    box.abandon(message)
    assert not box.settled
    box.succeeded(op, 1)
    assert (message.message_id, message.displayed_mark, box.settled) == (1, 7, True)


def test_an_abandoned_message_that_waits_is_never_sent() -> None:
    """D10"""
    box = outbox()
    message = OutgoingMessage(desired=Body("a"))
    box.post(message)
    box.abandon(message)
    assert (list(box.next(0.0)), box.settled) == ([], True)
