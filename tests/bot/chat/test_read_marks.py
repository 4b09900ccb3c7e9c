"""How far places have been read."""

from __future__ import annotations

import random
from typing import cast

import pytest

from bot.chat.inbound import Place
from bot.chat.read_marks import Due, Watermarks
from pool.store import SeenPlace

CHANNEL, THREAD = Place(1, 10), Place(1, 20, 10, 99)
NONE: frozenset[int] = frozenset()


def written(marks: Watermarks, pending: frozenset[int] = NONE) -> dict[int, int]:
    """Write what may be written, and return it."""
    places = marks.marks(pending)
    marks.written(places)
    return {one.place_id: one.seen for one in places}


def test_only_what_changed_is_written() -> None:
    """R2: an idle bot writes nothing."""
    marks = Watermarks()
    marks.note(CHANNEL, 100)
    assert written(marks) == {10: 100}
    assert written(marks) == {}
    marks.note(THREAD, 101)
    marks.note(CHANNEL, 99)
    assert marks.marks(NONE) == [SeenPlace(20, 1, 10, 99, 101)]


def test_a_prompt_that_is_not_written_yet_is_not_passed() -> None:
    """R2: after a crash it is found again, since reading goes on before it."""
    marks = Watermarks()
    marks.note(CHANNEL, 100)
    marks.note(CHANNEL, 110, handed=True)
    marks.note(CHANNEL, 120)
    assert written(marks, frozenset({110})) == {10: 109}
    assert written(marks, frozenset({110})) == {}
    assert written(marks) == {10: 120}


def test_a_place_waits_for_no_prompt_of_another() -> None:
    """O4: one prompt that can't be written holds up its own place only."""
    marks = Watermarks()
    marks.note(CHANNEL, 110, handed=True)
    marks.note(THREAD, 120)
    assert written(marks, frozenset({110})) == {10: 109, 20: 120}


def test_a_thread_to_be_opened_is_written_with_its_first_prompt_and_not_before() -> None:
    """R2: without the prompt there may never be such a thread; its channel is enough to find the prompt again."""
    marks = Watermarks()
    thread = Place(1, 110, 10, 99)
    marks.note(CHANNEL, 110, handed=True)
    marks.note(thread, 110, handed=True)
    assert written(marks, frozenset({110})) == {10: 109}
    assert written(marks) == {10: 110, 110: 110}


def test_nothing_is_written_past_a_gap_until_that_is_caught_up() -> None:
    """R2: live messages after a gap don't hide what was said in it."""
    marks = Watermarks()
    marks.note(CHANNEL, 100)
    hold = marks.hold()
    marks.note(CHANNEL, 120)
    assert marks.due() == [Due(CHANNEL, 100)]
    assert written(marks) == {10: 100}
    marks.done(10, hold)
    assert marks.due() == []
    assert written(marks) == {10: 120}


def test_a_second_gap_keeps_the_older_border() -> None:
    """Q1, R2: a catch-up that was replaced has dealt with nothing."""
    marks = Watermarks()
    marks.note(CHANNEL, 100)
    first = marks.hold()
    marks.note(CHANNEL, 120)
    second = marks.hold()
    marks.done(10, first)
    assert marks.due() == [Due(CHANNEL, 100)]
    marks.done(10, second)
    marks.hold()
    assert marks.due() == [Due(CHANNEL, 120)]


def test_places_of_an_earlier_run_are_known_and_due_the_newest_first() -> None:
    """R2: that is where messages posted meanwhile are looked for."""
    marks = Watermarks(limit=2)
    marks.load([SeenPlace(20, 1, 10, 99, 300), SeenPlace(10, 1, None, None, 200), SeenPlace(11, 1, None, None, 100)])
    assert marks.places() == [CHANNEL, THREAD]
    assert marks.place(11) is None
    marks.hold()
    assert marks.due() == [Due(THREAD, 300), Due(CHANNEL, 200)]
    assert written(marks) == {}


def test_a_place_that_can_not_be_read_is_left_alone_until_something_comes_from_there() -> None:
    """D10: not asked for at every reconnection; its border stays where it was."""
    marks = Watermarks()
    marks.note(CHANNEL, 100)
    marks.hold()
    marks.unreachable(10)
    assert marks.due() == []
    marks.hold()
    assert marks.due() == []
    marks.note(CHANNEL, 130)
    assert marks.due() == [Due(CHANNEL, 100)]
    assert written(marks) == {10: 100}


def test_a_place_found_in_a_catch_up_is_due_itself() -> None:
    """R2: a thread opened just before a crash, in no list yet."""
    marks = Watermarks()
    marks.discover(THREAD, 20)
    assert marks.due() == [Due(THREAD, 20)]
    marks.note(CHANNEL, 100)
    marks.discover(CHANNEL, 5)
    assert marks.due() == [Due(THREAD, 20)]


def test_what_is_gone_is_forgotten() -> None:
    """D10: a deleted thread is neither read nor written."""
    marks = Watermarks()
    marks.note(THREAD, 100)
    marks.forget(20)
    marks.forget(20)
    marks.unreachable(20)
    marks.done(20, marks.hold())
    assert (marks.due(), marks.places(), written(marks)) == ([], [], {})


def test_the_place_used_longest_ago_is_forgotten_first() -> None:
    """R2: the memory is bounded."""
    marks = Watermarks(limit=2)
    for place in (CHANNEL, THREAD, CHANNEL, Place(1, 30)):
        marks.note(place, 100)
    assert [place.channel_id for place in marks.places()] == [10, 30]


@pytest.mark.parametrize("seed", range(40))
def test_what_is_written_never_passes_what_would_be_lost(seed: int) -> None:
    """R2: whenever the bot dies, reading on from what was written finds every prompt that was not."""
    chance = random.Random(seed)
    marks = Watermarks()
    kept: dict[int, int] = {}
    pending: dict[int, int] = {}  # message -> place
    lost: dict[int, int] = {}
    hold, clock = 0, 100
    for _ in range(300):
        clock += 1
        place = Place(1, chance.choice((10, 11, 12)))
        match chance.choice(("prompt", "prompt", "chat", "write", "flush", "flush", "gap", "done")):
            case "prompt":
                pending[clock] = place.channel_id
                marks.note(place, clock, handed=True)
            case "chat":
                marks.note(place, clock)
            case "write" if pending:
                del pending[chance.choice(list(pending))]
            case "gap":
                if marks.place(place.channel_id) is not None:
                    lost[clock] = place.channel_id
                hold = marks.hold()
            case "done":
                marks.done(place.channel_id, hold)
                lost = {one: where for one, where in lost.items() if where != place.channel_id}
            case "flush":
                for where, seen in written(marks, frozenset(pending)).items():
                    assert seen > kept.get(where, 0)
                    kept[where] = seen
        for message, where in (pending | lost).items():
            assert kept.get(where, 0) < message
    for place_id in (10, 11, 12):
        marks.done(place_id, hold)
    kept |= written(marks)
    assert all(kept[where] >= message for message, where in pending.items())


def test_a_place_forgotten_while_it_is_read_leaves_no_trace() -> None:
    """D10: a thread can be deleted in the middle of its catch-up."""
    marks = Watermarks()
    marks.note(Place(1, 5, 4, 3), 10)
    hold = marks.hold()
    marks.forget(5)
    marks.done(5, hold)
    marks.unreachable(5)
    assert (marks.due(), marks.marks(frozenset()), cast("object", marks.place(5))) == ([], [], None)


def test_what_was_heard_before_a_gap_is_what_came_before_the_oldest_one_that_is_not_looked_up_yet() -> None:
    """S6, R2: posts that were opened since then are looked for; a place that can't be read holds nothing up."""
    marks = Watermarks()
    assert marks.heard == 0
    first, second = Place(1, 10), Place(1, 20)
    marks.note(first, 100)
    marks.note(second, 300)
    gap = marks.hold()
    assert marks.heard == 300
    marks.note(first, 500)
    marks.done(10, gap)
    again = marks.hold()
    assert marks.heard == 300
    marks.unreachable(20)
    marks.done(10, again)
    marks.hold()
    assert marks.heard == 500
