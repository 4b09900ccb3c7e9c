"""Files in the workspace: under safe names, through no link, hidden from git, and gone in the end."""

from __future__ import annotations

import os
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.work.files.inbox import (
    Inbox,
    NotSaved,
    distinct,
    hide_from_git,
    open_below,
    remove_old,
    remove_thread,
    safe_name,
)
from bot.work.workspace.repository import _short_text


def put(workspace: Path, name: str, data: bytes = b"hello", *, message_id: int = 5, thread_id: int = 1) -> Path:
    with closing(Inbox(workspace, message_id, thread_id)) as inbox, closing(inbox.receive(name)) as file:
        file.write(data)
        file.keep()
    return workspace / ".weft" / "in" / str(message_id) / name


def git(directory: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@y", *words],
        cwd=directory,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("a.png", "a.png"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..\\..\\a.exe", "_.._a.exe"),
        ("a\0b\r\nc\u202egpj.exe", "ab cgpj.exe"),
        ("a\u2028b\x1b[31m.txt", "a b[31m.txt"),
        (".bashrc", "bashrc"),
        ("...", "file"),
        ("", "file"),
        ("  . .a ", "a"),
        ("C:con", "C_con"),
        ("ü.md", "ü.md"),
        ("a" * 300 + ".tar.gz", "a" * 97 + ".gz"),
    ],
)
def test_a_name_is_one_in_its_directory_and_looks_like_what_it_is(given_name: str, name: str) -> None:
    """F2"""
    assert safe_name(given_name) == name


@given(st.lists(st.text(max_size=120), max_size=6))
def test_whatever_files_are_called_each_has_a_safe_name_of_its_own(names: list[str]) -> None:
    """F2"""
    found = distinct(names)
    assert len({name.casefold() for name in found}) == len(names)
    for name in found:
        assert name
        assert len(name) <= 103
        assert len(f".{name}.part".encode()) <= 255
        assert not name.startswith(".")
        assert set(name).isdisjoint("/\\\0\r\n\u202e\u2028")


def test_doubles_are_counted() -> None:
    """F2"""
    assert distinct(["a.png", "A.png", "a.png", "b", "b", "a-2.png"]) == [
        "a.png",
        "A-2.png",
        "a-3.png",
        "b",
        "b-2",
        "a-2-2.png",
    ]


def test_a_file_is_for_its_user_alone_and_replaces_an_earlier_one(tmp_path: Path) -> None:
    """F2"""
    path = put(tmp_path, "a.txt", b"old and longer")
    path.chmod(0o644)
    assert put(tmp_path, "a.txt", b"new") == path
    assert path.read_bytes() == b"new"
    modes = [stat.S_IMODE(one.stat().st_mode) for one in (path, *path.parents[:3])]
    assert modes == [0o600, 0o700, 0o700, 0o700]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_where_the_workspace_is_another_user_s_so_are_the_files(tmp_path: Path) -> None:
    """F2: a bot that runs as root may start its agents as somebody else, who could not read them."""
    os.chown(tmp_path, 12345, 12346)
    path = put(tmp_path, "a.txt")
    owners = [(one.stat().st_uid, one.stat().st_gid) for one in (path, *path.parents[:3])]
    assert owners == [(12345, 12346)] * 4


def test_what_is_not_complete_is_never_seen_under_its_name(tmp_path: Path) -> None:
    """F2"""
    with closing(Inbox(tmp_path, 5, 1)) as inbox, closing(inbox.receive("a.txt")) as file:
        file.write(b"hel")
        assert not (tmp_path / ".weft/in/5/a.txt").exists()
        file.restart()
        file.write(b"he")
        assert file.size == 2
    assert [path.name for path in (tmp_path / ".weft/in/5").iterdir()] == [".thread"]


@pytest.mark.parametrize("planted", [".weft", ".weft/in", ".weft/in/5"])
@pytest.mark.parametrize("kind", ["link", "dangling", "file", "fifo"])
def test_nothing_is_written_through_what_was_planted(tmp_path: Path, planted: str, kind: str) -> None:
    """F2: an agent may put anything there."""
    workspace, elsewhere = tmp_path / "workspace", tmp_path / "elsewhere"
    place = workspace / planted
    place.parent.mkdir(parents=True)
    elsewhere.mkdir()
    if kind == "link":
        place.symlink_to(elsewhere, target_is_directory=True)
    elif kind == "dangling":
        place.symlink_to(tmp_path / "not there")
    elif kind == "file":
        place.write_text("mine")
    else:
        os.mkfifo(place)
    with pytest.raises(NotSaved, match=r"something else lies in the place of \.weft"):
        put(workspace, "a.txt")
    assert list(elsewhere.iterdir()) == []
    assert not (tmp_path / "not there").exists()


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """F2"""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    workspace = tmp_path / "workspace"
    directory = workspace / ".weft/in/5"
    directory.mkdir(parents=True)
    for name in ("a.txt", ".a.txt.part", ".thread", "..thread.part"):
        (directory / name).symlink_to(precious)
    assert put(workspace, "a.txt", b"theirs").read_bytes() == b"theirs"
    assert precious.read_text() == "mine"
    assert not (directory / "a.txt").is_symlink()


def test_a_workspace_that_is_itself_a_link_is_a_workspace(tmp_path: Path) -> None:
    """F2: it comes from the settings."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    put(tmp_path / "link", "a.txt")
    assert (tmp_path / "real/.weft/in/5/a.txt").read_bytes() == b"hello"


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    """F4"""
    with closing(Inbox(tmp_path, 5, 1)) as inbox, closing(inbox.receive("a.txt")) as file:
        with Path("/dev/full").open("wb") as full:
            os.dup2(full.fileno(), file.file.fileno())
        with pytest.raises(NotSaved, match="the disk is full"):
            file.write(b"hello")


def test_a_workspace_that_is_not_there_is_told(tmp_path: Path) -> None:
    """F4"""
    with pytest.raises(NotSaved, match=r"can't be written to the workspace \(no such file or directory\)"):
        put(tmp_path / "gone", "a.txt")


# --- git ---


def test_git_does_not_see_what_is_put_into_a_repository(tmp_path: Path) -> None:
    """F2"""
    git(tmp_path, "init", "-q")
    (tmp_path / ".git/info/exclude").write_text("*.log")
    for _ in range(2):
        put(tmp_path, "a.txt")
    assert (tmp_path / ".git/info/exclude").read_text() == "*.log\n.weft/\n"
    assert git(tmp_path, "status", "--porcelain") == ""


def test_git_does_not_see_it_below_a_repository_or_in_another_work_tree(tmp_path: Path) -> None:
    """F2: `.git` may be a file, and stand further up."""
    main, other = tmp_path / "main", tmp_path / "other"
    below = main / "a" / "b"
    below.mkdir(parents=True)
    git(main, "init", "-q")
    git(main, "commit", "-q", "--allow-empty", "-m", "x")
    git(main, "worktree", "add", "-q", str(other))
    put(other, "a.txt")
    put(below, "a.txt")
    assert (other / ".git").is_file()
    assert git(other, "status", "--porcelain") == git(main, "status", "--porcelain") == ""
    assert (main / ".git/info/exclude").read_text().count(".weft/") == 1


def test_a_workspace_outside_of_git_stays_as_it_is(tmp_path: Path) -> None:
    """F2"""
    put(tmp_path, "a.txt")
    assert [path.name for path in tmp_path.iterdir()] == [".weft"]


def test_nothing_is_written_where_a_planted_git_leads(tmp_path: Path) -> None:
    """F2"""
    elsewhere, workspace = tmp_path / "elsewhere", tmp_path / "workspace"
    (elsewhere / "info").mkdir(parents=True)
    workspace.mkdir()
    (workspace / ".git").write_text(f"gitdir: {elsewhere}\n")
    hide_from_git(workspace)
    (workspace / ".git").unlink()
    (workspace / ".git").symlink_to(elsewhere)
    hide_from_git(workspace)
    assert list((elsewhere / "info").iterdir()) == []
    (workspace / ".git").unlink()
    (workspace / "circle").symlink_to("circle")
    (workspace / ".git").write_text("gitdir: circle\n")
    hide_from_git(workspace)
    (workspace / ".git").unlink()
    for name, text in (("HEAD", "ref: x"), ("commondir", f"{elsewhere}\n")):
        (workspace / name).write_text(text)
    (workspace / ".git").write_text("gitdir: .\n")
    hide_from_git(workspace)
    assert list((elsewhere / "info").iterdir()) == []
    (workspace / ".git").unlink()
    git(workspace, "init", "-q")
    precious = elsewhere / "precious"
    precious.write_text("mine")
    (workspace / ".git/info/exclude").unlink()
    (workspace / ".git/info/exclude").symlink_to(precious)
    put(workspace, "a.txt")
    assert precious.read_text() == "mine"


# --- removal ---


def test_the_files_of_a_thread_go_and_those_of_others_stay(tmp_path: Path) -> None:
    """F2"""
    for message_id, thread_id in ((5, 1), (6, 2), (7, 1)):
        put(tmp_path, "a.txt", message_id=message_id, thread_id=thread_id)
    (tmp_path / ".weft/in/notes").mkdir()
    assert remove_thread(tmp_path, 1) == 2
    assert sorted(path.name for path in (tmp_path / ".weft/in").iterdir()) == ["6", "notes"]
    assert remove_thread(tmp_path, 1) == 0
    assert remove_thread(tmp_path / "not there", 1) == 0


def test_what_is_old_goes(tmp_path: Path) -> None:
    """F2"""
    for message_id in (5, 6):
        put(tmp_path, "a.txt", message_id=message_id)
    os.utime(tmp_path / ".weft/in/5", (1000, 1000))
    assert remove_old(tmp_path, 2000) == 1
    assert [path.name for path in (tmp_path / ".weft/in").iterdir()] == ["6"]


def test_what_is_removed_is_nothing_behind_a_link(tmp_path: Path) -> None:
    """F2"""
    elsewhere, workspace = tmp_path / "elsewhere", tmp_path / "workspace"
    elsewhere.mkdir()
    put(elsewhere, "a.txt")
    workspace.mkdir()
    (workspace / ".weft").symlink_to(elsewhere / ".weft")
    assert remove_thread(workspace, 1) == 0
    put(tmp_path, "b.txt", message_id=8)
    (tmp_path / ".weft/in/8/c").symlink_to(elsewhere)
    (tmp_path / ".weft/in/9").symlink_to(elsewhere / ".weft/in/5")
    assert remove_thread(tmp_path, 1) == 1
    assert (elsewhere / ".weft/in/5/a.txt").exists()


def test_a_tree_of_any_depth_goes(tmp_path: Path) -> None:
    """F2: an agent may plant one that no recursion gets through, and that would end the bot."""
    put(tmp_path, "a.txt")
    put(tmp_path, "a.txt", message_id=6)
    fd = os.open(tmp_path / ".weft/in/5", os.O_RDONLY)
    for number in range(3000):
        os.mkdir("d", dir_fd=fd)
        if number % 1000 == 0:
            os.symlink(tmp_path / ".weft/in/6", "link", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    os.utime(tmp_path / ".weft/in/5", (1000, 1000))
    assert remove_old(tmp_path, 2000) == 1
    assert [path.name for path in (tmp_path / ".weft/in").iterdir()] == ["6"]
    assert (tmp_path / ".weft/in/6/a.txt").exists()


def test_a_pipe_in_the_place_of_a_file_holds_nobody(tmp_path: Path) -> None:
    """F3: one that takes it between the look and the opening, too."""
    os.mkfifo(tmp_path / ".git")
    assert _short_text(tmp_path / ".git") == ""


def test_a_directory_that_is_removed_as_empty_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F7: what was posted is tidied up while the next file comes."""
    make, removed = os.mkdir, list[str]()

    def slow(name: str, mode: int, *, dir_fd: int) -> None:
        if name == "7" and not removed:
            (tmp_path / ".weft" / "sending").rmdir()
            removed.append(name)
        make(name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", slow)
    os.close(open_below(tmp_path, (".weft", "sending", "7"), None))
    assert removed == ["7"]
    assert (tmp_path / ".weft" / "sending" / "7").is_dir()
    with pytest.raises(FileNotFoundError):
        open_below(tmp_path / "nowhere", ("a",), None)
