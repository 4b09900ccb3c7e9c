"""A turn that was admitted, with its agent, its reply and what waits for people (mutable: see its attributes)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import anyio

from acp.session import AgentSession
from acp.snapshot import Phase, TurnSnapshot
from acp.turn import Turn
from bot.model import Inbound
from bot.reply.live_reply import LiveReply
from bot.reply.live_status import SILENCE
from bot.reply.render import last_lines
from bot.work.agent_tools.use import ToolUse
from bot.work.permissions.cards import Card, CardState
from bot.work.permissions.rulings import RuledLines
from bot.work.projects.branch_look import BranchLook
from bot.work.questions.registry import Question
from bot.work.queue.entry import Entry
from pool.pool import SessionLease
from pool.slot import ExtraReservation, Reservation

Claim = Reservation | ExtraReservation

MOST_OPEN = 20
"""Cards and questions of one turn that people may answer at the same time."""

MOST_CARDS = 200
"""Cards and questions of one turn in all: an agent that asks without end must not fill thread and memory."""

MOST_REFUSALS = 100
"""Refused requests of one turn that are recorded: it must not push the decisions of people out of the audit either."""


@dataclass(slots=True, eq=False)
class RunningTurn:
    """A turn that was admitted.

    Attributes:
        starting: around all that comes before the prompt; cancelling it leaves the spawn going (T6).
        hard_timeout: seconds after which the turn ends whatever it waits for (T2).
        session: the session that is prompted, once the prompt may be sent.
        stopped_by: who stopped it, in whatever phase.
        abandoned: the thread is gone, so the agent is let go after the turn (D10).
        interrupted: the bot's stop is what stopped it (R1).
        over_at: when the agent ended it otherwise than with an answer; the drain is still to come then.
        extra: it runs on a copy of the thread's session, beside the turn that has the session (Q9).
        looked: set once it is known what belonged to the agent before the prompt; None: that is not looked up.
        silent: nothing was heard of the agent for long while no tool was at work.
        hear: tells what the agent has said on its stderr in this turn, secrets blacked out; None before its session.
        doing: tells what is being done before its agent can start, in words; "" if nothing.
        agent: its name in the settings where there are several, else the one that it gives itself, once it did.
        lease: its session and what it runs in, once the pool has given it.
        steering: held while a text is put into the turn, so that one with files is not overtaken.
        ruled: what rules have decided in people's place.
        refused: how many requests and questions nobody was asked, as there were too many.
        unaskable: how many questions were shown as what can't be asked.
        branch: the look at its work tree, once its end is near; None: it has none.
        tools: how much its agent has asked of Weft by its tools.
    """

    entry: Entry
    reply: LiveReply
    turn: Turn
    started: float
    hard_timeout: float
    starting: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    session: AgentSession | None = None
    stopped_by: str | None = None
    abandoned: bool = False
    interrupted: bool = False
    over_at: float | None = None
    extra: bool = False
    looked: anyio.Event | None = None
    silent: bool = False
    hear: Callable[[], str] | None = None
    doing: Callable[[], str] = str
    agent: str | None = None
    lease: SessionLease | None = None
    steering: anyio.Lock = field(default_factory=anyio.Lock)
    cards: list[Card] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    ruled: RuledLines = field(default_factory=RuledLines)
    refused: int = 0
    unaskable: int = 0
    branch: BranchLook | None = None
    tools: ToolUse = field(default_factory=ToolUse)

    @property
    def thread_id(self) -> int:
        """The thread the turn belongs to."""
        return self.entry.thread_id

    @property
    def first(self) -> Inbound:
        """The message that the reply answers."""
        return self.entry.messages[0]

    @property
    def waiting_for_people(self) -> int:
        """How many cards and questions of it are open."""
        cards = sum(card.state is CardState.OPEN for card in self.cards)
        return cards + sum(question.state is CardState.OPEN for question in self.questions)

    @property
    def asked_enough(self) -> str:
        """Why nothing more is asked in it now; "" if something may be."""
        if len(self.cards) + len(self.questions) + self.unaskable >= MOST_CARDS:
            return f"the turn has asked {MOST_CARDS} times"
        waiting = self.waiting_for_people
        return f"{waiting} requests of the turn are open" if waiting >= MOST_OPEN else ""

    def note_refusal(self, reason: str) -> str:
        """Count a request that was refused at once; return what is to be recorded of it, "" if nothing is."""
        self.refused += 1
        if self.refused >= MOST_REFUSALS:
            return f"{reason}; further ones are not recorded" if self.refused == MOST_REFUSALS else ""
        return reason

    def look(self, text_from: int = 0) -> TurnSnapshot:
        """Return the turn as it is now; of one that is silent, with the agent's last words, and remember that."""
        snapshot = self.turn.snapshot(text_from)
        if self.session is None:
            snapshot = replace(snapshot, starting=snapshot.phase is Phase.RUNNING, step=self.doing())
        if snapshot.step or snapshot.silent_for(anyio.current_time()) < SILENCE:
            return snapshot
        self.silent = self.silent or snapshot.current_tool is None
        return replace(snapshot, last_words="".join(last_lines(self.hear()))) if self.hear is not None else snapshot

    def stop(self, by: str, *, restart: bool = False) -> bool:
        """Stop the turn in whatever phase it is; False: it was over already.

        Args:
            restart: the bot stops; what was decided before that stays as it is.
        """
        if restart:
            self.interrupted = self.stopped_by is None
        # The agent has answered: a stop would change nothing but the outcome, which is known (T6).
        if self.turn.phase in (Phase.DRAINING, Phase.ENDED):
            return False
        self.stopped_by = self.stopped_by or by
        # Before the prompt there is nothing to cancel but the wait; the agent goes on starting, for whoever is next.
        if self.session is not None:
            self.session.cancel(by)
        else:
            self.starting.cancel()
        return True
