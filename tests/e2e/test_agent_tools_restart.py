"""What agents' tools leave behind when the bot is killed: files are posted once, open questions say that they ended."""

from __future__ import annotations

import signal
from pathlib import Path

import anyio
import pytest

from bot.sandbox import FakeDiscord, Fault, Message
from tests.agents import ScriptedAgent, Step, scenario
from tests.e2e.play import LIMIT
from tests.e2e.process import Run, connected, mention, run, until_shown
from tests.e2e.tools import call, told

pytestmark = pytest.mark.asyncio

WRITE: Step = {"python": "open('a.txt', 'w').write('hello')"}


async def killed(bot: Run) -> None:
    bot.process.send_signal(signal.SIGKILL)
    await bot.process.wait()


async def until_told(agent: ScriptedAgent) -> None:
    with anyio.fail_after(LIMIT):
        while not told(agent):  # noqa: ASYNC110  another process writes the log
            await anyio.sleep(0.01)


def with_files(discord: FakeDiscord, thread_id: int) -> list[Message]:
    if all(thread.id != thread_id for thread in discord.threads()):
        return []
    return [message for message in discord.messages(thread_id) if message.attachments]


@pytest.mark.parametrize("posted", [False, True])
async def test_a_kill_loses_no_file_and_posts_none_twice(posted: bool, tmp_path: Path) -> None:
    """M2, F7, R2: with what was said about it, whether Discord had it already or not."""
    send = call("send_file", path="a.txt", caption="*Look*.")
    agent = scenario(tmp_path, [{"text": "word"}, WRITE, send, {"hang": True}], resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        if not posted:
            discord.faults.next("POST", r"/channels/\d+/messages$", Fault.delay(60.0), times=20)
        thread_id = await mention(discord, "go")
        await until_told(agent)
        if posted:
            await discord.wait_for(lambda fd: with_files(fd, thread_id), timeout=LIMIT)
        await killed(bot)
        discord.faults.clear()
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            with anyio.fail_after(LIMIT):
                await again.logged("turn.recovered")
            (message,) = with_files(discord, thread_id)
            assert [(one.name, one.content) for one in message.attachments] == [("a.txt", b"hello")]
            assert message.content == "*Look*.\n-# 📎 `a.txt`"
            again.process.terminate()
            assert await again.ended() == 0
        assert [path.name for path in (tmp_path / ".weft").rglob("a.txt")] == []


async def test_the_card_of_a_question_says_after_a_kill_that_it_ended(tmp_path: Path) -> None:
    """M2, C4"""
    agent = scenario(tmp_path, [{"text": "Well. "}, call("ask", question="Which?", options=["a", "b"])], resume=True)
    async with connected(tmp_path, agent) as (discord, bot):
        thread_id = await mention(discord, "go")
        await until_shown(discord, thread_id, "❓")
        (card,) = [one for one in discord.messages(thread_id) if "❓" in one.content]
        assert card.components
        await killed(bot)
        async with run(tmp_path, discord.api_url, discord.token, agent) as again:
            await discord.wait_for(lambda fd: not fd.message(card.id).components, timeout=LIMIT)
            last = discord.message(card.id).content.splitlines()[-1]
            assert last == "⏹ Ended when Weft restarted: *Continue* below runs the turn again."
            again.process.terminate()
            assert await again.ended() == 0
