"""Modules of the page that a person's walk through it reaches by luck alone: races, rights, names in texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from bot.sandbox import ChannelType, FakeDiscord
from bot.sandbox.model import PERMISSIONS
from tests.browser.client import visiting
from tests.repeat import long_run

pytestmark = pytest.mark.asyncio(loop_scope="session")

RACES = (Path(__file__).parent / "window_model.js").read_text()

RIGHTS = """async (names) => {
    const { Sandbox } = await import("/page/api.js");
    const { Gateway } = await import("/page/gateway.js");
    const { Store } = await import("/page/store.js");
    const { people } = await new Sandbox(JSON.parse(sessionStorage.getItem("sandbox.key"))).get("/session");
    const result = {};
    for (const person of people) {
        const store = new Store();
        await new Promise((resolve) => {
            const gateway = new Gateway(`ws://${location.host}/gateway`, person.token, (name, data) => {
                store.apply(name, data);
                if (name === "GUILD_CREATE") {
                    gateway.stop();
                    resolve();
                }
            }, () => {});
            gateway.start();
        });
        const places = [...store.channels.values(), ...store.threads.values()].map((one) => one.id);
        result[person.name] = Object.fromEntries(places.map((id) => [id, names.filter((name) => store.can(id, name))]));
    }
    return result;
}"""

TEXTS = """async ({ words, roundTrips }) => {
    const { toTyped, toWire } = await import("/page/mention_text.js");
    const { Store } = await import("/page/store.js");
    const store = new Store();
    const member = (id, name) => ({ user: { id, username: name, global_name: name }, roles: [] });
    store.me = { id: "1" };
    store.apply("GUILD_CREATE", {
        id: "9",
        roles: [{ id: "9", name: "@everyone" }, { id: "5", name: "Team" }],
        members: [member("1", "ana"), member("2", "ana lee"), member("3", "Weft")],
        channels: [{ id: "7", type: 0, name: "general" }],
        threads: [{ id: "8", type: 11, parent_id: "7", name: "Fix the login" }],
    });
    return [words.map((one) => toWire(store, one)), roundTrips.map((one) => toWire(store, toTyped(store, one)))];
}"""

KEPT = """async () => {
    const { Store } = await import("/page/store.js");
    const store = new Store();
    // More places than are kept have an answer that no server would give again.
    for (let place = 1; place <= 20; place += 1) {
        store.conversation(`${place}`).add({ id: "100", flags: 64, author: { id: "1" } });
    }
    return [store.conversation("99") === store.conversation("99"), Boolean(store.conversation("1").find("100"))];
}"""

# Press and release a button, and after some milliseconds click it: whether drawing waits after each of these.
HOLDS = """async ([pointerType, milliseconds]) => {
    const { Press } = await import("/page/press.js");
    const [press, button] = [new Press(), document.querySelector("button")];
    const told = [];
    const send = async (event, wait) => {
        button.dispatchEvent(event);
        await new Promise((resolve) => setTimeout(resolve, wait));
        told.push(press.holds);
    };
    const pointer = (type) => new PointerEvent(type, { bubbles: true, button: 0, pointerType });
    await send(pointer("pointerdown"), 0);
    await send(pointer("pointerup"), milliseconds);
    await send(new MouseEvent("click", { bubbles: true }), 0);
    return told;
}"""

TIME = """async (iso) => (await import("/page/views/timestamps.js")).messageTime(iso)"""

WIRE = {
    "@Weft hello": "<@3> hello",
    "@weft: hello": "<@3>: hello",
    "hello @ana lee and @ana": "hello <@2> and <@1>",
    "@Team see #general": "<@&5> see <#7>",
    "in #Fix the login, now": "in <#8>, now",
    "mail@weft.example and @weften": "mail@weft.example and @weften",
    "`@Weft` and\n```\n@Weft\n``` @Weft": "`@Weft` and\n```\n@Weft\n``` <@3>",
    "@everyone <@3> <@&5>": "@everyone <@3> <@&5>",
}


@pytest.mark.soak
async def test_a_window_of_history_has_no_gap_whatever_overtakes_its_pages(chromium: Browser) -> None:
    """Events overtake pages and pages events; a reaction says only that there is one more of it."""
    await play_races(chromium, seeds=30, steps=400)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_a_window_of_history_has_no_gap_in_long_runs(chromium: Browser) -> None:
    await play_races(chromium, seeds=long_run(1_000, 100), steps=1_500)


async def play_races(chromium: Browser, *, seeds: int, steps: int) -> None:
    async with FakeDiscord() as discord, visiting(chromium, discord) as owner:
        for seed in range(1, seeds + 1):
            complaints = await owner.page.evaluate(RACES, {"seed": seed * 7919, "steps": steps})
            assert complaints == [], f"seed {seed}"


@pytest.mark.soak
async def test_the_page_offers_what_the_server_allows(chromium: Browser) -> None:
    """For every person, place and permission, by roles, by overwrites of the channel, and in direct messages."""
    async with FakeDiscord() as discord:
        team, lead = discord.add_role("Team"), discord.add_role("Lead")
        discord.edit_role(team, "manage_messages", "send_messages")
        discord.edit_role(lead, "manage_threads")
        ana, ben = discord.user("ana", [team]), discord.user("ben", [team, lead])
        discord.user("sam")
        board = discord.add_channel("board")
        forum = discord.add_channel("tasks", ChannelType.FORUM)
        discord.overwrite(board, discord.guild_id, deny=["send_messages", "add_reactions"])
        discord.overwrite(board, team, allow=["add_reactions"], deny=["attach_files"])
        discord.overwrite(board, lead, allow=["attach_files", "send_messages"])
        discord.overwrite(board, ana.id, allow=["send_messages"], deny=["add_reactions"])
        discord.overwrite(forum, discord.guild_id, deny=["send_messages_in_threads"])
        await discord.start_thread(ben, await discord.owner.say(board, "about this"), "about this")
        await discord.start_post(ben, forum, "a task", "do it")
        async with visiting(chromium, discord) as owner:
            offered: dict[str, Any] = await owner.page.evaluate(RIGHTS, list(PERMISSIONS))
        for name in ("owner", "ana", "ben", "sam"):
            person = discord.user(name)
            assert len(offered[name]) == 5
            for place, names in offered[name].items():
                channel = discord.thread(int(place))
                allowed = discord.state.permissions(person.id, channel)
                writing = "send_messages_in_threads" if channel.is_thread else "send_messages"
                bits = {one: PERMISSIONS[writing if one == "send_messages" else one] for one in PERMISSIONS}
                expected = [one for one in PERMISSIONS if allowed & bits[one]]
                assert expected == names, f"{name} in {channel.name}"


@pytest.mark.soak
async def test_names_in_texts_become_mentions_but_not_in_code_or_other_words(chromium: Browser) -> None:
    async with FakeDiscord() as discord, visiting(chromium, discord) as owner:
        trips = ["<@3> look at <#8> with <@2>", "<@&5>: <#7>", "<@404> stays"]
        said: list[list[str]] = await owner.page.evaluate(TEXTS, {"words": list(WIRE), "roundTrips": trips})
    assert list(WIRE.values()) == said[0]
    assert trips == said[1]


async def test_an_opened_place_is_kept_beside_many_that_cannot_be_fetched_again(chromium: Browser) -> None:
    async with FakeDiscord() as discord, visiting(chromium, discord) as owner:
        assert await owner.page.evaluate(KEPT) == [True, True]


async def test_yesterday_is_the_day_before_wherever_the_clocks_change_between_them(chromium: Browser) -> None:
    """In Auckland a day begins half a day before that of UTC, or an hour more in summer."""
    said = []
    async with FakeDiscord() as discord, visiting(chromium, discord, zone="Pacific/Auckland") as owner:
        # About noon after a night, and on the day itself: summer time ends on 4 April and begins on 26 September.
        for now, sent in (
            ("04-05T00:00", "04-03T23:59"),
            ("09-26T23:00", "09-25T23:59"),
            ("09-26T23:00", "09-26T22:00"),
        ):
            await owner.page.clock.set_fixed_time(f"2027-{now}:00Z")
            said.append(await owner.page.evaluate(TIME, f"2027-{sent}:00Z"))
    assert said == ["Yesterday at 11:59 AM", "Yesterday at 12:59 PM", "Today at 11:00 AM"]


async def test_drawing_waits_for_the_click_which_comes_late_from_a_finger(chromium: Browser) -> None:
    async with FakeDiscord() as discord, visiting(chromium, discord) as owner:
        held = [await owner.page.evaluate(HOLDS, how) for how in (("mouse", 20), ("touch", 20), ("touch", 400))]
    assert held == [[True, False, False], [True, True, False], [True, False, False]]
