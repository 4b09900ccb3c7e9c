"""Opening a session: new, resumed, loaded, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from acp.connection import ConnectionLimits
from acp.errors import AgentExited, AgentSpawnError, ProtocolError, RequestFailed, RequestTimeout, SpawnFailure
from tests.acp.connections import (
    LOAD,
    QUICK,
    RESUME,
    connected,
    heard,
)


@pytest.mark.asyncio
async def test_a_new_session_is_opened_in_its_directory(tmp_path: Path) -> None:
    """P8."""
    async with connected("greet()\nopen_session()", tmp_path) as connection:
        opened = await connection.open_session("/somewhere", None)
        assert (opened.session.id, opened.how, opened.lost) == ("s1", "new", False)
    assert heard(tmp_path)[1]["params"] == {"cwd": "/somewhere", "mcpServers": []}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("greeting", "method", "how"),
    [
        (RESUME, "session/resume", "resumed"),
        (LOAD, "session/load", "loaded"),
        (RESUME.replace("{'sess", "{'loadSession': True, 'sess"), "session/resume", "resumed"),
    ],
)
async def test_a_session_is_resumed_where_announced_else_loaded(
    greeting: str, method: str, how: str, tmp_path: Path
) -> None:
    """P8."""
    async with connected(f"{greeting}\nanswer(hear('{method}'), None)", tmp_path) as connection:
        opened = await connection.open_session(str(tmp_path), "old")
        assert (opened.session.id, opened.how, opened.lost) == ("old", how, False)
    assert heard(tmp_path)[1]["params"]["sessionId"] == "old"


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [-32002, -32602, -32603])
async def test_an_unknown_session_starts_fresh_and_says_so(code: int, tmp_path: Path) -> None:
    """P8."""
    source = f"{LOAD}\nrefuse(hear('session/load'), {code})\nopen_session()"
    async with connected(source, tmp_path) as connection:
        opened = await connection.open_session(str(tmp_path), "old")
        assert (opened.session.id, opened.how, opened.lost) == ("s1", "new", True)


@pytest.mark.asyncio
async def test_a_session_of_an_agent_that_keeps_none_is_lost(tmp_path: Path) -> None:
    """P8."""
    async with connected("greet()\nopen_session()", tmp_path) as connection:
        assert (await connection.open_session(str(tmp_path), "old")).lost


@pytest.mark.asyncio
async def test_a_way_that_was_announced_and_is_not_there_is_passed_over(tmp_path: Path) -> None:
    """P8."""
    source = RESUME.replace("{'sess", "{'loadSession': True, 'sess")
    source += "\nrefuse(hear('session/resume'), -32601)\nanswer(hear('session/load'), {})"
    async with connected(source, tmp_path) as connection:
        opened = await connection.open_session(str(tmp_path), "old")
        assert (opened.how, opened.lost) == ("loaded", False)


@pytest.mark.asyncio
async def test_another_error_than_unknown_makes_no_new_session(tmp_path: Path) -> None:
    """P8."""
    async with connected(f"{LOAD}\nrefuse(hear('session/load'), 503)", tmp_path) as connection:
        with pytest.raises(RequestFailed, match="503"):
            await connection.open_session(str(tmp_path), "old")
    assert "session/new" not in [message["method"] for message in heard(tmp_path)]


@pytest.mark.asyncio
async def test_a_session_that_does_not_open_in_time_makes_no_new_one(tmp_path: Path) -> None:
    """P8."""
    limits = ConnectionLimits(start=30, session=0.05, stop=QUICK.stop)
    async with connected(LOAD, tmp_path, limits) as connection:
        with pytest.raises(RequestTimeout):
            await connection.open_session(str(tmp_path), "old")
    assert "session/new" not in [message["method"] for message in heard(tmp_path)]


@pytest.mark.asyncio
async def test_a_death_while_a_session_opens_makes_no_new_one(tmp_path: Path) -> None:
    """P8, P10."""
    async with connected(f"{LOAD}\nhear('session/load')\nsys.exit(5)", tmp_path) as connection:
        with pytest.raises(AgentExited, match="exit status 5"):
            await connection.open_session(str(tmp_path), "old")


@pytest.mark.asyncio
@pytest.mark.parametrize("previous", [None, "old"])
async def test_a_login_that_is_wanted_names_the_ways_to_log_in(previous: str | None, tmp_path: Path) -> None:
    """P8."""
    methods = "authMethods=[{'id': 'a', 'name': 'Sun Account'}, {'id': 'moon-key'}]"
    source = f"{LOAD[:-1]}, {methods})\nrefuse(hear('session/{'load' if previous else 'new'}'), -32000, 'Who are you?')"
    async with connected(source, tmp_path) as connection:
        with pytest.raises(AgentSpawnError, match="log in with Sun Account or moon-key") as caught:
            await connection.open_session(str(tmp_path), previous)
    assert caught.value.failure is SpawnFailure.AUTH_REQUIRED
    assert not caught.value.transient
    assert len(heard(tmp_path)) == 2


@pytest.mark.asyncio
async def test_a_session_without_an_id_is_a_protocol_error(tmp_path: Path) -> None:
    async with connected("greet()\nanswer(hear('session/new'), {})", tmp_path) as connection:
        with pytest.raises(ProtocolError):
            await connection.open_session(str(tmp_path), None)
