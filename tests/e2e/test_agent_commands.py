"""The agents' own commands, by `/agent` and typed, in a thread that is busy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.model import Outcome
from bot.sandbox import Interaction
from tests.agents import Gate, scenario
from tests.agents.offers import commands, offers
from tests.clock import let_pass
from tests.e2e.busy import answers, begun, friends, held
from tests.e2e.play import play, until_marked

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("no_notices")]


def suggested(interaction: Interaction) -> list[str]:
    return [choice["value"] for choice in (interaction.response or {}).get("choices", [])]


def first_texts(agent: Any) -> list[str]:
    return [message["params"]["prompt"][0]["text"] for message in agent.received("session/prompt")]


async def test_commands_of_a_busy_agent_are_suggested_and_run_as_prompts_of_their_own(tmp_path: Path) -> None:
    """K3, Q2, Q4: they are the first text of their prompt, whatever the thread's mode would do with a message."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"first": held(gate)}, **offers("claude", without=("auth",)), steering=True)
    async with play(tmp_path, agent, debounce=0.3, debounce_max=0.6, **friends("bob")) as game:
        bob, owner = game.discord.user("bob"), game.owner
        thread_id = await begun(game)
        assert await (await owner.slash(thread_id, "queue mode", mode="steer")).told()
        # 1. Suggestions, while the agent is at work; a stranger gets none.
        found = suggested(await owner.autocomplete(thread_id, "agent", "command", ""))
        assert (len(found), found[:2]) == (25, ["compact", "review"])
        assert suggested(await bob.autocomplete(thread_id, "agent", "command", "/rev")) == ["review"]
        stranger = game.discord.user("eve")
        assert suggested(await stranger.autocomplete(thread_id, "agent", "command", "")) == []
        # 2. Unknown ones are answered; in a channel there is no agent to ask.
        unknown = await owner.slash(thread_id, "agent", command="reveiw")
        assert "Did you mean `/review`" in await unknown.told()
        assert "inside a Weft thread" in await (await owner.slash(game.discord.channel_id, "agent", command="x")).told()
        # 3. Run by command and typed, one after the other, though the mode says steer and all have a debounce.
        used = await bob.slash(thread_id, "agent", command="review", input="src now")
        assert (await used.told(), used.ephemeral) == ("`/review` src now", False)
        by_command = game.discord.messages(thread_id)[-1].id
        typed = await game.say(thread_id, "!steer /compact all\nof it", bob)
        await until_marked(game.discord, typed)
        plain = await game.say(thread_id, "!queue and then", bob)
        await until_marked(game.discord, plain)
        gate.open()
        assert [await game.outcome(one) for one in (thread_id, by_command, typed, plain)] == [Outcome.ANSWERED] * 4
        assert first_texts(agent) == ["first", "/review src now", "/compact all\nof it", "and then"]
        assert [reference for reference, _ in answers(game, thread_id)] == [None, by_command, typed, plain]


async def test_a_command_is_one_however_its_name_is_spelt_and_what_is_none_is_not(tmp_path: Path) -> None:
    """K3, Q2: some agents name commands by the folders in which they are."""
    gate = Gate(tmp_path / "gate")
    named = [{"name": name, "description": "does something"} for name in ("team/review", "what?!")]
    agent = scenario(tmp_path, words={"first": held(gate)}, commands=named, steering=True)
    async with play(tmp_path, agent, debounce=10, debounce_max=10, **friends("bob")) as game:
        bob, owner = game.discord.user("bob"), game.owner
        thread_id = await begun(game)
        assert await (await owner.slash(thread_id, "queue mode", mode="followup")).told()
        used = await bob.slash(thread_id, "agent", command="team/review", input="src")
        assert await used.told() == "`/team/review` src"
        by_command = game.discord.messages(thread_id)[-1].id
        typed = [await game.say(thread_id, text, bob) for text in ("/what?! now", "/etc/hosts is wrong", "mend it")]
        await until_marked(game.discord, *typed)
        let_pass(10)
        gate.open()
        assert [await game.outcome(one) for one in (thread_id, by_command, *typed)] == [Outcome.ANSWERED] * 5
        assert first_texts(agent) == ["first", "/team/review src", "/what?! now", "/etc/hosts is wrong\nmend it"]
        # In a session that begins, too: it has nothing behind it.
        other = await game.mention("/team/review", bob)
        assert await game.outcome(other) is Outcome.ANSWERED
        assert len(agent.received("session/prompt")[-1]["params"]["prompt"]) == 1


async def test_a_command_with_what_it_refers_to_is_still_the_first_text(tmp_path: Path) -> None:
    """K3, F8: a reply's quote stands behind it; what an agent has not announced reaches it all the same."""
    agent = scenario(tmp_path, commands=commands(500))
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("/hidden from the channel")
        original = await game.say(thread_id, "// for you")
        reply = await game.owner.say(thread_id, "/review this", reply_to=original)
        assert await game.outcome(reply.id) is Outcome.ANSWERED
        first, second = first_texts(agent)
        # What every session is told of Weft is no input of a command: it comes with the next other prompt.
        assert await game.outcome(await game.say(thread_id, "plain")) is Outcome.ANSWERED
        assert [len(one["params"]["prompt"]) for one in agent.received("session/prompt")] == [1, 1, 2]
        assert first == "/hidden from the channel"
        assert second.startswith("/review this\n\n[In reply to")
        found = suggested(await game.owner.autocomplete(thread_id, "agent", "command", "command-49"))
        assert found == [f"command-{number}" for number in (49, *range(490, 500))]
