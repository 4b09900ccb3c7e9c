"""Messages that are edited or deleted while they wait, while they run, and when they are part of a prompt."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.model import Outcome
from tests.agents import Gate, scenario
from tests.e2e.busy import answers, begun, friends, held
from tests.e2e.play import Play, play, until_marked
from tests.repeat import in_soak

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("no_notices")]


async def heard(game: Play, thread_id: int) -> None:
    """Wait until Weft has heard all that was posted, edited and deleted so far: a command comes behind it."""
    await game.owner.slash(thread_id, "status")


async def test_a_waiting_message_that_is_edited_is_asked_as_it_reads_then(tmp_path: Path) -> None:
    """Q5: also twice, and at its old place."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)})
    async with play(tmp_path, agent) as game:
        thread_id = await begun(game)
        second, third = [await game.say(thread_id, text) for text in ("second", "third")]
        await until_marked(game.discord, second, third)
        for text in ("secnod", "second, but better"):
            await game.owner.edit(second, text)
        await heard(game, thread_id)
        gate.open()
        assert [await game.outcome(one) for one in (second, third)] == [Outcome.ANSWERED] * 2
        assert agent.prompts() == ["first", "second, but better", "third"]


async def test_a_waiting_message_that_is_deleted_is_never_asked(tmp_path: Path) -> None:
    """Q5, O1: it has its outcome all the same, and the others keep their places."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)})
    async with play(tmp_path, agent) as game:
        thread_id = await begun(game)
        second, third = [await game.say(thread_id, text) for text in ("second", "third")]
        await until_marked(game.discord, second, third)
        await game.owner.delete(second)
        assert await game.outcome(second) is Outcome.REMOVED
        gate.open()
        assert [await game.outcome(one) for one in (thread_id, third)] == [Outcome.ANSWERED] * 2
        assert agent.prompts() == ["first", "third"]
        assert game.shown(thread_id).count("**Removed**") == 1


@pytest.mark.parametrize("text", ["", "// never mind", "<#1>"], ids=["left", "an aside", "nothing but a place"])
async def test_an_edit_that_leaves_a_prompt_or_none_decides_what_is_asked(tmp_path: Path, text: str) -> None:
    """Q5, D1: a message that is made an aside is for the people in the thread, and taken out."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)})
    async with play(tmp_path, agent) as game:
        thread_id = await begun(game)
        second = await game.say(thread_id, "second")
        await until_marked(game.discord, second)
        if text:
            await game.owner.edit(second, text)
        await heard(game, thread_id)
        gate.open()
        aside = text.startswith("//")
        assert await game.outcome(second) is (Outcome.REMOVED if aside else Outcome.ANSWERED)
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert agent.prompts() == (["first"] if aside else ["first", text or "second"])


@pytest.mark.parametrize("change", ["edited", "deleted"])
async def test_a_message_whose_turn_runs_is_answered_whatever_becomes_of_it(tmp_path: Path, change: str) -> None:
    """Q5, O1: the agent has read it; nothing is asked again, and nothing is told."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"work": held(gate)})
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("hello")
        running = await game.say(thread_id, "work")
        await game.until_shown(thread_id, "so far")
        await (game.owner.edit(running, "work less") if change == "edited" else game.owner.delete(running))
        await heard(game, thread_id)
        gate.open()
        assert await game.outcome(running) is Outcome.ANSWERED
        assert agent.prompts() == ["hello", "work"]
        assert "Removed" not in game.shown(thread_id)
        assert [text for _, text in answers(game, thread_id)] == ["hello", "so far and done"]


@pytest.mark.parametrize("gone", [0, *in_soak([1, 2])], ids=["the first", "the middle", "the last"])
async def test_one_of_several_messages_of_a_followup_can_be_edited_and_another_deleted(
    tmp_path: Path, gone: int
) -> None:
    """Q2, Q5: the others are asked together, at the place of the first; each has its own outcome."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)})
    async with play(tmp_path, agent, **friends("bob", queue_mode="followup")) as game:
        thread_id, bob = await begun(game), game.discord.user("bob")
        people = [game.owner, bob, game.owner]
        messages = [await game.say(thread_id, f"m{number}", who) for number, who in enumerate(people)]
        await until_marked(game.discord, *messages)
        edited = (gone + 1) % 3
        await people[edited].edit(messages[edited], "better")
        await people[gone].delete(messages[gone])
        assert await game.outcome(messages[gone]) is Outcome.REMOVED
        gate.open()
        left = [number for number in range(3) if number != gone]
        assert [await game.outcome(messages[number]) for number in left] == [Outcome.ANSWERED] * 2
        texts = {number: "better" if number == edited else f"m{number}" for number in left}
        if len({people[number].id for number in left}) == 1:
            said = "\n".join(texts.values())
        else:
            frames = {number: f"[{people[number].name} (user {people[number].id}) wrote:]" for number in left}
            said = "\n\n".join(f"{frames[number]}\n> {text}" for number, text in texts.items())
        assert agent.prompts() == ["first", said]


@pytest.mark.parametrize("gone", [0, 1], ids=["the first", "the last"])
async def test_one_of_several_messages_in_a_row_can_be_edited_and_another_deleted(tmp_path: Path, gone: int) -> None:
    """Q4, Q5: while they wait as one prompt."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)})
    async with play(tmp_path, agent, debounce=0.3) as game:
        thread_id = await begun(game)
        row = [await game.say(thread_id, text) for text in ("m0", "m1")]
        await until_marked(game.discord, *row)
        await game.owner.edit(row[1 - gone], "better")
        await game.owner.delete(row[gone])
        assert await game.outcome(row[gone]) is Outcome.REMOVED
        gate.open()
        assert await game.outcome(row[1 - gone]) is Outcome.ANSWERED
        assert agent.prompts() == ["first", "better"]


async def test_a_message_deleted_while_the_agent_starts_is_not_asked(tmp_path: Path) -> None:
    """Q5, O1: the turn has begun, but the agent was told nothing yet."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, start=gate.start)
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("go")
        await game.until_begun(thread_id)
        await game.owner.delete(thread_id)
        assert await game.outcome(thread_id) is Outcome.REMOVED
        gate.open()
        assert agent.prompts() == []
