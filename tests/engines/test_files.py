"""Files to and from an agent elsewhere: whole, below their folder, and never lost on the way."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from pool.engines import files
from pool.engines.files import NotMoved, RemoteFile, clear, look, put, take, write
from pool.engines.model import Ran, RemoteAgent

pytestmark = pytest.mark.asyncio


class There:
    """Runs commands in a directory of this machine; ``answer`` takes the place of the next one's."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.answers: list[Ran] = []
        self.ran = 0

    async def run(self, argv: Sequence[str], stdin: bytes = b"", *, limit: int, seconds: float) -> Ran:
        self.ran += 1
        if self.answers:
            return self.answers.pop(0)
        with anyio.fail_after(seconds):
            done = await anyio.run_process(list(argv), input=stdin, check=False, cwd=self.directory)
        if len(done.stdout) > limit:
            return Ran(None, done.stdout[:limit], b"")
        return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
def there(tmp_path: Path) -> There:
    (tmp_path / "there").mkdir()
    return There(tmp_path / "there")


def agent(there: There) -> RemoteAgent:
    return cast("RemoteAgent", cast("Any", there))


AWKWARD = ["plain.txt", "two words.txt", "new\nline", "-rf", "quo'te\"$(touch x)`.md", "deep/er/ü.bin"]


async def test_files_go_there_and_come_back_as_they_are(here: Path, there: There) -> None:
    """P14, F1, F4: whatever their names are; taken ones are gone there."""
    for number, name in enumerate(AWKWARD):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(bytes([number]) * number * 1000)
    await put(agent(there), here, AWKWARD, "work/in")
    found = await look(agent(there), "work/in")
    assert {one.path: one.size for one in found} == {name: number * 1000 for number, name in enumerate(AWKWARD)}
    back = here / "back"
    await take(agent(there), "work/in", found, back)
    assert {name: (back / name).read_bytes() for name in AWKWARD} == {
        name: (here / name).read_bytes() for name in AWKWARD
    }
    assert await look(agent(there), "work/in") == []
    assert not (there.directory / "work/in/x").exists()


async def test_a_folder_that_is_not_there_holds_nothing(there: There) -> None:
    """F4."""
    assert await look(agent(there), ".weft/out") == []


async def test_links_and_other_things_are_left_where_they_are(here: Path, there: There) -> None:
    """F5: a link may lead to the secrets of whoever follows it."""
    (there.directory / "secret").write_text("s")
    out = there.directory / "out"
    out.mkdir()
    (out / "link").symlink_to("../secret")
    (out / "dir").symlink_to("..")
    assert await look(agent(there), "out") == []


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
    there.answers = [Ran(0, archive.getvalue(), b"")]
    with pytest.raises(NotMoved, match="asked is gone"):
        await take(agent(there), "out", [RemoteFile("asked", 1)], here / "in")
    assert [path for path in here.parent.rglob("*") if path.is_file()] == []
    assert there.ran == 1  # and nothing was removed there


async def test_a_file_that_has_grown_meanwhile_stays_there(here: Path, there: There) -> None:
    """F4: no more bytes are taken than were asked for."""
    (there.directory / "out").mkdir()
    (there.directory / "out/a").write_bytes(b"x" * 100_000)
    with pytest.raises(NotMoved):
        await take(agent(there), "out", [RemoteFile("a", 10)], here)
    assert (there.directory / "out/a").stat().st_size == 100_000
    assert not (here / "a").exists()


async def test_much_goes_in_several_archives(here: Path, there: There, monkeypatch: pytest.MonkeyPatch) -> None:
    """F1: memory is bounded."""
    monkeypatch.setattr(files, "MOST_AT_ONCE", 1000)
    names = [f"{number}" for number in range(5)]
    for name in names:
        (here / name).write_bytes(b"x" * 400)
    (here / "large").write_bytes(b"x" * 5000)
    await put(agent(there), here, [*names, "large"], ".")
    assert there.ran == 4
    assert sorted(path.name for path in there.directory.iterdir()) == sorted([*names, "large"])


async def test_why_something_failed_is_told(here: Path, there: There) -> None:
    """F1."""
    (here / "a").write_text("a")
    (there.directory / "file").write_text("")
    with pytest.raises(NotMoved, match=r"(?i)file exists|not a directory"):
        await put(agent(there), here, ["a"], "file")
    there.answers = [Ran(127, b"", b"sh: tar: not found\n")]
    with pytest.raises(NotMoved, match="tar: not found"):
        await put(agent(there), here, ["a"], ".")
    there.answers = [Ran(None, b"", b"")]
    with pytest.raises(NotMoved, match="too slow"):
        await write(agent(there), "x/y", b"z")


async def test_old_files_go(there: There) -> None:
    """F2: of a directory that is not there, too."""
    await clear(agent(there), "in", 7)
    await write(agent(there), "in/old/a", b"a")
    await write(agent(there), "in/new/b", b"b")
    await anyio.run_process(["touch", "-d", "9 days ago", str(there.directory / "in/old")])
    await clear(agent(there), "in", 7)
    assert [path.name for path in (there.directory / "in").iterdir()] == ["new"]
