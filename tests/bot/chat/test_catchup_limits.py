"""How much a catch-up asks for, in what order, and what ends or replaces one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
import pytest

from bot.chat import catchup
from bot.chat.authorize import Policy
from bot.chat.catchup import AT_ONCE, MESSAGES, PLACES, CatchUp
from bot.chat.client import CatchUpRequest, WeftClient
from bot.chat.inbound import Decision, Place, Post, Weft, Wordings
from bot.chat.port import DiscordChat
from bot.chat.read_marks import Due, Watermarks
from bot.chat.rest import TryAgain
from bot.reply.port import ThreadGone
from tests.bot.chat.harness import FakeDispatcher


@dataclass(eq=False)
class FakeClient(WeftClient):
    """A client that is not connected."""

    dispatcher: FakeDispatcher = field(default_factory=FakeDispatcher)
    policy: Policy = field(default_factory=Policy)

    def newest(self, place_id: int) -> int | None:
        del place_id
        return None

    def active_posts(self) -> list[Place]:
        return []

    def weft(self, guild_id: int | None) -> Weft:
        del guild_id
        return Weft(1)

    def take(self, post: Post, decision: Decision, *, live: bool = True, missed: bool = False) -> None:
        raise AssertionError(post, decision, live, missed)

    def vanished(self, place: Place) -> None:
        raise AssertionError(place)

    def find_place(self, place_id: int) -> Place | None:
        return Place(1, place_id)

    def revise(self, post: Post) -> None:
        raise AssertionError(post)

    def withdraw(self, message_id: int) -> None:
        raise AssertionError(message_id)


@dataclass
class FakeArchive(DiscordChat):
    """Has nothing to tell; `gate` lets questions through."""

    gate: anyio.Event = field(default_factory=anyio.Event)
    asked: list[Due] = field(default_factory=list)
    limits: set[int] = field(default_factory=set)
    at_once: int = 0
    most: int = 0
    gone: bool = False
    _changed: anyio.Event = field(default_factory=anyio.Event)

    async def history(self, place: Place, after: int, limit: int) -> list[Post]:
        self.asked.append(Due(place, after))
        self.limits.add(limit)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self._changed.set()
        self._changed = anyio.Event()
        try:
            await self.gate.wait()
        finally:
            self.at_once -= 1
        if self.gone:
            raise ThreadGone("not here")
        return []

    async def message(self, place: Place, message_id: int) -> Post:
        raise AssertionError(place, message_id)

    async def roles(self, guild_id: int, user_id: int) -> frozenset[int]:
        raise AssertionError(guild_id, user_id)

    async def wait(self, ready: Callable[[FakeArchive], object]) -> None:
        with anyio.fail_after(30):
            while not ready(self):
                await self._changed.wait()


def marks_of(number: int) -> Watermarks:
    marks = Watermarks()
    for one in range(1, number + 1):
        marks.note(Place(1, one), 1000 + one)
    return marks


def catching_up(archive: FakeArchive, marks: Watermarks, hold: float = 10.0) -> tuple[CatchUp, CatchUpRequest]:
    """Return a catch-up and the request by which clients ask for it."""
    request = CatchUpRequest(marks, hold)
    return CatchUp(archive, marks, Wordings(10), request, age=600.0), request


@dataclass(eq=False)
class KnowingClient(FakeClient):
    """A client in whose cache some places stand, with their newest message."""

    cached: dict[int, int] = field(default_factory=dict)

    def newest(self, place_id: int) -> int | None:
        return self.cached.get(place_id)


@pytest.mark.asyncio
async def test_at_most_200_places_are_read_the_newest_first_and_four_at_once() -> None:
    """R2: a bot in many threads does not flood Discord at its start; what is left out stays due."""
    archive, marks, client = FakeArchive(), marks_of(PLACES + 50), FakeClient()
    catch_up, request = catching_up(archive, marks)
    async with anyio.create_task_group() as group:
        group.start_soon(catch_up.run)
        request.begin(client.dispatcher)
        request.start(client)
        await archive.wait(lambda archive: archive.at_once == AT_ONCE)
        archive.gate.set()
        await client.dispatcher.wait(lambda dispatcher: "release" in dispatcher.course)
        group.cancel_scope.cancel()
    assert archive.most == AT_ONCE == 4
    assert [due.place.channel_id for due in archive.asked] == list(range(PLACES + 50, 50, -1))
    assert archive.limits == {MESSAGES} == {100}
    assert [due.place.channel_id for due in marks.due()] == list(range(50, 0, -1))


@pytest.mark.asyncio
async def test_a_later_ready_replaces_a_catch_up_under_way_and_keeps_its_borders() -> None:
    """Q1, R2: what the first had not finished is read from where the first began; the work is released once."""
    archive, marks, client = FakeArchive(), marks_of(2), FakeClient()
    catch_up, request = catching_up(archive, marks)
    async with anyio.create_task_group() as group:
        group.start_soon(catch_up.run)
        request.begin(client.dispatcher)
        request.start(client)
        await archive.wait(lambda archive: len(archive.asked) == 2)
        marks.note(Place(1, 1), 2000)
        request.begin(client.dispatcher)
        archive.gate.set()
        request.start(client)
        await client.dispatcher.wait(lambda dispatcher: "release" in dispatcher.course)
        group.cancel_scope.cancel()
    assert client.dispatcher.course == ["hold", "hold", "release"]
    assert sorted((due.place.channel_id, due.after) for due in archive.asked[2:]) == [(1, 1001), (2, 1002)]
    assert marks.due() == []


@pytest.mark.asyncio
async def test_the_work_is_released_in_time_if_the_client_never_gets_ready() -> None:
    """Q1: a connection lost again between READY and on_ready holds nothing for ever; each READY holds anew."""
    client = FakeClient()
    catch_up, request = catching_up(FakeArchive(), marks_of(1), hold=0.01)
    async with anyio.create_task_group() as group:
        group.start_soon(catch_up.run)
        for number in (1, 2):
            request.begin(client.dispatcher)
            await client.dispatcher.wait(lambda dispatcher, number=number: dispatcher.course.count("release") == number)  # type: ignore[misc]
        group.cancel_scope.cancel()
    assert client.dispatcher.course == ["hold", "release", "hold", "release"]


@pytest.mark.asyncio
async def test_places_that_are_gone_are_not_asked_for_at_every_reconnection() -> None:
    """D10: refused requests count towards a ban."""
    archive, marks, client = FakeArchive(gone=True), marks_of(3), FakeClient()
    archive.gate.set()
    catch_up, request = catching_up(archive, marks)
    async with anyio.create_task_group() as group:
        group.start_soon(catch_up.run)
        for number in (1, 2, 3):
            request.begin(client.dispatcher)
            request.start(client)
            await client.dispatcher.wait(lambda dispatcher, number=number: dispatcher.course.count("release") == number)  # type: ignore[misc]
        group.cancel_scope.cancel()
    assert len(archive.asked) == 3


@pytest.mark.asyncio
async def test_an_archive_that_breaks_ends_neither_the_catch_up_nor_the_next_one() -> None:
    """O4: one place's failure, whatever it is, hurts no other."""

    class Broken(FakeArchive):
        async def history(self, place: Place, after: int, limit: int) -> list[Post]:
            if place.channel_id == 2:
                raise KeyError("a shape that nobody expected")
            return await super().history(place, after, limit)

    archive, marks, client = Broken(), marks_of(3), FakeClient()
    archive.gate.set()
    catch_up, request = catching_up(archive, marks)
    async with anyio.create_task_group() as group:
        group.start_soon(catch_up.run)
        for number in (1, 2):
            request.begin(client.dispatcher)
            request.start(client)
            await client.dispatcher.wait(lambda dispatcher, number=number: dispatcher.course.count("release") == number)  # type: ignore[misc]
            assert [due.place.channel_id for due in marks.due()] == [2]
        group.cancel_scope.cancel()


@pytest.mark.asyncio
async def test_a_place_that_certainly_has_news_is_read_before_those_of_which_nothing_is_known() -> None:
    """R2: threads that were archived or left meanwhile are in no cache, and may be more than are read at once."""
    archive, marks = FakeArchive(), marks_of(PLACES + 50)
    archive.gate.set()
    client = KnowingClient(cached={1: 5000})
    catch_up, request = catching_up(archive, marks)
    async with anyio.create_task_group() as group:
        group.start_soon(catch_up.run)
        request.begin(client.dispatcher)
        request.start(client)
        await client.dispatcher.wait(lambda dispatcher: "release" in dispatcher.course)
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

    archive, marks, client = Down(), marks_of(1), FakeClient()
    archive.gate.set()
    catch_up, request = catching_up(archive, marks)
    async with anyio.create_task_group() as group:
        group.start_soon(catch_up.run)
        request.begin(client.dispatcher)
        request.start(client)
        await archive.wait(lambda archive: len(archive.asked) == 4)
        group.cancel_scope.cancel()
    assert client.dispatcher.course == ["hold", "release"]
