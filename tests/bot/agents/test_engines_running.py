"""How full the machines of engines are: asked often, asked anew for people, and never waited for without end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from bot.agents import engines_running
from bot.agents.engines_running import FRESH, RunningEngines
from tests.engines.nearby import NearbyEngine, NearbySettings

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def looking(*names: str) -> AsyncIterator[tuple[RunningEngines, list[NearbyEngine]]]:
    """Run engines that are looked at, once each has answered."""
    made = [NearbyEngine(name, NearbySettings()) for name in names]
    engines = RunningEngines({one.name: one for one in made})
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engines.keep_looking)
            await engines.renew()
            while not all(engines.nodes.values()):
                await engines.renew()
            yield engines, made
            tasks.cancel_scope.cancel()


def let_time_pass(engines: RunningEngines, seconds: float) -> None:
    """Have all that is known be so much older."""
    engines._seen = {name: (nodes, at - seconds) for name, (nodes, at) in engines._seen.items()}


async def test_who_asks_is_told_of_now_and_not_of_the_last_look() -> None:
    """P14: one look for all who ask at once, and none while the last one is fresh."""
    async with looking("farm") as (engines, [farm]):
        let_time_pass(engines, 10.0)
        before = len(farm.asked)
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(engines.renew)
        assert all(node.age <= FRESH for node in engines.nodes["farm"])
        assert farm.asked[before:] == [FRESH]
        await engines.renew()
        assert len(farm.asked) == before + 1


async def test_an_engine_that_is_slow_is_shown_as_it_was_with_its_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """P14: it keeps nobody from what the others say, and what it says later is taken in."""
    async with looking("slow", "quick") as (engines, [slow, _]):
        slow.slow = anyio.Event()
        let_time_pass(engines, 10.0)
        monkeypatch.setattr(engines_running, "RENEW_LIMIT", 0.2)
        await engines.renew()
        assert [round(node.age) >= 10 for node in engines.nodes["slow"]] == [True, True]
        monkeypatch.setattr(engines_running, "RENEW_LIMIT", 30.0)
        slow.slow.set()
        await engines.renew()
        assert all(node.age < 10 for node in engines.nodes["slow"])


async def test_a_look_that_fails_leaves_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """P14: the next one may do better."""
    async with looking("farm") as (engines, [farm]):
        monkeypatch.setattr(engines_running, "RENEW_LIMIT", 0.1)
        monkeypatch.setattr(farm, "nodes", None)
        let_time_pass(engines, 10.0)
        await engines.renew()
        assert [node.name for node in engines.nodes["farm"]] == ["near-1", "near-2"]
