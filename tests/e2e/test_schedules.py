"""Schedules from the command to the turns that they bring, over kills of the bot (A5)."""

from __future__ import annotations

import re
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bot.chat.answers import NOT_IN_THREAD
from bot.chat.authorize import Reason
from bot.chat.commands.schedules import ZONE_NOT_YOURS
from bot.model import Outcome
from bot.sandbox import FakeDiscord, Fault, Interaction, Person
from bot.sandbox.audit import Problem
from bot.sandbox.interactions import InteractionType
from bot.sandbox.model import PERMISSIONS
from bot.work.agent_tools.calls import BY_SCHEDULE
from bot.work.schedules import runner
from bot.work.schedules.service import MOST, NOT_YOURS
from bot.work.schedules.zones import usual_zone
from tests.agents import Gate, Step, scenario
from tests.e2e.busy import friends, held
from tests.e2e.play import LIMIT, Play, play
from tests.e2e.process import (
    connected,
    mention,
    run,
    shown,
    until_answered,
    until_rows,
    until_shown,
)
from tests.e2e.tools import call, told
from tests.repeat import in_soak

pytestmark = [pytest.mark.asyncio]

HOUR = 3600.0


@dataclass
class WallClock:
    """The machine's clock, which can be set."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    """The clock of schedules; it is looked at again and again."""
    monkeypatch.setattr(runner, "LOOK", 0.05)
    monkeypatch.setattr(runner, "HELD", 0.05)
    monkeypatch.setattr(runner, "SPREAD", 0.05)
    # From noon on where the bot is: in the last hour of a day the next hour is a new day, too.
    noon = datetime.now(ZoneInfo(usual_zone(None))).replace(hour=12, minute=0, second=0, microsecond=0)
    return WallClock(ahead=noon.timestamp() - time.time())


def invite(discord: FakeDiscord) -> dict[str, Any]:
    """A server with somebody of each kind; return the settings that let them in."""
    judges, keepers = discord.add_role("judges"), discord.add_role("keepers", PERMISSIONS["manage_guild"])
    bob, keeper = discord.user("bob"), discord.user("keeper", roles=[keepers])
    discord.user("judge", roles=[judges])
    return {"allowed_users": (bob.id, keeper.id), "approver_roles": (judges,)}


def buttons(answer: Interaction) -> dict[str, str]:
    """The custom_ids of an answer's buttons by their labels."""
    listed = (answer.response or {}).get("components") or []
    return {one["label"]: one["custom_id"] for row in listed for one in row["components"]}


async def press(person: Person, listed: Interaction, label: str) -> Interaction:
    assert listed.original_id is not None
    return await person.click(listed.original_id, buttons(listed)[label])


async def forged(person: Person, listed: Interaction, custom_id: str) -> Interaction:
    """Press a button that the person's own list never had."""
    assert listed.original_id is not None
    message = person.state.messages[listed.original_id]
    row = {"type": 1, "components": [{"type": 2, "style": 2, "label": "x", "custom_id": custom_id}]}
    data = {"custom_id": custom_id, "component_type": 2}
    pressed = person.forge(InteractionType.COMPONENT, message.channel_id, data, replace(message, components=[row]))
    await pressed.settle()
    return pressed


async def until_asked(game: Play, thread_id: int, count: int = 1) -> list[int]:
    """Wait until so many scheduled prompts were posted in a thread; return their messages."""

    def found() -> list[int]:
        return [one.id for one in game.replies(thread_id) if one.content.startswith("⏰ Scheduled for")]

    await game.discord.wait_for(lambda _: len(found()) >= count, timeout=LIMIT)
    return found()


async def test_a_schedule_from_its_command_to_its_turns_by_a_clock_that_is_set(
    tmp_path: Path, clock: WallClock
) -> None:
    """A5: made in a thread, run once an hour that passes or is skipped, told where it can't run."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, words={"wait": held(gate)})
    async with play(tmp_path, agent, clean=False) as game:
        game.on_stage.bot.dispatcher.schedules.now = clock
        thread_id, _ = await game.ask("hello")
        # 1. What is typed, and what is suggested while somebody types.
        typed = await game.owner.autocomplete(thread_id, "schedule", "when", "*/30 * * * *")
        (choice,) = (typed.response or {})["choices"]
        assert re.fullmatch(r"\*/30 \* \* \* \* · next: \w{3} \d\d:[03]0", choice["name"])
        assert choice["value"] == "*/30 * * * *"
        made = await game.owner.slash(thread_id, "schedule", when="@hourly", prompt="look at the mail")
        assert (await made.told()).startswith("⏰ Scheduled: `@hourly`, `")
        assert not made.ephemeral
        often = await game.owner.slash(thread_id, "schedule", when="* * * * *", prompt="look")
        assert "too often" in await often.told()
        assert often.ephemeral
        # 2. An hour later, and a day later at once: each time one prompt of its author's.
        clock.ahead += HOUR
        (first,) = await until_asked(game, thread_id)
        assert await game.outcome(first) is Outcome.ANSWERED
        clock.ahead += 24 * HOUR
        _, second = await until_asked(game, thread_id, 2)
        assert await game.outcome(second) is Outcome.ANSWERED
        assert "runs were due while I was away" in game.discord.message(second).content
        assert agent.prompts() == ["hello", "look at the mail", "look at the mail"]
        clock.ahead -= 24 * HOUR  # from now on the clock passes what has run already
        # 3. While work goes on it is skipped, with a line that pings nobody.
        waiting = await game.say(thread_id, "wait")
        await game.until_shown(thread_id, "so far")
        clock.ahead += 25 * HOUR
        await game.until_shown(thread_id, "-# ⏭️ Skipped, because this thread was busy: `look at the mail`. Next: ")
        gate.open()
        assert await game.outcome(waiting) is Outcome.ANSWERED
        # 4. An archived thread is opened again; in a locked one it is paused, and the channel reads why.
        await game.discord.archive(thread_id)
        clock.ahead += HOUR
        *_, third = await until_asked(game, thread_id, 3)
        assert await game.outcome(third) is Outcome.ANSWERED
        assert not game.discord.state.channel(thread_id).archived
        await game.discord.archive(thread_id, locked=True)
        clock.ahead += HOUR
        wanted = f"-# ⏸️ A schedule of `{game.owner.name}` in <#{thread_id}> is paused: the thread is locked"
        channel = game.discord.channel_id
        await game.discord.wait_for(
            lambda fd: any(one.content.startswith(wanted) for one in fd.messages(channel)), timeout=LIMIT
        )
        assert len(await until_asked(game, thread_id, 3)) == 3
        assert agent.prompts() == ["hello", *["look at the mail"] * 2, "wait", "look at the mail"]
        game.discord.assert_clean([160005])  # the thread was locked


async def test_what_an_agent_scheduled_starts_and_schedules_nothing_further(tmp_path: Path, clock: WallClock) -> None:
    """M2, A5: it says that an agent made it; what a person scheduled may start a thread."""
    further = [call("start_thread", prompt="deep"), call("schedule", when="@hourly", prompt="deeper")]
    words: dict[str, list[Step]] = {
        "go": [call("schedule", when="@daily", prompt="further")],
        "further": [*further, call("read_thread")],
        "mine": further[:1],
    }
    agent = scenario(tmp_path, words=words)
    async with play(tmp_path, agent) as game:
        schedules = game.on_stage.bot.dispatcher.schedules
        schedules.now = clock
        thread_id, _ = await game.ask("go")
        listed = await game.owner.slash(thread_id, "schedules")
        assert " · made by an agent\n`further`" in await listed.told()
        clock.ahead += 24 * HOUR
        (asked,) = await until_asked(game, thread_id)
        assert await game.outcome(asked) is Outcome.ANSWERED
        assert " by an agent for `owner`" in game.discord.message(asked).content
        assert [(done, text) for done, text in told(agent)[1:3]] == [(False, BY_SCHEDULE)] * 2
        assert told(agent)[3][0]
        assert len(schedules.rows) == 1
        # The same prompt of a person's schedule is that person's will.
        made = await game.owner.slash(thread_id, "schedule", when="@hourly", prompt="mine")
        await made.told()
        clock.ahead += HOUR
        *_, mine = await until_asked(game, thread_id, 2)
        assert await game.outcome(mine) is Outcome.ANSWERED
        assert told(agent)[4][1].startswith("Started: ")


async def test_each_person_sees_and_changes_what_is_theirs_to_see_and_change(tmp_path: Path, clock: WallClock) -> None:
    """A5, C1, D2: strangers nothing, people their own and their thread's, approvers the server's; twenty each."""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent, clean=False, invite=invite) as game:
        schedules = game.on_stage.bot.dispatcher.schedules
        schedules.now = clock
        bob, judge, keeper, eve = (game.discord.user(name) for name in ("bob", "judge", "keeper", "eve"))
        here, there = (await game.ask("hello"))[0], (await game.ask("hello"))[0]
        # 1. Who may not prompt makes none, and nobody does outside a thread of Weft's.
        for person, reason in ((eve, Reason.PERSON), (judge, Reason.PERSON)):
            refused = await person.slash(here, "schedule", when="@daily", prompt="x")
            assert await refused.told() == reason
        in_channel = await bob.slash(game.discord.channel_id, "schedule", when="@daily", prompt="x")
        assert await in_channel.told() == NOT_IN_THREAD
        assert await (await eve.slash(here, "schedules")).told() == Reason.PERSON
        suggested = await eve.autocomplete(here, "schedules", "timezone", "Ber")
        assert (suggested.response or {})["choices"] == []
        # 2. The time zone is for people with Manage Server, and for the owner.
        for person in (bob, judge):
            assert await (await person.slash(here, "schedules", timezone="Asia/Tokyo")).told() == ZONE_NOT_YOURS.text
        suggested = await keeper.autocomplete(here, "schedules", "timezone", "sao paulo")
        assert [one["value"] for one in (suggested.response or {})["choices"]] == ["America/Sao_Paulo"]
        assert "`Asia/Tokyo`" in await (await keeper.slash(here, "schedules", timezone="Asia/Tokyo")).told()
        made = await bob.slash(here, "schedule", when="0 9 * * *", prompt="bob's here")
        assert "`Asia/Tokyo` time. Next: " in await made.told()
        assert "09:00" in await made.told()
        # 3. Lists: of this thread, one's own, and for approvers the server's.
        await game.owner.slash(there, "schedule", when="@daily", prompt="owner's there")
        for person, place, seen in (
            (bob, here, ["bob's here"]),
            (bob, there, ["owner's there", "bob's here"]),
            (keeper, game.discord.channel_id, []),
            (judge, here, ["bob's here", "owner's there"]),
            (game.owner, game.discord.channel_id, ["bob's here", "owner's there"]),
        ):
            listed = await person.slash(place, "schedules")
            assert listed.ephemeral
            told = await listed.told()
            assert sorted(re.findall(r"^`(.*)`$", told, re.MULTILINE)) == sorted(seen), (person.name, place)
        # 4. Another one's is not removable, not even by a forged press; one's own is, and an approver's word goes.
        listed = await bob.slash(there, "schedules")
        assert list(buttons(listed)) == ["Pause 2", "Remove 2"]
        (row,) = [row for row in schedules.rows.values() if row.prompt == "owner's there"]
        refused = await forged(bob, listed, f"weft:sched:{row.schedule_id}:remove:0")
        assert (refused.response or {})["content"].startswith(f"{NOT_YOURS.text}\n**Schedules**")
        assert row.schedule_id in schedules.rows
        paused = await press(bob, listed, "Pause 2")
        text = (paused.response or {})["content"]
        assert text.startswith("Paused.\n**Schedules**")
        assert "⏸️ paused by bob" in text
        listed = await judge.slash(here, "schedules")
        resumed = await press(judge, listed, "Resume 1")
        assert (resumed.response or {})["content"].startswith("Resumed. Next: ")
        removed = await press(judge, await judge.slash(here, "schedules"), "Remove 2")
        assert (removed.response or {})["content"].startswith("Removed.\n")
        assert [row.prompt for row in schedules.rows.values()] == ["bob's here"]
        # 5. Twenty, and pages of them.
        for number in range(MOST - 1):
            await bob.slash(there, "schedule", when="@daily", prompt=f"number {number}")
        assert (
            "20 schedules already"
            in await (await bob.slash(there, "schedule", when="@daily", prompt="one more")).told()
        )
        listed = await bob.slash(there, "schedules")
        assert "page 1 of 5" in await listed.told()
        following = await press(bob, listed, "Next")
        assert "page 2 of 5" in (following.response or {})["content"]
        # 6. Who has left has theirs paused at the next time; the thread reads it.
        game.discord.kick(bob)
        clock.ahead += 24 * HOUR
        await game.until_shown(here, "-# ⏸️ Schedule of `bob` paused: its author may no longer use Weft here")
        assert agent.prompts() == ["hello", "hello"]
        game.discord.assert_clean([10007])  # nobody tells Weft who has left


async def test_direct_messages_have_schedules_too(tmp_path: Path, clock: WallClock) -> None:
    """A5, S7: whose rights are those of the person by their id, and whose time zone is the conversation's own."""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent, direct_messages=True, **friends("bob")) as game:
        game.on_stage.bot.dispatcher.schedules.now = clock
        bob = game.discord.user("bob")
        direct = game.discord.open_dm(bob)
        assert "`Asia/Tokyo`" in await (await bob.slash(direct, "schedules", timezone="Asia/Tokyo")).told()
        made = await bob.slash(direct, "schedule", when="@hourly", prompt="look")
        assert "`Asia/Tokyo` time. Next: " in await made.told()
        clock.ahead += HOUR
        (asked,) = await until_asked(game, direct)
        assert await game.outcome(asked) is Outcome.ANSWERED
        listed = await bob.slash(direct, "schedules")
        assert list(buttons(listed)) == ["Pause 1", "Remove 1"]
        removed = await press(bob, listed, "Remove 1")
        assert (removed.response or {})["content"].startswith("Removed.")
        assert agent.prompts() == ["look"]


# --- kills -----------------------------------------------------------------------------------------------------------


def came_due(directory: Path, seconds_ago: float) -> int:
    """Let the only schedule have been made and due that long ago, while no bot runs; return its time."""
    due = int(time.time() - seconds_ago)
    with closing(sqlite3.connect(directory / "state/weft/weft.db")) as database, database:
        assert database.execute("UPDATE schedules SET due_at = ?, created_at = ?", (due, due - 60)).rowcount == 1
    return due


@pytest.mark.long(12)
@pytest.mark.parametrize("step", ["posted", *in_soak(["recorded", "accepted", "started"])])
async def test_a_kill_between_a_time_and_its_turn_leaves_one_prompt(tmp_path: Path, step: str) -> None:
    """A5, R2: whether it was written down, posted, accepted or begun when the bot was killed."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(
        tmp_path,
        words={"look": [{"text": "looked"}, *([{"hang": True}] if step == "started" else [])]},
        **({"start": {"gate": str(gate.path), "after": 1}} if step == "accepted" else {}),
    )
    prompts = "SELECT count(*) FROM prompts WHERE payload LIKE '%look at it%'"
    # What was under way when the bot was killed, and what Discord was told to refuse.
    async with connected(tmp_path, agent, allow=[Problem.UNANSWERED, 503], TZ="UTC") as (discord, bot):
        thread_id = await mention(discord, "hello")
        await until_answered(discord, thread_id, "hello")
        # Of its times some were missed, and the next one is most of a day away: no bot comes to it.
        when = f"*/5 {datetime.fromtimestamp(time.time() - 2 * HOUR, UTC).hour} * * *"
        made = await discord.owner.slash(thread_id, "schedule", when=when, prompt="look at it")
        assert "⏰ Scheduled" in await made.told()
        await until_rows(tmp_path, "SELECT count(*) FROM schedules WHERE due_at > 0", [(1,)])
        assert await bot.signalled(signal.SIGTERM) == 0
        came_due(tmp_path, 3 * HOUR)
        posts = rf"/channels/{thread_id}/messages$"
        if step == "posted":
            discord.faults.next("POST", posts, Fault.RESET_AFTER)
        if step in ("recorded", "posted"):
            discord.faults.next("POST", posts, Fault.status(503), times=1_000)
        async with run(tmp_path, discord.api_url, discord.token, agent, TZ="UTC") as second:
            if step == "recorded":
                await until_rows(tmp_path, "SELECT count(*) FROM schedules WHERE payload != '{}'", [(1,)])
            elif step == "posted":
                await until_shown(discord, thread_id, ">>> look at it")
            elif step == "accepted":
                await until_rows(tmp_path, prompts, [(1,)])
            else:
                await until_shown(discord, thread_id, "looked")
            await second.signalled(signal.SIGKILL)
        discord.faults.clear()
        gate.open()
        async with run(tmp_path, discord.api_url, discord.token, agent, TZ="UTC") as third:
            if step == "started":
                await until_shown(discord, thread_id, "**Interrupted:**")
            else:
                await until_answered(discord, thread_id, "looked")
            await until_rows(tmp_path, "SELECT count(*) FROM schedules WHERE payload = '{}' AND due_at > 0", [(1,)])
            assert await third.signalled(signal.SIGTERM) == 0
        assert shown(discord, thread_id).count("⏰ Scheduled for") == 1
        assert agent.prompts() == ["hello", "look at it"]
