"""Shows the questions of running turns: opened, kept in step with their request, closed in time (C6).

What can't be asked is answered at once: with the reason where the agent can ask better, else ``cancel``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import structlog
from anyio.abc import TaskGroup

from acp.elicitation import ElicitationParams, ElicitationRequest
from acp.schema import ToolCallUpdate
from bot.model import Inbound
from bot.reply.port import Body
from bot.reply.render import duration
from bot.work.attention.notifications import Notifications
from bot.work.permissions.card_records import CardRecords
from bot.work.permissions.cards import CardState, who_may
from bot.work.permissions.decisions import Decision, Decisions, decision_on
from bot.work.permissions.shown_card import NOT_TAKEN, ShownCard
from bot.work.questions import cards as question_cards
from bot.work.questions.form import Form, Unaskable, read_form, without_secrets
from bot.work.questions.registry import NO_FORM, Question, QuestionRegistry, expire
from bot.work.running_turn import RunningTurn
from bot.work.turn_events import WaitsForPeople

LONGEST_MESSAGE = 64 * 1024
"""Characters of what a question says; more is no question."""

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class ShownQuestion(ShownCard):
    """A question as its thread shows it: how it ended is recorded, then shown.

    Attributes:
        opened: the card as it asks.
    """

    form: Form
    decisions: Decisions
    waits: WaitsForPeople
    question: Question = field(init=False)
    opened: Body = field(init=False)
    _recorded: bool = field(init=False, default=False)
    _written: bool = field(init=False, default=False)

    @property
    def asked(self) -> Question:
        return self.question

    def bring_up_to_date(self) -> None:
        """Show the question as it is now; its end once that is recorded."""
        question = self.question
        if question.state is CardState.OPEN:
            self.post(self.opened)
            return
        if not self._recorded:
            # Record before show: what people have seen of a decision must be found afterwards (C5).
            self._recorded = True
            what = _what(question.request.params, self.form)
            end = _decision_of(question, what, self.running.first, self.running.stopped_by)
            self.decisions.record(end, self._show_end)
        # Its end is shown already and has changed since: the agent says that the page is done.
        elif self._written:
            self._show_end()
        self.waits.settled(self.running)

    def not_taken(self) -> None:
        if self.question.request.cancel():
            self.question.close(CardState.CANCELLED, question_cards.CANCELLED, reason=NOT_TAKEN)

    def _show_end(self) -> None:
        self._written = True
        # As it is now: while the first end was written down, the agent may have said that the page is done.
        self.post_end(question_cards.closed(self.opened, self.question.end), question_cards.NOT_TAKEN)


@dataclass(eq=False)
class TurnQuestions:
    """Takes the questions of running turns.

    Args:
        tasks: owns the timers of the questions.
        timeout: seconds that a question waits for a person.
        decisions: records how each question ended, before that is shown.
        records: writes down which questions threads show.
        approver_in: returns a role whose members may answer in a server, if there is one (C1).

    Attributes:
        closed: the bot stops: what is asked from now on is answered ``cancel``.
    """

    tasks: TaskGroup
    registry: QuestionRegistry
    waits: WaitsForPeople
    timeout: float
    decisions: Decisions
    records: CardRecords
    notifications: Notifications
    approver_in: Callable[[int | None], int | None]
    closed: bool = False

    def open(self, running: RunningTurn, request: ElicitationRequest) -> None:
        """Show a question as a card in the turn's thread and let it wait for the requester."""
        # 1. What nobody could answer, or is one too many, has its answer at once.
        form = self._form_to_ask(running, request)
        if form is None:
            return
        # 2. From here on it can be answered.
        first = running.first
        role, for_owners = self.approver_in(first.guild_id), first.automatic
        shown = ShownQuestion(running, self.records, form, self.decisions, self.waits)
        question = shown.question = self.registry.open(
            first.thread,
            request,
            form,
            first.author,
            lambda _question: shown.bring_up_to_date(),
            approvers=role is not None,
            for_owners=for_owners,
        )
        # The requester is notified, as they want it; in place of a bot, which reads no card, whoever decides for it.
        shown.opened = self._card(question, running.agent or "", *self.notifications.asked(running, role))
        request.on_closed = lambda reason: question.close(CardState.CANCELLED, question_cards.CANCELLED, reason=reason)
        request.on_completed = question.complete
        running.questions.append(question)
        shown.bring_up_to_date()
        if question.state is not CardState.OPEN:
            return  # it could not be shown
        self.records.keep(shown.kept, lambda: running.reply.release(question.token), self.timeout)
        # 3. From here on the turn waits for people.
        self.waits.begun(running)
        self.tasks.start_soon(expire, question, self.timeout, name=f"question {question.token}")

    def _form_to_ask(self, running: RunningTurn, request: ElicitationRequest) -> Form | None:
        """Return what is asked; None: it can't be, which the agent and people have been told."""
        first, asked = running.first, request.params
        # Bounded, since an agent that asks without end must fill neither the thread nor the memory.
        if refusal := "the bot stops" if self.closed else running.asked_enough:
            request.cancel()
            if reason := running.note_refusal(refusal):
                self.decisions.record(_decided(first, _what(asked), "cancel", reason=reason))
            return None
        agent, url = running.agent or "", asked.url or ""
        try:
            form = without_secrets(_form_of(asked), self.decisions.redact)
        except Unaskable as exc:
            request.refuse(str(exc))
            why, card = "it can't be asked here", question_cards.unaskable_card(agent, str(exc))
        else:
            why = question_cards.refused_page(url) if asked.mode == "url" else ""
            if not why:
                return form
            request.cancel()
            card = question_cards.refused_page_card(agent, self.decisions.redact(asked.message), url, why)
        running.unaskable += 1
        told = partial(running.reply.card, f"question {request.key}", card)
        self.decisions.record(_decided(first, _what(asked), "cancel", reason=why), told)
        return None

    def _card(self, question: Question, agent: str, ping: int | None, role: int | None) -> Body:
        asked = question.request.params
        who = who_may(question, f"<@{question.requester.id}>")
        told = {
            "who": f"A bot asked, so only {who}" if question.for_owners else who,
            "deadline": f"Without an answer within {duration(self.timeout)} it is cancelled.",
        }
        token, said = question.token, self.decisions.redact(asked.message)
        if asked.mode == "url":
            return question_cards.page_card(token, agent, said, asked.url or "", ping=ping, role=role, **told)
        return question_cards.form_card(token, agent, said, question.form, ping=ping, role=role, **told)


def _form_of(asked: ElicitationParams) -> Form:
    if len(asked.message) > LONGEST_MESSAGE:
        raise Unaskable(f"the message is longer than {LONGEST_MESSAGE:,} characters")
    return read_form(asked.requested_schema or {}) if asked.mode == "form" else NO_FORM


def _what(asked: ElicitationParams, form: Form = NO_FORM) -> str:
    """Return what is kept of a question: the names of its fields, and neither its words nor an answer (C5)."""
    if asked.mode == "url":
        return "a page to open"
    return f"a form: {', '.join(field.title for field in form.fields)}" if form.fields else "a question"


def _decided(asked_by: Inbound, what: str, decided_by: str, *, reason: str | None = None) -> Decision:
    """Return that a question had no answer."""
    call = ToolCallUpdate(tool_call_id="", title=what, kind="question")
    outcome = "expired" if decided_by == "timeout" else "cancelled"
    return decision_on(call, asked_by, decided_by, outcome, reason=reason)  # type: ignore[arg-type]


def _decision_of(question: Question, what: str, asked_by: Inbound, stopped_by: str | None) -> Decision:
    """Return how a question ended; what was answered is for the agent alone."""
    if question.state is CardState.EXPIRED:
        return _decided(asked_by, what, "timeout")
    if question.state is not CardState.ANSWERED:
        return replace(_decided(asked_by, what, "cancel", reason=question.reason), person_name=stopped_by)
    call = ToolCallUpdate(tool_call_id="", title=what, kind="question")
    outcome = "rejected" if question.declined else "answered"
    return decision_on(call, asked_by, "person", outcome, person=question.answered_by)  # type: ignore[arg-type]
