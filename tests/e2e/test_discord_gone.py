"""What a turn is shown in goes away or closes under it: the agent is let go, the queue dropped, and nobody insists."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from bot.model import Outcome
from bot.sandbox import FakeDiscord
from tests.agents import Gate, alive, scenario
from tests.e2e.play import LIMIT, Play, play
from tests.e2e.witness import gone, witnessed, words
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio

QUICK = pytest.mark.usefixtures("quick_discord")

MOST_TRIES = 3


def refused(fd: FakeDiscord, thread_id: int) -> list[str]:
    """Return the requests that Discord refused in a thread."""
    calls = fd.rest_calls(path_contains=f"/{thread_id}")
    return [f"{call.method} {call.path}" for call in calls if call.status >= 400]


async def _thread_deleted(fd: FakeDiscord, thread_id: int) -> None:
    await fd.delete_channel(thread_id)


async def _thread_locked(fd: FakeDiscord, thread_id: int) -> None:
    await fd.archive(thread_id, locked=True)


async def _channel_deleted(fd: FakeDiscord, thread_id: int) -> None:
    parent = fd.thread(thread_id).parent_id
    assert parent is not None
    await fd.delete_channel(parent)


async def _writing_forbidden(fd: FakeDiscord, thread_id: int) -> None:
    fd.deny("send_messages_in_threads", thread_id)


async def _hidden(fd: FakeDiscord, thread_id: int) -> None:
    fd.deny("view_channel", thread_id)


async def _unheard(fd: FakeDiscord, thread_id: int) -> None:
    """The thread is deleted, and the event of it is lost: only the refusal of requests tells."""
    with fd.gateway.losing():
        await fd.delete_channel(thread_id)


async def running_with_two_waiting(game: Play, channel_id: int) -> list[int]:
    """Start a turn that hangs and post two messages behind it; return the ids, the thread's first."""
    thread_id = (await game.owner.say(channel_id, "work", mention_bot=True)).id
    await game.until_shown(thread_id, "so far")
    waiting = [await game.say(thread_id, text) for text in ("then 1", "then 2")]
    await game.discord.wait_for(lambda fd: all(fd.message(one).reactions for one in waiting), timeout=LIMIT)
    return [thread_id, *waiting]


async def running(game: Play) -> int:
    thread_id = await game.mention("go")
    await game.until_shown(thread_id, "first half")
    return thread_id


@QUICK
@pytest.mark.parametrize("goes", [_channel_deleted, *in_soak([_thread_deleted, _thread_locked])])
async def test_a_thread_that_goes_ends_its_turn_its_queue_and_its_agent(
    tmp_path: Path, goes: Callable[[FakeDiscord, int], Awaitable[None]]
) -> None:
    """D10, O1, O4: the agent is cancelled and let go; nothing of the queue is run; three tries at most."""
    agent = scenario(tmp_path, words=words(tmp_path, work=[{"text": "so far"}, {"hang": True}]))
    async with witnessed(tmp_path, agent, clean=False) as game:
        posted = await running_with_two_waiting(game, game.discord.add_channel("other"))
        witness, worker = agent.pids()
        await goes(game.discord, posted[0])
        for message_id in posted:
            assert await game.outcome(message_id) is Outcome.STOPPED
        await gone(worker)
        assert alive(witness)
        assert len(agent.received("session/cancel")) == 1
        assert agent.prompts() == ["witness", "work"]
        assert len(refused(game.discord, posted[0])) <= MOST_TRIES


@QUICK
@pytest.mark.parametrize("goes", [_unheard, *in_soak([_writing_forbidden, _hidden])])
async def test_a_thread_that_refuses_everything_is_tried_three_times_at_most(
    tmp_path: Path, goes: Callable[[FakeDiscord, int], Awaitable[None]]
) -> None:
    """D10, O1, O4: no event tells of it; the next thing to show there is refused, and then all of it is over."""
    gate = Gate(tmp_path / "gate")
    steps = [{"text": "so far"}, gate.step, {"text": " and on"}, {"hang": True}]
    agent = scenario(tmp_path, words=words(tmp_path, work=steps))
    async with witnessed(tmp_path, agent, clean=False) as game:
        posted = await running_with_two_waiting(game, game.discord.channel_id)
        worker = agent.pids()[1]
        await goes(game.discord, posted[0])
        gate.open()
        if goes is _writing_forbidden:
            # Edits of what is there are still possible: the end of the turn is what can't be told any more.
            await game.until_shown(posted[0], "and on")
            assert await game.stop(posted[0]) == "Stopping."
        for message_id in posted:
            assert await game.outcome(message_id) is Outcome.STOPPED
        await gone(worker)
        assert agent.prompts() == ["witness", "work"]
        assert 1 <= len(refused(game.discord, posted[0])) <= MOST_TRIES


@QUICK
async def test_a_bot_thrown_out_in_the_middle_of_turns_lets_all_agents_go(tmp_path: Path) -> None:
    """D10, O1: every thread of the server ends, each with three tries at most; the bot lives on."""
    agent = scenario(tmp_path, words={"work": [{"text": "so far"}, {"hang": True}]})
    async with play(tmp_path, agent, clean=False) as game:
        one = await running_with_two_waiting(game, game.discord.channel_id)
        two = await running_with_two_waiting(game, game.discord.add_channel("other"))
        await game.discord.remove_bot()
        for message_id in (*one, *two):
            assert await game.outcome(message_id) is Outcome.STOPPED
        await game.agents_gone()
        assert len(agent.received("session/cancel")) == 2
        assert agent.prompts() == ["work", "work"]
        for thread_id in (one[0], two[0]):
            assert len(refused(game.discord, thread_id)) <= MOST_TRIES
        assert game.discord.gateway.identifies == 1
        assert game.discord.gateway.connected


@QUICK
async def test_a_reply_deleted_under_each_edit_is_posted_anew_once_and_the_end_is_told(tmp_path: Path) -> None:
    """D10, O1, O4: whoever deletes it again has it gone; nothing is posted for ever."""
    first, second = Gate(tmp_path / "first"), Gate(tmp_path / "second")
    steps = [{"text": "one "}, first.step, {"text": "two "}, second.step, {"text": "three"}]
    agent = scenario(tmp_path, words=words(tmp_path, work=steps))
    async with witnessed(tmp_path, agent, clean=False) as game:
        thread_id = await game.mention("work")
        for gate, text in ((first, "one"), (second, "one two")):
            await game.until_shown(thread_id, text)
            (reply,) = game.replies(thread_id)
            await game.discord.delete_message(reply.id)
            gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert [one.content for one in game.replies(thread_id)] == ["-# ⚠️ **Answered:** the reply could not be shown."]
        assert len(refused(game.discord, thread_id)) <= MOST_TRIES
        game.discord.assert_clean(allow=[10008])


@QUICK
async def test_a_missing_permission_to_open_threads_is_told_in_the_channel_by_its_name(tmp_path: Path) -> None:
    """O1, D10, O4."""
    agent = scenario(tmp_path, words=words(tmp_path))
    async with witnessed(tmp_path, agent, clean=False) as game:
        other = game.discord.add_channel("other")
        game.discord.deny("create_public_threads", other)
        asked = (await game.owner.say(other, "work", mention_bot=True)).id
        assert await game.outcome(asked) is Outcome.FAILED
        (reply,) = game.replies(other)
        assert reply.reference_id == asked
        assert reply.content == (
            "⚠️ **Failed:** `the thread could not be opened:"
            " I lack the permission Create Public Threads here (code 50013)`. Send it again to retry."
        )
        game.discord.assert_clean(allow=[50013])
        assert agent.prompts() == ["witness"]
        await gone(*agent.pids()[1:])


# --- at the usual pace ---------------------------------------------------------------------------------------------


async def test_a_deleted_thread_cancels_its_turn_and_lets_the_agent_go(tmp_path: Path) -> None:
    """D10, S3, R6: nor is anything kept of a turn that ended after its thread was gone."""
    agent = scenario(tmp_path, [{"text": "first half"}, {"hang": True}])
    async with play(tmp_path, agent, clean=False) as game:
        thread_id = await running(game)
        await game.discord.delete_channel(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        await game.agents_gone()
        assert len(agent.received("session/cancel")) == 1
        with closing(sqlite3.connect(tmp_path / "state" / "weft.db")) as database:
            assert database.execute("SELECT count(*) FROM transcripts").fetchall() == [(0,)]
        game.discord.assert_clean(allow=[404])


async def test_a_thread_archived_in_the_middle_gets_the_rest_as_one_new_message(tmp_path: Path) -> None:
    """D10: no edit any more; the turn goes on."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, [{"text": "first half. "}, gate.step, {"text": "second half."}])
    async with play(tmp_path, agent, clean=False) as game:
        thread_id = await running(game)
        before = len(game.replies(thread_id))
        await game.discord.archive(thread_id)
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        fresh = game.replies(thread_id)[before:]
        assert len(fresh) == 1
        assert "second half." in fresh[0].content
        assert "first half" not in fresh[0].content
        edits = game.discord.rest_calls("PATCH", f"/channels/{thread_id}/messages/")
        assert len([call for call in edits if call.status == 400]) <= 3
        assert game.discord.thread(thread_id).archived is False


async def test_a_locked_thread_cancels_its_turn(tmp_path: Path) -> None:
    """D10."""
    agent = scenario(tmp_path, [{"text": "first half"}, {"hang": True}])
    async with play(tmp_path, agent, clean=False) as game:
        thread_id = await running(game)
        await game.discord.archive(thread_id, locked=True)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        await game.agents_gone()


async def test_a_reply_that_somebody_deleted_is_posted_anew_once(tmp_path: Path) -> None:
    """D10."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, [{"text": "first half. "}, gate.step, {"text": "second half."}])
    async with play(tmp_path, agent, clean=False) as game:
        thread_id = await running(game)
        (reply,) = game.replies(thread_id)
        await game.discord.delete_message(reply.id)
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        (reply,) = game.replies(thread_id)
        assert "first half. second half." in reply.content


async def test_a_missing_permission_to_open_threads_is_told_where_the_mention_was(tmp_path: Path) -> None:
    """O1, D10."""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent, clean=False) as game:
        game.discord.deny("create_public_threads", game.discord.channel_id)
        message_id, outcome = await game.ask("go")
        assert outcome is Outcome.FAILED
        (reply,) = game.replies(game.discord.channel_id)
        assert reply.reference_id == message_id
        assert "thread could not be opened" in reply.content
        assert agent.prompts() == []
        await game.agents_gone()
