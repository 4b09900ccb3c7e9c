"""What the bot reports to whoever counts: events, and of each turn numbers and names, never what was said (pure).

Calls are made on the loop, where things happen: they must not wait and must not raise. Nothing is reported for each
chunk of an answer. What a moment's state is, such as how many turns run, is read when somebody asks. A `TurnReport` is
also the canonical log line of its turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.model import Lane, Outcome, QueueMode
from bot.reply.sanitise import one_line
from bot.work.ending import TurnEnd
from bot.work.queue.entry import Entry

STOP_REASONS = frozenset({"end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled"})
"""Those of the protocol; what else an agent says may be any text, and is reported as ``other``."""

_NAME_LIMIT = 64
_CURRENCY_LIMIT = 8


@dataclass(frozen=True, slots=True)
class Spending:
    """What the agent says that the turn took; ``context`` is a share of the window, ``cost`` the session's so far."""

    characters: int = 0
    tools: int = 0
    context: float | None = None
    cost: float | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class TurnReport:
    """A turn that is over; times in seconds.

    Attributes:
        prompt: snowflake of the first of its ``messages``.
        agent: its name in the settings where there are several, else the one that it gives itself.
        attempts: how often the turn was begun; more than once where it could not run beside another one.
        waited: from the arrival of the prompt to the turn's admission; None for one that an earlier run accepted.
        seconds: from the admission to the end.
        forced: the agent did not end the turn by itself, and was ended.
    """

    outcome: Outcome
    thread: int
    prompt: int
    messages: int
    lane: Lane
    mode: QueueMode
    attempts: int
    waited: float | None
    seconds: float
    agent: str | None = None
    stop_reason: str | None = None
    forced: bool = False
    spending: Spending = Spending()

    def fields(self) -> dict[str, object]:
        """Return the fields of the log line; what is not known is left out."""
        # Listed by hand and not by asdict: their names and order are what operators search for.
        every = {
            "outcome": str(self.outcome),
            "thread": self.thread,
            "prompt": self.prompt,
            "messages": self.messages,
            "agent": self.agent,
            "lane": str(self.lane),
            "mode": str(self.mode),
            "attempts": self.attempts,
            "waited": None if self.waited is None else round(self.waited, 3),
            "seconds": round(self.seconds, 3),
            "characters": self.spending.characters,
            "tools": self.spending.tools,
            "context": self.spending.context,
            "cost": self.spending.cost,
            "currency": self.spending.currency,
            "stop_reason": self.stop_reason,
            "forced": self.forced or None,
        }
        return {name: value for name, value in every.items() if value is not None}


# Not a Protocol: most who listen want one or two of these, and tests none.
class Observer:
    """Ignores everything; subclasses override what they want to hear.

    Times are in seconds. No argument holds text, and no id but those in a `TurnReport`.
    """

    def prompt_accepted(self, lane: Lane) -> None:
        """A prompt is written down and waits for its turn, or was left waiting by an earlier run."""

    def prompt_ended(self, lane: Lane, outcome: Outcome) -> None:
        """A message has its outcome."""

    def turn_finished(self, report: TurnReport) -> None:
        """A turn is over and its reply delivered, or given up."""

    def spent(self, money: float, tokens: int) -> None:
        """A turn took so much money, in the currency of the budget, or so many tokens where that is not known."""

    def reply_visible(self, lane: Lane, after: float) -> None:
        """The first message of a reply is in Discord, so long after the prompt came."""

    def discord_answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Discord answered a request; ``status`` 0: it could not be reached. ``route`` is one of a few words."""

    def discord_limited(self, scope: str) -> None:
        """Discord refused a request for coming too soon (429)."""

    def gateway_opened(self, *, resumed: bool) -> None:
        """Events come from now on, in a new session of the gateway or in the one before."""

    def tool_called(self, tool: str, outcome: str) -> None:
        """An agent's call of one of Weft's tools is over; both are one of a few words."""

    def stored(self, seconds: float) -> None:
        """The store has carried out what it was asked, or holds it in memory."""


def turn_report(
    entry: Entry, messages: Sequence[object], end: TurnEnd, *, started: float, now: float, agent: str | None
) -> TurnReport:
    """Return the report of the turn of an entry that was admitted at ``started`` and has just ended."""
    snapshot, spending = end.snapshot, Spending()
    stop_reason = snapshot.stop_reason if snapshot is not None else None
    if snapshot is not None:
        context, cost = snapshot.context, snapshot.cost
        spending = Spending(
            characters=snapshot.text_length,
            tools=len(snapshot.tools) + snapshot.tools_cut,
            # An agent that reports a window of no size must not end the turn's report with a division.
            context=round(context.used / context.size, 3) if context is not None and context.size > 0 else None,
            cost=cost.amount if cost is not None else None,
            currency=one_line(cost.currency)[:_CURRENCY_LIMIT] if cost is not None else None,
        )
    return TurnReport(
        end.outcome,
        entry.thread_id,
        entry.place,
        len(messages),
        entry.lane,
        entry.mode,
        entry.attempts,
        waited=waited(entry, started),
        # Of the last attempt only: before it was put back nothing had run.
        seconds=now - started,
        # Names come from agents: cut to one short line, since each becomes a label that is kept for good.
        agent=one_line(agent)[:_NAME_LIMIT] if agent else None,
        stop_reason="other" if stop_reason is not None and stop_reason not in STOP_REASONS else stop_reason,
        forced=snapshot is not None and snapshot.killed,
        spending=spending,
    )


def waited(entry: Entry, until: float) -> float | None:
    """Return for how long an entry has waited by ``until``; None if nobody knows when it came."""
    # The clock is this process's: what an earlier run accepted has no time in it.
    return until - entry.since if entry.since else None
