"""What every engine has to show, at the engine's level: a `Bed` is an engine under test, a case takes one.

An engine's tests make the bed and run `QUICK` in the suite and `LONG` in the soak, or name the cases that make sense::

    @pytest.mark.parametrize("case", [*matrix.QUICK, *in_soak(matrix.LONG)], ids=matrix.name_of)
    @pytest.mark.asyncio
    async def test_an_agent_there_is_like_one_here(case: matrix.Case, bed: MyBed) -> None:
        await matrix.run(case, bed)

Nothing in here needs files that node and tests share: scenarios travel in the agent's arguments.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, cast

import anyio
import pytest

from acp.connection import AgentConnection, ConnectionLimits, open_connection
from acp.elicitation import ElicitationRequest
from acp.engine import LaunchSpec, RunningAgent
from acp.errors import AgentExit, AgentSpawnError, SpawnFailure
from acp.permission_request import PermissionRequest
from acp.schema import text_block
from acp.session import AgentSession
from acp.shutdown import StopLimits
from acp.snapshot import Ending, TurnSnapshot
from acp.turn import Turn
from acp.turn_deadlines import TurnLimits
from acp.turn_runner import run_turn
from pool.engines.model import PoolEngine, RemoteAgent
from tests.agents import Step
from tests.agents.scenario import allow_options

LIMIT = 120.0
"""Seconds in which a case has to be over; a busy machine needs a small part of that."""

LOST = 90.0
"""Seconds after which a lost connection has to be told."""

MIB = 1024 * 1024
MOST_BETWEEN = 8 * MIB
"""Bytes that may lie between an agent and who reads it: buffers of pipes, sockets and windows included."""

LIMITS = ConnectionLimits(start=60.0, session=60.0, stop=StopLimits(eof=2.0, term=1.0, kill=10.0))


@dataclass(frozen=True, slots=True)
class Recipe:
    """How another process makes the same engine: ``module:Class`` of engine and settings, and the settings' values."""

    engine: str
    settings: str
    values: Mapping[str, Any]


class Bed(Protocol):
    """An engine under test, entered, and what tests do to its machines.

    Attributes:
        engine: the engine; a case may start as many agents as `twenty_at_once` does.
        player: plays the scenario that is appended as JSON, on the node: ``python3 -I -S .../tests/agents/player.py``.
        python: runs the program that is appended as text, on the node.
        directory: where agents work, on the node.
        state: the identity that agents are labelled with; a new one for each test.
        recipe: see there.
    """

    engine: PoolEngine
    player: Sequence[str]
    python: Sequence[str]
    directory: str
    state: str
    recipe: Recipe

    async def running(self) -> Sequence[str]:
        """Name what of this bed's agents there is on the nodes (processes, containers, pods), asked past the engine."""

    async def cut(self, agent: RemoteAgent) -> None:
        """Break the way to an agent's node, or the node: nothing of it comes back until `mend`."""

    async def mend(self) -> None:
        """Undo all cuts."""


Case = Callable[[Any], Awaitable[None]]


def name_of(case: Case) -> str:
    """Return how a case is called in the names of tests."""
    return getattr(case, "__name__", str(case))


async def run(case: Case, bed: Bed) -> None:
    """Run a case, and see that nothing of it is left."""
    with anyio.fail_after(2 * LIMIT):
        await case(bed)
        await until_gone(bed)


async def until_gone(bed: Bed, seconds: float = LIMIT) -> None:
    """Wait until none of the bed's agents is there."""
    left: Sequence[str] = ()
    with anyio.move_on_after(seconds) as limit:
        while left := await bed.running():  # noqa: ASYNC110  nodes send no events of their processes
            await anyio.sleep(0.1)
    assert not limit.cancelled_caught, f"left: {left}"


# --- starting and talking ----------------------------------------------------------------------------------------


def launch(bed: Bed, argv: Sequence[str], thread: int = 1, **env: str) -> LaunchSpec:
    """Return how to start a command on the bed's engine."""
    labels = {"state": bed.state, "agent": "scripted", "thread": str(thread)}
    # The marker of the bot's own machine must not be the one there.
    return LaunchSpec(
        tuple(argv), bed.directory, {"WEFT_STATE": "local", **env}, engine=bed.engine, labels=labels, start_timeout=60.0
    )


def scripted(bed: Bed, *turns: Sequence[Step], thread: int = 1, **keys: Any) -> LaunchSpec:
    """Return how to start an agent that plays a scenario; without turns it echoes each prompt."""
    scenario: dict[str, Any] = {**({"turns": [list(steps) for steps in turns]} if turns else {}), **keys}
    return launch(bed, (*bed.player, json.dumps(scenario)), thread)


class Sink:
    """Allows what it is asked, and wakes who waits for a turn to move on."""

    def __init__(self) -> None:
        self.asked = 0
        self._changes = anyio.Event()

    def changed(self) -> None:
        self._changes.set()
        self._changes = anyio.Event()

    def permission(self, request: PermissionRequest) -> None:
        self.asked += 1
        assert request.select("yes")

    def question(self, request: ElicitationRequest) -> None:
        request.cancel()

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():
            await self._changes.wait()


@dataclass
class Talk:
    """A connection with one session."""

    connection: AgentConnection
    session: AgentSession
    sink: Sink = field(default_factory=Sink)
    turn: Turn | None = None

    @property
    def agent(self) -> RemoteAgent:
        return cast("RemoteAgent", self.connection.process)

    async def ask(self, text: str = "hello") -> TurnSnapshot:
        """Prompt, and see the turn to its end."""
        self.turn = Turn(TurnLimits(), anyio.current_time())
        return await run_turn(self.connection, self.session, self.turn, [text_block(text)], self.sink)

    async def until_said(self, words: str) -> None:
        """Wait until a turn that runs has these words in it."""
        while self.turn is None:  # noqa: ASYNC110  its task begins it next
            await anyio.sleep(0.01)
        turn = self.turn
        await self.sink.until(lambda: words in turn.snapshot().text)


@asynccontextmanager
async def talking(spec: LaunchSpec, previous: str | None = None) -> AsyncIterator[Talk]:
    """Start an agent and open a session."""
    async with open_connection(spec, LIMITS) as connection:
        opened = await connection.open_session(spec.directory, previous)
        yield Talk(connection, opened.session)


@asynccontextmanager
async def raw(bed: Bed, program: str, *arguments: str, **env: str) -> AsyncIterator[RemoteAgent]:
    """Run a Python program as an agent without the protocol; its stderr is read meanwhile."""
    agent = cast("RemoteAgent", await bed.engine.start(launch(bed, (*bed.python, program, *arguments), 1, **env)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agent.drain_stderr)
        try:
            yield agent
        finally:
            await agent.stop(LIMITS.stop)
            tasks.cancel_scope.cancel()


async def read_line(agent: RunningAgent, buffer: bytearray) -> bytes:
    """Return the next line of its stdout; what follows stays in the buffer."""
    while b"\n" not in buffer:
        buffer += await agent.stdout.receive()
    line, _, rest = bytes(buffer).partition(b"\n")
    buffer[:] = rest
    return line


async def words_on_stderr(agent: RunningAgent, words: str) -> str:
    """Wait until its stderr has these words; return all of it."""
    while words not in (said := agent.stderr_since(0)):  # noqa: ASYNC110  what is said is only kept
        await anyio.sleep(0.02)
    return said


# --- a turn ------------------------------------------------------------------------------------------------------


async def basic_turn(bed: Bed) -> None:
    """P1, P2: two turns, and the end in order."""
    async with talking(scripted(bed)) as talk:
        assert (await talk.ask("hello there")).text == "hello there"
        assert (await talk.ask("and again")).ending is Ending.ANSWERED
        assert talk.agent.pid is None
        assert talk.agent.node in talk.agent.place
        assert any(node.running == 1 for node in await bed.engine.nodes())
        assert await bed.running()
    report = talk.connection.stop_report
    assert report is not None
    assert not report.leaked
    assert await bed.running() == []
    assert all(node.running == 0 for node in await bed.engine.nodes())


async def permission(bed: Bed) -> None:
    """Q: a request for permission gets there and back."""
    ask = {"tool": {"toolCallId": "t", "title": "ls"}, "options": allow_options(("yes", "allow_once"))}
    async with talking(scripted(bed, [{"permission": ask, "then": {"yes": [{"text": "done"}]}}])) as talk:
        assert (await talk.ask()).text == "done"
        assert talk.sink.asked == 1


async def stop(bed: Bed) -> None:
    """A turn that is stopped ends, and the session takes the next one."""
    async with talking(scripted(bed, [{"text": "working"}, {"hang": True}], [{"text": "next"}])) as talk:
        async with anyio.create_task_group() as tasks:
            ended: list[TurnSnapshot] = []

            async def first() -> None:
                ended.append(await talk.ask())

            tasks.start_soon(first)
            await talk.until_said("working")
            talk.session.cancel("somebody")
        assert ended[0].ending is Ending.STOPPED
        assert (await talk.ask()).text == "next"


# --- much at once ------------------------------------------------------------------------------------------------


async def many_small_chunks(bed: Bed) -> None:
    """A megabyte in chunks of 100 characters comes whole."""
    async with talking(scripted(bed, [{"flood": 100, "times": 10_000, "text": "0123456789"}])) as talk:
        assert (await talk.ask()).text == "0123456789" * 100_000


async def one_long_line(bed: Bed) -> None:
    """A megabyte in one line comes whole, and one is taken."""
    async with talking(scripted(bed, [{"flood": MIB}], [{"echo": True}])) as talk:
        assert (await talk.ask()).text_length == MIB
        assert (await talk.ask("y" * MIB)).text == "y" * MIB


_FLOOD = """
import os, select, sys
total, size, told = int(sys.argv[1]), 0, False
os.set_blocking(1, False)
piece = bytes(range(256)) * 256
while size < total:
    if not select.select([], [1], [], 1.0)[1] and not told:
        told = True
        open("full", "w").write("%d\\n" % size)
    try:
        size += os.write(1, piece[size % 256 :][: total - size])
    except BlockingIOError:
        pass
if not told:
    open("full", "w").write("never\\n")
"""


async def slow_reader(bed: Bed) -> None:
    """An agent that nobody reads waits: little lies in between, and nothing is lost of what it says later."""
    total = 4 * MOST_BETWEEN
    async with raw(bed, _FLOOD, str(total)) as agent:
        # Not by its stderr, which waits behind its stdout where one line has both.
        said = b""
        while not said.endswith(b"\n"):
            said = (await agent.run(("sh", "-c", "cat full || sleep 0.2"), limit=100, seconds=LIMIT)).stdout
        assert int(said) < MOST_BETWEEN
        got, digest = 0, hashlib.sha256()
        while got < total:
            piece = await agent.stdout.receive()
            got += len(piece)
            digest.update(piece)
        assert digest.digest() == hashlib.sha256(bytes(range(256)) * (total // 256)).digest()
        assert (await agent.wait()).returncode == 0


_DEAF = """
import hashlib, os, sys, time
os.write(2, b"deaf\\n")
os.read(0, 1)
time.sleep(1.0)
os.write(1, b"woke\\n")
rest = sys.stdin.buffer.read(int(sys.argv[1]) - 1)
os.write(1, hashlib.sha256(b"x" + rest).hexdigest().encode() + b"\\n")
"""


async def deaf_agent(bed: Bed) -> None:
    """Writing to an agent that does not read waits, and nothing is lost."""
    total, sent, buffer = 4 * MOST_BETWEEN, 0, bytearray()
    async with raw(bed, _DEAF, str(total)) as agent, anyio.create_task_group() as tasks:

        async def feed() -> None:
            nonlocal sent
            while sent < total:
                await agent.stdin.send(b"x" * 65536)
                sent += 65536

        tasks.start_soon(feed)
        assert await read_line(agent, buffer) == b"woke"
        assert sent < MOST_BETWEEN
        assert await read_line(agent, buffer) == hashlib.sha256(b"x" * total).hexdigest().encode()


# --- ends --------------------------------------------------------------------------------------------------------


async def exit_status(bed: Bed) -> None:
    """What an agent says on stderr is apart from its stdout, and its exit status is told."""
    async with talking(scripted(bed, [{"stderr": "so it ends\n"}, {"exit": 3}])) as talk:
        ended = (await talk.ask()).exit
        assert ended is not None
        assert (ended.returncode, ended.unreachable) == (3, False)
        assert "so it ends" in ended.stderr_tail


async def killed_agent(bed: Bed) -> None:
    """An agent that a signal ends is told so, with what it said before; it is not taken for a lost connection."""
    async with talking(scripted(bed, [{"text": "last words"}, {"kill": int(signal.SIGKILL)}])) as talk:
        shown = await talk.ask()
        assert (shown.ending, shown.text) == (Ending.AGENT_DIED, "last words")
        assert shown.exit is not None
        assert (shown.exit.returncode, shown.exit.unreachable) == (-signal.SIGKILL, False)


async def stubborn_tree(bed: Bed) -> None:
    """P9: what ignores the end of its input and TERM is killed, with shells that it started in their own sessions."""
    start = {"ignore_eof": True, "ignore_term": True}
    shell = {"spawn_shell": "trap '' TERM; sleep 1000 & sleep 1000", "holds_stdout": True}
    async with talking(scripted(bed, [shell, {"text": "spawned"}], start=start)) as talk:
        assert (await talk.ask()).text == "spawned"
    assert await bed.running() == []


async def failed_starts(bed: Bed) -> None:
    """A command that is not there is told as that, and not as a fault of the engine."""
    with pytest.raises(AgentSpawnError) as caught:
        async with talking(launch(bed, ("/nowhere/agent",))):
            raise AssertionError("it should not have started")
    assert caught.value.failure is SpawnFailure.NOT_FOUND
    assert not caught.value.transient


async def cancelled_start(bed: Bed) -> None:
    """A start that is cancelled at any moment leaves nothing running."""
    for delay in (0.0, 0.05, 0.15, 0.3):
        with anyio.move_on_after(delay):
            async with talking(scripted(bed)):
                break


# --- beside the agent --------------------------------------------------------------------------------------------


async def beside(bed: Bed) -> None:
    """Commands run beside an agent: input, output, exit code, its files; bounded in time and size."""
    async with talking(scripted(bed)) as talk:
        blob = bytes(range(256)) * 1000
        copied = await talk.agent.run(("cat",), blob, limit=MIB, seconds=LIMIT)
        assert (copied.returncode, copied.stdout, copied.stderr) == (0, blob, b"")
        failed = await talk.agent.run(("sh", "-c", "pwd; echo no >&2; exit 7"), limit=MIB, seconds=LIMIT)
        assert (failed.returncode, failed.stderr) == (7, b"no\n")
        assert failed.stdout.decode().strip() == bed.directory
        assert (await talk.agent.run(("sleep", "1000"), limit=MIB, seconds=0.5)).returncode is None
        much = await talk.agent.run(("sh", "-c", "while :; do echo much; done"), limit=1000, seconds=LIMIT)
        assert (much.returncode, len(much.stdout)) == (None, 1000)
        assert (await talk.ask("still here")).text == "still here"


_ENVIRONMENT = """
import json, os
print(json.dumps(dict(os.environ)), flush=True)
"""
HOSTILE = {"NEWLINES": "a\nb\n", "QUOTES": "'\"`\\", "SHELL_WORDS": "$(exit 9) ${HOME} ; & | *", "UNICODE": "ü€😀"}


async def environment(bed: Bed) -> None:
    """R5: values get there as they are, and no mark of this machine does."""
    async with raw(bed, _ENVIRONMENT, **HOSTILE, EMPTY="") as agent:
        env = json.loads(await read_line(agent, bytearray()))
        assert {name: env[name] for name in (*HOSTILE, "EMPTY")} == {**HOSTILE, "EMPTY": ""}
        assert "WEFT_STATE" not in env


# --- faults ------------------------------------------------------------------------------------------------------


async def killed_bot(bed: Bed) -> None:
    """P9, R: what a bot that was killed leaves is gone after the next sweep, and only that."""
    spec = scripted(bed, [{"spawn_shell": "sleep 1000"}, {"text": "spawned"}], start={"ignore_eof": True})
    what = {
        "recipe": (bed.recipe.engine, bed.recipe.settings, dict(bed.recipe.values)),
        "spec": {"argv": spec.argv, "cwd": spec.cwd, "env": dict(spec.env), "labels": dict(spec.labels)},
    }
    command = [sys.executable, "-P", "-m", "tests.engines.holder", json.dumps(what)]
    with TemporaryDirectory() as scratch:  # it can't clear up itself
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": scratch}
        async with await anyio.open_process(command, stderr=None, env=environment) as bot:
            assert bot.stdout
            try:
                said = b""  # and what it logs
                while b"running\n" not in said:
                    said += await bot.stdout.receive()
                assert await bed.running()
            finally:
                bot.kill()
                await bot.wait()
    other = await bed.engine.sweep(uuid.uuid4().hex)  # of another bot: nothing of ours is touched
    assert (other.ended, other.left) == (0, ())
    swept = await bed.engine.sweep(bed.state)
    assert swept.left == ()
    assert await bed.running() == []
    assert (await bed.engine.sweep(bed.state)).ended == 0


async def lost_connection(bed: Bed) -> None:
    """A lost connection is told as that, with a reason; the next start goes elsewhere; nothing is left in the end."""
    try:
        lost = await _lost(bed)
        if len(await bed.engine.nodes()) > 1:
            async with talking(scripted(bed)) as other:
                assert other.agent.node != lost
                assert (await other.ask("elsewhere")).text == "elsewhere"
    finally:
        with anyio.CancelScope(shield=True):
            await bed.mend()


async def _lost(bed: Bed) -> str:
    """Lose an agent in the middle of a turn; return its node."""
    async with talking(scripted(bed, [{"text": "working"}, {"hang": True, "ignore_cancel": True}])) as talk:
        ended: list[AgentExit | None] = []

        async def first() -> None:
            ended.append((await talk.ask()).exit)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await talk.until_said("working")
            await bed.cut(talk.agent)
            with anyio.fail_after(LOST):
                lost = await talk.connection.wait_exited()
        assert lost.unreachable
        assert lost.returncode is None
        assert lost.reason
        assert ended == [lost]
    return talk.agent.node


async def twenty_at_once(bed: Bed) -> None:
    """Twenty starts at once succeed."""
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(partial(_one_of_many, bed, number))


async def _one_of_many(bed: Bed, number: int) -> None:
    async with talking(scripted(bed, thread=number + 1)) as talk:
        assert (await talk.ask(f"number {number}")).text == f"number {number}"


QUICK: tuple[Case, ...] = (basic_turn, killed_agent, killed_bot)
"""What the suite shows of each engine, with a loss of the connection in the engine's own way."""

LONG: tuple[Case, ...] = (
    *(permission, stop, many_small_chunks, one_long_line, slow_reader, deaf_agent),
    *(exit_status, stubborn_tree, failed_starts, cancelled_start, beside, environment),
    *(lost_connection, twenty_at_once),
)
"""What the soak shows besides."""
