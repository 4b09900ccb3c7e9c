"""People and bots in lanes of their own; turns that wait for a person; and how much one person may send."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.model import Outcome
from bot.sandbox import FakeDiscord, people
from bot.sandbox.model import User
from bot.sandbox.people import Person
from tests.agents import Gate, Step, scenario
from tests.agents.scenario import allow_options
from tests.e2e.busy import BUSY, begun, friends, held
from tests.e2e.play import Play, play, until_marked

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("quick_notices")]

NARROW: dict[str, Any] = {"lane_main": 1, "lane_background": 1, "max_agents": 4}


def with_a_bot(**settings: Any) -> dict[str, Any]:
    """Return settings with which a bot named ``robot`` may speak."""

    def invite(discord: FakeDiscord) -> dict[str, Any]:
        robot = User(discord.state.ids(), "robot", bot=True)
        people.add_member(discord.state, robot)
        return {"allowed_users": (robot.id,)}

    return {"invite": invite, **NARROW, **settings}


def robot_of(game: Play) -> Person:
    (member,) = [one.user for one in game.discord.state.members.values() if one.user.name == "robot"]
    return Person(member.id, member.name, game.discord.state, game.owner.interactions)


async def test_a_full_background_lane_delays_no_person(tmp_path: Path) -> None:
    """Q6: bots wait for each other."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"batch": held(gate)})
    async with play(tmp_path, agent, **with_a_bot()) as game:
        robot = robot_of(game)
        batches = [await game.mention(f"batch {number}", robot) for number in range(2)]
        await game.until_shown(batches[0], "so far")
        _, outcome = await game.ask("hello")
        assert outcome is Outcome.ANSWERED
        assert agent.prompts() == ["batch 0", "hello"]
        gate.open()
        assert [await game.outcome(one) for one in batches] == [Outcome.ANSWERED] * 2


async def test_a_full_main_lane_delays_no_bot(tmp_path: Path) -> None:
    """Q6"""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)})
    async with play(tmp_path, agent, **with_a_bot()) as game:
        thread_id = await begun(game)
        waiting = await game.mention("also a person")
        batch = await game.mention("batch", robot_of(game))
        assert await game.outcome(batch) is Outcome.ANSWERED
        assert agent.prompts() == ["first", "batch"]
        gate.open()
        assert [await game.outcome(one) for one in (thread_id, waiting)] == [Outcome.ANSWERED] * 2


async def test_a_turn_that_waits_for_a_person_lends_its_place(tmp_path: Path) -> None:
    """Q6: and goes on at once when it is answered, although the place is taken."""
    gate = Gate(tmp_path / "gate")
    asks = [{"permission": {}, "then": {"*": [{"text": "went on"}]}}]
    agent = scenario(tmp_path, words={"risky": asks, "first": held(gate)})
    async with play(tmp_path, agent, **NARROW) as game:
        risky = await game.mention("risky")
        await game.card(risky)
        other = await begun(game)
        waiting = await game.mention("one more")
        await until_marked(game.discord, waiting)
        await game.press(risky, "Allow")
        assert await game.outcome(risky) is Outcome.ANSWERED
        assert "went on" in game.shown(risky)
        assert other not in game.on_stage.outcomes
        assert agent.prompts() == ["risky", "first"]
        gate.open()
        assert [await game.outcome(one) for one in (other, waiting)] == [Outcome.ANSWERED] * 2


async def test_a_stopped_turn_that_had_lent_its_place_takes_none_with_it(tmp_path: Path) -> None:
    """Q6, Q10: the lane is as wide as before."""
    agent = scenario(tmp_path, words={"risky": [{"permission": {}}], "first": BUSY})
    async with play(tmp_path, agent, **NARROW) as game:
        risky = await game.mention("risky")
        await game.card(risky)
        other = await begun(game)
        waiting = await game.mention("one more")
        await until_marked(game.discord, waiting)
        await game.stop(risky)
        assert await game.outcome(risky) is Outcome.STOPPED
        assert agent.prompts() == ["risky", "first"]
        await game.stop(other)
        assert [await game.outcome(one) for one in (other, waiting)] == [Outcome.STOPPED, Outcome.ANSWERED]


async def test_somebody_who_sends_too_much_is_told_when_to_try_again(tmp_path: Path) -> None:
    """Q3, O1: once in a burst; others are not held up, and what was taken is answered."""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent, **friends("bob", user_messages=3)) as game:
        thread_id = await game.mention("m0")
        await game.discord.wait_for(lambda _: game.opened(thread_id))
        messages = [await game.say(thread_id, f"m{number}") for number in range(1, 7)]
        theirs = await game.say(thread_id, "from bob", game.discord.user("bob"))
        assert [await game.outcome(one) for one in (thread_id, *messages[:2], theirs)] == [Outcome.ANSWERED] * 4
        assert [await game.outcome(one) for one in messages[2:]] == [Outcome.DROPPED] * 4
        assert agent.prompts() == ["m0", "m1", "m2", "from bob"]
        (told,) = [one for one in game.replies(thread_id) if "**Not run:**" in one.content]
        assert "more than 3 messages in 60 s; wait" in told.content
        assert "4 messages of `owner`" in told.content
        assert told.reference_id == messages[2]


async def test_a_mention_too_many_is_told_where_it_was_posted_and_opens_no_thread(tmp_path: Path) -> None:
    """Q3, O1, D1"""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent, user_messages=1) as game:
        assert (await game.ask("one"))[1] is Outcome.ANSWERED
        hasty = await game.mention("two")
        assert await game.outcome(hasty) is Outcome.DROPPED
        (told,) = [one for one in game.replies(game.discord.channel_id) if one.reference_id == hasty]
        assert "more than 1 messages" in told.content
        assert len(game.discord.threads()) == 1


async def test_a_request_of_a_bots_prompt_is_answered_by_the_owner(tmp_path: Path) -> None:
    """D6, D9: a bot presses nothing, and nobody is pinged."""
    ask: Step = {"permission": {"tool": {"title": "make"}, "options": allow_options(("yes", "allow_once"))}}
    agent = scenario(tmp_path, words={"batch": [ask | {"then": {"yes": [{"text": "made"}]}}]})
    async with play(tmp_path, agent, **with_a_bot()) as game:
        thread_id = await game.mention("batch", robot_of(game))
        card_id, _ = await game.card(thread_id)
        assert "only whoever runs me may answer" in game.discord.message(card_id).content
        await game.press(thread_id, "yes", game.discord.user("mallory"))
        assert game.discord.message(card_id).components != []
        await game.press(thread_id, "yes")
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert "made" in game.shown(thread_id)
