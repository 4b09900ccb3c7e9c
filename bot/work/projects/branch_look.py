"""What a work tree looks like when a turn has ended, for the last part of the footer (W3, pure).

The look is begun beside the end of the turn by `bot.work.projects.branches`, and nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Callable

from bot.reply.sanitise import inline_code
from bot.work.workspace.worktrees import TreeState

_BRANCH_LIMIT = 60


class BranchLook:
    """A look that is under way, or over; ``words``: what it adds to a footer, "" until that is known."""

    def __init__(self) -> None:
        self.words = ""
        self._over = False
        self._show: Callable[[str], None] | None = None

    def then(self, show: Callable[[str], None]) -> None:
        """Have the words shown as soon as they are known; never, if they never are."""
        if not self._over:
            self._show = show
        elif self.words:
            show(self.words)

    def settle(self, words: str) -> None:
        """End it; without words there is nothing to show."""
        self.words, self._over = words, True
        if words and self._show is not None:
            self._show(words)


def size_of(state: TreeState) -> str:
    """Return how much differs from the base: ``3 files +41 −7``; "" if nothing does."""
    if not state.files:
        return ""
    count = "1 file" if state.files == 1 else f"{state.files:,} files"
    return f"{count} +{state.added:,} −{state.removed:,}"


def branch_of(state: TreeState) -> str:
    """Return what is checked out, as code: a branch, or the commit where there is none."""
    return inline_code(state.branch or f"detached at {(state.head or '?')[:7]}", _BRANCH_LIMIT)


def branch_words(state: TreeState) -> str:
    """Return what a footer ends with: `` · `weft/fix-login-7c2` · 3 files +41 −7``."""
    if state.missing:
        return ""
    return "".join(f" · {part}" for part in (branch_of(state), size_of(state)) if part)
