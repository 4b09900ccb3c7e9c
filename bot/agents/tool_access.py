"""How agents reach the tools that Weft gives them: the server of a session, and what a sandbox has to let in (M1)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import bot
from acp.mcp_servers import McpServer
from bot.agents.model import AgentProfile
from bot.mcp.protocol import SOCKET_VARIABLE, TOKEN_VARIABLE

SERVER = "weft"
SOCKET_FIELD, LIBRARIES_FIELD, CODE_FIELD, PYTHON_FIELD = "mcp_socket", "weft", "weft_code", "weft_python"


@dataclass(frozen=True, slots=True)
class ToolAccess:
    """Where the bot listens to agents.

    Attributes:
        socket: where it does.
        marker: goes into the environment of every server, as agents need not pass on their own: a later run finds
            those that this one left.
    """

    socket: Path
    marker: Mapping[str, str] = field(default_factory=dict)

    def servers(self, agent: AgentProfile, token: str) -> tuple[McpServer, ...]:
        """Return what a session of an agent is offered; nothing if its tools are switched off."""
        if not agent.tools:
            return ()
        # Not by name: whichever `weft` is on the agent's PATH is another version, or nobody's. -P: the server starts
        # in the agent's directory, where a package may be called `bot`, too.
        program, *words = agent.tool_command or (sys.executable, "-P", "-m", "bot", "mcp")
        # In its environment and not on its command line, which everybody on the machine can read.
        env = {SOCKET_VARIABLE: str(self.socket), TOKEN_VARIABLE: token, **self.marker}
        return (McpServer(SERVER, program, tuple(words), env),)

    def places(self) -> dict[str, str]:
        """Return what the placeholders of wrappers stand for that are about tools."""
        # The package and not what it lies in: beside it, in a checkout, may be a `.env` with the token of Discord.
        code = Path(bot.__file__).resolve().parent
        return {
            SOCKET_FIELD: str(self.socket.parent),
            LIBRARIES_FIELD: sys.prefix,
            CODE_FIELD: str(code),
            # That of a virtual environment is a link to one that may lie in a home, as those of uv and pyenv do.
            PYTHON_FIELD: sys.base_prefix,
        }
