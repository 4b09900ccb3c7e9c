"""What is remembered of options: by thread, over restarts, bounded, and of one agent at a time."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from acp.schema import SessionResult
from acp.session_options import SessionOptions
from bot.model import ThreadPlace
from bot.redaction import REDACTED, Redactor
from bot.work.options.memory import OptionMemory
from tests.agents.offers import Offer, many_models, select
from tests.bot.work.test_thread_settings import agents, settled
from tests.pool.memory import MemoryStore

SERVER, THREAD, OTHER = 1, 100, 101
PLACE = ThreadPlace(SERVER, THREAD, 200)


def session(*options: Offer) -> SessionOptions:
    found = SessionOptions()
    found.opened(SessionResult(session_id="s", config_options=[*options]))
    return found


def chosen(memory: OptionMemory, thread_id: int, guild_id: int | None = SERVER) -> dict[str, str] | None:
    offered = memory.offered(thread_id, guild_id)
    return None if offered is None else {option.id: option.current for option in offered}


@pytest.mark.asyncio
async def test_offers_and_choices_are_there_in_the_next_run_and_in_other_threads_of_the_server() -> None:
    """K1: what a thread chose is its own; what new sessions begin with is known from new ones alone."""
    store = MemoryStore()
    async with settled(store) as settings:
        memory = OptionMemory(settings, str)
        assert memory.offered(THREAD, SERVER) is None
        memory.note(PLACE, session(many_models(3), select("mode", "ask", "yolo")), fresh=True)
        resumed = session(
            select("model", "model-00", "model-01", current="model-01"), select("mode", "ask", "yolo", current="yolo")
        )
        memory.note(PLACE, resumed)
        memory.choose(THREAD, "model", "model-00")
    async with settled(store) as settings:
        memory = OptionMemory(settings, str)
        assert chosen(memory, THREAD) == {"model": "model-00", "mode": "yolo"}
        assert chosen(memory, THREAD, None) == chosen(memory, THREAD)
        assert (chosen(memory, OTHER), chosen(memory, OTHER, 2)) == ({"model": "model-00", "mode": "ask"}, None)
        assert memory.starts(THREAD, SERVER) == {"model": "model-00", "mode": "ask"}
        # A thread with a copy of its session inherits what people chose.
        settings.inherit(OTHER, "default", None, THREAD)
        memory.choose(THREAD, "model", None)
        assert (memory.chosen(THREAD), memory.chosen(OTHER)) == ({}, {"model": "model-00"})


@pytest.mark.asyncio
async def test_another_agent_has_nothing_of_the_one_before() -> None:
    """K1, Q8"""
    async with settled(MemoryStore(), agents("red", "blue")) as settings:
        memory = OptionMemory(settings, str)
        memory.note(PLACE, session(many_models(2)), fresh=True)
        memory.choose(THREAD, "model", "model-01")
        settings.settle(THREAD, agent="blue")
        assert (memory.offered(THREAD, SERVER), memory.chosen(THREAD)) == (None, {})
        memory.note(PLACE, SessionOptions())
        assert memory.offered(THREAD, SERVER) == ()
        # Back at the first one, what was chosen for it holds again.
        settings.settle(THREAD, agent="red")
        assert chosen(memory, THREAD) == {"model": "model-01"}


@pytest.mark.asyncio
async def test_what_is_kept_is_bounded_and_what_is_damaged_is_as_good_as_nothing() -> None:
    """K1, R6"""
    store = MemoryStore()
    async with settled(store) as settings:
        values = [{"value": f"{n:03}" + "v" * 190, "name": "n" * 100, "description": "d" * 200} for n in range(1_000)]
        large = {**select("model", "a"), "currentValue": values[0]["value"], "options": values}
        OptionMemory(settings, str).note(PLACE, session(large, select("mode", "ask")), fresh=True)
        assert len(orjson.dumps(settings.kept(SERVER, "offers"))) <= 65 * 1024
        damaged: list[Any] = [7, {"default": 7}, {"default": [7, {"way": "future"}, {"id": "x"}]}]
        for damage in damaged:
            settings.keep(SERVER, {"offers": damage})
            settings.keep(THREAD, {"options": {"agent": "default", "chosen": {"a": 1}, "seen": damage}})
            memory = OptionMemory(settings, str)
            assert (memory.offered(THREAD, SERVER), memory.chosen(THREAD), memory.starts(THREAD)) == (None, {}, {})


@pytest.mark.asyncio
async def test_no_secret_is_kept_with_what_an_agent_offers() -> None:
    """R5: also one that a list would cut; a value stays, as the agent has to know it again."""
    secret = "sesame-open-yourself"
    store = MemoryStore()
    async with settled(store) as settings:
        value = {"value": "v", "name": f"{90 * 'n'} {secret}", "description": f"{290 * 'd'} {secret}"}
        offered = session({**select("model", "v"), "options": [value]})
        memory = OptionMemory(settings, Redactor([secret]).text)
        memory.note(PLACE, offered, fresh=True)
        (model,) = memory.offered(THREAD, SERVER) or ()
        assert (model.values[0].value, model.values[0].name) == ("v", f"{90 * 'n'} {REDACTED}")
    kept = str(await store.choices())
    assert "nnn" in kept
    assert secret[:6] not in kept
