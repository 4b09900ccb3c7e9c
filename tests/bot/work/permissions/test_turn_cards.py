"""Permission cards of a turn: shown to the requester, kept in step with the request, closed in time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from acp.elicitation import ElicitationParams, ElicitationRequest
from acp.open_request import RequestEnd
from acp.permission_request import PermissionRequest
from acp.schema import PermissionParams, ToolCallUpdate
from acp.turn import Turn
from acp.turn_deadlines import TurnLimits
from bot.agents.model import only
from bot.model import Lane, QueueMode
from bot.reply.live_reply import LiveReply
from bot.reply.port import Body
from bot.work.attention.notifications import Notifications
from bot.work.permissions.card_records import KEEP_LIMIT, CardRecords
from bot.work.permissions.cards import EXPIRED, PermissionRegistry
from bot.work.permissions.decisions import Decision
from bot.work.permissions.kept_rules import KeptRules
from bot.work.permissions.rule_keeping import RuleKeeping
from bot.work.permissions.rules import Mode, Rules
from bot.work.permissions.rulings import Rulings
from bot.work.permissions.turn_cards import TurnCards, close_cards
from bot.work.questions.registry import QuestionRegistry
from bot.work.questions.turn_questions import TurnQuestions
from bot.work.running_turn import MOST_CARDS, MOST_OPEN, MOST_REFUSALS, RunningTurn
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from bot.work.turn_events import TurnEvents, WaitsForPeople
from pool.store import KeptCard
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.samples import ALICE, BOB, entry
from tests.pool.memory import MemoryStore

ALLOW = {"optionId": "yes", "name": "Allow", "kind": "allow_once"}
REJECT = {"optionId": "no", "name": "Reject", "kind": "reject_once"}
TIMEOUT = 600.0


@dataclass
class FakeReply:
    cards: dict[str, Body] = field(default_factory=dict)
    shown: list[tuple[str, Body]] = field(default_factory=list)
    refuse: Callable[[], None] | None = None
    refuses: dict[str, Callable[[], None] | None] = field(default_factory=dict)
    on_shown: Callable[[int, Body], None] | None = None
    held: set[str] = field(default_factory=set)
    given_up: bool = False

    def release(self, key: str) -> None:
        self.held.remove(key)

    def arrive(self, message_id: int) -> None:
        """Discord takes what is to be shown."""
        (key,) = self.cards
        assert key not in self.held
        assert self.on_shown is not None
        self.on_shown(message_id, self.cards[key])

    def card(
        self,
        key: str,
        body: Body,
        on_refused: Callable[[], None] | None = None,
        on_shown: Callable[[int, Body], None] | None = None,
        *,
        held: bool = False,
    ) -> None:
        self.refuse, self.on_shown = on_refused, on_shown
        self.refuses[key] = on_refused
        if held and key not in self.cards:
            self.held.add(key)
        if self.given_up and on_refused is not None:
            on_refused()
            return
        self.cards[key] = body
        self.shown.append((key, body))


@dataclass
class Recorder:
    """Takes decisions; what they let be shown is shown at once, or held back."""

    made: list[Decision] = field(default_factory=list)
    held: list[Callable[[], None]] | None = None

    def redact(self, text: str) -> str:
        return text

    def record(self, decision: Decision, then: Callable[[], None] = lambda: None) -> None:
        self.made.append(decision)
        if self.held is None:
            then()
        else:
            self.held.append(then)


@dataclass
class Scene:
    turn_cards: TurnCards
    decisions: Recorder
    registry: PermissionRegistry
    reply: FakeReply
    running: RunningTurn
    answers: list[Any]
    waiting: list[bool]
    store: MemoryStore

    def request(self, *options: dict[str, str], number: int = 1) -> PermissionRequest:
        call = {"toolCallId": f"c{number}", "title": "rm -r build", "rawInput": {"command": "rm -r build"}}
        params = PermissionParams.parse({"sessionId": "s", "toolCall": call, "options": list(options)})
        return PermissionRequest(number, params, lambda _request, answer: self.answers.append(answer.result))

    def ask(self, *options: dict[str, str], number: int = 1, two_person: bool = False) -> PermissionRequest:
        request = self.request(*options, number=number)
        self.turn_cards.open(self.running, request, two_person=two_person)
        return request

    @property
    def token(self) -> str:
        (token,) = self.reply.cards
        return token

    @property
    def last_line(self) -> str:
        return self.reply.cards[self.token].text.splitlines()[-1]


@asynccontextmanager
async def asking(approver: int | None = None) -> AsyncIterator[Scene]:
    registry, reply = PermissionRegistry(), FakeReply()
    now = anyio.current_time()
    running = RunningTurn(entry(1), cast("LiveReply", reply), Turn(TurnLimits(), now), started=now, hard_timeout=60)
    async with anyio.create_task_group() as tasks:
        states: list[bool] = []
        scheduler = SimpleNamespace(
            lend=lambda _entry, _now: states.append(True),
            lanes=SimpleNamespace(take_back=lambda _entry: states.append(False)),
        )
        decisions = Recorder()
        rulings = Rulings(lambda _thread, _workspace: (Rules(), Mode.ASK), cast("Any", decisions))
        store = MemoryStore()
        records = CardRecords(TaskTracker(tasks), store, cast("Any", None), cast("Any", None))
        waits, told = WaitsForPeople(cast("Any", scheduler), TurnEvents()), cast("Any", decisions)
        kept = KeptRules(records.tracker, store)
        settings = ThreadSettings(records.tracker, store, only((), "/work"), QueueMode.QUEUE)
        rules, pings = RuleKeeping(registry, kept, told, settings), Notifications(settings)
        cards = TurnCards(
            tasks, registry, waits, TIMEOUT, told, rulings, rules, records, pings, lambda _guild_id: approver
        )
        yield Scene(cards, decisions, registry, reply, running, [], states, store)
        tasks.cancel_scope.cancel()


def selected(option: str) -> dict[str, dict[str, str]]:
    return {"outcome": {"outcome": "selected", "optionId": option}}


CANCELLED = {"outcome": {"outcome": "cancelled"}}


@in_virtual_time
async def test_a_request_is_a_card_with_the_agents_own_options_for_the_requester() -> None:
    """D6, D9: only the requester is notified."""
    async with asking() as scene:
        scene.ask(ALLOW, REJECT)
        card = scene.reply.cards[scene.token]
        assert [(button.custom_id, button.label) for button in card.buttons] == [
            (f"weft:perm:{scene.token}:0", "Allow"),
            (f"weft:perm:{scene.token}:1", "Reject"),
        ]
        assert card.ping == ALICE.id
        assert f"<@{ALICE.id}>" in scene.last_line
        assert "rm -r build" in card.text


@in_virtual_time
async def test_nothing_is_answered_before_a_person_has_answered() -> None:
    """D6: nothing is approved by default."""
    async with asking() as scene:
        scene.ask(ALLOW)
        await anyio.sleep(TIMEOUT - 1)
        assert scene.answers == []


@pytest.mark.parametrize(
    ("options", "word"), [((ALLOW, REJECT), "rejected"), ((ALLOW,), "cancelled")], ids=["reject", "no reject"]
)
def test_a_card_says_what_silence_means(options: tuple[dict[str, str], ...], word: str) -> None:
    """D6."""

    @in_virtual_time
    async def play() -> None:
        async with asking() as scene:
            scene.ask(*options)
            assert "10 min" in scene.last_line
            assert word in scene.last_line

    play()


@in_virtual_time
async def test_an_answer_closes_the_card_and_names_who_gave_it() -> None:
    """D6."""
    async with asking() as scene:
        scene.ask(ALLOW, REJECT)
        assert scene.registry.decide(scene.token, 0, ALICE).accepted
        assert scene.answers == [selected("yes")]
        assert scene.last_line == "✅ `Allow` by `alice`"
        assert scene.reply.cards[scene.token].buttons == ()


@in_virtual_time
async def test_an_answer_by_somebody_else_changes_nothing() -> None:
    """D6."""
    async with asking() as scene:
        scene.ask(ALLOW, REJECT)
        assert not scene.registry.decide(scene.token, 0, BOB).accepted
        assert (scene.answers, len(scene.reply.shown)) == ([], 1)


@in_virtual_time
async def test_silence_picks_the_reject_option_and_says_so() -> None:
    """D6."""
    async with asking() as scene:
        scene.ask(ALLOW, REJECT)
        await anyio.sleep(TIMEOUT + 1)
        assert scene.answers == [selected("no")]
        assert scene.last_line == "⌛ No answer in time, so `Reject` was chosen."
        assert scene.reply.cards[scene.token].buttons == ()
        assert scene.registry.decide(scene.token, 0, ALICE).text == EXPIRED


@in_virtual_time
async def test_silence_without_a_reject_option_cancels_and_says_so() -> None:
    """D6."""
    async with asking() as scene:
        scene.ask(ALLOW)
        await anyio.sleep(TIMEOUT + 1)
        assert scene.answers == [CANCELLED]
        assert scene.last_line == "⌛ No answer in time, so the request was cancelled."


@in_virtual_time
async def test_an_answered_card_does_not_expire() -> None:
    """D6: the first of click and timeout wins."""
    async with asking() as scene:
        scene.ask(ALLOW, REJECT)
        scene.registry.decide(scene.token, 0, ALICE)
        await anyio.sleep(TIMEOUT + 1)
        assert scene.answers == [selected("yes")]
        assert scene.last_line == "✅ `Allow` by `alice`"


@pytest.mark.parametrize("reason", list(RequestEnd))
def test_a_request_that_was_closed_closes_its_card(reason: RequestEnd) -> None:
    """D6, T6."""

    @in_virtual_time
    async def play() -> None:
        async with asking() as scene:
            request = scene.ask(ALLOW, REJECT)
            request.close(reason)
            assert scene.last_line.startswith("⏹ Cancelled")
            assert scene.reply.cards[scene.token].buttons == ()
            assert scene.registry.decide(scene.token, 0, ALICE).text == "This request was cancelled."
            assert scene.answers == []

    play()


@in_virtual_time
async def test_the_end_of_the_turn_closes_the_cards_that_are_open_and_no_other() -> None:
    """T6, D6."""
    async with asking() as scene:
        scene.ask(ALLOW, REJECT, number=1)
        scene.registry.decide(scene.token, 0, ALICE)
        scene.ask(ALLOW, REJECT, number=2)
        close_cards(scene.running)
        assert [body.text.splitlines()[-1][:1] for body in scene.reply.cards.values()] == ["✅", "⏹"]


@in_virtual_time
async def test_each_request_has_a_card_of_its_own() -> None:
    """D6."""
    async with asking() as scene:
        scene.ask(ALLOW, REJECT, number=1)
        scene.ask(ALLOW, REJECT, number=2)
        first, second = scene.reply.cards
        scene.registry.decide(second, 1, ALICE)
        assert scene.answers == [selected("no")]
        assert scene.reply.cards[first].buttons != ()


@in_virtual_time
async def test_a_request_without_options_is_cancelled_at_once_without_a_card() -> None:
    """D6: nobody could answer it."""
    async with asking() as scene:
        scene.ask()
        assert (scene.answers, scene.reply.cards) == ([CANCELLED], {})


@in_virtual_time
async def test_an_agent_that_asks_without_end_is_answered_without_more_cards() -> None:
    """T10 in spirit: what an agent sends is bounded."""
    async with asking() as scene:
        for number in range(MOST_OPEN + 5):
            scene.ask(ALLOW, REJECT, number=number)
        assert (len(scene.reply.cards), scene.answers) == (MOST_OPEN, [CANCELLED] * 5)
        scene.registry.decide(next(iter(scene.reply.cards)), 0, ALICE)
        scene.ask(ALLOW, REJECT, number=99)
        assert len(scene.reply.cards) == MOST_OPEN + 1


@in_virtual_time
async def test_a_turn_lends_its_place_in_the_lane_while_anything_is_asked() -> None:
    """Q6: it is told when it begins to wait for a person, and when it waits for nobody any more."""
    async with asking() as scene:
        first, second = scene.ask(REJECT), scene.ask(REJECT, number=2)
        first.close(RequestEnd.TURN_CANCELLED)
        assert False not in scene.waiting
        second.close(RequestEnd.TURN_CANCELLED)
        assert (scene.waiting[0], scene.waiting[-1]) == (True, False)


@in_virtual_time
async def test_a_request_whose_card_discord_refuses_is_cancelled_at_once_and_said_so() -> None:
    """D6"""
    async with asking() as scene:
        scene.ask(ALLOW, REJECT)
        assert scene.reply.refuse is not None
        scene.reply.refuse()
        assert scene.answers == [CANCELLED]
        assert "rm -r" not in list(scene.reply.cards.values())[-1].text
        assert "Discord refused to show the request" in list(scene.reply.cards.values())[-1].text
        assert scene.waiting[-1] is False


@in_virtual_time
async def test_a_request_in_a_reply_that_was_given_up_is_cancelled_at_once() -> None:
    """D6: nobody could answer it, and the turn goes on."""
    async with asking() as scene:
        scene.reply.given_up = True
        scene.ask(ALLOW, REJECT)
        assert (scene.answers, scene.registry.open_cards) == ([CANCELLED], 0)
        assert True not in scene.waiting


@in_virtual_time
async def test_a_bots_request_pings_nobody_and_waits_for_an_owner() -> None:
    """D6, D9"""
    async with asking() as scene:
        (message,) = scene.running.entry.messages
        scene.running.entry.messages = [replace(message, lane=Lane.BACKGROUND)]
        scene.ask(ALLOW, REJECT)
        assert scene.reply.cards[scene.token].ping is None
        assert scene.last_line.startswith("-# A bot asked, so only whoever runs me may answer.")
        assert not scene.registry.decide(scene.token, 0, BOB).accepted
        assert scene.registry.decide(scene.token, 0, replace(BOB, owner=True)).accepted
    async with asking() as scene:
        (message,) = scene.running.entry.messages
        scene.running.entry.messages = [replace(message, lane=Lane.BACKGROUND, on_behalf=True)]
        scene.ask(ALLOW, REJECT)
        assert scene.reply.cards[scene.token].ping == ALICE.id, "it runs for a person, who is asked"
        assert scene.registry.decide(scene.token, 0, ALICE).accepted


@in_virtual_time
async def test_where_there_are_approvers_a_card_says_that_they_may_answer_and_calls_them_for_a_bot_only() -> None:
    """C1, D9: once, by the role's own id; of a person's prompt the person is notified, and nobody else."""
    async with asking(approver=400) as scene:
        scene.ask(ALLOW, REJECT)
        card = scene.reply.cards[scene.token]
        assert (card.ping, card.role) == (ALICE.id, None)
        assert scene.last_line.startswith(f"-# <@{ALICE.id}> or an approver may answer.")
        assert scene.registry.decide(scene.token, 0, BOB).text == "Only `alice` or an approver may answer this."
        assert scene.registry.decide(scene.token, 0, replace(BOB, approver=True)).accepted
    async with asking(approver=400) as scene:
        (message,) = scene.running.entry.messages
        scene.running.entry.messages = [replace(message, lane=Lane.BACKGROUND)]
        scene.ask(ALLOW, REJECT)
        card = scene.reply.cards[scene.token]
        assert (card.ping, card.role, card.text.splitlines()[0]) == (None, 400, "<@&400>")
        assert scene.last_line.startswith("-# A bot asked, so only an approver or whoever runs me may answer.")
        assert scene.registry.decide(scene.token, 0, replace(BOB, approver=True)).accepted
        closed = scene.reply.cards[scene.token]
        assert (closed.role, closed.text.splitlines()[0]) == (400, "<@&400>")
        scene.ask(ALLOW, number=2)
        scene.ask(ALLOW, number=3)
        assert [one.role for one in scene.reply.cards.values()] == [400, 400, None]


@in_virtual_time
async def test_a_card_for_two_people_shows_who_has_agreed_and_who_did_in_the_end() -> None:
    """C1: its buttons stay until the second has agreed."""
    async with asking(approver=400) as scene:
        scene.ask(ALLOW, REJECT, two_person=True)
        before = scene.reply.cards[scene.token]
        assert scene.last_line.startswith(
            f"-# <@{ALICE.id}> or an approver may answer. "
            "Two people have to agree to it; one can reject it. Without an answer"
        )
        assert scene.registry.decide(scene.token, 0, ALICE).accepted
        between = scene.reply.cards[scene.token]
        assert between.text.splitlines()[-2] == "-# ☑️ `alice` agreed to `Allow`. One more person has to agree."
        assert (between.text.splitlines()[-1], between.buttons) == (before.text.splitlines()[-1], before.buttons)
        assert scene.waiting == [True]
        assert scene.registry.decide(scene.token, 0, replace(BOB, approver=True)).accepted
        after = scene.reply.cards[scene.token]
        assert (after.text.splitlines()[:-1], after.buttons) == (before.text.splitlines()[:-1], ())
        assert scene.last_line == "✅ `Allow` by `alice` and `bob`"
        assert (scene.answers, scene.waiting) == ([selected("yes")], [True, False])


@in_virtual_time
async def test_a_card_for_two_people_that_runs_out_says_who_had_agreed() -> None:
    """C1, D6"""
    async with asking(approver=400) as scene:
        scene.ask(ALLOW, REJECT, two_person=True)
        assert scene.registry.decide(scene.token, 0, ALICE).accepted
        await anyio.sleep(TIMEOUT + 1)
        assert scene.answers == [selected("no")]
        assert scene.reply.cards[scene.token].text.splitlines()[-2:] == [
            "-# ☑️ `alice` agreed to `Allow`. One more person has to agree.",
            "⌛ No answer in time, so `Reject` was chosen.",
        ]


@in_virtual_time
async def test_a_request_that_nobody_can_see_whole_or_reject_is_cancelled_at_once() -> None:
    """D6: it would wait for its time to be up."""
    async with asking() as scene:
        request = scene.request(ALLOW)
        request.complete = False
        scene.turn_cards.open(scene.running, request)
        assert scene.answers == [CANCELLED]
        assert scene.last_line.startswith("⏹ Cancelled: it is too long to show in full")


@pytest.mark.asyncio
async def test_what_nobody_can_see_whole_can_not_be_allowed_by_a_forged_press() -> None:
    """D6: the option is the agent's own, but it got no button."""
    async with asking() as scene:
        request = scene.request(ALLOW, REJECT)
        request.complete = False
        scene.turn_cards.open(scene.running, request)
        assert not scene.registry.decide(scene.token, 0, ALICE).accepted
        assert not request.answered
        assert scene.registry.decide(scene.token, 1, ALICE).accepted


def told(decision: Decision) -> tuple[str, str, str | None, str | None, str | None]:
    return decision.decided_by, decision.outcome, decision.person_name, decision.option, decision.reason


@in_virtual_time
async def test_every_end_of_a_request_is_one_decision() -> None:
    """C5: who, what, by which option, and why nobody did."""
    async with asking() as scene:
        made = scene.decisions.made
        scene.ask(ALLOW, REJECT)
        scene.registry.decide(scene.token, 0, ALICE)
        scene.registry.decide(scene.token, 1, ALICE)
        (first,) = made
        assert (first.guild_id, first.thread_id, first.prompt_id, first.asker_id, first.person_id) == (
            1,
            100,
            1,
            11,
            11,
        )
        assert (first.what, first.kind) == ("rm -r build", "other")
        scene.ask(ALLOW, REJECT, number=2)
        scene.registry.decide(list(scene.reply.cards)[-1], 1, BOB)
        scene.registry.decide(list(scene.reply.cards)[-1], 1, ALICE)
        scene.ask(ALLOW, number=3)
        await anyio.sleep(TIMEOUT + 1)
        scene.ask()
        unseen = scene.request(ALLOW)
        unseen.complete = False
        scene.turn_cards.open(scene.running, unseen)
        scene.ask(REJECT, number=4)
        assert scene.reply.refuse is not None
        scene.reply.refuse()
        withdrawn = scene.ask(REJECT, number=5)
        withdrawn.close(RequestEnd.WITHDRAWN)
        scene.running.stopped_by = "bob"
        scene.ask(REJECT, number=6)
        close_cards(scene.running)
        assert [told(one) for one in made] == [
            ("person", "allowed", "alice", "Allow", None),
            ("person", "rejected", "alice", "Reject", None),
            ("timeout", "expired", None, None, None),
            ("cancel", "cancelled", None, None, "it has no options"),
            ("cancel", "cancelled", None, None, "it could not be shown in full"),
            ("cancel", "cancelled", None, None, "Discord did not take the card"),
            ("cancel", "cancelled", None, None, "the agent withdrew it"),
            ("cancel", "cancelled", "bob", None, "the turn ended"),
        ]


@in_virtual_time
async def test_an_end_is_shown_once_its_decision_is_written_and_the_agent_does_not_wait_for_that() -> None:
    """C5, Q6: nor does the turn's place in its lane."""
    async with asking() as scene:
        scene.decisions.held = []
        scene.ask(ALLOW, REJECT)
        opened = scene.reply.cards[scene.token]
        scene.registry.decide(scene.token, 0, ALICE)
        assert scene.answers == [selected("yes")]
        assert scene.waiting[-1] is False
        assert scene.reply.cards[scene.token] == opened
        (show,) = scene.decisions.held
        show()
        assert scene.last_line == "✅ `Allow` by `alice`"


@in_virtual_time
async def test_a_card_is_written_down_before_it_is_shown_and_forgotten_once_it_shows_its_end() -> None:
    """C4: from then on the next start has nothing to close."""
    async with asking() as scene:
        scene.ask(ALLOW, REJECT)
        assert (scene.reply.held, await scene.store.cards()) == ({scene.token}, [])
        await anyio.sleep(0.1)
        kept = KeptCard(scene.token, 100, 1)
        assert (scene.reply.held, await scene.store.cards()) == (set(), [kept])
        scene.reply.arrive(55)
        await anyio.sleep(0.1)
        assert await scene.store.cards() == [replace(kept, message_id=55)]
        assert scene.registry.decide(scene.token, 0, ALICE).accepted
        await anyio.sleep(0.1)
        assert await scene.store.cards() == [replace(kept, message_id=55)], "its end is not visible yet"
        scene.reply.arrive(55)
        await anyio.sleep(0.1)
        assert await scene.store.cards() == []


@in_virtual_time
async def test_a_disk_that_hangs_keeps_no_card_from_people() -> None:
    """C4, R6"""

    class Stalled(MemoryStore):
        async def keep_card(self, card: KeptCard) -> None:
            await anyio.sleep_forever()

    async with asking() as scene:
        scene.turn_cards.records.store = Stalled()
        scene.ask(ALLOW, REJECT)
        await anyio.sleep(KEEP_LIMIT - 0.1)
        assert scene.reply.held == {scene.token}
        await anyio.sleep(0.2)
        assert scene.reply.held == set()


@in_virtual_time
async def test_a_card_that_discord_does_not_take_is_forgotten() -> None:
    """C4, D6"""
    async with asking() as scene:
        scene.ask(ALLOW, REJECT)
        await anyio.sleep(0.1)
        assert scene.reply.refuse is not None
        scene.reply.refuse()
        await anyio.sleep(0.1)
        assert await scene.store.cards() == []


@in_virtual_time
async def test_what_was_in_a_file_that_discord_refuses_can_not_be_allowed_by_a_forged_press() -> None:
    """D6: the button went with the file; and it stays away, whatever the card shows next."""
    async with asking() as scene:
        request = scene.request(ALLOW, REJECT)
        request.tool_call = ToolCallUpdate.parse({"toolCallId": "c1", "rawInput": {"command": "x" * 5000}})
        scene.turn_cards.open(scene.running, request)
        body = scene.reply.cards[scene.token]
        assert body.file is not None
        assert body.on_fileless is not None
        body.on_fileless("it is too large here")
        assert scene.registry.decide(scene.token, 0, ALICE).text == EXPIRED
        assert scene.answers == []
        assert scene.registry.decide(scene.token, 1, ALICE).accepted
        shown = scene.reply.cards[scene.token]
        assert shown.file is None
        assert shown.text.splitlines()[-3:] == [
            "-# The file could not be posted: it is too large here.",
            "**Nobody can see all of it, so it can only be rejected.**",
            "⛔ `Reject` by `alice`",
        ]


@in_virtual_time
async def test_each_agreement_is_a_decision_and_is_shown_once_it_is_written() -> None:
    """C1, C5: two agree, and the end says so once more; an agreement that was taken back meanwhile is not shown."""
    approver = replace(BOB, approver=True)
    async with asking() as scene:
        scene.decisions.held = []
        scene.ask(ALLOW, REJECT, two_person=True)
        opened = scene.reply.cards[scene.token]
        answer = scene.registry.decide(scene.token, 0, ALICE)
        assert (answer.accepted, answer.lasting) == (True, True)
        assert scene.reply.cards[scene.token] == opened
        scene.decisions.held.pop()()
        assert "`alice` agreed" in scene.reply.cards[scene.token].text
        scene.registry.recheck(lambda _by, _place: None)
        scene.registry.decide(scene.token, 0, ALICE)
        scene.registry.recheck(lambda _by, _place: None)
        scene.decisions.held.pop()()
        assert scene.reply.cards[scene.token].text == opened.text
        scene.registry.decide(scene.token, 0, approver)
        scene.registry.decide(scene.token, 0, ALICE)
        assert [told(one)[:4] for one in scene.decisions.made] == [
            ("person", "agreed", "alice", "Allow"),
            ("person", "agreed", "alice", "Allow"),
            ("person", "agreed", "bob", "Allow"),
            ("person", "agreed", "alice", "Allow"),
            ("person", "allowed", "alice", "Allow"),
        ]
        for show in scene.decisions.held:
            show()
        assert scene.last_line == "✅ `Allow` by `bob` and `alice`"


@in_virtual_time
async def test_a_card_has_a_button_for_the_rule_that_it_offers_and_none_that_could_not_be_allowed() -> None:
    """C2: it is no option of the agent's, and goes with the card."""
    async with asking() as scene:
        scene.running.lease = cast("Any", SimpleNamespace(directory="/work"))
        scene.ask(ALLOW, REJECT)
        buttons = scene.reply.cards[scene.token].buttons
        assert [button.custom_id for button in buttons] == [
            *(f"weft:perm:{scene.token}:{number}" for number in (0, 1)),
            f"weft:always:{scene.token}",
        ]
        assert not scene.registry.decide(scene.token, 2, ALICE).accepted
        assert scene.turn_cards.rules.keep(scene.token, "rm -r build", replace(BOB, approver=True)).accepted
        assert scene.answers == [selected("yes")]
        assert scene.last_line == "✅ `Allow` by `bob`"
        assert [told(one)[:3] for one in scene.decisions.made] == [
            ("person", "allowed", "bob"),
            ("person", "kept", "bob"),
        ]
        assert scene.turn_cards.rules.in_force(100, "/work")[0].allow != ()
    for option, two_person in ((ALLOW, True), (ALLOW | {"kind": "allow_always"}, False)):
        async with asking() as scene:
            scene.running.lease = cast("Any", SimpleNamespace(directory="/work"))
            scene.ask(option, REJECT, two_person=two_person)
            assert len(scene.reply.cards[scene.token].buttons) == 2


@in_virtual_time
async def test_a_plan_that_discord_does_not_take_is_agreed_to_by_nobody() -> None:
    """C7."""
    async with asking() as scene:
        call = {"toolCallId": "c1", "kind": "switch_mode", "rawInput": {"plan": "Delete it all."}}
        params = PermissionParams.parse({"sessionId": "s", "toolCall": call, "options": [ALLOW, REJECT]})
        request = PermissionRequest(1, params, lambda _request, answer: scene.answers.append(answer.result))
        scene.turn_cards.open(scene.running, request)
        plan, card = [body.text for _, body in scene.reply.shown]
        assert ("Delete it all." in plan, "Delete it all." in card) == (True, False)
        refused = scene.reply.refuses[f"{scene.running.cards[0].token} plan 0"]
        assert refused is not None
        refused()
        assert scene.answers == [CANCELLED]


@in_virtual_time
async def test_refusals_without_end_push_nothing_out_of_the_audit() -> None:
    """C5: each request is answered, but not each is a row and a line in the log."""
    async with asking() as scene:
        for number in range(MOST_REFUSALS + 20):
            scene.ask(number=number)
        assert scene.answers == [CANCELLED] * (MOST_REFUSALS + 20)
        made = [one.reason for one in scene.decisions.made]
        assert len(made) == MOST_REFUSALS
        assert made[-1] == "it has no options; further ones are not recorded"


@in_virtual_time
async def test_questions_that_cannot_be_asked_fill_no_thread() -> None:
    """C6, T10 in spirit: each has a line in the thread, up to the bound for all that a turn asks."""
    async with asking() as scene:
        made, records = cast("Any", scene.decisions), scene.turn_cards.records
        nothing = cast("Any", None)
        questions = TurnQuestions(
            nothing, QuestionRegistry(), nothing, TIMEOUT, made, records, nothing, lambda _guild_id: None
        )
        answers: list[Any] = []
        asked = [
            ElicitationParams(message="?", mode="form", requested_schema={"type": "array"}),
            ElicitationParams(message="?", mode="url", url="http://example.org"),
        ]
        for number in range(MOST_CARDS + 10):
            request = ElicitationRequest(number, asked[number % 2], lambda _request, answer: answers.append(answer))
            questions.open(scene.running, request)
        assert (len(scene.reply.cards), len(answers)) == (MOST_CARDS, MOST_CARDS + 10)
