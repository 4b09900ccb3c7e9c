"""What was spent: today by person and thread, and by each thread in all.

Decisions go by what is in memory, so nobody waits for the disk; the store has it all, turn by turn. The mutable state
is the sums, and how far each session has come.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bot.recent import RecentMap
from bot.work.budget.limits import Amount, Scope
from bot.work.budget.measure import Mark
from pool.store import KeptSpending, Spent

MOST_DAYS = 8
"""Days of which the sums are at hand: a clock that is set back or forth finds the sums of its day."""

REMEMBERED = 10_000
"""Threads and sessions of which sums and marks are at hand; those used last."""

NOTHING = Amount()


@dataclass(slots=True)
class _Day:
    in_all: Amount = NOTHING
    people: dict[int, Amount] = field(default_factory=dict)
    threads: dict[int, Amount] = field(default_factory=dict)

    def add(self, person_id: int, thread_id: int, amount: Amount) -> None:
        self.in_all += amount
        self.people[person_id] = self.people.get(person_id, NOTHING) + amount
        self.threads[thread_id] = self.threads.get(thread_id, NOTHING) + amount


class Spending:
    """Adds up what turns took."""

    def __init__(self) -> None:
        self._days: RecentMap[str, _Day] = RecentMap(MOST_DAYS)
        self._threads: RecentMap[int, Amount] = RecentMap(REMEMBERED)
        self._sessions: RecentMap[str, Mark] = RecentMap(REMEMBERED)

    def load(self, kept: KeptSpending) -> None:
        """Take over what earlier runs have kept."""
        for day, person_id, thread_id, money, tokens in sorted(kept.days):
            self._of(day).add(person_id, thread_id, Amount(money, tokens))
        for thread_id, money, tokens in kept.threads:
            self._threads.put(thread_id, Amount(money, tokens))
        for session, total, currency, context in kept.sessions:
            self._sessions.put(session, Mark(total, currency, context))

    def add(self, spent: Spent, amount: Amount) -> None:
        """Count what a turn took; ``amount`` is what of that counts."""
        if amount != NOTHING:
            self._of(spent.day).add(spent.person_id, spent.thread_id, amount)
            self._threads.put(spent.thread_id, self.of_thread(spent.thread_id) + amount)
        if spent.session is not None:
            self._sessions.put(spent.session, Mark(spent.total, spent.currency, spent.context))

    def forget(self, thread_id: int) -> None:
        """Forget a thread that is gone; what it took on a day counts on for that day."""
        self._threads.pop(thread_id, None)
        for day in self._days.values():
            day.threads.pop(thread_id, None)

    def begin(self, session: str, mark: Mark) -> None:
        """Let a session begin at a mark; after a restart before its first turn, that is not known any more."""
        self._sessions.put(session, mark)

    def mark(self, session: str) -> Mark | None:
        """Return how far a session has come; None: it is not known."""
        return self._sessions.get(session)

    def of_thread(self, thread_id: int, day: str | None = None) -> Amount:
        """Return what a thread took, in all or on a day."""
        if day is None:
            return self._threads.get(thread_id, NOTHING)
        found = self._days.get(day)
        return found.threads.get(thread_id, NOTHING) if found is not None else NOTHING

    def spent(self, scope: Scope, day: str, person_id: int, thread_id: int) -> Amount:
        """Return what counts against a limit: of a thread in all, of a person or everybody on a day."""
        if scope is Scope.THREAD:
            return self.of_thread(thread_id)
        found = self._days.get(day)
        if found is None:
            return NOTHING
        return found.in_all if scope is Scope.DAY else found.people.get(person_id, NOTHING)

    def _of(self, day: str) -> _Day:
        if day not in self._days:
            self._days.put(day, _Day())
        return self._days[day]
