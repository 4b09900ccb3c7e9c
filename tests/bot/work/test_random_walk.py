"""Messages, commands and faults in any order: each message has one outcome, and nothing is left behind."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import anyio
import pytest

from acp.errors import ForkFailed
from acp.schema import ContentBlock
from acp.steering import Steering
from acp.turn import Turn
from bot.model import Lane, QueueMode
from bot.work.limits import WorkLimits
from bot.work.queue.drop_rule import Drop
from bot.work.queue.rules import Rules
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import LIMITS, FakeChat, NotedStore, PlayedSession, Work, running_work
from tests.bot.work.samples import ALICE, BOB

THREADS = (100, 200, 300)


class Chance:
    """Decides everything by one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.posted: list[tuple[int, int]] = []
        self.sessions: list[PlayedSession] = []

    def play(self, session: PlayedSession) -> None:
        """An agent that answers now, later or when it is cancelled, dies, asks, and takes messages in or not."""
        session.can_steer = True
        session.steer = partial(self.steer, session)  # type: ignore[attr-defined]
        chance = self.random.random()
        if chance < 0.2:
            session.say("an answer")
            session.respond()
        elif chance < 0.25:
            session.fail(-32603, "inside")
        elif chance < 0.4:
            session.ask(number=self.random.randrange(1000))
            self.sessions.append(session)
        else:
            self.sessions.append(session)

    def steer(self, session: PlayedSession, _turn: Turn, _prompt: list[ContentBlock]) -> Steering:
        steering = Steering(2.0, reached=self.random.choice((True, False, None)))
        if steering.reached is None and self.random.random() < 0.5:
            self.sessions.append(session)
        return steering

    def act(self, work: Work) -> None:
        """Do one thing."""
        acts: list[Callable[[Work], object]] = [self.post] * 6 + [
            self.answer,
            self.answer,
            self.stop,
            self.touch,
            self.touch,
            self.sweep,
        ]
        self.random.choice(acts)(work)

    def post(self, work: Work) -> None:
        message, thread = len(self.posted) + 1000, self.random.choice(THREADS)
        opens = self.random.random() < 0.15
        thread = message if opens else thread
        self.posted.append((message, thread))
        author = self.random.choice((ALICE, BOB))
        mode = self.random.choice((None, *QueueMode, QueueMode.STEER))
        lane = self.random.choice((Lane.MAIN, Lane.MAIN, Lane.BACKGROUND))
        fields = {"channel_id": 7, "opens_thread": True} if opens else {"channel_id": thread}
        work.post(message, f"text {message}", thread_id=thread, author=author, mode=mode, lane=lane, **fields)

    def answer(self, _work: Work) -> None:
        if self.sessions:
            session = self.sessions.pop(self.random.randrange(len(self.sessions)))
            if session.is_prompting:
                session.say("late")
                session.respond()

    def one(self) -> tuple[int, int]:
        return self.random.choice(self.posted[-12:] or [(1, 100)])

    def stop(self, work: Work) -> None:
        message, thread = self.one()
        work.dispatcher.controls.stop(thread, BOB, self.random.choice((None, message)))

    def touch(self, work: Work) -> None:
        message, thread = self.one()
        self.random.choice(
            (
                lambda: work.dispatcher.edited(message, f"text {message} instead"),
                lambda: work.dispatcher.deleted(message),
                lambda: work.dispatcher.controls.promote(thread, message, BOB),
                lambda: work.dispatcher.controls.remove(thread, message, BOB),
                lambda: work.post(message, thread_id=thread) if self.posted else None,
            )
        )()

    def sweep(self, work: Work) -> None:
        message, thread = self.one()
        self.random.choice(
            (
                lambda: work.dispatcher.controls.stop_all(thread, BOB, message),
                lambda: work.dispatcher.controls.clear(thread, BOB),
                lambda: work.dispatcher.controls.reset(thread, BOB),
                work.dispatcher.hold,
                work.dispatcher.release,
            )
        )()


def limits(chance: Chance) -> WorkLimits:
    pick = chance.random.choice
    rules = Rules(
        cap=pick((1, 3, 10)),
        drop=pick((Drop.OLD, Drop.NEW)),
        debounce=pick((0.0, 0.8)),
        max_concurrent=pick((1, 1, 2)),
    )
    lanes = {Lane.MAIN: pick((1, 2)), Lane.BACKGROUND: 1}
    return replace(LIMITS, rules=rules, lanes=lanes, user_messages=pick((0, 30)), permission_timeout=20.0)


async def settle(chance: Chance, work: Work) -> None:
    work.dispatcher.release()
    for _ in range(400):
        if len(work.outcomes) >= len(chance.posted):
            break
        chance.answer(work)
        await anyio.sleep(0.5)
    await anyio.sleep(60)


@pytest.mark.parametrize("seed", range(8))
@in_virtual_time
async def test_whatever_happens_each_message_has_one_outcome_and_nothing_is_left(seed: int) -> None:
    """O1, Q10."""
    chance, chat, store = Chance(seed), FakeChat(), NotedStore(outlives=True)
    async with running_work(limits=limits(chance), chat=chat, store=store) as work:
        work.agents.parts = Always(chance.play)
        for thread in THREADS:
            work.agents.fork_errors[str(thread)] = ForkFailed("no")
        for _ in range(60):
            chance.act(work)
            if chance.random.random() < 0.6:
                await anyio.sleep(chance.random.choice((0.0, 0.01, 0.3, 1.5)))
        await settle(chance, work)
        assert sorted(message for message, _ in work.outcomes) == sorted(message for message, _ in chance.posted)
        assert (await store.open_prompts(), await store.pending_replies()) == ([], [])
        dispatcher = work.dispatcher
        assert [lane for lane in dispatcher._scheduler.counts().values() if lane.running or lane.lent] == []
        assert (dispatcher._scheduler._queues, dispatcher._editors._editors, dispatcher.pending()) == (
            {},
            {},
            frozenset(),
        )
        assert (dispatcher._notices._notices, dispatcher._skipped._gathering) == ({}, {})
        assert dispatcher._notices._visible == {}
        assert (dispatcher._reactions._cells, len(dispatcher._runs.running)) == ({}, 0)
        assert [text for thread in chat.threads for text in chat.texts(thread) if "Waiting" in text] == []


@pytest.mark.parametrize("seed", range(8))
@in_virtual_time
async def test_a_kill_at_any_moment_runs_nothing_twice_and_leaves_no_message_without_an_outcome(seed: int) -> None:
    """O1, O2, R2."""
    chance, store = Chance(seed), NotedStore(outlives=True)
    limit = limits(chance)
    async with running_work(limits=limit, store=store) as work:
        work.agents.parts = Always(chance.play)
        for thread in THREADS:
            work.agents.fork_errors[str(thread)] = ForkFailed("no")
        for _ in range(chance.random.randrange(10, 50)):
            chance.act(work)
            if chance.random.random() < 0.6:
                await anyio.sleep(chance.random.choice((0.0, 0.01, 0.3, 1.5)))
        await anyio.sleep(0.01)
        left = NotedStore(outlives=True)
        left._prompts, left._finished = copy.deepcopy(store._prompts), copy.deepcopy(store._finished)
        asked = set(" ".join(work.agents.prompted).split()) & {str(message) for message, _ in chance.posted}
        decided = {message for message, entry in left._prompts.items() if entry.reply is not None}
    unknown = {message for message, _ in chance.posted} - set(left._prompts) - set(left._finished)
    assert unknown == set()
    due = sorted(left._prompts)
    async with running_work(limits=limit, store=left) as work:
        await work.until(lambda: len(work.outcomes) >= len(due))
        await anyio.sleep(30)
        assert sorted(message for message, _ in work.outcomes) == due
        again = set(" ".join(work.agents.prompted).split())
        assert again & asked == set()
        assert again & {str(message) for message in decided} == set()
        assert (await left.open_prompts(), await left.pending_replies()) == ([], [])


class Always(dict[str, Callable[[PlayedSession], object]]):
    """Gives every prompt the same part."""

    def __init__(self, part: Callable[[PlayedSession], object]) -> None:
        super().__init__()
        self._part = part

    def get(self, key: object, default: object = None) -> Callable[[PlayedSession], object]:
        return self._part
