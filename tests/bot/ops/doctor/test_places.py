"""Servers and channels, looked at in the loopback Discord, and permissions as the documentation computes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.config import Settings
from bot.ops.doctor.account import check_discord
from bot.ops.doctor.finding import Finding, Verdict
from bot.ops.doctor.places import (
    ADMINISTRATOR,
    ESSENTIAL,
    HISTORY,
    MOST_PLACES,
    NEEDED,
    VIEW,
    Standing,
    invite_link,
    lacking,
    permitted,
    standing_of,
)
from bot.ops.doctor.rest import Guild, Member, Overwrite
from bot.sandbox import FakeDiscord
from bot.sandbox.model import ChannelType

OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL
ELSEWHERE = 100_000_000_000_000_009


async def look(discord: FakeDiscord, **settings: Any) -> list[Finding]:
    with anyio.fail_after(30):
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
    assert (found.verdict, found.text) == (WARN, f"{other}: not found, or Weft may not see it (View Channels)")


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
async def test_a_forum_of_weft_s_is_told_with_the_tags_that_show_states_and_what_they_take() -> None:
    """S6: Manage Threads only where there are such tags."""
    async with FakeDiscord() as discord:
        tagged = discord.add_channel("asks", ChannelType.FORUM, tags=("bug", "Needs you", "done"))
        plain = discord.add_channel("ideas", ChannelType.FORUM)
        for forum in (tagged, plain):
            discord.deny("manage_threads", forum)
        settings = Settings(_env_file=None, forums=(tagged, plain, discord.channel_id, ELSEWHERE))
        found = await check_discord(settings, discord.api_url, discord.token)
        assert [(one.verdict, one.text) for one in found if one.subject == "forum"] == [
            (WARN, "#asks in Sandbox: lacks Manage Threads"),
            (OK, "#ideas in Sandbox: has no tags for states"),
            (WARN, f"{discord.channel_id}: is not a forum, and WEFT_FORUMS lists forums"),
            (WARN, f"{ELSEWHERE}: not found, or Weft may not see it (View Channels)"),
        ]
        discord.allow("manage_threads", tagged)
        for channels, text in (
            ((), "state tags needs you, done"),
            ((plain,), "WEFT_ALLOWED_CHANNELS does not list it, so posts there are refused"),
        ):
            settings = Settings(_env_file=None, forums=(tagged,), allowed_channels=channels)
            found = await check_discord(settings, discord.api_url, discord.token)
            assert found[-1].text == f"#asks in Sandbox: {text}"


@pytest.mark.asyncio
async def test_a_listed_server_without_the_bot_is_told() -> None:
    async with FakeDiscord() as discord:
        both = (discord.guild_id, ELSEWHERE)
        for channels in ((), (discord.channel_id,)):
            found = await look(discord, allowed_guilds=both, allowed_channels=channels)
            assert [finding.verdict for finding in found] == [OK, WARN]
            assert found[1].text == f"{ELSEWHERE}: Weft is not in this server: invite it with the link above"


@pytest.mark.asyncio
async def test_a_bot_in_no_server_is_a_warning() -> None:
    async with FakeDiscord() as discord:
        await discord.remove_bot()
        found = await check_discord(Settings(_env_file=None), discord.api_url, discord.token)
    assert (found[-1].verdict, found[-1].subject) == (WARN, "servers")
    assert "not in any server yet" in found[-1].text


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
        assert found[-1].text == "2 more were not checked"
        assert len(discord.rest_calls("GET", f"/guilds/{discord.guild_id}")) == 2


NOW = datetime(2030, 1, 1, tzinfo=UTC)
SERVER = Guild.model_validate(
    {"id": "1", "owner_id": "9", "roles": [{"id": "1", "permissions": "1024"}, {"id": "3", "permissions": "2048"}]}
)


def test_everyone_s_role_is_the_bot_s_too() -> None:
    assert permitted(standing_of(2, SERVER, Member(roles=[]), NOW)) == 1024
    assert permitted(standing_of(2, SERVER, Member(roles=[3]), NOW)) == 1024 | 2048
    assert lacking(permitted(standing_of(9, SERVER, Member(roles=[]), NOW))) == []


@pytest.mark.parametrize(("seconds", "silenced"), [(1, True), (-1, False)])
def test_a_time_out_holds_until_it_is_over(seconds: int, silenced: bool) -> None:
    member = Member(roles=[], communication_disabled_until=NOW + timedelta(seconds=seconds))
    assert standing_of(2, SERVER, member, NOW).silenced is silenced


GUILD, BOT, ROLE, OTHER_ROLE, STRANGER = 1, 2, 3, 4, 5
SEND = ESSENTIAL["Send Messages"]
FILES = NEEDED["Attach Files"]


def standing(everyone: int = VIEW | SEND, role: int = 0, **more: bool) -> Standing:
    return Standing(BOT, GUILD, {GUILD: everyone, ROLE: role, OTHER_ROLE: 0}, **more)


@pytest.mark.parametrize(
    ("base", "overwrites", "expected"),
    [
        (VIEW | SEND, [], VIEW | SEND),
        (VIEW, [Overwrite(id=GUILD, allow=SEND)], VIEW | SEND),
        (VIEW | SEND, [Overwrite(id=GUILD, deny=SEND)], VIEW),
        # A role goes before everyone, the member before its roles, whatever the order of the list.
        (VIEW, [Overwrite(id=ROLE, allow=SEND), Overwrite(id=GUILD, deny=SEND)], VIEW | SEND),
        (VIEW | SEND, [Overwrite(id=ROLE, deny=SEND), Overwrite(id=GUILD, allow=SEND)], VIEW),
        (VIEW | SEND, [Overwrite(id=BOT, deny=SEND), Overwrite(id=ROLE, allow=SEND)], VIEW),
        (VIEW, [Overwrite(id=BOT, allow=SEND), Overwrite(id=ROLE, deny=SEND)], VIEW | SEND),
        # Of two roles, the one that gives goes before the one that takes.
        (VIEW, [Overwrite(id=ROLE, allow=SEND), Overwrite(id=OTHER_ROLE, deny=SEND)], VIEW | SEND),
        (VIEW, [Overwrite(id=ROLE, deny=SEND), Overwrite(id=OTHER_ROLE, allow=SEND)], VIEW | SEND),
        # Within one overwrite, too.
        (VIEW, [Overwrite(id=ROLE, allow=SEND, deny=SEND)], VIEW | SEND),
        # What is meant for others changes nothing.
        (VIEW | SEND, [Overwrite(id=STRANGER, deny=VIEW | SEND)], VIEW | SEND),
        # Who can't see a channel can do nothing in it.
        (VIEW | SEND | FILES, [Overwrite(id=GUILD, deny=VIEW)], 0),
        (SEND | FILES, [], 0),
        (SEND, [Overwrite(id=BOT, allow=VIEW)], VIEW | SEND),
    ],
)
def test_overwrites_apply_in_the_documented_order(base: int, overwrites: list[Overwrite], expected: int) -> None:
    assert expected == permitted(standing(base), overwrites)


def test_roles_are_joined() -> None:
    assert permitted(standing(VIEW, role=SEND)) == VIEW | SEND


@pytest.mark.parametrize("high", [standing(0, ADMINISTRATOR), standing(0, is_owner=True)])
def test_owners_and_administrators_may_do_everything(high: Standing) -> None:
    assert lacking(permitted(high, [Overwrite(id=BOT, deny=VIEW | SEND)])) == []


def test_a_time_out_leaves_only_seeing_and_reading() -> None:
    base = sum(NEEDED.values())
    assert permitted(standing(base, silenced=True)) == VIEW | HISTORY


def test_a_time_out_does_not_touch_administrators() -> None:
    assert lacking(permitted(standing(0, ADMINISTRATOR, silenced=True))) == []


@pytest.mark.parametrize("name", NEEDED)
def test_each_permission_that_is_missing_is_named(name: str) -> None:
    assert lacking(sum(NEEDED.values()) & ~NEEDED[name]) == [name]


def test_the_invitation_asks_for_what_is_needed_and_no_more() -> None:
    link = invite_link(123)
    assert link == (
        "https://discord.com/oauth2/authorize?client_id=123&scope=bot+applications.commands&permissions=309237746752"
    )


def test_the_page_on_configuration_has_the_same_invitation() -> None:
    page = Path(__file__).parents[4] / "docs" / "configuration.md"
    assert invite_link(0).replace("client_id=0", "client_id=APPLICATION_ID") in page.read_text()
