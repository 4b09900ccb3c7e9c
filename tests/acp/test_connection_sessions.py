"""The sessions of a connection: copying, closing, deleting them, and several in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from acp.connection import AgentConnection, ConnectionLimits
from acp.errors import ForkFailed, ProtocolError, RequestTimeout
from acp.jsonrpc import Notification
from acp.mcp_servers import McpServer
from acp.schema import SessionUpdate
from acp.session import AgentSession
from acp.snapshot import Phase
from tests.acp.children import lines_of
from tests.acp.connections import CANCELLED, QUICK, Sink, begun, connected, heard, methods, said

FORKS = "greet(agentCapabilities={'sessionCapabilities': {'fork': {}, 'close': {}}})\nopen_session()"
KEEPS = "greet(agentCapabilities={'sessionCapabilities': {'fork': {}}})\nopen_session()"
TOOLS = (McpServer("weft", "/bin/tools", ("mcp",), {"TOKEN": "t", "SOCKET": "/s"}), McpServer("other", "/bin/o"))
FORK = "answer(hear('session/fork'), {'sessionId': 's2'})"
IMPATIENT = ConnectionLimits(start=30, session=0.1, stop=QUICK.stop)


async def forked(connection: AgentConnection, cwd: Path) -> tuple[AgentSession, AgentSession]:
    session = (await connection.open_session(str(cwd), None)).session
    return session, await connection.fork_session(session.id, str(cwd))


@pytest.mark.asyncio
async def test_a_copy_is_asked_for_by_the_id_of_its_original_and_has_one_of_its_own(tmp_path: Path) -> None:
    """Q9"""
    async with connected(f"{FORKS}\n{FORK}", tmp_path) as connection:
        session, copy = await forked(connection, tmp_path)
        assert (connection.can_fork, session.id, copy.id) == (True, "s1", "s2")
    assert heard(tmp_path)[2]["params"] == {"sessionId": "s1", "cwd": str(tmp_path), "mcpServers": []}


@pytest.mark.asyncio
async def test_a_session_is_forked_while_it_is_prompted_and_both_answer_side_by_side(tmp_path: Path) -> None:
    """Q9, O4: each turn gets its own text, response and late output."""
    source = f"""
        {KEEPS.splitlines()[0]}
        open_session()
        one = hear("session/prompt")
        {FORK}
        two = hear("session/prompt")
        for number in range(3):
            say(text(f"a{{number}}", "s1"), text(f"b{{number}}", "s2"))
        answer(two, {{"stopReason": "refusal"}})
        say(text("a3", "s1"), text("b3", "s2"))
        answer(one, {{"stopReason": "end_turn"}})
        say(text("late", "s2"))
    """
    late: list[SessionUpdate] = []
    async with connected(source, tmp_path) as connection:
        session = (await connection.open_session(str(tmp_path), None)).session
        session.on_late = late.append
        sink = Sink()
        first = begun(session)
        copy = await connection.fork_session(session.id, str(tmp_path))
        second = begun(copy, sink)
        while not said(second).endswith("late"):
            await sink.changes.wait()
        assert (said(first), said(second)) == ("a0a1a2a3", "b0b1b2b3late")
        assert [turn.snapshot().stop_reason for turn in (first, second)] == ["end_turn", "refusal"]
    assert late == []


@pytest.mark.asyncio
async def test_permission_requests_of_a_copy_are_its_own(tmp_path: Path) -> None:
    """Q9, D6: cancelling the one turn answers its requests and no other's."""
    source = f"""
        {KEEPS.splitlines()[0]}
        open_session()
        hear("session/prompt")
        {FORK}
        hear("session/prompt")
        say(permission(1, "s1"), permission(2, "s2"))
        hear("session/cancel")
    """
    async with connected(source, tmp_path) as connection:
        session, sinks = (await connection.open_session(str(tmp_path), None)).session, (Sink(), Sink())
        begun(session, sinks[0])
        copy = await connection.fork_session(session.id, str(tmp_path))
        begun(copy, sinks[1])
        requests = [await sink.until_asked() for sink in sinks]
        copy.cancel()
        assert [request.answered for request in requests] == [False, True]
        await lines_of(tmp_path / "heard", 7)
    told = heard(tmp_path)[5:]
    assert told == [
        {"jsonrpc": "2.0", "id": 2, "result": CANCELLED},
        {"jsonrpc": "2.0", "method": "session/cancel", "params": {"sessionId": "s2"}},
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_history_that_is_replayed_into_the_copy_is_not_shown(tmp_path: Path, when: str) -> None:
    """Q9, O3: one real agent replays as if the copy had been loaded."""
    steps = ["say(text('history', 's2'))", "answer(f, {'sessionId': 's2'})"]
    order = "\n".join(steps if when == "before" else steps[::-1])
    source = f"{KEEPS}\nf = hear('session/fork')\n{order}\np = hear('session/prompt')\nsay(text('now', 's2'))"
    async with connected(f"{source}\nanswer(p, {{'stopReason': 'end_turn'}})", tmp_path) as connection:
        _, copy = await forked(connection, tmp_path)
        late: list[SessionUpdate] = []
        copy.on_late = late.append
        sink = Sink()
        turn = begun(copy, sink)
        while turn.phase is not Phase.DRAINING:
            await sink.changes.wait()
        assert (said(turn), late) == ("now", [])


@pytest.mark.asyncio
async def test_an_agent_that_does_not_announce_it_is_not_asked_to_fork(tmp_path: Path) -> None:
    """Q9: a clear answer, and the session goes on."""
    async with connected("greet()\nopen_session()", tmp_path) as connection:
        with pytest.raises(ForkFailed, match="can't fork"):
            await forked(connection, tmp_path)
        assert not connection.can_fork
    assert methods(tmp_path) == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "reply",
    [
        "refuse(f, -32601)",
        "refuse(f, -32000, 'log in')",
        "answer(f, {})",
        "answer(f, None)",
        "answer(f, {'sessionId': ''})",
        "answer(f, {'sessionId': 's1'})",
        "answer(f, {'sessionId': 7})",
        "sys.exit(3)",
    ],
)
async def test_a_fork_that_comes_to_nothing_is_one_kind_of_failure(tmp_path: Path, reply: str) -> None:
    """Q9: refused, malformed, the original's own id, or the end of the process."""
    async with connected(f"{KEEPS}\nf = hear('session/fork')\n{reply}", tmp_path) as connection:
        with pytest.raises(ForkFailed):
            await forked(connection, tmp_path)


@pytest.mark.asyncio
async def test_an_answer_with_the_id_of_the_original_does_not_take_its_place(tmp_path: Path) -> None:
    """Q9, O4: the original keeps its updates."""
    source = (
        f"{KEEPS}\np = hear('session/prompt')\nanswer(hear('session/fork'), {{'sessionId': 's1'}})\nsay(text('on'))"
    )
    async with connected(source, tmp_path) as connection:
        session, sink = (await connection.open_session(str(tmp_path), None)).session, Sink()
        turn = begun(session, sink)
        with pytest.raises(ForkFailed):
            await connection.fork_session(session.id, str(tmp_path))
        while said(turn) != "on":
            await sink.changes.wait()


@pytest.mark.asyncio
async def test_a_copy_that_comes_too_late_is_closed_at_once(tmp_path: Path) -> None:
    """Q9: nobody would ever let it go."""
    source = f"{FORKS}\nf = hear('session/fork')\nhear('_go')\nanswer(f, {{'sessionId': 's2'}})"
    async with connected(source, tmp_path, IMPATIENT) as connection:
        with pytest.raises(ForkFailed):
            await forked(connection, tmp_path)
        connection._peer.send(Notification("_go", {}))
        await lines_of(tmp_path / "heard", 5)
    assert heard(tmp_path)[4]["params"] == {"sessionId": "s2"}
    assert methods(tmp_path) == ["session/fork", "_go", "session/close"]


@pytest.mark.asyncio
async def test_a_copy_that_nobody_waits_for_any_more_is_closed(tmp_path: Path) -> None:
    """Q9, T6: the turn was stopped while its session was forked."""
    async with connected(f"{FORKS}\n{FORK}", tmp_path) as connection:
        session = (await connection.open_session(str(tmp_path), None)).session
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.fork_session, session.id, str(tmp_path))
            while connection._sessions.get("s2") is None:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        await lines_of(tmp_path / "heard", 4)
    assert methods(tmp_path) == ["session/fork", "session/close"]


@pytest.mark.asyncio
async def test_what_a_closed_copy_still_says_or_asks_reaches_nobody(tmp_path: Path) -> None:
    """Q9, D6: a request is answered cancelled at once."""
    source = f"{FORKS}\n{FORK}\nhear('session/close')\nsay(text('late', 's2'), permission(9, 's2'))"
    late: list[Any] = []
    async with connected(source, tmp_path) as connection:
        _, copy = await forked(connection, tmp_path)
        copy.on_late = late.append
        connection.close_session(copy)
        connection.close_session(copy)
        assert connection._peer._open == {}, "nothing waits for an answer that may never come"
        await lines_of(tmp_path / "heard", 5)
    assert (heard(tmp_path)[4]["result"], late) == (CANCELLED, [])
    assert methods(tmp_path) == ["session/fork", "session/close", None]


@pytest.mark.asyncio
async def test_closing_a_copy_ends_its_prompt_and_answers_its_permission_requests(tmp_path: Path) -> None:
    """Q9, T6: also where the agent can't close."""
    source = f"{KEEPS}\n{FORK}\nhear('session/prompt')\nsay(permission(9, 's2'))"
    async with connected(source, tmp_path) as connection:
        _, copy = await forked(connection, tmp_path)
        sink = Sink()
        begun(copy, sink)
        request = await sink.until_asked()
        connection.close_session(copy)
        assert request.answered
        assert connection._peer._open == {}, "nothing waits for an answer that may never come"
        await lines_of(tmp_path / "heard", 6)
    assert methods(tmp_path) == ["session/fork", "session/prompt", None, "session/cancel"]


DELETES = "greet(agentCapabilities={'sessionCapabilities': {'delete': {}}})\nopen_session()"


@pytest.mark.asyncio
async def test_a_session_is_deleted_where_the_agent_can_forget_it(tmp_path: Path) -> None:
    async with connected(f"{DELETES}\nanswer(hear('session/delete'), {{}})", tmp_path) as connection:
        session = (await connection.open_session(str(tmp_path), None)).session
        await connection.delete_session(session)
    assert heard(tmp_path)[2]["params"] == {"sessionId": "s1"}


@pytest.mark.asyncio
async def test_a_session_that_can_only_be_closed_is(tmp_path: Path) -> None:
    async with connected(f"{FORKS}\nhear('session/close')", tmp_path) as connection:
        session = (await connection.open_session(str(tmp_path), None)).session
        await connection.delete_session(session)
        await lines_of(tmp_path / "heard", 3)
    assert methods(tmp_path) == ["session/close"]


@pytest.mark.asyncio
async def test_whether_a_session_was_forgotten_is_waited_for_with_a_limit(tmp_path: Path) -> None:
    async with connected(f"{DELETES}\nhear('session/delete')\nhear('')", tmp_path, IMPATIENT) as connection:
        session = (await connection.open_session(str(tmp_path), None)).session
        with pytest.raises(RequestTimeout):
            await connection.delete_session(session)


# --- several sessions in one process ----------------------------------------------------------------------------------


CLOSES = "greet(agentCapabilities={'sessionCapabilities': {'close': {}, 'resume': {}}})"
TWO = f"{CLOSES}\nopen_session('s1')\nopen_session('s2')"
HASTY_CLOSE = ConnectionLimits(start=30, session=0.1, close=0.1, stop=QUICK.stop)


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
    async with connected(TWO, tmp_path, HASTY_CLOSE) as connection:
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
    async with connected(source, tmp_path, HASTY_CLOSE) as connection:
        with pytest.raises(RequestTimeout):
            await connection.open_session("/a", None)
        connection._peer.send(Notification("_go", {}))
        await lines_of(tmp_path / "heard", 4)
        assert connection._sessions.get("s1") is None
    assert heard(tmp_path)[3]["params"] == {"sessionId": "s1"}


@pytest.mark.parametrize(
    ("capabilities", "method"),
    [
        ({"sessionCapabilities": {"resume": {}}}, "session/resume"),
        ({"loadSession": True}, "session/load"),
        ({}, "session/new"),
        ({"sessionCapabilities": {"fork": {}}}, "session/fork"),
    ],
)
@pytest.mark.asyncio
async def test_every_request_that_opens_a_session_names_its_servers(
    tmp_path: Path, capabilities: dict[str, Any], method: str
) -> None:
    """M1: as the schema has it, variables as a list."""
    script = f"greet(agentCapabilities={capabilities!r})\nanswer(hear({method!r}), {{'sessionId': 's2'}})"
    async with connected(script, tmp_path) as connection:
        if method == "session/fork":
            session = await connection.fork_session("s1", str(tmp_path), TOOLS)
        else:
            session = (await connection.open_session(str(tmp_path), "s1", servers=TOOLS)).session
        assert session.id in ("s1", "s2")
    request = heard(tmp_path)[1]
    assert request["method"] == method
    assert request["params"]["mcpServers"] == [
        {
            "name": "weft",
            "command": "/bin/tools",
            "args": ["mcp"],
            "env": [{"name": "TOKEN", "value": "t"}, {"name": "SOCKET", "value": "/s"}],
        },
        {"name": "other", "command": "/bin/o", "args": [], "env": []},
    ]
