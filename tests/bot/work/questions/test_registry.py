"""Questions that wait for a person: who may answer, what an answer does, and which end counts (C6)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from acp.elicitation import ElicitationParams, ElicitationRequest
from acp.open_request import RequestEnd
from bot.model import Actor, posted_at
from bot.work.permissions.cards import RESTARTED, CardState
from bot.work.ports import Answer
from bot.work.questions.cards import COMPLETED
from bot.work.questions.form import read_form
from bot.work.questions.registry import EXPIRED, NO_FORM, Question, QuestionRegistry, expire, why_ended
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.samples import ALICE, BOB, PLACE

OWNER = Actor(9, "olga", owner=True)
NAME = {"type": "string", "minLength": 2}
PORT = {"type": "integer"}
CHOICE = {"type": "string", "enum": ["a", "b"]}


@dataclass
class Asked:
    """A question with fields, its answers and its changes."""

    properties: dict[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    url: str | None = None
    for_owners: bool = False
    answers: list[Any] = field(default_factory=list)
    shown: list[CardState] = field(default_factory=list)
    registry: QuestionRegistry = field(default_factory=QuestionRegistry)

    def __post_init__(self) -> None:
        params = ElicitationParams(message="Which?", mode="url" if self.url else "form", url=self.url)
        self.request = ElicitationRequest(1, params, lambda _request, answer: self.answers.append(answer.result))
        schema = {"properties": self.properties, "required": list(self.required)}
        form = NO_FORM if self.url else read_form(schema)
        self.question: Question = self.registry.open(
            PLACE, self.request, form, ALICE, lambda one: self.shown.append(one.state), for_owners=self.for_owners
        )
        self.token = self.question.token

    def fill(self, step: int, by: Actor = ALICE, **given: str) -> Answer:
        parts = {key: (value,) for key, value in given.items()}
        return self.registry.fill_in(self.token, step, parts, by)

    def texts(self, step: int = 0, by: Actor = ALICE) -> list[tuple[str, ...]]:
        """Return what stands in the fields of a step."""
        modal = self.registry.open_step(self.token, step, by).modal
        assert modal is not None
        return [one.value for one in modal.fields]


def test_a_form_of_one_step_is_the_answer() -> None:
    asked = Asked({"name": NAME, "port": PORT}, ("name",))
    assert asked.texts() == [(), ()]
    assert asked.fill(0, f0="main", f1="") == Answer("Your answer was sent.", accepted=True)
    assert asked.answers == [{"action": "accept", "content": {"name": "main"}}]
    assert (asked.shown, asked.question.end) == ([CardState.ANSWERED], "✅ Answered by `alice`")
    assert asked.registry.open_questions == 0


def test_a_wrong_answer_is_not_sent_and_nothing_that_was_typed_is_lost() -> None:
    asked = Asked({"name": NAME, "port": PORT})
    refused = asked.fill(0, f0="m", f1="*x*")
    assert refused.text.splitlines() == [
        "Not sent yet; what you typed is kept.",
        "`name`: needs at least 2 characters and has 1.",
        "`port`: takes a whole number, not '\\*x\\*'.",
    ]
    assert ([one.label for one in refused.buttons], asked.answers) == (["Correct…"], [])
    assert asked.texts() == [("m",), ("*x*",)]
    modal = asked.registry.open_step(asked.token, 0, ALICE).modal
    assert modal is not None
    assert [one.about for one in modal.fields] == [
        "⚠ name needs at least 2 characters and has 1",
        "⚠ port takes a whole number, not '*x*'",
    ]
    assert asked.fill(0, f0="main", f1="1").accepted


def test_steps_are_sent_together_and_may_be_changed_before_that() -> None:
    asked = Asked({f"f{number}": NAME for number in range(11)}, ("f0",))
    assert [one.label for one in asked.fill(0, f0="ab").buttons] == ["Next (2 of 3)…", "Change…"]
    # A step that was left out is asked for, in whatever order they are sent.
    assert [one.label for one in asked.fill(2, f10="cd").buttons] == ["Next (2 of 3)…", "Change…"]
    assert asked.fill(0, f0="ef").accepted
    assert asked.answers == []
    assert asked.texts(0) == [("ef",), (), (), ()]
    assert asked.fill(1, f4="x").text.endswith("`f4`: needs at least 2 characters and has 1.")
    assert asked.fill(1, f4="").accepted
    assert asked.answers == [{"action": "accept", "content": {"f0": "ef", "f10": "cd"}}]


def test_each_person_has_a_draft_of_their_own() -> None:
    asked = Asked({"name": NAME}, for_owners=True)
    other = Actor(10, "otto", owner=True)
    asked.fill(0, OWNER, f0="a")
    assert (asked.texts(by=OWNER), asked.texts(by=other)) == ([("a",)], [()])
    assert asked.fill(0, other, f0="second").accepted
    assert asked.fill(0, OWNER, f0="first").text == "Already answered by `otto`."


def test_a_choice_is_the_answer_and_what_is_none_is_not() -> None:
    asked = Asked({"which": CHOICE, "other": {"type": "string"}})
    assert asked.registry.choose(asked.token, 2, ALICE) == Answer(EXPIRED, accepted=False)
    assert asked.registry.choose(asked.token, 1, ALICE).text == "Answered: `b`"
    assert asked.answers == [{"action": "accept", "content": {"which": "b"}}]
    assert asked.registry.choose(asked.token, 0, ALICE).text == "Already answered by `alice`."
    several = Asked({"which": CHOICE, "other": CHOICE})
    assert several.registry.choose(several.token, 0, ALICE) == Answer(EXPIRED, accepted=False)


def test_a_form_is_not_agreed_to_without_being_filled_in() -> None:
    asked = Asked({"name": NAME}, ("name",))
    assert not asked.registry.agree(asked.token, ALICE).accepted
    assert not asked.registry.open_step(asked.token, 1, ALICE).accepted
    assert not asked.fill(1).accepted
    assert asked.answers == []
    empty = Asked()
    assert empty.registry.agree(empty.token, ALICE).accepted
    assert empty.answers == [{"action": "accept", "content": {}}]


def test_a_page_is_agreed_to_without_content_and_completed_later() -> None:
    asked = Asked(url="https://example.org")
    assert asked.registry.agree(asked.token, ALICE).accepted
    assert (asked.answers, asked.question.end) == ([{"action": "accept"}], "✅ `alice` is done with the page")
    asked.question.complete()
    asked.question.complete()
    assert (asked.shown[:2], asked.question.end) == ([CardState.ANSWERED] * 2, COMPLETED)
    alone = Asked(url="https://example.org")
    alone.request.on_completed = alone.question.complete
    alone.request.complete()
    assert (alone.answers, alone.question.end) == ([{"action": "accept"}], COMPLETED)
    assert alone.registry.decline(alone.token, ALICE).text == "Already done."


def test_a_page_that_was_declined_is_not_completed() -> None:
    asked = Asked(url="https://example.org")
    asked.registry.decline(asked.token, ALICE)
    asked.question.complete()
    assert (asked.answers, asked.question.end) == ([{"action": "decline"}], "⛔ Declined by `alice`")


@pytest.mark.parametrize(
    ("for_owners", "by", "who"), [(False, BOB, "`alice`"), (False, OWNER, "`alice`"), (True, ALICE, "whoever runs me")]
)
def test_only_the_requester_answers_and_for_bots_the_owners(for_owners: bool, by: Actor, who: str) -> None:
    asked = Asked({"which": CHOICE}, for_owners=for_owners)
    registry, token = asked.registry, asked.token
    told = [
        registry.choose(token, 0, by),
        registry.open_step(token, 0, by),
        asked.fill(0, by, f0="0"),
        registry.decline(token, by),
        registry.agree(token, by),
    ]
    assert told == [Answer(f"Only {who} may answer this.", accepted=False)] * 5
    assert (asked.answers, asked.question.drafts) == ([], {})


def test_an_approver_answers_whoever_asked() -> None:
    """C1."""
    asked = Asked({"which": CHOICE})
    assert asked.registry.choose(asked.token, 0, Actor(3, "ava", approver=True)).accepted
    assert asked.question.end == "✅ `a` by `ava`"


def test_what_is_over_or_unknown_is_told_and_keeps_nothing() -> None:
    asked = Asked({"name": NAME})
    asked.fill(0, f0="x")
    asked.request.on_closed = lambda reason: asked.question.close(CardState.CANCELLED, "gone", reason=reason)
    asked.request.close(RequestEnd.WITHDRAWN)
    assert asked.fill(0, f0="name").text == "This question was cancelled."
    question = asked.question
    assert (question.reason, question.drafts, question.form, question.show) == (
        "the agent withdrew it",
        {},
        NO_FORM,
        None,
    )
    assert QuestionRegistry().decline("of an earlier run", ALICE) == Answer(EXPIRED, accepted=False)


def test_an_answer_that_the_agent_no_longer_waits_for_is_not_told_as_sent() -> None:
    asked = Asked({"name": NAME})
    asked.request.close(RequestEnd.TURN_ENDED)
    assert asked.fill(0, f0="name") == Answer("This question was cancelled.", accepted=False)
    assert (asked.shown, asked.answers) == ([CardState.CANCELLED], [])


@in_virtual_time
async def test_silence_cancels() -> None:
    asked, answered = Asked({"name": NAME}), Asked({"name": NAME})
    async with anyio.create_task_group() as tasks:
        for one in (asked, answered):
            tasks.start_soon(expire, one.question, 600.0)
        await anyio.sleep(599)
        answered.fill(0, f0="name")
        assert asked.answers == []
        await anyio.sleep(1)
    assert (asked.answers, asked.shown) == ([{"action": "cancel"}], [CardState.EXPIRED])
    assert asked.fill(0, f0="late").text == EXPIRED
    assert answered.shown == [CardState.ANSWERED]
    assert why_ended([answered.question, asked.question]).startswith("Nobody answered")
    assert why_ended([asked.question, answered.question]) == why_ended([]) == ""


def test_a_turn_that_ends_after_a_question_was_declined_says_so() -> None:
    asked = Asked({"name": NAME})
    asked.registry.decline(asked.token, ALICE)
    assert why_ended([asked.question]) == (
        "The agent ended its turn after `alice` declined its question. Write what it should do instead."
    )


def test_a_card_that_cannot_be_shown_ends_nobody_who_answers() -> None:
    asked = Asked({"name": NAME})

    def fail(_: Question) -> None:
        raise LookupError("no thread")

    asked.question.show = fail
    assert asked.fill(0, f0="name").accepted
    assert asked.answers == [{"action": "accept", "content": {"name": "name"}}]


def test_an_answer_to_a_question_of_an_earlier_run_is_told_that_the_restart_ended_it() -> None:
    """C4: by the age of its card, as its token died with the process; one that is known, or new, has not."""
    asked = Asked({"name": NAME}, registry=QuestionRegistry(started=posted_at(1000 << 22)))
    assert asked.registry.of_earlier_run("?", 999 << 22) == Answer(RESTARTED, accepted=False)
    assert asked.registry.of_earlier_run("?", 1000 << 22) is None
    for _ in range(2):
        assert asked.registry.of_earlier_run(asked.token, 999 << 22) is None
        asked.registry.decline(asked.token, ALICE)
