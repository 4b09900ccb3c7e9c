"""What is told of turns: every number that matters, and not a word of what was said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from acp.schema import Cost
from acp.snapshot import ContextUse, Ending, ToolState, TurnSnapshot
from bot.model import Lane, Outcome
from bot.work.ending import TurnEnd
from bot.work.observer import Observer, TurnReport, turn_report
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import running_work
from tests.bot.work.observing import Noted
from tests.bot.work.samples import ALICE, entry


def told_of(snapshot: TurnSnapshot | None, agent: str | None = None) -> dict[str, object]:
    turn = entry(7)
    end = TurnEnd(Outcome.ANSWERED, snapshot=snapshot)
    return turn_report(turn, [7], end, started=3.0, now=5.5, agent=agent).fields()


def test_what_the_agent_tells_of_the_turn_is_told_in_numbers() -> None:
    """O1, D5."""
    snapshot = TurnSnapshot(
        text="canary",
        text_length=6,
        tools=(ToolState("1", title="canary"),),
        tools_cut=2,
        context=ContextUse(50, 200),
        cost=Cost(amount=0.25, currency="EUR"),
        ending=Ending.ANSWERED,
        stop_reason="max_tokens",
        killed=True,
    )
    told = told_of(snapshot, agent="An\nAgent")
    assert told == {
        "outcome": "answered",
        "thread": 100,
        "prompt": 7,
        "messages": 1,
        "agent": "An Agent",
        "lane": "main",
        "mode": "queue",
        "attempts": 0,
        "seconds": 2.5,
        "characters": 6,
        "tools": 3,
        "context": 0.25,
        "cost": 0.25,
        "currency": "EUR",
        "stop_reason": "max_tokens",
        "forced": True,
    }
    assert "canary" not in json.dumps(told)


def test_what_is_not_known_is_left_out() -> None:
    told = told_of(None)
    assert set(told) == {
        "outcome", "thread", "prompt", "messages", "lane", "mode", "attempts", "seconds", "characters", "tools",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("snapshot", "absent"),
    [
        (TurnSnapshot(context=ContextUse(5, 0)), "context"),
        (TurnSnapshot(stop_reason=None), "stop_reason"),
    ],
)
def test_numbers_that_make_no_sense_are_left_out(snapshot: TurnSnapshot, absent: str) -> None:
    assert absent not in told_of(snapshot)


def test_a_reason_that_is_not_the_protocols_own_may_be_any_text_and_is_not_told() -> None:
    assert told_of(TurnSnapshot(stop_reason="canary: rm -r /"))["stop_reason"] == "other"


def test_an_agents_name_is_told_in_a_line_of_bounded_length() -> None:
    assert told_of(None, agent="x" * 1000)["agent"] == "x" * 64


def lines_of(logs: list[Any]) -> list[dict[str, Any]]:
    return [line for line in logs if line["event"] == "turn.finished"]


@in_virtual_time
async def test_each_turn_has_one_line_with_its_waits_and_its_agent_and_without_its_words() -> None:
    """O1: the second one waited for the first."""
    observer = Noted()
    with capture_logs() as logs:
        async with running_work(observer=observer) as work:
            work.post(1, "hang")
            await work.prompted("hang")
            work.post(2, "canary")
            await work.until(lambda: work.dispatcher.counts().waiting == 1)
            assert (work.dispatcher.counts().queues, work.dispatcher.counts().longest) == (1, 1)
            await work.settled()
            work.dispatcher.controls.stop(100, ALICE)
            await work.over(2)
    first, second = lines_of(logs)
    assert (first["outcome"], first["prompt"], first["waited"]) == ("stopped", 1, 0.0)
    assert (second["outcome"], second["prompt"], second["attempts"]) == ("answered", 2, 1)
    assert second["waited"] >= 5
    assert second["characters"] == len("an answer")
    assert "canary" not in str(second)
    assert [report.prompt for report in observer.turns] == [1, 2]
    assert observer.accepted == [Lane.MAIN, Lane.MAIN]
    assert observer.ended == [(Lane.MAIN, Outcome.STOPPED), (Lane.MAIN, Outcome.ANSWERED)]
    assert len(observer.visible) == 2
    assert observer.visible[1] >= second["waited"]


@in_virtual_time
async def test_an_observer_that_fails_keeps_no_outcome_from_being_recorded() -> None:
    """O1, O4."""

    class Failing(Observer):
        def turn_finished(self, report: TurnReport) -> None:
            raise RuntimeError("canary")

    async with running_work(observer=Failing()) as work:
        work.post(1)
        assert await work.over() == [(1, Outcome.ANSWERED)]
        assert work.store.calls == [("accept", 1), ("started", 1), ("finished", 1)]


@in_virtual_time
async def test_what_waits_in_several_threads_is_counted_over_all_of_them() -> None:
    """Q6, Q11."""
    async with running_work(max_agents=1) as work:
        for number in range(1, 5):
            work.post(number, "hang", thread_id=100 if number < 4 else 200)
        await work.prompted("hang")
        counts = work.dispatcher.counts()
        assert (counts.waiting, counts.queues, counts.longest, counts.cards) == (3, 2, 2, 0)
        assert counts.lanes[Lane.MAIN].running == 1
        work.dispatcher.controls.stop_all(100, ALICE, before=10)
        work.dispatcher.controls.stop_all(200, ALICE, before=10)
        await work.over(4)
        assert work.dispatcher.counts().waiting == 0
