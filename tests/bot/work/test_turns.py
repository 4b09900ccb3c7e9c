"""One admitted prompt: its session, its prompt, its stop in each phase, and the end that comes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from acp.errors import AcpError, AgentExit, AgentSpawnError, RequestFailed, SpawnFailure
from acp.permission_request import PermissionRequest
from acp.schema import InitializeResult
from acp.snapshot import Ending, Phase
from acp.turn import Turn
from acp.turn_deadlines import TurnLimits
from bot.model import Outcome
from bot.reply.live_reply import LiveReply
from bot.reply.port import Body
from bot.work.background import Backgrounds
from bot.work.ending import TurnEnd, end_of_snapshot
from bot.work.permissions.cards import CardState, PermissionRegistry
from bot.work.queue.entry import Entry
from bot.work.queue.rules import Remembered
from bot.work.running_turn import RunningTurn
from bot.work.serialization import accepted_prompt
from bot.work.turns import ReplySink, TurnService
from bot.work.workspace.changes import WorkspaceChanges
from pool.pool import ConnectionPool
from pool.slot import Reservation
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import (
    FakeLookups,
    NotedStore,
    PlayedAgents,
    PlayedConnection,
    PlayedSession,
    answer,
    be_deaf,
    hang,
    nothing_handed_out,
    permission_request,
)
from tests.bot.work.samples import ALICE, PLACE, entry
from tests.pool.fakes import FakeConnection

GRACE = 10.0
HARD_TIMEOUT = 60.0


@dataclass
class FakeReply:
    touches: list[bool] = field(default_factory=list)

    def touch(self, *, urgent: bool = False) -> None:
        self.touches.append(urgent)


@dataclass
class FakeLease:
    session: PlayedSession
    stops: int = 0
    internal_errors: list[bool] = field(default_factory=list)
    agent: InitializeResult = field(default_factory=lambda: InitializeResult(protocol_version=1))
    alone: bool = True
    lost: bool = False
    how: str = "new"
    remote: None = None

    @property
    def connection(self) -> PlayedConnection:
        return self.session.connection

    def listen(self) -> Callable[[], str]:
        return str

    def served(self, *, internal_error: bool) -> None:
        self.internal_errors.append(internal_error)

    def stop(self) -> bool:
        self.stops += 1
        return True


class FakePool:
    """A pool with one session; ``gate`` holds it back, ``error`` is raised in its place."""

    def __init__(self, act: Callable[[PlayedSession], object]) -> None:
        self.agents = PlayedAgents(parts={"hello": act})
        connection = PlayedConnection(self.agents, FakeConnection(self.agents, "100", 1))
        self.lease = FakeLease(PlayedSession(self.agents, "s", connection))
        self.gate: anyio.Event | None = None
        self.error: Exception | None = None
        self.open = 0

    @asynccontextmanager
    async def session(self, thread_id: int, reservation: object) -> AsyncIterator[FakeLease]:
        assert thread_id == 100
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.open += 1
        try:
            yield self.lease
        finally:
            self.open -= 1


@dataclass
class Scene:
    pool: FakePool
    store: NotedStore
    running: RunningTurn
    reply: FakeReply
    leased: list[Any]
    asked: list[PermissionRequest]
    ends: list[TurnEnd]
    service: TurnService

    def sink(self) -> ReplySink:
        service = self.service
        return ReplySink(
            self.running, service.cards, service.questions, service.deliveries, service.branches, end_of_snapshot
        )

    async def run(self) -> TurnEnd:
        return await self.service.run(self.running, cast("Reservation", None))

    @asynccontextmanager
    async def under_way(self) -> AsyncIterator[list[TurnEnd]]:
        """Run the turn; the list holds its end when the block is left."""
        ends: list[TurnEnd] = []

        async def run() -> None:
            ends.append(await self.run())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await anyio.sleep(1)
            yield ends


async def no_files(_entry: Entry, _lease: object) -> list[Body]:
    return []


async def nothing_chosen(_running: RunningTurn, _lease: object) -> None:
    pass


async def nothing_before(_thread_id: int, *, takes_resources: bool) -> None:
    del takes_resources


async def scene(act: Callable[[PlayedSession], object] = answer) -> Scene:
    pool, store, reply, now = FakePool(act), NotedStore(), FakeReply(), anyio.current_time()
    turn = Turn(TurnLimits(cancel_grace=GRACE), now)
    running = RunningTurn(entry(1), cast("LiveReply", reply), turn, started=now, hard_timeout=HARD_TIMEOUT)
    leased: list[Any] = []
    asked: list[PermissionRequest] = []
    ends: list[TurnEnd] = []
    cards = SimpleNamespace(open=lambda _running, request: asked.append(request))
    service = TurnService(
        cast("ConnectionPool", pool),
        store,
        cast("Any", SimpleNamespace(deciding=lambda *_: nullcontext((SimpleNamespace(memory=Remembered()), [])))),
        cast("Any", None),
        cast("Any", SimpleNamespace(announce=lambda over, _reply: ends.append(over.end))),
        cast("Any", cards),
        cast("Any", None),
        cast("Any", SimpleNamespace(watch=lambda _prompt, lease: leased.append(lease))),
        cast("Any", SimpleNamespace(attend=lambda _thread_id, _session: None)),
        backgrounds=Backgrounds(FakeLookups(), cast("Any", store), 20, 5.0),
        files=cast("Any", SimpleNamespace(bring=no_files)),
        handouts=nothing_handed_out(),
        handoffs=cast("Any", SimpleNamespace(history=nothing_before)),
        changes=WorkspaceChanges(
            cast("Any", None), store, lambda _thread_id: None, lambda _thread_id: None, cast("Any", None)
        ),
        options=cast("Any", SimpleNamespace(give=nothing_chosen)),
        projects=cast("Any", SimpleNamespace(doing=lambda _thread_id: "")),
        branches=cast("Any", SimpleNamespace(begin=lambda _running: None)),
        redact=str,
    )
    await store.accept(accepted_prompt(running.first))
    store.calls.clear()
    return Scene(pool, store, running, reply, leased, asked, ends, service)


# --- the way to the answer -----------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_prompt_is_sent_and_its_answer_is_the_end() -> None:
    """T3, O1."""
    made = await scene()
    end = await made.run()
    assert end.outcome is Outcome.ANSWERED
    assert end.snapshot is not None
    assert (end.snapshot.text, end.snapshot.phase) == ("an answer", Phase.ENDED)
    assert made.pool.agents.prompted == ["hello"]
    assert (made.leased, made.pool.open) == ([made.pool.lease], 0)


@in_virtual_time
async def test_the_start_is_committed_before_the_prompt_is_written() -> None:
    """R2."""
    made = await scene()
    made.store.gates["started"] = anyio.Event()
    async with made.under_way() as ends:
        assert (made.store.calls, made.pool.agents.prompted) == ([("started", 1)], [])
        made.store.gates["started"].set()
    assert [end.outcome for end in ends] == [Outcome.ANSWERED]


@pytest.mark.parametrize("stopped", [True, False])
def test_a_store_that_hangs_keeps_neither_a_stop_waiting_nor_the_hard_timeout(stopped: bool) -> None:
    """T2, T6, R2: nothing was prompted, and the agent is free for others."""

    @in_virtual_time
    async def play() -> None:
        made = await scene()
        made.store.gates["started"] = anyio.Event()
        began = anyio.current_time()
        async with made.under_way() as ends:
            assert made.store.calls == [("started", 1)]
            if stopped:
                assert made.running.stop("bob")
        took = anyio.current_time() - began
        assert [end.outcome for end in ends] == [Outcome.STOPPED if stopped else Outcome.TIMED_OUT]
        assert took == (1 if stopped else HARD_TIMEOUT)
        assert (made.pool.agents.prompted, made.pool.open) == ([], 0)

    play()


@pytest.mark.parametrize(
    "error",
    [
        AgentSpawnError("not found", failure=SpawnFailure.NOT_FOUND),
        RequestFailed("session/new", -32000, "log in with `agent login`"),
    ],
    ids=["spawn", "login"],
)
def test_a_prompt_without_a_session_could_not_start(error: AcpError) -> None:
    """O1, P7: it may be run again, since the agent never had it."""

    @in_virtual_time
    async def play() -> None:
        made = await scene()
        made.pool.error = error
        end = await made.run()
        assert end.outcome is Outcome.COULD_NOT_START
        assert (made.store.calls, made.leased) == ([], [])

    play()


@pytest.mark.parametrize(("code", "internal"), [(-32603, True), (-32602, False), (500, False)])
@in_virtual_time
async def test_the_pool_is_told_of_internal_errors(code: int, internal: bool) -> None:
    """P8: and of turns without one."""

    def fail(session: PlayedSession) -> None:
        session.fail(code, "broken")

    made = await scene(fail)
    await made.run()
    assert made.pool.lease.internal_errors == [internal]


@in_virtual_time
async def test_an_agent_that_dies_in_its_turn_ends_it_with_what_was_said() -> None:
    """T1, O1."""

    def speak_and_die(session: PlayedSession) -> None:
        session.say("so far")
        session.connection.die(3)

    end = await (await scene(speak_and_die)).run()
    assert end.outcome is Outcome.AGENT_DIED
    assert end.snapshot is not None
    assert (end.snapshot.text, end.snapshot.exit) == ("so far", AgentExit(3))


@in_virtual_time
async def test_an_overdue_turn_is_timed_out() -> None:
    """T2."""
    end = await (await scene(hang)).run()
    assert end.outcome is Outcome.TIMED_OUT


@in_virtual_time
async def test_a_fault_of_ours_is_no_end_of_the_agents() -> None:
    """Q10: who runs the turn decides what it is; the session is given back."""
    made = await scene()
    made.pool.error = RuntimeError("a fault")
    with pytest.raises(RuntimeError):
        await made.run()
    assert made.pool.open == 0


@in_virtual_time
async def test_the_session_of_a_turn_that_broke_off_goes_to_nobody() -> None:
    """Q1, P6: its prompt is still open."""

    def break_down(_session: PlayedSession) -> None:
        raise RuntimeError("a fault")

    made = await scene(break_down)
    with pytest.raises(RuntimeError):
        await made.run()
    assert made.pool.lease.stops == 1


# --- stop ----------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_stop_while_the_agent_starts_waits_no_longer_for_it() -> None:
    """T6: spawning."""
    made = await scene()
    made.pool.gate = anyio.Event()
    async with made.under_way() as ends:
        assert made.running.stop("bob")
    assert ends == [TurnEnd(Outcome.STOPPED, by="bob")]
    assert (made.store.calls, made.leased) == ([], [])


@in_virtual_time
async def test_the_first_who_stops_a_turn_that_is_starting_is_named() -> None:
    """T6."""
    made = await scene()
    made.store.gates["started"] = anyio.Event()
    async with made.under_way() as ends:
        assert (made.running.stop("bob"), made.running.stop("alice")) == (True, True)
        made.store.gates["started"].set()
    assert [end.by for end in ends] == ["bob"]


@in_virtual_time
async def test_a_stop_before_the_prompt_is_written_sends_none() -> None:
    """T6, R2."""
    made = await scene()
    made.store.gates["started"] = anyio.Event()
    async with made.under_way() as ends:
        made.running.stop("bob")
        made.store.gates["started"].set()
    assert (ends, made.pool.agents.prompted) == ([TurnEnd(Outcome.STOPPED, by="bob")], [])


@in_virtual_time
async def test_a_stop_of_a_running_turn_cancels_it_once_and_names_the_first_who_asked() -> None:
    """T6."""
    made = await scene(be_deaf)
    async with made.under_way() as ends:
        assert (made.running.stop("bob"), made.running.stop("alice")) == (True, True)
        made.pool.lease.session.respond("cancelled")
    assert [(end.outcome, end.by) for end in ends] == [(Outcome.STOPPED, "bob")]
    assert (made.pool.lease.session.cancels, made.pool.lease.stops) == (1, 0)


@in_virtual_time
async def test_a_stopped_turn_is_stopped_whatever_the_agent_answers() -> None:
    """T6, O1."""
    made = await scene(be_deaf)
    async with made.under_way() as ends:
        made.running.stop("bob")
        made.pool.lease.session.respond("end_turn")
    assert [(end.outcome, end.by) for end in ends] == [(Outcome.STOPPED, "bob")]


@in_virtual_time
async def test_a_turn_whose_response_is_there_can_not_be_stopped() -> None:
    """T6: draining."""
    made = await scene(be_deaf)
    async with made.under_way() as ends:
        made.pool.lease.session.respond()
        assert made.running.stop("bob") is False
    assert [end.outcome for end in ends] == [Outcome.ANSWERED]
    assert made.running.stop("bob") is False


@in_virtual_time
async def test_the_session_of_a_deaf_agent_goes_to_nobody() -> None:
    """T6, P6: the prompt is still open when the grace is over."""
    made = await scene(be_deaf)
    async with made.under_way() as ends:
        made.running.stop("bob")
        await anyio.sleep(GRACE - 1)
        assert (ends, made.pool.lease.stops) == ([], 0)
    assert [end.outcome for end in ends] == [Outcome.STOPPED]
    assert (made.pool.lease.stops, made.pool.lease.session.connection.told_to_stop) == (1, True)


# --- the stop of the bot -------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_running_turn_is_interrupted_and_keeps_what_was_said() -> None:
    """R1, T6."""
    made = await scene(be_deaf)
    async with made.under_way() as ends:
        made.running.stop("a restart", restart=True)
        made.pool.lease.session.respond("cancelled")
    ((end),) = ends
    assert end.outcome is Outcome.INTERRUPTED
    assert end.snapshot is not None
    assert end.snapshot.text == "so far"


@in_virtual_time
async def test_a_turn_that_was_stopped_before_the_bot_was_is_stopped() -> None:
    """O1, R1: the first decision counts."""
    made = await scene(be_deaf)
    async with made.under_way() as ends:
        made.running.stop("bob")
        made.running.stop("a restart", restart=True)
        made.pool.lease.session.respond("cancelled")
    assert [(end.outcome, end.by) for end in ends] == [(Outcome.STOPPED, "bob")]


@in_virtual_time
async def test_a_turn_whose_response_is_there_is_not_interrupted() -> None:
    """R1, O1."""
    made = await scene(be_deaf)
    async with made.under_way() as ends:
        made.pool.lease.session.respond()
        made.running.stop("a restart", restart=True)
    assert [end.outcome for end in ends] == [Outcome.ANSWERED]


@in_virtual_time
async def test_a_turn_that_waits_for_its_agent_is_interrupted() -> None:
    """R1."""
    made = await scene()
    made.pool.gate = anyio.Event()
    async with made.under_way() as ends:
        made.running.stop("a restart", restart=True)
    assert [end.outcome for end in ends] == [Outcome.INTERRUPTED]


# --- what the reply hears ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_the_text_is_brought_up_to_date_at_once_when_the_response_arrives_and_only_then() -> None:
    """T3: the drain only delays the footer."""
    made = await scene(hang)
    sink = made.sink()
    turn, now = made.running.turn, anyio.current_time()
    sink.changed()
    before = made.running.entry.finishing
    turn.respond("end_turn", None, now)
    sink.changed()
    assert (before, made.running.entry.finishing) == (False, True)
    sink.changed()
    turn.died(None, now)
    sink.changed()
    assert made.reply.touches == [False, True, False, False]
    assert made.ends == []


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (lambda turn: turn.respond("cancelled", None, 0), Outcome.STOPPED),
        (lambda turn: turn.fail(RequestFailed("session/prompt", -32603, "broken"), 0), Outcome.FAILED),
    ],
)
@in_virtual_time
async def test_the_end_of_a_turn_without_an_answer_is_known_before_the_drain(
    answer: Callable[[Turn], None], outcome: Outcome
) -> None:
    """T3, O1."""
    made = await scene(hang)
    sink = made.sink()
    answer(made.running.turn)
    sink.changed()
    sink.changed()
    assert [end.outcome for end in made.ends] == [outcome]
    assert made.running.turn.phase is Phase.DRAINING


@in_virtual_time
async def test_a_request_of_the_agent_is_handed_to_whoever_asks() -> None:
    """D6."""
    made = await scene(PlayedSession.ask)
    async with made.under_way():
        assert made.asked == made.pool.lease.session.requests
        made.running.stop("bob")
    assert len(made.asked) == 1


@in_virtual_time
async def test_a_request_that_can_not_be_shown_is_cancelled_and_the_turn_goes_on() -> None:
    """D6, Q10: nobody could decide it."""
    made = await scene(hang)

    def fail(_running: RunningTurn, _request: PermissionRequest) -> None:
        raise RuntimeError("a fault")

    made.service.cards = cast("Any", SimpleNamespace(open=fail))
    async with made.under_way() as ends:
        assert made.pool.lease.session.ask().answered
        made.pool.lease.session.respond()
    assert [end.outcome for end in ends] == [Outcome.ANSWERED]


@pytest.mark.parametrize("act", [answer, be_deaf], ids=["answered", "stopped"])
def test_the_end_of_a_turn_closes_its_cards(act: Callable[[PlayedSession], object]) -> None:
    """T6, D6."""

    @in_virtual_time
    async def play() -> None:
        made = await scene(act)
        card = PermissionRegistry().open(PLACE, permission_request(), ALICE, lambda card: None)
        made.running.cards.append(card)
        async with made.under_way():
            made.running.stop("bob")
        assert card.state is CardState.CANCELLED

    play()


def test_the_endings_of_turns_are_known_here() -> None:
    """O1: a new one needs an outcome."""
    assert {ending.value for ending in Ending} <= {outcome.value for outcome in Outcome}
