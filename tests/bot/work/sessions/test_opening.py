"""A session gets a thread, or stays free: wherever a kill comes, and whatever Discord or the disk refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from bot.agents.model import Project
from bot.model import Inbound, QueueMode
from bot.reply.port import Body, PortError, ThreadGone
from bot.work.options.memory import OptionMemory
from bot.work.ports import Answer, Where
from bot.work.sessions.opening import HANDED_OFF, NOT_SAFE, TAKEN, Opening, Openings, Plan
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from pool.store import SessionClaim
from tests.bot.work.fakes import ONE_AGENT, FakeChat
from tests.bot.work.samples import ALICE
from tests.pool.memory import MemoryStore

pytestmark = pytest.mark.asyncio

CHANNEL, CLAIM = 200, 50
PLAN = Plan("default", "p", "/srv/work", 7, "Title", "It goes on here.", Where(1, CHANNEL, 9), ALICE, "and now?", 70)


class Killed(BaseException):
    """The process is gone."""


@dataclass(slots=True)
class MortalStore(MemoryStore):
    """A store in a process that is killed at its ``dies_at``th call: before it, or, ``after``, when it is written."""

    dies_at: int = 0
    after: bool = False
    calls: int = 0
    out_of_order: bool = False

    @property
    def trouble(self) -> str:
        return "the disk is full" if self.out_of_order else ""

    async def flush(self) -> bool:
        return not self.out_of_order

    def _step(self, *, after: bool) -> None:
        self.calls += not after
        # Nothing comes after it.
        if self.dies_at and (self.calls > self.dies_at or (self.calls == self.dies_at and after >= self.after)):
            raise Killed

    async def claim_session(self, claim: SessionClaim, apart: Any = ()) -> int | None:
        self._step(after=False)
        found = await MemoryStore.claim_session(self, claim, apart)
        self._step(after=True)
        return found

    async def set_claim(self, claim_id: int, thread_id: int | None) -> None:
        self._step(after=False)
        await MemoryStore.set_claim(self, claim_id, thread_id)
        self._step(after=True)

    async def bind(self, thread_id: int, **changes: Any) -> None:
        self._step(after=False)
        await MemoryStore.bind(self, thread_id, **changes)
        self._step(after=True)


async def not_there(_home: int) -> None:
    """Discard nothing: no work tree was made."""


@dataclass
class Bench:
    """What outlives a process: Discord and the store; and what was asked of the intake."""

    store: MortalStore = field(default_factory=MortalStore)
    chat: FakeChat = field(default_factory=FakeChat)
    taken: list[Inbound] = field(default_factory=list)
    closed: bool = False

    @asynccontextmanager
    async def process(self) -> AsyncIterator[Openings]:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tracker = TaskTracker(tasks)
                settings = ThreadSettings(tracker, self.store, ONE_AGENT, QueueMode.QUEUE)
                await settings.load()
                held = SimpleNamespace(line=SimpleNamespace(holds=lambda _: False))
                scheduler = SimpleNamespace(queue=lambda _: held)
                intake = SimpleNamespace(closed=self.closed, scheduler=scheduler, take=self.taken.append)
                yield Openings(
                    tracker,
                    self.chat,
                    cast("Any", None),
                    self.store,
                    settings,
                    cast("Any", None),
                    cast("Any", intake),
                    cast("Any", None),
                    cast("Any", SimpleNamespace(memory=OptionMemory(settings, str))),
                    cast("Any", SimpleNamespace(rows={}, discard=not_there)),
                    lambda text: text.replace("secret", "***"),
                )

    async def restarted(self) -> None:
        """Let the next process go on until nothing is left to do."""
        self.store.dies_at = 0
        async with self.process() as openings:
            await openings.recover()

    async def having(self) -> list[int]:
        return [one.thread_id for one in await self.store.session_threads(9, "s")]


def of(thread: Any) -> list[str]:
    return [body.text for body in thread.messages.values()]


async def asked(bench: Bench) -> Opening | Answer:
    async with bench.process() as openings:
        opened = await openings.open(CLAIM, "s", PLAN)
        if isinstance(opened, Opening):
            bench.taken.append(opened.inbound)
            await openings.finish(opened)
    return opened


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", range(1, 6))
async def test_a_kill_at_any_point_leaves_a_session_free_or_in_one_open_thread(number: int, *, after: bool) -> None:
    """S1, R2: with its prompt, and with nothing left that keeps the session from others."""
    bench = Bench(MortalStore(dies_at=number, after=after))
    try:
        with pytest.raises((Killed, BaseExceptionGroup)):
            await asked(bench)
        assert bench.store.calls >= number
    finally:
        await bench.restarted()
    having, posted = await bench.having(), list(bench.chat.threads[CHANNEL].messages) if bench.chat.threads else []
    assert having == posted, "a thread for each message, and one at most"
    assert set(bench.chat.opened) == set(having)
    assert {one.thread_id for one in bench.taken} == set(having)
    assert {one.text for one in bench.taken} <= {"and now?"}
    assert await bench.store.claims() == []
    if having:
        record = await bench.store.thread(having[0])
        assert record is not None
        assert (record.cwd, record.agent, record.title) == ("/srv/work", "p", "Title")
        assert '"home":7' in str(record.options)


async def test_what_went_on_before_a_kill_is_not_turned_back() -> None:
    """S1: the thread may have been reset since, and its session be another's."""
    bench = Bench()
    await bench.store.claim_session(SessionClaim(CLAIM, "s", PLAN.dumped()))
    await bench.store.set_claim(CLAIM, 101)
    await bench.store.bind(101, session_id="s")
    await bench.store.bind(101, session_id=None)
    await bench.restarted()
    assert (await bench.having(), await bench.store.claims()) == ([], [])


async def test_of_two_with_the_same_words_each_gets_a_thread_of_its_own_after_a_kill() -> None:
    """S1, S2: such as two copies of a thread."""
    bench = Bench()
    for number in (1, 2, 3):
        await bench.store.claim_session(SessionClaim(number, f"s{number}", PLAN.dumped()))
    port = bench.chat.thread(CHANNEL)
    posted = [await port.send(Body(PLAN.text), nonce=f"c{number}") for number in (1, 2, 3)]
    # One of them was written down.
    await bench.store.set_claim(1, posted[0])
    await bench.store.bind(posted[0], session_id="s1")
    await bench.restarted()
    held = await bench.store.session_threads(9)
    assert sorted((one.session_id, one.thread_id) for one in held) == [
        (f"s{number}", message_id) for number, message_id in zip((1, 2, 3), posted, strict=True)
    ]
    assert sorted(bench.chat.opened) == posted


async def test_a_claim_that_cannot_be_read_is_dropped_alone() -> None:
    """S1, O4"""
    bench = Bench()
    for number, payload in ((1, "{"), (2, "{}"), (3, PLAN.dumped())):
        await bench.store.claim_session(SessionClaim(number, f"s{number}", payload))
    await bench.store.set_claim(3, 103)
    await bench.restarted()
    assert bench.chat.opened == [103]
    assert await bench.store.claims() == []


async def test_a_refusal_frees_the_session_and_leaves_no_message() -> None:
    """S1: also a thread that can't be opened at the next start."""
    bench = Bench()
    bench.chat.fail["open_thread"] = ThreadGone("I lack the permission")
    refused = await asked(bench)
    assert isinstance(refused, Answer)
    assert "I lack the permission" in refused.text
    assert (await bench.having(), await bench.store.claims(), of(bench.chat.threads[CHANNEL])) == ([], [], [])
    bench.chat.fail.clear()
    bench.chat.threads[CHANNEL].fail["send"] = [PortError("forbidden")]
    refused = await asked(bench)
    assert isinstance(refused, Answer)
    assert (await bench.having(), await bench.store.claims()) == ([], [])


async def test_nothing_is_claimed_in_memory_alone_nor_twice() -> None:
    """S1, R6: a kill would forget it, with the message that is posted next still there."""
    bench = Bench()
    bench.store.out_of_order = True
    assert await asked(bench) is NOT_SAFE
    bench.store.out_of_order = False
    assert isinstance(await asked(bench), Opening)
    assert await asked(bench) is TAKEN
    assert len(bench.chat.threads[CHANNEL].messages) == 1


async def test_a_bot_that_stops_leaves_the_prompt_to_the_next_run() -> None:
    """S1, R1: what it posted is its promise."""
    bench = Bench()
    async with bench.process() as openings:
        opened = await openings.open(CLAIM, "s", PLAN)
        assert isinstance(opened, Opening)
        openings.intake.closed = True
        await openings.finish(opened)
    assert len(await bench.store.claims()) == 1
    await bench.restarted()
    assert [one.text for one in bench.taken] == ["and now?"]
    bench.closed = True
    assert "restarting" in cast("Answer", await asked(bench)).text


async def test_a_copy_is_dropped_if_another_agent_has_taken_over_meanwhile() -> None:
    """S2, S4: it is no session of that one's."""
    bench, agents, dropped = Bench(), ["red", "blue"], list[str]()
    await bench.store.bind(70, session_id="s")

    async def copy_session(_thread_id: int, _elsewhere: object) -> str:
        await anyio.lowlevel.checkpoint()
        return "copy"

    async with bench.process() as openings:
        copies = SimpleNamespace(drop=dropped.append)
        pool = SimpleNamespace(status=lambda _: None, copy_session=copy_session, copies=copies)
        openings.pool = cast("Any", pool)
        openings.settings = cast("Any", SimpleNamespace(agent_of=lambda _: agents.pop(0), project_of=lambda _: None))
        told = await openings.copy(CLAIM, 70, "", "", Where(1, CHANNEL, 9), ALICE, rights=ALICE)
    assert told is HANDED_OFF
    assert (dropped, bench.chat.threads) == (["copy"], {})


async def test_a_plan_is_kept_whole() -> None:
    """S1"""
    assert Plan.loaded(PLAN.dumped()) == PLAN


IN_WEB = replace(PLAN, home=70, project="web")


def with_web(openings: Openings) -> ThreadSettings:
    web = Project("web", Path("/srv/web"), Path("/state/worktrees/web"))
    openings.settings.agents = replace(ONE_AGENT, projects={"web": web})
    return openings.settings


async def test_a_work_tree_whose_thread_is_gone_is_taken_over_by_one_thread() -> None:
    """S1, W2: of two that ask for different sessions of it in the same moment, one; later ones are told where it is."""
    bench, results = Bench(), list[Opening | Answer]()
    async with bench.process() as openings:
        settings = with_web(openings)

        async def ask(claim_id: int, session_id: str) -> None:
            results.append(await openings.open(claim_id, session_id, IN_WEB))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, CLAIM, "s")
            tasks.start_soon(ask, CLAIM + 1, "t")
        (opened,) = [one for one in results if isinstance(one, Opening)]
        (refused,) = [one for one in results if isinstance(one, Answer)]
        assert refused is TAKEN
        thread_id = opened.inbound.thread_id
        assert (settings.home_of(thread_id), settings.project_name(thread_id)) == (70, "web")
        late = await openings.open(CLAIM + 2, "u", IN_WEB)
        assert isinstance(late, Answer)
        assert late.text == f"<#{thread_id}> already works in this session's work tree. Go on there."


async def test_a_session_in_the_work_tree_of_a_thread_goes_on_there_alone() -> None:
    """S1, W2"""
    bench = Bench()
    async with bench.process() as openings:
        with_web(openings).keep(70, {"project": "web"})
        refused = await openings.open(CLAIM, "s", IN_WEB)
        assert isinstance(refused, Answer)
        assert refused.text.startswith("<#70> already works in this session's work tree.")
    assert bench.chat.threads == {}
