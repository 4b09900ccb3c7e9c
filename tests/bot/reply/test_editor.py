"""How an editor ends, and what it delivers whatever happens."""

from __future__ import annotations

import random

import anyio
import pytest

from bot.reply.editor import ThreadEditor
from bot.reply.pacing import Pacing
from bot.reply.port import Body, Unavailable
from tests.bot.reply.fakes import ALLOW, PROSE, FakeThread, FakeTurn, final_reply, in_virtual_time, scene, spoken


@in_virtual_time
async def test_a_closed_editor_ends_once_everything_is_delivered() -> None:
    """D3: it outlives the turn."""
    async with scene(stall=2.0) as at:
        reply = at.open()
        at.turn.text = "one"
        reply.touch()
        await anyio.sleep(2)
        at.turn.text += " two"
        reply.touch()
        await anyio.sleep(0.1)
        reply.finish(final_reply())
        at.editor.close()
        assert await reply.delivered()
    assert (at.thread.texts, at.editor.idle) == (["one two\n-# footer"], True)


@in_virtual_time
async def test_closing_with_an_open_turn_shows_what_there_is_and_ends() -> None:
    """R1"""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "half an ans"
        reply.touch()
        at.editor.close()
        assert not await reply.delivered()
    assert at.thread.texts[0].startswith("half an ans")


@in_virtual_time
async def test_a_cancelled_editor_lets_the_edit_that_has_begun_come_to_its_end() -> None:
    """D3: an edit is never cancelled half-way."""
    began, ended = anyio.Event(), []

    async def watch(kind: str) -> None:
        if kind == "edit":
            began.set()
            await anyio.sleep(3)
            ended.append(kind)

    port = FakeThread(before=watch)
    editor = ThreadEditor(port, Pacing(), nonces=lambda: "n")
    turn = FakeTurn()
    reply = editor.open(1, turn.snapshot)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(editor.run)
        turn.text = "one"
        reply.touch()
        await anyio.sleep(2)
        turn.text = "one two"
        reply.touch()
        await began.wait()
        tasks.cancel_scope.cancel()
    assert ended == ["edit"]
    assert not await reply.delivered()


@in_virtual_time
async def test_an_editor_with_an_open_reply_is_not_idle() -> None:
    async with scene() as at:
        assert at.editor.idle
        reply = at.open()
        assert not at.editor.idle
        await at.end(reply)
        await anyio.sleep(5)
        assert at.editor.idle


@pytest.mark.parametrize("seed", range(25))
def test_whatever_the_thread_does_the_text_arrives_exactly_once(seed: int) -> None:
    """D3, D4, D10: random faults, delays, cards; no text lost, none shown twice."""
    dice = random.Random(seed)
    text = PROSE[: dice.randrange(200, 9000)]
    errors: list[Exception | None] = [Unavailable("503"), None, None]

    @in_virtual_time
    async def play() -> None:
        async with scene(delay=dice.uniform(0.01, 0.5), stall=dice.choice([0.0, 2.0])) as at:
            at.thread.lose_answers = dice.random() < 0.5
            at.thread.fail = {kind: [dice.choice(errors) for _ in range(12)] for kind in ("send", "edit")}
            reply = at.open()
            start, number = 0, 0
            while start < len(text):
                end = start + dice.randrange(1, 900)
                await at.stream(reply, text[start:end], dice.uniform(0.1, 4))
                start = end
                if dice.random() < 0.2:
                    number += 1
                    reply.card(f"c{number}", Body(f"-# card {number}", (ALLOW,)))
            assert await at.end(reply)
            files = [body.file.data.decode() for body in at.thread.messages.values() if body.file]
            assert "".join(text.split()) == "".join((spoken(at.thread.texts) + "".join(files)).split())
            assert at.thread.texts[-1].endswith("-# footer")

    play()


@in_virtual_time
async def test_closing_tries_at_once_what_waits_after_a_refusal() -> None:
    """R1"""
    async with scene(fail={"send": [Unavailable("503")] * 8}) as at:
        notice = at.editor.say(Body("notice"))
        await anyio.sleep(130)
        at.thread.fail.clear()
        at.editor.close()
        began = anyio.current_time()
        assert await notice.delivered()
        assert anyio.current_time() - began <= 0.2


@in_virtual_time
async def test_what_is_known_late_is_added_to_the_last_line_of_a_reply() -> None:
    """W3: also after another message, and once only."""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "one"
        reply.finish(final_reply())
        assert await reply.delivered()
        at.editor.say(Body("a notice"))
        at.editor.amend(reply, "-# footer", " · `branch`")
        await anyio.sleep(10)
        assert at.thread.texts == ["one\n-# footer · `branch`", "a notice"]
        assert at.editor.idle


@in_virtual_time
async def test_what_is_known_late_does_not_matter_where_it_cannot_be_added() -> None:
    """W3, D3: a deleted message is not posted again for it, a full one stays, and another end is not added to."""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "one"
        reply.finish(final_reply())
        assert await reply.delivered()
        at.editor.amend(reply, "-# another footer", " · `branch`")
        at.editor.amend(reply, "-# footer", "x" * 2000)
        await anyio.sleep(10)
        assert at.thread.texts == ["one\n-# footer"]
        at.thread.messages.clear()
        at.editor.amend(reply, "-# footer", " · `branch`")
        await anyio.sleep(10)
        assert (at.thread.texts, at.editor.idle) == ([], True)
