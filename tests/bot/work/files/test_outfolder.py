"""Files that an agent hands out: taken by a rename, within bounds, by no link; kept until Discord has them (F7)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from acp.handed import HandedFile
from bot.work.files import outfolder, plain_files
from bot.work.files.outfolder import Collected, Share, Taken, collect

THREAD, PROMPT, LIMIT = 7, 9, 100
OWN = Share(own=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / ".weft/out/7"
    made.mkdir(parents=True)
    return made


def take(tmp_path: Path, share: Share = OWN, *handed: HandedFile) -> Collected:
    return collect(tmp_path, THREAD, PROMPT, share, LIMIT, handed)


def names(collected: Collected) -> list[str]:
    return [one.name for one in collected.taken]


def reasons(collected: Collected) -> dict[str, str]:
    return {one.name: one.reason for one in collected.left}


def test_files_are_moved_and_can_be_read_once_they_are_taken(tmp_path: Path, folder: Path) -> None:
    (folder / "a.txt").write_text("one")
    assert take(tmp_path) == Collected((Taken("a.txt", 3),))
    assert list(folder.iterdir()) == []
    with outfolder.open_taken(tmp_path, PROMPT, "a.txt") as file:
        assert file.read() == b"one"
    outfolder.remove_taken(tmp_path, PROMPT, ["a.txt", "never there"])
    assert not (tmp_path / ".weft/sending").exists()


def test_what_an_earlier_run_took_is_taken_again(tmp_path: Path, folder: Path) -> None:
    (folder / "a.txt").write_text("one")
    take(tmp_path)
    (folder / "a.txt").write_text("another")
    assert take(tmp_path) == Collected((Taken("a.txt", 3), Taken("a-2.txt", 7)))


def test_names_are_made_safe(tmp_path: Path, folder: Path) -> None:
    (folder / ".bashrc").write_text("x")
    (folder / "a\u202egnp.exe\n").write_text("x")
    assert names(take(tmp_path)) == ["bashrc", "agnp.exe"]


def test_a_file_that_cannot_be_read_stays(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.txt").write_text("x")

    def refuse(name: str, *_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied", name)

    with monkeypatch.context() as patch:
        patch.setattr(plain_files, "open_plain", refuse)
        assert reasons(take(tmp_path)) == {"a.txt": "can't be read: permission denied"}
    assert names(take(tmp_path)) == ["a.txt"]


def test_what_takes_the_place_of_a_taken_file_is_not_opened(tmp_path: Path, folder: Path) -> None:
    (folder / "a.txt").write_text("x")
    (tmp_path / "private").write_text("private")
    take(tmp_path)
    taken = tmp_path / ".weft/sending/9/a.txt"
    for put in (taken.symlink_to, taken.hardlink_to):
        taken.unlink()
        put(tmp_path / "private")
        with pytest.raises(OSError, match=r"symbolic links|no ordinary file"):
            outfolder.open_taken(tmp_path, PROMPT, "a.txt")
    taken.unlink()
    os.mkfifo(taken)
    with pytest.raises(OSError, match="no ordinary file"):
        outfolder.open_taken(tmp_path, PROMPT, "a.txt")


def test_a_weft_directory_that_leads_elsewhere_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere/out/7").mkdir(parents=True)
    (tmp_path / "elsewhere/out/7/a.txt").write_text("x")
    (tmp_path / ".weft").symlink_to("elsewhere")
    assert reasons(take(tmp_path)) == {".weft": "can't be used for files: not a directory"}


def test_without_a_folder_there_is_nothing(tmp_path: Path) -> None:
    assert take(tmp_path) == Collected()
    assert take(tmp_path / "missing") == Collected()
    assert list(tmp_path.iterdir()) == []


def test_the_folder_itself_is_a_threads_if_nobody_else_works_there(tmp_path: Path, folder: Path) -> None:
    plain = folder.parent / "a.txt"
    plain.write_text("x")
    (folder.parent / "8").mkdir()
    changed = plain.stat().st_ctime
    assert take(tmp_path, Share(own=False, since=changed + 1)) == Collected()
    mixed = take(tmp_path, Share(own=False, since=changed - 1, mixed=True))
    assert reasons(mixed) == {"a.txt": "is in .weft/out itself, which other threads use, too"}
    assert names(take(tmp_path, Share(own=False, since=changed - 1))) == ["a.txt"]


def test_files_of_content_blocks_are_saved_unless_they_are_there(tmp_path: Path, folder: Path) -> None:
    (folder / "plot.png").write_bytes(b"picture")
    collected = take(
        tmp_path,
        OWN,
        HandedFile("image", "", "image/png", b"picture"),
        HandedFile("image", "", "image/jpeg; q=1", b"other"),
        HandedFile("resource", "../../x.pdf", "", b"%PDF"),
        HandedFile("audio", "", "audio/ogg", b"x" * 101),
    )
    assert names(collected) == ["plot.png", "image.jpg", "_.._x.pdf"]
    assert list(reasons(collected).values()) == ["(0.1 MB) is larger than this server takes (0.1 MB)"]
    assert {path.name for path in (tmp_path / ".weft/sending/9").iterdir()} == {".thread", *names(collected)}


def test_files_that_were_not_posted_go_back_over_nothing(tmp_path: Path, folder: Path) -> None:
    (folder / "a.txt").write_text("first")
    take(tmp_path)
    (folder / "a.txt").write_text("second")
    outfolder.put_back(tmp_path, THREAD, PROMPT, ["a.txt"])
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a.txt": "second", "a-2.txt": "first"}
    assert not (tmp_path / ".weft/sending").exists()


def test_the_folder_is_out_of_what_git_shows(tmp_path: Path, folder: Path) -> None:
    (tmp_path / ".git/info").mkdir(parents=True)
    (folder / "a.txt").write_text("x")
    take(tmp_path)
    assert (tmp_path / ".git/info/exclude").read_text() == ".weft/\n"


def test_what_nobody_posts_any_more_is_the_next_turn_s(tmp_path: Path, folder: Path) -> None:
    """F7: a turn that could not wait for its files leaves them taken; another thread's are not touched."""
    (folder / "a.txt").write_text("late")
    (folder / "thread").write_text("late, too")
    take(tmp_path)
    assert collect(tmp_path, THREAD, 10, OWN, LIMIT, busy=frozenset({PROMPT})) == Collected()
    assert collect(tmp_path, 8, 10, Share(own=False), LIMIT) == Collected()
    assert collect(tmp_path, THREAD, 11, OWN, LIMIT) == Collected((Taken("a.txt", 4), Taken("thread", 9)))
    assert not (tmp_path / ".weft/sending/9").exists()
    with outfolder.open_taken(tmp_path, 11, "a.txt") as file:
        assert file.read() == b"late"
    # An older version did not say whose they are.
    (tmp_path / ".weft/sending/11/.thread").unlink()
    assert collect(tmp_path, THREAD, 12, Share(own=False), LIMIT) == Collected()
    assert names(collect(tmp_path, THREAD, 12, OWN, LIMIT)) == ["a.txt", "thread"]
    assert outfolder.remove_taken(tmp_path, 12, ["a.txt", "thread"])
    assert not (tmp_path / ".weft/sending").exists()


def test_what_does_not_fit_into_a_turn_is_left_for_another(tmp_path: Path, folder: Path) -> None:
    """F7"""
    for prompt in (1, 2):
        for number in range(15):
            (folder / f"{prompt}-{number:02}").write_text("x")
        collect(tmp_path, THREAD, prompt, OWN, LIMIT, busy=frozenset({1}))
    assert len(collect(tmp_path, THREAD, 3, OWN, LIMIT).taken) == 20
    busy = frozenset({3})
    assert len(collect(tmp_path, THREAD, 4, OWN, LIMIT, busy=busy).taken) == 10
    assert sorted(path.name for path in (tmp_path / ".weft/sending").iterdir()) == ["3", "4"]


@pytest.mark.parametrize("planted", ["symlink", "file", "pipe"])
def test_what_lies_in_the_place_of_a_directory_costs_no_other_file(tmp_path: Path, folder: Path, planted: str) -> None:
    """F7: each is named with the reason, also those that came in content blocks."""
    (folder / "a.txt").write_text("x")
    sending, elsewhere = tmp_path / ".weft/sending", tmp_path / "elsewhere"
    elsewhere.mkdir()
    if planted == "symlink":
        sending.symlink_to(elsewhere)
    elif planted == "file":
        sending.touch()
    else:
        os.mkfifo(sending)
    found = reasons(take(tmp_path, OWN, HandedFile("image", "b.png", "image/png", b"picture")))
    assert sorted(found) == ["a.txt", "b.png"]
    assert (folder / "a.txt").exists()
    assert list(elsewhere.iterdir()) == []


def test_a_file_of_another_user_s_secrets_is_no_file_of_the_folder(tmp_path: Path, folder: Path) -> None:
    """F7, R5: the database of the bot by a second name, and what looks like a file and has none of its bytes."""
    secret = tmp_path / "weft.db"
    secret.write_text("conversations")
    (folder / "a.db").hardlink_to(secret)
    with (folder / "sparse").open("wb") as sparse:
        sparse.truncate(2**40)
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(secret)
    (folder / "dir").mkdir()
    collected = take(tmp_path)
    assert collected.taken == ()
    assert sorted(reasons(collected)) == ["a.db", "dir", "link", "pipe", "sparse"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_bot_that_is_root_posts_nothing_that_the_agent_could_not_read(tmp_path: Path, folder: Path) -> None:
    """F7: it may move what it can't open."""
    for name, mode in (("secret", 0o600), ("plain", 0o644), ("own", 0o600)):
        (folder / name).write_text("x")
        (folder / name).chmod(mode)
    for path in (tmp_path, folder / "own"):
        os.chown(path, 12345, 12346)
    collected = take(tmp_path)
    assert (names(collected), reasons(collected)) == (
        ["own", "plain"],
        {"secret": "can't be read: it belongs to another user"},
    )
    (tmp_path / ".weft/sending/9/own").unlink()
    (folder / "secret").rename(tmp_path / ".weft/sending/9/own")
    with pytest.raises(OSError, match="another user"):
        outfolder.open_taken(tmp_path, PROMPT, "own")
