"""What a turn has cost, from what its agent says of the session so far (pure).

Agents tell the money that a session took since it began, so a turn's share is what came since the last turn. What they
say has no bound and need not be true: what can't be an amount is as good as not said. Source: the protocol's
``usage_update`` and the ``usage`` in the answer to ``session/prompt``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from acp.schema import Cost
from acp.snapshot import TurnSnapshot
from bot.reply.sanitise import one_line
from bot.work.budget.limits import MILLION

MOST_MONEY = 10**7
MOST_TOKENS = 10**12
"""Beyond these, what an agent says is no amount. A hundred thousand turns of that add up to less than 2**63."""

_CURRENCY_LIMIT = 8


@dataclass(frozen=True, slots=True)
class Mark:
    """What a session had taken at the end of its last turn; None: nobody knows.

    Attributes:
        money: in millionths of the currency; without one it is nothing, in whatever currency.
        context: tokens in its context window.
    """

    money: int | None = None
    currency: str | None = None
    context: int | None = None


BEGUN = Mark(money=0, context=0)
"""The mark of a session that has had no turn yet."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one turn took: ``money`` in millionths of ``currency``, None if it can't be told, and tokens."""

    money: int | None
    currency: str | None
    tokens: int


def mark_of(snapshot: TurnSnapshot, before: Mark) -> Mark:
    """Return the mark of a session after a turn; what the turn did not say stays as it was ``before``."""
    money, currency = _money(snapshot.cost)
    context = _tokens(snapshot.context.used) if snapshot.context is not None else None
    return Mark(
        before.money if money is None else money,
        before.currency if money is None else currency,
        before.context if context is None else context,
    )


def share_of(snapshot: TurnSnapshot, before: Mark) -> Share:
    """Return what a turn took; ``before``: the session's mark, of a copy that of its original when it was made."""
    money, currency = _money(snapshot.cost)
    share = _money_since(snapshot, before)
    return Share(share, currency if money is not None else None, _tokens_since(snapshot, before))


def _money_since(snapshot: TurnSnapshot, before: Mark) -> int | None:
    money, currency = _money(snapshot.cost)
    if money is None:
        return None
    known = before.money if before.currency in (currency, None) else None
    first, first_currency = _money(snapshot.first_cost)
    # 1. Of a session that was used before, and by somebody else than us, only what it took since the first word of it.
    if known is None:
        known = first if first is not None and first_currency == currency else money
    # 2. Some agents start from nothing when they resume a session, and may be further by the end of the turn. By half,
    # since sums of an agent's may differ in their last places.
    elif first is not None and first_currency == currency and 2 * first < known:
        return money
    # 3. It must never be less than nothing.
    return money if known > money else money - known


def _tokens_since(snapshot: TurnSnapshot, before: Mark) -> int:
    # 1. The agent may have counted them.
    usage = snapshot.usage
    if usage is not None:
        parts = (usage.input_tokens, usage.output_tokens)
        counted = usage.total_tokens if usage.total_tokens is not None else sum(part or 0 for part in parts)
        if tokens := _tokens(counted):
            return tokens
    # 2. Else what the context has grown by: less than was sent, but all that is known. One that shrank was packed.
    now = _tokens(snapshot.context.used) if snapshot.context is not None else None
    if now is None or before.context is None:
        return 0
    return now - before.context if now >= before.context else now


def _money(cost: Cost | None) -> tuple[int | None, str | None]:
    """Return an amount in millionths and its currency, if it is one."""
    if cost is None or not isfinite(cost.amount) or not 0 <= cost.amount <= MOST_MONEY:
        return None, None
    return round(cost.amount * MILLION), one_line(cost.currency).strip().upper()[:_CURRENCY_LIMIT]


def _tokens(number: int) -> int | None:
    return number if 0 <= number <= MOST_TOKENS else None
