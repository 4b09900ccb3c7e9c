"""The lines between `weft mcp` and the bot (pure).

A connection carries one call: two lines from the program, who it is and what it asks for, and one line back. There are
no ids to confuse and nothing to take up again: a call is withdrawn by closing the connection, and a connection that is
lost is a call that is lost. Who somebody is comes first and is short, so that nobody without a token can make the bot
read much.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

SOCKET_VARIABLE = "WEFT_MCP_SOCKET"
TOKEN_VARIABLE = "WEFT_MCP_TOKEN"  # noqa: S105  the name of one
"""What an agent is told to give to the program in its environment."""

VERSION = 1
"""Changes when one side would not understand the other: a bot that runs on is older than a program just started."""

HELLO_BYTES = 512
CALL_BYTES = 256 * 1024
ANSWER_BYTES = 1024 * 1024
"""The longest lines."""

_ANSWER_CHARACTERS = 150_000  # six bytes each at most, as JSON writes some


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def line(self) -> bytes:
        """Return it as it is sent."""
        return self.model_dump_json().encode() + b"\n"


class Hello(_Line):
    """Who calls. There is no other identity: what is asked for is done in the thread that the token belongs to."""

    version: int
    token: str = Field(pattern=r"^[!-~]{1,256}$")  # ASCII: what is compared in constant time has to be


class Call(_Line):
    """What is asked for."""

    tool: str = Field(max_length=64)
    arguments: dict[str, object]


class Answer(_Line):
    """What the model reads; with ``error``, why it is not what it asked for."""

    text: str
    error: bool = False


def answer(text: str, *, error: bool = False) -> Answer:
    """Return an answer that fits into a line; what is too long is cut, and says so."""
    # Names of files may hold what UTF-8 can't say, and JSON with it would be none.
    text = text.encode("utf-8", "replace").decode()
    if over := max(0, len(text) - _ANSWER_CHARACTERS):
        text = f"{text[:_ANSWER_CHARACTERS]}\n[{over} characters more were left out]"
    return Answer(text=text, error=error)
