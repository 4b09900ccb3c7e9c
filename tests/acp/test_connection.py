"""A connection to real child processes: its start and its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from acp import connection as connection_module
from acp.connection import AgentConnection, ConnectionLimits, open_connection
from acp.engine import LaunchSpec, RunningAgent
from acp.errors import AgentExit, AgentExited, AgentSpawnError, ProtocolError, SpawnFailure
from acp.open_request import RequestEnd
from acp.process import AgentProcess
from acp.schema import text_block
from acp.session import AgentSession
from acp.shutdown import StopLimits, StopStage
from acp.snapshot import Ending
from acp.turn import Turn
from acp.turn_deadlines import TurnLimits
from tests.acp.children import agent, gone, lines_of, pid_of
from tests.acp.connections import (
    HELLO,
    QUICK,
    Sink,
    connected,
    heard,
    in_session,
    refusal,
    said,
)
from tests.acp.pipes import Input, Output
from tests.agents import alive

PATIENT = replace(QUICK, stop=StopLimits(eof=20.0, term=20.0, kill=5.0))

# --- the handshake ------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_the_agent_is_told_what_we_are_and_that_we_offer_nothing(tmp_path: Path) -> None:
    """T5; K1: but to show options that are on or off."""
    async with connected("greet(agentInfo={'name': 'a', 'version': '1'})", tmp_path) as connection:
        assert connection.agent.agent_info is not None
        assert connection.agent.agent_info.name == "a"
        assert connection.alive()
        assert connection.exit() is None
    [initialize] = heard(tmp_path)
    params = initialize["params"]
    assert (params["protocolVersion"], type(params["protocolVersion"])) == (1, int)
    assert params["clientInfo"]["name"] == "weft"
    nothing = {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False}
    assert params["clientCapabilities"] == {**nothing, "session": {"configOptions": {"boolean": {}}}}


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [0, 2, 99])
async def test_an_agent_of_another_protocol_version_is_refused(version: int, tmp_path: Path) -> None:
    """P7."""
    error = await refusal(f"answer(hear(), {{'protocolVersion': {version}}})", tmp_path)
    assert error.failure is SpawnFailure.PROTOCOL
    assert str(version) in str(error)


@pytest.mark.asyncio
@pytest.mark.parametrize("result", ["None", "{}", "[]", "{'protocolVersion': 'one'}"])
async def test_a_malformed_introduction_is_refused(result: str, tmp_path: Path) -> None:
    """P7."""
    assert (await refusal(f"answer(hear(), {result})", tmp_path)).failure is SpawnFailure.PROTOCOL


@pytest.mark.asyncio
async def test_an_agent_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    """P7, P9."""
    limits = ConnectionLimits(start=0.2, stop=QUICK.stop)
    error = await refusal("open('pids', 'w').write(f'{os.getpid()}\\n')", tmp_path, limits)
    assert error.failure is SpawnFailure.TIMEOUT
    assert error.transient
    if (tmp_path / "pids").exists():
        assert not alive(int((tmp_path / "pids").read_text()))


@pytest.mark.asyncio
async def test_an_agent_may_have_a_time_for_its_start_that_is_its_own(tmp_path: Path) -> None:
    """P7: what is told how to start is told how long to wait, too."""
    spec = replace(agent("import time; time.sleep(60)", tmp_path), start_timeout=0.2)
    with pytest.raises(AgentSpawnError) as caught:
        async with open_connection(spec, QUICK):
            pass
    assert caught.value.failure is SpawnFailure.TIMEOUT


@pytest.mark.asyncio
async def test_an_agent_that_ends_during_its_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    """P7, P10."""
    error = await refusal("sys.stderr.write('no licence'); sys.exit(7)", tmp_path)
    assert error.failure is SpawnFailure.EXITED
    assert error.exit is not None
    assert (error.exit.returncode, error.exit.stderr_tail) == (7, "no licence")


@pytest.mark.asyncio
async def test_an_agent_that_refuses_the_handshake_is_told_apart(tmp_path: Path) -> None:
    """P7."""
    assert (await refusal("refuse(hear(), -32022)", tmp_path)).failure is SpawnFailure.PROTOCOL
    assert (await refusal("refuse(hear(), -32000)", tmp_path)).failure is SpawnFailure.AUTH_REQUIRED


@pytest.mark.asyncio
async def test_an_agent_that_closes_its_output_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T9."""
    monkeypatch.setattr(connection_module, "_EXIT_GRACE", 0.05)
    error = await refusal("os.close(1)", tmp_path)
    assert error.failure is SpawnFailure.PROTOCOL
    assert "closed its output" in str(error)


@pytest.mark.asyncio
@pytest.mark.parametrize("end", ["closes its output", "is told to stop"])
async def test_an_agent_that_still_lives_but_ends_takes_no_more_prompts(end: str, tmp_path: Path) -> None:
    """O2, P5: the next prompt waits for a process that can answer it."""
    source = "greet()\nopen_session()\n" + ("os.close(1)\n" if end == "closes its output" else "") + "time.sleep(60)"
    async with connected(source, tmp_path) as connection:
        await connection.open_session(str(tmp_path), None)
        if end == "is told to stop":
            assert connection.usable()
            connection.request_stop()
        while connection.usable():  # noqa: ASYNC110  the end of a pipe is no event of ours
            await anyio.sleep(0.01)
        assert connection.alive()


@pytest.mark.asyncio
async def test_noise_before_the_handshake_does_no_harm(tmp_path: Path) -> None:
    """T9."""
    source = 'os.write(1, b\'Welcome!\\n5\\n\\xff\\n[]\\n{"id":1,"result":5}\\n\')\ngreet()'
    async with connected(source, tmp_path) as connection:
        assert connection.agent.protocol_version == 1


# --- the end ------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_what_a_dying_agent_said_is_kept_and_its_end_told(tmp_path: Path) -> None:
    """T1."""
    source = "hear('session/prompt')\nsay(permission(1), *[text('x')] * 500)\nsys.stderr.write('oops')\nsys.exit(9)"
    async with in_session(source, tmp_path) as (connection, session, turn, sink):
        pending = session.begin_turn(turn, sink, HELLO)
        ended = await connection.wait_exited()
        assert (ended.returncode, ended.stderr_tail) == (9, "oops")
        assert (said(turn), turn.snapshot().ending) == ("x" * 500, Ending.AGENT_DIED)
        assert sink.ends == [RequestEnd.AGENT_DIED]
        assert not connection.alive()
        with pytest.raises(AgentExited):
            await pending.wait()
        with pytest.raises(AgentExited):
            await connection.open_session(str(tmp_path), None)


class DeadProcess:
    """A process that is gone, with its last words still in the pipe."""

    pid = 1

    def __init__(self) -> None:
        self.stdout, self.stdin = Output(), Input()

    def exit(self) -> AgentExit:
        return AgentExit(3)

    async def wait(self) -> AgentExit:
        return self.exit()

    async def drain_stderr(self) -> None:
        await anyio.sleep_forever()


@pytest.mark.asyncio
async def test_last_words_are_handed_on_before_the_end_is_told() -> None:
    """T1: what the agent started may hold its pipes for ever, so there is no end of them to wait for."""
    process = DeadProcess()
    connection = AgentConnection(process, ConnectionLimits())  # type: ignore[arg-type]
    pending = connection._peer.start_request("m", {})
    process.stdout.write({"id": pending.id, "result": "last words"})
    with anyio.fail_after(30):
        async with process.stdout, process.stdin:
            await connection._run()
            assert await pending.wait() == "last words"
            assert await connection.wait_exited() == AgentExit(3)


@pytest.mark.asyncio
async def test_an_exit_is_noticed_while_a_process_of_the_agents_holds_its_output(tmp_path: Path) -> None:
    """T1, P9."""
    source = "import subprocess\nchild = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
    source += "open('pids', 'w').write(f'{child.pid}\\n')\nhear('session/prompt')\nsys.exit(3)"
    async with in_session(source, tmp_path) as (connection, session, turn, sink):
        session.begin_turn(turn, sink, HELLO)
        await gone(pid_of(connection))
        with anyio.fail_after(30):
            ended = await connection.wait_exited()
        assert ended.returncode == 3
        [shell] = await lines_of(tmp_path / "pids", 1)
        assert alive(int(shell))
    assert not alive(int(shell))


@pytest.mark.asyncio
async def test_leaving_ends_the_agent_and_wakes_who_waits(tmp_path: Path) -> None:
    """P9, P10."""
    errors: list[Exception] = []

    async def wait(session: AgentSession) -> None:
        try:
            await session.begin_turn(Turn(TurnLimits(), 0.0), Sink(), HELLO).wait()
        except AgentExited as exc:
            errors.append(exc)

    async with anyio.create_task_group() as tasks, in_session("", tmp_path, PATIENT) as (connection, session, _, _):
        tasks.start_soon(wait, session)
        await lines_of(tmp_path / "heard", 3)
    assert len(errors) == 1
    assert connection.stop_report is not None
    assert connection.stop_report.stage is StopStage.EOF
    assert (await connection.wait_exited()).returncode == 0
    assert not alive(pid_of(connection))


@pytest.mark.asyncio
async def test_a_requested_stop_ends_an_agent_that_hangs(tmp_path: Path) -> None:
    """P6, T6."""
    limits = ConnectionLimits(stop=StopLimits(eof=0.05, term=0.05, kill=1.0))
    source = "import signal\nsignal.signal(15, signal.SIG_IGN)\ngreet()\ntime.sleep(60)"
    async with connected(source, tmp_path, limits) as connection:
        connection.request_stop()
        connection.request_stop()
        assert (await connection.wait_exited()).returncode == -9


@pytest.mark.asyncio
async def test_an_agent_that_reads_nothing_is_given_up(tmp_path: Path) -> None:
    """T6."""
    limits = ConnectionLimits(write=0.05, stop=StopLimits(eof=0.05, term=0.5, kill=1.0))
    async with connected("greet()\nopen_session()\ntime.sleep(60)", tmp_path, limits) as connection:
        session = (await connection.open_session(str(tmp_path), None)).session
        turn = Turn(TurnLimits(), anyio.current_time())
        pending = session.begin_turn(turn, Sink(), [text_block("x" * 1_000_000)])
        with pytest.raises(ProtocolError, match="read nothing"):
            await pending.wait()
        await connection.wait_exited()


@pytest.mark.asyncio
async def test_an_error_in_the_body_comes_out_as_it_is(tmp_path: Path) -> None:
    """P10."""
    cause = KeyError("cause")
    with pytest.raises(ValueError, match="mine") as caught:
        async with connected("greet()", tmp_path) as connection:
            raise ValueError("mine") from cause
    assert caught.value.__cause__ is cause
    assert not alive(pid_of(connection))


@pytest.mark.asyncio
async def test_a_cancelled_body_ends_the_agent(tmp_path: Path) -> None:
    """P9."""
    with anyio.CancelScope() as scope:
        async with connected("greet()", tmp_path) as connection:
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert not alive(pid_of(connection))


@pytest.mark.asyncio
async def test_an_error_in_a_handler_is_the_end_of_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """O4, T9."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(AgentSession, "on_update", broken)
    held: list[Any] = []

    async def prompt() -> None:
        async with in_session("hear('session/prompt')\nsay(text('x'))", tmp_path) as (connection, session, turn, sink):
            held.extend((connection, session.begin_turn(turn, sink, HELLO)))
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await prompt()
    connection, pending = held
    assert caught.group_contains(ZeroDivisionError)
    assert not alive(pid_of(connection))
    with pytest.raises(ProtocolError):
        await pending.wait()


@pytest.mark.asyncio
async def test_an_engine_starts_the_agent_in_place_of_this_machine(tmp_path: Path) -> None:
    """P9: the connection speaks with whatever the engine returns, and ends it."""
    started: list[LaunchSpec] = []

    class Elsewhere:
        name = "elsewhere"

        async def start(self, spec: LaunchSpec) -> RunningAgent:
            started.append(spec)
            return await AgentProcess.start(replace(spec, engine=None))

    spec = replace(agent("greet(); hear()", tmp_path), engine=Elsewhere(), labels={"thread": "7"})
    async with open_connection(spec) as connection:
        assert connection.alive()
    assert started == [spec]
    assert not connection.alive()
