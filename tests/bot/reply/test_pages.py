"""Long answers in several messages, as the editor makes them."""

from __future__ import annotations

import anyio
import pytest

from acp.snapshot import Diff
from bot.reply.pending_reply import SavedReply
from bot.reply.sanitise import clean, units
from tests.bot.reply.fakes import PROSE, STOP, final_reply, in_virtual_time, scene, spoken
from tests.bot.reply.samples import tool


@in_virtual_time
async def test_a_long_answer_goes_on_in_further_messages_and_nothing_is_lost() -> None:
    """D4"""
    async with scene() as at:
        reply = at.open()
        await at.stream(reply, PROSE[:9000], 30)
        assert await at.end(reply)
        assert PROSE[:9000] == spoken(at.thread.texts).removesuffix("\n")
        assert all(units(text) <= 2000 for text in at.thread.texts)
        assert at.thread.texts[-1].endswith("\n-# footer")
        assert [body for body in at.thread.messages.values() if body.buttons] == []


@in_virtual_time
async def test_only_the_last_message_has_status_and_stop_button() -> None:
    """D5"""
    async with scene() as at:
        reply = at.open()
        await at.stream(reply, PROSE[:6000], 20)
        await anyio.sleep(3)
        assert [False] * (len(at.thread.texts) - 1) + [True] == [
            STOP in body.buttons for body in at.thread.messages.values()
        ]
        assert [False] * (len(at.thread.texts) - 1) + [True] == ["-# ⏳" in text for text in at.thread.texts]


@in_virtual_time
async def test_long_changes_stand_in_a_file_at_the_end_of_the_reply() -> None:
    """V3, T4: and still after a restart."""
    change = Diff("a.py", "old\n", "new\n" * 300)
    async with scene() as at:
        at.turn.fields["tools"] = (tool(title="Edit", status="completed", diffs=(change,)),)
        reply = at.open()
        saved = SavedReply.from_json(reply.owed(final_reply()) or "")
        assert await at.end(reply)
        text, last = at.thread.messages.values()
        assert text.text.endswith("`Edit`\n`a.py` +300 −1 (304 lines, in the file)")
        assert last.text == "-# The changes of more than 30 lines are in the file.\n-# footer"
        assert last.file is not None
        assert last.file.name == "changes.diff"
        assert last.file.data.decode().startswith("--- a.py\n+++ a.py\n@@ -1 +1,300 @@\n-old\n+new\n")
    async with scene() as at:
        assert await at.editor.restore(2, saved, ()).delivered()
        assert [text, last] == list(at.thread.messages.values())


@in_virtual_time
async def test_a_frozen_message_is_never_asked_for_again() -> None:
    """T10: an edit costs what its message costs."""
    async with scene() as at:
        reply = at.open()
        await at.stream(reply, PROSE[:12000], 60)
        assert max(length - start for start, length in at.turn.asked) <= 2 * 2000
        await at.end(reply)


@in_virtual_time
async def test_a_code_block_over_the_border_is_closed_and_opened_again() -> None:
    """D4"""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "```py\n" + "print('hello')\n" * 300
        assert await at.end(reply)
        assert all(text.startswith("```py\n") for text in at.thread.texts)
        assert all("\n```" in text for text in at.thread.texts)


@in_virtual_time
async def test_after_eight_messages_the_rest_is_a_file() -> None:
    """D4"""
    text = PROSE * 3
    async with scene() as at:
        reply = at.open()
        await at.stream(reply, text, 60, chunk=400)
        assert await at.end(reply)
        bodies = [at.thread.messages[key] for key in sorted(at.thread.messages)]
        assert len(bodies) == 9
        file = bodies[-1].file
        assert file is not None
        assert file.name == "answer.md"
        assert text == spoken([body.text for body in bodies[:-1]]) + file.data.decode()
        assert bodies[-1].text.endswith("-# footer")
        assert [body for body in bodies if body.buttons] == []


@in_virtual_time
async def test_an_endless_answer_is_not_read_again_and_again_once_it_is_a_file() -> None:
    """T10"""
    async with scene() as at:
        reply = at.open()
        at.turn.text = PROSE * 2
        reply.touch()
        await anyio.sleep(10)
        at.turn.asked.clear()
        await at.stream(reply, PROSE, 10, chunk=100)
        assert max(length - start for start, length in at.turn.asked) <= 3000
        await at.end(reply)


@in_virtual_time
async def test_control_characters_and_terminal_colours_are_not_posted() -> None:
    async with scene() as at:
        reply = at.open()
        at.turn.text = "\x1b[31mred\x1b[0m\x00 \ud800end"
        await at.end(reply)
        assert at.thread.texts == ["red \ufffdend\n-# footer"]


@in_virtual_time
async def test_a_full_message_is_never_rendered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """T10: an edit costs what its message costs."""
    rendered: list[str] = []

    def watched(text: str) -> str:
        rendered.append(text)
        return clean(text)

    monkeypatch.setattr("bot.reply.split.clean", watched)
    async with scene() as at:
        reply = at.open()
        await at.stream(reply, PROSE[:9000], 30)
        rendered.clear()
        for _ in range(5):
            at.turn.text += "more "
            reply.touch()
            await anyio.sleep(1.3)
        assert len(rendered) >= 5
        assert "Sentence number 1 " not in "".join(rendered)
        await at.end(reply)


@in_virtual_time
async def test_a_coloured_fence_does_not_swallow_the_footer() -> None:
    """D4, D5"""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "The log:\n\x1b[0m```sh\nmake"
        assert await at.end(reply)
        assert at.thread.texts == ["The log:\n```sh\nmake\n```\n-# footer"]
