"""Questions of agents that wait for a person: who may answer, what an answer does, what silence means (C6).

The first of answer, decline, timeout and cancel wins; whatever comes later is told so. What a person has typed is kept
until the question is over, so that a wrong answer is corrected and not typed again; it is never logged. The mutable
state is the map of known questions; ended ones are kept for a while, without what was asked and answered.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import anyio
import structlog

from acp.elicitation import ElicitationParams, ElicitationRequest
from bot.model import Actor, ThreadPlace, posted_at
from bot.recent import RecentMap
from bot.reply.sanitise import inline_code
from bot.work.permissions.cards import RESTARTED, CardState, may_decide, who_may
from bot.work.ports import Answer
from bot.work.questions import cards as question_cards
from bot.work.questions.form import Form

_REMEMBERED = 1000
_TOKEN_BYTES = 9
NO_FORM = Form(())

EXPIRED = "This question has expired."
CANCELLED = "This question was cancelled."
SENT = "Your answer was sent."
DECLINED = "Declined. The agent has been told."

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Question:
    """A question in a thread.

    Attributes:
        form: what is to be filled in; without fields for a page, or for a mere yes.
        registry: remembers it once it is over.
        show: called with the question each time that what it shows has changed; None: nobody looks at it.
        approvers, for_owners: who may answer besides the requester, or in its place, as of a permission card.
        message_id: the message that shows it; 0 before there is one.
        since: when it was asked, by the monotonic clock.
        drafts: what people have filled in so far, by person.
        end: the last line of its card, once it is over.
        declined: somebody did not want to answer.
        reason: why it ended without an answer, where its state does not say so.
    """

    token: str
    place: ThreadPlace
    request: ElicitationRequest
    form: Form
    requester: Actor
    registry: QuestionRegistry
    show: Callable[[Question], None] | None
    approvers: bool = False
    for_owners: bool = False
    message_id: int = 0
    since: float = field(default_factory=time.monotonic)
    state: CardState = CardState.OPEN
    answered_by: Actor | None = None
    end: str = ""
    declined: bool = False
    reason: str | None = None
    drafts: dict[int, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    closed: anyio.Event = field(default_factory=anyio.Event)

    def close(self, state: CardState, end: str, by: Actor | None = None, *, reason: str | None = None) -> None:
        """Take the question to its end; only the first call counts."""
        # Answer, timeout and cancel race for it; the state is set before anything is shown, so the loser sees it.
        if self.state is CardState.OPEN:
            self.state, self.end, self.answered_by, self.reason = state, end, by, reason
            self.closed.set()
            self.refresh()
            # Last: it lets go what the question was shown with.
            self.registry.remember(self)

    def complete(self) -> None:
        """Take note that what was to be done on its page is done, whether somebody said so here or not."""
        if self.state is CardState.OPEN:
            self.close(CardState.ANSWERED, question_cards.COMPLETED)
        elif self.state is CardState.ANSWERED and not self.declined:
            self.end = question_cards.COMPLETED
            self.refresh()

    def refresh(self) -> None:
        """Show what has changed."""
        try:
            if self.show is not None:
                self.show(self)
        except Exception:
            # Called from the agent's reader and from timers: what can't be shown must end neither.
            log.exception("question.failed", thread=self.place.thread_id)


class QuestionRegistry:
    """All questions that people may still answer, and those that are over, as many as are remembered.

    Args:
        started: when this run began, in seconds of the wall clock; None: now.
    """

    def __init__(self, started: float | None = None) -> None:
        self._started = time.time() if started is None else started
        self._open: dict[str, Question] = {}
        self._over: RecentMap[str, Question] = RecentMap(_REMEMBERED)

    def waiting(self) -> list[Question]:
        """Return the questions that wait for people."""
        return list(self._open.values())

    def find(self, token: str) -> Question | None:
        """Return the question of a token that is still remembered."""
        return self._open.get(token) or self._over.get(token)

    @property
    def open_questions(self) -> int:
        """How many questions wait for a person."""
        return len(self._open)

    def open(
        self,
        place: ThreadPlace,
        request: ElicitationRequest,
        form: Form,
        requester: Actor,
        show: Callable[[Question], None],
        *,
        approvers: bool = False,
        for_owners: bool = False,
    ) -> Question:
        """Return a new question; it is not shown yet."""
        # Not its number: a custom_id can be sent by hand, and must not be guessed.
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        question = Question(token, place, request, form, requester, self, show, approvers, for_owners)
        self._open[token] = question
        return question

    def remember(self, question: Question) -> None:
        """Keep a question that is over for a while, so that a late click gets a true answer."""
        # It outlives its turn by far: what was asked and typed would be kept with it.
        question.form, question.drafts = NO_FORM, {}
        # Of a page that somebody went to, the agent may still say that it is done.
        if question.state is not CardState.ANSWERED or question.request.params.mode != "url":
            question.show = None
        bare = ElicitationParams(message="", mode=question.request.params.mode)
        question.request = ElicitationRequest(question.request.id, bare, lambda _request, _response: None)
        question.request.answered = True
        # Only what is over is forgotten: an agent that asks a thousand times must not take away another thread's.
        del self._open[question.token]
        self._over.put(question.token, question)

    def of_earlier_run(self, token: str, message_id: int) -> Answer | None:
        """Return what to tell whoever answers a question of an earlier run, by its card's message; None: it is not."""
        known = token in self._open or token in self._over
        if known or not message_id or posted_at(message_id) >= self._started:
            return None
        return Answer(RESTARTED, accepted=False)

    # --- what people do --------------------------------------------------------------------------------------------

    def open_step(self, token: str, step: int, by: Actor) -> Answer:
        """Return a step of a form for a person to fill in, with what they filled in before."""
        question = self._find(token, by)
        if isinstance(question, Answer):
            return question
        if step >= len(question.form.steps):
            return Answer(EXPIRED, accepted=False)
        draft = question.drafts.get(by.id, {})
        fields = [one for one in question.form.steps[step] if one.key in draft]
        _, wrong = question.form.read(draft, fields)
        return Answer("", accepted=True, modal=question_cards.modal(token, question.form, step, draft, wrong))

    def fill_in(self, token: str, step: int, given: Mapping[str, Sequence[str]], by: Actor) -> Answer:
        """Take what a person filled in; with the last step the agent has its answer, if all of it is right.

        Args:
            given: by the ids of the modal's parts.
        """
        question = self._find(token, by)
        if isinstance(question, Answer):
            return question
        # To each person their own: nobody sends what somebody else has typed.
        form, draft = question.form, question.drafts.setdefault(by.id, {})
        steps = form.steps
        if step >= len(steps):
            return Answer(EXPIRED, accepted=False)
        # 1. Kept first: whatever is wrong with it, nobody types it again.
        for one in steps[step]:
            draft[one.key] = tuple(given.get(f"f{form.fields.index(one)}", ()))
        # 2. Something is wrong in this step: Discord opens no modal from a modal, so a button does.
        _, wrong = form.read(draft, steps[step])
        if wrong:
            return _correct(question, step, wrong)
        # 3. There are steps that this person has not seen.
        missing = [number for number, fields in enumerate(steps) if any(one.key not in draft for one in fields)]
        if missing:
            following = next((number for number in missing if number > step), missing[0])
            button = question_cards.step_button(token, following, f"Next ({following + 1} of {len(steps)})…")
            back = question_cards.step_button(token, step, "Change…")
            text = f"Part {step + 1} of {len(steps)} is kept. Nothing is sent before the last part."
            return Answer(text, accepted=True, buttons=(button, back))
        # 4. All is there; an earlier part may still be wrong.
        content, wrong = form.read(draft)
        if wrong:
            number = next(number for number, fields in enumerate(steps) if any(one.key in wrong for one in fields))
            return _correct(question, number, wrong)
        return _settled(question, question.request.accept(content), question_cards.answered(by.name), by, SENT)

    def choose(self, token: str, option: int, by: Actor) -> Answer:
        """Answer a question with one of the options that stand on its card."""
        question = self._find(token, by)
        if isinstance(question, Answer):
            return question
        quick = question.form.quick
        # A press that was sent by hand may name any number.
        if quick is None or option >= len(quick.choices):
            return Answer(EXPIRED, accepted=False)
        chosen = quick.choices[option]
        taken = question.request.accept({quick.key: quick.read((str(option),))})
        text = f"Answered: {inline_code(chosen.name)}"
        return _settled(question, taken, question_cards.answered(by.name, chosen.name), by, text)

    def agree(self, token: str, by: Actor) -> Answer:
        """Say that the page was gone through, or yes to a question without fields."""
        question = self._find(token, by)
        if isinstance(question, Answer):
            return question
        page = question.request.params.mode == "url"
        if question.form.fields:
            return Answer(EXPIRED, accepted=False)
        # The answer to a form has content, if only an empty one.
        taken = question.request.accept(None if page else {})
        end = question_cards.opened(by.name) if page else question_cards.answered(by.name)
        return _settled(question, taken, end, by, "The agent has been told." if page else SENT)

    def decline(self, token: str, by: Actor) -> Answer:
        """Tell the agent that nobody wants to answer."""
        question = self._find(token, by)
        if isinstance(question, Answer):
            return question
        # Before the answer: the end is recorded with it, in the same step.
        question.declined = True
        return _settled(question, question.request.decline(), question_cards.declined(by.name), by, DECLINED)

    def _find(self, token: str, by: Actor) -> Question | Answer:
        """Return the open question of a token if the person may answer it, else what to tell them."""
        question = self.find(token)
        if question is None:
            return Answer(EXPIRED, accepted=False)
        if question.state is not CardState.OPEN:
            text = EXPIRED if question.state is CardState.EXPIRED else CANCELLED
            if question.state is CardState.ANSWERED:
                by_whom = f"answered by {inline_code(question.answered_by.name)}" if question.answered_by else "done"
                text = f"Already {by_whom}."
            return Answer(text, accepted=False)
        # Looked at only now: that a question is over is no secret, and says more than who might have answered it.
        if not may_decide(question, by):
            who = who_may(question, inline_code(question.requester.name))
            return Answer(f"Only {who} may answer this.", accepted=False)
        return question


def _settled(question: Question, taken: bool, end: str, by: Actor, text: str) -> Answer:
    """Close a question whose request was just answered, and return what to tell whoever did it."""
    # The session decides who was first: the agent's own cancel may have closed the request unseen.
    if not taken:
        question.close(CardState.CANCELLED, question_cards.CANCELLED)
        return Answer(CANCELLED, accepted=False)
    question.close(CardState.ANSWERED, end, by)
    return Answer(text, accepted=True)


def _correct(question: Question, step: int, wrong: Mapping[str, str]) -> Answer:
    """Return what is wrong, by fields, and the button that opens the step with all that was typed."""
    fields = [one for one in question.form.steps[step] if one.key in wrong]
    lines = [f"{question_cards.title_of(one)}: {question_cards.literal(wrong[one.key])}." for one in fields]
    button = question_cards.step_button(question.token, step, "Correct…")
    text = "\n".join(["Not sent yet; what you typed is kept.", *lines])
    return Answer(text, accepted=False, buttons=(button,))


async def expire(question: Question, seconds: float) -> None:
    """Wait for a question's end, at most ``seconds``; then it is cancelled."""
    with anyio.move_on_after(seconds):
        await question.closed.wait()
    if question.state is CardState.OPEN:
        if question.request.cancel():
            question.close(CardState.EXPIRED, question_cards.EXPIRED)
        else:
            question.close(CardState.CANCELLED, question_cards.CANCELLED)


def why_ended(questions: Sequence[Question]) -> str:
    """Return what is said of a turn that its agent gave up after these questions; empty if they had answers."""
    decided = [one for one in questions if one.state in (CardState.ANSWERED, CardState.EXPIRED)]
    if not decided:
        return ""
    # The last one only: after an earlier one the agent went on, so that one did not end the turn.
    last = decided[-1]
    if last.state is CardState.EXPIRED:
        return "Nobody answered the agent's question in time, so the agent ended its turn. Write again to go on."
    if not last.declined or last.answered_by is None:
        return ""
    who = inline_code(last.answered_by.name, 60)
    return f"The agent ended its turn after {who} declined its question. Write what it should do instead."
