"""What the demo's bot is told by the process that serves the page, and the lines that go between the two.

Light, as the page's process imports it: JSON, a line each. The bot's first line in is the assignment. Each later one is
a request, ``{"request": ID, "kill_agent": THREAD}``, or ``{"end": true}`` for an end with all last words. Its lines
out are ``{"begun": true}``, ``{"ready": true}``, ``{"failed": TEXT}``, ``{"note": TEXT}``, and an answer to each
request, ``{"answer": ID, "text": TEXT}`` or ``{"answer": ID, "problem": TEXT}``.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

Line = dict[str, Any]

LINE_LIMIT = 64 * 1024
"""Bytes of a line; none of them is as long."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where the bot finds its Discord, and who may do what there.

    Attributes:
        mark: what marks its agents (`WEFT_STATE`), so that they are found when it was killed.
        root: the directory that everything is made in: state, workspace, project.
        argv: the agent's command.
        agent_env: names of variables that the agent gets beside the allow-list.
        channels: text channels in which mentions are answered, even those from before the bot was there.
        forums: in which each post is a prompt.
        users: roles that may use the bot; ``approvers``: roles that may decide.
    """

    token: str
    api_url: str
    mark: str
    root: str
    argv: tuple[str, ...]
    agent_env: tuple[str, ...]
    guild_id: int
    channels: tuple[int, ...]
    forums: tuple[int, ...]
    users: tuple[int, ...]
    approvers: tuple[int, ...]

    def to_line(self) -> Line:
        return dataclasses.asdict(self)

    @classmethod
    def from_line(cls, line: Line) -> Assignment:
        # JSON has no tuples.
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in line.items()
        }
        return cls(**values)


def encode(line: Line) -> bytes:
    """Return a line with its end."""
    return json.dumps(line).encode() + b"\n"
