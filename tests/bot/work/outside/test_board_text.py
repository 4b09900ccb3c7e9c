"""What a board says: the most urgent threads first, within what a message holds."""

from __future__ import annotations

from bot.model import Outcome, ThreadPlace
from bot.reply.port import MESSAGE_LIMIT
from bot.reply.sanitise import units
from bot.work.outside.board_text import ENDING, MOST_LINES, NOTHING, QUIET_AFTER, Line, alive, board
from bot.work.thread_states import State, ThreadState


def thread(number: int, state: State, since: float, agent: str | None = None) -> ThreadState:
    outcome = Outcome.ANSWERED if state in (State.DONE, State.FAILED) else None
    return ThreadState(ThreadPlace(1, number, 7), state, since, agent, outcome=outcome)


def test_who_needs_somebody_comes_first_and_what_is_done_last() -> None:
    """A3: of those in the same state the one that has been in it longest, of what is done the latest."""
    lines = [
        Line(thread(1, State.DONE, 10.0)),
        Line(thread(2, State.DONE, 20.0)),
        Line(thread(3, State.WORKING, 30.9, "clau`de @everyone"), "$1.20"),
        Line(thread(4, State.WAITING, 40.0, "codex"), project="web"),
        Line(thread(5, State.NEEDS_YOU, 60.0)),
        Line(thread(6, State.NEEDS_YOU, 50.0), "34 tokens"),
        Line(thread(7, State.FAILED, 70.0, "codex")),
    ]
    assert board(lines).splitlines() == [
        "**Board** · 2 needs you, 1 failed, 1 working, 1 waiting, 2 done",
        "🔐 <#6> **needs you** <t:50:R> · 34 tokens",
        "🔐 <#5> **needs you** <t:60:R>",
        "❌ <#7> **failed** <t:70:R> · `codex`",
        "⚙️ <#3> working <t:30:R> · `clauˋde @everyone` · $1.20",
        "⏳ <#4> waiting <t:40:R> · `web` · `codex`",
        "✅ <#2> done <t:20:R>",
        "✅ <#1> done <t:10:R>",
        ENDING,
    ]
    assert board([]).splitlines() == ["**Board**", NOTHING, ENDING]


def test_what_finds_no_room_is_counted() -> None:
    """A3: 25 threads at most, and never more than a message holds."""
    few = board([Line(thread(10**18 + number, State.WORKING, 1e9)) for number in range(40)])
    assert few.count("<#") == MOST_LINES
    assert "\n-# and 15 more\n" in few
    long = [Line(thread(10**19 + number, State.NEEDS_YOU, 1e9, "🤖" * 40), "1" * 30) for number in range(300)]
    text = board(long)
    assert MESSAGE_LIMIT - 150 < units(text) <= MESSAGE_LIMIT
    assert f"-# and {300 - text.count('<#')} more" in text


def test_a_thread_is_listed_until_an_hour_after_its_end() -> None:
    """A3"""
    assert alive(thread(1, State.WORKING, 0.0), 1e9)
    assert alive(thread(1, State.DONE, 100.0), 100.0 + QUIET_AFTER - 1)
    assert not alive(thread(1, State.FAILED, 100.0), 100.0 + QUIET_AFTER)
