from __future__ import annotations

import pytest

from pool import memory as store_module
from pool.memory import MemoryStore
from pool.store import AcceptedPrompt, OpenPrompt, ThreadRecord


def prompt(message_id: int) -> AcceptedPrompt:
    return AcceptedPrompt(message_id=message_id, thread_id=1, channel_id=2, author_id=3, payload="{}")


@pytest.mark.asyncio
async def test_a_message_is_accepted_once() -> None:
    """R2: decided at acceptance."""
    store = MemoryStore()
    assert await store.accept(prompt(7))
    assert not await store.accept(prompt(7))
    await store.finished(7, "answered")
    assert not await store.accept(prompt(7))


@pytest.mark.asyncio
async def test_open_prompts_are_those_without_an_outcome_in_order_of_arrival() -> None:
    """O1, R2"""
    store = MemoryStore()
    for message_id in (9, 7, 8):
        await store.accept(prompt(message_id))
    await store.started(7)
    await store.finished(8, "answered")
    assert await store.open_prompts() == [OpenPrompt(prompt(7), started=True), OpenPrompt(prompt(9), started=False)]


@pytest.mark.asyncio
async def test_the_first_outcome_stays_and_one_without_a_prompt_is_left_alone() -> None:
    """O1: a message that was refused before it was accepted may still be accepted later."""
    store = MemoryStore()
    await store.finished(7, "interrupted")
    assert await store.accept(prompt(7))
    await store.finished(7, "answered")
    await store.finished(7, "failed")
    assert store._finished == {7: "answered"}


@pytest.mark.asyncio
async def test_finished_prompts_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """R2: the last ones are known again; the payloads are gone, and what is open is kept however old it is."""
    monkeypatch.setattr(store_module, "FINISHED_KEPT", 2)
    store = MemoryStore()
    await store.accept(prompt(1))
    for message_id in (7, 8, 9):
        await store.accept(prompt(message_id))
        await store.finished(message_id, "answered")
    assert list(store._finished) == [8, 9]
    assert list(store._prompts) == [1]
    assert [await store.accept(prompt(message_id)) for message_id in (1, 8, 9)] == [False] * 3


@pytest.mark.asyncio
async def test_binding_changes_only_what_is_given() -> None:
    """P8"""
    store = MemoryStore()
    assert await store.thread(1) is None
    await store.bind(1, agent="a", session_id="s", cwd="/w", title="t")
    await store.bind(1, session_id=None, previous_session_id="s")
    assert await store.thread(1) == ThreadRecord(1, "a", None, "/w", "s", "t")
