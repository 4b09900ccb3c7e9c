"""Cards over a restart: the request dies with its process, and says so (C4)."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from bot.demo.transcript import card_buttons
from bot.sandbox import FakeDiscord, Message
from bot.sandbox.interactions import InteractionType
from bot.work.permission_cards import RESTARTED
from tests.agents import scenario
from tests.agents.scenario import allow_options
from tests.e2e.play import LIMIT
from tests.e2e.process import connected, mention, rows, run, until_answered, until_rows

pytestmark = pytest.mark.asyncio

OPTIONS = allow_options(("yes", "allow_once"), ("no", "reject_once"))


def cards(discord: FakeDiscord, thread_id: int) -> list[Message]:
    if all(thread.id != thread_id for thread in discord.threads()):
        return []
    return [message for message in discord.messages(thread_id) if "🔐" in message.content]


async def press_late(discord: FakeDiscord, card: Message) -> str:
    """Press a button as a client does that has not heard of the card's end."""
    data = {"component_type": 2, "custom_id": card_buttons(card)[0].custom_id, "id": 1}
    late = discord.owner._begin(InteractionType.COMPONENT, card.channel_id, data, card)
    return await late.told()


async def test_a_kill_closes_the_card_at_the_next_start_and_the_turn_can_be_continued(tmp_path: Path) -> None:
    """C4: its text stays in full, its buttons go, and a late press is told what happened."""
    command = "make " + "x" * 3000
    ask = {"permission": {"tool": {"title": "make", "rawInput": {"command": command}}, "options": OPTIONS}, "then": {}}
    agent = scenario(tmp_path, words={"cut off": [{"text": "went on"}], "ask": [{"text": "Well. "}, ask]}, resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "ask")
        await discord.wait_for(lambda fd: cards(fd, thread_id), timeout=LIMIT)
        (card,) = cards(discord, thread_id)
        await until_rows(tmp_path, "select thread_id, message_id from cards", [(thread_id, card.id)])
        bot.process.kill()
        await bot.process.wait()
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            with anyio.fail_after(LIMIT):
                await again.logged("gateway.ready")
                await discord.wait_for(lambda fd: not fd.message(card.id).components, timeout=LIMIT)
            closed = discord.message(card.id)
            above, _, last = closed.content.rpartition("\n")
            assert above == card.content.rpartition("\n")[0]
            assert last == "⏹ Ended with the restart: *Continue* below runs the turn again."
            assert closed.attachments == card.attachments
            assert await press_late(discord, card) == RESTARTED
            await until_rows(tmp_path, "select * from cards", [])
            notice = discord.messages(thread_id)[-1]
            assert notice.id > card.id
            await discord.owner.click(notice, f"weft:go:{thread_id}:{thread_id}")
            await until_answered(discord, thread_id, "went on")
            again.process.terminate()
            assert await again.ended() == 0
        assert rows(tmp_path, "select * from cards") == []
