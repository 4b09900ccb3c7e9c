"""The editor in a thread of which Discord takes no edit for minutes: the end does not wait for that."""

from __future__ import annotations

import random
from collections import Counter

import anyio
import pytest

from bot.reply.port import Body, Unavailable
from tests.bot.reply.fakes import ALLOW, PROSE, final_reply, in_virtual_time, scene, spoken

LONG = 180.0


def limited(seconds: float = LONG) -> Unavailable:
    return Unavailable("429", seconds)


@in_virtual_time
async def test_the_end_is_a_new_message_while_edits_are_not_taken() -> None:
    """D3: what stood there keeps its text, and loses status and button when that can be done."""
    async with scene() as at:
        reply = at.open()
        await at.stream(reply, "Seen. ", 3)
        at.thread.fail["edit"] = [limited()]
        await at.stream(reply, "Not seen, but not lost.", 20)
        ended = anyio.current_time()
        assert await at.end(reply)
        assert anyio.current_time() - ended < 1
        assert at.thread.texts[-1] == "Not seen, but not lost.\n-# footer"
        assert len(at.thread.of("edit")) == 1
        await anyio.sleep(LONG)
        assert at.thread.texts == ["Seen. ", "Not seen, but not lost.\n-# footer"]
        assert not any(body.buttons for body in at.thread.messages.values())
        assert len(at.thread.of("edit")) == 2


@in_virtual_time
async def test_an_end_whose_own_edit_is_not_taken_becomes_a_new_message() -> None:
    """D3, O1"""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "All said."
        reply.touch()
        await anyio.sleep(2)
        at.thread.fail["edit"] = [limited()]
        ended = anyio.current_time()
        assert await at.end(reply)
        assert anyio.current_time() - ended < 1
        await anyio.sleep(LONG)
        assert at.thread.texts == ["All said.", "-# footer"]


@in_virtual_time
async def test_a_limit_that_is_over_in_a_moment_is_waited_for() -> None:
    """D3: one message is better than two."""
    async with scene() as at:
        reply = at.open()
        await at.stream(reply, "Seen. ", 3)
        at.thread.fail["edit"] = [limited(40)]
        await at.stream(reply, "And this.", 38)
        assert await at.end(reply)
        assert at.thread.texts == ["Seen. And this.\n-# footer"]


@in_virtual_time
async def test_a_message_is_not_posted_again_before_the_limit_is_over() -> None:
    """D3"""
    async with scene(fail={"send": [limited()]}) as at:
        reply = at.open()
        at.turn.text = "late"
        assert await at.end(reply)
        first, second = at.thread.of("send")
        assert second.at - first.at >= LONG
        assert first.nonce == second.nonce


@pytest.mark.parametrize("seed", range(15))
def test_whenever_edits_are_not_taken_no_text_is_lost_or_shown_twice(seed: int) -> None:
    """D3, D4"""
    dice = random.Random(seed)
    text = PROSE[: dice.randrange(500, 9000)]

    @in_virtual_time
    async def play() -> None:
        async with scene(delay=dice.uniform(0.01, 0.4), stall=dice.choice([0.0, 2.0])) as at:
            refusal = dice.choice([limited(), limited(31), Unavailable("503")])
            at.thread.fail["edit"] = [*[None] * dice.randrange(6), *[refusal] * dice.randrange(1, 3)]
            reply = at.open()
            start = 0
            while start < len(text):
                end = start + dice.randrange(1, 900)
                await at.stream(reply, text[start:end], dice.uniform(0.1, 4))
                start = end
                if dice.random() < 0.1:
                    reply.card(f"c{start}", Body("-# card", (ALLOW,)))
            assert await at.end(reply, final_reply())
            await anyio.sleep(3 * LONG)
            files = [body.file.data.decode() for body in at.thread.messages.values() if body.file]
            shown = "".join((spoken(at.thread.texts) + "".join(files)).split())
            assert Counter("".join(text.split())) == Counter(shown)
            assert "".join(at.thread.texts).count("-# footer") == 1
            assert not any("⏳" in one for one in at.thread.texts)

    play()
