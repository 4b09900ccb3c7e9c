"""Files to and from an agent elsewhere: whole, below their folder, and never lost on the way."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from bot.work.files.remote_files import fetch
from pool.engines import files
from pool.engines.files import NotMoved, RemoteFile, list_files, put_files, remove_old_files, take_files, write_file
from pool.engines.model import CommandResult, RemoteAgent
from tests.engines.nearby import run_beside

pytestmark = pytest.mark.asyncio


class There:
    """Runs commands in a directory of this machine, ``behind`` another one; ``answers`` are given in place of that."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.place = directory, "there"
        self.answers: list[CommandResult] = []
        self.behind: list[str] = []
        self.ran = 0

    async def run(self, argv: Sequence[str], stdin: bytes = b"", *, limit: int, seconds: float) -> CommandResult:
        self.ran += 1
        if self.answers:
            return self.answers.pop(0)
        with anyio.fail_after(seconds):
            done = await run_beside([*self.behind, *argv], stdin, self.directory)
        if len(done.stdout) > limit:
            return CommandResult(None, done.stdout[:limit], b"")
        return CommandResult(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
def there(tmp_path: Path) -> There:
    (tmp_path / "there").mkdir()
    return There(tmp_path / "there")


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def agent(there: There) -> RemoteAgent:
    return cast("RemoteAgent", cast("Any", there))


AWKWARD = ["plain.txt", "two words.txt", "new\nline", "-rf", "quo'te\"$(touch x)`.md", "deep/er/ü.bin"]


async def test_files_go_there_and_come_back_as_they_are(here: Path, there: There) -> None:
    """P14, F1, F4: whatever their names are; taken ones are gone there."""
    for number, name in enumerate(AWKWARD):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(bytes([number]) * number * 1000)
    await put_files(agent(there), here, AWKWARD, "work/in")
    found = await list_files(agent(there), "work/in")
    assert {one.path: one.size for one in found} == {name: number * 1000 for number, name in enumerate(AWKWARD)}
    back = here / "back"
    await take_files(agent(there), "work/in", found, back)
    assert {name: (back / name).read_bytes() for name in AWKWARD} == {
        name: (here / name).read_bytes() for name in AWKWARD
    }
    assert await list_files(agent(there), "work/in") == []
    assert not (there.directory / "work/in/x").exists()


async def test_a_folder_that_is_not_there_holds_nothing(there: There) -> None:
    """F4."""
    assert await list_files(agent(there), ".weft/out") == []


async def test_links_and_other_things_are_left_where_they_are(here: Path, there: There) -> None:
    """F5: a link may lead to the secrets of whoever follows it."""
    (there.directory / "secret").write_text("s")
    out = there.directory / "out"
    out.mkdir()
    (out / "link").symlink_to("../secret")
    (out / "dir").symlink_to("..")
    assert await list_files(agent(there), "out") == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
async def test_an_archive_that_lies_makes_no_file(here: Path, there: There, kind: bytes) -> None:
    """F5: what was asked for is taken, as a plain file, and nothing else that comes along."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in ("../above", "/tmp/root", "other"):
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
        lying = tarfile.TarInfo("asked")
        lying.type, lying.linkname = kind, "/etc/passwd"
        tar.addfile(lying)
    there.answers = [CommandResult(0, archive.getvalue(), b"")]
    with pytest.raises(NotMoved, match="asked is gone"):
        await take_files(agent(there), "out", [RemoteFile("asked", 1)], here / "in")
    assert [path for path in here.parent.rglob("*") if path.is_file()] == []
    assert there.ran == 1  # and nothing was removed there


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, sparse: int | None = None) -> bytes:
    """Return the head of an archive's entry, with sizes that no real archive has."""
    info = tarfile.TarInfo(name)
    info.type = kind
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[124:136] = (b"\xff" if size < 0 else b"\x80") + (size % 2**88).to_bytes(11, "big")
    if sparse is not None:
        # One byte at its very end is all that it has.
        head[386:398] = b"\x80" + sparse.to_bytes(11, "big")
        head[398:410] = b"%011o\0" % 0
        head[482:495] = b"\0\x80" + sparse.to_bytes(11, "big")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


@pytest.mark.parametrize(
    "archive",
    [
        member("asked", tarfile.GNUTYPE_SPARSE, sparse=2**50),
        member("first") + member("asked", size=-512),
        member("first") + member("other", b"Z", size=-512),
        member("first") + member("asked", size=-2048),
        member("asked", size=2**60),
        member("first", tarfile.XHDTYPE, size=512) + b"11 size=-512\n".ljust(512, b"\0") + member("asked"),
    ],
    ids=["sparse", "back", "back by another", "before the beginning", "endless", "back by a header"],
)
async def test_an_archive_that_is_made_to_break_its_reader_is_refused(here: Path, there: There, archive: bytes) -> None:
    """F5, P14: it costs neither the memory nor a thread of this machine."""
    there.answers = [CommandResult(0, archive + bytes(1024), b"")]
    with pytest.raises(NotMoved):
        await take_files(agent(there), "out", [RemoteFile("asked", 1)], here / "in")
    assert there.ran == 1


async def test_one_file_that_can_not_be_here_keeps_no_other_one(here: Path, there: There) -> None:
    """F4: what is here is gone there, or it would be posted again."""
    (there.directory / "out/name").mkdir(parents=True)
    for name in ("a", "name/below", "z"):
        (there.directory / "out" / name).write_text(name)
    (here / "name").write_text("a file")
    found = sorted(await list_files(agent(there), "out"), key=lambda one: one.path)
    with pytest.raises(NotMoved, match="name/below can't be kept"):
        await take_files(agent(there), "out", found, here)
    assert ((here / "a").read_text(), (here / "z").read_text()) == ("a", "z")
    assert await list_files(agent(there), "out") == [RemoteFile("name/below", 10)]


async def test_a_size_that_no_file_has_is_not_believed(there: There) -> None:
    """F4: a list from there is what somebody there says."""
    there.answers = [CommandResult(0, b"9" * 5000 + b" ./huge\0" + b"3 ./small\0", b"")]
    assert await list_files(agent(there), "out") == [RemoteFile("small", 3)]


async def test_what_is_too_large_is_named_as_far_as_it_can_be(here: Path, there: There) -> None:
    """F4: the end of a turn does not fail by what its agent calls its files."""
    named = (("a", 10**14), ("a/below", 10**14), ("n" * 300, 10**14), ("z", 100))
    listed = b"".join(b"%d ./%s\0" % (size, name.encode()) for name, size in named)
    there.answers = [CommandResult(0, listed, b"")]
    await fetch(agent(there), here, 7, 50, own=True)
    out = here / ".weft/out"
    assert {path.name: path.stat().st_size for path in out.iterdir()} == {"a": 2**40, "z": 100}


async def test_what_is_too_large_is_named_also_when_another_one_can_not_be_had(here: Path, there: There) -> None:
    """F4"""
    there.answers = [CommandResult(0, b"3 ./small\x00100 ./large\0", b""), CommandResult(2, b"", b"tar: small: gone\n")]
    await fetch(agent(there), here, 7, 50, own=True)
    assert names(here / ".weft/out") == ["large"]


async def test_a_file_that_has_grown_meanwhile_stays_there(here: Path, there: There) -> None:
    """F4: no more bytes are taken than were asked for."""
    (there.directory / "out").mkdir()
    (there.directory / "out/a").write_bytes(b"x" * 100_000)
    with pytest.raises(NotMoved):
        await take_files(agent(there), "out", [RemoteFile("a", 10)], here)
    assert (there.directory / "out/a").stat().st_size == 100_000
    assert not (here / "a").exists()


async def test_much_goes_in_several_archives(here: Path, there: There, monkeypatch: pytest.MonkeyPatch) -> None:
    """F1: memory is bounded."""
    monkeypatch.setattr(files, "MOST_AT_ONCE", 1000)
    names = [f"{number}" for number in range(5)]
    for name in names:
        (here / name).write_bytes(b"x" * 400)
    (here / "large").write_bytes(b"x" * 5000)
    await put_files(agent(there), here, [*names, "large"], ".")
    assert there.ran == 4
    assert sorted(path.name for path in there.directory.iterdir()) == sorted([*names, "large"])


async def test_why_something_failed_is_told(here: Path, there: There) -> None:
    """F1."""
    (here / "a").write_text("a")
    (there.directory / "file").write_text("")
    with pytest.raises(NotMoved, match=r"(?i)file exists|not a directory"):
        await put_files(agent(there), here, ["a"], "file")
    there.answers = [CommandResult(127, b"", b"sh: tar: not found\n")]
    with pytest.raises(NotMoved, match="tar: not found"):
        await put_files(agent(there), here, ["a"], ".")
    there.answers = [CommandResult(None, b"", b"")]
    with pytest.raises(NotMoved, match="too slow"):
        await write_file(agent(there), "x/y", b"z")


async def test_old_files_go(there: There) -> None:
    """F2: of a directory that is not there, too."""
    await remove_old_files(agent(there), "in", 7)
    await write_file(agent(there), "in/old/a", b"a")
    await write_file(agent(there), "in/new/b", b"b")
    await anyio.run_process(["touch", "-d", "9 days ago", str(there.directory / "in/old")])
    await remove_old_files(agent(there), "in", 7)
    assert [path.name for path in (there.directory / "in").iterdir()] == ["new"]


async def test_what_can_not_be_read_there_keeps_no_other_file(here: Path, there: There) -> None:
    """F4: neither a file nor a directory, and what is in the way is told."""
    out = there.directory / "out"
    for name in ("a", "closed", "locked/b", "z"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(name)
    (out / "closed").chmod(0)
    (out / "locked").chmod(0)
    if os.geteuid() == 0:  # who may read everything otherwise
        there.behind = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    found = await list_files(agent(there), "out")
    assert sorted(one.path for one in found) == ["a", "closed", "z"]
    with pytest.raises(NotMoved, match=r"closed.*Permission denied"):
        await take_files(agent(there), "out", found, here)
    assert names(here) == ["a", "z"]
    assert names(out) == ["closed", "locked"]


async def test_a_file_that_is_written_to_meanwhile_keeps_no_other_one(here: Path, there: There) -> None:
    """F4: nor one that is gone by then. What an agent's server logs there must not hold up a report for ever."""
    out = there.directory / "out"
    out.mkdir()
    for name in ("a", "log", "z"):
        (out / name).write_text(name)
    found = [*await list_files(agent(there), "out"), RemoteFile("gone", 4)]
    (out / "log").write_bytes(b"x" * 200_000)
    with pytest.raises(NotMoved, match=r"gone.*No such file.*; log has grown"):
        await take_files(agent(there), "out", sorted(found, key=lambda one: -len(one.path)), here)
    assert (names(here), names(out)) == (["a", "z"], ["log"])
