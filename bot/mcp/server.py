"""The program `weft mcp`: an MCP server over stdio for one session, which passes each call on to the bot (M1).

An agent starts it, and every session has one: it imports little besides the SDK, decides nothing, and keeps no state.
What a tool may do is decided by the bot. It ends with its client, however that ends.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass, field

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams, TextContent, Tool
from pydantic import ValidationError

from bot import version
from bot.mcp.protocol import ANSWER_BYTES, CALL_BYTES, VERSION, Answer, Call, Hello, answer
from bot.mcp.tools import INSTRUCTIONS, TOOLS, description, input_schema

PROGRESS = 10.0
"""Seconds between two notes that a call is still under way: clients give up what they hear nothing of."""

_CONNECT = 10.0
"""Seconds that the bot may take to take a connection and a call."""

_UNREACHABLE = "Weft cannot be reached: it has stopped or restarted. Go on without its tools."
_LOST = (
    "Weft closed the connection before it answered: it has stopped or restarted. Whether it did what was "
    "asked is not known."
)
_TOO_LONG = f"The arguments are too long: {CALL_BYTES // 1024} KiB at most."


@dataclass(frozen=True, slots=True)
class Bot:
    """Where the bot listens, and as whom it knows this session."""

    socket: str
    token: str = field(repr=False)

    async def call(self, tool: str, arguments: dict[str, object]) -> Answer:
        """Return the bot's answer to a call, or why there is none. A cancelled call is withdrawn."""
        # Not validated: that is for the bot to do, which trusts nothing that comes from here.
        line = Call.model_construct(tool=tool, arguments=arguments).line()
        if len(line) > CALL_BYTES:
            return answer(_TOO_LONG, error=True)
        try:
            with anyio.fail_after(_CONNECT):
                stream = await anyio.connect_unix(self.socket)
        except (OSError, TimeoutError):
            return answer(_UNREACHABLE, error=True)
        # Leaving closes the connection: that is how the bot hears that nobody waits any more.
        async with stream:
            try:
                with anyio.fail_after(_CONNECT):
                    await stream.send(Hello(version=VERSION, token=self.token).line() + line)
            except (anyio.BrokenResourceError, TimeoutError):
                pass  # a bot that refuses has answered already
            try:
                reply = await BufferedByteReceiveStream(stream).receive_until(b"\n", ANSWER_BYTES)
                return Answer.model_validate_json(reply)
            except (anyio.IncompleteRead, anyio.BrokenResourceError, anyio.DelimiterNotFound, ValidationError):
                return answer(_LOST, error=True)


def run_server(socket: str, token: str) -> None:
    """Serve the client at the standard input and output until it is gone; this does not return."""
    # Not the interpreter's: a Ctrl-C in the agent's terminal would print a traceback into its log.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    code = 0
    try:
        anyio.run(_serve, Bot(socket, token))
    except* OSError:
        code = 1  # the client does not read any more
    # Nothing is left to be tidied up, and taking several hundred modules down would take longer than all of the above.
    sys.stderr.flush()
    os._exit(code)


async def _serve(bot: Bot) -> None:
    server = make_server(bot)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_end_with_parent, name="parent")
        async with stdio_server() as (received, sent):
            await server.run(received, sent, server.create_initialization_options())
        tasks.cancel_scope.cancel()


def make_server(bot: Bot) -> Server:
    """Return an MCP server that has Weft's tools."""

    async def list_tools(_context: ServerRequestContext, _params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(
            tools=[
                Tool(name=name, description=description(model), input_schema=input_schema(model))
                for name, model in TOOLS.items()
            ]
        )

    async def call_tool(context: ServerRequestContext, params: CallToolRequestParams) -> CallToolResult:
        reply = answer("", error=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_report, context, params.name, name="progress")
            reply = await bot.call(params.name, params.arguments or {})
            tasks.cancel_scope.cancel()
        return CallToolResult(content=[TextContent(type="text", text=reply.text)], is_error=reply.error)

    return Server(
        "weft",
        title="Weft",
        version=version.version(),
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def _report(context: ServerRequestContext, tool: str) -> None:
    """Tell a client that wants to know it that its call is still under way, until cancelled."""
    started = anyio.current_time()
    message = "Waiting for an answer in Discord" if tool == "ask" else "Waiting for Weft"
    while True:
        await anyio.sleep(PROGRESS)
        await context.session.report_progress(round(anyio.current_time() - started), message=message)


async def _end_with_parent() -> None:
    """End the process when the agent is dead, even while others hold its end of the pipe open.

    The kernel is not asked to send a signal at that (prctl(2), PR_SET_PDEATHSIG): it does so as soon as the thread
    ends that started this process, which with many agents is not the main one.
    """
    parent = os.getppid()
    try:
        descriptor = os.pidfd_open(parent)
    except (OSError, AttributeError):  # not on macOS
        return  # it is outside of the sandbox, or dead: the end of the standard input has to do
    if os.getppid() == parent:  # else it died in between, and the number may be somebody else's
        await anyio.wait_readable(descriptor)
    # A worker thread waits for the standard input and cannot be interrupted.
    os._exit(0)
