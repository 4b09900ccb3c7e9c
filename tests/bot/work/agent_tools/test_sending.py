"""Which file a path means, and what is copied of it, whatever its agent does meanwhile."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bot.mcp.tools import ToolRefused
from bot.work.agent_tools.sending import FileSender, names_below
from bot.work.agent_tools.use import ToolUse
from bot.work.files import plain_files, sending
from bot.work.files.handouts import Handouts, Place
from bot.work.files.inbox import IncomingFile
from bot.work.files.outfolder import Share, Taken, collect
from bot.work.files.sending import NotTaken, copy_to_send
from tests.bot.work.samples import inbound

THREAD, PROMPT, CALL, LIMIT = 7, 8, 9, 1000
OWN = Share(own=True)


def copied(workspace: Path, *path: str, withdrawn: bool = False, limit: int = LIMIT) -> Taken:
    def check(_digest: bytes) -> None:
        if withdrawn:
            raise NotTaken("nobody waits for it any more")

    return copy_to_send(workspace, path, THREAD, CALL, limit, "Look.", check)[0]


def left(workspace: Path) -> list[str]:
    found = workspace / ".weft"
    return sorted(str(path.relative_to(found)) for path in found.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("a.txt", ("a.txt",)),
        ("./b/../a.txt", ("a.txt",)),
        ("/work/b/a.txt", ("b", "a.txt")),
        ("//work/a.txt", None),
        ("/work/../etc/passwd", None),
        ("../a.txt", None),
        ("/workspace/a.txt", None),
        ("/work", None),
        (".", None),
        ("a\0b", None),
        ("\ud800", None),
    ],
)
def test_a_path_is_below_the_directory_that_the_agent_sees(path: str, names: tuple[str, ...] | None) -> None:
    """M2: behind a wrapper that may be another one than ours."""
    if names is None:
        with pytest.raises(ToolRefused):
            names_below(path, "/work")
    else:
        assert names_below(path, "/work") == names
    with pytest.raises(ToolRefused):
        names_below(path, "")


def test_a_copy_is_found_by_the_end_of_a_turn_with_what_was_said_about_it(tmp_path: Path) -> None:
    """M2, R2: closed to others, and once."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.txt").write_text("hello")
    assert copied(tmp_path, "sub", "a.txt") == Taken("a.txt", 5, "Look.")
    place = tmp_path / ".weft/sending" / str(CALL)
    assert stat.S_IMODE((place / "a.txt").stat().st_mode) == 0o600
    assert collect(tmp_path, THREAD, PROMPT, OWN, LIMIT, busy=frozenset({CALL})).taken == (), "somebody posts it"
    assert collect(tmp_path, THREAD, PROMPT, OWN, LIMIT).taken == (Taken("a.txt", 5, "Look.", CALL, "a.txt"),)
    assert not place.exists()


@pytest.mark.parametrize("trick", ["link", "another", "growth"])
def test_what_takes_the_place_of_a_file_after_it_was_looked_at_is_not_posted(
    trick: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M2, F7: a race cannot bring anything out that would be refused."""
    file, outside, opened = tmp_path / "a.txt", tmp_path / "outside", plain_files.open_plain
    file.write_text("hello")
    outside.write_text("secret")

    def swapped(name: str, directory: int, owner: tuple[int, int] | None) -> tuple[int, os.stat_result]:
        if trick == "growth":
            found = opened(name, directory, owner)
            file.write_text("x" * (LIMIT + 1))
            return found
        file.unlink()
        if trick == "link":
            file.symlink_to(outside)
        else:
            os.link(outside, file)
        return opened(name, directory, owner)

    monkeypatch.setattr(sending, "open_plain", swapped)
    with pytest.raises(NotTaken):
        copied(tmp_path, "a.txt")
    assert left(tmp_path) == []


def test_a_copy_that_nobody_waits_for_any_more_does_not_count(tmp_path: Path) -> None:
    """M2"""
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(NotTaken):
        copied(tmp_path, "a.txt", withdrawn=True)
    assert left(tmp_path) == []


@pytest.mark.asyncio
async def test_what_is_not_posted_counts_for_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    """M2, R2: a file that was sent already is at no moment one that a later run would post."""
    (tmp_path / "a.txt").write_text("hello")
    handouts = Handouts(cast("Any", None), lambda _: Place(tmp_path, own=True), lambda _: LIMIT)
    running: Any = SimpleNamespace(
        first=inbound(PROMPT, thread_id=THREAD), lease=SimpleNamespace(directory="/work"), tools=ToolUse()
    )
    sender = FileSender(cast("Any", None), cast("Any", None), handouts)
    kept: list[str] = []

    def keep(self: IncomingFile) -> None:
        kept.append(self.name)

    with handouts.turn(running.first) as turn:
        with pytest.raises(ToolRefused, match=r"no file b\.txt"):
            await sender.send(running, "b.txt", "")
        turn.sent[hashlib.sha256(b"hello").digest()] = "before.txt"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(IncomingFile, "keep", keep)
            assert (await sender.send(running, "a.txt", "")).endswith("already, as before.txt.")
    assert (running.tools.sent, "a.txt" in kept, left(tmp_path)) == (0, False, [])
