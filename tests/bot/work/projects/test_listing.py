"""How work trees read in a list."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.work.projects.listing import TreeEntry, TreeLook, branch_name, entry_line, size_words, state_words
from bot.work.projects.removal import why_unsafe
from bot.work.workspace.worktrees import TreeState, WorkTree
from pool.store import KeptWorkTree

BRANCH = "weft/fix-login-7c2"
TREE = WorkTree(Path("/app"), Path("/state/worktrees/app/5"), BRANCH, "main")


def entry(state: str = "ready", *, row: bool = True) -> TreeEntry:
    kept = KeptWorkTree(5, "app", "/app", str(TREE.directory), BRANCH, "main", "c0ffee", state, "", 1, 2)
    return TreeEntry("k", 5, (5,), "app", TREE.directory, TREE, BRANCH if row else "", 1_000, kept if row else None)


@pytest.mark.parametrize(
    ("state", "words", "unsafe"),
    [
        (TreeState(False, BRANCH, merged=True), ["merged"], ""),
        (TreeState(False, BRANCH, dirty=True, merged=True), ["not committed"], "something in it is not committed."),
        (TreeState(False, BRANCH, ahead=1), ["1 commit not merged"], "1 commit is not merged."),
        (
            TreeState(False, BRANCH, dirty=True, ahead=1_200),
            ["not committed", "1,200 commits not merged"],
            "something in it is not committed and 1,200 commits are not merged.",
        ),
        (TreeState(False, BRANCH, ahead=2, merged=True), ["merged"], ""),
        (TreeState(True, BRANCH, merged=True), ["its directory is gone"], ""),
    ],
)
def test_what_stands_against_a_removal_is_said(state: TreeState, words: list[str], unsafe: str) -> None:
    """W4: what was squashed is merged, although its commits are in no other branch."""
    assert list(state_words(entry(), TreeLook(state))) == words
    assert why_unsafe(state) == unsafe


def test_a_tree_that_is_out_of_the_ordinary_says_how() -> None:
    """W4, W5"""
    merged = TreeLook(TreeState(False, BRANCH, merged=True))
    assert list(state_words(entry("making"), merged)) == ["being made", "merged"]
    assert list(state_words(entry("removing"), merged)) == ["being removed", "merged"]
    assert list(state_words(entry(row=False), merged)) == ["no thread has it", "merged"]
    assert list(state_words(entry(), TreeLook(None, "git does not answer."))) == ["git does not answer"]


def test_a_line_has_all_that_is_known_and_no_more_than_may_be_read() -> None:
    """W4, D2: a branch has words of its thread's title."""
    look = TreeLook(TreeState(False, BRANCH, merged=True), size=12_400_000)
    line = entry_line(3, entry(), look, "<#5>", named=True, now=2_000)
    assert line == f"3. `{BRANCH}` · <#5> · `app` · 12 MB · <t:1000:R> · merged"
    assert branch_name(entry(), look, named=False) == "`weft/…-7c2`"
    assert branch_name(entry(row=False), look, named=True) == f"`{BRANCH}`", "git knows what no row says"
    assert branch_name(entry(row=False), TreeLook(None, "gone"), named=False) == "`5`"


def test_sizes_are_for_people() -> None:
    """W4: what was not counted to its end is larger."""
    state = TreeState(False)
    sizes = (None, False), (10, False), (1_234_000_000, False), (3_100_000_000, True)
    assert [size_words(TreeLook(state, size=size, larger=larger)) for size, larger in sizes] == [
        "", "1 MB", "1.2 GB", "over 3.1 GB",
    ]  # fmt: skip
