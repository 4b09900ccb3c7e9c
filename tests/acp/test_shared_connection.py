"""Several sessions in one process: opened at once, ended one by one, none in the way of another."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from acp.connection import ConnectionLimits
from acp.errors import ProtocolError, RequestTimeout
from acp.turn import Phase
from tests.acp.children import lines_of
from tests.acp.connections import QUICK, Sink, begun, connected, heard, methods, said

CLOSES = "greet(agentCapabilities={'sessionCapabilities': {'close': {}, 'resume': {}}})"
TWO = f"{CLOSES}\nopen_session('s1')\nopen_session('s2')"
IMPATIENT = ConnectionLimits(start=5, session=0.1, close=0.1, stop=QUICK.stop)


@pytest.mark.asyncio
async def test_sessions_that_are_opened_at_once_get_their_own_answers(tmp_path: Path) -> None:
    """P1, T5: by the request's id, also when the answers come in another order."""
    source = f"""
        {CLOSES}
        requests = [hear("session/new") for number in range(3)]
        for request in reversed(requests):
            answer(request, {{"sessionId": request["params"]["cwd"]}})
            say(text("late", request["params"]["cwd"]))
    """
    found: dict[str, str] = {}
    async with connected(source, tmp_path) as connection:

        async def open_one(cwd: str) -> None:
            found[cwd] = (await connection.open_session(cwd, None)).session.id

        async with anyio.create_task_group() as tasks:
            for name in ("/a", "/b", "/c"):
                tasks.start_soon(open_one, name)
    assert found == {"/a": "/a", "/b": "/b", "/c": "/c"}


@pytest.mark.asyncio
async def test_a_session_id_that_is_in_use_is_given_to_nobody_else(tmp_path: Path) -> None:
    """O4: neither when a new session gets it, nor when it is to be restored."""
    async with connected(f"{CLOSES}\nopen_session('s1')\nopen_session('s1')", tmp_path) as connection:
        first = (await connection.open_session("/a", None)).session
        with pytest.raises(ProtocolError, match="no session id of its own"):
            await connection.open_session("/b", None)
        with pytest.raises(ProtocolError, match="open already"):
            await connection.open_session("/b", "s1")
        assert connection._sessions.get("s1") is first


@pytest.mark.asyncio
async def test_an_ended_session_is_closed_and_its_neighbours_turn_goes_on(tmp_path: Path) -> None:
    """P3, O4"""
    source = f"""
        {CLOSES}
        open_session("s1")
        open_session("s2")
        prompt = hear("session/prompt")
        answer(hear("session/close"), {{}})
        say(text("late", "s1"), text("on", "s2"))
        answer(prompt, {{"stopReason": "end_turn"}})
    """
    async with connected(source, tmp_path) as connection:
        first = (await connection.open_session("/a", None)).session
        second = (await connection.open_session("/b", None)).session
        sink, late = Sink(), []  # type: ignore[var-annotated]
        first.on_late = late.append
        turn = begun(second, sink)
        await connection.end_session(first)
        await connection.end_session(first)
        while turn.phase is not Phase.DRAINING:
            await sink.changes.wait()
        assert (said(turn), late) == ("on", [])
    assert methods(tmp_path)[1:] == ["session/prompt", "session/close"]


@pytest.mark.asyncio
async def test_ending_a_session_cancels_its_prompt_and_waits_for_the_answer(tmp_path: Path) -> None:
    """T6, O3: what is said until then is the cancelled turn's."""
    source = f"""
        {CLOSES}
        open_session("s1")
        open_session("s2")
        prompt = hear("session/prompt")
        hear("session/cancel")
        say(text("so far", "s1"))
        answer(prompt, {{"stopReason": "cancelled"}})
        answer(hear("session/close"), {{}})
    """
    async with connected(source, tmp_path) as connection:
        session = (await connection.open_session("/a", None)).session
        await connection.open_session("/b", None)
        turn = begun(session)
        await connection.end_session(session)
        assert (said(turn), turn.snapshot().stop_reason) == ("so far", "cancelled")
    assert methods(tmp_path)[1:] == ["session/prompt", "session/cancel", "session/close"]


@pytest.mark.asyncio
async def test_a_session_is_just_left_where_the_agent_can_not_close(tmp_path: Path) -> None:
    """P3: and one that it refuses to close is left, too."""
    async with connected("greet()\nopen_session()", tmp_path) as connection:
        session = (await connection.open_session("/a", None)).session
        await connection.end_session(session)
        assert connection._sessions.get("s1") is None
    assert methods(tmp_path) == []


@pytest.mark.asyncio
async def test_a_refusal_to_close_is_an_end_as_well(tmp_path: Path) -> None:
    """P3: the agent may have let the session go by itself."""
    async with connected(f"{TWO}\nrefuse(hear('session/close'), -32002)", tmp_path) as connection:
        session = (await connection.open_session("/a", None)).session
        await connection.open_session("/b", None)
        await connection.end_session(session)
        assert connection._sessions.get("s1") is None


@pytest.mark.parametrize("heard_of", ["session/prompt", "session/close"])
@pytest.mark.asyncio
async def test_an_agent_that_does_not_let_a_session_go_in_time_is_found_out(tmp_path: Path, heard_of: str) -> None:
    """T6: every wait for it has a limit."""
    async with connected(TWO, tmp_path, IMPATIENT) as connection:
        session = (await connection.open_session("/a", None)).session
        await connection.open_session("/b", None)
        if heard_of == "session/prompt":
            begun(session)
        with pytest.raises(RequestTimeout, match=heard_of):
            await connection.end_session(session)


@pytest.mark.asyncio
async def test_a_new_session_that_comes_too_late_is_closed_at_once(tmp_path: Path) -> None:
    """P8: nobody would ever let it go, and the process goes on for its neighbours."""
    source = f"{CLOSES}\nn = hear('session/new')\nhear('_go')\nanswer(n, {{'sessionId': 's1'}})"
    async with connected(source, tmp_path, IMPATIENT) as connection:
        with pytest.raises(RequestTimeout):
            await connection.open_session("/a", None)
        connection._peer.notify("_go", {})
        await lines_of(tmp_path / "heard", 4)
        assert connection._sessions.get("s1") is None
    assert heard(tmp_path)[3]["params"] == {"sessionId": "s1"}
