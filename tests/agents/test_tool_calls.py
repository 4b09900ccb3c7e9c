"""The scripted agent calls the tools of the servers that it is given, by the official SDK (M1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from tests.agents import Step, scenario
from tests.agents.client import talking_to
from tests.bot.mcp.host import TITLED, Host, serving
from tests.bot.mcp.test_server import command
from tests.repeat import in_soak

TITLE = {"call": {"tool": "set_title", "arguments": {"title": "x"}, "sdk": True}}


def served_by(host: Host) -> dict[str, Any]:
    (program, *words), env = command(host)
    pairs = [{"name": name, "value": value} for name, value in env.items()]
    return {"name": "weft", "command": program, "args": words, "env": pairs}


def texts(directory: Path, steps: list[Step], host: Host) -> str:
    """Play a turn in a session with the host's server; return what the agent said."""
    with talking_to(scenario(directory, steps).argv, directory) as client:
        client.call("initialize", protocolVersion=1)
        session = client.call("session/new", cwd=str(directory), mcpServers=[served_by(host)])["result"]["sessionId"]
        client.answer_to(client.prompt(session))
        return client.text()


@pytest.mark.parametrize("sdk", [False, *in_soak([True])])
@pytest.mark.asyncio
async def test_a_turn_calls_tools_and_goes_on_with_their_answers(sdk: bool, tmp_path: Path) -> None:
    steps: list[Step] = [
        {"call": {}, "then": {"ok": [{"text": "[{result}] "}]}},
        {"call": {**TITLE["call"], "sdk": sdk}},
        {
            "call": {"tool": "start_thread", "arguments": {"prompt": "x"}, "sdk": sdk},
            "then": {"ok": [], "error": [{"text": " no: {result}"}]},
        },
    ]
    async with serving() as host:
        said = await anyio.to_thread.run_sync(texts, tmp_path, steps, host)
    names, _, rest = said.partition("] ")
    assert "set_title" in names.split()
    assert rest == f"{TITLED.format(1)} no: A thread that was started like this starts no further ones."


@pytest.mark.parametrize("sdk", [False, *in_soak([True])])
@pytest.mark.asyncio
async def test_a_cancelled_turn_withdraws_its_call(sdk: bool, tmp_path: Path) -> None:
    """M2: as a client does whose person presses Stop."""
    ask = {"call": {"tool": "ask", "arguments": {"question": "Which one?"}, "sdk": sdk}}

    def play(host: Host, asked: anyio.from_thread.BlockingPortal) -> str:
        with talking_to(scenario(tmp_path, [ask]).argv, tmp_path) as client:
            client.call("initialize", protocolVersion=1)
            session = client.call("session/new", cwd=str(tmp_path), mcpServers=[served_by(host)])["result"]["sessionId"]
            number = client.prompt(session)
            asked.call(host.asks, 1)
            client.notify("session/cancel", sessionId=session)
            stopped: str = client.answer_to(number)["result"]["stopReason"]
            asked.call(host.asks, 0)
            return stopped

    async with serving() as host, anyio.from_thread.BlockingPortal() as portal:
        assert await anyio.to_thread.run_sync(play, host, portal) == "cancelled"
