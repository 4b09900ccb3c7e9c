"""The MCP client of the scripted agent: the official SDK's, as a program, since the agent has no packages.

The first line on stdin is a server as in ``mcpServers``; each further one a call, ``{id, tool, arguments}``, or
``{cancel: id}``. Calls run side by side; each is answered by a line ``{id, text, error}``, the tool "" by the names of
all tools. It ends when its stdin does, and the server with it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import anyio
from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.types import TextContent


async def call(session: ClientSession, asked: dict[str, Any], scope: anyio.CancelScope) -> None:
    answer: dict[str, Any] = {"id": asked["id"], "text": "cancelled", "error": True}
    with scope:
        try:
            if asked["tool"]:
                result = await session.call_tool(asked["tool"], asked["arguments"])
                texts = [block.text for block in result.content if isinstance(block, TextContent)]
                answer |= {"text": "\n".join(texts), "error": bool(result.is_error)}
            else:
                names = [tool.name for tool in (await session.list_tools()).tools]
                answer |= {"text": " ".join(names), "error": False}
        except Exception as exc:  # noqa: BLE001  the test reads it as the tool's answer
            answer |= {"text": f"{type(exc).__name__}: {exc}"}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def main() -> None:
    stdin = anyio.wrap_file(sys.stdin)
    server = json.loads(await stdin.readline())
    env = {entry["name"]: entry["value"] for entry in server["env"]}
    parameters = StdioServerParameters(command=server["command"], args=server["args"], env=env)
    scopes: dict[int, anyio.CancelScope] = {}
    async with (
        stdio_client(parameters) as (received, sent),
        ClientSession(received, sent) as session,
        anyio.create_task_group() as tasks,
    ):
        await session.initialize()
        while line := await stdin.readline():
            asked = json.loads(line)
            if "cancel" in asked:
                scopes[asked["cancel"]].cancel()
                continue
            scopes[asked["id"]] = anyio.CancelScope()
            tasks.start_soon(call, session, asked, scopes[asked["id"]])
        tasks.cancel_scope.cancel()


anyio.run(main)
