"""The time a turn waits for people."""

from __future__ import annotations

from acp.turn_deadlines import WaitingTime


def test_nothing_waited_moves_nothing() -> None:
    """T2: without a card the deadline stands."""
    assert WaitingTime(60.0).postpone(100.0) == 100.0


def test_time_waited_moves_the_deadline() -> None:
    """T2: by the time waited, summed over cards."""
    waiting = WaitingTime(60.0)
    for since, until in ((0.0, 10.0), (50.0, 55.0)):
        waiting.opened("k", "call", since)
        assert waiting.open
        assert waiting.closed("k", until)
    assert not waiting.open
    assert waiting.postpone(100.0) == 115.0


def test_the_time_that_counts_is_bounded() -> None:
    """T2: at most so much in all."""
    waiting = WaitingTime(60.0)
    waiting.opened("k", "call", 0.0)
    assert waiting.postpone(100.0) == 160.0
    waiting.closed("k", 500.0)
    assert waiting.postpone(100.0) == 160.0


def test_open_requests_are_named_by_their_tool_calls() -> None:
    """Q11: what the turn waits for can be told."""
    waiting = WaitingTime(60.0)
    waiting.opened("1", "a", 0.0)
    waiting.opened("2", "b", 0.0)
    assert waiting.tool_calls() == ("a", "b")
    waiting.close_all(1.0)
    assert waiting.tool_calls() == ()
    assert not waiting.closed("1", 2.0)
