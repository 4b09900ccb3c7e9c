"""The official Python SDK's client on the measuring agent: ``PYTHON -I sdk_client.py AGENT COUNT`` prints CPU seconds.

PYTHON is the interpreter of an environment in which `agent-client-protocol` is installed. Its module has the name of
this project's own, so that nothing of this project is imported here. The client only counts the chunks.
"""

from __future__ import annotations

import asyncio
import sys
import time
from importlib import import_module
from typing import Any

sdk: Any = import_module("acp")  # whoever checks types would find this project's own


class CountingClient:
    """Takes what the agent sends; it counts the updates."""

    def __init__(self) -> None:
        self.updates = 0

    def on_connect(self, conn: Any) -> None:
        """Take the connection, which is not needed."""

    async def session_update(self, session_id: str, update: Any, **more: Any) -> None:
        """Count."""
        self.updates += 1


async def measure(agent: str, count: int) -> float:
    """Return CPU seconds for a turn of so many chunks."""
    client: Any = CountingClient()
    async with sdk.spawn_agent_process(client, sys.executable, "-I", "-S", agent) as (connection, _):
        await connection.initialize(protocol_version=sdk.PROTOCOL_VERSION)
        session = await connection.new_session(cwd="/", mcp_servers=[])
        start = time.process_time()
        await connection.prompt(session_id=session.session_id, prompt=[sdk.text_block(f"bench:chunks:{count}")])
        while client.updates < count:  # noqa: ASYNC110  handlers may run on after the answer
            await asyncio.sleep(0.01)
        return time.process_time() - start


if __name__ == "__main__":
    print(asyncio.run(measure(sys.argv[1], int(sys.argv[2]))))
