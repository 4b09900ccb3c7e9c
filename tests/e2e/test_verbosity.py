"""How much of a turn is shown: three levels, chosen while it runs, for a thread, a channel and a server."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from bot.model import Outcome
from bot.sandbox.people import Person
from tests.agents import Gate, Step, scenario
from tests.e2e.play import LIMIT, play
from tests.e2e.process import connected, first_lines, mention, run, shown, until_shown

pytestmark = pytest.mark.asyncio

PLAN: list[list[str]] = [["Read it", "completed"], ["Test *it*", "in_progress"], ["Tell", "pending"]]


def work(gate: Gate, turn: str = "") -> list[Step]:
    """Think, plan, run tools of which one fails, wait for the gate with one at work, and answer."""
    return [
        {"thought": "I think so."},
        {"plan": PLAN},
        {"tool": {"id": f"r{turn}", "title": "Read a.py", "kind": "read", "status": "completed", "output": "a = 1"}},
        {
            "tool": {
                "id": f"l{turn}",
                "title": "npm run lint",
                "kind": "execute",
                "status": "failed",
                "output": "12 problems",
            }
        },
        {"tool": {"id": f"t{turn}", "title": "npm test", "kind": "execute", "status": "in_progress"}},
        gate.step,
        {
            "tool": {
                "id": f"t{turn}",
                "title": "npm test",
                "kind": "execute",
                "status": "completed",
                "output": "ok 1\nok 2",
            }
        },
        {"text": "All green."},
    ]


NORMAL = """· `npm test` · plan 1/3
-# ☑ Read it
-# ▶ Test \\*it\\*
-# ☐ Tell
-# ✓ `Read a.py` · ✗ `npm run lint`"""


async def test_a_turn_shows_what_was_chosen_at_once_and_to_its_end(tmp_path: Path) -> None:
    """V1, D5: normally its plan and tools, then all of it, then next to nothing."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, work(gate), work(gate, "2"))
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("test it")
        await game.until_shown(thread_id, NORMAL)
        chosen = await game.owner.slash(thread_id, "verbosity", level="verbose")
        assert not chosen.ephemeral
        assert (await chosen.told()).startswith("In this thread from now on: **verbose**: also what its tools print")
        await game.until_shown(
            thread_id, "-# 💭 I think so.\n-# ✓ `Read a.py`\n```\na = 1\n```\n-# ✗ `npm run lint` (fai"
        )
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        answer = game.replies(thread_id)[0].content
        assert answer.startswith("All green.\n-# 💭 I think so.\n-# ✓ `Read a.py`\n```\na = 1\n```\n")
        assert "-# ✓ `npm test`\n```\nok 1\nok 2\n```\n-# " in answer
        await game.owner.slash(thread_id, "verbosity", level="quiet")
        again = await game.say(thread_id, "once more")
        assert await game.outcome(again) is Outcome.ANSWERED
        last = game.replies(thread_id)[-1].content.split("\n")
        assert (last[0], len(last)) == ("All green.", 2)
        assert "3 tools" in last[1]


async def test_the_nearest_choice_holds_and_wider_ones_need_the_right_to_manage(tmp_path: Path) -> None:
    """V1, D2: thread, channel, server, settings; a choice that is taken back leaves the wider one."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, work(gate))
    async with play(
        tmp_path,
        agent,
        invite=lambda discord: {"allowed_users": tuple(discord.user(name).id for name in ("ann", "bob"))},
        verbosity="verbose",
    ) as game:
        ann, bob = game.discord.user("ann"), game.discord.user("bob")
        game.discord.overwrite(game.discord.channel_id, ann.id, deny=["manage_channels"])
        thread_id = await game.mention("test it", ann)

        async def choose(who: Person, level: str | None, where: str) -> str:
            options = {"where": where} | ({} if level is None else {"level": level})
            used = await who.slash(thread_id, "verbosity", **options)
            return str(await used.told())

        await game.until_shown(thread_id, "12 problems")
        assert "**verbose** (the usual level)" in await choose(ann, None, "thread")
        assert "Manage Channels" in await choose(ann, "normal", "channel")
        assert "Manage Server" in await choose(bob, "normal", "server")
        assert (await choose(game.owner, "quiet", "server")).startswith("In this server from now on: **quiet**")
        await game.discord.wait_for(lambda _: "npm" not in game.shown(thread_id), timeout=LIMIT)
        assert (await choose(bob, "normal", "channel")).startswith("In this channel from now on: **normal**")
        await game.until_shown(thread_id, NORMAL)
        await choose(ann, "verbose", "thread")
        await game.until_shown(thread_id, "12 problems")
        hidden = await choose(game.owner, "normal", "server")
        assert "Shown here: **verbose** (chosen for this thread)" in hidden
        taken_back = await choose(ann, "usual", "thread")
        assert taken_back.startswith("Choice removed. Shown here: **normal** (chosen for this channel)")
        await game.until_shown(thread_id, NORMAL)
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED


async def test_a_choice_and_what_a_running_turn_has_shown_survive_a_kill(tmp_path: Path) -> None:
    """V1, R2: nothing of the block stays above what says that the turn was cut off."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(tmp_path, [{"text": "Well."}, *work(gate)], resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "test it")
        await until_shown(discord, thread_id, NORMAL)
        await discord.owner.slash(thread_id, "verbosity", level="verbose")
        await until_shown(discord, thread_id, "```\n12 problems\n```\n-# ▸ `npm test`")
        bot.process.kill()
        await bot.process.wait()
        gate.open()
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await until_shown(discord, thread_id, "**Interrupted:**")
            assert first_lines(discord, thread_id)[0] == "Well."
            await discord.wait_for(lambda fd: "⏳" not in shown(fd, thread_id), timeout=LIMIT)
            assert discord.messages(thread_id)[0].content == "Well."
            await discord.owner.say(thread_id, "again")
            await until_shown(discord, thread_id, "All green.\n-# 💭 I think so.")
            assert await again.signalled(signal.SIGTERM) == 0
