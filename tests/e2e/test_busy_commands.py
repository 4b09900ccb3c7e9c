"""Commands in a busy thread, typed or from the menu: answered soon, whatever its agent does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.model import Outcome
from tests.agents import Gate, ScriptedAgent, Step, scenario
from tests.e2e.busy import BUSY, held, hurry_notices
from tests.e2e.play import LIMIT, Play, play, until_marked
from tests.e2e.witness import hurry
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio

SOON = 3.0
"""Seconds within which a command is answered: Discord's own limit; on this promise the clock is the test."""

DEAF: list[Step] = [{"deaf": True}, {"text": "so far "}, {"ignore_cancel": True}, {"hang": True}]
STATES: dict[str, dict[str, Any]] = {
    "is deaf": {"words": {"first": DEAF}},
    "ignores the cancel": {"words": {"first": [{"text": "so far "}, {"ignore_cancel": True}, {"hang": True}]}},
    "hangs in its start": {"start": {"hang": "initialize", "first": 3}},
    "waits for a person": {"words": {"first": [{"text": "so far "}, {"permission": {}}]}},
}


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry_notices(monkeypatch, patience=10)
    hurry(monkeypatch)  # agents that are ended go sooner


@asynccontextmanager
async def stuck(
    directory: Path, state: str, count: int = 1
) -> AsyncIterator[tuple[Play, ScriptedAgent, dict[int, list[int]]]]:
    """So many threads whose first turn does not go on, each with two messages that wait."""
    agent = scenario(directory, **STATES[state])
    async with play(directory, agent, cancel_grace=0.3) as game:
        threads: dict[int, list[int]] = {}
        for number in range(count):
            thread_id = await game.mention("first")
            if "start" in STATES[state]:
                await agent.heard("initialize", number + 1)
                await game.until_begun(thread_id)
            else:
                await game.until_shown(thread_id, "so far")
            threads[thread_id] = [await game.say(thread_id, text) for text in ("second", "third")]
            await until_marked(game.discord, *threads[thread_id])
        yield game, agent, threads


async def typed(game: Play, thread_id: int, text: str) -> str:
    """Type a command; return what stands below it."""
    asked = await game.say(thread_id, text)

    def look() -> list[str]:
        return [one.content for one in game.replies(thread_id) if one.reference_id == asked]

    await game.discord.wait_for(lambda _: look(), timeout=SOON)
    return look()[0]


async def from_the_menu(game: Play, thread_id: int, name: str, **options: str) -> str:
    asked = await game.owner.slash(thread_id, name, **options)
    return await asked.told(SOON)


async def ask(game: Play, thread_id: int, command: str) -> str:
    """Give a command, ``/name option`` or a word alone; it has to be answered soon."""
    with anyio.fail_after(SOON):
        if not command.startswith("/"):
            return await typed(game, thread_id, command)
        name = command[1:].removesuffix(" all")
        return await from_the_menu(game, thread_id, name, **({"what": "all"} if command.endswith(" all") else {}))


EACH_STATE = pytest.mark.parametrize("state", [*islice(STATES, 1), *in_soak(islice(STATES, 1, None))])


@EACH_STATE
async def test_stop_ends_the_turn_of_a_stuck_agent_and_goes_on_with_what_waits(tmp_path: Path, state: str) -> None:
    """Q7, T6: from the menu, and typed."""
    async with stuck(tmp_path, state, 2) as (game, agent, threads):
        for command, (thread_id, waiting) in zip(("/stop", "stop"), threads.items(), strict=True):
            before = agent.prompts()
            assert await ask(game, thread_id, command) == "Stopping."
            assert await game.outcome(thread_id) is Outcome.STOPPED
            if "start" in STATES[state]:
                await _give_up(game, thread_id, waiting)
            else:
                assert [await game.outcome(one) for one in waiting] == [Outcome.ANSWERED] * 2
                assert agent.prompts() == [*before, "second", "third"]


async def _give_up(game: Play, thread_id: int, waiting: list[int]) -> None:
    """A start that goes on for ever holds its thread up until it fails: what waits for it can be stopped, too."""
    assert await ask(game, thread_id, "stop all") != "There is nothing to stop."
    assert [await game.outcome(one) for one in waiting] == [Outcome.STOPPED] * 2


@EACH_STATE
async def test_stop_all_ends_everything_and_what_comes_after_it_runs(tmp_path: Path, state: str) -> None:
    """Q7: from the menu, and typed in two ways."""
    async with stuck(tmp_path, state, 3) as (game, agent, threads):
        for command, (thread_id, waiting) in zip(("/stop all", "stop all", "!STOP ALL."), threads.items(), strict=True):
            before = agent.prompts()
            assert await ask(game, thread_id, command) == "Stopping everything: 1 running, 2 waiting."
            assert [await game.outcome(one) for one in (thread_id, *waiting)] == [Outcome.STOPPED] * 3
            if "start" not in STATES[state]:
                assert await game.outcome(await game.say(thread_id, "after it")) is Outcome.ANSWERED
                assert agent.prompts() == [*before, "after it"]


@EACH_STATE
async def test_status_and_the_queue_are_told_whatever_the_agent_does(tmp_path: Path, state: str) -> None:
    """Q11, Q5: typed alone as well; and the queue is emptied without touching what runs."""
    async with stuck(tmp_path, state) as (game, _, threads):
        ((thread_id, waiting),) = threads.items()
        for command in ("status", "/status"):
            assert "Queue: 2 waiting" in await ask(game, thread_id, command)
        shown = await ask(game, thread_id, "/queue show")
        assert shown.startswith("Mode: queue. Up to 10 messages can wait")
        assert [line for line in shown.split("\n") if line[0].isdigit()] == [
            "1. `owner`: `second`",
            "2. `owner`: `third`",
        ]
        assert await ask(game, thread_id, "/queue clear") == "Removed 2."
        assert [await game.outcome(one) for one in waiting] == [Outcome.REMOVED] * 2
        assert await ask(game, thread_id, "/queue clear") == "Nothing is waiting here."
        assert thread_id not in game.on_stage.outcomes
        await ask(game, thread_id, "/stop")
        assert await game.outcome(thread_id) is Outcome.STOPPED


async def test_words_that_only_begin_like_a_command_stop_nothing(tmp_path: Path) -> None:
    """Q7: they are prompts, or asides."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)})
    prompts, aside = ["stop it", "please stop", "status?", "stop all of them"], "// stop"
    async with play(tmp_path, agent) as game:
        said = {}
        for text in (*prompts, aside):
            thread_id = await game.mention("first")
            await game.until_shown(thread_id, "so far")
            said[text] = (thread_id, await game.say(thread_id, text))
            await game.owner.slash(thread_id, "status")
        gate.open()
        for text, (thread_id, message_id) in said.items():
            assert await game.outcome(thread_id) is Outcome.ANSWERED
            if text != aside:
                assert await game.outcome(message_id) is Outcome.ANSWERED
        assert sorted(agent.prompts()) == sorted(["first"] * 5 + prompts)


async def test_commands_where_nothing_runs_say_so(tmp_path: Path) -> None:
    """Q7, Q11: and a message after them is answered as ever."""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("hello")
        for command in ("/stop", "stop", "/stop all", "stop all"):
            assert await ask(game, thread_id, command) == "There is nothing to stop."
        assert "Nothing is running here" in await ask(game, thread_id, "status")
        assert await ask(game, thread_id, "/queue clear") == "Nothing is waiting here."
        assert await game.outcome(await game.say(thread_id, "again")) is Outcome.ANSWERED


async def test_stop_all_spares_other_threads(tmp_path: Path) -> None:
    """Q7, O4"""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": BUSY, "other": held(gate)})
    async with play(tmp_path, agent) as game:
        other = await game.mention("other")
        await game.until_shown(other, "so far")
        waiting = await game.say(other, "waits")
        thread_id = await game.mention("first")
        await game.until_shown(thread_id, "so far")
        await until_marked(game.discord, waiting)
        assert await ask(game, thread_id, "stop all") == "Stopping everything: 1 running, 0 waiting."
        assert await game.outcome(thread_id) is Outcome.STOPPED
        gate.open()
        with anyio.fail_after(LIMIT):
            assert [await game.outcome(one) for one in (other, waiting)] == [Outcome.ANSWERED] * 2
