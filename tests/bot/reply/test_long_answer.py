"""A long answer as a summary and a file (V5)."""

from __future__ import annotations

import random

import anyio
import pytest

from bot.reply.editor import ThreadEditor
from bot.reply.long_answer import file_note, summary
from bot.reply.pacing import Pacing
from bot.reply.port import Body, PortError
from bot.reply.sanitise import units
from tests.bot.reply.fakes import PROSE, FakeThread, FakeTurn, final_reply, in_virtual_time, spoken
from tests.bot.reply.replies import RestartedReply

ANSWER = (
    "# Review\n\nIt is *fine*.\n\n## Queue\n\n"
    + PROSE[:4000]
    + "\n\n```sh\n# no heading\n```\n\n## Pool\n\n"
    + PROSE[:4000]
)
SHORT = "It is *fine*.\n\n- Review\n  - Queue\n  - Pool\n\n-# The whole answer is in the file below."


async def answered(thread: FakeThread, text: str, *, long_as_file: bool = True, wait: float = 60) -> bool:
    """Let a turn say ``text`` bit by bit, and wait until nothing is left to do."""
    turn = FakeTurn(started=anyio.current_time(), last_event=anyio.current_time())
    editor = ThreadEditor(thread, Pacing(), nonces=iter(map(str, range(99))).__next__, long_as_file=long_as_file)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(editor.run)
        reply = editor.open(2, turn.snapshot, reply_to=2)
        for end in range(400, len(text) + 400, 400):
            turn.text = text[:end]
            reply.touch()
            await anyio.sleep(0.5)
        # While it grows nothing of it is taken away.
        assert text.startswith(spoken(thread.texts).rstrip("\n"))
        reply.finish(final_reply())
        delivered = await reply.delivered()
        await anyio.sleep(wait)
        editor.close()
    return delivered


def test_the_summary_is_the_first_paragraph_and_the_headings() -> None:
    """V5"""
    assert summary(ANSWER) == SHORT


def test_a_summary_has_room_in_a_message_and_says_what_it_leaves_out() -> None:
    """V5"""
    text = "word " * 1000 + "\n\n" + "".join(f"# Heading number {number}\n\ntext\n\n" for number in range(200))
    shown = summary(text)
    assert units(shown) <= 1900
    kept = shown.count("- Heading")
    assert 20 < kept < 200
    assert f"-# and {200 - kept} more headings" in shown


def test_a_summary_of_an_answer_without_words_is_still_one() -> None:
    """V5"""
    assert summary("```\ncode\n```\n") == "-# The whole answer is in the file below."
    assert summary("1. ```sh\n   # no heading\n   ```\n\n# One\n") == (
        "- One\n\n-# The whole answer is in the file below."
    )
    assert summary("### [x](https://a.org)\n| a |\n|---|\n") == (
        "- x (<https://a.org>)\n\n-# The whole answer is in the file below."
    )


@in_virtual_time
async def test_a_long_answer_ends_as_a_summary_and_a_file() -> None:
    """V5"""
    thread = FakeThread()
    assert await answered(thread, ANSWER)
    first, last = thread.messages.values()
    assert first == Body(SHORT)
    assert last.text == f"{file_note(ANSWER)}\n-# footer"
    assert last.file is not None
    assert (last.file.name, last.file.data.decode()) == ("answer.md", ANSWER)


@in_virtual_time
async def test_an_answer_of_three_messages_stays_as_it_is() -> None:
    """V5"""
    thread = FakeThread()
    assert await answered(thread, PROSE[:5000])
    assert len(thread.texts) == 3
    assert all(body.file is None for body in thread.messages.values())


@in_virtual_time
async def test_by_default_a_long_answer_stays_in_its_messages() -> None:
    """V5, D4"""
    thread = FakeThread()
    assert await answered(thread, ANSWER, long_as_file=False)
    assert len(thread.texts) > 3
    assert all(body.file is None for body in thread.messages.values())


class NoFiles(FakeThread):
    """A thread in which nobody may attach files."""

    async def send(self, body: Body, *, nonce: str, reply_to: int | None = None) -> int:
        if body.file is not None:
            raise PortError("no files here")
        return await super().send(body, nonce=nonce, reply_to=reply_to)


@in_virtual_time
async def test_what_was_shown_stays_where_the_file_is_refused() -> None:
    """V5: no text goes before its file is there."""
    thread = NoFiles()
    assert await answered(thread, ANSWER)
    assert spoken(thread.texts) == ANSWER
    assert thread.texts[-1] == "-# footer"


@pytest.mark.parametrize("crash_at", range(1, 40))
@in_virtual_time
async def test_a_kill_at_any_request_loses_no_text(crash_at: int) -> None:
    """V5, R2"""
    life = RestartedReply(long_as_file=True)

    async def play(editor: ThreadEditor) -> None:
        await life.answer(editor, ANSWER, random.Random(crash_at), final_reply())

    if not await life.run(play, crash_at) and life.payload is not None and not life.ended:
        await life.run(life.restore)
    await anyio.sleep(60)
    bodies = list(life.thread.messages.values())
    files = [body.file for body in bodies if body.file is not None]
    assert [file.data.decode() for file in files[1:]] == []
    if life.payload is not None:
        assert life.delivered == [True]
        assert len([body for body in bodies if body.text.endswith("-# footer")]) == 1
        # Either all of it is in the file, or it all stands in the thread.
        assert [file.data.decode() for file in files] == [ANSWER] or life.said == "".join(ANSWER.split())
        # And not half of each: pages beside the file are taken away by the next run.
        said = [body.text for body in bodies if body.file is None and not body.text.startswith("-# card ")]
        assert not files or said == [SHORT]
