"""What people answer after the turn that asked has ended: a form that is still open, a second agreement, a rule."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from acp.elicitation import ElicitationParams, ElicitationRequest
from acp.open_request import OpenRequest, RequestEnd
from acp.permission_request import PermissionRequest
from acp.schema import PermissionParams
from bot.agents.model import AgentProfile, Agents
from bot.model import Actor, Lane, ThreadPlace
from bot.work.permissions.cards import CANCELLED, EXPIRED
from bot.work.permissions.rules import Rule, Rules
from bot.work.questions import registry
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import LIMITS, PlayedSession, Work, running_work
from tests.bot.work.samples import ALICE, BOB

JUDGE = replace(BOB, approver=True)
OPTIONS = [
    {"optionId": "yes", "name": "Allow", "kind": "allow_once"},
    {"optionId": "no", "name": "Reject", "kind": "reject_once"},
]
NAMES = [f"n{number}" for number in range(12)]
STEP = {f"f{number}": ("x",) for number in range(12)}
NAMED = Agents(
    {"claude": AgentProfile("claude", (), "/work", rules=Rules(two_person=(Rule("execute", "git push"),)))}, "claude"
)


@dataclass
class Asking:
    """An agent that asks for one, for two people and a question of three steps, and what it was answered."""

    answers: list[Any] = field(default_factory=list)
    opened: list[OpenRequest] = field(default_factory=list)

    def play(self, session: PlayedSession) -> None:
        for number, command in enumerate(("npm test", "git push")):
            call = {"toolCallId": command, "kind": "execute", "rawInput": {"command": command}}
            params = PermissionParams.parse({"sessionId": "s", "toolCall": call, "options": OPTIONS})
            request = PermissionRequest(number, params, self._answered)
            session.requests.append(request)
            session.sink.permission(request)
        schema = {"properties": {name: {"type": "string"} for name in NAMES}, "required": NAMES}
        asked = ElicitationRequest(
            9, ElicitationParams(message="Which?", mode="form", requested_schema=schema), self._answered
        )
        session.requests.append(cast("PermissionRequest", asked))
        session.sink.question(asked)
        self.opened += session.requests[-3:]

    def _answered(self, _request: OpenRequest, response: Any) -> None:
        self.answers.append(response.result)


async def stop(work: Work) -> None:
    work.dispatcher.controls.stop(100, ALICE)


async def reset(work: Work) -> None:
    work.dispatcher.controls.reset(100, ALICE)


async def gone(work: Work) -> None:
    work.dispatcher.thread_gone(100, "it was deleted")


async def die(work: Work) -> None:
    session = work.agents.sessions[0]
    for request in session.requests:
        request.close(RequestEnd.AGENT_DIED)
    session.fail(-32603, "gone")


async def answer(work: Work) -> None:
    work.agents.sessions[0].respond()


async def time_out(work: Work) -> None:
    await work.until(lambda: all(request.answered for request in work.agents.sessions[0].requests))


async def shut_down(work: Work) -> None:
    await work.dispatcher.shutdown()


@in_virtual_time
async def test_who_presses_without_the_role_takes_back_what_they_agreed_to() -> None:
    """C1: by the roles of the last press in the same server, on whatever it was; others stay as they are."""
    judges, seen = frozenset({5}), list[Actor]()

    def rights(by: Actor, _place: ThreadPlace) -> Actor | None:
        seen.append(by)
        return replace(by, approver=bool(by.roles & judges))

    async with running_work(named=NAMED, rights=rights, ask=Asking().play) as work:
        work.post(1, "ask")
        await work.prompted("ask")
        await work.settled()
        _, card = work.dispatcher.permissions.waiting()
        guild_id = card.place.guild_id
        assert guild_id is not None
        judge = replace(JUDGE, roles=judges)
        assert work.dispatcher.decide(card.token, 0, judge).accepted
        for other, by in (
            (guild_id, replace(ALICE, roles=frozenset())),
            (guild_id + 1, replace(judge, roles=frozenset())),
        ):
            work.dispatcher.pressed(other, by)
        work.dispatcher.pressed(guild_id, judge)
        assert (card.agreed, seen) == ({0: judge}, [judge])
        work.dispatcher.pressed(guild_id, replace(judge, roles=frozenset()))
        assert card.agreed == {}
        # Of what was looked up for other reasons, too.
        assert work.dispatcher.decide(card.token, 0, judge).accepted
        work.dispatcher.roles_now(guild_id, judge.id, frozenset())
        assert card.agreed == {}


@pytest.mark.parametrize("end", [stop, reset, gone, die, answer, time_out, shut_down])
@in_virtual_time
async def test_what_is_answered_after_the_end_of_the_turn_counts_for_nothing(
    end: Callable[[Work], Awaitable[None]],
) -> None:
    """D6, C1, C2, C6, Q6: it is told so, keeps no rule, and reaches no request that came later."""
    asking, limits = Asking(), replace(LIMITS, permission_timeout=30.0)
    async with running_work(limits=limits, named=NAMED, ask=asking.play) as work:
        # 1. A rule and a form are open on phones, one of two has agreed, and two steps of three are kept.
        work.post(1, "ask")
        await work.prompted("ask")
        await work.settled()
        dispatcher = work.dispatcher
        single, double = dispatcher.permissions.waiting()
        (question,) = dispatcher.questions.waiting()
        tokens = single.token, double.token, question.token
        assert dispatcher.rules.open(single.token, JUDGE).modal is not None
        assert dispatcher.decide(double.token, 0, ALICE).accepted
        assert dispatcher.questions.fill_in(question.token, 0, STEP, ALICE).accepted
        assert dispatcher.questions.fill_in(question.token, 1, STEP, ALICE).accepted
        assert dispatcher._scheduler.counts()[Lane.MAIN].lent == 1
        # 2. The turn ends, or nobody answers in time, and the thread asks anew.
        await end(work)
        if end is not time_out:
            await work.over()
        before = list(asking.answers)
        if end in (stop, reset, answer):
            work.post(2, "ask")
            await work.until(lambda: len(asking.opened) == 6)
        # 3. Whoever is late is told the truth.
        late = EXPIRED if end is time_out else CANCELLED
        asked_late = registry.EXPIRED if end is time_out else registry.CANCELLED
        assert dispatcher.rules.keep(tokens[0], "npm test", JUDGE).text == late
        assert dispatcher.rules.open(tokens[0], JUDGE).text == late
        assert dispatcher.decide(tokens[1], 0, JUDGE).text == late
        assert dispatcher.questions.fill_in(tokens[2], 2, STEP, ALICE).text == asked_late
        assert dispatcher.questions.open_step(tokens[2], 2, ALICE).text == asked_late
        # 4. Nothing came of it, neither then nor in the new turn.
        assert dispatcher.rules.kept.all() == []
        assert asking.answers == before
        assert [one.agreed for one in dispatcher.permissions.waiting()] in ([], [{}, {}])
        assert [one.drafts for one in dispatcher.questions.waiting()] in ([], [{}])
        # 5. At the end all is given back.
        if work.agents.sessions[-1].is_prompting:
            work.agents.sessions[-1].respond()
        await work.over(len(work.agents.prompted))
        counts = dispatcher._scheduler.counts()[Lane.MAIN]
        assert (counts.running, counts.lent) == (0, 0)
        assert (dispatcher.permissions.waiting(), dispatcher.questions.waiting()) == ([], [])
        assert [
            name for task in asyncio.all_tasks() if (name := task.get_name()).startswith(("card", "question"))
        ] == []
