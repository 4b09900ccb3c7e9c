"""Permission requests: who may answer, first answer wins, silence says no."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Sequence
from dataclasses import replace

import anyio
import pytest

from acp.jsonrpc import Response
from acp.permission_request import PermissionRequest
from acp.schema import PermissionOption, PermissionParams, ToolCallUpdate
from bot.model import Actor, ThreadPlace, posted_at
from bot.work.permissions.cards import (
    AGREED_ALREADY,
    EXPIRED,
    RESTARTED,
    Card,
    CardState,
    PermissionRegistry,
    expire,
    may_decide,
    rejecting,
)
from tests.bot.work.samples import ALICE, BOB, PLACE

ALLOW = PermissionOption(option_id="yes", name="Allow", kind="allow_once")
REJECT = PermissionOption(option_id="no", name="Reject", kind="reject_once")
NEVER = PermissionOption(option_id="never", name="Never", kind="reject_always")


class Request(PermissionRequest):
    """A request of an agent; ``answer`` is the option that it got, or "cancelled"."""

    def __init__(self, options: Sequence[PermissionOption] = (ALLOW, REJECT)) -> None:
        self.answer: str | None = None
        call = ToolCallUpdate(tool_call_id="t")
        params = PermissionParams(session_id="s", tool_call=call, options=list(options))
        super().__init__(1, params, lambda _request, response: self.note(response))

    def note(self, response: Response) -> None:
        assert self.answer is None
        outcome = response.result["outcome"]
        self.answer = outcome.get("optionId", outcome["outcome"])


def open_card(registry: PermissionRegistry, request: Request) -> tuple[Card, list[CardState]]:
    shown: list[CardState] = []
    return registry.open(PLACE, request, ALICE, lambda card: shown.append(card.state)), shown


def test_the_requester_answers_with_one_of_the_agents_own_options() -> None:
    """D6."""
    registry, request = PermissionRegistry(), Request()
    card, shown = open_card(registry, request)
    answer = registry.decide(card.token, 0, ALICE)
    assert (answer.accepted, request.answer, shown) == (True, "yes", [CardState.ANSWERED])
    assert (card.chosen, card.answered_by) == (ALLOW, ALICE)


def test_somebody_else_may_not_answer() -> None:
    """D6."""
    registry, request = PermissionRegistry(), Request()
    card, shown = open_card(registry, request)
    answer = registry.decide(card.token, 0, BOB)
    assert (answer.accepted, answer.text) == (False, "Only `alice` may answer this.")
    assert (request.answer, shown) == (None, [])


def test_a_later_click_is_told_that_the_request_is_answered() -> None:
    """D6."""
    registry, request = PermissionRegistry(), Request()
    card, _ = open_card(registry, request)
    registry.decide(card.token, 1, ALICE)
    answer = registry.decide(card.token, 0, ALICE)
    assert (answer.accepted, answer.text, request.answer) == (False, "Already answered by `alice`.", "no")


@pytest.mark.parametrize("option", [-1, 2, 99])
def test_a_press_on_an_option_that_was_not_offered_answers_nothing(option: int) -> None:
    """D6."""
    registry, request = PermissionRegistry(), Request()
    card, _ = open_card(registry, request)
    assert registry.decide(card.token, option, ALICE).accepted is False
    assert request.answer is None


def test_an_unknown_card_is_told_to_have_expired() -> None:
    """D6."""
    answer = PermissionRegistry().decide("unknown", 0, ALICE)
    assert (answer.accepted, answer.text) == (False, EXPIRED)


def test_a_press_on_a_card_of_an_earlier_run_is_told_that_the_restart_ended_it() -> None:
    """C4: by the age of the message, as its token died with the process; of this run's, it is forgotten only."""
    registry = PermissionRegistry(started=posted_at(1000 << 22))
    assert registry.decide("unknown", 0, ALICE, 999 << 22).text == RESTARTED
    assert registry.decide("unknown", 0, ALICE, 1000 << 22).text == EXPIRED
    card, _ = open_card(registry, Request())
    assert registry.decide(card.token, 7, ALICE, 999 << 22).text == EXPIRED


def test_a_click_that_comes_after_the_agents_own_end_of_the_request_is_told_so() -> None:
    """D6: first of click, timeout and cancel wins."""
    registry, request = PermissionRegistry(), Request()
    card, shown = open_card(registry, request)
    request.cancel()
    answer = registry.decide(card.token, 0, ALICE)
    assert (answer.accepted, request.answer, shown) == (False, "cancelled", [CardState.CANCELLED])


@pytest.mark.asyncio
async def test_silence_picks_the_option_that_rejects() -> None:
    """D6."""
    registry, request = PermissionRegistry(), Request()
    card, shown = open_card(registry, request)
    await expire(card, 0)
    assert (request.answer, shown, card.chosen) == ("no", [CardState.EXPIRED], REJECT)
    assert registry.decide(card.token, 0, ALICE).text == EXPIRED


@pytest.mark.asyncio
async def test_silence_is_cancelled_where_no_option_rejects() -> None:
    """D6."""
    registry, request = PermissionRegistry(), Request(options=[ALLOW])
    card, _ = open_card(registry, request)
    await expire(card, 0)
    assert (request.answer, card.state) == ("cancelled", CardState.EXPIRED)


@pytest.mark.asyncio
async def test_an_answered_card_does_not_expire() -> None:
    """D6."""
    registry, request = PermissionRegistry(), Request()
    card, shown = open_card(registry, request)
    registry.decide(card.token, 0, ALICE)
    with anyio.fail_after(30):
        await expire(card, 60)
    assert (request.answer, shown) == ("yes", [CardState.ANSWERED])


def test_the_rejection_for_once_goes_before_the_one_for_good() -> None:
    """D6."""
    assert rejecting([ALLOW, NEVER, REJECT]) == REJECT
    assert rejecting([ALLOW, NEVER]) == NEVER
    assert rejecting([ALLOW]) is None


def test_old_cards_are_forgotten_once_they_are_over() -> None:
    """D6: the memory of ended requests is bounded, and takes no open one away."""
    registry, request = PermissionRegistry(), Request()
    still_open, _ = open_card(registry, request)
    first, _ = open_card(registry, Request())
    first.close(CardState.CANCELLED)
    for _ in range(1000):
        last, _ = open_card(registry, Request())
        last.close(CardState.CANCELLED)
    assert registry.find(first.token) is None
    assert registry.find(last.token) is last
    assert registry.open_cards == 1
    assert registry.decide(still_open.token, 0, ALICE).accepted


def test_a_bots_request_is_answered_by_an_owner_of_the_application() -> None:
    """D6: a bot presses no button."""
    registry, request = PermissionRegistry(), Request()
    card = registry.open(PLACE, request, BOB, lambda _card: None, for_owners=True)
    assert registry.decide(card.token, 0, ALICE).text == "Only whoever runs me may answer this."
    assert registry.decide(card.token, 0, replace(ALICE, owner=True)).accepted


@pytest.mark.parametrize("for_owners", [False, True], ids=["of a person", "of a bot"])
def test_who_may_decide(for_owners: bool) -> None:
    """C1, D6: every combination of requester, owner and approver."""
    registry = PermissionRegistry()
    card = registry.open(PLACE, Request(), ALICE, lambda _card: None, approvers=True, for_owners=for_owners)
    for person, owner, approver in itertools.product((ALICE, BOB), (False, True), (False, True)):
        expected = approver or (owner if for_owners else person is ALICE)
        assert may_decide(card, replace(person, owner=owner, approver=approver)) is expected


ALWAYS = PermissionOption(option_id="always", name="Always", kind="allow_always")
CAROL = Actor(id=13, name="carol", approver=True)
JUDGE = replace(BOB, approver=True)


def for_two(registry: PermissionRegistry) -> tuple[Card, Request, list[dict[int, str]]]:
    request, shown = Request([ALLOW, REJECT, ALWAYS]), list[dict[int, str]]()

    def show(card: Card) -> None:
        shown.append({number: by.name for number, by in card.agreed.items()})

    return registry.open(PLACE, request, ALICE, show, approvers=True, two_person=True), request, shown


def test_two_people_have_to_agree_to_the_same_option() -> None:
    """C1: the same person twice is one, and agreement to another option counts for that one only."""
    registry = PermissionRegistry()
    card, request, shown = for_two(registry)
    assert not registry.decide(card.token, 0, BOB).accepted
    first = registry.decide(card.token, 0, ALICE)
    assert (first.accepted, first.text) == (True, "You have agreed to `Allow`. Somebody else has to agree, too.")
    again = registry.decide(card.token, 0, ALICE)
    assert (again.accepted, again.text) == (False, AGREED_ALREADY)
    other = registry.decide(card.token, 2, JUDGE)
    assert other.text.endswith("`alice` agreed to another option, which does not count for this one.")
    assert (request.answer, card.state, shown[-1]) == (None, CardState.OPEN, {0: "alice", 2: "bob"})
    assert registry.decide(card.token, 0, JUDGE).text == "Answered: `Allow`"
    assert (request.answer, card.answered_by, card.seconded) == ("yes", JUDGE, ALICE)
    # Of two who press at once one is late; no option is taken twice.
    assert registry.decide(card.token, 2, CAROL).text == "Already answered by `alice` and `bob`."


def test_one_person_is_enough_to_reject() -> None:
    """C1: also after somebody has agreed."""
    registry = PermissionRegistry()
    card, request, _ = for_two(registry)
    assert registry.decide(card.token, 0, ALICE).accepted
    assert registry.decide(card.token, 1, JUDGE).text == "Answered: `Reject`"
    assert (request.answer, card.seconded) == ("no", None)


def test_agreement_to_what_the_agent_took_back_is_refused() -> None:
    """C1, D6: whoever is late learns that it is over."""
    registry = PermissionRegistry()
    card, request, shown = for_two(registry)
    request.cancel()
    assert registry.decide(card.token, 0, ALICE).text == "This request was cancelled."
    assert (request.answer, shown) == ("cancelled", [{}])


def test_who_may_no_longer_decide_has_agreed_to_nothing() -> None:
    """C1: two people have to agree who both may, when the second does."""
    registry = PermissionRegistry()
    card, request, shown = for_two(registry)
    assert registry.decide(card.token, 0, JUDGE).accepted
    assert registry.decide(card.token, 2, ALICE).accepted

    def rights(by: Actor, place: ThreadPlace) -> Actor | None:
        assert place == PLACE
        return replace(by, approver=False)

    registry.recheck(rights)
    assert shown[-1] == {2: "alice"}
    assert registry.decide(card.token, 0, CAROL).text.startswith("You have agreed to `Allow`.")
    registry.recheck(lambda _by, _place: None)
    assert (request.answer, card.agreed) == (None, {})


@pytest.mark.asyncio
async def test_one_agreement_is_none_when_the_time_is_up() -> None:
    """C1, D6"""
    registry = PermissionRegistry()
    card, request, _ = for_two(registry)
    assert registry.decide(card.token, 0, ALICE).accepted
    await expire(card, 0)
    assert (request.answer, card.state, card.answered_by) == ("no", CardState.EXPIRED, None)


def test_a_card_that_is_over_holds_on_to_nothing_of_its_turn() -> None:
    """D6, T10: a thousand cards are remembered for late clicks; the turns they belonged to are not."""

    class Turn:
        def show(self, _card: Card) -> None:
            """Show nothing."""

    registry, turn, request = PermissionRegistry(), Turn(), Request()
    card = registry.open(PLACE, request, ALICE, turn.show)
    assert registry.decide(card.token, 1, ALICE).accepted
    gone = weakref.ref(turn), weakref.ref(request)
    del turn, request
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    assert registry.decide(card.token, 0, ALICE).text == "Already answered by `alice`."


def test_a_card_that_can_not_be_shown_is_over_all_the_same() -> None:
    """O4: it is closed by the agent's reader and by timers, which must go on."""

    def fail(_card: Card) -> None:
        raise RuntimeError("broken")

    registry, request = PermissionRegistry(), Request()
    card = registry.open(PLACE, request, ALICE, fail)
    assert registry.decide(card.token, 0, ALICE).accepted
    assert (card.state, request.answer) == (CardState.ANSWERED, "yes")
