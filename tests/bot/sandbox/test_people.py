"""What hangs on messages beside text, as the unmodified discord.py sees it."""

import pytest

from bot.sandbox import FakeDiscord, people
from tests.bot.sandbox.client import connected

pytestmark = pytest.mark.asyncio


async def test_polls_stickers_voice_and_forwarded_messages_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        alice = fd.user("alice")
        await alice.say(fd.channel_id, also=people.poll("Ship it?", "yes", "no"))
        await alice.say(fd.channel_id, also=people.stickers(fd.state, "Wave"))
        await alice.say(fd.channel_id, files=[("voice-message.ogg", b"sound")], voice=True)
        original = await fd.owner.say(fd.channel_id, "look at this", files=[("log.txt", b"boom")])
        await alice.forward(original, fd.channel_id)
        await bot.wait_until(lambda b: len(b.seen) == 5)

    polled, waved, voice, _, forwarded = bot.seen
    assert polled.poll is not None
    assert [answer.text for answer in polled.poll.answers] == ["yes", "no"]
    assert [one.name for one in waved.stickers] == ["Wave"]
    assert voice.flags.voice
    assert voice.attachments[0].is_voice_message()
    assert forwarded.content == ""
    assert forwarded.reference is not None
    assert forwarded.reference.message_id == original.id
    assert [one.content for one in forwarded.message_snapshots] == ["look at this"]
    assert [one.filename for one in forwarded.message_snapshots[0].attachments] == ["log.txt"]


async def test_a_reply_pings_unless_its_author_asked_for_none() -> None:
    async with FakeDiscord() as fd:
        original = await fd.owner.say(fd.channel_id, "done")
        loud = await fd.user("alice").say(fd.channel_id, "thanks", reply_to=original)
        quiet = await fd.user("alice").say(fd.channel_id, "thanks <@1>", reply_to=original, ping=False)
        assert loud.mentions == (fd.owner.id,)
        assert quiet.mentions == ()
        assert quiet.reference_id == original.id
