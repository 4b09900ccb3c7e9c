"""What the page gets when it starts, and what the controls do to a bot."""

from __future__ import annotations

from typing import Any

import aiohttp
import anyio
import discord
import pytest

from bot.sandbox import Control, ControlError, FakeDiscord, Kind, RateLimits
from bot.sandbox.breakage import CUT_SECONDS, FAILURES, SLOW_SECONDS
from tests.bot.sandbox.client import connected
from tests.bot.sandbox.raw import raw_client
from tests.clock import let_pass

pytestmark = pytest.mark.asyncio

SANDBOX_CONTROLS = {
    "cut": "action",
    "cut-and-forget": "action",
    "refuse-resume": "switch",
    "rate-limits": "switch",
    "errors": "action",
    "slow": "switch",
    "mute": "switch",
    "archive": "action",
    "delete-thread": "action",
}


async def ask(fd: FakeDiscord, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    async with aiohttp.ClientSession(headers=fd.key_header) as session:
        answer = await session.request(method, f"{fd.url}/_sandbox/{path}", json=body)
        assert answer.headers["Cache-Control"] == "no-store"
        return answer.status, await answer.json()


async def press(fd: FakeDiscord, control: str, place: int | None = None, *, on: bool | None = None) -> str:
    """Use a control as the page does, and return what it says."""
    code, answer = await ask(fd, "POST", f"controls/{control}", {"on": on, "channel_id": place and str(place)})
    assert code == 200, answer
    return str(answer["text"])


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library comes back without its pauses."""

    async def at_once(_client: discord.Client, _shard: int | None, *, initial: bool = False) -> None:
        return None

    monkeypatch.setattr(discord.Client, "before_identify_hook", at_once)
    monkeypatch.setattr(discord.backoff.ExponentialBackoff, "delay", lambda _self: 0.01)


async def test_the_page_learns_who_there_is_what_to_try_and_what_can_be_broken() -> None:
    async with FakeDiscord() as fd:
        ana, bob = fd.user("ana"), fd.user("bob")
        fd.kick(fd.user("gone"))
        fd.introduce(ana, "Team", "May use Weft.")
        fd.introduce(fd.owner, "Owner", "Owns the server.")
        fd.tour = [{"title": "Ask", "text": "It answers.", "prompt": "hello"}]
        fd.announce("The bot is starting.")
        code, session = await ask(fd, "GET", "session")

    assert code == 200
    assert (session["guild"], session["channel"]) == (str(fd.guild_id), str(fd.channel_id))
    assert session["bot"] == {"id": str(fd.bot_user.id), "name": "Weft"}
    shown = [(one["name"], one["role"], one["note"]) for one in session["people"]]
    assert shown == [("ana", "Team", "May use Weft."), ("owner", "Owner", "Owns the server."), ("bob", "", "")]
    tokens = [one["token"] for one in session["people"]]
    assert tokens == [fd.token_of(one) for one in (ana, fd.owner, bob)]
    assert len({*tokens, fd.token, fd.key}) == 5
    assert session["tour"] == fd.tour
    assert (session["connected"], session["notice"]) == (False, "The bot is starting.")
    assert {one["id"]: one["kind"] for one in session["controls"]} == SANDBOX_CONTROLS
    assert all(one["label"] and one["help"] and one["group"] for one in session["controls"])
    assert {one["id"] for one in session["controls"] if "on" in one} == {
        name for name, kind in SANDBOX_CONTROLS.items() if kind == "switch"
    }


async def test_whoever_runs_the_bot_adds_controls_and_a_switch_keeps_its_position() -> None:
    calls: list[tuple[bool | None, int | None]] = []

    async def run(on: bool | None, place: int | None) -> str:
        calls.append((on, place))
        if place is None:
            raise ControlError("Open a thread first.")
        return "Done."

    async with FakeDiscord() as fd:
        fd.add_control(Control("lamp", "Lamp", "It shines.", "Bot", run, Kind.SWITCH))
        assert await ask(fd, "POST", "controls/lamp", {"on": True}) == (400, {"error": "Open a thread first."})
        assert (await ask(fd, "GET", "session"))[1]["controls"][0] == {
            "id": "lamp",
            "label": "Lamp",
            "help": "It shines.",
            "group": "Bot",
            "kind": "switch",
            "on": False,
        }
        assert await press(fd, "lamp", fd.channel_id, on=True) == "Done."
        assert (await ask(fd, "GET", "state"))[1]["controls"]["lamp"] is True
        assert calls == [(True, None), (True, fd.channel_id)]
        for path, body, code in [
            ("lamp", {"channel_id": "1"}, 400),
            ("lamp", [], 400),
            ("lamp", {"on": True, "channel_id": "x"}, 400),
            ("nothing", {}, 404),
        ]:
            answered, answer = await ask(fd, "POST", f"controls/{path}", body)
            assert (answered, bool(answer["error"])) == (code, True)
        assert len(calls) == 2


async def test_a_control_that_is_under_way_is_not_started_again() -> None:
    entered, leave = anyio.Event(), anyio.Event()

    async def run(_on: bool | None, _place: int | None) -> str:
        entered.set()
        await leave.wait()
        return "Restarted."

    async with FakeDiscord() as fd, anyio.create_task_group() as tasks:
        fd.add_control(Control("restart", "Restart", "It restarts.", "Bot", run))
        tasks.start_soon(press, fd, "restart")
        with anyio.fail_after(30):
            await entered.wait()
        assert (await ask(fd, "POST", "controls/restart", {}))[0] == 400
        leave.set()


@pytest.mark.parametrize(("control", "identifies", "seen"), [("cut", 1, ["meanwhile"]), ("cut-and-forget", 2, [])])
@pytest.mark.usefixtures("hasty")
async def test_a_bot_that_is_cut_off_comes_back_with_or_without_what_it_missed(
    monkeypatch: pytest.MonkeyPatch, control: str, identifies: int, seen: list[str]
) -> None:
    async with connected(monkeypatch, clock=anyio.current_time) as (fd, bot):
        await press(fd, control)
        assert (await ask(fd, "GET", "state"))[1]["connected"] is False
        await bot.wait_until(lambda b: "disconnect" in b.names())
        await fd.user("ana").say(fd.channel_id, "meanwhile")
        assert not fd.ready.is_set()
        let_pass(CUT_SECONDS)
        with anyio.fail_after(30):
            await fd.ready.wait()
        await bot.wait_until(lambda b: {"resumed", "ready"} & set(b.names()[b.names().index("disconnect") :]))
        assert (await ask(fd, "GET", "state"))[1]["connected"] is True
        assert (fd.gateway.identifies, [one.content for one in bot.seen]) == (identifies, seen)


@pytest.mark.usefixtures("hasty")
async def test_while_sessions_may_not_resume_a_lost_connection_takes_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, _bot):
        await press(fd, "refuse-resume", on=True)
        await fd.gateway.close(4000)
        with anyio.fail_after(30):
            await fd.ready.wait()
        await press(fd, "refuse-resume", on=False)
        await fd.gateway.close(4000)
        with anyio.fail_after(30):
            await fd.ready.wait()
        assert (fd.gateway.identifies, fd.gateway.resumes) == (2, 1)


async def test_the_next_posts_and_edits_fail_and_then_all_is_well() -> None:
    async with raw_client() as (fd, raw):
        message = await raw.post(fd.channel_id)
        await press(fd, "errors")
        for _ in range(FAILURES):
            assert (await raw.post(fd.channel_id)).status == 503
            assert (await raw.edit(fd.channel_id, message.id)).status == 503
        assert (await raw.post(fd.channel_id)).status == 200
        assert (await raw.edit(fd.channel_id, message.id)).status == 200
        assert fd.faults.pending == 0


async def test_discord_can_be_slow_and_have_limits_until_that_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    async with raw_client(rate_limits=RateLimits.OFF) as (fd, raw):
        monkeypatch.setattr("bot.sandbox.rest.anyio.sleep", note)
        await press(fd, "slow", on=True)
        await raw.post(fd.channel_id)
        await press(fd, "slow", on=False)
        await raw.post(fd.channel_id)
        assert waits == [SLOW_SECONDS]
        await press(fd, "rate-limits", on=True)
        assert 429 in [(await raw.post(fd.channel_id)).status for _ in range(6)]
        await press(fd, "rate-limits", on=False)
        assert {(await raw.post(fd.channel_id)).status for _ in range(6)} == {200}


async def test_the_bot_loses_a_channel_with_its_threads_and_gets_them_back() -> None:
    async with raw_client() as (fd, raw):
        other = fd.add_channel("other")
        message = await raw.post(fd.channel_id)
        thread = (await raw.thread(fd.channel_id, message.id)).id
        assert "#general" in await press(fd, "mute", thread, on=True)
        assert [(await raw.post(one)).status for one in (fd.channel_id, thread, other)] == [403, 403, 200]
        await press(fd, "mute", other, on=False)
        assert [(await raw.post(one)).status for one in (fd.channel_id, thread)] == [200, 200]
        direct = fd.open_dm(fd.owner)
        assert (await ask(fd, "POST", "controls/mute", {"on": True, "channel_id": str(direct)}))[0] == 400


async def test_a_thread_is_archived_and_deleted_and_a_channel_is_not() -> None:
    async with raw_client() as (fd, raw):
        message = await raw.post(fd.channel_id)
        thread = (await raw.thread(fd.channel_id, message.id)).id
        for control in ("archive", "delete-thread"):
            for place in (fd.channel_id, 1, None):
                code, answer = await ask(fd, "POST", f"controls/{control}", {"channel_id": place and str(place)})
                assert (code, "first" in answer["error"]) == (400, True)
        await press(fd, "archive", thread)
        assert fd.thread(thread).archived
        await press(fd, "delete-thread", thread)
        assert fd.threads() == []


async def test_pages_are_told_what_changes_and_nothing_that_does_not() -> None:
    async with (
        FakeDiscord() as fd,
        aiohttp.ClientSession() as session,
        session.ws_connect(fd.gateway_url, headers={"Origin": fd.url}) as page,
    ):
        await page.send_json({"op": 2, "d": {"token": fd.token_of(fd.owner)}})
        while (await page.receive_json(timeout=30)).get("t") != "GUILD_CREATE":
            pass
        fd.announce("It starts.")
        fd.announce("It starts.")
        async with session.ws_connect(fd.gateway_url) as bot:
            await bot.send_json({"op": 2, "d": {"token": fd.token, "intents": 0}})
            while (await bot.receive_json(timeout=30)).get("t") != "READY":
                pass
            await press(fd, "slow", on=True)
            await press(fd, "slow", on=True)
            await press(fd, "cut")
        told = [await page.receive_json(timeout=30) for _ in range(4)]
    assert {one["t"] for one in told} == {"SANDBOX_STATE"}
    shown = [(one["d"]["notice"], one["d"]["connected"], one["d"]["controls"]["slow"]) for one in told]
    assert shown == [
        ("It starts.", False, False),
        ("It starts.", True, False),
        ("It starts.", True, True),
        ("It starts.", False, True),
    ]
