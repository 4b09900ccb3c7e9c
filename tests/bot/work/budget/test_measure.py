"""A turn's share of what its agent says of the session."""

from __future__ import annotations

from math import inf, nan

import pytest

from acp.schema import Cost, Usage
from acp.snapshot import ContextUse, TurnSnapshot
from bot.work.budget.measure import BEGUN, Mark, Share, mark_of, share_of

KNOWN = Mark(2_000_000, "USD", 500)


def said(
    amount: float | None, currency: str = "USD", *, used: int | None = None, first: float | None = None
) -> TurnSnapshot:
    return TurnSnapshot(
        cost=None if amount is None else Cost(amount=amount, currency=currency),
        first_cost=Cost(amount=first, currency=currency) if first is not None else None,
        context=None if used is None else ContextUse(used, 9_000),
    )


@pytest.mark.parametrize(
    ("snapshot", "before", "money"),
    [
        (said(0.5), BEGUN, 500_000),  # all that a new session took
        (said(2.25), KNOWN, 250_000),  # what came since the last turn
        (said(2), KNOWN, 0),
        (said(0.5), KNOWN, 500_000),  # the agent starts from nothing when it resumes
        (said(3, first=0.1), KNOWN, 3_000_000),  # and is further by the end of the turn
        (said(3, first=1.999_998), KNOWN, 1_000_000),
        (said(9, first=8.5), Mark(), 500_000),  # somebody else's session: since it was first said
        (said(9, "EUR", first=8.5), KNOWN, 500_000),  # another currency has nothing to do with what was known
        (said(None), KNOWN, None),
        *((said(wrong), KNOWN, None) for wrong in (nan, inf, -inf, -1, 1e308, 10_000_001)),
        (said(1e7), BEGUN, 10**13),
    ],
)  # fmt: skip
def test_a_turn_took_what_its_session_took_since_the_last_one_and_never_less_than_nothing(
    snapshot: TurnSnapshot, before: Mark, money: int | None
) -> None:
    """A4"""
    assert share_of(snapshot, before).money == money


@pytest.mark.parametrize(
    ("usage", "used", "tokens"),
    [
        (Usage(total_tokens=70), 900, 70),
        (Usage(input_tokens=60, output_tokens=9), 900, 69),
        (Usage(), 900, 400),  # the growth of the context, where nothing was counted
        (None, 300, 300),  # it was packed
        (Usage(total_tokens=-5), None, 0),
        (Usage(total_tokens=10**30), None, 0),
        (None, 10**30, 0),
    ],
)
def test_tokens_are_those_that_the_agent_counts_or_else_the_growth_of_its_context(
    usage: Usage | None, used: int | None, tokens: int
) -> None:
    """A4"""
    snapshot = TurnSnapshot(usage=usage, context=None if used is None else ContextUse(used, 9))
    assert share_of(snapshot, KNOWN) == Share(None, None, tokens)


def test_a_session_has_come_as_far_as_was_last_said() -> None:
    """A4: what one turn does not say stays as it was, and the currency is of one line and short."""
    assert mark_of(said(3, " eur\nand more ", used=7), KNOWN) == Mark(3_000_000, "EUR AND ", 7)
    assert mark_of(said(nan), KNOWN) == KNOWN
    assert mark_of(said(None, used=7), BEGUN) == Mark(0, None, 7)
