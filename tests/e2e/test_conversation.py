"""A conversation from the mention to the last edit: the whole bot, real sockets, a real agent process."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.model import Outcome
from tests.agents import Gate, scenario
from tests.e2e.play import play
from tests.repeat import in_soak

pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("drain", [0.05, *in_soak([0.0])])]

FOOTER = re.compile(r"^-# \d+ s", re.MULTILINE)


async def test_a_mention_opens_a_thread_named_after_the_request_and_answers_there(tmp_path: Path, drain: float) -> None:
    """D1, O1, O2."""
    agent = scenario(tmp_path, [{"text": "It is **green**.", "chunks": 4}])
    async with play(tmp_path, agent, drain=drain) as game:
        thread_id, outcome = await game.ask("which colour?")
        assert outcome is Outcome.ANSWERED
        assert [(thread.id, thread.name) for thread in game.discord.threads()] == [(thread_id, "which colour?")]
        (reply,) = game.replies(thread_id)
        assert reply.content.startswith("It is **green**.\n-# ")
        assert reply.components == []
        assert agent.prompts() == ["which colour?"]
        assert set(game.discord.message(thread_id).reactions) == {"👀"}


async def test_a_follow_up_in_the_thread_needs_no_mention_and_keeps_the_session(tmp_path: Path, drain: float) -> None:
    """D1, P1."""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent, drain=drain) as game:
        thread_id, _ = await game.ask("first")
        follow_up = await game.say(thread_id, "second")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert agent.prompts() == ["first", "second"]
        assert len(agent.pids()) == 1
        assert [FOOTER.sub("", reply.content).split("\n")[0] for reply in game.replies(thread_id)] == [
            "first",
            "second",
        ]


async def test_two_threads_run_at_once_and_never_mix(tmp_path: Path, drain: float) -> None:
    """P1, P2, O4: each waits for the other's gate to be reached, so both turns run at the same time."""
    left, right = Gate(tmp_path / "left"), Gate(tmp_path / "right")
    words = {
        "left": [{"text": "L1 "}, left.step, {"text": "L2"}],
        "right": [{"text": "R1 "}, right.step, {"text": "R2"}],
    }
    agent = scenario(tmp_path, words=words)
    async with play(tmp_path, agent, drain=drain) as game:
        one, other = await game.mention("left"), await game.mention("right")
        await game.until_shown(one, "L1")
        await game.until_shown(other, "R1")
        right.open()
        assert await game.outcome(other) is Outcome.ANSWERED
        left.open()
        assert await game.outcome(one) is Outcome.ANSWERED
        assert "L1 L2" in game.shown(one)
        assert "R1" not in game.shown(one)
        assert "R1 R2" in game.shown(other)
        assert "L1" not in game.shown(other)
        assert len(agent.pids()) == 2


async def test_messages_of_one_thread_run_one_at_a_time_in_order(tmp_path: Path, drain: float) -> None:
    """Q1, O1."""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent, drain=drain) as game:
        thread_id = await game.mention("one")
        await game.discord.wait_for(lambda _: game.opened(thread_id))
        rest = [await game.say(thread_id, text) for text in ("two", "three", "four")]
        assert [await game.outcome(message) for message in (thread_id, *rest)] == [Outcome.ANSWERED] * 4
        assert agent.prompts() == ["one", "two", "three", "four"]
        running = 0
        for entry in agent.log():
            running += (entry["event"] == "received" and entry["message"].get("method") == "session/prompt") - (
                entry["event"] == "turn"
            )
            assert running <= 1


async def test_a_long_answer_continues_in_further_messages_without_losing_a_character(
    tmp_path: Path, drain: float
) -> None:
    """D4: the fence lines that the split added are all that is taken out again."""
    code = "\n".join(f"line {number} = {number * number}" for number in range(220))
    text = f"Here it is:\n\n```python\n{code}\n```\n\n" + "Some words, then 漢字 and 👩‍👩‍👧. " * 60
    agent = scenario(tmp_path, [{"text": text, "chunks": 50}])
    async with play(tmp_path, agent, drain=drain) as game:
        thread_id, outcome = await game.ask("a lot")
        assert outcome is Outcome.ANSWERED
        contents = [reply.content for reply in game.replies(thread_id)]
        contents[-1] = re.sub(r"\n?-# \d+ s.*$", "", contents[-1])
        assert 3 <= len(contents) <= 8
        assert all(content.count("```") % 2 == 0 for content in contents)
        assert letters(joined(contents)) == letters(text)


async def test_an_answer_beyond_eight_messages_ends_in_a_file(tmp_path: Path, drain: float) -> None:
    """D4."""
    text = "\n\n".join(f"Paragraph {number}. " + "word " * 60 for number in range(80))
    agent = scenario(tmp_path, [{"text": text, "chunks": 40}])
    async with play(tmp_path, agent, drain=drain) as game:
        thread_id, outcome = await game.ask("everything")
        assert outcome is Outcome.ANSWERED
        files = [file for reply in game.replies(thread_id) for file in reply.attachments]
        assert [file.name for file in files] == ["answer.md"]
        assert b"Paragraph 79." in files[0].content
        shown = game.shown(thread_id) + files[0].content.decode()
        assert [number for number in range(80) if f"Paragraph {number}." not in shown] == []


async def test_an_agent_that_says_nothing_is_answered_for_by_its_tools(tmp_path: Path, drain: float) -> None:
    """T4."""
    tool = {"id": "t1", "title": "ls -1", "kind": "execute", "output": "one\ntwo\n", "status": "completed"}
    agent = scenario(tmp_path, [{"tool": tool}])
    async with play(tmp_path, agent, drain=drain) as game:
        thread_id, outcome = await game.ask("list")
        assert outcome is Outcome.ANSWERED
        assert "ls -1" in game.shown(thread_id)
        assert "one\ntwo" in game.shown(thread_id)


async def test_tools_stay_visible_although_the_agent_says_nothing_after_them(tmp_path: Path, drain: float) -> None:
    """D5."""
    change = {"type": "diff", "path": "/w/README.md", "oldText": "a\nb\n", "newText": "a\nc\nd\n"}
    edit = {"id": "t1", "title": "Edit README.md", "kind": "edit", "status": "completed", "content": [change]}
    test = {"id": "t2", "title": "npm test", "kind": "execute", "status": "failed"}
    agent = scenario(tmp_path, [{"text": "On it."}, {"tool": edit}, {"tool": test}])
    async with play(tmp_path, agent, drain=drain) as game:
        thread_id, _ = await game.ask("fix")
        (reply,) = game.replies(thread_id)
        assert reply.content.startswith("On it.\n-# ✓ edit `README.md` +2 −1 · ✗ `npm test`\n-# ")


async def test_neither_text_nor_tools_is_told_in_a_sentence(tmp_path: Path, drain: float) -> None:
    """T4."""
    agent = scenario(tmp_path, [{"respond": {"stopReason": "end_turn"}}])
    async with play(tmp_path, agent, drain=drain) as game:
        thread_id, outcome = await game.ask("hello")
        assert outcome is Outcome.ANSWERED
        assert "without saying anything" in game.shown(thread_id)
        assert "end_turn" in game.shown(thread_id)


async def test_an_agent_that_stops_at_its_limit_has_answered_with_a_line(tmp_path: Path, drain: float) -> None:
    """O1."""
    agent = scenario(tmp_path, [{"text": "Half of"}, {"respond": {"stopReason": "max_tokens"}}])
    async with play(tmp_path, agent, drain=drain) as game:
        thread_id, outcome = await game.ask("all")
        assert outcome is Outcome.ANSWERED
        assert "Half of" in game.shown(thread_id)
        assert "token limit" in game.shown(thread_id)


def joined(contents: list[str]) -> str:
    """Put the messages together again: a fence that was closed at an end is opened again at the next beginning."""
    whole = contents[0]
    for content in contents[1:]:
        opening = re.match(r"```\w*\n", content)
        if whole.endswith("```") and opening:
            whole, content = whole.removesuffix("```").rstrip("\n") + "\n", content[opening.end() :]  # noqa: PLW2901
        whole += "\n" + content
    return whole


def letters(text: str) -> str:
    """Leave white space out: Discord strips it at the borders of messages."""
    return "".join(text.split())
