"""How files are told and divided into messages (F7)."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.to_thread
import pytest

from acp.handed import HandedLink
from bot.reply.pending_reply import FileMessage, Handout
from bot.reply.sanitise import units
from bot.work.files import handouts, outfolder
from bot.work.files.handouts import TOO_SLOW, Handouts, Place, batches, file_messages
from bot.work.files.outfolder import Collected, Left, Taken
from tests.bot.work.samples import inbound


def test_a_message_holds_ten_files_and_so_many_bytes() -> None:
    files = [Taken(f"{number}", 10) for number in range(12)]
    assert [len(batch) for batch in batches(files, 1000)] == [10, 2]
    assert [len(batch) for batch in batches(files, 35)] == [3, 3, 3, 3]
    assert [len(batch) for batch in batches([Taken("large", 99), Taken("small", 1)], 35)] == [1, 1]


def test_nothing_is_no_message() -> None:
    assert file_messages(Collected(), (), 0, 1000) == ()


def test_many_lines_are_cut_and_never_too_long_for_a_message() -> None:
    left = tuple(Left("x" * 300, (number, 0), "is empty", ".weft/out/1") for number in range(40))
    links = [HandedLink("n" * 300, f"https://example.org/{'u' * 400}{number}") for number in range(20)]
    messages = file_messages(Collected(left=left), links, 3, 1000)
    assert all(units(message.text) <= 2000 for message in messages)
    shown = "\n".join(message.text for message in messages)
    assert "30 more can't be posted" in shown
    assert "too much for one turn: 3 more files" in shown
    assert shown.count("🔗") == 20


def test_only_addresses_of_the_web_become_links() -> None:
    links = [HandedLink("a", "file:///etc/passwd"), HandedLink("b", "https://a.b/> <@1>"), HandedLink("", "http://a.b")]
    (message,) = file_messages(Collected(), links, 0, 1000)
    assert message.text.splitlines() == [
        "🔗 `a`: `file:///etc/passwd`",
        "🔗 `b`: `https://a.b/> <@1>`",
        "🔗 `a link`: <http://a.b>",
    ]


class Posted:
    """A message that was posted, or not."""

    def __init__(self, *, delivered: bool) -> None:
        self.message = SimpleNamespace(why_not="")
        self._delivered = delivered

    async def delivered(self) -> bool:
        return self._delivered


class Desk:
    """Handouts of a workspace whose thread is gone for Discord: nothing is said there."""

    def __init__(self, workspace: Path) -> None:
        editors: Any = SimpleNamespace(of=lambda _thread_id: SimpleNamespace(gone=True))
        self.handouts = Handouts(editors, lambda _: Place(workspace, own=True), lambda _: 1000)
        self.folder = workspace / ".weft/out/7"
        self.folder.mkdir(parents=True)

    async def turn(self, prompt_id: int) -> Handout | None:
        with self.handouts.turn(inbound(prompt_id, thread_id=7)) as turn, anyio.fail_after(30):
            return await self.handouts.collect(turn)

    async def settle(self, prompt_id: int, handout: Handout | None, *, delivered: bool = True) -> None:
        deliveries: Any = [Posted(delivered=delivered) for _ in (handout.messages if handout else ())]
        await self.handouts.settle(inbound(prompt_id, thread_id=7), handout, deliveries)


def files_of(handout: Handout | None) -> list[str]:
    return [name for message in (handout.messages if handout else ()) for name in message.names]


@pytest.mark.asyncio
async def test_files_that_were_taken_too_late_come_with_the_next_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F7: a disk that hangs costs a turn its files, says so, and loses none."""
    desk, go_on, taken, collect = Desk(tmp_path), threading.Event(), threading.Event(), outfolder.collect

    def hanging(*args: Any) -> Collected:
        go_on.wait(10)
        collected = collect(*args)
        taken.set()
        return collected

    (desk.folder / "a.txt").write_text("x")
    with monkeypatch.context() as patch:
        patch.setattr(handouts, "_COLLECT_LIMIT", 0.05)
        patch.setattr(outfolder, "collect", hanging)
        late = await desk.turn(1)
    assert late is not None
    assert late.messages == (FileMessage(TOO_SLOW),)
    go_on.set()
    await anyio.to_thread.run_sync(taken.wait, 10)
    assert list(desk.folder.iterdir()) == []
    assert files_of(await desk.turn(2)) == ["a.txt"]


@pytest.mark.asyncio
async def test_what_discord_refuses_while_a_turn_is_collected_is_not_taken_for_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F7, M2: the file is back in the folder by then, and would be lost."""
    desk, digest, collect = Desk(tmp_path), hashlib.sha256(b"x").digest(), outfolder.collect
    with desk.handouts.turn(inbound(1, thread_id=7)) as turn:
        turn.sent[digest] = "a.txt"

        def slow(*args: Any) -> Collected:
            del turn.sent[digest]
            (desk.folder / "a.txt").write_text("x")
            return collect(*args)

        monkeypatch.setattr(outfolder, "collect", slow)
        assert files_of(await desk.handouts.collect(turn)) == ["a.txt"]


@pytest.mark.asyncio
async def test_files_on_their_way_are_nobody_elses(tmp_path: Path) -> None:
    """F7: until they are posted and gone; those of an earlier run are kept for their own prompt, too."""
    desk = Desk(tmp_path)
    (desk.folder / "a.txt").write_text("x")
    first = await desk.turn(1)
    assert files_of(await desk.turn(2)) == []
    # What was posted and can't be removed is not posted once more.
    (tmp_path / ".weft/sending/1/a.txt").unlink()
    (tmp_path / ".weft/sending/1/a.txt").mkdir()
    await desk.settle(1, first)
    assert files_of(await desk.turn(3)) == []
    (desk.folder / "b.txt").write_text("x")
    fourth = await desk.turn(4)
    await desk.settle(4, fourth, delivered=False)
    fifth = await desk.turn(5)
    assert files_of(fourth) == files_of(fifth) == ["b.txt"]
    await desk.settle(5, fifth)
    # A run that was killed left this one; nothing runs before it is known whose it is.
    desk.handouts.expect(inbound(6, thread_id=7))
    (tmp_path / ".weft/sending/6").mkdir(parents=True)
    (tmp_path / ".weft/sending/6/c.txt").write_text("x")
    assert files_of(await desk.turn(7)) == []
    await desk.settle(6, None)
    assert files_of(await desk.turn(8)) == ["c.txt"]
