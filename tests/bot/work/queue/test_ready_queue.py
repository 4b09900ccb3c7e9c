"""Which thread's entry is next over all threads, and when threads are asked again."""

from __future__ import annotations

from bot.model import Lane, QueueMode
from bot.work.queue.entry import Entry
from bot.work.queue.scheduler import ReadyQueue
from tests.bot.work.queue.bench import written

BOTH = tuple(Lane)


def entry(number: int, thread_id: int = 1, lane: Lane = Lane.MAIN) -> Entry:
    return Entry(number, thread_id, QueueMode.QUEUE, lane, [written(number, thread_id=thread_id, lane=lane)])


def drained(heads: ReadyQueue, *lanes: Lane) -> list[int]:
    """Take the first out of its thread again and again."""
    order = []
    while (first := heads.first(lanes or BOTH)) is not None:
        order.append(first.place)
        heads.refuse(first)
    return order


def test_the_oldest_is_first_whatever_its_thread_and_lane() -> None:
    """Q6: in order of arrival over all threads."""
    heads = ReadyQueue()
    heads.put(1, [entry(5, 1)])
    heads.put(2, [entry(3, 2, Lane.BACKGROUND)])
    heads.put(3, [entry(4, 3)])
    assert drained(heads) == [3, 4, 5]


def test_only_the_lanes_that_have_room_are_looked_at() -> None:
    """Q6: a full lane delays no other lane."""
    heads = ReadyQueue()
    heads.put(1, [entry(1, 1)])
    heads.put(2, [entry(2, 2, Lane.BACKGROUND)])
    assert drained(heads, Lane.BACKGROUND) == [2]


def test_what_was_put_in_front_goes_before_its_elders_of_the_thread() -> None:
    """Q2, Q5: and gets no rank for it before older ones of other threads."""
    heads = ReadyQueue()
    heads.put(1, [entry(9, 1), entry(2, 1)])
    heads.put(2, [entry(1, 2)])
    heads.put(3, [entry(5, 3)])
    assert drained(heads) == [1, 9, 2, 5]


def test_a_thread_that_changed_is_tried_again_and_the_others_are_not() -> None:
    heads = ReadyQueue()
    heads.put(1, [entry(1, 1)])
    heads.put(2, [entry(2, 2)])
    assert drained(heads) == [1, 2]
    heads.put(2, [entry(2, 2)])
    assert drained(heads) == [2]
    heads.retry()
    assert drained(heads) == [1, 2]


def test_a_thread_without_heads_is_forgotten() -> None:
    heads = ReadyQueue()
    one = entry(1, 1)
    heads.put(1, [one])
    assert one in heads
    heads.refuse(one)
    heads.put(1, [])
    heads.retry()
    assert one not in heads
    assert heads.first(BOTH) is None


def test_those_that_stood_back_are_tried_again_when_their_elder_is_gone_and_not_before() -> None:
    """Q6"""
    heads = ReadyQueue()
    elder, other, newer = entry(1, 1), entry(2, 2), entry(3, 3)
    for one in (elder, other, newer):
        heads.put(one.thread_id, [one])
    heads.refuse(elder)
    assert heads.elder(newer, BOTH) is elder
    heads.refuse(other)
    heads.refuse(newer, elder)
    heads.put(1, [elder])
    assert heads.first(BOTH) is elder
    heads.refuse(elder)
    assert not heads.ease(BOTH)
    heads.put(1, [])
    assert heads.ease(BOTH)
    assert drained(heads) == [3]
    assert heads.elder(newer, BOTH) is other
