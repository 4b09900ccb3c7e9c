"""What one author writes in a row becomes one prompt: who is merged, who is not, and what is never held up.

However slow the machine is, what is to be one row must come within one wait for more. So that is a minute, and it ends
when a test moves the clock; only where its own end is the subject is it short, and nothing has to fit into it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.model import Outcome
from tests.agents import Gate, scenario
from tests.e2e.busy import BUSY, answers, begun, friends, held
from tests.e2e.play import Play, play, until_marked

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("quick_notices")]

LONG: dict[str, Any] = {"debounce": 60.0, "debounce_max": 60.0}

SOON = 30.0
"""Seconds within which a command is answered, on a busy machine; half of what it would wait."""


class Clock:
    """The bot's clock, as its own code reads it; the sleeps of the event loop go by the real one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead, real = 0.0, anyio.current_time
        monkeypatch.setattr(anyio, "current_time", lambda: real() + self._ahead)

    def end_waits(self, game: Play) -> None:
        """Let as much time pass as rows wait for more."""
        self._ahead += LONG["debounce"]
        game.on_stage.bot.dispatcher.looked([])  # whoever sleeps until the first is over reads the clock again


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_three_messages_in_a_row_are_one_prompt_with_one_reply(tmp_path: Path, clock: Clock) -> None:
    """Q4, O1: each of the three is answered; the reply stands below the first."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)})
    async with play(tmp_path, agent, **LONG) as game:
        thread_id = await begun(game)
        row = [await game.say(thread_id, f"m{number}") for number in range(3)]
        await until_marked(game.discord, *row)
        clock.end_waits(game)
        gate.open()
        assert [await game.outcome(one) for one in row] == [Outcome.ANSWERED] * 3
        assert agent.prompts() == ["first", "m0\nm1\nm2"]
        assert answers(game, thread_id)[1:] == [(row[0], "m0\nm1\nm2")]


async def test_a_lone_message_in_an_idle_thread_is_asked_at_once(tmp_path: Path) -> None:
    """Q4: however long the debounce is."""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent, **LONG) as game:
        thread_id, _ = await game.ask("hello")
        again = await game.say(thread_id, "again")
        assert await game.outcome(again) is Outcome.ANSWERED
        assert agent.prompts() == ["hello", "again"]


async def test_a_mention_and_what_follows_it_in_its_new_thread_are_one_prompt(tmp_path: Path) -> None:
    """Q4, D1: while the agent starts."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, start=gate.start)
    async with play(tmp_path, agent, **LONG) as game:
        thread_id = await game.mention("do this")
        await game.discord.wait_for(lambda _: game.opened(thread_id))
        more = await game.say(thread_id, "and that")
        gate.open()
        assert [await game.outcome(one) for one in (thread_id, more)] == [Outcome.ANSWERED] * 2
        assert agent.prompts() == ["do this\nand that"]


async def test_two_authors_are_never_merged(tmp_path: Path, clock: Clock) -> None:
    """Q4: those in a row are, before and after; the order of the thread stays."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)})
    async with play(tmp_path, agent, **friends("bob", **LONG)) as game:
        thread_id = await begun(game)
        people = {"o": game.owner, "b": game.discord.user("bob")}
        texts = ["o1", "o2", "b1", "o3", "b2", "b3"]
        messages = [await game.say(thread_id, text, people[text[0]]) for text in texts]
        await until_marked(game.discord, *messages)
        clock.end_waits(game)
        gate.open()
        assert [await game.outcome(one) for one in messages] == [Outcome.ANSWERED] * 6
        assert agent.prompts() == ["first", "o1\no2", "b1", "o3", "b2\nb3"]


async def test_somebody_who_never_stops_writing_is_answered_all_the_same(tmp_path: Path) -> None:
    """Q4: the wait is bounded in all."""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent, debounce=0.3, debounce_max=0.6) as game:
        thread_id, _ = await game.ask("hello")
        messages: list[int] = []
        while len(agent.prompts()) < 2:
            messages.append(await game.say(thread_id, f"m{len(messages)}"))
            await anyio.sleep(0.05)  # this author's pace: always within the wait for more
        assert [await game.outcome(one) for one in messages] == [Outcome.ANSWERED] * len(messages)
        assert "\n".join(agent.prompts()[1:]).split("\n") == [f"m{number}" for number in range(len(messages))]


@pytest.mark.parametrize("words", [["stop", "stop"], ["stop all"]], ids=["stop", "stop all"])
async def test_a_stop_word_is_never_held_and_ends_what_is_still_being_collected(
    tmp_path: Path, words: list[str]
) -> None:
    """Q4, Q7: it is no part of the row, either."""
    agent = scenario(tmp_path, words={"first": BUSY})
    async with play(tmp_path, agent, **LONG) as game:
        thread_id = await begun(game)
        collected = await game.say(thread_id, "do it")
        await until_marked(game.discord, collected)
        with anyio.fail_after(SOON):
            for word in words:
                await game.say(thread_id, word)
                assert await game.outcome(thread_id) is Outcome.STOPPED
            assert await game.outcome(collected) is Outcome.STOPPED
        assert agent.prompts() == ["first"]


async def test_a_row_behind_a_running_turn_takes_no_more_once_its_own_wait_is_over(
    tmp_path: Path, clock: Clock
) -> None:
    """Q1, Q4: the wait for more goes on beside the turn, not after it."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)})
    async with play(tmp_path, agent, **LONG) as game:
        thread_id = await begun(game)
        row = [await game.say(thread_id, text) for text in ("m0", "m1")]
        await until_marked(game.discord, *row)
        clock.end_waits(game)
        late = await game.say(thread_id, "m2")
        await until_marked(game.discord, late)
        clock.end_waits(game)
        gate.open()
        assert [await game.outcome(one) for one in (*row, late)] == [Outcome.ANSWERED] * 3
        assert agent.prompts() == ["first", "m0\nm1", "m2"]


async def test_a_row_that_is_still_collected_when_the_turn_before_it_ends_starts_by_itself(tmp_path: Path) -> None:
    """Q4, O2: nothing else has to happen in the thread for it to start."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)})
    async with play(tmp_path, agent, debounce=1.0) as game:
        thread_id = await begun(game)
        row = [await game.say(thread_id, text) for text in ("m0", "m1")]
        await until_marked(game.discord, *row)
        gate.open()
        assert [await game.outcome(one) for one in (thread_id, *row)] == [Outcome.ANSWERED] * 3
        # One row, unless the second came a second after the first.
        assert "\n".join(agent.prompts()).split("\n") == ["first", "m0", "m1"]
