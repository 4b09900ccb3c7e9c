"""Catch-ups at bad moments: too many places, a REST interface that is down, and a client that comes too late."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import anyio
import pytest

from bot.chat import catchup
from bot.chat.authorize import Policy
from bot.chat.catchup import PLACES, CatchUp, CatchUpLimits
from bot.chat.client import WeftClient
from bot.chat.inbound import Place, Post
from bot.chat.rest import TryAgain
from bot.chat.watermarks import Watermarks
from bot.sandbox import FakeDiscord
from tests.pool.memory import MemoryStore

from .harness import FakeDesk, office
from .test_catchup_limits import FakeArchive, FakeSource, marks_of


@dataclass
class KnowingSource(FakeSource):
    """A client in whose cache some places stand, with their newest message."""

    cached: dict[int, int] = field(default_factory=dict)

    def newest(self, place_id: int) -> int | None:
        return self.cached.get(place_id)


@pytest.mark.asyncio
async def test_a_place_that_certainly_has_news_is_read_before_those_of_which_nothing_is_known() -> None:
    """R2: threads that were archived or left meanwhile are in no cache, and may be more than are read at once."""
    archive, marks = FakeArchive(), marks_of(PLACES + 50)
    archive.gate.set()
    source = KnowingSource(cached={1: 5000})
    catch_up = CatchUp(archive, marks, CatchUpLimits())
    async with anyio.create_task_group() as group:
        group.start_soon(catch_up.run)
        catch_up.begin(source.desk)
        catch_up.start(source)
        await source.desk.wait(lambda desk: "release" in desk.course)
        group.cancel_scope.cancel()
    assert archive.asked[0].place.channel_id == 1
    assert len(archive.asked) == PLACES


@pytest.mark.asyncio
async def test_a_place_that_could_not_be_read_is_tried_again_without_another_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """R2: Discord's REST interface is often down when its gateway reconnects everybody."""
    monkeypatch.setattr(catchup, "AGAIN", 0.01)

    class Down(FakeArchive):
        async def history(self, place: Place, after: int, limit: int) -> list[Post]:
            found = await super().history(place, after, limit)
            if len(self.asked) < 4:
                raise TryAgain("503")
            return found

    archive, marks, source = Down(), marks_of(1), FakeSource()
    archive.gate.set()
    catch_up = CatchUp(archive, marks, CatchUpLimits())
    async with anyio.create_task_group() as group:
        group.start_soon(catch_up.run)
        catch_up.begin(source.desk)
        catch_up.start(source)
        await archive.wait(lambda archive: len(archive.asked) == 4)
        group.cancel_scope.cancel()
    assert source.desk.course == ["hold", "release"]


@pytest.mark.asyncio
async def test_a_client_that_was_replaced_is_no_source_of_a_catch_up() -> None:
    """R2: discord.py tells of a READY up to two seconds later, whatever became of the client; its cache is of then."""

    class Listening:
        started = 0

        def on_ready(self) -> None:
            self.started += 1

        def start(self, source: object) -> None:
            del source
            self.started += 1

        def begin(self, desk: object) -> None:
            del desk
            self.started += 1

    lasting: Any = Listening()
    lasting.catch_up, lasting.breaker, lasting.observer = lasting, None, None
    client = WeftClient(FakeDesk(), Policy(), lasting)
    await client.close()
    await client.on_ready()
    await client.on_connect()
    assert lasting.started == 0


@pytest.mark.asyncio
async def test_a_message_that_bears_the_sign_of_acceptance_is_not_run_again_by_a_state_that_forgot_it() -> None:
    """R2, R6: a disk that was full until the restart knows neither the message nor that its prompt was started."""
    async with FakeDiscord() as fd:
        store, forgetful = MemoryStore(), MemoryStore()
        async with office(fd, seen=store) as chat:
            first = await fd.owner.say(fd.channel_id, "first", mention_bot=True)
            await chat.desk.inbound()
            await chat.settled(fd.channel_id)
        await forgetful.see(await store.places())
        done = await fd.owner.say(fd.channel_id, "done already", mention_bot=True)
        async with office(fd, seen=store) as chat:
            await chat.desk.inbound()
            await chat.gateway.chat.acknowledge(chat.desk.inbounds[0], "👀")
        await fd.owner.say(fd.channel_id, "new", mention_bot=True)
        async with office(fd, seen=forgetful) as chat:
            await chat.caught_up()
            assert [one.text for one in chat.desk.inbounds] == ["new"]
            assert [one.message_id for one in chat.desk.late] == [done.id]
            assert first.id not in {one.message_id for one in chat.desk.late}


def test_a_place_forgotten_while_it_is_read_leaves_no_trace() -> None:
    """D10: a thread can be deleted in the middle of its catch-up."""
    marks = Watermarks()
    marks.note(Place(1, 5, 4, 3), 10)
    hold = marks.hold()
    marks.forget(5)
    marks.done(5, hold)
    marks.unreachable(5)
    assert (marks.due(), marks.marks(frozenset()), cast("object", marks.place(5))) == ([], [], None)
