"""Cards over a restart: the request dies with its process, and says so (C4)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import pytest

from bot.demo.transcript import card_buttons
from bot.sandbox import FakeDiscord, Message
from bot.sandbox.interactions import InteractionType
from bot.work.permissions.cards import RESTARTED
from tests.agents import scenario
from tests.agents.scenario import allow_options
from tests.e2e.play import LIMIT
from tests.e2e.process import connected, mention, rows, run, until_answered, until_rows

pytestmark = pytest.mark.asyncio

OPTIONS = allow_options(("yes", "allow_once"), ("no", "reject_once"))


FORM = {"type": "object", "properties": {"name": {"type": "string"}}}


def cards(discord: FakeDiscord, thread_id: int, sign: str = "🔐") -> list[Message]:
    if all(thread.id != thread_id for thread in discord.threads()):
        return []
    return [message for message in discord.messages(thread_id) if sign in message.content]


def is_closed(discord: FakeDiscord, key: int) -> bool:
    return not discord.message(key).components


async def press_late(discord: FakeDiscord, card: Message) -> str:
    """Press a button as a client does that has not heard of the card's end."""
    data = {"component_type": 2, "custom_id": card_buttons(card)[0].custom_id, "id": 1}
    late = discord.owner.forge(InteractionType.COMPONENT, card.channel_id, data, card)
    return await late.told()


async def test_a_kill_closes_the_cards_at_the_next_start_and_the_turn_can_be_continued(tmp_path: Path) -> None:
    """C4, C6, C1: texts stay in full, buttons go, a late press or form is told why, and the thread ages as before."""
    command = "make " + "x" * 3000
    ask = {"permission": {"tool": {"title": "make", "rawInput": {"command": command}}, "options": OPTIONS}, "then": {}}
    question = {"elicit": {"message": "Which?", "requestedSchema": FORM}, "wait": False}
    words = {"cut off": [{"text": "went on"}], "ask": [{"text": "Well. "}, question, ask]}
    agent = scenario(tmp_path, words=words, resume=True)
    async with connected(tmp_path, agent, WEFT_PERMISSION_TIMEOUT="90000") as (discord, bot):
        thread_id = await mention(discord, "ask")
        await discord.wait_for(lambda fd: cards(fd, thread_id) and cards(fd, thread_id, "❓"), timeout=LIMIT)
        (card,), (form,) = cards(discord, thread_id), cards(discord, thread_id, "❓")
        await discord.wait_for(lambda fd: fd.thread(thread_id).auto_archive_minutes == 10_080, timeout=LIMIT)
        kept = [(thread_id, key) for key in sorted((form.id, card.id))]
        await until_rows(tmp_path, "select thread_id, message_id from cards order by message_id", kept)
        opened = await discord.owner.click(form, form.components[0]["components"][0]["custom_id"])
        bot.process.kill()
        await bot.process.wait()
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            with anyio.fail_after(LIMIT):
                await again.logged("gateway.ready")
                for key in (card.id, form.id):
                    await discord.wait_for(partial(is_closed, key=key), timeout=LIMIT)
            closed = discord.message(card.id)
            above, _, last = closed.content.rpartition("\n")
            assert above == card.content.rpartition("\n")[0]
            assert last == "⏹ Ended when Weft restarted: *Continue* below runs the turn again."
            assert closed.attachments == card.attachments
            assert discord.message(form.id).content.rpartition("\n")[2] == last
            assert await press_late(discord, card) == RESTARTED
            submitted = await discord.owner.submit_modal(opened, f0="in vain")
            assert await submitted.told() == RESTARTED
            await until_rows(tmp_path, "select * from cards", [])
            assert discord.thread(thread_id).auto_archive_minutes == 1440
            notice = discord.messages(thread_id)[-1]
            assert notice.id > card.id
            await discord.owner.click(notice, f"weft:go:{thread_id}:{thread_id}")
            await until_answered(discord, thread_id, "went on")
            again.process.terminate()
            assert await again.ended() == 0
        assert rows(tmp_path, "select * from cards") == []
