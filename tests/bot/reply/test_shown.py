"""What a reply tells on its way: its messages as they come, and what is owed at its end."""

from __future__ import annotations

import anyio

from bot.outcome import Outcome
from bot.reply.final import FinalReply
from bot.reply.owed import OwedText
from bot.reply.port import Body, MessageGone
from tests.bot.reply.fakes import PROSE, final_reply, in_virtual_time, scene
from tests.bot.reply.replies import DONE, KEY


@in_virtual_time
async def test_the_messages_of_a_reply_are_told_as_they_come_and_cards_and_notices_are_not() -> None:
    """R2"""
    told: list[tuple[int, ...]] = []
    async with scene() as at:
        reply = at.editor.open(KEY, at.turn.snapshot, on_shown=told.append)
        await at.stream(reply, PROSE[:500], 3)
        reply.card("a", Body("-# card"))
        await at.editor.say(Body("-# notice")).delivered()
        await at.stream(reply, PROSE[500:3000], 8)
        assert await at.end(reply, final_reply(ping=7))
        own = [key for key, text in at.thread.shown if text not in ("-# card", "-# notice")]
    assert told == [tuple(own[:length]) for length in range(1, len(own) + 1)]
    assert len(own) >= 4


@in_virtual_time
async def test_a_message_that_was_replaced_is_told_in_its_place() -> None:
    """D10, R2"""
    told: list[tuple[int, ...]] = []
    async with scene() as at:
        reply = at.editor.open(KEY, at.turn.snapshot, on_shown=told.append)
        await at.stream(reply, PROSE[:2200], 8)
        at.thread.fail["edit"] = [MessageGone()]
        assert await at.end(reply)
    first, second = told[1]
    assert told[-1] in [(first, 103), (103, second)]


@in_virtual_time
async def test_a_listener_that_fails_does_not_hurt_the_reply() -> None:
    """O4"""

    def broken(ids: tuple[int, ...]) -> None:
        raise RuntimeError("a bug")

    async with scene() as at:
        reply = at.editor.open(KEY, at.turn.snapshot, on_shown=broken)
        at.turn.text = "fine"
        assert await at.end(reply)
        assert at.thread.texts == ["fine\n-# footer"]


@in_virtual_time
async def test_between_the_payload_and_the_end_nothing_of_the_end_is_shown() -> None:
    """O1, D3: what is owed can be written down before anybody sees it."""
    async with scene() as at:
        reply = at.open()
        await at.stream(reply, "Half", 2)
        at.turn.text += " and half."
        final = final_reply()
        payload = reply.owed(final)
        requests = at.thread.requests
        reply.touch(urgent=True)
        await anyio.sleep(60)
        assert requests == at.thread.requests
        assert OwedText.from_json(payload).text == "Half and half."
        reply.finish(final)
        assert await reply.delivered()
        assert (payload, reply.owed()) == (payload, None)
        assert at.thread.texts == ["Half and half.\n-# footer"]


@in_virtual_time
async def test_only_a_finished_reply_owes_something() -> None:
    async with scene() as at:
        reply = at.open()
        at.turn.text = "Done."
        assert reply.owed() is None
        reply.finish(final_reply())
        payload = reply.owed()
        assert payload is not None
        assert OwedText.from_json(payload) == DONE
        assert await reply.delivered()


@in_virtual_time
async def test_a_turn_that_cannot_be_rendered_owes_nothing_and_is_given_up() -> None:
    """O4"""

    def broken(offset: int) -> None:
        raise RuntimeError("a bug")

    async with scene() as at:
        reply = at.editor.open(1, broken)
        assert reply.owed(FinalReply(Outcome.ANSWERED)) is None
        assert not await reply.delivered()
