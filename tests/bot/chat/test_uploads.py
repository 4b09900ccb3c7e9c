"""Files that stay where they are until they are sent: read for each try, without secrets, and within bounds (F7)."""

from __future__ import annotations

import io
import threading
from typing import BinaryIO

import pytest

from bot.chat import port
from bot.reply.port import Body, OwnMessage, Upload, UploadRefused
from bot.sandbox import Fault
from tests.bot.chat.test_port import SENDS, in_a_thread

pytestmark = pytest.mark.asyncio

LIMIT = 10 * 2**20


class Endless(io.RawIOBase):
    """A file that grows faster than it can be read."""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return b"x" * max(size, 1)


def upload(name: str, data: bytes, limit: int = LIMIT) -> Upload:
    return Upload(name, lambda: io.BytesIO(data), limit)


async def test_files_are_posted_in_one_message_and_read_anew_for_each_try() -> None:
    opened: list[str] = []

    def open_it() -> BinaryIO:
        opened.append("a.txt")
        return io.BytesIO(b"one")

    async with in_a_thread() as (chat, thread_id):
        chat.fd.faults.next("POST", SENDS, Fault.status(503))
        body = Body("two files", uploads=(Upload("a.txt", open_it, LIMIT), upload("b.bin", b"\xff\0" * 2**20)))
        message = chat.fd.message(await chat.gateway.chat.thread(thread_id).send(body, nonce="n1"))
        assert [(one.name, one.content) for one in message.attachments] == [
            ("a.txt", b"one"),
            ("b.bin", b"\xff\0" * 2**20),
        ]
        assert opened == ["a.txt"] * 2
        chat.fd.assert_clean()


async def test_a_file_that_grows_without_end_or_is_gone_is_refused_and_nothing_is_posted() -> None:
    def gone() -> BinaryIO:
        raise FileNotFoundError(2, "No such file or directory")

    async with in_a_thread() as (chat, thread_id):
        thread = chat.gateway.chat.thread(thread_id)
        before = len(chat.fd.messages(thread_id))
        growing = Upload("log.txt", lambda: Endless(), LIMIT)  # type: ignore[arg-type, return-value]  # noqa: PLW0108
        with pytest.raises(UploadRefused, match=r"log\.txt has grown beyond what this server takes"):
            await thread.send(Body("files", uploads=(growing,)), nonce="n1")
        with pytest.raises(UploadRefused, match=r"a\.txt can't be read: no such file"):
            await thread.send(Body("files", uploads=(Upload("a.txt", gone, LIMIT),)), nonce="n2")
        assert len(chat.fd.messages(thread_id)) == before


async def test_a_file_on_a_disk_that_hangs_does_not_hold_up_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def hanging() -> BinaryIO:
        go_on.wait(10)
        return io.BytesIO(b"late")

    monkeypatch.setattr(port, "COPY_LIMIT", 0.05)
    async with in_a_thread() as (chat, thread_id):
        before = len(chat.fd.messages(thread_id))
        with pytest.raises(UploadRefused, match="takes too long to read"):
            await chat.gateway.chat.thread(thread_id).send(
                Body("f", uploads=(Upload("a", hanging, LIMIT),)), nonce="n1"
            )
        go_on.set()
        assert len(chat.fd.messages(thread_id)) == before


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Fault.status(413, 40005), "it is too large here"),
        (Fault.html(413), "it is too large here"),
        (Fault.status(403, 50013), "I lack the permission Attach Files"),
    ],
)
async def test_what_discord_does_not_take_is_refused_with_the_reason(fault: Fault, why: str) -> None:
    async with in_a_thread() as (chat, thread_id):
        chat.fd.faults.next("POST", SENDS, fault)
        with pytest.raises(UploadRefused, match=why):
            await chat.gateway.chat.thread(thread_id).send(Body("f", uploads=(upload("a", b"1"),)), nonce="n1")


async def test_a_message_says_what_it_replies_to_and_a_server_how_much_it_takes() -> None:
    async with in_a_thread() as (chat, thread_id):
        thread = chat.gateway.chat.thread(thread_id)
        first = await thread.send(Body("first"), nonce="n1")
        second = await thread.send(Body("second"), nonce="n2", reply_to=first)
        assert await thread.own_messages(first, 10) == [OwnMessage(second, "second", reply_to=first)]
        # Also of one that is gone: a run that was killed must not post its answer again.
        await thread.delete(first)
        assert await thread.own_messages(first, 10) == [OwnMessage(second, "second", reply_to=first)]
        assert chat.gateway.chat.upload_limit(chat.fd.guild_id) == LIMIT
        assert chat.gateway.chat.upload_limit(None) == chat.gateway.chat.upload_limit(5) == LIMIT
