"""What a footer ends with, and that it is shown once it is known."""

from __future__ import annotations

import pytest

from bot.work.projects.branch_look import BranchLook, branch_words
from bot.work.workspace.worktrees import TreeState


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (TreeState(False, "weft/fix-7c2", files=3, added=41, removed=7), " · `weft/fix-7c2` · 3 files +41 −7"),
        (TreeState(False, "weft/fix-7c2", files=1, added=1_200), " · `weft/fix-7c2` · 1 file +1,200 −0"),
        (TreeState(False, "weft/fix-7c2"), " · `weft/fix-7c2`"),
        (TreeState(False, None, detached=True, head="0123456789"), " · `detached at 0123456`"),
        (TreeState(False, "a`b\n*c*"), " · `aˋb *c*`"),
        (TreeState(True, "weft/fix-7c2"), ""),
    ],
)
def test_the_branch_and_what_differs_from_its_base(state: TreeState, words: str) -> None:
    """W3: what an agent calls a branch has no effect in Discord."""
    assert branch_words(state) == words


def test_words_are_shown_once_they_are_known_whoever_is_first() -> None:
    """W3: and never, where git does not say."""
    shown: list[str] = []
    early, late, unknown = BranchLook(), BranchLook(), BranchLook()
    early.settle("early")
    early.then(shown.append)
    late.then(shown.append)
    late.settle("late")
    unknown.then(shown.append)
    unknown.settle("")
    unknown.then(shown.append)
    assert shown == ["early", "late"]
