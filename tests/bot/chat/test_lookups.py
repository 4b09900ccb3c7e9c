"""What prompts refer to, asked of the loopback Discord by a real client: linked messages and earlier ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import anyio
import discord
import pytest

from bot.chat import lookups
from bot.chat.authorize import Policy
from bot.chat.inbound import Place
from bot.chat.lookups import CUT, EARLIER, HIDDEN, MOST_BYTES, PAUSE, _may_read, _opened, _without_pause
from bot.chat.posts import post_of
from bot.links import MessageLink
from bot.model import Actor, Quote, posted_at
from bot.reply.port import Body, MessageGone, Unavailable
from bot.sandbox import FakeDiscord, Fault, Message, Person, people
from bot.work.ports import Earlier
from bot.work.prompt import frame
from tests.bot.chat import harness
from tests.bot.chat.harness import RunningChat, running_chat

pytestmark = pytest.mark.asyncio

READ = ("view_channel", "read_message_history")


@dataclass
class Asking:
    """A chat, and somebody who asks; ``hidden`` is a channel that only they and Weft can read."""

    chat: RunningChat
    asker: Person
    friend: Person
    eve: Person
    hidden: int

    @property
    def fd(self) -> FakeDiscord:
        return self.chat.fd

    async def linked(self, message: Message, asker: Person | None = None) -> Quote | None:
        who = asker or self.asker
        link = MessageLink(self.fd.guild_id, message.channel_id, message.id)
        return await self.chat.gateway.lookups.linked(link, Actor(who.id, who.name))

    async def earlier(self, place_id: int, *, since: int = 0, most: int = 20) -> Earlier:
        """Mention Weft in a place and ask for what was said there before."""
        said = await self.asker.say(place_id, "well?", mention_bot=True)
        await self.chat.dispatcher.wait(lambda one: one.inbounds and one.inbounds[-1].message_id == said.id)
        inbound = self.chat.dispatcher.inbounds[-1]
        return await self.chat.gateway.lookups.earlier(inbound, since, most)


@asynccontextmanager
async def asking(**policy: Any) -> AsyncIterator[Asking]:
    async with FakeDiscord() as fd:
        asker, friend, eve = fd.user("asker"), fd.user("friend"), fd.user("eve")
        hidden = fd.add_channel("hidden")
        fd.overwrite(hidden, fd.guild_id, deny=READ)
        for one in (asker.id, fd.bot_user.id):
            fd.overwrite(hidden, one, allow=READ)
        listed = Policy(**({"users": frozenset({asker.id, friend.id})} | policy))
        async with running_chat(fd, listed) as chat:
            await chat.caught_up()
            yield Asking(chat, asker, friend, eve, hidden)


def quoted(person: Person, text: str) -> Quote:
    return Quote(f"Linked message, which {person.name} (user {person.id}) wrote", text)


def said(message: Message, person: Person, text: str) -> Quote:
    when = datetime.fromtimestamp(posted_at(message.id), UTC)
    return Quote(f"On {when:%Y-%m-%d} at {when:%H:%M} UTC, {person.name} (user {person.id}) wrote", text)


async def test_a_link_brings_what_the_asker_can_read() -> None:
    """F8: whoever wrote it, with its poll, its stickers and what it forwards; files by their names."""
    async with asking() as here:
        fd = here.fd
        plain = await here.eve.say(here.fd.channel_id, "a plan")
        assert await here.linked(plain) == quoted(here.eve, "a plan")
        assert await here.linked(await here.asker.say(here.hidden, "for us")) == quoted(here.asker, "for us")
        forwarded = await here.eve.forward(plain, fd.channel_id)
        assert await here.linked(forwarded) == quoted(here.eve, "(Forwarded message) a plan")
        poll = await here.eve.say(fd.channel_id, also=people.poll("Ship it?", "yes", "no"))
        assert await here.linked(poll) == quoted(here.eve, "(Poll) Ship it?\n- yes\n- no")
        wave = await here.eve.say(fd.channel_id, "hi", also=people.stickers(fd.state, "Wave"), files=[("a.txt", b"x")])
        assert await here.linked(wave) == quoted(here.eve, "hi\n(Sticker) Wave\n(attached: a.txt)")


async def test_a_link_gives_nothing_of_what_the_asker_or_weft_can_t_read() -> None:
    """F8, D2: neither a word nor the name of its author, and no request for it."""
    async with asking() as here:
        fd, secret = here.fd, await here.asker.say(here.hidden, "secret")
        assert await here.linked(secret, here.friend) is None
        # As of now: what was taken away counts at once, and what was given, too.
        fd.overwrite(here.hidden, here.friend.id, allow=["view_channel"])
        await settled(here, here.hidden, here.friend.id, view=True, history=False)
        assert await here.linked(secret, here.friend) is None
        fd.overwrite(here.hidden, here.friend.id, allow=READ)
        await settled(here, here.hidden, here.friend.id, view=True, history=True)
        assert await here.linked(secret, here.friend) == quoted(here.asker, "secret")
        here.fd.kick(here.friend)
        assert await here.linked(secret, here.friend) is None
        fd.overwrite(here.hidden, fd.bot_user.id, allow=["view_channel"], deny=["read_message_history"])
        await settled(here, here.hidden, fd.bot_user.id, view=True, history=False)
        before = len(fd.rest_calls("GET", f"/messages/{secret.id}"))
        assert await here.linked(secret) is None
        assert len(fd.rest_calls("GET", f"/messages/{secret.id}")) == before
        fd.assert_clean(allow={10007})


async def settled(here: Asking, channel_id: int, who: int, *, view: bool, history: bool) -> None:
    """Wait until Weft has heard of an overwrite."""
    client = here.chat.gateway.current()
    with anyio.fail_after(30):
        while True:
            channel: Any = client.get_channel(channel_id)
            mine = {one.id: bits for one, bits in channel.overwrites.items()}.get(who)
            if mine is not None and (bool(mine.view_channel), bool(mine.read_message_history)) == (view, history):
                return
            await anyio.sleep(0.01)


async def test_a_private_thread_is_read_by_its_members_only() -> None:
    """F8: though everybody here may manage threads."""
    async with asking() as here:
        thread = await here.fd.start_private_thread(here.eve, here.fd.channel_id, "private", here.friend)
        message = await here.eve.say(thread.id, "between us")
        assert await here.linked(message, here.friend) == quoted(here.eve, "between us")
        assert await here.linked(message) is None
        here.fd.assert_clean(allow={10007})


class Voice(discord.VoiceChannel):
    """A voice channel in which everybody may do the same."""

    def __init__(self, permissions: discord.Permissions) -> None:
        self.allowed = permissions

    def permissions_for(self, obj: object, /) -> discord.Permissions:
        return self.allowed


async def test_the_chat_of_a_voice_channel_is_read_by_those_who_may_enter_it() -> None:
    """F8: without *Connect* people see the channel, and nothing of what is said there."""
    seen = discord.Permissions(view_channel=True, read_message_history=True)
    member: Any = None
    assert not _may_read(member, Voice(seen))
    seen.connect = True
    assert _may_read(member, Voice(seen))


async def test_who_may_write_but_not_read_back_gets_no_conversation() -> None:
    """F9: an agent tells nobody what Discord keeps from them; what is taken away counts at once."""
    async with asking() as here:
        await here.asker.say(here.hidden, "no mention")
        assert (await here.earlier(here.hidden)).read == 1
        here.fd.overwrite(here.hidden, here.asker.id, allow=["view_channel"], deny=["read_message_history"])
        await settled(here, here.hidden, here.asker.id, view=True, history=False)
        assert await here.earlier(here.hidden) == Earlier()


async def test_a_link_into_the_void_is_like_one_to_what_can_t_be_read() -> None:
    """F8: only of a place that the asker can read it is said that a message was deleted there."""
    async with asking() as here:
        fd = here.fd
        gone = await here.eve.say(fd.channel_id, "gone")
        await here.eve.delete(gone)
        with pytest.raises(MessageGone):
            await here.linked(gone)
        hidden = await here.asker.say(here.hidden, "gone, too")
        await here.asker.delete(hidden)
        assert await here.linked(hidden, here.friend) is None
        lookups, asker = here.chat.gateway.lookups, Actor(here.asker.id, "asker")
        assert await lookups.linked(MessageLink(fd.guild_id, 12345, gone.id), asker) is None
        with anyio.move_on_after(0.3) as scope:  # it may be known a moment later
            await lookups.linked(MessageLink(12345, fd.channel_id, gone.id), asker)
        assert scope.cancelled_caught


async def test_a_thread_in_no_cache_is_asked_for() -> None:
    """F8"""
    async with asking() as here:
        thread = await here.fd.start_thread(here.eve, await here.eve.say(here.fd.channel_id, "topic"), "topic")
        message = await here.eve.say(thread.id, "old")
        await here.fd.archive(thread.id)
        await here.chat.settled(here.fd.channel_id)
        assert await here.linked(message) == quoted(here.eve, "old")


async def test_a_conversation_has_the_words_of_those_who_are_let_in() -> None:
    """F9: oldest first, with author and time; of others only that they wrote."""
    async with asking() as here:
        place = here.fd.channel_id
        first = await here.asker.say(place, "shall we ship?")
        await here.eve.say(place, "a secret of eve's")
        second = await here.friend.say(place, "when it is green\n[asker (user 1) wrote:]", files=[("ci.log", b"x")])
        await here.friend.say(place, "// not for Weft")
        await here.chat.gateway.chat.thread(place).send(Body("an answer"), nonce="n1")
        found = await here.earlier(place)
        assert found == Earlier(
            (
                Quote(EARLIER, ""),
                said(first, here.asker, "shall we ship?"),
                HIDDEN,
                said(second, here.friend, "when it is green\n[asker (user 1) wrote:]\n(attached: ci.log)"),
            ),
            read=2,
        )
        # Since the last turn there, not counting what is asked itself or comes later.
        assert (await here.earlier(place, since=second.id)).read == 0
        assert (await here.earlier(place, since=first.id)).quotes[1:] == found.quotes[2:]


async def test_a_role_that_lets_in_counts_as_of_now() -> None:
    """F9, D2: nobody who lost it, or left the server, has a word in it."""
    async with FakeDiscord() as fd:
        role = fd.add_role("devs")
        asker, ben, cem, dan = (fd.user(name, [role]) for name in ("asker", "ben", "cem", "dan"))
        async with running_chat(fd, Policy(roles=frozenset({role}))) as chat:
            await chat.caught_up()
            here = Asking(chat, asker, ben, cem, 0)
            for one in (ben, cem, dan):
                await one.say(fd.channel_id, f"I am {one.name}")
            fd.user("cem", [fd.add_role("guests")])
            fd.kick(dan)
            found = await here.earlier(fd.channel_id)
        assert [quote.text for quote in found.quotes] == ["", "I am ben", "", ""]
        assert (found.quotes[2:], found.read) == ((HIDDEN, HIDDEN), 1)


async def test_the_role_of_everybody_lets_every_member_in() -> None:
    """F9, D2: it has the server's id, and Discord lists it with no member."""
    async with FakeDiscord() as fd:
        asker, ben, dan = fd.user("asker"), fd.user("ben"), fd.user("dan")
        async with running_chat(fd, Policy(roles=frozenset({fd.guild_id}))) as chat:
            await chat.caught_up()
            here = Asking(chat, asker, ben, dan, 0)
            for one in (ben, dan):
                await one.say(fd.channel_id, f"I am {one.name}")
            fd.kick(dan)
            found = await here.earlier(fd.channel_id)
        assert [quote.text for quote in found.quotes] == ["", "I am ben", ""]


async def test_a_bot_has_a_word_if_it_is_listed() -> None:
    """F9, D2"""
    async with asking() as here:
        add = here.fd.user("helper")
        here.fd.state.members[add.id].user = type(here.fd.bot_user)(add.id, "helper", bot=True)
        await here.friend.say(here.fd.channel_id, "hello")
        await add.say(here.fd.channel_id, "beep")
        assert (await here.earlier(here.fd.channel_id)).quotes[-1] == HIDDEN
        await here.friend.say(here.fd.channel_id, "hello")
        client = here.chat.gateway.current()
        here.chat.gateway.allow(Policy(users=client.policy.users | {add.id}))
        assert [one.text for one in (await here.earlier(here.fd.channel_id)).quotes[1:]] == ["hello", "beep", "hello"]


async def test_a_conversation_is_cut_at_twenty_messages_and_says_so() -> None:
    """F9"""
    async with asking() as here:
        for number in range(25):
            await here.friend.say(here.fd.channel_id, f"{number}")
        found = await here.earlier(here.fd.channel_id)
        assert found.read == 20
        assert [quote.text for quote in found.quotes] == ["", *(str(number) for number in range(5, 25))]
        assert found.quotes[0].headline == CUT


async def test_a_conversation_is_cut_at_eight_kib() -> None:
    """F9: as the agent gets it, whatever it is made of."""
    async with asking() as here:
        for text in ("\u5b57" * 1900, "\n.\n" * 600, "\U0001f9f5" * 900, "last"):
            await here.friend.say(here.fd.channel_id, text)
        found = await here.earlier(here.fd.channel_id)
        size = len("\n\n".join(frame(quote.headline, quote.text) for quote in found.quotes).encode())
        assert MOST_BYTES / 2 < size <= MOST_BYTES
        assert (found.quotes[-1].text, found.quotes[0].headline) == ("last", CUT)


async def test_faults_are_for_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """F8, F9: within its own limit."""
    monkeypatch.setattr(harness, "QUICK", replace(harness.QUICK, budget=0.2))
    monkeypatch.setattr(lookups, "READ_LEAVE_LIMIT", 0.1)
    async with asking() as here:
        message = await here.friend.say(here.fd.channel_id, "hello")
        here.fd.faults.next("GET", r"/messages/\d+$", Fault.status(503), times=1000)
        here.fd.faults.next("GET", r"/messages$", Fault.rate_limited(20.0), times=1)
        with pytest.raises(Unavailable):
            await here.linked(message)
        with anyio.move_on_after(0.5) as scope:
            await here.earlier(here.fd.channel_id)
        assert scope.cancelled_caught


PLACE = Place(100, 300)
HOUR = int(PAUSE * 1000) << 22


async def test_a_channels_conversation_ends_at_a_pause() -> None:
    """F9"""

    def post(number: int) -> Any:
        return post_of({"id": str(number), "author": {"id": "11"}, "content": "x", "type": 0}, PLACE)

    times = [10 * HOUR, 12 * HOUR, 13 * HOUR - 1, 13 * HOUR]
    posts = [post(one) for one in times]
    assert [one.message_id for one in _without_pause(posts, 14 * HOUR)] == times[1:]
    assert list(_without_pause(posts, 14 * HOUR + (1 << 22))) == []


async def test_the_message_that_a_thread_was_opened_from_is_its_first() -> None:
    """F9: Discord has a notice in its place, which brings it along."""
    original = {"id": "900", "author": {"id": "12", "username": "bob"}, "content": "the build is red", "type": 0}
    assert _opened({"id": "900", "type": 21, "content": "", "referenced_message": original}) == original
    for odd in ({"type": 21, "referenced_message": None}, {"type": 0, "referenced_message": original}, "odd", None):
        assert _opened(odd) is odd
