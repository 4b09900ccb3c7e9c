"""Servers and channels, looked at in the loopback Discord."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from bot.config import Settings
from bot.ops.doctor.account import check_discord
from bot.ops.doctor.finding import Finding, Verdict
from bot.ops.doctor.objects import Guild, Member
from bot.ops.doctor.permissions import NEEDED, lacking, permitted
from bot.ops.doctor.places import MOST_PLACES, standing_of
from bot.sandbox import FakeDiscord
from bot.sandbox.model import ChannelType

OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL
ELSEWHERE = 100_000_000_000_000_009


async def look(discord: FakeDiscord, **settings: Any) -> list[Finding]:
    with anyio.fail_after(10):
        found = await check_discord(Settings(_env_file=None, **settings), discord.api_url, discord.token)
    return [finding for finding in found if finding.subject in ("servers", "server", "channel", "places")][1:]


@pytest.mark.asyncio
async def test_a_listed_channel_with_all_permissions_is_well() -> None:
    async with FakeDiscord() as discord:
        (found,) = await look(discord, allowed_channels=(discord.channel_id,))
    assert (found.verdict, found.text) == (OK, "#general in Sandbox: has all permissions")


@pytest.mark.parametrize(("bit", "name"), [(bit, name) for name, bit in NEEDED.items() if name != "View Channels"])
@pytest.mark.asyncio
async def test_each_permission_that_is_missing_in_a_channel_is_named(bit: int, name: str) -> None:
    """D1, D3, D4: one place where it all works keeps it a warning."""
    async with FakeDiscord() as discord:
        other = discord.add_channel("other")
        discord.deny(name.lower().replace(" ", "_"), discord.channel_id)
        first, second = await look(discord, allowed_channels=(discord.channel_id, other))
    assert (first.verdict, first.text) == (WARN, f"#general in Sandbox: lacks {name}")
    assert second.verdict is OK


@pytest.mark.asyncio
async def test_a_channel_that_weft_may_not_see_is_told() -> None:
    async with FakeDiscord() as discord:
        other = discord.add_channel("other")
        discord.deny("view_channel", other)
        _, found = await look(discord, allowed_channels=(discord.channel_id, other))
    assert (found.verdict, found.text) == (WARN, f"{other}: is not there, or Weft may not see it (View Channels)")


@pytest.mark.parametrize(
    ("permission", "verdict"), [("create_public_threads", FAIL), ("attach_files", WARN), ("add_reactions", WARN)]
)
@pytest.mark.asyncio
async def test_with_no_usable_place_left_the_bot_cannot_work(permission: str, verdict: Verdict) -> None:
    async with FakeDiscord() as discord:
        discord.deny(permission, discord.channel_id)
        (found,) = await look(discord, allowed_channels=(discord.channel_id,))
        assert found.verdict is verdict
        (found,) = await look(discord)
        assert found.verdict is verdict


@pytest.mark.asyncio
async def test_channels_that_can_never_do_are_told_with_why() -> None:
    """D2: a thread counts as its parent."""
    async with FakeDiscord() as discord:
        person = discord.owner
        thread = await discord.start_thread(person, await person.say(discord.channel_id, "hello"), "talk")
        found = await look(discord, allowed_channels=(discord.channel_id, thread.id))
        assert "is a thread: list its channel" in found[1].text
        found_elsewhere, *_ = await look(discord, allowed_guilds=(ELSEWHERE,), allowed_channels=(discord.channel_id,))
    assert "WEFT_ALLOWED_GUILDS does not list" in found_elsewhere.text


@pytest.mark.asyncio
async def test_a_forum_can_be_listed() -> None:
    async with FakeDiscord() as discord:
        forum = discord.add_channel("ideas", ChannelType.FORUM)
        (found,) = await look(discord, allowed_channels=(forum,))
    assert found.verdict is OK


@pytest.mark.asyncio
async def test_a_listed_server_without_the_bot_is_told() -> None:
    async with FakeDiscord() as discord:
        both = (discord.guild_id, ELSEWHERE)
        for channels in ((), (discord.channel_id,)):
            found = await look(discord, allowed_guilds=both, allowed_channels=channels)
            assert [finding.verdict for finding in found] == [OK, WARN]
            assert found[1].text == f"{ELSEWHERE}: Weft is not a member of it: invite it"


@pytest.mark.asyncio
async def test_a_bot_in_no_server_is_a_warning() -> None:
    async with FakeDiscord() as discord:
        await discord.remove_bot()
        found = await check_discord(Settings(_env_file=None), discord.api_url, discord.token)
    assert (found[-1].verdict, found[-1].subject) == (WARN, "servers")
    assert "in no server yet" in found[-1].text


@pytest.mark.asyncio
async def test_channels_that_weft_is_kept_out_of_are_no_fault_of_a_server() -> None:
    async with FakeDiscord() as discord:
        discord.deny("view_channel", discord.add_channel("staff"))
        discord.add_channel("ideas", ChannelType.FORUM)
        (found,) = await look(discord)
        assert (found.verdict, found.text) == (OK, "Sandbox: 1 of 2 text channels can be used; not #staff")
        discord.deny("attach_files", discord.channel_id)
        (found,) = await look(discord)
    assert (found.verdict, found.text) == (
        WARN,
        "Sandbox: 1 of 2 text channels can be used; not #staff; #general lacks Attach Files",
    )


@pytest.mark.asyncio
async def test_what_is_looked_at_is_bounded() -> None:
    async with FakeDiscord() as discord:
        channels = tuple(discord.add_channel(f"c{number}") for number in range(MOST_PLACES + 2))
        found = await look(discord, allowed_channels=channels)
        assert [finding.subject for finding in found] == [*["channel"] * MOST_PLACES, "places"]
        assert found[-1].text == "2 more were not looked at"
        assert len(discord.rest_calls("GET", f"/guilds/{discord.guild_id}")) == 2


NOW = datetime(2030, 1, 1, tzinfo=UTC)
GUILD = Guild.model_validate(
    {"id": "1", "owner_id": "9", "roles": [{"id": "1", "permissions": "1024"}, {"id": "3", "permissions": "2048"}]}
)


def test_everyone_s_role_is_the_bot_s_too() -> None:
    assert permitted(standing_of(2, GUILD, Member(roles=[]), NOW)) == 1024
    assert permitted(standing_of(2, GUILD, Member(roles=[3]), NOW)) == 1024 | 2048
    assert lacking(permitted(standing_of(9, GUILD, Member(roles=[]), NOW))) == []


@pytest.mark.parametrize(("seconds", "silenced"), [(1, True), (-1, False)])
def test_a_time_out_holds_until_it_is_over(seconds: int, silenced: bool) -> None:
    member = Member(roles=[], communication_disabled_until=NOW + timedelta(seconds=seconds))
    assert standing_of(2, GUILD, member, NOW).silenced is silenced
