"""The whole bot with its state in PostgreSQL: it works, waits while the server is away, and ends all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from pydantic import SecretStr

from bot import app
from bot.model import Outcome
from tests import postgres
from tests.agents import scenario
from tests.e2e.play import LIMIT, Play, play
from tests.e2e.process import HANG
from tests.pool.cut_connection import Wire, wire

pytestmark = [pytest.mark.asyncio, postgres.needed]


@asynccontextmanager
async def on_postgres(directory: Path, **settings: Any) -> AsyncIterator[tuple[Play, Wire, str]]:
    url = await anyio.to_thread.run_sync(postgres.emptied)
    async with wire(postgres.server()) as between:
        there = SecretStr(between.url(url))
        async with play(directory, scenario(directory, words={"never": HANG}), database_url=there, **settings) as game:
            yield game, between, url


async def until(game: Play, text: str) -> None:
    """Wait until the storage is in trouble that has this text in it; without a text, until it is in none."""
    store = game.on_stage.bot.dispatcher._store
    with anyio.fail_after(LIMIT):
        while not (text and text in store.trouble) and (text or store.trouble):  # noqa: ASYNC110  told by no event
            await anyio.sleep(0.01)


async def test_what_is_posted_while_the_database_is_away_is_answered_when_it_is_back(tmp_path: Path) -> None:
    """R9, R2: no message is taken in that is not kept, and none is lost."""
    async with on_postgres(tmp_path) as (game, between, url):
        assert (await game.ask("hello"))[1] is Outcome.ANSWERED
        between.away = True
        between.disconnect()
        message_id = await game.mention("are you there")
        await until(game, "can't be reached")
        assert message_id not in game.on_stage.outcomes
        told = await game.owner.slash(game.discord.channel_id, "status")
        assert "⚠️ Storage: the database can't be reached: nothing is saved until it is back" in str(told.response)
        between.away = False
        assert await game.outcome(message_id) is Outcome.ANSWERED
        await until(game, "")
        kept = await anyio.to_thread.run_sync(postgres.rows, url, "SELECT count(*) FROM prompts")
        assert kept == [(2,)]


@pytest.mark.soak
async def test_the_bot_ends_in_time_though_the_database_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R1, R9: with a turn that runs and a message that waits; its agent is gone as well."""
    monkeypatch.setattr(app, "STORE_PATIENCE", 0.2)
    with anyio.fail_after(60):
        async with on_postgres(tmp_path, stop_grace=0.1, cancel_grace=0.5) as (game, between, _):
            message_id = await game.mention("never ends")
            await game.until_shown(message_id, "so far")
            between.away = True
            between.disconnect()
            await game.mention("waits")
            await until(game, "can't be reached")
