"""The four queue modes in a thread that is busy: what is visible is the same, whatever its agent can do."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.model import Actor, Outcome
from bot.work.prompt import SAID_MEANWHILE, Said, compose
from tests.agents import Gate, scenario
from tests.e2e.busy import (
    AGENTS,
    BUSY,
    answers,
    assert_one_prompt_at_a_time,
    begun,
    friends,
    held,
)
from tests.e2e.play import Play, play, until_marked
from tests.repeat import in_soak

pytestmark = [
    pytest.mark.usefixtures("no_notices"),
    pytest.mark.asyncio,
    pytest.mark.parametrize(
        ("kind", "chosen"),
        [
            ("steers", "for the thread"),
            *in_soak((kind, "by the first word") for kind in AGENTS),
            *in_soak([("queues", "for the thread")]),
        ],
    ),
]


async def choose(game: Play, thread_id: int, mode: str, chosen: str) -> str:
    """Choose the mode for the thread; return the word to put in front of messages instead."""
    if chosen == "by the first word":
        return f"!{mode} "
    used = await game.owner.slash(thread_id, "queue mode", mode=mode)
    assert await used.told() == f"In this thread from now on: **{mode}**."
    return ""


async def test_queue_answers_each_message_in_a_turn_of_its_own_in_order(tmp_path: Path, kind: str, chosen: str) -> None:
    """Q1, Q2"""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)}, **AGENTS[kind])
    async with play(tmp_path, agent, **friends("bob")) as game:
        thread_id = await begun(game)
        word = await choose(game, thread_id, "queue", chosen)
        second = await game.say(thread_id, f"{word}second")
        third = await game.say(thread_id, f"{word}third", game.discord.user("bob"))
        await until_marked(game.discord, second, third)
        gate.open()
        assert [await game.outcome(one) for one in (thread_id, second, third)] == [Outcome.ANSWERED] * 3
        assert agent.prompts() == ["first", "second", "third"]
        said = [(None, "so far and done"), (second, "second"), (third, "third")]
        assert answers(game, thread_id) == said
        assert_one_prompt_at_a_time(agent)


async def test_followup_answers_what_came_meanwhile_in_one_turn_with_the_names_of_its_authors(
    tmp_path: Path, kind: str, chosen: str
) -> None:
    """Q2: also that of somebody who spoke twice; each message has its outcome."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)}, **AGENTS[kind])
    async with play(tmp_path, agent, **friends("bob")) as game:
        thread_id, bob = await begun(game), game.discord.user("bob")
        word = await choose(game, thread_id, "followup", chosen)
        said = [("second", game.owner), ("third", bob), ("fourth", game.owner)]
        messages = [await game.say(thread_id, f"{word}{text}", who) for text, who in said]
        await until_marked(game.discord, *messages)
        gate.open()
        assert [await game.outcome(one) for one in (thread_id, *messages)] == [Outcome.ANSWERED] * 4
        together = compose(Said(Actor(who.id, who.name), text) for text, who in said)
        assert agent.prompts() == ["first", together]
        assert answers(game, thread_id) == [(None, "so far and done"), (messages[0], together)]
        assert_one_prompt_at_a_time(agent)


async def test_interrupt_supersedes_what_runs_and_what_waits_and_is_answered_next(
    tmp_path: Path, kind: str, chosen: str
) -> None:
    """Q2, T6: what was said is kept, and the old turn has really ended before the new one begins."""
    agent = scenario(tmp_path, words={"first": BUSY}, **AGENTS[kind])
    async with play(tmp_path, agent) as game:
        thread_id = await begun(game)
        word = await choose(game, thread_id, "interrupt", chosen)
        waiting = await game.say(thread_id, "!queue waiting")
        await until_marked(game.discord, waiting)
        newest = await game.say(thread_id, f"{word}newest")
        assert await game.outcome(newest) is Outcome.ANSWERED
        assert await game.outcome(thread_id) is Outcome.SUPERSEDED
        assert await game.outcome(waiting) is Outcome.SUPERSEDED
        assert agent.prompts() == ["first", "newest"]
        assert len(agent.received("session/cancel")) == 1
        assert game.shown(thread_id).count("**Replaced**") == 2
        (first,) = [one for one in game.replies(thread_id) if "so far" in one.content]
        assert "**Replaced**" in first.content
        assert (newest, "newest") in answers(game, thread_id)
        assert_one_prompt_at_a_time(agent)


async def test_steer_puts_the_message_into_the_turn_or_asks_again_with_it_marked(
    tmp_path: Path, kind: str, chosen: str
) -> None:
    """Q2: with steering one reply has both; without it the first is superseded. Nobody is left without an answer."""
    agent = scenario(tmp_path, words={"first": BUSY}, **AGENTS[kind])
    async with play(tmp_path, agent) as game:
        thread_id = await begun(game)
        word = await choose(game, thread_id, "steer", chosen)
        second = await game.say(thread_id, f"{word}second")
        assert await game.outcome(second) is Outcome.ANSWERED
        if AGENTS[kind].get("steering"):
            assert await game.outcome(thread_id) is Outcome.ANSWERED
            assert agent.prompts() == ["first"]
            assert len(agent.received("_session/steering")) == 1
            assert agent.received("session/cancel") == []
            (reply,) = game.replies(thread_id) if chosen == "by the first word" else game.replies(thread_id)[:1]
            assert reply.content.startswith("so far")
            assert "second" in reply.content
        else:
            assert await game.outcome(thread_id) is Outcome.SUPERSEDED
            asked = f"{SAID_MEANWHILE}\nsecond"
            assert agent.prompts() == ["first", asked]
            assert answers(game, thread_id)[-1] == (second, asked)
        assert_one_prompt_at_a_time(agent)


async def test_a_message_to_an_idle_thread_is_answered_in_every_mode(tmp_path: Path, kind: str, chosen: str) -> None:
    """Q2: there is nothing to interrupt, to steer or to wait for."""
    agent = scenario(tmp_path, **AGENTS[kind])
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("hello")
        for mode in ("queue", "followup", "interrupt", "steer"):
            word = await choose(game, thread_id, mode, chosen)
            assert await game.outcome(await game.say(thread_id, f"{word}{mode} it")) is Outcome.ANSWERED
        assert agent.prompts() == ["hello", "queue it", "followup it", "interrupt it", "steer it"]
        assert agent.received("_session/steering") == agent.received("session/cancel") == []
        assert_one_prompt_at_a_time(agent)
