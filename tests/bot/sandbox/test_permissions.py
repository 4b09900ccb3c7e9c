"""What the bot may do by the bits of its invite, of roles and of channels: computed as discord.py computes it."""

import discord
import pytest

from bot.sandbox import FakeDiscord
from bot.sandbox.model import PERMISSIONS
from tests.bot.sandbox.client import Bot, connected

pytestmark = pytest.mark.asyncio

NEEDED = ("view_channel", "send_messages", "read_message_history")


def both(fd: FakeDiscord, bot: Bot, channel_id: int) -> tuple[set[str], set[str]]:
    """The bot's permissions in a channel as the loopback and as discord.py have them."""
    channel = bot.get_channel(channel_id)
    assert isinstance(channel, discord.TextChannel)
    ours = fd.state.permissions(fd.bot_user.id, fd.state.channel(channel_id))
    theirs = channel.permissions_for(channel.guild.me).value
    return named(ours), named(theirs)


def named(bits: int) -> set[str]:
    return {name for name, bit in PERMISSIONS.items() if bits & bit}


async def test_the_bits_of_the_invite_decide_where_everyone_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        fd.edit_role(fd.guild_id)
        fd.invite(*NEEDED)
        await bot.wait_until(lambda b: "guild_role_update" in b.names() and "member_update" in b.names())
        channel = bot.get_channel(fd.channel_id)
        assert isinstance(channel, discord.TextChannel)
        message = await channel.send("hello")
        with pytest.raises(discord.Forbidden) as thread:
            await message.create_thread(name="no")
        with pytest.raises(discord.Forbidden) as reaction:
            await message.add_reaction("👀")
        with pytest.raises(discord.Forbidden) as archive:
            await channel.edit(name="other")

        assert [one.value.code for one in (thread, reaction, archive)] == [50013] * 3
        assert both(fd, bot, fd.channel_id) == (set(NEEDED), set(NEEDED))
        assert channel.guild.me.guild_permissions.value == fd.state.granted(fd.bot_user.id)
        assert channel.guild.self_role is not None


async def test_a_channel_gives_and_takes_by_everyone_then_roles_then_the_member(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with connected(monkeypatch) as (fd, bot):
        role, other = fd.invite(*NEEDED), fd.invite()
        fd.overwrite(fd.channel_id, fd.guild_id, deny=("send_messages", "add_reactions", "attach_files"))
        fd.overwrite(fd.channel_id, role, allow=("send_messages",), deny=("embed_links",))
        fd.overwrite(fd.channel_id, other, allow=("embed_links",), deny=("send_messages",))
        fd.overwrite(fd.channel_id, fd.bot_user.id, allow=("add_reactions",), deny=("create_public_threads",))
        await bot.wait_until(lambda b: b.names().count("guild_channel_update") == 4)
        await bot.wait_until(lambda b: b.names().count("member_update") == 2)
        ours, theirs = both(fd, bot, fd.channel_id)

        assert ours == theirs
        assert {"send_messages", "embed_links", "add_reactions"} < ours
        assert not {"attach_files", "create_public_threads"} & ours


async def test_a_hidden_channel_hides_its_threads_and_an_administrator_sees_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with connected(monkeypatch) as (fd, bot):
        alice = fd.user("alice")
        thread = await fd.start_thread(alice, await alice.say(fd.channel_id, "topic"), "topic")
        fd.overwrite(fd.channel_id, fd.guild_id, deny=("view_channel",))
        with pytest.raises(discord.Forbidden) as hidden:
            await bot.get_partial_messageable(thread.id).send("?")
        fd.edit_role(fd.invite(), "administrator")
        await bot.get_partial_messageable(thread.id).send("!")

        assert hidden.value.code == 50001
        assert fd.messages(thread.id)[-1].content == "!"
