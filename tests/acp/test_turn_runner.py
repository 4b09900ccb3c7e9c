"""Running a turn, with a session that does what a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from acp.connection import AgentConnection
from acp.elicitation import ElicitationRequest
from acp.errors import AgentExit, AgentExited, RequestFailed
from acp.jsonrpc import Response
from acp.open_request import OpenRequest
from acp.permission_request import PermissionRequest
from acp.schema import ContentBlock, PermissionParams, decode_update, text_block
from acp.session import AgentSession, TurnSink
from acp.snapshot import Ending, Phase, TurnSnapshot
from acp.turn import Turn
from acp.turn_deadlines import TurnLimits
from acp.turn_runner import run_turn

LONG = 60.0
QUICK = TurnLimits(liveness=LONG, hard_timeout=LONG, cancel_grace=LONG, drain_quiet=0.02, drain_max=0.1)


class FakeConnection:
    def __init__(self) -> None:
        self.running = True
        self.ended: AgentExit | None = None
        self.exited = anyio.Event()
        self.stop_requested = anyio.Event()
        self.probes = 0

    def alive(self) -> bool:
        self.probes += 1
        return self.running

    def exit(self) -> AgentExit | None:
        return self.ended

    async def wait_exited(self) -> AgentExit:
        await self.exited.wait()
        assert self.ended is not None
        return self.ended

    def request_stop(self) -> None:
        self.stop_requested.set()

    def end(self, returncode: int) -> None:
        self.running, self.ended = False, AgentExit(returncode)
        self.exited.set()


class FakeSession:
    """Plays the agent's part from outside: feeds the turn and answers the prompt, as a session does."""

    def __init__(self) -> None:
        self.connection = FakeConnection()
        self.prompted = anyio.Event()
        self.cancelled = anyio.Event()
        self.cancels = 0
        self.prompt: list[ContentBlock] = []
        self.on_prompt: Callable[[], object] = lambda: None

    def begin_turn(
        self, turn: Turn, sink: TurnSink, prompt: list[ContentBlock], *, clock: Callable[[], float]
    ) -> object:
        self.turn, self.sink, self.prompt, self.clock = turn, sink, prompt, clock
        turn.begin(clock())
        self.prompted.set()
        self.on_prompt()
        return None

    def cancel(self, by: str | None = None) -> None:
        if by is not None and not self.turn.cancel(self.clock(), by):
            return
        self.cancels += 1
        self.cancelled.set()
        self.sink.changed()

    def say(self, text: str) -> None:
        raw = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
        self.turn.feed(decode_update(raw), self.clock())
        self.sink.changed()

    def respond(self, stop_reason: str = "end_turn") -> None:
        self.turn.respond(stop_reason, None, self.clock())
        self.sink.changed()

    def fail(self, error: RequestFailed | AgentExited) -> None:
        self.turn.fail(error, self.clock())
        self.sink.changed()

    def ask(self) -> PermissionRequest:
        params = PermissionParams.parse(
            {"sessionId": "s", "toolCall": {"toolCallId": "c1", "title": "rm"}, "options": [{"optionId": "ok"}]}
        )
        request = PermissionRequest(1, params, self._answered)
        self.turn.permission_opened(request.key, request.tool_call, self.clock())
        self.sink.permission(request)
        return request

    def _answered(self, request: OpenRequest, _: Response) -> None:
        self.turn.permission_closed(request.key, self.clock())
        self.sink.changed()


@dataclass
class Sink:
    changes: int = 0
    requests: list[PermissionRequest] = field(default_factory=list)
    on_change: Callable[[], None] = lambda: None

    def changed(self) -> None:
        self.changes += 1
        self.on_change()

    def permission(self, request: PermissionRequest) -> None:
        self.requests.append(request)

    def question(self, request: ElicitationRequest) -> None:
        raise NotImplementedError


async def prompt(session: FakeSession, turn: Turn, sink: Sink) -> TurnSnapshot:
    connection = cast("AgentConnection", session.connection)
    return await run_turn(connection, cast("AgentSession", session), turn, [text_block("hi")], sink)


@dataclass
class Running:
    """A turn that runs in its own task."""

    turn: Turn
    session: FakeSession = field(default_factory=FakeSession)
    sink: Sink = field(default_factory=Sink)
    done: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    snapshot: TurnSnapshot | None = None

    async def run(self) -> None:
        with self.scope:
            self.snapshot = await prompt(self.session, self.turn, self.sink)
        self.done.set()

    async def end(self) -> TurnSnapshot:
        await self.done.wait()
        assert self.snapshot is not None
        return self.snapshot


@asynccontextmanager
async def running(limits: TurnLimits = QUICK, **parts: Any) -> AsyncIterator[Running]:
    with anyio.fail_after(30):
        made = Running(Turn(limits, anyio.current_time()), **parts)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.run)
            await made.session.prompted.wait()
            yield made


@pytest.mark.asyncio
async def test_a_prompt_is_answered_and_late_chunks_belong_to_it() -> None:
    """T3: response, then late chunks, then the end."""
    async with running(TurnLimits(drain_quiet=0.3)) as run:
        run.session.say("a")
        run.session.respond()
        await anyio.lowlevel.checkpoint()
        run.session.say("b")
        snapshot = await run.end()
    assert (snapshot.ending, snapshot.text) == (Ending.ANSWERED, "ab")
    assert (run.session.prompt, run.session.cancels) == ([text_block("hi")], 0)


@pytest.mark.asyncio
async def test_without_a_drain_the_turn_ends_with_its_response() -> None:
    """T3: drain 0 works for an agent that keeps order."""
    async with running(TurnLimits(drain_quiet=0.0)) as run:
        run.session.say("a")
        run.session.respond()
        snapshot = await run.end()
    assert (snapshot.ending, snapshot.text) == (Ending.ANSWERED, "a")


@pytest.mark.asyncio
async def test_a_response_within_the_sending_ends_the_turn() -> None:
    """T5: a session that can't send any more answers at once."""
    session = FakeSession()
    session.on_prompt = lambda: session.fail(AgentExited(AgentExit(3)))
    async with running(session=session) as run:
        snapshot = await run.end()
    assert (snapshot.ending, snapshot.exit) == (Ending.AGENT_DIED, AgentExit(3))


@pytest.mark.asyncio
async def test_whoever_shows_the_turn_sees_the_response_and_the_end() -> None:
    """T3: the text is brought up to date at the response; the footer waits for the end."""
    phases: list[Phase] = []
    async with running() as run:
        run.sink.on_change = lambda: phases.append(run.turn.phase)
        run.session.respond()
        await run.end()
    assert phases == [Phase.DRAINING, Phase.ENDED]


@pytest.mark.asyncio
async def test_an_error_response_fails_the_turn() -> None:
    """O1: a JSON-RPC error to the prompt."""
    async with running() as run:
        run.session.fail(RequestFailed("session/prompt", 500, "terminated"))
        snapshot = await run.end()
    assert snapshot.ending is Ending.FAILED


@pytest.mark.asyncio
async def test_the_end_of_the_process_ends_the_turn() -> None:
    """T1: exit is noticed by itself, also when nobody fails the prompt."""
    async with running() as run:
        run.session.say("half an ans")
        run.session.connection.end(-9)
        snapshot = await run.end()
    assert (snapshot.ending, snapshot.text, snapshot.exit) == (Ending.AGENT_DIED, "half an ans", AgentExit(-9))


@pytest.mark.asyncio
async def test_a_silent_process_is_probed_and_goes_on() -> None:
    """T1: alive goes on."""
    async with running(TurnLimits(liveness=0.01, drain_quiet=0.0)) as run:
        while run.session.connection.probes < 3:
            await anyio.lowlevel.checkpoint()
        assert run.turn.phase is Phase.RUNNING
        run.session.respond()
        snapshot = await run.end()
    assert snapshot.ending is Ending.ANSWERED


@pytest.mark.asyncio
async def test_a_probe_that_finds_nobody_ends_the_turn() -> None:
    """T1: the probe is the net under the watch over the exit."""
    async with running(TurnLimits(liveness=0.01)) as run:
        run.session.connection.running, run.session.connection.ended = False, AgentExit(7)
        snapshot = await run.end()
    assert (snapshot.ending, snapshot.exit) == (Ending.AGENT_DIED, AgentExit(7))


@pytest.mark.asyncio
async def test_an_agent_that_hangs_is_cancelled_and_killed() -> None:
    """T2: hard timeout, cancel, ignored, kill: `timed_out`."""
    async with running(TurnLimits(hard_timeout=0.05, cancel_grace=0.05)) as run:
        await run.session.cancelled.wait()
        assert not run.session.connection.stop_requested.is_set()
        snapshot = await run.end()
    assert run.session.connection.stop_requested.is_set()
    assert (snapshot.ending, snapshot.killed, run.session.cancels) == (Ending.TIMED_OUT, True, 1)


@pytest.mark.asyncio
async def test_an_agent_that_chats_for_ever_is_cancelled_and_killed() -> None:
    """T2: the deadline is checked although something happens all the time."""
    async with running(TurnLimits(hard_timeout=0.05, cancel_grace=0.05)) as run:
        while not run.done.is_set():
            run.session.say("bla ")
            await anyio.lowlevel.checkpoint()
        snapshot = await run.end()
    assert snapshot.ending is Ending.TIMED_OUT
    assert snapshot.text.startswith("bla bla ")


@pytest.mark.asyncio
async def test_a_chunk_does_not_wake_the_loop() -> None:
    """T1: work per chunk is constant; the loop sleeps until something is due."""
    async with running() as run:
        ticks = 0
        tick = run.turn.tick

        def counted(now: float) -> Any:
            nonlocal ticks
            ticks += 1
            return tick(now)

        run.turn.tick = counted  # type: ignore[method-assign]
        for _ in range(100):
            run.session.say("x")
            await anyio.lowlevel.checkpoint()
        assert (ticks, run.sink.changes) == (0, 100)
        run.session.respond()
        await run.end()
    assert ticks >= 1


@pytest.mark.asyncio
async def test_a_stop_cancels_a_running_turn() -> None:
    """T6: cancel is sent once, and the outcome is `stopped` whatever stop reason comes."""
    async with running() as run:
        run.session.say("so far")
        run.session.cancel("ada")
        run.session.cancel("bob")
        assert run.session.cancels == 1
        run.session.respond("end_turn")
        snapshot = await run.end()
    assert (snapshot.ending, snapshot.cancelled_by, snapshot.text) == (Ending.STOPPED, "ada", "so far")
    assert run.session.cancels == 1


@pytest.mark.asyncio
async def test_a_stop_that_is_ignored_ends_in_a_kill() -> None:
    """T6: a grace from the decision, else kill."""
    async with running(TurnLimits(hard_timeout=LONG, liveness=LONG, cancel_grace=0.05)) as run:
        run.session.cancel("ada")
        snapshot = await run.end()
    assert (snapshot.ending, snapshot.killed) == (Ending.STOPPED, True)
    assert run.session.connection.stop_requested.is_set()


@pytest.mark.asyncio
async def test_a_stop_before_the_prompt_sends_nothing() -> None:
    """T6: stop works in every phase."""
    session, turn = FakeSession(), Turn(QUICK, anyio.current_time())
    turn.withdraw(anyio.current_time(), "ada")
    snapshot = await prompt(session, turn, Sink())
    assert (snapshot.ending, snapshot.cancelled_by) == (Ending.STOPPED, "ada")
    assert not session.prompted.is_set()
    assert session.cancels == 0


@pytest.mark.asyncio
async def test_a_stop_in_the_drain_is_too_late() -> None:
    """T6: draining is `already finished`."""
    async with running() as run:
        run.session.respond()
        run.session.cancel("ada")
        snapshot = await run.end()
    assert (snapshot.ending, run.session.cancels) == (Ending.ANSWERED, 0)


@pytest.mark.asyncio
async def test_a_stop_after_the_end_does_nothing() -> None:
    """T6: a late click meets nobody."""
    async with running() as run:
        run.session.respond()
        await run.end()
    run.session.cancel("ada")
    assert run.session.cancels == 0
    assert run.turn.snapshot().ending is Ending.ANSWERED


@pytest.mark.asyncio
async def test_a_stop_while_a_person_is_asked_cancels() -> None:
    """T6: stop works while a card is open."""
    async with running() as run:
        run.session.ask()
        run.session.cancel("ada")
        assert run.session.cancels == 1
        run.session.respond("cancelled")
        snapshot = await run.end()
    assert (snapshot.ending, snapshot.permissions) == (Ending.STOPPED, ())


@pytest.mark.asyncio
async def test_a_permission_request_is_passed_on_and_the_turn_goes_on() -> None:
    """D6: the card is shown; the answer is the agent's."""
    async with running() as run:
        request = run.session.ask()
        assert run.sink.requests == [request]
        assert run.turn.snapshot().permissions == ("c1",)
        assert request.select("ok")
        run.session.respond()
        snapshot = await run.end()
    assert (snapshot.ending, snapshot.tools[0].title) == (Ending.ANSWERED, "rm")


@pytest.mark.asyncio
async def test_the_hard_timeout_waits_for_a_person_and_counts_on_after_the_answer() -> None:
    """T2: an open card moves the deadline; the answer brings it back, and the sleeping loop notices."""
    session = FakeSession()
    session.on_prompt = session.ask
    limits = TurnLimits(hard_timeout=0.1, cancel_grace=0.05, liveness=LONG)
    async with running(limits, session=session) as run:
        with anyio.move_on_after(0.3):
            await run.session.cancelled.wait()
        assert run.turn.phase is Phase.RUNNING
        run.sink.requests[0].select("ok")
        snapshot = await run.end()
    assert (snapshot.ending, run.session.cancels) == (Ending.TIMED_OUT, 1)


@pytest.mark.asyncio
async def test_a_caller_that_is_cancelled_leaves_no_prompt_running() -> None:
    """R1: the agent is sent a cancel, and the turn is over."""
    async with running() as run:
        run.session.say("so far")
        run.scope.cancel()
        await run.done.wait()
    assert run.session.cancels == 1
    assert (run.turn.snapshot().ending, run.turn.snapshot().text) == (Ending.STOPPED, "so far")
