"""People's clients beside the bot: whose request it is, what each may do, and what of it is held against the bot."""

import io
import math

import aiohttp
import pytest

from bot.sandbox import FakeDiscord, RateLimits, status
from tests.bot.sandbox.client import connected
from tests.bot.sandbox.person import client_of
from tests.bot.sandbox.raw import raw_client

pytestmark = pytest.mark.asyncio

TYPED = {"name": "text", "description": "x", "type": 3, "autocomplete": True}


async def test_a_person_acts_over_rest_as_themselves_and_the_bot_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot), client_of(fd, fd.user("alice"), connects=False) as alice:
        me = await alice.call("GET", "/users/@me")
        (guild,) = (await alice.call("GET", "/users/@me/guilds")).data
        posted = await alice.post(fd.channel_id, f"<@{fd.bot_user.id}> hello", nonce="12")
        await bot.wait_until(lambda b: b.seen)

        assert me.data["id"] == str(alice.person.id)
        assert me.data["bot"] is False
        assert int(guild["permissions"]) == fd.state.granted(alice.person.id)
        assert posted.data["author"]["username"] == "alice"
        assert posted.data["nonce"] == "12"
        assert bot.seen[0].author.name == "alice"
        assert bot.seen[0].mentions == [bot.user]
        assert not fd.rest_calls(path_contains="/messages")
        fd.assert_clean()


async def test_what_people_ask_for_meets_no_fault_no_limit_and_no_judgement_of_the_bot() -> None:
    async with raw_client(rate_limits=RateLimits.REAL) as (fd, raw), client_of(fd, fd.owner, connects=False) as owner:
        fd.faults.next("POST", "/messages", status(500))
        answers = [await owner.post(fd.channel_id, f"{n} @everyone") for n in range(7)]
        assert [one.status for one in answers] == [200] * 7
        assert (await owner.post(fd.channel_id, "")).code == 50006
        assert (await raw.post(fd.channel_id)).status == 500
        fd.assert_clean(allow=[500])

        fd.limiter.limit_people = True
        limited = [await owner.post(fd.channel_id, str(n)) for n in range(6)]
        assert [one.status for one in limited] == [200] * 5 + [429]
        assert limited[5].headers["Retry-After"]
        assert (await raw.post(fd.channel_id)).status == 200


@pytest.mark.parametrize(
    ("authorization", "http_status"),
    [("{bot}", 401), ("Bot {person}", 401), ("Bearer {person}", 401), ("", 401), ("{person}", 200), ("Bot {bot}", 200)],
)
async def test_a_token_counts_in_its_own_form_alone(authorization: str, http_status: int) -> None:
    async with raw_client() as (fd, _), client_of(fd, fd.owner, connects=False) as owner:
        owner.token = authorization.format(bot=fd.token, person=owner.token)
        assert (await owner.call("GET", "/users/@me")).status == http_status


async def test_some_routes_are_for_bots_and_some_for_people() -> None:
    async with raw_client() as (fd, raw), client_of(fd, fd.owner, connects=False) as owner:
        for path in ("/gateway/bot", "/applications/@me", f"/applications/{fd.application_id}/commands"):
            assert (await owner.call("GET", path)).code == 20002
        assert (await raw.call("GET", "/users/@me/channels")).code == 20001
        assert len(fd.token_of(fd.owner)) > 40
        assert fd.token_of(fd.owner) != fd.token_of(fd.user("alice"))


async def test_people_are_held_to_what_the_place_and_their_roles_give() -> None:
    async with raw_client() as (fd, _), client_of(fd, fd.user("alice"), connects=False) as alice:
        place, message = fd.channel_id, await fd.owner.say(fd.channel_id, "theirs")
        hidden = fd.add_channel("hidden")
        fd.overwrite(hidden, fd.guild_id, deny=["view_channel"])
        secret = await fd.owner.say(hidden, "secret")
        fd.overwrite(place, alice.person.id, deny=["send_messages", "manage_messages", "add_reactions"])
        one = f"/channels/{place}/messages/{message.id}"
        refused = {
            ("GET", f"/channels/{hidden}"): 50001,
            ("GET", f"/channels/{hidden}/messages"): 50001,
            ("GET", f"/channels/{hidden}/messages/{secret.id}"): 50001,
            ("POST", f"/channels/{hidden}/messages"): 50001,
            ("POST", f"/channels/{place}/messages"): 50013,
            ("POST", f"/channels/{place}/typing"): 50013,
            ("PATCH", one): 50005,
            ("DELETE", one): 50013,
            ("PUT", f"{one}/reactions/👀/@me"): 50013,
            ("GET", f"/guilds/{fd.guild_id}/members/1"): 10007,
            ("GET", f"/channels/{place}/messages/{secret.id}"): 10008,
        }
        found = {key: (await alice.call(*key, {"content": "x"} if key[0] != "GET" else None)).code for key in refused}
        assert found == refused
        listed = await alice.call("GET", f"/guilds/{fd.guild_id}/channels")
        assert [one["name"] for one in listed.data] == ["general"]

        fd.kick(alice.person)
        assert (await alice.call("GET", "/users/@me/guilds")).data == []
        assert (await alice.call("GET", f"/guilds/{fd.guild_id}")).code == 10004
        assert (await alice.call("GET", f"/channels/{place}")).code == 50001


async def test_members_are_found_by_the_beginning_of_their_names() -> None:
    async with FakeDiscord() as fd, client_of(fd, fd.user("Alice"), connects=False) as alice:
        fd.user("Albert")
        fd.kick(fd.user("Alina"))
        path = f"/guilds/{fd.guild_id}/members/search"
        found = await alice.call("GET", path, query="AL", limit="10")
        assert [one["user"]["username"] for one in found.data] == ["Alice", "Albert"]
        assert len((await alice.call("GET", path, query="al")).data) == 1
        assert (await alice.call("GET", path, query="", limit="5")).code == 50035
        assert (await alice.call("GET", path, query="a", limit="1001")).code == 50035


async def test_a_page_of_a_long_channel_is_that_of_the_whole_history() -> None:
    async with FakeDiscord() as fd, client_of(fd, fd.owner, connects=False) as owner:
        ids = [(await fd.owner.say(fd.channel_id, str(n))).id for n in range(12)]
        await fd.delete_message(ids.pop(3))
        await fd.delete_messages(fd.channel_id, [ids.pop(7), ids.pop(7)])

        async def page(**query: object) -> list[int]:
            path = f"/channels/{fd.channel_id}/messages"
            answer = await owner.call("GET", path, None, **{name: str(value) for name, value in query.items()})
            return [int(one["id"]) for one in answer.data]

        assert await page() == ids[::-1]
        assert await page(limit=3) == ids[:-4:-1]
        assert await page(limit=3, before=ids[4]) == ids[3:0:-1]
        assert await page(limit=2, after=ids[4]) == [ids[6], ids[5]]
        assert await page(limit=4, around=ids[4]) == ids[5:1:-1]
        assert await page(limit=1, around=ids[4]) == [ids[4]]
        assert [one.id for one in fd.messages(fd.channel_id)] == ids


async def test_what_would_break_others_connections_reaches_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python alone reads NaN and endless numbers; the bot would lose its connection, and again at each RESUME."""
    async with connected(monkeypatch) as (fd, bot), client_of(fd, fd.user("eve")) as eve:
        command = {"name": "go", "description": "x", "options": [TYPED, {**TYPED, "name": "other", "type": 10}]}
        scope = f"/applications/{fd.application_id}/commands"
        async with aiohttp.ClientSession(headers={"Authorization": f"Bot {fd.token}"}) as session:
            made = await (await session.post(fd.api_url + scope, json=command)).json()
        refused = [(value, 50109) for value in (math.nan, math.inf, -math.inf)] + [({}, 50035), ("x" * 6001, 50035)]
        for value, code in refused:
            typed = [{"name": "other", "type": 10, "value": value}, {**TYPED, "value": "x", "focused": True}]
            form = {"type": 4, "application_id": str(fd.application_id), "guild_id": str(fd.guild_id)}
            form |= {"channel_id": str(fd.channel_id), "data": {"id": made["id"], "name": "go", "options": typed}}
            assert (await eve.call("POST", "/interactions", form)).code == code
        assert (await eve.post(fd.channel_id, "", sticker_ids=[math.nan])).code == 50109
        assert (await eve.post(fd.channel_id, nonce=10**25)).code == 50035
        await eve.post(fd.channel_id, "after all of it")
        await bot.wait_until(lambda b: b.seen)
        assert [one.content for one in bot.seen] == ["after all of it"]
        assert fd.gateway.resumes == 0


async def test_a_server_that_stays_open_forgets_old_requests() -> None:
    async with raw_client(requests_kept=2) as (fd, raw):
        for text in ("1", "2", "3"):
            await raw.post(fd.channel_id, text)
        assert [one.body["content"] for one in fd.rest_calls()] == ["2", "3"]


async def test_nobody_unknown_has_anything_kept() -> None:
    async with raw_client() as (fd, _), client_of(fd, fd.user("eve"), connects=False) as eve:
        eve.token = "x"
        assert (await eve.post(fd.channel_id, "x" * 500_000)).status == 401
        assert [one.body for one in fd.rest_calls()] == [None]


async def test_a_form_is_as_large_as_a_request_may_be_and_no_larger() -> None:
    async with FakeDiscord() as fd, client_of(fd, fd.user("eve"), connects=False) as eve:
        path = f"/channels/{fd.channel_id}/messages"
        for count, status in ((2, 200), (3, 413)):
            files = [(f"{n}.bin", io.BytesIO(bytes(9_000_000))) for n in range(count)]
            assert (await eve.call("POST", path, {}, files=files)).status == status
        assert (await eve.post(fd.channel_id, "x" * 600_000)).code == 40005
        named = {"attachments": [{"id": 0, "filename": "n" * 261}]}
        assert (await eve.call("POST", path, named, files=[("a", io.BytesIO(b"x"))])).code == 50035
