"""A turn to be: the messages that will be asked in one prompt, on their way through the queue; and decisions (pure).

When an entry starts and what ends it is decided in `thread_queue`, which returns decisions for others to carry out;
here is what both are made of, and how an entry reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from acp.schema import ContentBlock, text_block
from bot.model import Actor, Inbound, Lane, Outcome, QueueMode, Quote
from bot.work.prompt import NOTHING, Brought, Said, compose, runs_command


class EntryState(Enum):
    """Where an entry is on its way."""

    COLLECTING = auto()
    """More of its author may still join it."""
    WAITING = auto()
    STEERING = auto()
    """It was handed to the running turn; whether the agent took it is not known yet."""
    RUNNING = auto()
    ENDED = auto()


PENDING = (EntryState.COLLECTING, EntryState.WAITING)
"""It is in the line: whoever takes it out ends it. What was handed to a turn ends only when that turn has answered."""


@dataclass(frozen=True, slots=True)
class Why:
    """What ends a message or a turn; by whom and for which reason, where the outcome does not say it all."""

    outcome: Outcome
    by: str = ""
    reason: str = ""


Wordings = tuple[tuple[int, str], ...]
"""Messages as they were at some moment: of each its id and its text."""


@dataclass(slots=True)
class Background:
    """What an entry refers to and does not say itself, as it was looked up.

    Attributes:
        of: the messages that it was looked up for.
        linked: what messages link to, by the id of the message.
        earlier: what was said before them.
        read: how many earlier messages the agent gets to read.
        told: the thread has a line about it.
    """

    of: Wordings = ()
    linked: dict[int, list[Quote]] = field(default_factory=dict)
    earlier: list[Quote] = field(default_factory=list)
    read: int = 0
    told: bool = False


@dataclass(slots=True, eq=False)
class Entry:
    """One turn to be.

    Attributes:
        place: snowflake of the first message; it stays when that message goes.
        messages: in order of arrival, each as it was last edited; never empty before the end.
        unstored: ids of those that the store does not have yet.
        withdrawn: ends of those that were taken out while it was handed to the running turn, by id; they get them if
            that turn did not take it.
        injected: messages that the running turn took in; their outcome is the turn's.
        since, held_until: when it came, and until when more of its author may join it (seconds).
        joins: the turn that takes it in once the store has it, unless that was prompted by then.
        taken: its acceptance has had its effect: it counts as waiting, its mode has done its work.
        steered: it is marked as said while the agent was working.
        after: turns that were cancelled for it; it starts when they have really ended.
        cancelled: why its turn is being cancelled; the first reason stays.
        prompted: the agent has its prompt, or is about to: nothing can still join it.
        finishing: the agent has answered; there is nothing left to cancel or to steer.
        generation: of the session in which it runs.
        told_to_wait: whether its author was told that no agent is free.
        attempts: how often its turn was begun.
        brought: what came with messages that have files, by id, once the files were fetched.
        background: what it refers to, once that was looked up.
    """

    place: int
    thread_id: int
    mode: QueueMode
    lane: Lane
    messages: list[Inbound]
    unstored: set[int] = field(default_factory=set)
    withdrawn: dict[int, Why] = field(default_factory=dict)
    state: EntryState = EntryState.WAITING
    since: float = 0.0
    held_until: float = 0.0
    taken: bool = False
    joins: Entry | None = None
    steered: bool = False
    prompted: bool = False
    finishing: bool = False
    generation: int = 0
    cancelled: Why | None = None
    after: list[Entry] = field(default_factory=list)
    injected: list[Inbound] = field(default_factory=list)
    told_to_wait: bool = False
    attempts: int = 0
    brought: dict[int, Brought] = field(default_factory=dict)
    background: Background = field(default_factory=Background)

    @property
    def authors(self) -> tuple[Actor, ...]:
        """Who wrote it, each once, in order."""
        return tuple({message.author.id: message.author for message in self.messages}.values())

    @property
    def owed(self) -> list[Inbound]:
        """The messages whose outcome is the outcome of this turn."""
        return [*self.messages, *self.injected]

    @property
    def ready(self) -> bool:
        """Whether it may start, as far as it alone is concerned."""
        # `after` goes by the state of those turns, not by whether they were cancelled: only a turn that has really
        # ended has let go of the session.
        over = all(turn.state is not EntryState.RUNNING for turn in self.after)
        return self.state is EntryState.WAITING and not self.unstored and over

    @property
    def cancellable(self) -> bool:
        """Whether its turn runs on unless somebody cancels it."""
        return self.cancelled is None and not self.finishing

    @property
    def open(self) -> bool:
        """Whether more can be added: what its turn will ask is not settled yet."""
        if self.state is EntryState.RUNNING:
            return self.cancellable and not self.prompted
        return self.state in PENDING

    @property
    def runs_command(self) -> bool:
        """Whether it is a command of the agent's, which takes all text of its prompt for its input (K3)."""
        return runs_command(self.messages[0])

    def prompt_text(self) -> str:
        """Return what the agent is asked, in words."""
        linked = self.background.linked
        said = (
            Said(
                one.author,
                one.text,
                (*one.quotes, *linked.get(one.message_id, ()), *came.quotes),
                one.left_out + came.left_out,
            )
            for one, came in self._with_files()
        )
        return compose(said, self.background.earlier, meanwhile=self.steered)

    def prompt(self) -> list[ContentBlock]:
        """Return what the agent is asked: the words, and behind them what came with the messages."""
        return [text_block(self.prompt_text()), *(block for _, came in self._with_files() for block in came.blocks)]

    def _with_files(self) -> list[tuple[Inbound, Brought]]:
        # A message that was deleted meanwhile no longer has attachments, even if some were fetched.
        brought = {one.message_id: self.brought.get(one.message_id) for one in self.messages if one.attachments}
        return [(one, brought.get(one.message_id) or NOTHING) for one in self.messages]


@dataclass(frozen=True, slots=True)
class End:
    """The message never runs, and this is its one outcome."""

    message: Inbound
    why: Why


@dataclass(frozen=True, slots=True)
class Cancel:
    """The running turn is to be cancelled; its place is free when it has really ended."""

    entry: Entry
    why: Why


@dataclass(frozen=True, slots=True)
class Inject:
    """The entry is to be put into the running turn; `ThreadQueue.steered` has to be called with the result."""

    into: Entry
    entry: Entry


@dataclass(frozen=True, slots=True)
class Joined:
    """The message is part of a turn that has started, and whose agent was not prompted yet."""

    message: Inbound


@dataclass(frozen=True, slots=True)
class Queued:
    """The message waits; ``place`` 1 is the next to start."""

    message: Inbound
    place: int


@dataclass(frozen=True, slots=True)
class Edited:
    """A waiting message has a new text."""

    message: Inbound


@dataclass(frozen=True, slots=True)
class Warm:
    """An agent will be needed soon: one may be started now, if that costs nobody else anything."""

    thread_id: int


Decision = End | Cancel | Inject | Joined | Queued | Edited | Warm


def cancel(turns: Iterable[Entry], why: Why) -> list[Decision]:
    """Decide that turns are to be cancelled, but for those that are over or cancelled anyway."""
    decisions: list[Decision] = []
    for turn in turns:
        # Once for each turn: the first reason decides its outcome, whoever else asks later.
        if turn.cancellable:
            turn.cancelled = why
            decisions.append(Cancel(turn, why))
    return decisions
