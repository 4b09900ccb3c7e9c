"""Direct messages as the client takes them: live, edited, and after a gap."""

from __future__ import annotations

import pytest

from bot.chat.authorize import Policy, Reason
from bot.sandbox import FakeDiscord
from tests.bot.chat.harness import running_chat
from tests.pool.memory import MemoryStore


@pytest.mark.asyncio
@pytest.mark.usefixtures("no_pause_before_identify")
async def test_direct_messages_are_prompts_of_one_conversation_live_after_a_gap_and_after_a_restart() -> None:
    """S7, D2, R2, Q5: who is let in by a role alone has no say there, as there are none."""
    async with FakeDiscord() as fd:
        crew = fd.add_role("crew")
        alice, carol = fd.user("alice"), fd.user("carol", roles=[crew])
        policy = Policy(channels=frozenset({1}), users=frozenset({alice.id}), roles=frozenset({crew}), direct=True)
        store = MemoryStore()
        async with running_chat(fd, policy, seen=store) as chat:
            await chat.caught_up()
            mine, hers = fd.open_dm(alice), fd.open_dm(carol)
            first = await alice.say(mine, "first")
            inbound = await chat.dispatcher.inbound()
            assert (inbound.thread_id, inbound.channel_id, inbound.guild_id) == (mine, mine, None)
            assert (inbound.opens_thread, inbound.conversation, inbound.parent_id) == (False, None, None)
            await alice.edit(first, "first, changed")
            await chat.dispatcher.wait(lambda one: ("edited", first.id, "first, changed") in one.revisions)
            await carol.say(hers, "hello")
            await fd.wait_for(lambda _: [one.content for one in fd.messages(hers)][1:] == [Reason.UNLISTED])
            async with chat.gap():
                missed = await alice.say(mine, "missed")
                await carol.say(hers, "again")
            second = await chat.dispatcher.inbound(2)
            assert (second.message_id, second.thread_id) == (missed.id, mine)
            await alice.say(mine, "stop")
            await chat.dispatcher.wait(lambda one: ("stop", mine, alice.id, None) in one.calls)
            assert len(chat.dispatcher.inbounds) == 2
        away = await alice.say(mine, "while you were away")
        async with running_chat(fd, policy, seen=store) as chat:
            await chat.caught_up()
            assert [(one.message_id, one.thread_id) for one in chat.dispatcher.inbounds] == [(away.id, mine)]
            fd.assert_clean()
