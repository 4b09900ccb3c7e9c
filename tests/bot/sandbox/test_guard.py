"""Who may talk to the loopback Discord: programs of this machine and its own page, and no other web site."""

from __future__ import annotations

import aiohttp
import pytest

from bot.sandbox import FakeDiscord

pytestmark = pytest.mark.asyncio

ROUTES = [
    "/",
    "/page/index.html",
    "/api/v10/gateway",
    "/gateway",
    "/_sandbox/info",
    "/attachments/1/2/a.txt",
    "/nothing",
]


async def statuses(fd: FakeDiscord, **headers: str) -> set[int]:
    """What all kinds of routes answer to a request with these headers, the key included."""
    async with aiohttp.ClientSession(headers={**fd.key_header, **headers}) as session:
        return {(await session.get(fd.url + route, allow_redirects=False)).status for route in ROUTES}


async def test_a_foreign_name_that_leads_here_reaches_nothing() -> None:
    async with FakeDiscord() as fd:
        port = int(fd.url.rpartition(":")[2])
        for host in (
            f"rebound.example:{port}",
            "rebound.example",
            "127.0.0.1",
            f"127.0.0.1:{port - 1}",
            f"[::1]:{port}",
        ):
            assert await statuses(fd, Host=host) == {403}, host
        for host in (f"127.0.0.1:{port}", f"LocalHost:{port}"):
            assert 403 not in await statuses(fd, Host=host), host


async def test_a_bot_elsewhere_is_led_to_the_address_that_leads_here() -> None:
    async with FakeDiscord() as fd, aiohttp.ClientSession(headers={"Authorization": f"Bot {fd.token}"}) as session:
        fd.go_by("Relay.example:81")
        assert 403 not in await statuses(fd, Host="relay.example:81")
        assert await statuses(fd, Host="relay.example:82") == {403}
        async with session.get(f"{fd.api_url}/gateway/bot") as answer:
            assert (await answer.json())["url"] == "ws://Relay.example:81/gateway"
        message = await fd.owner.say(fd.channel_id, "look", files=[("a.txt", b"a")])
        async with session.get(f"{fd.api_url}/channels/{fd.channel_id}/messages/{message.id}") as answer:
            (attachment,) = (await answer.json())["attachments"]
        assert attachment["url"].startswith("http://Relay.example:81/attachments/")


async def test_a_foreign_site_reaches_nothing_whatever_its_browser_tells_of_it() -> None:
    async with FakeDiscord() as fd:
        port = fd.url.rpartition(":")[2]
        for origin in (
            "https://evil.example",
            "null",
            "http://127.0.0.1:1",
            f"http://localhost:{port}",
            f"https://127.0.0.1:{port}",
        ):
            assert await statuses(fd, Origin=origin) == {403}, origin
        assert await statuses(fd, **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}) == {403}
        assert 403 not in await statuses(fd, Origin=fd.url, **{"Sec-Fetch-Site": "same-origin"})


async def test_a_link_from_elsewhere_leads_to_the_page_alone() -> None:
    async with FakeDiscord() as fd, aiohttp.ClientSession() as session:
        found = [
            (await session.get(fd.url + route, headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": into})).status
            for route, into in (("/", "document"), ("/", "iframe"), ("/_sandbox/info", "document"))
        ]
    assert found == [200, 403, 403]


async def test_a_foreign_site_gets_no_websocket_and_cannot_write_without_being_asked() -> None:
    """A form or a simple request needs no leave beforehand from the server, and a websocket never does."""
    async with FakeDiscord() as fd, aiohttp.ClientSession() as session:
        foreign = {"Origin": "https://evil.example"}
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(fd.gateway_url, headers=foreign)
        asked = await session.options(
            fd.api_url + "/gateway", headers={**foreign, "Access-Control-Request-Method": "GET"}
        )
        written = await session.post(
            f"{fd.url}/_sandbox/say",
            data='{"text": "hello"}',
            headers={**foreign, **fd.key_header, "Content-Type": "text/plain"},
        )
        async with session.ws_connect(fd.gateway_url, headers={"Origin": fd.url}) as own:
            assert (await own.receive_json())["op"] == 10
    assert (refused.value.status, asked.status, written.status) == (403, 403, 403)
    assert not any(name.startswith("Access-Control") for name in asked.headers)
    assert fd.messages(fd.channel_id) == []


@pytest.mark.parametrize("path", ["/_sandbox/say", "/%5Fsandbox/say", "/./_sandbox/say"])
async def test_acting_as_a_person_takes_the_key_of_this_run(path: str) -> None:
    async with FakeDiscord() as fd, FakeDiscord() as other, aiohttp.ClientSession() as session:
        keys = [{}, {"X-Sandbox-Key": ""}, {"X-Sandbox-Key": "ключ"}, {"X-Sandbox-Key": "\udcff"}, other.key_header]
        found = [await session.post(fd.url + path, json={"text": "hello"}, headers=one) for one in keys]
        assert {one.status for one in found} <= {401, 404}
        assert "X-Sandbox-Key" in (await found[0].json())["error"]
        assert fd.messages(fd.channel_id) == []
        assert fd.page_url == f"{fd.url}/#{fd.key}"
        assert len({fd.key, other.key}) == 2


async def test_an_address_for_one_opening_gives_the_key_once() -> None:
    async with FakeDiscord() as fd, aiohttp.ClientSession() as session:
        first, second = ({"X-Sandbox-Key": fd.one_time_url().partition("#")[2]} for _ in range(2))
        found = [(await session.get(f"{fd.url}/_sandbox/{one}", headers=first)).status for one in ("info", "session")]
        assert found == [401, 200]
        assert (await session.get(fd.url + "/_sandbox/session", headers=first)).status == 401
        told = await (await session.get(fd.url + "/_sandbox/session", headers=second)).json()
    assert told["key"] == fd.key
    assert fd.key not in fd.one_time_url()


async def test_no_body_makes_the_server_stumble(caplog: pytest.LogCaptureFixture) -> None:
    """Nested without end, of another shape, or packed wrongly: it is refused, and logged as no fault of the server."""
    async with FakeDiscord() as fd, aiohttp.ClientSession(headers=fd.key_header) as session:
        session.headers["Authorization"] = fd.token_of(fd.owner)
        for path in ("/_sandbox/say", "/_sandbox/controls/cut", f"/api/v10/channels/{fd.channel_id}/messages"):
            for body in (b"[" * 100_000, b"[]", b'"x"', b"\xff"):
                answer = await session.post(fd.url + path, data=body, headers={"Content-Type": "application/json"})
                assert answer.status == 400, (path, body[:9])
        packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        url = f"{fd.api_url}/channels/{fd.channel_id}/messages"
        assert (await session.post(url, data=b"{}", headers=packed)).status == 400
    assert [one.getMessage() for one in caplog.records if one.exc_info and "encoding" not in str(one.exc_info[1])] == []
