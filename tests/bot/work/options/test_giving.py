"""What the end of a turn leaves in memory: the turns themselves are in `tests.e2e.test_options`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from acp.session_options import SessionOptions
from bot.model import ThreadPlace
from bot.work.options.giving import OptionGiver
from bot.work.options.memory import OptionMemory
from tests.agents.offers import select
from tests.bot.work.options.test_memory import SERVER, THREAD, session
from tests.bot.work.test_thread_settings import settled
from tests.pool.memory import MemoryStore


class Session:
    def __init__(self, options: SessionOptions) -> None:
        self.options = options


@pytest.mark.asyncio
@pytest.mark.parametrize("gone", [False, True])
async def test_what_a_turn_offered_at_its_end_is_remembered_unless_its_thread_is_gone(*, gone: bool) -> None:
    """K1, D10: the thread was forgotten before, and would come back."""
    live = Session(session(select("model", "a", "b")))
    store = MemoryStore()
    async with settled(store) as settings:
        memory = OptionMemory(settings, str)
        pool = cast("Any", SimpleNamespace(live_session=lambda _thread_id: live))
        giver = OptionGiver(cast("Any", None), pool, settings, memory, str)
        first = SimpleNamespace(thread=ThreadPlace(SERVER, THREAD, None))
        running = SimpleNamespace(session=live, extra=False, abandoned=gone, thread_id=THREAD, first=first)
        giver.ended(cast("Any", running), cast("Any", None))
        assert (memory.offered(THREAD, SERVER) is None) is gone
    assert (THREAD in await store.choices()) is not gone
