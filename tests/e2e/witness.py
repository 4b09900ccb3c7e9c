"""A thread that streams through a fault in another one: what tests of faults look at beside the fault (O4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from acp.connection import ConnectionLimits
from acp.shutdown import StopLimits
from bot import derived_settings
from bot.config import Settings
from bot.model import Outcome
from tests.agents import Gate, ScriptedAgent, Step, alive, scenario
from tests.e2e.play import LIMIT, Play, play

WITNESS = "witness"
_SAID = "before, during and after"


def _gate(directory: Path) -> Gate:
    return Gate(directory / "witness-gate")


def words(directory: Path, **steps: list[Step]) -> dict[str, list[Step]]:
    """Return the ``words`` of a scenario: the given ones, and those of the witness."""
    before, rest = "before, ", _SAID.removeprefix("before, ")
    return {**steps, WITNESS: [{"text": before}, _gate(directory).step, {"text": rest, "chunks": 5, "delay": 0.01}]}


@asynccontextmanager
async def witnessed(
    directory: Path, agent: ScriptedAgent | None = None, *, clean: bool = True, **settings: Any
) -> AsyncIterator[Play]:
    """Run the bot with a witness that streams before the body, through it and after it, and is answered in full.

    The first process of the agent is the witness's; without an agent each prompt but the witness's is echoed.
    """
    agent = agent or scenario(directory, words=words(directory))
    async with play(directory, agent, clean=clean, **settings) as game:
        thread_id = await game.mention(WITNESS)
        await game.until_shown(thread_id, "before,")
        yield game
        assert thread_id not in game.on_stage.outcomes
        _gate(directory).open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        (reply,) = game.replies(thread_id)
        assert reply.content.startswith(f"{_SAID}\n-# ")
        assert "⚠️" not in reply.content


@asynccontextmanager
async def conversing(game: Play) -> AsyncIterator[anyio.Lock]:
    """Hold a conversation in a thread of its own: a witness for where no turn may be long.

    It asks again and again while the body runs, and is answered each time. It is asked before the body begins, so the
    first process of the agent is its own; ``hello`` has to be echoed. Whoever holds the lock finds it between turns.
    """
    thread_id, outcome = await game.ask("hello")
    outcomes, over, asking = [outcome], anyio.Event(), anyio.Lock()

    async def go_on() -> None:
        while not over.is_set():
            async with asking:
                outcomes.append(await game.outcome(await game.say(thread_id, "hello")))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(go_on)
        yield asking
        over.set()
    assert len(outcomes) > 1
    assert set(outcomes) == {Outcome.ANSWERED}
    assert all(reply.content.startswith("hello\n-# ") for reply in game.replies(thread_id))


def hurry(monkeypatch: pytest.MonkeyPatch, **limits: Any) -> None:
    """Shorten the limits of connections that are no settings, and the shutdown escalation's first step."""
    usual = derived_settings.connection_limits

    def short(settings: Settings) -> ConnectionLimits:
        return replace(usual(settings), stop=StopLimits(eof=0.3), **limits)

    monkeypatch.setattr(derived_settings, "connection_limits", short)


async def gone(*pids: int) -> None:
    """Wait until none of the processes lives."""
    with anyio.fail_after(LIMIT):
        while any(alive(pid) for pid in pids):  # noqa: ASYNC110  the kernel sends no event
            await anyio.sleep(0.01)
