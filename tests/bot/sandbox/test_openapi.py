"""The loopback Discord's answers and Weft's requests, held against Discord's own description of its REST API."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox import ChannelType, FakeDiscord, RestCall, people, rate_limited
from bot.sandbox.routes_channels import ROUTES as CHANNEL_ROUTES
from bot.sandbox.routes_interactions import ROUTES as INTERACTION_ROUTES
from bot.sandbox.routes_messages import ROUTES as MESSAGE_ROUTES
from tests.agents import scenario
from tests.bot.sandbox.openapi import best_match, description, find_description
from tests.bot.sandbox.raw import SILENT, Raw, raw_client
from tests.e2e.play import Play, play

DESCRIPTION = find_description()
pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(
        DESCRIPTION is None,
        reason="Discord's OpenAPI description is not here: WEFT_DISCORD_OPENAPI can name its file",
    ),
]

# What discord.py sends on its own account, and Discord takes all the same.
LIBRARY_S_OWN = {
    r"PATCH \S+/messages/\S+ : .*'tts'": "it sends tts with every message, edits too",
    r" allowed_mentions\.users\.\[\]: \d+ is not of type 'string'": "it sends ids as numbers",
    r" message_reference\.(message|channel)_id: \d+ is not of type 'string'": "it sends ids as numbers",
    r"PUT \S+/commands \[\]: .*'nsfw'": "it sends nsfw with every command",
}
# Where Discord answers otherwise than its description says, which its documentation tells.
DESCRIPTION_S_OWN = {
    r"POST \S+/threads 201 : .*'message'": "a forum's new post comes with its first message",
    r"message_reference\.type: 0 was expected": "a forwarded message's is 1",
    r" 429 : 'code' is a required property": "only some limits have a code",
    r" 400 errors\.\S*_errors": "the codes of a form's errors are words",
}
TOOL = {"toolCallId": "t1", "title": "rm -r build", "kind": "execute", "rawInput": {"command": "rm -r build"}}
OPTIONS = [{"optionId": "yes", "name": "Allow once", "kind": "allow_once"}]


def wrong_answers(calls: Iterable[RestCall]) -> set[str]:
    assert DESCRIPTION is not None
    return {one for call in calls for one in description(DESCRIPTION).problems_of_answer(call)}


def wrong_requests(calls: Iterable[RestCall]) -> set[str]:
    assert DESCRIPTION is not None
    return {one for call in calls for one in description(DESCRIPTION).problems_of_request(call)}


def unlisted(found: set[str], known: Mapping[str, str]) -> set[str]:
    """What no deviation explains, and the deviations that are none any more."""
    unexplained = {one for one in found if not any(re.search(pattern, one) for pattern in known)}
    return unexplained | {pattern for pattern in known if not any(re.search(pattern, one) for one in found)}


async def test_what_weft_sends_and_gets_in_a_conversation_is_as_discord_describes_it(tmp_path: Path) -> None:
    ask = {"permission": {"tool": TOOL, "options": OPTIONS}, "then": {"*": [{"text": "x" * 4_000}]}}
    agent = scenario(tmp_path, [{"text": "I'll clean up. "}, {"title": "Clean"}, ask], [{"echo": True}])
    async with play(tmp_path, agent, reactions=True, pings=True) as game:
        await converse(game)
        calls = game.discord.rest_calls()

    assert unlisted(wrong_requests(calls), LIBRARY_S_OWN) == set()
    assert wrong_answers(calls) == set()


async def converse(game: Play) -> None:
    thread_id = await game.mention("clean")
    await game.press(thread_id, "Allow once")
    await game.outcome(thread_id)
    await game.outcome(await game.say(thread_id, "and again"))
    for name, options in (("status", {}), ("queue show", {}), ("queue mode", {"mode": "steer"}), ("stop", {})):
        await game.owner.slash(thread_id, name, **options)
    await (await game.owner.slash(thread_id, "reset")).filled()
    await game.owner.slash(game.discord.channel_id, "board")
    await game.discord.wait_for(
        lambda fd: (
            fd.thread(thread_id).name == "Clean"
            and any("**Board**" in one.content for one in fd.messages(fd.channel_id))
        )
    )


async def test_every_route_answers_as_discord_describes_it() -> None:
    async with raw_client() as (fd, raw):
        await visit_messages(fd, raw)
        await visit_threads(fd, raw)
        await visit_places(fd, raw)
        await visit_commands(fd, raw)
        await be_refused(fd, raw)
        calls = fd.rest_calls()

    assert unlisted(wrong_answers(calls), DESCRIPTION_S_OWN) == set()
    assert never_visited(calls) == set()


def never_visited(calls: list[RestCall]) -> set[tuple[str, str]]:
    """The routes that answered nothing with success, as method and path."""
    routes = [*MESSAGE_ROUTES, *CHANNEL_ROUTES, *INTERACTION_ROUTES]
    visited = {
        (call.method, best_match((one.path for one in routes if one.method == call.method), call.path))
        for call in calls
        if call.status < 300
    }
    return {(one.method, one.path) for one in routes} - visited


BUTTON = {"type": 2, "style": 1, "label": "Go", "custom_id": "go"}
FIELD = {"type": 4, "custom_id": "name", "label": "Name", "style": 1}
SELECT = {"type": 3, "custom_id": "which", "options": [{"label": "One", "value": "1", "description": None}]}
PARTS: list[dict[str, Any]] = [
    {"embeds": [{"title": "T", "description": "D", "fields": [{"name": "n", "value": "v", "inline": True}]}]},
    {"components": [{"type": 1, "components": [BUTTON, {"type": 2, "style": 5, "label": "L", "url": "https://a.b"}]}]},
    {"components": [{"type": 1, "components": [SELECT]}]},
    {
        "content": None,
        "flags": 1 << 15,
        "components": [{"type": 17, "components": [{"type": 10, "content": "x"}, {"type": 1, "components": [BUTTON]}]}],
    },
    {"nonce": "n1", "enforce_nonce": True},
]


async def visit_messages(fd: FakeDiscord, raw: Raw) -> None:
    alice = fd.user("alice")
    said = await alice.say(fd.channel_id, "see", files=[("a.txt", b"a")])
    here = f"/channels/{fd.channel_id}"
    await raw.post(fd.channel_id, "reply", message_reference={"message_id": str(said.id)})
    for part in PARTS:
        assert (await raw.post(fd.channel_id, **part)).status == 200
    await alice.say(fd.channel_id, also=people.poll("Ship it?", "yes", "no"))
    await alice.say(fd.channel_id, also=people.stickers(fd.state, "Wave"))
    await alice.say(fd.channel_id, files=[("voice-message.ogg", b"sound")], voice=True)
    await alice.forward(said, fd.channel_id)
    mine = await raw.post(fd.channel_id, f"<@{alice.id}> @everyone", allowed_mentions={"parse": ["users", "everyone"]})
    await alice.react(mine.id, "👀")
    await raw.edit(fd.channel_id, mine.id)
    for method in ("PUT", "DELETE", "PUT"):
        await raw.call(method, f"{here}/messages/{said.id}/reactions/👀/@me")
    await alice.react(said.id, "👍")
    for path in (f"{here}/messages", f"{here}/messages/{said.id}"):
        await raw.call("GET", path)
    await raw.call("DELETE", f"{here}/messages/{said.id}/reactions/👍/{alice.id}")
    await raw.call("DELETE", f"{here}/messages/{said.id}/reactions")
    await raw.call("POST", f"{here}/typing")
    doomed = [str((await raw.post(fd.channel_id)).id) for _ in range(3)]
    await raw.call("POST", f"{here}/messages/bulk-delete", {"messages": doomed[:2]})
    await raw.call("DELETE", f"{here}/messages/{doomed[2]}")


async def visit_threads(fd: FakeDiscord, raw: Raw) -> None:
    here, alice = f"/channels/{fd.channel_id}", fd.user("alice")
    started = await raw.thread(fd.channel_id, (await raw.post(fd.channel_id)).id)
    private = await raw.call("POST", f"{here}/threads", {"name": "private", "type": 12})
    forum = fd.add_channel("forum", ChannelType.FORUM, tags=["bug"])
    await raw.call("POST", f"/channels/{forum}/threads", {"name": "post", "message": {"content": "first"}})
    for one in (started, private):
        path = f"/channels/{one.id}"
        await raw.post(one.id)
        for who in (alice.id, "@me"):
            await raw.call("DELETE", f"{path}/thread-members/{who}")
            await raw.call("PUT", f"{path}/thread-members/{who}")
        await raw.call("GET", f"{path}/thread-members/{alice.id}")
        await raw.call("GET", f"{path}/thread-members")
        await raw.call("PATCH", path, {"archived": True})
    for path in ("/threads/archived/public", "/threads/archived/private", "/users/@me/threads/archived/private"):
        assert (await raw.call("GET", here + path)).data["threads"]
    await raw.call("GET", f"/channels/{fd.channel_id}/messages")
    await raw.call("DELETE", f"/channels/{private.id}")


async def visit_places(fd: FakeDiscord, raw: Raw) -> None:
    role = fd.add_role("devs")
    fd.invite("send_messages")
    fd.overwrite(fd.channel_id, role, allow=["attach_files"])
    bob, guild = fd.user("bob", roles=[role]), f"/guilds/{fd.guild_id}"
    dm = await raw.call("POST", "/users/@me/channels", {"recipient_id": str(bob.id)})
    await raw.post(dm.id)
    await raw.call("GET", guild, with_counts="true")
    for path in ("", "/channels", "/roles", f"/members/{bob.id}", "/threads/active"):
        await raw.call("GET", guild + path)
    places = (f"/channels/{one}" for one in (fd.channel_id, dm.id, fd.add_channel("more", ChannelType.FORUM)))
    people = ("/users/@me", "/users/@me/guilds", f"/users/{bob.id}", "/applications/@me", "/oauth2/applications/@me")
    for path in (*places, *people, "/gateway", "/gateway/bot"):
        assert (await raw.call("GET", path)).status == 200


CHOICES = [{"name": "Steer", "value": "steer"}]
MODE = {"name": "mode", "description": "M", "type": 3, "required": True, "choices": CHOICES}
COMMANDS: list[dict[str, Any]] = [
    {"name": "go", "description": "Goes", "type": 1},
    {
        "name": "queue",
        "description": "Q",
        "options": [{"name": "set", "description": "S", "type": 1, "options": [MODE]}],
    },
]


async def visit_commands(fd: FakeDiscord, raw: Raw) -> None:
    mine = f"/applications/{fd.application_id}"
    for base in (f"{mine}/guilds/{fd.guild_id}/commands", f"{mine}/commands"):
        await raw.call("PUT", base, COMMANDS)
        added = await raw.call("POST", base, {"name": "extra", "description": "E"})
        await raw.call("PATCH", f"{base}/{added.id}", {"description": "Other"})
        await raw.call("GET", base)
        await raw.call("DELETE", f"{base}/{added.id}")
    message = await raw.post(fd.channel_id, components=[{"type": 1, "components": [BUTTON]}])
    for kind in (4, 5, 6, 7, 9):
        await answer_click(fd, raw, message.id, kind)


async def answer_click(fd: FakeDiscord, raw: Raw, message_id: int, kind: int) -> None:
    """Answer a click in one way, then use the interaction's own message and followups."""
    modal = {"custom_id": "m", "title": "T", "components": [{"type": 1, "components": [FIELD]}]}
    data = modal if kind == 9 else {"content": "hi", "allowed_mentions": SILENT}
    clicked = fd.owner.begin_click(message_id, "go")
    callback = f"/interactions/{clicked.id}/{clicked.token}/callback"
    await raw.call("POST", callback, {"type": kind, "data": data}, with_response="true")
    webhook = f"/webhooks/{fd.application_id}/{clicked.token}"
    told = {"content": "more", "allowed_mentions": SILENT}
    if kind == 4:
        await raw.call("GET", f"{webhook}/messages/@original")
        await raw.call("PATCH", f"{webhook}/messages/@original", told)
        followed = await raw.call("POST", webhook, told, wait="true")
        for method, body in (("GET", None), ("PATCH", told), ("DELETE", None)):
            await raw.call(method, f"{webhook}/messages/{followed.id}", body)
        await raw.call("DELETE", f"{webhook}/messages/@original")


async def be_refused(fd: FakeDiscord, raw: Raw) -> None:
    statuses = [
        (await raw.post(fd.channel_id, "x" * 2001)).status,
        (await raw.call("GET", "/users/@me", token="nope")).status,
        (await raw.post(1)).status,
    ]
    fd.deny("send_messages", fd.channel_id)
    statuses.append((await raw.post(fd.channel_id)).status)
    fd.faults.next("POST", "/messages", rate_limited(0.5))
    statuses.append((await raw.post(fd.channel_id)).status)
    assert statuses == [400, 401, 404, 403, 429]
