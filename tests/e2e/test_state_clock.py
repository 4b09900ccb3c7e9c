"""The machine's clock is set while the bot works: limits are measured by another clock, and nobody notices."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from bot import derived_settings
from bot.config import Settings
from bot.model import Outcome
from pool.model import PoolLimits
from pool.registry import Registry
from tests.agents import Step, scenario
from tests.e2e.witness import witnessed, words
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio

DAY = 24 * 3600.0


@pytest.fixture
def _frequent_maintenance(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = derived_settings.pool_limits

    def often(settings: Settings) -> PoolLimits:
        return replace(usual(settings), maintenance=0.01)

    monkeypatch.setattr(derived_settings, "pool_limits", often)


class Passes:
    """Counts the pool's periodic passes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._changed = anyio.Event()
        maintain = Registry.maintain

        def counted(registry: Registry) -> None:
            maintain(registry)
            self._changed.set()
            self._changed = anyio.Event()

        monkeypatch.setattr(Registry, "maintain", counted)

    async def some(self) -> None:
        """Wait for a few."""
        for _ in range(5):
            await self._changed.wait()


@pytest.mark.parametrize("moved", [-DAY, *in_soak([DAY])], ids=["a day back", "a day ahead"])
@pytest.mark.usefixtures("_frequent_maintenance")
async def test_a_clock_that_jumps_fires_no_limit_and_evicts_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: float
) -> None:
    """T2, T7, P3, D6, O4: with the default limits, a turn runs, a card is open, a turn is silent, an agent is idle."""
    passes, now = Passes(monkeypatch), time.time
    steps: dict[str, list[Step]] = {
        "ask": [{"permission": {}, "then": {"allow": [{"text": "allowed"}]}}],
        "quiet": [{"hang": True}],
    }
    agent = scenario(tmp_path, words=words(tmp_path, **steps))
    async with witnessed(tmp_path, agent, permission_timeout=600.0, cancel_grace=10.0) as game:
        idle, _ = await game.ask("hello")
        asking, quiet = await game.mention("ask"), await game.mention("quiet")
        await game.card(asking)
        await agent.heard("session/prompt", 4)
        monkeypatch.setattr(time, "time", lambda: now() + moved)
        await passes.some()
        turns, asked, agents, *_ = game.on_stage.bot.dispatcher.controls.status(None).splitlines()
        assert turns == "3 running, 0 waiting"
        assert asked.startswith("1 waiting for an answer")
        assert agents.startswith("Agents: 4 live,")
        assert "no sign of life" not in game.on_stage.bot.dispatcher.controls.status(quiet)
        await game.press(asking, "Allow")
        assert await game.outcome(asking) is Outcome.ANSWERED
        assert await game.outcome(await game.say(idle, "hello again")) is Outcome.ANSWERED
        assert await game.stop(quiet) == "Stopping."
        assert await game.outcome(quiet) is Outcome.STOPPED
        assert len(agent.pids()) == 4
