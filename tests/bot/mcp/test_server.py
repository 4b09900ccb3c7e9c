"""The program `weft mcp` as agents run it: the SDK's own client at its standard input and output (M1, M2)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from mcp import Client, ClientSession, StdioServerParameters, stdio_client
from mcp.types import CallToolResult, TextContent

from bot.mcp import server
from bot.mcp.protocol import SOCKET_VARIABLE, TOKEN_VARIABLE
from bot.mcp.tools import TOOLS

from .host import OTHER, THREAD, TITLED, Host, serving

ROOT = Path(__file__).parents[3]
HEAVY = {"discord", "sqlalchemy", "aiohttp", "structlog", "PIL", "prometheus_client", "psutil", "orjson", "acp", "pool"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
CALL = {"jsonrpc": "2.0", "id": 2, "method": "tools/call"}


def command(host: Host, thread_id: int = THREAD) -> tuple[list[str], dict[str, str]]:
    """What an agent is told to start for a session, and with which environment."""
    (found,) = host.offers[thread_id].servers
    return [found.command, *found.args], {"PYTHONPATH": str(ROOT), **found.env}


@asynccontextmanager
async def client_of(host: Host, thread_id: int = THREAD) -> AsyncIterator[ClientSession]:
    (program, *args), env = command(host, thread_id)
    parameters = StdioServerParameters(command=program, args=args, env=env)
    async with stdio_client(parameters) as (received, sent), ClientSession(received, sent) as session:
        yield session


def text(result: CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


@pytest.mark.asyncio
async def test_an_agents_client_lists_and_calls_the_tools_of_its_own_session() -> None:
    """M1, M2"""
    async with serving() as host, client_of(host) as client:
        told = await client.initialize()
        assert (told.server_info.name, bool(told.instructions)) == ("weft", True)
        assert [tool.name for tool in (await client.list_tools()).tools] == list(TOOLS)
        titled = await client.call_tool("set_title", {"title": "x"})
        assert (text(titled), titled.is_error) == (TITLED.format(1), False)
        refused = await client.call_tool("start_thread", {"prompt": "x"})
        assert (text(refused), refused.is_error) == (
            "A thread that was started like this starts no further ones.",
            True,
        )
        wrong = await client.call_tool("ask", {"question": "x", "thread_id": 2})
        assert (wrong.is_error, "thread_id" in text(wrong)) == (True, True)
        assert (await client.call_tool("no_such_tool", {})).is_error
        assert (await client.call_tool("set_title", {"title": "x" * 300_000})).is_error
        long = await client.call_tool("read_thread", {"limit": 50})
        assert text(long).endswith("[350000 characters more were left out]")

        # What is withdrawn, and what ends with the bot.
        async with anyio.create_task_group() as calls:
            calls.start_soon(client.call_tool, "ask", {"question": "x"})
            await host.asks(1)
            calls.cancel_scope.cancel()
        await host.asks(0)
        lost: list[CallToolResult] = []

        async def ask() -> None:
            lost.append(await client.call_tool("ask", {"question": "x"}))

        async with anyio.create_task_group() as calls:
            calls.start_soon(ask)
            await host.asks(1)
            await host.stop()
        assert (lost[0].is_error, "stopped or restarted" in text(lost[0])) == (True, True)
        assert text(await client.call_tool("set_title", {"title": "x"})).startswith("Weft cannot be reached")


@pytest.mark.asyncio
async def test_the_token_decides_whose_thread_it_is() -> None:
    """M1"""
    async with serving() as host, client_of(host, OTHER) as client:
        await client.initialize()
        assert text(await client.call_tool("set_title", {"title": "x"})) == TITLED.format(2)
        host.offers[OTHER].withdraw()
        assert text(await client.call_tool("set_title", {"title": "x"})).startswith("This session has no access")


@pytest.mark.asyncio
async def test_a_client_that_wants_progress_hears_that_a_call_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """M1"""
    monkeypatch.setattr(server, "PROGRESS", 0.01)
    heard: list[tuple[float, str | None]] = []
    enough = anyio.Event()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message))
        if len(heard) == 3:
            enough.set()

    async with serving() as host, Client(server.make_server(host.bot())) as client:
        async with anyio.create_task_group() as calls:

            async def ask() -> None:
                await client.call_tool("ask", {"question": "x"}, progress_callback=note)

            calls.start_soon(ask)
            await enough.wait()
            calls.cancel_scope.cancel()
        await host.asks(0)
    assert {message for _progress, message in heard} == {"Waiting for an answer in Discord"}


@contextmanager
def started(host: Host, *parent: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the program with pipes, or what is to start it; it is killed at the end."""
    words, env = command(host)
    process = subprocess.Popen(
        [*parent, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **env}
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def say(process: subprocess.Popen[bytes], *messages: dict[str, object]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"".join(json.dumps(message).encode() + b"\n" for message in messages))
    process.stdin.flush()


def begin_to_ask(process: subprocess.Popen[bytes]) -> None:
    params = {"name": "ask", "arguments": {"question": "x"}}
    say(process, INITIALIZE, {"jsonrpc": "2.0", "method": "notifications/initialized"}, {**CALL, "params": params})


@pytest.mark.asyncio
async def test_it_ends_with_its_standard_input_only_and_withdraws_its_calls() -> None:
    """M1"""
    async with serving() as host:
        with started(host) as process:
            assert process.stdin is not None
            # What is no message of the protocol does not end it.
            process.stdin.write(b"[" * 100_000 + b"\n\xff\xfe\nnull\n{}\n")
            begin_to_ask(process)
            await host.asks(1)
            process.stdin.close()
            assert await anyio.to_thread.run_sync(process.wait) == 0
        await host.asks(0)


@pytest.mark.asyncio
async def test_it_ends_with_a_killed_agent_though_its_standard_input_stays_open() -> None:
    """M1, P9"""
    # The agent's child inherits the input that this test holds open.
    agent = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
    async with serving() as host:
        with started(host, sys.executable, "-c", agent) as process:
            begin_to_ask(process)
            await host.asks(1)
            process.kill()
            await host.asks(0)
            assert process.stdout is not None
            await anyio.to_thread.run_sync(process.stdout.read)  # up to its end: nobody has it open any more


@pytest.mark.asyncio
async def test_the_process_hides_its_token_and_imports_nothing_of_the_bots_own_work() -> None:
    """M1, R5: no other program looks where the token is held, and there is one such process for each session."""
    code = (
        "import os, sys\n"
        "from bot.mcp import server\n"
        f"server.run_server = lambda socket, token: print(socket, token, '{TOKEN_VARIABLE}' in os.environ)\n"
        "sys.argv[1:] = ['mcp']\n"
        "from bot.cli import main\n"
        "main(standalone_mode=False)\n"
        "print(*sys.modules)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT), SOCKET_VARIABLE: "/s", TOKEN_VARIABLE: "t"}
    done = await anyio.run_process([sys.executable, "-P", "-c", code], env=environ)
    socket, token, told, *modules = done.stdout.decode().split()
    assert (socket, token, told) == ("/s", "t", "False")
    assert "mcp.server.lowlevel.server" in modules
    assert HEAVY & {module.split(".")[0] for module in modules} == set()
    ours = {module for module in modules if module.startswith("bot.")}
    assert {each for each in ours if not each.startswith("bot.mcp")} == {
        *("bot.cli", "bot.ops", "bot.ops.hardening", "bot.service", "bot.service.cli"),
        *("bot.setup", "bot.setup.cli", "bot.state", "bot.state.cli", "bot.usage", "bot.version"),
    }


@pytest.mark.asyncio
async def test_a_person_who_starts_it_is_told_who_does() -> None:
    """M1, R6"""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("WEFT_")}
    done = await anyio.run_process(
        [sys.executable, "-P", "-m", "bot", "mcp"], check=False, env={**environ, "PYTHONPATH": str(ROOT)}
    )
    assert (done.returncode, done.stderr.decode().count("agents start this")) == (78, 1)
