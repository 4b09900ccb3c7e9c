"""The real bot, stopped and started while Discord is out of reach (R1, R2, O2)."""

from __future__ import annotations

import signal
import sqlite3
from pathlib import Path

import anyio
import pytest

from bot.sandbox import FakeDiscord, Fault
from tests.agents import scenario
from tests.e2e.process import Run, connected, mention, run, until_shown

pytestmark = pytest.mark.asyncio

NOWHERE = "http://127.0.0.1:9/api/v10"


def rows(directory: Path, question: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(f"file:{directory}/state/weft/weft.db?mode=ro", uri=True) as kept:
        return kept.execute(question).fetchall()


async def hurried(bot: Run) -> None:
    """Ask for the end twice."""
    bot.process.send_signal(signal.SIGTERM)
    await bot.logged("bot.stopping")
    bot.process.send_signal(signal.SIGTERM)
    assert await bot.process.wait() == 0


@pytest.mark.timeout(90)
async def test_a_stop_while_discord_takes_no_message_is_over_in_time_and_the_reply_arrives_afterwards(
    tmp_path: Path,
) -> None:
    """R1, D3: neither a call that hangs nor one that is tried again and again holds up the end."""
    agent = scenario(tmp_path, words={"work": [{"text": "the answer"}]}, resume=True)
    async with FakeDiscord() as discord:
        async with run(tmp_path, discord.api_url, discord.token, agent) as bot:
            with anyio.fail_after(20):
                await discord.ready.wait()
            discord.faults.next("POST", r"/channels/\d+/messages$", Fault.delay(120), times=1000)
            thread_id = await mention(discord, "work")
            with anyio.fail_after(20):
                while not rows(tmp_path, "select 1 from prompts where reply is not null"):  # noqa: ASYNC110
                    await anyio.sleep(0.05)
            with anyio.fail_after(20):
                await hurried(bot)
        discord.faults.clear()
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await until_shown(discord, thread_id, "the answer")
            assert agent.prompts() == ["work"]
            assert await again.signalled(signal.SIGTERM) == 0
        said = [one.content for one in discord.messages(thread_id) if "the answer" in one.content]
        assert len(said) == 1


@pytest.mark.timeout(90)
async def test_a_start_without_discord_loses_nothing_and_can_be_stopped(tmp_path: Path) -> None:
    """O2, R1, R2: a prompt that waits for its thread, one that waits for its turn, and a reply on its way."""
    agent = scenario(tmp_path, words={"work": [{"text": "so far"}, {"hang": True}]}, resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "work")
        await until_shown(discord, thread_id, "so far")
        waiting = await discord.owner.say(thread_id, "second")
        await discord.wait_for(lambda _: discord.message(waiting.id).reactions, timeout=20)
        bot.process.kill()
        await bot.process.wait()
        before = rows(tmp_path, "select message_id, outcome, reply, started from prompts order by 1")
        async with run(tmp_path, NOWHERE, discord.token, agent) as away:
            await away.logged("gateway.lost")
            with anyio.fail_after(20):
                await hurried(away)
        assert rows(tmp_path, "select message_id, outcome, reply, started from prompts order by 1") == before
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await until_shown(discord, thread_id, "**interrupted**: Weft was restarted in the middle of this.")
            await until_shown(discord, thread_id, "second\n-# ")
            assert agent.prompts() == ["work", "second"]
            assert await again.signalled(signal.SIGTERM) == 0


@pytest.mark.timeout(90)
async def test_a_prompt_of_somebody_who_is_no_longer_let_in_does_not_run_after_the_restart(tmp_path: Path) -> None:
    """D2, R2: whoever takes somebody off the list and restarts wants nothing of theirs to run."""
    agent = scenario(tmp_path, words={"work": [{"text": "so far"}, {"hang": True}]}, resume=True)
    async with FakeDiscord() as discord:
        guest = discord.user("guest")
        allowed = {"WEFT_ALLOWED_USERS": str(guest.id)}
        async with run(tmp_path, discord.api_url, discord.token, agent, **allowed) as bot:
            with anyio.fail_after(20):
                await discord.ready.wait()
            thread_id = await mention(discord, "work")
            await until_shown(discord, thread_id, "so far")
            waiting = await guest.say(thread_id, "mine")
            await discord.wait_for(lambda _: discord.message(waiting.id).reactions, timeout=20)
            bot.process.kill()
            await bot.process.wait()
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await again.logged("catch_up.finished")
            await discord.owner.say(thread_id, "last")
            await until_shown(discord, thread_id, "last\n-# ")
            assert await again.signalled(signal.SIGTERM) == 0
        assert agent.prompts() == ["work", "last"]
