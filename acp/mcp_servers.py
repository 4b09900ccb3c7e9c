"""Servers of the Model Context Protocol that an agent is to start for a session (pure).

Source: the Agent Client Protocol, schema version 1: ``McpServer`` of the variant stdio, which every agent has to know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class McpServer:
    """A program that the agent starts, to reach it over its stdin and stdout.

    Attributes:
        command: absolute, as the agent sees it.
        env: what is added to the program's environment; in no log, as there are secrets in it.
    """

    name: str
    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


def opening(cwd: str, servers: Sequence[McpServer]) -> dict[str, Any]:
    """Return what every request says that opens a session: where it works, and which servers it gets."""
    return {
        "cwd": cwd,
        "mcpServers": [
            {
                "name": server.name,
                "command": server.command,
                "args": list(server.args),
                "env": [{"name": name, "value": value} for name, value in server.env.items()],
            }
            for server in servers
        ],
    }
