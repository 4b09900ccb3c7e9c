"""Threads that agents start: for a person, a few of them, one deep, each once, whatever is killed when."""

from __future__ import annotations

import signal
from pathlib import Path

import anyio
import pytest

from bot.chat.authorize import Policy
from bot.model import Outcome
from bot.sandbox import FakeDiscord, Fault
from bot.work.agent_tools.starting import ENOUGH, TOO_DEEP
from tests.agents import Gate, Step, scenario
from tests.e2e.play import LIMIT, play
from tests.e2e.process import connected, mention, run, until_shown
from tests.e2e.tools import call, refusals, told
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio

THREAD_EXISTS = 160004
"""The thread of a message is opened once more after a kill."""


def starts(discord: FakeDiscord) -> list[int]:
    """The messages in the channel that say that an agent started something."""
    posted = discord.messages(discord.channel_id)
    return [one.id for one in posted if one.author_id == discord.bot_user.id and "started this" in one.content]


async def test_a_turn_starts_three_threads_each_once_and_those_start_none(tmp_path: Path) -> None:
    """M2: with what an agent says it is, and nobody pinged."""
    words: dict[str, list[Step]] = {
        "go": [
            *(call("start_thread", prompt=f"deeper {name}") for name in ("one", "one", "two")),
            call("start_thread", prompt="deeper @everyone <@1> **three**\n" + "x" * 3000),
            call("start_thread", prompt="deeper four"),
        ],
        "again": [call("start_thread", prompt="deeper one")],
        "deeper": [call("start_thread", prompt="go"), {"text": "deep enough"}],
    }
    agent = scenario(tmp_path, words=words)
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("go")
        answers = [(done, text) for done, text in told(agent) if text != TOO_DEEP]
        assert [done for done, _ in answers] == [True, True, True, True, False]
        assert answers[1][1] == answers[0][1].replace("Started", "Started already").partition(". People")[0] + "."
        assert answers[4][1] == ENOUGH
        threads = starts(game.discord)
        assert len(threads) == 3
        for one in threads:
            assert await game.outcome(one) is Outcome.ANSWERED
            assert "deep enough" in game.shown(one)
        assert refusals(agent).count(TOO_DEEP) == 3
        long = game.discord.message(threads[-1])
        assert (long.mention_everyone, long.mentions) == (False, ())
        assert (
            "\n-# Only the beginning of the prompt is shown here; all of it is in the thread.\n>>> deeper"
            in long.content
        )
        assert "\\*\\*three" in long.content
        (whole,) = [one.attachments[0] for one in game.replies(threads[-1]) if one.attachments]
        assert whole.content.endswith(b"x" * 3000)
        # Another turn may start further ones, also with the same words.
        await game.outcome(await game.say(thread_id, "again"))
        assert len(starts(game.discord)) == 4


async def test_what_may_not_be_started_is_refused_with_the_reason(tmp_path: Path) -> None:
    """M2, W1, P8: nothing is posted."""
    agent = scenario(
        tmp_path,
        [
            call("start_thread", prompt="x", agent="nobody"),
            call("start_thread", prompt="x", project="nothing"),
        ],
    )
    async with play(tmp_path, agent) as game:
        await game.ask("go")
        assert [text.partition(",")[0].partition(".")[0] for text in refusals(agent)] == [
            "There is no agent `nobody`",
            "No projects are set up here",
        ]
        assert starts(game.discord) == []


@pytest.mark.parametrize("where", ["private", *in_soak(["direct", "read only"])])
async def test_nothing_is_started_where_the_requester_could_not_or_others_would_read_it(
    where: str, tmp_path: Path
) -> None:
    """M2, D2"""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, [gate.step, call("start_thread", prompt="secret"), {"text": "done"}])
    async with play(tmp_path, agent, direct_messages=where == "direct") as game:
        discord = game.discord
        place = discord.channel_id
        if where == "private":
            place = (await discord.start_private_thread(game.owner, discord.channel_id, "hidden")).id
        elif where == "direct":
            place = discord.open_dm(game.owner)
        asker = discord.user("bob") if where == "read only" else game.owner
        if where == "read only":
            game.on_stage.bot.gateway.allow(Policy(users=frozenset({asker.id})))
        asked = (await asker.say(place, "go", mention_bot=where != "direct")).id
        await game.until_begun(asked if place == discord.channel_id else place)
        if where == "read only":
            discord.overwrite(place, asker.id, deny=["send_messages"])
        gate.open()
        assert await game.outcome(asked) is Outcome.ANSWERED
        (why,) = refusals(agent)
        assert {"private": "private", "direct": "direct messages", "read only": "may not write"}[where] in why
        assert starts(discord) == []


async def test_a_thread_that_discord_does_not_open_is_taken_back(tmp_path: Path) -> None:
    """M2: with its message, and the agent is told."""
    agent = scenario(tmp_path, words={"go": [call("start_thread", prompt="x")]})
    async with play(tmp_path, agent, clean=False) as game:
        thread_id = await game.mention("go")
        await game.discord.wait_for(lambda _: game.opened(thread_id), timeout=LIMIT)
        game.discord.deny("create_public_threads", game.discord.channel_id)
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        (why,) = refusals(agent)
        assert why.startswith("Discord does not open the thread: I lack the permission Create Public Threads here")
        assert starts(game.discord) == []


async def test_the_requesters_budget_and_number_of_messages_hold(tmp_path: Path) -> None:
    """M2, O1: what is started counts as a message of theirs."""
    agent = scenario(tmp_path, words={"go": [call("start_thread", prompt=f"x {number}") for number in range(2)]})
    async with play(tmp_path, agent, user_messages=2, user_window=600) as game:
        await game.ask("go")
        assert len(starts(game.discord)) == 1
        (why,) = refusals(agent)
        assert why.startswith("Too many messages in the name of this person. Try again in ")


@pytest.mark.parametrize("moment", ["after the message", *in_soak(["before the message", "after the thread"])])
async def test_a_kill_leaves_no_thread_twice_and_none_without_its_prompt(moment: str, tmp_path: Path) -> None:
    """M2, R2: and the turn that is continued finds what it has started."""
    gate = Gate(tmp_path / "gate")
    words: dict[str, list[Step]] = {
        "restart": [call("start_thread", prompt="task"), {"text": "all started"}],
        "go": [gate.step, call("start_thread", prompt="task"), {"hang": True}],
        "task": [{"text": "task done"}],
    }
    agent = scenario(tmp_path, words=words, resume=True)
    async with connected(tmp_path, agent, allow=[THREAD_EXISTS]) as (discord, bot):
        thread_id = await mention(discord, "go")
        channel = discord.channel_id
        with anyio.fail_after(LIMIT):
            while not agent.received("session/prompt"):  # noqa: ASYNC110  another process writes the log
                await anyio.sleep(0.01)
        if moment == "before the message":
            discord.faults.next("POST", rf"/channels/{channel}/messages$", Fault.delay(30.0))
        elif moment == "after the message":
            discord.faults.next("POST", r"/messages/\d+/threads", Fault.delay(3.0))
        gate.open()
        path = f"/channels/{channel}/messages"
        waited = {
            "before the message": lambda fd: fd.rest_calls("POST", path),
            "after the message": lambda fd: len(fd.rest_calls("POST", "/threads")) > 1,
            "after the thread": lambda fd: len(fd.threads()) > 1,
        }[moment]
        await discord.wait_for(waited, timeout=LIMIT)
        bot.process.send_signal(signal.SIGKILL)
        await bot.process.wait()
        discord.faults.clear()
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            with anyio.fail_after(LIMIT):
                await again.logged("gateway.ready")
            if moment != "before the message":
                await discord.wait_for(starts, timeout=LIMIT)
                (started,) = starts(discord)
                await until_shown(discord, started, "task done")
            await until_shown(discord, thread_id, "Interrupted")
            assert len(starts(discord)) == (moment != "before the message")
            notice = next(one for one in reversed(discord.messages(thread_id)) if "Interrupted" in one.content)
            await discord.owner.click(notice, f"weft:go:{thread_id}:{thread_id}")
            await until_shown(discord, thread_id, "all started")
            assert len(starts(discord)) == 1
            await until_shown(discord, starts(discord)[0], "task done")
            again.process.terminate()
            assert await again.ended() == 0
