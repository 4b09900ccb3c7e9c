"""What once broke the contract: lost and doubled outcomes, faults that reached the neighbours, ends that hung."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import anyio
import anyio.lowlevel

from acp.permission import PermissionRequest
from acp.schema import AgentMessageChunk, PermissionOption, PermissionParams, ToolCall, text_block
from acp.session import TurnSink
from acp.turn import Turn, TurnLimits
from bot.outcome import Outcome
from bot.reply.pacing import Pacing
from bot.reply.port import Body, PortError, ThreadPort
from bot.work.desk import ThreadDesk
from bot.work.late import LateOutput
from bot.work.limits import DeskLimits
from bot.work.model import Inbound, Lane
from pool.model import PoolCounts
from pool.store import AcceptedPrompt
from tests.bot.reply.fakes import FakeThread, in_virtual_time
from tests.bot.work.samples import ALICE, inbound
from tests.pool.memory import MemoryStore

LIMITS = DeskLimits(
    turn=TurnLimits(cancel_grace=2.0),
    pacing=Pacing(interval=0.1),
    lanes={Lane.MAIN: 4, Lane.BACKGROUND: 1},
    stop_bound=5.0,
)


@dataclass
class Reservation:
    thread_id: int

    def release(self) -> None:
        pass


@dataclass
class FakeConnection:
    stops: int = 0

    def alive(self) -> bool:
        return True

    def exit(self) -> None:
        return None

    async def wait_exited(self) -> None:
        await anyio.sleep_forever()

    def request_stop(self) -> None:
        self.stops += 1


@dataclass
class FakeSession:
    """A session that a test plays the agent of."""

    connection: FakeConnection = field(default_factory=FakeConnection)
    on_late: Callable[[Any], None] | None = None
    prompts: list[str] = field(default_factory=list)
    answers_by_itself: bool = True
    cancels: int = 0
    can_steer: bool = False
    prompted: anyio.Event = field(default_factory=anyio.Event)

    def begin_turn(self, turn: Turn, sink: TurnSink, prompt: list[Any], *, clock: Callable[[], float]) -> None:
        self.prompts.append(prompt[0].text)
        self.turn, self.sink = turn, sink
        self.prompted.set()
        if self.answers_by_itself:
            self.say("answer")
            self.respond()

    def say(self, text: str) -> None:
        self.turn.feed(AgentMessageChunk(content=text_block(text)), anyio.current_time())
        self.sink.changed()

    def respond(self, stop_reason: str = "end_turn") -> None:
        self.turn.respond(stop_reason, None, anyio.current_time())
        self.sink.changed()

    def cancel(self) -> None:
        self.cancels += 1
        if self.answers_by_itself:
            self.respond("cancelled")


class FakePool:
    """Each thread has its session at once; ``stopped`` are the threads whose lease was stopped."""

    def __init__(self) -> None:
        self.sessions: dict[int, FakeSession] = {}
        self.stopped: list[int] = []
        self.resets: list[int] = []
        self.evicted: list[int] = []

    def of(self, thread_id: int) -> FakeSession:
        return self.sessions.setdefault(thread_id, FakeSession())

    def try_reserve(self, thread_id: int, *, behind: bool) -> Reservation:
        assert not behind
        return Reservation(thread_id)

    @asynccontextmanager
    async def session(self, thread_id: int, reservation: Any) -> AsyncIterator[Any]:
        await anyio.lowlevel.checkpoint()
        stop = functools.partial(self.stopped.append, thread_id)

        def served(*, internal_error: bool) -> None:
            assert not internal_error

        agent = SimpleNamespace(auth_methods=[], agent_info=None)
        rest = {"lost": False, "how": "live", "alone": False, "listen": lambda: str}
        yield SimpleNamespace(session=self.of(thread_id), stop=stop, served=served, agent=agent, **rest)

    def on_cut_off(self, listener: object) -> None:
        """It ends no agent of its own accord."""

    def evict(self, thread_id: int) -> bool:
        self.evicted.append(thread_id)
        return True

    def reset(self, thread_id: int) -> bool:
        self.resets.append(thread_id)
        return True

    def status(self, thread_id: int) -> None:
        return None

    def counts(self) -> PoolCounts:
        return PoolCounts(live=0, starting=0, closing=0, limit=4, busy=0)


@dataclass
class FakeChat:
    """Discord; ``gate`` holds up the opening of threads, ``errors`` are raised by the call of that name."""

    threads: dict[int, FakeThread] = field(default_factory=dict)
    refusals: list[tuple[int, str]] = field(default_factory=list)
    opened: list[int] = field(default_factory=list)
    gate: anyio.Event | None = None
    errors: dict[str, Exception] = field(default_factory=dict)

    def thread(self, thread_id: int) -> ThreadPort:
        return self.threads.setdefault(thread_id, FakeThread(delay=0.01))

    async def open_thread(self, inbound: Inbound) -> None:
        if self.gate is not None:
            await self.gate.wait()
        self._fail("open_thread")
        self.opened.append(inbound.thread_id)

    async def acknowledge(self, inbound: Inbound, emoji: str) -> None:
        pass

    async def react(self, channel_id: int, message_id: int, emoji: str, *, instead_of: tuple[str, ...] = ()) -> None:
        pass

    async def refuse(self, inbound: Inbound, text: str) -> None:
        self._fail("refuse")
        self.refusals.append((inbound.message_id, text))

    def _fail(self, call: str) -> None:
        if call in self.errors:
            raise self.errors[call]


class FaultyStore(MemoryStore):
    """Raises in the calls that a test names, as a full disk does."""

    faulty: frozenset[str] = frozenset()

    async def accept(self, prompt: AcceptedPrompt) -> bool:
        self._fail("accept")
        return await super().accept(prompt)

    async def started(self, first: int, others: Sequence[int] = ()) -> None:
        self._fail("started")
        await super().started(first, others)

    async def finished(self, message_id: int, outcome: str, *, keep: bool = False) -> None:
        self._fail("finished")
        await super().finished(message_id, outcome, keep=keep)

    def _fail(self, call: str) -> None:
        if call in self.faulty:
            raise OSError("disk full")


@dataclass
class Scene:
    desk: ThreadDesk
    chat: FakeChat
    pool: FakePool
    store: FaultyStore
    outcomes: list[tuple[int, Outcome]] = field(default_factory=list)
    news: anyio.Event = field(default_factory=anyio.Event)

    def note(self, message: Inbound, outcome: Outcome) -> None:
        self.outcomes.append((message.message_id, outcome))
        self.news.set()
        self.news = anyio.Event()

    async def outcome(self, message_id: int) -> Outcome:
        """Wait until the message has its outcome, and everything else had time for another one."""
        with anyio.move_on_after(30):
            while message_id not in dict(self.outcomes):
                await self.news.wait()
        await anyio.sleep(5)
        (found,) = [outcome for number, outcome in self.outcomes if number == message_id]
        return found

    def shown(self, thread_id: int) -> str:
        return "\n".join(self.chat.threads[thread_id].texts)


@asynccontextmanager
async def scene(**faults: Any) -> AsyncIterator[Scene]:
    store, chat, pool = FaultyStore(), FakeChat(), FakePool()
    store.faulty = frozenset(faults.get("store", ()))
    async with anyio.create_task_group() as work:
        desk = ThreadDesk(work, chat, cast("Any", pool), store, LIMITS, str)
        at = Scene(desk, chat, pool, store)
        desk.deliveries.on_outcome = at.note
        yield at
        await desk.shutdown()
        work.cancel_scope.cancel()


def mention(message_id: int, text: str = "hello") -> Inbound:
    return replace(inbound(message_id, thread_id=message_id, text=text), channel_id=5, opens_thread=True)


# --- faults of the store, of Discord, of a listener -------------------------------------------------------------------


@in_virtual_time
async def test_a_message_that_the_store_does_not_take_fails_alone() -> None:
    """O1, O4: one outcome, one line, and the next message is answered."""
    async with scene(store=["accept"]) as at:
        at.desk.submit(inbound(1))
        assert await at.outcome(1) is Outcome.FAILED
        assert [number for number, _ in at.chat.refusals] == [1]
        at.store.faulty = frozenset()
        at.desk.submit(inbound(2))
        assert await at.outcome(2) is Outcome.ANSWERED


@in_virtual_time
async def test_a_prompt_is_not_sent_when_its_start_can_not_be_written_down() -> None:
    """R2, Q10: what may have had side effects must be known as started."""
    async with scene(store=["started"]) as at:
        at.desk.submit(inbound(1))
        assert await at.outcome(1) is Outcome.FAILED
        assert at.pool.of(100).prompts == []
        at.store.faulty = frozenset()
        at.desk.submit(inbound(2))
        assert await at.outcome(2) is Outcome.ANSWERED


@in_virtual_time
async def test_an_outcome_that_can_not_be_written_down_hurts_nobody() -> None:
    """O4, Q10."""
    async with scene(store=["finished"]) as at:
        at.desk.submit(inbound(1))
        at.desk.submit(inbound(2, thread_id=200))
        assert await at.outcome(1) is Outcome.ANSWERED
        assert await at.outcome(2) is Outcome.ANSWERED


@in_virtual_time
async def test_a_listener_that_fails_hurts_nobody() -> None:
    """O4."""

    def fail(_inbound: Inbound, _outcome: Outcome) -> None:
        raise RuntimeError("listener")

    async with scene() as at:
        keep, at.desk.deliveries.on_outcome = at.desk.deliveries.on_outcome, fail
        at.desk.submit(inbound(1))
        await anyio.sleep(5)
        at.desk.deliveries.on_outcome = keep
        at.desk.submit(inbound(2))
        assert await at.outcome(2) is Outcome.ANSWERED


@in_virtual_time
async def test_a_refusal_that_discord_does_not_take_hurts_nobody() -> None:
    """O1, O4: neither a refused request nor a fault in the call itself."""
    async with scene() as at:
        at.chat.errors = {"open_thread": PortError("no"), "refuse": RuntimeError("broken")}
        at.desk.submit(mention(1))
        assert await at.outcome(1) is Outcome.FAILED
        at.desk.submit(inbound(2))
        assert await at.outcome(2) is Outcome.ANSWERED


@in_virtual_time
async def test_a_fault_on_a_prompts_way_hurts_no_other() -> None:
    """O4, Q10: whatever it is, the work of the others goes on."""
    async with scene() as at:
        scheduler = at.desk._floor.scheduler
        reserve, scheduler._reserve = scheduler._reserve, cast("Any", None)  # nothing that can be called
        at.desk.submit(inbound(1))
        await anyio.sleep(5)
        scheduler._reserve = reserve
        at.desk.submit(inbound(2, thread_id=200))
        assert await at.outcome(1) is Outcome.ANSWERED
        assert await at.outcome(2) is Outcome.ANSWERED


@in_virtual_time
async def test_a_reply_that_can_not_be_shown_still_has_a_visible_end() -> None:
    """O1: never none; Discord takes the text of the answer as little as a broken rendering does."""
    async with scene() as at:
        thread = cast("FakeThread", at.chat.thread(100))
        thread.fail = {"send": [PortError("blocked")] * 6}
        at.desk.submit(inbound(1))
        assert await at.outcome(1) is Outcome.ANSWERED
        assert "answered" in at.shown(100)


# --- accepting, stopping, shutting down -------------------------------------------------------------------------------


@in_virtual_time
async def test_a_message_that_is_stopped_while_its_thread_opens_has_one_end() -> None:
    """T6, O1: it is told in the thread, once that is there."""
    async with scene() as at:
        at.chat.gate = anyio.Event()
        at.desk.submit(mention(1))
        await anyio.sleep(1)
        assert at.desk.stop(1, ALICE).accepted
        assert not at.desk.stop(1, ALICE).accepted
        at.chat.gate.set()
        assert await at.outcome(1) is Outcome.STOPPED
        assert "**stopped**" in at.shown(1)
        assert at.pool.of(1).prompts == []


@in_virtual_time
async def test_a_message_that_is_stopped_and_whose_thread_does_not_open_has_one_end() -> None:
    """T6, O1: it is told where it was posted."""
    async with scene() as at:
        at.chat.gate = anyio.Event()
        at.chat.errors = {"open_thread": PortError("no")}
        at.desk.submit(mention(1))
        await anyio.sleep(1)
        assert at.desk.stop(1, ALICE).accepted
        at.chat.gate.set()
        assert await at.outcome(1) is Outcome.STOPPED
        assert len(at.chat.refusals) == 1
        assert 1 not in at.chat.threads


@in_virtual_time
async def test_a_message_that_is_stopped_before_the_store_has_it_opens_no_thread() -> None:
    """T6, O1."""
    async with scene() as at:
        at.desk.submit(mention(1))
        assert at.desk.stop(1, ALICE).accepted
        assert await at.outcome(1) is Outcome.STOPPED
        assert at.chat.opened == []
        assert len(at.chat.refusals) == 1
        assert await at.store.open_prompts() == []


@in_virtual_time
async def test_a_thread_that_goes_while_its_message_is_accepted_gives_it_one_end() -> None:
    """D10, O1."""
    async with scene() as at:
        at.desk.submit(inbound(1))
        at.desk.thread_gone(100, "the thread was deleted")
        assert await at.outcome(1) is Outcome.STOPPED
        assert at.pool.of(100).prompts == []


@in_virtual_time
async def test_messages_that_are_being_accepted_when_the_bot_stops_are_told() -> None:
    """R1, O1: each once, whether its thread opens in time or not."""
    async with scene() as at:
        at.chat.gate = anyio.Event()
        at.desk.submit(mention(1))
        await anyio.sleep(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(at.desk.shutdown)
            await anyio.sleep(1)
            at.chat.gate.set()
        assert at.outcomes == [(1, Outcome.INTERRUPTED)]
        assert "**interrupted**" in at.shown(1)


@in_virtual_time
async def test_a_message_that_comes_while_the_bot_stops_is_told_and_not_accepted() -> None:
    """R1."""
    async with scene() as at:
        at.pool.of(100).answers_by_itself = False
        at.desk.submit(inbound(1))
        await at.pool.of(100).prompted.wait()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(at.desk.shutdown)
            await anyio.sleep(0.5)
            at.desk.submit(inbound(2, thread_id=200))
        assert dict(at.outcomes) == {1: Outcome.INTERRUPTED, 2: Outcome.INTERRUPTED}
        assert [number for number, _ in at.chat.refusals] == [2]


@in_virtual_time
async def test_a_message_after_the_end_is_left_alone() -> None:
    """R1: nothing is raised into Discord's event handler, and no task is left."""
    async with scene() as at:
        at.chat.thread(100)
    at.desk.submit(inbound(1))
    at.desk.admit()
    assert not at.desk.reset(100, ALICE).accepted
    assert not at.desk.stop(100, ALICE).accepted
    assert at.outcomes == []


@in_virtual_time
async def test_a_shutdown_after_the_work_broke_down_does_not_wait_for_what_was_cut_off() -> None:
    """R1, O4: the tasks that would deliver are gone already."""
    store, chat, pool = FaultyStore(), FakeChat(), FakePool()
    pool.of(100).answers_by_itself = False
    async with anyio.create_task_group() as work:
        desk = ThreadDesk(work, chat, cast("Any", pool), store, LIMITS, str)
        desk.submit(inbound(1))
        await pool.of(100).prompted.wait()
        began = anyio.current_time()
        try:
            work.cancel_scope.cancel()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await desk.shutdown()
    assert anyio.current_time() - began < 1


@in_virtual_time
async def test_a_turn_that_a_person_stopped_before_the_shutdown_stays_stopped() -> None:
    """O1, R1: what was decided first counts."""
    async with scene() as at:
        at.pool.of(100).answers_by_itself = False
        at.desk.submit(inbound(1))
        await at.pool.of(100).prompted.wait()
        assert at.desk.stop(100, ALICE).accepted
        await at.desk.shutdown()
        assert at.outcomes == [(1, Outcome.STOPPED)]


@in_virtual_time
async def test_a_shutdown_that_is_hurried_waits_no_longer_for_a_turn() -> None:
    """R1: the second signal; a hurry without a shutdown does nothing."""
    async with scene() as at:
        at.desk.hurry()
        at.pool.of(100).answers_by_itself = False
        at.desk.submit(inbound(1))
        await at.pool.of(100).prompted.wait()
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(at.desk.shutdown)
            await anyio.sleep(0.1)
            at.desk.hurry()
        assert anyio.current_time() - began < 1.5


# --- turns and sessions -----------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_session_with_an_open_prompt_is_never_handed_on() -> None:
    """T6, Q1: a turn that broke down leaves a prompt behind; the next one gets another process."""
    async with scene() as at:
        session = at.pool.of(100)
        session.answers_by_itself = False
        at.desk.submit(inbound(1))
        await session.prompted.wait()

        def fail(_now: float, _alive: bool = True) -> None:
            raise RuntimeError("broken")

        session.turn.tick = fail  # type: ignore[method-assign, assignment]
        session.turn.died(None, anyio.current_time())
        session.sink.changed()
        assert await at.outcome(1) is Outcome.FAILED
        assert at.pool.stopped == [100]


@in_virtual_time
async def test_a_permission_request_that_can_not_be_shown_is_answered_cancelled() -> None:
    """D6, O4: never none; and the fault does not reach the reader of the agent's output."""
    answers: list[Any] = []
    async with scene() as at:
        session = at.pool.of(100)
        session.answers_by_itself = False
        at.desk.submit(inbound(1))
        await session.prompted.wait()
        option = PermissionOption(option_id="o", kind="allow_once")
        params = PermissionParams(session_id="s", tool_call=ToolCall(tool_call_id="t"), options=[option])
        request = PermissionRequest(1, params, lambda _request, response: answers.append(response.result))
        request.tool_call = cast("Any", None)  # what no rendering can show
        session.sink.permission(request)
        assert answers == [{"outcome": {"outcome": "cancelled"}}]
        session.respond()
        assert await at.outcome(1) is Outcome.ANSWERED


# --- output outside a turn --------------------------------------------------------------------------------------------


@in_virtual_time
async def test_output_outside_a_turn_that_never_goes_quiet_is_shown_in_the_end_and_bounded() -> None:
    """O3, T10."""
    said: list[Body] = []
    update = AgentMessageChunk(content=text_block("word " * 2000))
    async with anyio.create_task_group() as tasks:
        late = LateOutput(tasks, said.append)
        for _ in range(100):
            late.feed(update)
            await anyio.sleep(0.5)
            assert sum(len(part) for part in late._parts) < 200_000
        assert said
        tasks.cancel_scope.cancel()


@in_virtual_time
async def test_output_outside_a_turn_that_can_not_be_shown_hurts_nobody() -> None:
    """O4."""

    def fail(_body: Body) -> None:
        raise RuntimeError("broken")

    async with anyio.create_task_group() as tasks:
        late = LateOutput(tasks, fail)
        late.feed(AgentMessageChunk(content=text_block("text")))
        await anyio.sleep(5)
        tasks.cancel_scope.cancel()


@in_virtual_time
async def test_a_thread_with_output_outside_a_turn_keeps_no_editor() -> None:
    """Q10: idle threads are forgotten."""
    async with scene() as at:
        at.desk.submit(inbound(1))
        await at.outcome(1)
        on_late = at.pool.of(100).on_late
        assert on_late is not None
        on_late(AgentMessageChunk(content=text_block("by the way")))
        await anyio.sleep(10)
        assert "by the way" in at.shown(100)
        assert at.desk._floor.editors._editors == {}


@in_virtual_time
async def test_output_after_the_end_is_left_alone() -> None:
    """R1, O4: the agent's reader must not meet a task group that is closed."""
    async with scene() as at:
        at.desk.submit(inbound(1))
        await at.outcome(1)
    on_late = at.pool.of(100).on_late
    assert on_late is not None
    on_late(AgentMessageChunk(content=text_block("too late")))
