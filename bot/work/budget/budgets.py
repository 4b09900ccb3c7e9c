"""Budgets: counts what each turn took, tells threads that a limit comes near, and refuses what goes beyond it (A4).

A turn that runs is never cut off: it is counted at its end. What comes or waits then is refused, unless an approver has
allowed it. Everything is decided from memory, in the step in which it is asked. The mutable state is
`bot.work.budget.spending.Spending`, which agents have told no money, which turn has the session of each thread, and how
far that had come when a turn beside it began.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import anyio
import structlog

from bot.model import Inbound, Outcome
from bot.recent import Recent, RecentMap
from bot.reply.port import Body
from bot.reply.sanitise import inline_code
from bot.work.budget.limits import MILLION, Amount, Budget, Limit, Scope
from bot.work.budget.measure import BEGUN, Mark, Share, mark_of, share_of
from bot.work.budget.spending import REMEMBERED, Spending
from bot.work.editors import Editors
from bot.work.ending import TurnEnd
from bot.work.observer import Observer
from bot.work.queue.entry import Why
from bot.work.queue.scheduler import Scheduler
from bot.work.running_turn import Claim, RunningTurn
from bot.work.turn_events import TurnListener
from pool.storage.durable import SessionStore
from pool.store import Spent

log = structlog.get_logger(__name__)

NEAR = 0.8
"""The share of a limit at which the thread is told."""

_DAYS_BACK = 2 * 24 * 3600
_SESSION_LIMIT, _AGENT_LIMIT = 200, 64


class Budgets(TurnListener):
    """Knows what was spent, and what may be.

    Attributes:
        now: tells the seconds since the epoch, by the wall clock: days are those of people.
    """

    def __init__(
        self,
        budget: Budget,
        store: SessionStore,
        scheduler: Scheduler[Claim],
        editors: Editors,
        observer: Observer,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.budget = budget
        self.now = now
        self._store, self._scheduler, self._editors, self._observer = store, scheduler, editors, observer
        self._spending = Spending()
        self._moneyless: Recent[str] = Recent(REMEMBERED)
        self._holding: dict[int, RunningTurn] = {}
        self._copied: RecentMap[int, Mark | None] = RecentMap(REMEMBERED)

    async def load(self) -> None:
        """Read what was spent in earlier runs."""
        since = self.budget.day(max(0.0, self.now() - _DAYS_BACK))
        self._spending.load(await self._store.spending(self.budget.currency, since, REMEMBERED))

    def copied(self, copy_id: str, original_id: str) -> None:
        """Take note that a session is a copy of another one: what that one had taken is not the copy's."""
        if (mark := self._spending.mark(_session_name(original_id))) is not None:
            self._spending.begin(_session_name(copy_id), mark)

    def forget(self, place_id: int) -> None:
        """Forget a thread that is gone."""
        self._spending.forget(place_id)

    # --- refusing --------------------------------------------------------------------------------------------------

    def refusal(self, message: Inbound) -> Why | None:
        """Return why a message may not become a turn now; None: it may."""
        if message.beyond_budget:
            return None
        day = self.budget.day(self.now())
        for scope, limit in self.budget.limits.items():
            spent = self._spending.spent(scope, day, message.author.id, message.thread_id)
            if limit.used(spent) >= 1:
                whose = _whose(scope, message.author.name)
                # Where waiting helps, that is the other way out.
                until = "" if scope is Scope.THREAD else " until midnight"
                reason = f"{whose} is used up{until} ({self._of_limit(spent, limit)})"
                return Why(Outcome.OVER_BUDGET, reason=reason)
        return None

    def sweep(self) -> None:
        """Refuse what waits and is beyond a limit by now."""
        # Lists: each that goes changes what is gone through here. What a running turn takes in is no turn of its own,
        # and goes on with it; what it does not take would be the next one.
        for entry in list(self._scheduler.undecided()):
            for message in list(entry.messages):
                if (why := self.refusal(message)) is not None:
                    with self._scheduler.deciding(entry.thread_id, anyio.current_time()) as (queue, decisions):
                        decisions.extend(queue.turn_away(message.message_id, why))

    # --- counting --------------------------------------------------------------------------------------------------

    def started(self, running: RunningTurn) -> None:
        """Take note of how far a session has come of which a turn gets a copy: its own turn may end first."""
        if not running.extra:
            self._holding[running.thread_id] = running
        elif (holder := self._holding.get(running.thread_id)) is not None and holder.lease is not None:
            mark = self._spending.mark(_session_name(holder.lease.session.id))
            self._copied.put(running.entry.place, mark or (BEGUN if holder.lease.how == "new" else None))

    def ended(self, running: RunningTurn, end: TurnEnd) -> None:
        """Count what a turn took, and see what that means for others, before any of them starts."""
        snapshot, lease, first = end.snapshot, running.lease, running.first
        copied = self._copied.pop(running.entry.place, None)
        if not running.extra:
            self._holding.pop(running.thread_id, None)
        if lease is None:
            return  # it had no session
        name = _session_name(lease.session.id)
        if lease.how == "new":
            # Also where this turn says nothing: the next one must not count as the first word on an old session.
            self._spending.begin(name, BEGUN)
        if snapshot is None:
            return  # the agent has got no prompt
        before = self._spending.mark(name)
        if before is None and lease.how == "forked":
            # A copy says what its original took, or begins with nothing.
            before = copied or (self._spending.mark(_session_name(lease.original)) if lease.original else None)
        before = before or Mark()
        share, mark = share_of(snapshot, before), mark_of(snapshot, before)
        if mark == before and not (share.money or share.tokens) and lease.how != "new":
            return  # the agent has said nothing new
        at = self.now()
        spent = Spent(
            first.message_id, int(at), self.budget.day(at), first.author.id, running.thread_id,
            (running.agent or "")[:_AGENT_LIMIT], share.money or 0, mark.currency, share.tokens,
            name, mark.money, mark.context,
        )  # fmt: skip
        amount = self._counted(running.agent or "", share, mark)
        limits = self.budget.limits.items()
        earlier = [limit.used(self._of(scope, spent)) for scope, limit in limits]
        # In memory first: what is decided in this step must count it. The store has it before it has the turn's end.
        self._spending.add(spent, amount)
        self._store.spent(spent)
        self._observer.spent(amount.money / MILLION, amount.tokens)
        for (scope, limit), used in zip(limits, earlier, strict=True):
            if used < NEAR <= limit.used(self._of(scope, spent)):
                self._tell(scope, limit, spent, first.author.name)
        if any(limit.used(self._of(scope, spent)) >= 1 for scope, limit in limits):
            self.sweep()

    def _counted(self, agent: str, share: Share, mark: Mark) -> Amount:
        """Return what of a share counts: its money, or its tokens where the agent tells no money in this currency."""
        if mark.currency == self.budget.currency:
            return Amount(money=share.money or 0)
        limited = any(limit.money is not None for limit in self.budget.limits.values())
        if limited and share.tokens and self._moneyless.first(agent):
            # Once for each: whoever runs this believes that a limit holds.
            log.warning("budget.not_measured", agent=agent, currency=mark.currency)
        return Amount(tokens=share.tokens)

    def _of(self, scope: Scope, spent: Spent) -> Amount:
        return self._spending.spent(scope, spent.day, spent.person_id, spent.thread_id)

    def _tell(self, scope: Scope, limit: Limit, spent: Spent, name: str) -> None:
        amount = self._of(scope, spent)
        share = min(999, int(limit.used(amount) * 100))
        what = f"-# 💰 {share}% of {_whose(scope, name)} is used: {self._of_limit(amount, limit)}."
        self._editors.of(spent.thread_id).say(Body(f"{what} Beyond it, an approver has to allow each turn."))
        log.info("budget.warned", scope=scope.value, thread=spent.thread_id, user=spent.person_id, percent=share)

    def _of_limit(self, spent: Amount, limit: Limit) -> str:
        """Return what is used of a limit: of money and tokens, what is used up more."""
        if limit.tokens is None or (
            limit.money is not None and Limit(money=limit.money).used(spent) >= limit.used(spent)
        ):
            return f"{self.budget.worded(spent.money)} of {self.budget.worded(limit.money or 0)}"
        return f"{spent.tokens:,} of {limit.tokens:,} tokens"

    # --- looking ---------------------------------------------------------------------------------------------------

    def spent_today(self, thread_id: int | None = None) -> Amount:
        """Return what a thread, or everybody, took today."""
        day = self.budget.day(self.now())
        if thread_id is None:
            return self._spending.spent(Scope.DAY, day, 0, 0)
        return self._spending.of_thread(thread_id, day)

    def worded(self, spent: Amount) -> str:
        """Return an amount as people read it: ``$1.20``, ``3,400 tokens``; empty if it is nothing."""
        money = self.budget.worded(spent.money) if spent.money else ""
        tokens = f"{spent.tokens:,} tokens" if spent.tokens else ""
        return " and ".join(filter(None, (money, tokens)))

    def describe(self, thread_id: int | None = None) -> list[str]:
        """Return what was spent, in a thread and today, as lines of ``/status``; none where nothing was."""
        limits, parts = self.budget.limits, []
        if thread_id is not None:
            parts.append((self._spending.of_thread(thread_id), limits.get(Scope.THREAD), "in this thread"))
        parts.append((self.spent_today(), limits.get(Scope.DAY), "today in all threads"))
        told = [
            f"{self._of_limit(spent, limit) if limit is not None else self.worded(spent)} {where}"
            for spent, limit, where in parts
            if limit is not None or self.worded(spent)
        ]
        return [f"Spent: {', '.join(told)}"] if told else []


def _whose(scope: Scope, name: str) -> str:
    if scope is Scope.THREAD:
        return "the budget of this thread"
    return f"today's budget of {inline_code(name, 60)}" if scope is Scope.PERSON else "today's budget for everybody"


def _session_name(session_id: str) -> str:
    """Return a short name for a session: an agent's id may be of any length."""
    if len(session_id) <= _SESSION_LIMIT:
        return session_id
    return hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()
