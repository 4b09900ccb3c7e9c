"""Which of two runs of the bot is the earlier one."""

from __future__ import annotations

import pytest

from pool.engines.bot_run import BotRun

NEW = BotRun("new", 10)


@pytest.mark.parametrize(
    ("run", "name", "epoch", "follows"),
    [
        (NEW, "old", "9", True),
        (NEW, "new", "10", False),
        (NEW, "another engine's", "10", False),
        (NEW, "later", "11", False),
        # No number, and not by its letters, either.
        (NEW, "before there were leases", "", True),
        (NEW, "of a file", "9" * 30, True),
        (NEW, "made up", "²", True),
        (BotRun("alone"), "alone", "", False),
        (BotRun("alone"), "before", "", True),
        (BotRun("alone"), "of a database", "10", True),
    ],
)
def test_a_run_follows_those_of_lower_epochs(run: BotRun, name: str, epoch: str, follows: bool) -> None:
    """R10, P9"""
    assert run.follows(name, epoch) is follows
