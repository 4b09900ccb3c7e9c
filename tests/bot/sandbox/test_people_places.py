"""Threads, forums, direct messages, forwards and files by people's clients, with discord.py listening."""

import json
from typing import Any

import pytest

from bot.sandbox import ChannelType, FakeDiscord, rest
from tests.bot.sandbox.client import connected
from tests.bot.sandbox.person import client_of
from tests.bot.sandbox.raw import raw_client

pytestmark = pytest.mark.asyncio


async def test_a_thread_lives_from_its_start_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot), client_of(fd, fd.user("alice")) as alice:
        message = await alice.post(fd.channel_id, "topic")
        base = f"/channels/{fd.channel_id}"
        started = await alice.call("POST", f"{base}/messages/{message.id}/threads", {"name": "topic"})
        assert (started.status, started.id, started.data["owner_id"]) == (201, message.id, str(alice.person.id))
        assert started.data["member"]["user_id"] == str(alice.person.id)
        again = await alice.call("POST", f"{base}/messages/{message.id}/threads", {"name": "topic"})
        assert again.code == 160004
        thread = f"/channels/{message.id}"
        assert (await alice.call("POST", f"{thread}/typing")).status == 204
        assert (await alice.call("PATCH", thread, {"name": "other"})).data["name"] == "other"
        assert (await alice.call("PATCH", thread, {"archived": True})).data["thread_metadata"]["archived"]
        listed = await alice.call("GET", f"{base}/threads/archived/public")
        assert [one["id"] for one in listed.data["threads"]] == [str(message.id)]
        assert (await alice.call("GET", f"/guilds/{fd.guild_id}/threads/active")).data["threads"] == []

        assert (await alice.post(message.id, "wakes it")).status == 200
        assert not fd.thread(message.id).archived
        await alice.event("THREAD_UPDATE", lambda data: not data["thread_metadata"]["archived"])
        async with client_of(fd, fd.user("bob"), connects=False) as bob:
            fd.overwrite(fd.channel_id, fd.guild_id, deny=["manage_threads"])
            assert (await bob.call("PATCH", thread, {"name": "mine"})).code == 50013
            assert (await bob.call("PATCH", thread, {"archived": True})).code == 50013
            assert (await bob.call("DELETE", thread)).code == 50013
            assert (await bob.call("PUT", f"{thread}/thread-members/@me")).status == 204
            assert (await bob.call("DELETE", f"{thread}/thread-members/{alice.person.id}")).code == 50013
            await fd.archive(message.id)
            assert (await bob.call("PATCH", thread, {"archived": False})).status == 200
            await fd.archive(message.id, locked=True)
            assert (await bob.call("PATCH", thread, {"archived": False})).code == 50013
            assert (await bob.post(message.id, "locked")).code == 160005
            assert (await alice.call("PATCH", f"{thread}/messages/{message.id}", {"content": "x"})).code == 10008
        async with client_of(fd, fd.owner, connects=False) as owner:
            assert (await owner.call("DELETE", thread)).status == 200
        await bot.wait_until(lambda b: "raw_thread_delete" in b.names())
        await alice.event("THREAD_DELETE")


async def test_a_private_thread_is_for_its_members(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, _):
        fd.edit_role(fd.guild_id, "view_channel", "send_messages", "create_private_threads", "send_messages_in_threads")
        async with client_of(fd, fd.user("alice")) as alice, client_of(fd, fd.user("bob")) as bob:
            await bob.event("GUILD_CREATE")
            started = await alice.call("POST", f"/channels/{fd.channel_id}/threads", {"name": "secret", "type": 12})
            secret = f"/channels/{started.id}"
            assert (await bob.call("GET", secret)).code == 50001
            assert (await bob.call("PUT", f"{secret}/thread-members/@me")).code == 50001
            assert "THREAD_CREATE" not in await bob.names_until(fd, "1")
            assert (await alice.call("PUT", f"{secret}/thread-members/{bob.person.id}")).status == 204
            assert (await bob.event("THREAD_CREATE"))["id"] == str(started.id)
            assert (await bob.call("GET", f"{secret}/thread-members/@me")).status == 404
            assert (await bob.post(started.id, "in")).status == 200
            assert (await alice.call("DELETE", f"{secret}/thread-members/{bob.person.id}")).status == 204
            await bob.event("THREAD_DELETE")
            assert (await bob.post(started.id, "out")).code == 50001


async def test_a_post_of_a_forum_has_tags_and_files(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot), client_of(fd, fd.user("alice")) as alice:
        forum = fd.add_channel("help", ChannelType.FORUM, tags=["bug"], moderated=["solved"])
        fd.overwrite(forum, fd.guild_id, deny=["manage_threads"])
        bug, solved = (str(one.id) for one in fd.thread(forum).tags)
        path = f"/channels/{forum}/threads"
        body: dict[str, Any] = {"name": "It fails", "applied_tags": [bug], "message": {"content": "see file"}}
        posted = await alice.call("POST", path, body, files=[("log.txt", b"boom")])
        assert (posted.status, posted.data["applied_tags"]) == (201, [bug])
        assert posted.data["message"]["id"] == posted.data["id"]
        await bot.wait_until(lambda b: b.seen)
        assert await bot.seen[0].attachments[0].read() == b"boom"
        created = await alice.event("THREAD_CREATE")
        assert (created["applied_tags"], created["newly_created"]) == ([bug], True)
        assert (await alice.event("MESSAGE_CREATE"))["content"] == "see file"

        assert (await alice.call("POST", path, {**body, "applied_tags": [solved]})).code == 50013
        assert (await alice.call("POST", path, {**body, "applied_tags": ["1"]})).code == 50035
        assert (await alice.call("POST", path, {**body, "message": {"content": ""}})).code == 50006
        wrong = {"content": "x", "allowed_mentions": {"users": ["x"]}}
        assert (await alice.call("POST", path, {**body, "message": wrong})).code == 50035
        assert (await alice.post(forum, "no post")).code == 50024
        assert (await alice.call("PATCH", f"/channels/{posted.id}", {"applied_tags": [bug, solved]})).code == 50013
        assert (await alice.call("PATCH", f"/channels/{posted.id}", {"applied_tags": []})).status == 200
        assert len(fd.threads()) == 1


async def test_direct_messages_are_between_one_person_and_the_bot(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot), client_of(fd, fd.user("alice")) as alice:
        opened = await alice.call("POST", "/users/@me/channels", {"recipient_id": str(fd.bot_user.id)})
        assert [one["username"] for one in opened.data["recipients"]] == ["Weft"]
        assert (await alice.event("CHANNEL_CREATE"))["id"] == opened.data["id"]
        await alice.post(opened.id, "psst", message_reference=None)
        await bot.wait_until(lambda b: b.seen)
        answered = await bot.seen[0].reply("yes?")
        assert (await alice.event("MESSAGE_CREATE", lambda data: data["content"] == "yes?"))["type"] == 19
        assert [one["id"] for one in (await alice.call("GET", "/users/@me/channels")).data] == [opened.data["id"]]
        async with client_of(fd, fd.owner) as owner:
            for call in (
                ("GET", f"/channels/{opened.id}"),
                ("GET", f"/channels/{opened.id}/messages"),
                ("GET", f"/channels/{opened.id}/messages/{answered.id}"),
                ("POST", f"/channels/{opened.id}/typing"),
            ):
                assert (await owner.call(*call)).code == 50001
            other = await owner.call("POST", "/users/@me/channels", {"recipient_id": str(alice.person.id)})
            assert other.code == 50007
            assert (await owner.call("GET", "/users/@me/channels")).data == []
            assert "MESSAGE_CREATE" not in await owner.names_until(fd, "1")


async def test_a_reply_pings_or_not_and_a_forward_is_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        connected(monkeypatch) as (fd, bot),
        client_of(fd, fd.user("alice")) as alice,
        client_of(fd, fd.owner) as owner,
    ):
        hidden, other = fd.add_channel("hidden"), fd.add_channel("other")
        fd.overwrite(hidden, fd.guild_id, deny=["view_channel"])
        original = await fd.owner.say(fd.channel_id, "look", files=[("log.txt", b"boom")])
        secret = await fd.owner.say(hidden, "secret")

        def to(message_id: int, channel_id: int | None, kind: int = 0) -> dict[str, Any]:
            reference: dict[str, Any] = {"message_id": str(message_id), "type": kind}
            return reference if channel_id is None else {**reference, "channel_id": str(channel_id)}

        loud = await alice.post(fd.channel_id, "thanks", message_reference=to(original.id, fd.channel_id))
        quiet = await alice.post(
            fd.channel_id,
            "thanks",
            message_reference=to(original.id, None),
            allowed_mentions={"parse": ["users", "roles", "everyone"], "replied_user": False},
        )
        assert [len(one.data["mentions"]) for one in (loud, quiet)] == [1, 0]
        assert loud.data["referenced_message"]["content"] == "look"
        unread = fd.add_channel("unread")
        fd.overwrite(unread, fd.guild_id, deny=["read_message_history"])
        reply = to((await fd.owner.say(unread, "x")).id, unread)
        assert (await alice.post(unread, "?", message_reference=reply)).code == 160002
        pings = [(await by.post(fd.channel_id, "@everyone")).data["mention_everyone"] for by in (alice, owner)]
        assert pings == [False, True]
        gone = await alice.post(fd.channel_id, "to nothing", message_reference=to(1, fd.channel_id))
        assert gone.code == 50035

        forwarded = await alice.post(other, "", message_reference=to(original.id, fd.channel_id, 1))
        copy = forwarded.data["message_snapshots"][0]["message"]
        assert (forwarded.data["content"], copy["content"]) == ("", "look")
        assert "author" not in copy
        again = await alice.post(fd.channel_id, "", message_reference=to(forwarded.id, other, 1))
        assert again.data["message_snapshots"][0]["message"]["content"] == "look"
        await bot.wait_until(lambda b: len(b.seen) == 9)
        assert [one.content for one in bot.seen[-1].message_snapshots] == ["look"]
        assert await bot.seen[-1].message_snapshots[0].attachments[0].read() == b"boom"

        assert (await alice.post(other, "", message_reference=to(secret.id, hidden, 1))).code == 50001
        assert (await alice.post(other, "", message_reference=to(secret.id, fd.channel_id, 1))).code == 10008
        assert (await alice.post(other, "and this", message_reference=to(original.id, fd.channel_id, 1))).code == 50035


async def test_reactions_are_counted_for_each_and_are_emoji() -> None:
    async with raw_client() as (fd, raw), client_of(fd, fd.user("alice")) as alice:
        message = await raw.post(fd.channel_id, "vote")
        base = f"/channels/{fd.channel_id}/messages/{message.id}"
        for emoji in ("👀", "1️⃣", "🏳️‍🌈", "ℹ️"):
            assert (await alice.call("PUT", f"{base}/reactions/{emoji}/@me")).status == 204, emoji
        for emoji in ("a", "looks", "1", "你", "👀" * 40, "👀 👀"):
            assert (await alice.call("PUT", f"{base}/reactions/{emoji}/@me")).code == 10014, emoji
        assert (await alice.event("MESSAGE_REACTION_ADD"))["user_id"] == str(alice.person.id)
        mine = (await alice.call("GET", base)).data["reactions"]
        theirs = (await raw.call("GET", base)).data["reactions"]
        assert [(one["count"], one["me"]) for one in mine] == [(1, True)] * 4
        assert [(one["count"], one["me"]) for one in theirs] == [(1, False)] * 4
        fd.overwrite(fd.channel_id, fd.guild_id, deny=["add_reactions", "manage_messages"])
        async with client_of(fd, fd.user("bob"), connects=False) as bob:
            assert (await bob.call("PUT", f"{base}/reactions/👀/@me")).status == 204
            assert (await bob.call("PUT", f"{base}/reactions/🎉/@me")).code == 50013
            assert (await bob.call("DELETE", f"{base}/reactions/👀/{alice.person.id}")).code == 50013
        assert (await alice.call("DELETE", f"{base}/reactions/👀/@me")).status == 204
        assert (await alice.call("DELETE", f"{base}/reactions/👀/@me")).code == 10014


async def test_files_come_and_go_by_forms_within_their_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot), client_of(fd, fd.user("alice")) as alice:
        path = f"/channels/{fd.channel_id}/messages"
        names = ["a b.txt", "../../x.txt", "..", 'q"<svg>.svg']
        listed = {"attachments": [{"id": str(n), "filename": name} for n, name in enumerate(names)]}
        posted = await alice.call("POST", path, listed, files=[("f", name.encode()) for name in names])
        assert [one["filename"] for one in posted.data["attachments"]] == [
            "a b.txt",
            ".._.._x.txt",
            "_",
            'q"<svg>.svg',
        ]
        await bot.wait_until(lambda b: b.seen)
        assert [(await one.read()).decode() for one in bot.seen[0].attachments] == names
        kept = {"attachments": [{"id": posted.data["attachments"][0]["id"]}]}
        assert len((await alice.call("PATCH", f"{path}/{posted.id}", kept)).data["attachments"]) == 1
        assert list(fd.state.files) == [int(kept["attachments"][0]["id"])]
        assert (await alice.call("DELETE", f"{path}/{posted.id}")).status == 204
        assert fd.state.files == {}

        monkeypatch.setattr(rest, "ATTACHMENT_LIMIT_BYTES", 100_000)
        assert (await alice.call("POST", path, {}, files=[("big", b"x" * 100_001)])).code == 40005
        assert (await alice.call("POST", path, {}, files=[("f", b"x")] * 11)).code == 50035
        fd.overwrite(fd.channel_id, fd.guild_id, deny=["attach_files"])
        assert (await alice.call("POST", path, {}, files=[("f", b"x")])).code == 50013
        assert fd.messages(fd.channel_id) == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("[" * 100_000, 50109),
        ('{"content": "half a \\ud83d"}', 50109),
        ("nonsense", 50109),
        ("[]", 50109),
        ('{"content": 7}', 50035),
        ('{"content": " \\n "}', 50006),
        ('{"content": "%s"}' % ("x" * 2001), 50035),
        ('{"content": "x", "nonce": "%s"}' % ("n" * 26), 50035),
        ('{"content": "x", "allowed_mentions": []}', 50035),
        ('{"content": "x", "allowed_mentions": {"users": ["x"]}}', 50035),
        ('{"content": "x", "message_reference": 7}', 50035),
        ('{"message_reference": {"type": 1}}', 50035),
        ('{"components": [{"type": 1}], "embeds": [{"title": "x"}]}', 50006),
    ],
)
async def test_bodies_that_no_client_would_send_change_nothing(body: str, code: int) -> None:
    async with FakeDiscord() as fd, client_of(fd, fd.owner) as owner:
        headers = {"Authorization": owner.token, "Content-Type": "application/json"}
        url = f"{fd.api_url}/channels/{fd.channel_id}/messages"
        async with owner._session.post(url, data=body, headers=headers) as response:
            assert (response.status, json.loads(await response.text())["code"]) == (400, code)
        assert fd.messages(fd.channel_id) == []


@pytest.mark.parametrize(
    ("frame", "closed_with"),
    [
        ("[" * 4000, 4002),
        ('{"op": 2, "d": {"token": ["x"]}}', 4004),
        ('{"op": 2, "d": null}', 4003),
        ('{"op": 8, "d": {"user_ids": ["x"]}}', 4003),
        ('{"op": 6, "d": {"token": "x", "session_id": "session-1", "seq": 1}}', 4004),
    ],
)
async def test_frames_that_no_client_would_send_end_that_connection_alone(frame: str, closed_with: int) -> None:
    async with FakeDiscord() as fd, client_of(fd, fd.owner) as owner:
        async with owner._session.ws_connect(fd.gateway_url) as ws:
            await ws.receive_json()
            await ws.send_str(frame)
            closing = await ws.receive()
            assert closing.data == closed_with
        await owner.event("GUILD_CREATE")


async def test_no_id_of_a_hidden_place_leads_anywhere() -> None:
    async with FakeDiscord() as fd, client_of(fd, fd.user("alice"), connects=False) as alice:
        hidden = fd.add_channel("hidden")
        message = await fd.owner.say(hidden, "secret")
        thread = await fd.start_thread(fd.owner, message, "inner")
        fd.overwrite(hidden, fd.guild_id, deny=["view_channel"])
        for place in (hidden, thread.id):
            base = f"/channels/{place}"
            calls = [
                ("GET", base),
                ("PATCH", base),
                ("DELETE", base),
                ("GET", f"{base}/messages"),
                ("POST", f"{base}/messages"),
                ("POST", f"{base}/typing"),
                ("GET", f"{base}/thread-members"),
                ("PUT", f"{base}/thread-members/@me"),
                ("GET", f"{base}/threads/archived/public"),
                ("GET", f"{base}/application-command-index"),
                ("POST", f"{base}/threads"),
            ]
            codes = {call: (await alice.call(*call, {"name": "x", "content": "x", "type": 11})).code for call in calls}
            assert set(codes.values()) <= {50001, 50024}, codes
        for message_id in (message.id, 1):
            one = f"/channels/{hidden}/messages/{message_id}"
            mine = f"{one}/reactions/👀/@me"
            for call in (("GET", one), ("PATCH", one), ("DELETE", one), ("PUT", mine), ("DELETE", mine)):
                assert (await alice.call(*call, {"content": "x"})).code == 50001, call
