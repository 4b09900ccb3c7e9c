"""Who is on the demo's server, and what each of them may do there."""

from __future__ import annotations

import pytest

from bot.demo.cast import make_cast
from bot.sandbox import FakeDiscord
from tests.bot.sandbox.person import client_of

pytestmark = pytest.mark.asyncio


async def test_members_write_and_read_and_moderate_nothing() -> None:
    async with FakeDiscord() as discord:
        cast = make_cast(discord)
        _, ana, _, sam = cast.people
        said = await ana.say(discord.channel_id, "hello")
        private = await discord.start_private_thread(ana, discord.channel_id, "private")
        message = f"/channels/{discord.channel_id}/messages/{said.id}"
        async with client_of(discord, sam, connects=False) as client:
            assert (await client.post(discord.channel_id)).status == 200
            assert (await client.call("PUT", f"{message}/reactions/\U0001f440/@me")).status == 204
            refused = {
                ("DELETE", message): 50013,
                ("DELETE", f"/channels/{cast.forum}"): 50013,
                ("PATCH", f"/channels/{discord.channel_id}"): 50013,
                ("GET", f"/channels/{private.id}/messages"): 50001,
            }
            found = {
                one: (await client.call(*one, {"name": "x"} if one[0] == "PATCH" else None)).code for one in refused
            }
        assert found == refused
