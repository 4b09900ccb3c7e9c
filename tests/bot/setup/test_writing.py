"""Files with a secret: private from the first byte, put in place at once, what was there kept."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.config import ConfigError
from bot.setup.writing import Change, present_settings, present_text, write

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def careless_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_private_from_the_first_byte_and_the_old_ones_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env, agents = tmp_path / ".env", tmp_path / "weft.toml"
    env.write_bytes(b"A=1\r\n")  # not even its line ends may be lost
    env.chmod(0o644)
    modes, names, sync = [], set[str](), os.fsync

    def looking(fd: int) -> None:
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode):
            modes.append(stat.S_IMODE(found.st_mode))
        names.update(path.name for path in tmp_path.iterdir())
        sync(fd)

    monkeypatch.setattr(os, "fsync", looking)
    old = present_settings(env)
    for new in ("A=2\n", "A=3\n"):  # twice in the same second
        copies = write([Change(agents, present_text(agents), new), Change(env, present_text(env), new)], NOW)
    assert old == "A=1\n"
    assert set(modes) == {0o600}
    # A kill may leave any of them: what keeps the two files out of a repository has to fit.
    assert {name.split(".")[bool(name.startswith("."))] for name in names} == {"env", "weft"}
    files = {path.name: (path.read_bytes(), mode(path)) for path in tmp_path.iterdir()}
    assert files == {
        ".env": (b"A=3\n", 0o600),
        ".env.20260102-030405.bak": (b"A=1\r\n", 0o600),
        ".env.20260102-030405-2.bak": (b"A=2\n", 0o600),
        "weft.toml": (b"A=3\n", 0o600),
        "weft.toml.20260102-030405.bak": (b"A=2\n", 0o600),
    }
    assert [path.name for path in copies] == ["weft.toml.20260102-030405.bak", ".env.20260102-030405-2.bak"]


def test_what_was_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=2\n")
    with pytest.raises(ConfigError, match="changed meanwhile"):
        write([Change(path, None, "A=3\n")], NOW)
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == {".env": "A=2\n"}


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.symlink_to(path.parent / "nowhere"), "is a link to"),
        (lambda path: path.symlink_to("/etc/hostname"), "is a link to"),
        (lambda path: path.mkdir(), "is not a file"),
        (os.mkfifo, "is not a file"),
        (lambda path: path.write_bytes(b"\xff"), "is not text in UTF-8"),
        (lambda path: path.write_text("A='1\nnonsense"), "fix it first"),
    ],
)
def test_what_is_no_file_of_ours_is_refused(tmp_path: Path, make: object, why: str) -> None:
    assert callable(make)
    make(tmp_path / ".env")
    with pytest.raises(ConfigError, match=why):
        present_settings(tmp_path / ".env")


def test_another_user_s_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("A=1\n")
    monkeypatch.setattr(os, "geteuid", lambda: (tmp_path / ".env").stat().st_uid + 1)
    with pytest.raises(ConfigError, match="belongs to another user"):
        present_settings(tmp_path / ".env")


def test_a_difference_shows_neither_token() -> None:
    change = Change(Path(".env"), "DISCORD_TOKEN=old.canary\nA=1\n", "DISCORD_TOKEN=new.canary\nB='new.canary'\n")
    assert change.difference(["new.canary"]) == [
        "-DISCORD_TOKEN=(not shown)",
        "-A=1",
        "+DISCORD_TOKEN=(not shown)",
        "+B=(not shown)",
    ]
