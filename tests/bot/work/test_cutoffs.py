"""A stop-all holds in the next run, too."""

from __future__ import annotations

import orjson
import pytest

from bot.model import Outcome, QueueMode
from bot.work.serialization import accepted_prompt
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import kept, running_work
from tests.bot.work.samples import ALICE, inbound


@in_virtual_time
async def test_what_is_older_than_a_stop_of_all_is_stale_in_the_next_run() -> None:
    """Q7, R2: also if there was nothing to stop then, and in that thread only."""
    store = kept()
    async with running_work(store=store) as work:
        assert not work.dispatcher.controls.stop_all(100, ALICE, before=50).accepted
        await work.settled()
    async with running_work(store=store) as work:
        work.post(40, "older")
        work.post(41, "of another thread", thread_id=200)
        work.post(60, "newer")
        assert sorted(await work.over(3)) == [(40, Outcome.STALE), (41, Outcome.ANSWERED), (60, Outcome.ANSWERED)]
        assert "older" not in work.agents.prompted


@in_virtual_time
async def test_a_prompt_that_a_kill_kept_from_its_end_is_not_run_after_a_stop_of_all() -> None:
    """Q7, R2: the kill falls between what is written of the one and of the other."""
    store = kept()
    await store.accept(accepted_prompt(inbound(40)))
    await store.bind(100, options='{"cutoff":50}')
    async with running_work(store=store) as work:
        assert await work.over() == [(40, Outcome.STALE)]
        assert work.agents.prompted == []


@in_virtual_time
async def test_an_older_stop_of_all_moves_nothing_back_after_a_restart() -> None:
    """Q7: a catch-up replays the words that were typed."""
    store = kept()
    for before in (50, 30, 50):
        async with running_work(store=store) as work:
            work.dispatcher.controls.stop_all(100, ALICE, before)
            await work.settled()
    assert orjson.loads((await store.choices())[100]) == {"cutoff": 50}


@in_virtual_time
async def test_a_stop_of_all_and_a_chosen_mode_are_kept_side_by_side() -> None:
    """Q2, Q7: and whatever else a later version may have put there."""
    store = kept()
    await store.bind(100, options='{"queue_mode":"steer","colour":"red"}')
    async with running_work(store=store) as work:
        work.dispatcher.controls.stop_all(100, ALICE, before=50)
        await work.settled()
    async with running_work(store=store) as work:
        assert work.dispatcher.thread_settings.mode_in(100) is QueueMode.STEER
        work.dispatcher.controls.choose_mode(100, QueueMode.FOLLOWUP, ALICE, server=False)
        await work.settled()
    assert orjson.loads((await store.choices())[100]) == {"queue_mode": "followup", "colour": "red", "cutoff": 50}


@pytest.mark.parametrize("cutoff", ["null", '"50"', "50.5", "true", "[50]"])
@in_virtual_time
async def test_a_cutoff_that_can_not_be_understood_is_none(cutoff: str) -> None:
    """R2"""
    store = kept()
    await store.bind(100, options=f'{{"cutoff":{cutoff}}}')
    async with running_work(store=store) as work:
        work.post(1)
        assert await work.over() == [(1, Outcome.ANSWERED)]
