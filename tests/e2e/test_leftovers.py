"""What a turn leaves running: named in the thread, and ended by a button without ending the agent."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from bot.chat.authorize import Reason
from bot.model import Actor, Outcome
from bot.work import leftovers
from bot.work.leftovers import EXPIRED
from tests.agents import alive, scenario
from tests.e2e.play import LIMIT, play

pytestmark = pytest.mark.asyncio


async def test_what_a_turn_left_running_is_named_and_its_button_ends_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P13, P9, Q11: once, by whoever may stop turns; the agent and what runs since an earlier turn are left alone."""
    monkeypatch.setattr(leftovers, "PATIENCE", 0.1)
    monkeypatch.setattr(leftovers, "_LOOK_AGAIN", 0.1)
    start = [{"spawn_shell": "sleep 600"}, {"text": "started"}]
    agent = scenario(tmp_path, words={"start": start, "quick": [{"spawn_shell": "true"}, {"text": "done"}]})
    async with play(tmp_path, agent) as game:
        first, _ = await game.ask("start")
        await game.until_shown(first, "Still running from this turn: `")
        (notice,) = [one for one in game.replies(first) if "Still running" in one.content]
        assert "sleep 600` (process " in notice.content
        for text in ("quick", "start"):
            assert await game.outcome(await game.say(first, text)) is Outcome.ANSWERED
        await game.discord.wait_for(lambda _: game.shown(first).count("Still running") == 2, timeout=LIMIT)
        old, new = (entry["child"] for entry in agent.events("spawned") if alive(entry["child"]))
        status = await (await game.owner.slash(first, "status")).told()
        assert status.count("Still running: ") == 2
        (button,) = [part["custom_id"] for row in notice.components for part in row["components"]]
        strange = await game.discord.user("mallory").click(notice.id, button)
        assert await strange.told() == Reason.PERSON
        pressed = await game.owner.click(notice.id, button)
        assert await pressed.told() == "Ending it."
        await game.until_shown(first, "-# ⏹ Ended by `owner`: ")
        assert (alive(old), alive(new), alive(agent.pids()[0])) == (False, True, True)
        assert game.discord.message(notice.id).components == []
        dispatcher, token = game.on_stage.bot.dispatcher, button.split(":")[-1]
        assert dispatcher.controls.end_left(first, token, Actor(1, "ann")) is EXPIRED
        await game.owner.slash(first, "reset")
        await game.until_shown(first, "-# ✓ No longer running: ")
        with anyio.fail_after(LIMIT):
            while alive(new):  # noqa: ASYNC110  the kernel sends no event
                await anyio.sleep(0.01)


async def test_of_threads_that_share_a_process_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P13, P11: nobody knows whose it is."""
    monkeypatch.setattr(leftovers, "PATIENCE", 0.1)
    agent = scenario(tmp_path, [{"spawn_shell": "sleep 600"}, {"text": "started"}])
    async with play(tmp_path, agent, sessions_per_process=2) as game:
        thread_id, _ = await game.ask("start")
        assert game.on_stage.bot.dispatcher._leftovers._watched == {}
        assert "Still running" not in game.shown(thread_id)
