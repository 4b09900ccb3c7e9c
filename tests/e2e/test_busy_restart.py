"""A restart in the middle of a busy thread: what waits goes on as it would have, and what was chosen holds (R1, R2)."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from bot.sandbox import FakeDiscord, Fault, Person, delay
from tests.agents import Gate, scenario
from tests.e2e.play import LIMIT, until_marked
from tests.e2e.process import (
    HANG,
    Run,
    connected,
    first_lines,
    mention,
    run,
    shown,
    until_answered,
    until_rows,
    until_shown,
)
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio


async def slash(discord: FakeDiscord, who: Person, place: int, name: str, **options: str) -> str:
    await discord.wait_for(lambda fd: fd.commands, timeout=LIMIT)
    return await (await who.slash(place, name, **options)).told()


def bears(discord: FakeDiscord, message_id: int) -> list[str]:
    """Return the reactions that a message bears."""
    return list(discord.message(message_id).reactions)


async def end(bot: Run, how: signal.Signals) -> None:
    assert await bot.signalled(how) == (0 if how is signal.SIGTERM else -signal.SIGKILL)


@pytest.mark.parametrize("how", [signal.SIGKILL, *in_soak([signal.SIGTERM])])
async def test_what_waits_goes_on_after_a_restart_with_its_mode_and_in_its_order(
    tmp_path: Path, how: signal.Signals
) -> None:
    """R2, Q1, Q2, Q5, D8: also with the text it was edited to and what it replies to, and without what was deleted."""
    agent = scenario(tmp_path, words={"first": HANG}, resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "first")
        await until_shown(discord, thread_id, "so far")
        messages = [(await discord.owner.say(thread_id, "second")).id]
        for text in ("!followup third", "!followup fourth", "fifth", "deleted"):
            original = messages[0] if text == "fifth" else None
            messages.append((await discord.owner.say(thread_id, text, reply_to=original)).id)
        await until_marked(discord, *messages)
        await discord.owner.edit(messages[0], "second, edited")
        await discord.owner.delete(messages[4])
        await until_shown(discord, thread_id, "**Removed**")
        await end(bot, how)
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await until_answered(discord, thread_id, "> second")
            await discord.owner.say(thread_id, "last")
            await until_answered(discord, thread_id, "last")
            fifth = f"fifth\n\n[In reply to owner (user {discord.owner.id}), who wrote:]\n> second"
            assert agent.prompts() == ["first", "second, edited", "third\nfourth", fifth, "last"]
            assert shown(discord, thread_id).count("**Removed**") == 1
            assert shown(discord, thread_id).count("**Interrupted:**") == 1
            await end(again, signal.SIGTERM)


async def test_what_waits_in_a_thread_that_was_just_opened_goes_on_although_only_some_are_let_in(
    tmp_path: Path,
) -> None:
    """R2, D2: after a kill nothing but the message itself says in which channel its thread stands."""
    agent = scenario(tmp_path, words={"first": HANG}, resume=True)
    async with FakeDiscord() as discord:
        alice = discord.user("alice")
        lists = {"WEFT_ALLOWED_CHANNELS": str(discord.channel_id), "WEFT_ALLOWED_USERS": str(alice.id)}
        async with run(tmp_path, discord.api_url, discord.token, agent, **lists) as bot:
            await bot.logged("gateway.ready")
            thread_id = (await alice.say(discord.channel_id, "first", mention_bot=True)).id
            await until_shown(discord, thread_id, "so far")
            await until_marked(discord, (await alice.say(thread_id, "second")).id)
            await end(bot, signal.SIGKILL)
        async with run(tmp_path, discord.api_url, discord.token, agent, **lists) as again:
            await until_answered(discord, thread_id, "second")
            await end(again, signal.SIGTERM)


@pytest.mark.parametrize("how", [signal.SIGTERM, *in_soak([signal.SIGKILL])])
async def test_notice_and_reactions_of_a_busy_thread_are_put_right_by_the_next_start(
    tmp_path: Path, how: signal.Signals
) -> None:
    """R1, R2, Q5, D3: one notice at a time, which says what is true; one reaction on each message in the end."""
    agent = scenario(tmp_path, words={"first": HANG}, resume=True)
    busy = {"WEFT_REACTIONS": "true", "WEFT_STOP_GRACE": "0.5"}
    async with connected(tmp_path, agent, allow=[10014], **busy) as (discord, bot):
        first = await mention(discord, "first")
        await until_shown(discord, first, "so far")
        second = (await discord.owner.say(first, "second")).id
        await until_shown(discord, first, "Waiting, next in line")
        await discord.wait_for(
            lambda _: (bears(discord, first), bears(discord, second)) == (["⚙️"], ["⏳"]), timeout=LIMIT
        )
        await until_rows(tmp_path, "select count(*) from notices", [(1,)])
        await end(bot, how)
        told = [text for text in first_lines(discord, first) if "about to restart" in text]
        assert [text.count("What waits here goes on") for text in told] == [1] * (how is signal.SIGTERM)
        async with run(tmp_path, discord.api_url, discord.token, agent, **busy) as again:
            await until_answered(discord, first, "second")
            await discord.wait_for(
                lambda _: (bears(discord, first), bears(discord, second)) == (["❌"], ["✅"]), timeout=LIMIT
            )
            await until_rows(tmp_path, "select count(*) from notices", [(0,)])
            text = shown(discord, first)
            assert (text.count("aiting"), text.count("about to restart")) == (0, 0)
            assert text.count("-# ✓ Weft was restarted.") == (how is signal.SIGTERM)
            await end(again, signal.SIGTERM)


def notices(discord: FakeDiscord, thread_id: int) -> list[str]:
    """Return what Weft says of waiting or of a restart, and whatever has a button of a waiting message."""
    mine = [one for one in discord.messages(thread_id) if one.author_id == discord.bot_user.id]
    signs = ("aiting", "about to restart", "weft:now:", "weft:drop:")
    return [one.content for one in mine if any(sign in one.content + repr(one.components) for sign in signs)]


async def test_a_notice_is_found_by_the_next_start_if_the_kill_came_before_its_id_was_known(tmp_path: Path) -> None:
    """R2, Q5: Discord has posted it, and its answer never comes."""
    agent = scenario(tmp_path, words={"first": HANG}, resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "first")
        await until_shown(discord, thread_id, "so far")
        await until_marked(discord, (await discord.owner.say(thread_id, "second")).id)
        discord.faults.next("POST", rf"/channels/{thread_id}/messages$", Fault.RESET_AFTER, times=100)
        await until_shown(discord, thread_id, "Waiting, next in line")
        await end(bot, signal.SIGKILL)
        discord.faults.clear()
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await until_answered(discord, thread_id, "second")
            await discord.wait_for(lambda _: notices(discord, thread_id) == [], timeout=LIMIT)
            await until_rows(tmp_path, "select count(*) from notices", [(0,)])
            await end(again, signal.SIGTERM)


@pytest.mark.soak
async def test_a_notice_that_is_being_taken_away_is_found_by_the_next_start_beside_its_successor(
    tmp_path: Path,
) -> None:
    """R2, Q5: the store knows of the one, and must not forget the other."""
    agent = scenario(tmp_path, words={"first": HANG, "third": HANG}, resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "first")
        await until_shown(discord, thread_id, "so far")
        second = (await discord.owner.say(thread_id, "second")).id
        await until_shown(discord, thread_id, "`second`")
        discord.faults.next("DELETE", r"/messages/\d+$", delay(3600.0), times=100)
        await discord.owner.delete(second)
        await until_shown(discord, thread_id, "**Removed**")
        await discord.owner.say(thread_id, "third")
        await until_shown(discord, thread_id, "`third`")
        assert len(notices(discord, thread_id)) == 2
        newer = max(one.id for one in discord.messages(thread_id))
        await until_rows(tmp_path, f"select count(*) from notices where since < {newer}", [(1,)])
        await end(bot, signal.SIGKILL)
        discord.faults.clear()
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await until_shown(discord, thread_id, "**Interrupted:**")
            await discord.wait_for(lambda _: notices(discord, thread_id) == [], timeout=LIMIT)
            await until_rows(tmp_path, "select count(*) from notices", [(0,)])
            await end(again, signal.SIGTERM)


@pytest.mark.soak
async def test_a_notice_that_was_not_posted_before_a_kill_leaves_nothing_behind(tmp_path: Path) -> None:
    """R2, Q5: the store knew that it might be there; what still waits then has a notice of its own."""
    agent = scenario(tmp_path, words={"first": HANG}, resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "first")
        await until_shown(discord, thread_id, "so far")
        discord.faults.next("POST", rf"/channels/{thread_id}/messages$", delay(3600.0), times=100)
        await until_marked(discord, (await discord.owner.say(thread_id, "second")).id)
        await until_rows(tmp_path, "select count(*) from notices", [(1,)])
        await end(bot, signal.SIGKILL)
        discord.faults.clear()
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await until_answered(discord, thread_id, "second")
            await until_rows(tmp_path, "select count(*) from notices", [(0,)])
            assert notices(discord, thread_id) == []
            await end(again, signal.SIGTERM)


async def test_a_row_that_was_still_being_collected_is_not_lost(tmp_path: Path) -> None:
    """R2, Q4, O2: whether the rest of it comes or not."""
    agent = scenario(tmp_path, words={"first": HANG}, resume=True)
    async with connected(tmp_path, agent, WEFT_DEBOUNCE="60", WEFT_DEBOUNCE_MAX="60") as (discord, bot):
        thread_id = await mention(discord, "first")
        await until_shown(discord, thread_id, "so far")
        row = [(await discord.owner.say(thread_id, text)).id for text in ("one", "two")]
        await until_marked(discord, *row)
        await end(bot, signal.SIGTERM)
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await until_answered(discord, thread_id, "two")
            assert "\n".join(agent.prompts()).split("\n") == ["first", "one", "two"]
            await end(again, signal.SIGTERM)


@pytest.mark.parametrize("how", [signal.SIGKILL, *in_soak([signal.SIGTERM])])
async def test_a_chosen_mode_holds_after_a_restart(tmp_path: Path, how: signal.Signals) -> None:
    """Q2, R2"""
    agent = scenario(tmp_path, words={"first": HANG}, resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "hello")
        await until_answered(discord, thread_id, "hello")
        await slash(discord, discord.owner, thread_id, "queue mode", mode="interrupt")
        await until_rows(tmp_path, "select count(*) from threads where options like '%interrupt%'", [(1,)])
        await end(bot, how)
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await again.logged("gateway.ready")
            assert (await slash(discord, discord.owner, thread_id, "queue show")).startswith("Mode: interrupt.")
            await discord.owner.say(thread_id, "first")
            await until_shown(discord, thread_id, "so far")
            await discord.owner.say(thread_id, "newest")
            await until_answered(discord, thread_id, "newest")
            assert "**Replaced**" in shown(discord, thread_id)
            await end(again, signal.SIGTERM)


@pytest.mark.parametrize("how", [signal.SIGKILL, *in_soak([signal.SIGTERM])])
async def test_a_turn_of_several_messages_that_was_cut_off_is_told_once(tmp_path: Path, how: signal.Signals) -> None:
    """R2, Q2, O1: none of its messages is run again by itself, and none is forgotten."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"hello": [{"text": "not yet"}, gate.step], "third": HANG}, resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "hello")
        await until_shown(discord, thread_id, "not yet")
        texts = ("!followup second", "!followup third")
        await until_marked(discord, *[(await discord.owner.say(thread_id, text)).id for text in texts])
        gate.open()
        await until_shown(discord, thread_id, "so far")
        await end(bot, how)
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await until_shown(discord, thread_id, "**Interrupted:**")
            await discord.owner.say(thread_id, "go on")
            await until_answered(discord, thread_id, "go on")
            assert agent.prompts() == ["hello", "second\nthird", "go on"]
            assert shown(discord, thread_id).count("**Interrupted:**") == 1
            await end(again, signal.SIGTERM)


async def test_what_is_older_than_a_stop_of_all_is_not_run_after_a_kill_either(tmp_path: Path) -> None:
    """Q7, R2: only the catch-up of the next run finds it, since Discord did not answer that of this one."""
    agent = scenario(tmp_path, resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "hello")
        await until_answered(discord, thread_id, "hello")
        await end(bot, signal.SIGTERM)
        older = (await discord.owner.say(thread_id, "older")).id
        discord.faults.next("GET", r"/messages$", delay(3600.0), times=100)
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await again.logged("gateway.ready")
            assert await slash(discord, discord.owner, thread_id, "stop", what="all") == "There is nothing to stop."
            await until_rows(tmp_path, "select count(*) from threads where options like '%cutoff%'", [(1,)])
            await end(again, signal.SIGKILL)
        discord.faults.clear()
        async with run(tmp_path, discord.api_url, discord.token, agent) as last:
            await until_shown(discord, thread_id, "**Not run:**")
            await discord.owner.say(thread_id, "newer")
            await until_answered(discord, thread_id, "newer")
            assert agent.prompts() == ["hello", "newer"]
            await until_rows(tmp_path, f"select outcome from prompts where message_id = {older}", [("stale",)])
            await end(last, signal.SIGTERM)


@pytest.mark.parametrize("how", [signal.SIGTERM, *in_soak([signal.SIGKILL])])
async def test_what_was_edited_or_deleted_while_the_bot_was_away_is_asked_as_it_reads_then(
    tmp_path: Path, how: signal.Signals
) -> None:
    """Q5, R2, O1: what was deleted is never asked, and has its end."""
    agent = scenario(tmp_path, words={"first": HANG}, resume=True)
    async with connected(tmp_path, agent, allow=[10008]) as (discord, bot):
        thread_id = await mention(discord, "first")
        await until_shown(discord, thread_id, "so far")
        texts = ["second", "third", "fourth", "fifth"]
        messages = [(await discord.owner.say(thread_id, text)).id for text in texts]
        await until_marked(discord, *messages)
        await end(bot, how)
        await discord.owner.edit(messages[0], "second, better")
        await discord.owner.delete(messages[1])
        await discord.owner.edit(messages[2], "// for the others here")
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await until_answered(discord, thread_id, "fifth")
            await until_shown(discord, thread_id, "**Removed**")
            ended = f"select outcome from prompts where message_id in ({messages[1]}, {messages[2]})"
            await until_rows(tmp_path, ended, [("removed",), ("removed",)])
            assert agent.prompts() == ["first", "second, better", "fifth"]
            await end(again, signal.SIGTERM)
