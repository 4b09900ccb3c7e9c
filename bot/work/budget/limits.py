"""What may be spent: the `[budget]` of ``weft.toml``, and amounts as they are counted (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from enum import Enum

MILLION = 1_000_000
"""Money is counted in millionths of the currency: whole numbers, of which ten tenths are one."""


class Scope(Enum):
    """What a limit is for."""

    THREAD = "per_thread"
    PERSON = "per_user_day"
    DAY = "per_day"


@dataclass(frozen=True, slots=True)
class Amount:
    """What was spent: money, in millionths of the currency, and tokens of turns whose money is not known."""

    money: int = 0
    tokens: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.money + other.money, self.tokens + other.tokens)


@dataclass(frozen=True, slots=True)
class Limit:
    """How much may be spent; units as in `Amount`. None: any amount."""

    money: int | None = None
    tokens: int | None = None

    def used(self, spent: Amount) -> float:
        """Return the share that is used up, of money or of tokens, whichever is more: from 1.0 on nothing is left."""
        pairs = ((self.money, spent.money), (self.tokens, spent.tokens))
        return max((amount / limit for limit, amount in pairs if limit is not None), default=0.0)


@dataclass(frozen=True, slots=True)
class Budget:
    """All limits, and by which days and in which currency they count.

    Attributes:
        currency: as agents write it, in capitals; a cost in another one counts by its tokens.
        zone: the time zone of the days; None: that of the machine.
    """

    limits: dict[Scope, Limit] = field(default_factory=dict)
    currency: str = "USD"
    zone: tzinfo | None = None

    def day(self, at: float) -> str:
        """Return the day of a moment (seconds since the epoch), as ``2026-11-30``."""
        return datetime.fromtimestamp(at, self.zone).date().isoformat()

    def worded(self, money: int) -> str:
        """Return an amount of money as people read it: ``$1.20``."""
        # Two places would show a cheap turn as free.
        amount = f"{money / MILLION:,.2f}" if money >= MILLION // 200 or not money else f"{money / MILLION:.4f}"
        return f"${amount}" if self.currency == "USD" else f"{amount} {self.currency}"
