"""What Discord does not take for a while is done as soon as it does, and no sooner than it asks for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import cast

import anyio
import pytest

from bot.model import Inbound
from bot.reply.port import OwnMessage, PortError, ThreadGone, Unavailable
from bot.work.ports import Chat
from bot.work.retries import open_thread, own_messages
from tests.bot.work.samples import inbound
from tests.clock import flying

pytestmark = pytest.mark.asyncio

OPENING = replace(inbound(5), opens_thread=True)


@dataclass(slots=True)
class RefusingChat:
    """Answers with one error after the other, and then takes what it is given; ``at`` is when it was asked."""

    errors: list[PortError]
    at: list[float] = field(default_factory=list)

    async def open_thread(self, _: Inbound) -> None:
        self._answer()

    def thread(self, _: int) -> RefusingChat:
        return self

    async def own_messages(self, after: int, _: int) -> list[OwnMessage]:
        self._answer()
        return [OwnMessage(after + 1, "found")]

    def _answer(self) -> None:
        self.at.append(anyio.current_time())
        if self.errors:
            raise self.errors.pop(0)


async def pauses(chat: RefusingChat, limit: float | None = None, fails: type[PortError] | None = None) -> list[float]:
    """Open a thread, or see that it ends with an error; return the pauses between the tries, in seconds."""
    async with flying(1.0):
        if fails is None:
            await open_thread(cast("Chat", chat), OPENING, limit)
        else:
            with pytest.raises(fails):
                await open_thread(cast("Chat", chat), OPENING, limit)
    return [later - earlier for earlier, later in pairwise(chat.at)]


async def test_pauses_grow_and_are_as_long_as_discord_asks_for_at_least() -> None:
    chat = RefusingChat([Unavailable(retry_after=wanted) for wanted in (0.0, 0.0, 40.0, 0.0)])
    assert [pause >= least for pause, least in zip(await pauses(chat), (1, 2, 40, 8), strict=True)] == [True] * 4


async def test_a_limit_ends_the_tries() -> None:
    chat = RefusingChat([Unavailable()] * 100)
    # After 1, 2, 4 and 8 seconds; 16 more would be too many.
    assert len(await pauses(chat, 30.0, fails=Unavailable)) == 4


async def test_a_refusal_is_final() -> None:
    assert await pauses(RefusingChat([ThreadGone("no")]), fails=ThreadGone) == []


async def test_a_message_in_a_thread_opens_none() -> None:
    chat = RefusingChat([])
    await open_thread(cast("Chat", chat), inbound(5))
    assert chat.at == []


async def test_messages_are_looked_for_until_discord_answers_or_forbids_it() -> None:
    async with flying(1.0):
        (found,) = await own_messages(cast("Chat", RefusingChat([Unavailable(), Unavailable()])), 1, 7)
        assert found.message_id == 8
        assert not await own_messages(cast("Chat", RefusingChat([Unavailable(), PortError("hidden")])), 1, 7)
