"""Who watches turns hears of each, whatever another one that watches them raises."""

from __future__ import annotations

from acp.open_request import RequestEnd
from bot.model import Outcome
from bot.work.ending import TurnEnd
from bot.work.running_turn import RunningTurn
from bot.work.turn_events import TurnListener
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import running_work
from tests.bot.work.samples import ALICE


class Heard(TurnListener):
    def __init__(self) -> None:
        self.calls: list[tuple[str, int, object]] = []

    def started(self, running: RunningTurn) -> None:
        self.calls.append(("started", running.thread_id, None))

    def asking(self, running: RunningTurn) -> None:
        self.calls.append(("asking", running.thread_id, running.waiting_for_people))

    def ended(self, running: RunningTurn, end: TurnEnd) -> None:
        self.calls.append(("ended", running.thread_id, end.outcome))


class Faulty(TurnListener):
    def started(self, running: RunningTurn) -> None:
        raise ValueError(running.thread_id)

    asking = started

    def ended(self, running: RunningTurn, end: TurnEnd) -> None:
        raise ValueError(end)


@in_virtual_time
async def test_a_listener_hears_of_each_turn_whatever_another_one_raises() -> None:
    """O4: the start, that it waits for people and no longer does, and the end; the turn itself goes its way."""
    heard = Heard()
    async with running_work(ask=lambda session: session.ask()) as work:
        work.dispatcher.turn_events.listeners += [Faulty(), heard]
        work.post(1, "ask")
        await work.until(lambda: ("asking", 100, 1) in heard.calls)
        work.agents.sessions[0].requests[0].close(RequestEnd.TURN_CANCELLED)
        await work.until(lambda: ("asking", 100, 0) in heard.calls)
        work.dispatcher.controls.stop(100, ALICE)
        await work.over(1)
        assert heard.calls == [
            ("started", 100, None),
            ("asking", 100, 1),
            ("asking", 100, 0),
            ("ended", 100, Outcome.STOPPED),
        ]
