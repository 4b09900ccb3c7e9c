"""An agent, people and a Discord that mean no good: nothing breaks out, nothing is lost, nothing goes on for ever."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.model import Outcome
from bot.sandbox import status
from bot.work.running_turn import MOST_OPEN
from tests.agents import Gate, ScriptedAgent, scenario
from tests.e2e.play import LIMIT, Play, play

pytestmark = pytest.mark.asyncio

SENDS, EDITS = r"/messages$", r"/messages/\d+$"
TOOL = {"toolCallId": "t1", "title": "rm -r build", "kind": "execute", "rawInput": {"command": "rm -r build"}}
TRICKS = "@everyone <@&1> [x](https://evil.example) \u202e\x1b[31m``` `"


def asks(directory: Path, options: list[dict[str, Any]], tool: dict[str, Any] = TOOL) -> ScriptedAgent:
    ask = {"permission": {"tool": tool, "options": options}, "then": {"*": [{"text": "done"}]}}
    return scenario(directory, [ask])


def answers(agent: ScriptedAgent) -> list[dict[str, Any]]:
    heard = (entry["message"] for entry in agent.events("received"))
    return [message["result"]["outcome"] for message in heard if "outcome" in message.get("result", {})]


async def answered(agent: ScriptedAgent, count: int) -> list[dict[str, Any]]:
    """Wait for so many answers to permission requests."""
    with anyio.fail_after(LIMIT):
        while len(found := answers(agent)) < count:  # noqa: ASYNC110  another process writes the log
            await anyio.sleep(0.01)
    return found


def bodies(game: Play) -> list[dict[str, Any]]:
    """What the bot has sent that shows text: messages, edits, answers to interactions."""
    made = [json.loads(json.dumps(call.body)) for call in game.discord.rest_calls() if isinstance(call.body, dict)]
    shown = [body["data"] if body.get("type") == 4 else body for body in made]
    return [body for body in shown if "content" in body]


KEY = "k3y-0123456789"


async def test_no_trick_in_an_agents_words_notifies_or_breaks_out(tmp_path: Path) -> None:
    """D6, D9, T8: in the answer, a tool's title, a card, its buttons, the status and what a press is told."""
    options = [{"optionId": "yes", "name": f"Yes {TRICKS}", "kind": "allow_once"}]
    ask = {
        "permission": {"tool": {"title": TRICKS, "rawInput": {"command": f"a\n```\n{TRICKS}"}}, "options": options},
        "then": {"*": [{"text": f"```py\n{TRICKS}\n"}]},
    }
    agent = scenario(tmp_path, [{"text": TRICKS}, {"tool": {"id": "t", "title": TRICKS, "output": TRICKS}}, ask])
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("go @everyone")
        card_id, buttons = await game.card(thread_id)
        await game.owner.slash(thread_id, "status")
        assert "\u202e" not in game.discord.message(card_id).content + buttons[0].label
        # The command, and the title, as inline code can't hold its backticks.
        assert game.discord.message(card_id).content.count("```") == 4
        await game.owner.click(card_id, buttons[0].custom_id)
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        sent = bodies(game)
        assert [body["allowed_mentions"]["parse"] for body in sent] == [[]] * len(sent)
        named = {int(user) for body in sent for user in body["allowed_mentions"].get("users", [])}
        assert named <= {game.owner.id}
        assert "\x1b" not in game.shown(thread_id)
        last = game.replies(thread_id)[-1].content
        assert last.split("\n")[-1].startswith("-# ")
        assert sum(line.startswith("```") for line in last.split("\n")) % 2 == 0


async def test_a_request_without_options_is_cancelled_at_once(tmp_path: Path) -> None:
    """D6: nobody could answer it, and the turn would wait for ten minutes."""
    agent = asks(tmp_path, [])
    async with play(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.ANSWERED
        assert answers(agent) == [{"outcome": "cancelled"}]
        assert "asks for permission" not in game.shown(thread_id)


async def test_a_flood_of_requests_gets_only_so_many_cards(tmp_path: Path) -> None:
    """D6, T6: what is one too many is cancelled at once, the rest at the stop."""
    options = [{"optionId": "yes", "name": "Yes", "kind": "allow_once"}]
    one = {"permission": {"tool": TOOL, "options": options}, "wait": False}
    agent = scenario(tmp_path, [*([one] * (MOST_OPEN + 15)), {"hang": True}])
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("go")
        assert await answered(agent, 15) == [{"outcome": "cancelled"}] * 15
        await game.card(thread_id)
        assert await game.stop(thread_id) == "Stopping."
        assert await game.outcome(thread_id) is Outcome.STOPPED
        assert await answered(agent, MOST_OPEN + 15) == [{"outcome": "cancelled"}] * (MOST_OPEN + 15)


async def test_thirty_long_options_with_one_id_can_still_be_refused(tmp_path: Path) -> None:
    """D6: the agent's own options, as far as Discord has room; saying no always is among them."""
    options = [{"optionId": "same", "name": "y" * 500, "kind": "allow_always"} for _ in range(30)]
    agent = asks(tmp_path, [*options, {"optionId": "no", "name": "No", "kind": "reject_once"}])
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("go")
        await game.press(thread_id, "No")
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert answers(agent) == [{"outcome": "selected", "optionId": "no"}]


async def test_a_request_of_megabytes_is_a_card_like_any_other(tmp_path: Path) -> None:
    """D6, T10: what doesn't fit is cut, not refused by Discord."""
    huge = {"toolCallId": "t1", "title": "t" * 1_000_000, "rawInput": {"command": "echo " + "\u6f22" * 1_000_000}}
    agent = asks(tmp_path, [{"optionId": "no", "name": "No", "kind": "reject_once"}], huge)
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("go")
        await game.press(thread_id, "No")
        assert await game.outcome(thread_id) is Outcome.ANSWERED


async def test_absurd_numbers_do_not_cost_the_turn_its_end(tmp_path: Path) -> None:
    """O1, D5"""
    usage = {"sessionUpdate": "usage_update", "used": 10**400, "size": 1, "cost": {"amount": 1e308, "currency": "USD"}}
    agent = scenario(tmp_path, [{"update": usage}, {"text": "the answer"}])
    async with play(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.ANSWERED
        assert "the answer\n-# " in game.shown(thread_id)


async def test_a_stop_button_in_another_thread_stops_nothing(tmp_path: Path) -> None:
    """D6, T6: whoever gets a foreign custom_id onto a message has no use of it."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"slow": [{"text": "first"}, gate.step, {"text": "second"}]})
    async with play(tmp_path, agent) as game:
        victim = await game.mention("slow")
        await game.until_shown(victim, "first")
        other, _ = await game.ask("hello")
        custom_id = f"weft:stop:{victim}:{victim}"
        button = {"type": 2, "style": 4, "label": "Stop", "custom_id": custom_id}
        forged = game.replies(other)[-1]
        forged.components.append({"type": 1, "components": [button]})
        pressed = await game.owner.click(forged, custom_id)
        assert "expired" in str(pressed.response)
        gate.open()
        assert await game.outcome(victim) is Outcome.ANSWERED


async def test_being_thrown_out_of_the_server_lets_every_turn_go(tmp_path: Path) -> None:
    """D10: nothing is posted any more, no agent stays."""
    agent = scenario(tmp_path, [{"text": "first half"}, {"hang": True}])
    async with play(tmp_path, agent, clean=False) as game:
        threads = [await game.mention("one"), await game.mention("two")]
        for thread_id in threads:
            await game.until_shown(thread_id, "first half")
        await game.discord.gateway.dispatch_raw("GUILD_DELETE", {"id": str(game.discord.guild_id)})
        assert [await game.outcome(thread_id) for thread_id in threads] == [Outcome.STOPPED] * 2
        await game.agents_gone()


async def test_a_client_that_is_replaced_in_the_middle_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """O2, D3: a malformed READY ends discord.py's client; the turn and its answer do not notice."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, [{"text": "first half. "}, gate.step, {"text": "second half."}])
    async with play(tmp_path, agent, clean=False) as game:
        thread_id = await game.mention("go")
        await game.until_shown(thread_id, "first half")
        await game.discord.gateway.dispatch_raw("READY", {})
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        (reply,) = game.replies(thread_id)
        assert reply.content.startswith("first half. second half.\n-# ")
        await game.discord.wait_for(lambda fd: len(fd.rest_calls("GET", "/users/@me")) > 1)


async def test_a_reply_that_may_not_be_edited_any_more_ends_in_a_new_message(tmp_path: Path) -> None:
    """D3: 30046 is no reason to wait, and none to lose the text."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, [{"text": "first half. "}, gate.step, {"text": "second half."}])
    async with play(tmp_path, agent, clean=False) as game:
        thread_id = await game.mention("go")
        await game.until_shown(thread_id, "first half")
        game.discord.faults.next("PATCH", EDITS, status(429, 30046))
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert game.replies(thread_id)[-1].content.startswith("first half. second half.\n-# ")


async def test_an_answer_that_a_word_filter_blocks_still_has_its_end(tmp_path: Path) -> None:
    """O1: never none."""
    agent = scenario(tmp_path, [{"text": "a forbidden word"}])
    async with play(tmp_path, agent, clean=False) as game:
        game.discord.faults.next("POST", SENDS, status(400, 200000), times=3)
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.ANSWERED
        (reply,) = game.replies(thread_id)
        assert "forbidden" not in reply.content
        assert len(reply.attachments) == 1


async def test_a_server_that_forbids_replies_gets_answers_without_them(tmp_path: Path) -> None:
    """D3, D10"""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent, clean=False) as game:
        thread_id, _ = await game.ask("hello")
        game.discord.faults.next("POST", SENDS, status(403, 160002))
        follow_up = await game.say(thread_id, "again")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert game.replies(thread_id)[-1].content.startswith("again\n-# ")


async def test_a_secret_in_a_tools_title_is_in_no_answer_to_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R5: /status and a press are answered beside the thread, and filtered all the same."""
    monkeypatch.setenv("CANARY_KEY", "canary-0123456789")
    options = [{"optionId": "yes", "name": "Use canary-0123456789", "kind": "allow_once"}]
    tool = {"toolCallId": "t", "title": "curl -H canary-0123456789", "kind": "execute", "status": "in_progress"}
    start = {"update": {"sessionUpdate": "tool_call", **tool}}
    agent = scenario(tmp_path, [start, {"permission": {"tool": tool, "options": options}, "then": {"*": []}}])
    async with play(tmp_path, agent, agent_env=("CANARY_KEY",)) as game:
        thread_id = await game.mention("go")
        card_id, buttons = await game.card(thread_id)
        status_answer = await game.owner.slash(thread_id, "status")
        assert "[secret]" in str(status_answer.response)
        pressed = await game.owner.click(card_id, buttons[0].custom_id)
        assert "[secret]" in str(pressed.response)
        await game.outcome(thread_id)
        assert "canary" not in "".join(body["content"] for body in bodies(game))


async def test_a_secret_that_a_pattern_let_through_is_in_no_message_and_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R5: names with a trailing asterisk give secrets, too, and /status goes past the thread."""
    monkeypatch.setenv("TOOL_KEY", KEY)
    gate = Gate(tmp_path / "gate")
    tool = {"id": "t1", "title": f"curl -u {KEY}", "kind": "execute", "status": "in_progress"}
    agent = scenario(tmp_path, [{"text": f"using {KEY} now ", "id": "m1"}, {"tool": tool}, gate.step])
    async with play(tmp_path, agent, agent_env=["TOOL_*"]) as game:
        thread_id = await game.mention("go")
        await game.until_shown(thread_id, "using")
        await game.until_shown(thread_id, "curl")
        answer = await game.owner.slash(thread_id, "status")
        status = str((answer.response or {}).get("content"))
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert "curl" in status
        assert KEY not in status + game.shown(thread_id)
        assert "[secret]" in game.shown(thread_id)


async def test_no_secret_of_the_bot_reaches_the_agent_or_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R5: the environment is an allow-list."""
    monkeypatch.setenv("CANARY_TOKEN", "canary-0123456789")
    monkeypatch.setenv("DISCORD_TOKEN", "canary-9876543210")
    dump = "import os,sys;sys.stderr.write(repr(dict(os.environ)));sys.exit(1)"
    agent = ScriptedAgent((sys.executable, "-c", dump), tmp_path / "none.log")
    async with play(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.COULD_NOT_START
        assert "PATH" in game.shown(thread_id)
        assert "canary" not in game.shown(thread_id)
        assert game.discord.token not in game.shown(thread_id)
