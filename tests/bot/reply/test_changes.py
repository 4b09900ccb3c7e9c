"""What a person reads who asked what has changed."""

from __future__ import annotations

from acp.snapshot import Diff
from bot.reply.changes import ChangedFile, Changes, changes_message, reported_changes
from bot.reply.port import Attachment
from bot.reply.sanitise import units


def changed(*files: ChangedFile, lines: int = 3, cut: bool = False) -> Changes:
    return Changes(files, b"+line\n" * lines, cut)


def test_a_short_change_stands_in_the_message() -> None:
    """V3: counts first, then the files, what there is to say, and the change."""
    files = ChangedFile("README.md", 4, 1), ChangedFile("b `x`\n.py", 1_000, 0), ChangedFile("logo.png", None, None)
    text, file = changes_message(changed(*files, lines=2), "since `9f3c2a1`", ["One.", "Two."])
    assert text.split("\n") == [
        "3 files +1,004 −1 since `9f3c2a1`",
        "`README.md` +4 −1",
        "`b ˋxˋ .py` +1,000 −0",
        "`logo.png` (binary or large)",
        "-# One.",
        "-# Two.",
        *("```diff", "+line", "+line", "```"),
    ]
    assert file is None
    assert changes_message(changed(files[2], lines=0), "now") == ("1 file now\n`logo.png` (binary or large)", None)


def test_a_long_change_is_a_file() -> None:
    """V3: of more than 30 lines, or of more than a message holds; a code block can't be ended from within."""
    one = ChangedFile("a", 30, 0)
    assert changes_message(changed(one, lines=30), "now")[1] is None
    assert changes_message(changed(one, lines=31), "now") == (
        "1 file +30 −0 now\n`a` +30 −0",
        Attachment("changes.diff", b"+line\n" * 31),
    )
    wide = Changes((one,), b"+" + b"x" * 2_000)
    assert changes_message(wide, "now")[1] == Attachment("changes.diff", wide.patch)
    text, _ = changes_message(Changes((one,), b"+```\n+@everyone\n"), "now")
    assert text.count("```") == 2


def test_ten_files_are_named_and_the_others_counted() -> None:
    """V3: and the longest names fit into a message."""
    files = [ChangedFile("d/" * 200 + f"{number}", 10**9, 10**9) for number in range(12)]
    text, _ = changes_message(changed(*files, lines=31), "since `9f3c2a1`", ["note " * 50] * 2)
    assert text.count("\n`d/") == 10
    assert "\n-# and 2 more files\n" in text
    assert units(text) <= 2_000


def test_a_diff_that_was_cut_ends_with_a_whole_line_and_says_so() -> None:
    """V3, R5: of a secret that the cut divides, the rest would not be recognised."""
    cut = Changes((ChangedFile("a", 5, 0),), b"+x\n" * 2**20 + b"+hunter", cut=True)
    text, file = changes_message(cut, "now")
    assert text.endswith("\n-# `changes.diff` ends after 3 MiB: there is more than that.")
    assert file == Attachment("changes.diff", b"+x\n" * 2**20)


def test_what_tools_reported_is_counted_by_file() -> None:
    """V3: in the order in which files first changed."""
    diffs = [Diff("b", "1\n2\n", "1\n3\n"), Diff("a", None, "new\n"), Diff("b", "9\n", "")]
    found = reported_changes(diffs, 10_000)
    assert found.files == (ChangedFile("b", 1, 2), ChangedFile("a", 1, 0))
    assert found.patch.decode().startswith("--- b\n+++ b\n@@ -1,2 +1,2 @@\n 1\n-2\n+3\n--- /dev/null\n+++ a\n")
    assert not found.cut
    cut = reported_changes(diffs, 20)
    assert (len(cut.patch), cut.cut, cut.files) == (20, True, found.files)
