"""What Discord refuses, this refuses too, with the same status and code."""

import io
from typing import Any

import aiohttp
import pytest

from bot.sandbox.model import EVERYONE_PERMISSIONS
from tests.bot.sandbox.raw import raw_client

pytestmark = pytest.mark.asyncio


def button(custom_id: str = "x", **more: Any) -> dict[str, Any]:
    return {"type": 2, "style": 1, "label": "x", "custom_id": custom_id, **more}


def row(*components: dict[str, Any]) -> dict[str, Any]:
    return {"type": 1, "components": list(components)}


TOO_MUCH: list[dict[str, Any]] = [
    {"content": "x" * 2001},
    {"content": "😀" * 1001},
    {"content": 7},
    {"nonce": "n" * 26},
    {"components": [row(button(str(n))) for n in range(6)]},
    {"components": [row(*(button(str(n)) for n in range(6)))]},
    {"components": [row()]},
    {"components": [button()]},
    {"components": [row(button("x" * 101))]},
    {"components": [row(button(""))]},
    {"components": [row(button(), button())]},
    {"components": [row(button(label="x" * 81))]},
    {"components": [row(button(label=None))]},
    {"components": [row({"type": 2, "style": 5, "label": "no url"})]},
    {"embeds": [{"title": "x"}] * 11},
    {"embeds": [{"description": "x" * 4097}]},
    {"embeds": [{"description": "x" * 4000}, {"description": "x" * 2001}]},
    {"flags": 1 << 15, "components": [{"type": 10, "content": "x"}]},
    {"flags": 1 << 15, "content": "", "components": [{"type": 10, "content": "x"}] * 41},
    {"flags": 1 << 15, "content": "", "components": [{"type": 10, "content": "x" * 4001}]},
    {"message_reference": {"message_id": 1}},
]


@pytest.mark.parametrize("body", TOO_MUCH)
async def test_a_message_body_out_of_bounds_is_refused_with_50035(body: dict[str, Any]) -> None:
    async with raw_client() as (fd, raw):
        answer = await raw.post(fd.channel_id, **{"content": "text", **body})

        assert (answer.status, answer.code) == (400, 50035)
        assert answer.data["errors"]
        assert fd.messages(fd.channel_id) == []


JUST_RIGHT: list[dict[str, Any]] = [
    {"content": "x" * 2000},
    {"content": "😀" * 1000},
    {"nonce": "n" * 25},
    {"components": [row(*(button(f"{r}{n}") for n in range(5))) for r in range(5)]},
    {"components": [row(button("x" * 100))]},
    {"embeds": [{"description": "x" * 4096}]},
    {"flags": 1 << 15, "content": "", "components": [{"type": 10, "content": "x" * 4000}]},
    {"message_reference": {"message_id": 1, "fail_if_not_exists": False}},
]


@pytest.mark.parametrize("body", JUST_RIGHT)
async def test_a_message_body_at_its_bounds_is_taken(body: dict[str, Any]) -> None:
    async with raw_client() as (fd, raw):
        assert (await raw.post(fd.channel_id, **{"content": "text", **body})).status == 200
        fd.assert_clean()


@pytest.mark.parametrize("content", ["", "  \n", None])
async def test_an_empty_message_is_refused_with_50006(content: str | None) -> None:
    async with raw_client() as (fd, raw):
        sent = await raw.post(fd.channel_id)
        created, edited = await raw.post(fd.channel_id, content), await raw.edit(fd.channel_id, sent.id, content)

        assert (created.status, created.code) == (400, 50006)
        assert (edited.status, edited.code) == (400, 50006)


async def test_what_does_not_exist_is_unknown() -> None:
    async with raw_client() as (fd, raw):
        other = fd.add_channel("other")
        here = await raw.post(fd.channel_id)

        assert (await raw.post(1)).code == 10003
        assert (await raw.edit(fd.channel_id, 1)).code == 10008
        assert (await raw.edit(other, here.id)).code == 10008
        assert (await raw.call("GET", "/guilds/1")).code == 10004
        assert (await raw.call("GET", "/users/1")).code == 10013
        assert (await raw.call("GET", f"/guilds/{fd.guild_id}/members/1")).code == 10007
        assert (await raw.call("GET", "/no/such/route")).status == 404


async def test_the_message_of_another_author_cannot_be_edited() -> None:
    async with raw_client() as (fd, raw):
        said = await fd.user("alice").say(fd.channel_id, "mine")
        answer = await raw.edit(fd.channel_id, said.id)

        assert (answer.status, answer.code) == (403, 50005)


DENIED = [
    ("send_messages", "POST", "/messages", {"content": "hi"}),
    ("create_public_threads", "POST", "/messages/{message}/threads", {"name": "t"}),
    ("add_reactions", "PUT", "/messages/{message}/reactions/👀/@me", None),
    ("read_message_history", "GET", "/messages", None),
    ("manage_messages", "DELETE", "/messages/{message}", None),
    ("manage_channels", "PATCH", "", {"name": "new"}),
]


@pytest.mark.parametrize(("permission", "method", "path", "body"), DENIED)
async def test_a_denied_permission_is_refused_with_50013(permission: str, method: str, path: str, body: Any) -> None:
    async with raw_client() as (fd, raw):
        said = await fd.user("alice").say(fd.channel_id, "hi")
        target = f"/channels/{fd.channel_id}" + path.format(message=said.id)
        fd.deny(permission, fd.channel_id)
        answer = await raw.call(method, target, body)
        fd.allow(permission, fd.channel_id)

        assert (answer.status, answer.code) == (403, 50013)
        assert (await raw.call(method, target, body)).status < 300


async def test_a_denial_of_the_parent_holds_in_its_threads() -> None:
    async with raw_client() as (fd, raw):
        message = await raw.post(fd.channel_id)
        thread = await raw.thread(fd.channel_id, message.id)
        fd.deny("send_messages_in_threads", fd.channel_id)

        assert (await raw.post(thread.id)).code == 50013
        fd.deny("view_channel", fd.channel_id)
        assert (await raw.post(thread.id)).code == 50001


async def test_a_bad_token_is_refused_with_401_and_changes_nothing() -> None:
    async with raw_client() as (fd, raw):
        answer = await raw.call("POST", f"/channels/{fd.channel_id}/messages", {"content": "x"}, token="nope")

        assert (answer.status, answer.code) == (401, 0)
        assert fd.messages(fd.channel_id) == []


@pytest.mark.parametrize("body", [{"components": [7]}, {"embeds": ["x"]}, {"attachments": 1}, {"message_reference": 1}])
async def test_a_body_of_a_wrong_shape_is_refused_and_logged(body: Any) -> None:
    async with raw_client() as (fd, raw):
        assert (await raw.post(fd.channel_id, **body)).code == 50035
        with pytest.raises(AssertionError, match="code 50035"):
            fd.assert_clean()


async def test_a_file_above_10_mib_is_refused() -> None:
    async with raw_client() as (fd, _raw), aiohttp.ClientSession() as session:
        form = aiohttp.FormData()
        form.add_field("files[0]", io.BytesIO(bytes(10 * 1024 * 1024 + 1)), filename="big.bin")
        url = f"{fd.api_url}/channels/{fd.channel_id}/messages"
        async with session.post(url, data=form, headers={"Authorization": f"Bot {fd.token}"}) as response:
            assert response.status == 413
            assert (await response.json())["code"] == 40005


async def test_broken_json_is_refused_with_50109() -> None:
    async with raw_client() as (fd, _raw), aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bot {fd.token}", "Content-Type": "application/json"}
        url = f"{fd.api_url}/channels/{fd.channel_id}/messages"
        async with session.post(url, data=b"{", headers=headers) as response:
            assert response.status == 400
            assert (await response.json())["code"] == 50109


async def test_mentions_follow_allowed_mentions() -> None:
    async with raw_client() as (fd, raw):
        alice = fd.user("alice")
        text = f"<@{alice.id}> @everyone"
        silent = await raw.post(fd.channel_id, text)
        loud = await raw.post(fd.channel_id, text, allowed_mentions={"parse": ["users", "everyone"]})
        named = await raw.post(fd.channel_id, text, allowed_mentions={"parse": [], "users": [str(alice.id)]})

        assert (silent.data["mentions"], silent.data["mention_everyone"]) == ([], False)
        assert ([one["id"] for one in loud.data["mentions"]], loud.data["mention_everyone"]) == ([str(alice.id)], True)
        assert len(named.data["mentions"]) == 1


async def test_history_is_always_newest_first() -> None:
    async with raw_client() as (fd, raw):
        ids = [(await raw.post(fd.channel_id, str(number))).id for number in range(5)]
        path = f"/channels/{fd.channel_id}/messages"

        async def page(**query: str) -> list[str]:
            return [one["content"] for one in (await raw.call("GET", path, **query)).data]

        assert await page(limit="2") == ["4", "3"]
        assert await page(after=str(ids[0]), limit="2") == ["2", "1"]
        assert await page(before=str(ids[3]), limit="2") == ["2", "1"]
        assert await page(around=str(ids[2]), limit="3") == ["3", "2", "1"]
        assert (await raw.call("GET", path, limit="101")).code == 50035


async def test_bulk_delete_takes_2_to_100_messages() -> None:
    async with raw_client() as (fd, raw):
        ids = [str((await raw.post(fd.channel_id)).id) for _ in range(3)]
        path = f"/channels/{fd.channel_id}/messages/bulk-delete"

        assert (await raw.call("POST", path, {"messages": ids[:1]})).code == 50035
        assert (await raw.call("POST", path, {"messages": ids[:2]})).status == 204
        assert [str(one.id) for one in fd.messages(fd.channel_id)] == ids[2:]


async def test_ids_never_repeat_and_never_go_back() -> None:
    async with raw_client(wall=lambda: 1_700_000_000.0) as (fd, raw):
        ids = [(await raw.post(fd.channel_id)).id for _ in range(5)]

        assert ids == sorted(set(ids))


async def test_the_bot_s_list_of_servers_is_empty_once_it_is_thrown_out() -> None:
    async with raw_client() as (fd, raw):
        (guild,) = (await raw.call("GET", "/users/@me/guilds")).data
        assert guild == {
            "id": str(fd.guild_id),
            "name": "Sandbox",
            "icon": None,
            "banner": None,
            "owner": False,
            "permissions": str(EVERYONE_PERMISSIONS),
            "features": [],
        }
        await fd.remove_bot()
        assert (await raw.call("GET", "/users/@me/guilds")).data == []
        assert (await raw.call("GET", f"/guilds/{fd.guild_id}")).code == 10004


async def test_how_many_sessions_may_be_begun_is_told() -> None:
    async with raw_client() as (fd, raw):
        fd.state.session_starts = 7
        limit = (await raw.call("GET", "/gateway/bot")).data["session_start_limit"]
        assert limit == {"total": 1000, "remaining": 7, "reset_after": 14_400_000, "max_concurrency": 1}


async def test_what_only_the_gateway_tells_of_a_server_is_not_in_its_rest_answer() -> None:
    async with raw_client() as (fd, raw):
        path = f"/guilds/{fd.guild_id}"
        plain, counted = (await raw.call("GET", path)).data, (await raw.call("GET", path, with_counts="true")).data

        assert not {"channels", "members", "threads", "member_count", "joined_at", "large"} & plain.keys()
        assert counted == {**plain, "approximate_member_count": 2, "approximate_presence_count": 2}


async def test_each_component_gets_an_id_and_keeps_a_chosen_one() -> None:
    async with raw_client() as (fd, raw):
        rows = [{**row(button("a"), button("b", id=7)), "id": 0}, row(button("c", id=1))]
        answered = (await raw.post(fd.channel_id, components=rows)).data["components"]

        assert [one["id"] for one in answered] == [2, 4]
        assert [one["id"] for held in answered for one in held["components"]] == [3, 7, 1]
