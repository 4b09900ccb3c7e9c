"""What Discord did not take before a stop or a kill is there after the next start, once; what was missed is told."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from bot.sandbox import FakeDiscord, Fault, html, rate_limited, status
from tests.agents import Gate, scenario
from tests.e2e.play import LIMIT, until_marked
from tests.e2e.process import (
    Run,
    connected,
    first_lines,
    mention,
    rows,
    run,
    shown,
    until_answered,
    until_rows,
    until_shown,
)
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio

UNKNOWN_CHANNEL = 10003
HURRIED = 30.0
"""Seconds from the second signal to the end; requests under way are given five of them, and would take minutes."""

OWED = "select count(*) from prompts where reply is not null and finished_at is null"
UNFINISHED = "select count(*) from prompts where finished_at is null"


async def stopped(bot: Run) -> None:
    assert await bot.signalled(signal.SIGTERM) == 0


async def hurried(bot: Run) -> None:
    """Stop the bot by two signals: it does not wait for Discord then."""
    bot.process.send_signal(signal.SIGTERM)
    await bot.logged("bot.stopping")
    bot.process.send_signal(signal.SIGTERM)
    with anyio.fail_after(HURRIED):
        assert await bot.process.wait() == 0


async def killed(bot: Run) -> None:
    bot.process.kill()
    await bot.process.wait()


NOWHERE = "http://127.0.0.1:9/api/v10"


# --- a rate limit of an hour ---------------------------------------------------------------------------------------


async def test_what_edits_that_are_refused_for_an_hour_would_show_is_sent_at_once_and_once(tmp_path: Path) -> None:
    """D3, O2, O4: the thread's next turn and another thread are answered, and a restart adds nothing."""
    gate = Gate(tmp_path / "gate")
    words = {"work": [{"text": "one "}, gate.step, {"text": "two "}, {"pause": 0.05}, {"text": "three"}]}
    agent = scenario(tmp_path, words=words, resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "work")
        await until_shown(discord, thread_id, "one")
        discord.faults.next("PATCH", rf"/{thread_id}/messages/", rate_limited(3600.0))
        gate.open()
        await discord.wait_for(lambda fd: not fd.faults.pending, timeout=LIMIT)
        await discord.owner.say(thread_id, "again")
        await until_shown(discord, thread_id, "again")
        other = await mention(discord, "hello")
        await until_answered(discord, other, "hello")
        await until_answered(discord, thread_id, "two three")
        await until_rows(tmp_path, UNFINISHED, [(0,)])
        before = shown(discord, thread_id)
        said = [line for line in first_lines(discord, thread_id) if not line.startswith("-# ")]
        assert [line.strip() for line in said] == ["one", "two three", "again"]
        await killed(bot)
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await again.logged("catch_up.finished")
            await stopped(again)
        assert shown(discord, thread_id) == before
        assert first_lines(discord, other) == ["hello"]
        assert sorted(agent.prompts()) == ["again", "hello", "work"]


# --- Discord takes nothing at the end of a turn --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "begun"),
    [(killed, True), *in_soak([(killed, False), (hurried, True)])],
)
async def test_an_answer_that_discord_did_not_take_before_a_stop_arrives_after_the_start_once(
    tmp_path: Path, end: Callable[[Run], Awaitable[None]], begun: bool
) -> None:
    """R1, R2, O1, D3: Discord's REST interface is down from the middle of the turn on until the next start."""
    gate = Gate(tmp_path / "gate")
    before = [{"text": "one "}] if begun else []
    agent = scenario(tmp_path, words={"work": [*before, gate.step, {"text": "two"}]}, resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "work")
        with anyio.fail_after(LIMIT):
            await agent.heard("session/prompt")
        if begun:
            await until_shown(discord, thread_id, "one")
        for method in ("POST", "PATCH"):
            discord.faults.next(method, "/channels/", status(503), times=100_000)
        gate.open()
        await until_rows(tmp_path, OWED, [(1,)])
        await end(bot)
        assert "two" not in shown(discord, thread_id)
        discord.faults.clear()
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await until_answered(discord, thread_id, "one two" if begun else "two")
            await until_rows(tmp_path, UNFINISHED, [(0,)])
            assert first_lines(discord, thread_id) == ["one two" if begun else "two"]
            assert agent.prompts() == ["work"]
            await stopped(again)


async def test_a_turn_that_is_stopped_while_discord_takes_nothing_is_told_after_the_start(tmp_path: Path) -> None:
    """R1, R2, O1: what could not be told at the stop is told once, and nothing is run again."""
    agent = scenario(tmp_path, words={"work": [{"text": "so far"}, {"hang": True}]}, resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "work")
        await until_shown(discord, thread_id, "so far")
        for method in ("POST", "PATCH"):
            discord.faults.next(method, "/channels/", html(429), times=100_000)
        await hurried(bot)
        assert "Interrupted" not in shown(discord, thread_id)
        discord.faults.clear()
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await until_shown(discord, thread_id, "**Interrupted:**")
            await until_rows(tmp_path, UNFINISHED, [(0,)])
            assert shown(discord, thread_id).count("Interrupted") == 1
            assert agent.prompts() == ["work"]
            await stopped(again)


# --- away for too long ---------------------------------------------------------------------------------------------


async def test_what_was_posted_too_long_ago_is_told_once_and_runs_when_continue_is_pressed(tmp_path: Path) -> None:
    """R2, O1: told where it was posted; what the channel's mention asked is to be asked again."""
    agent = scenario(tmp_path, resume=True)
    short = {"WEFT_CATCH_UP": "0.001"}  # a start takes longer than that
    async with connected(tmp_path, agent, allow=[UNKNOWN_CHANNEL], **short) as (discord, bot):
        thread_id = await mention(discord, "before")
        await until_answered(discord, thread_id, "before")
        await stopped(bot)
        missed = (await discord.owner.say(thread_id, "old request")).id
        mentioned = await mention(discord, "old mention")
        async with run(tmp_path, discord.api_url, discord.token, agent, **short) as again:
            await again.logged("catch_up.finished")
            await until_rows(tmp_path, UNFINISHED, [(0,)])
            await stopped(again)
        async with run(tmp_path, discord.api_url, discord.token, agent, **short) as again:
            await again.logged("catch_up.finished")
            told = "⚠️ **Interrupted:** Weft was away when this was posted, too long ago to run it now."
            (notice,) = [one for one in discord.messages(thread_id) if one.content.split("\n")[0] == told]
            assert notice.reference_id == missed
            answers = [one for one in discord.messages(discord.channel_id) if one.author_id == discord.bot_user.id]
            assert [(one.content, one.reference_id) for one in answers] == [
                (f"{told} Mention me again if you still want it.", mentioned)
            ]
            assert agent.prompts() == ["before"]
            pressed = await discord.owner.click(notice.id, f"weft:go:{thread_id}:{missed}")
            assert pressed.acked
            await until_answered(discord, thread_id, "old request")
            assert agent.prompts() == ["before", "old request"]
            await stopped(again)


# --- the end of the bot --------------------------------------------------------------------------------------------


async def test_a_second_signal_ends_the_grace_of_running_turns(tmp_path: Path) -> None:
    """R1: without it they had ten minutes."""
    agent = scenario(tmp_path, words={"work": [{"text": "so far"}, {"hang": True}]})
    async with connected(tmp_path, agent, WEFT_STOP_GRACE="600") as (discord, bot):
        thread_id = await mention(discord, "work")
        await until_shown(discord, thread_id, "so far")
        bot.process.send_signal(signal.SIGTERM)
        told = "-# ⏸ Weft is about to restart. This turn has 600 s to finish; the session is kept."
        await until_shown(discord, thread_id, told)
        assert await bot.signalled(signal.SIGTERM) == 0
        assert "bot.hurried" in {event["event"] for event in bot.events()}
        assert "**Interrupted:**" in shown(discord, thread_id)


async def test_signals_to_the_very_last_moment_do_not_change_the_exit_code(tmp_path: Path) -> None:
    """R1."""
    async with connected(tmp_path, scenario(tmp_path)) as (_, bot):
        with anyio.fail_after(LIMIT):
            while bot.process.returncode is None:
                with suppress(ProcessLookupError):  # it was reaped just now
                    os.kill(bot.process.pid, signal.SIGTERM)  # not send_signal(), which may reap it itself
                await anyio.sleep(0.002)
        assert bot.process.returncode == 0


# --- Discord out of reach ------------------------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.timeout(180)
async def test_a_stop_while_discord_takes_no_message_is_over_in_time_and_the_reply_arrives_afterwards(
    tmp_path: Path,
) -> None:
    """R1, D3: neither a call that hangs nor one that is tried again and again holds up the end."""
    agent = scenario(tmp_path, words={"work": [{"text": "the answer"}]}, resume=True)
    async with FakeDiscord() as discord:
        async with run(tmp_path, discord.api_url, discord.token, agent) as bot:
            with anyio.fail_after(30):
                await discord.ready.wait()
            discord.faults.next("POST", r"/channels/\d+/messages$", Fault.delay(120), times=1000)
            thread_id = await mention(discord, "work")
            with anyio.fail_after(30):
                while not rows(tmp_path, "select 1 from prompts where reply is not null"):  # noqa: ASYNC110
                    await anyio.sleep(0.05)
            with anyio.fail_after(30):
                await hurried(bot)
        discord.faults.clear()
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await until_shown(discord, thread_id, "the answer")
            assert agent.prompts() == ["work"]
            assert await again.signalled(signal.SIGTERM) == 0
        said = [one.content for one in discord.messages(thread_id) if "the answer" in one.content]
        assert len(said) == 1


@pytest.mark.timeout(180)
async def test_a_start_without_discord_loses_nothing_and_can_be_stopped(tmp_path: Path) -> None:
    """O2, R1, R2: a prompt that waits for its thread, one that waits for its turn, and a reply on its way."""
    agent = scenario(tmp_path, words={"work": [{"text": "so far"}, {"hang": True}]}, resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "work")
        await until_shown(discord, thread_id, "so far")
        waiting = await discord.owner.say(thread_id, "second")
        await until_marked(discord, waiting.id)
        bot.process.kill()
        await bot.process.wait()
        before = rows(tmp_path, "select message_id, outcome, reply, started from prompts order by 1")
        async with run(tmp_path, NOWHERE, discord.token, agent) as away:
            await away.logged("gateway.lost")
            with anyio.fail_after(30):
                await hurried(away)
        assert rows(tmp_path, "select message_id, outcome, reply, started from prompts order by 1") == before
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await until_shown(discord, thread_id, "**Interrupted:** Weft was restarted in the middle of this.")
            await until_shown(discord, thread_id, "second\n-# ")
            assert agent.prompts() == ["work", "second"]
            assert await again.signalled(signal.SIGTERM) == 0
