"""What ``weft init`` asks for, and the agents that it knows by name (pure)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_OTHER_CHARACTERS = re.compile(r"[^a-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class KnownAgent:
    """An agent that is offered by name.

    Attributes:
        login: what a person does once, as the user that runs Weft.
        keys: variables that can hold a key in place of that.
    """

    name: str
    command: tuple[str, ...]
    login: str
    keys: tuple[str, ...] = ()


KNOWN = (
    KnownAgent("opencode", ("opencode", "acp"), "run `opencode auth login`"),
    KnownAgent(
        "claude", ("claude-agent-acp",), "log in to Claude Code, or set ANTHROPIC_API_KEY", ("ANTHROPIC_API_KEY",)
    ),
    KnownAgent("codex", ("codex-acp",), "run `codex login`, or set CODEX_API_KEY", ("CODEX_API_KEY",)),
    KnownAgent("gemini", ("gemini", "--acp"), "run `gemini` once by hand, or set GEMINI_API_KEY", ("GEMINI_API_KEY",)),
)


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent to be written down; ``env``: variables that it gets by name."""

    name: str
    command: tuple[str, ...]
    env: tuple[str, ...] = ()

    @property
    def known(self) -> KnownAgent | None:
        """What is known of it, by its program's name."""
        # By name, as it may be given with its path.
        program = Path(self.command[0]).name
        return next((one for one in KNOWN if one.command[0] == program), None)


@dataclass(frozen=True, slots=True)
class Project:
    """A git repository in which each thread gets a branch; ``base``: where branches begin."""

    name: str
    path: Path
    base: str


@dataclass(frozen=True, slots=True)
class Answers:
    """Everything that is written; ``agents`` is empty where a ``weft.toml`` that is there goes on saying it.

    Attributes:
        users, roles: ids of those who may write to the bot beside the application's owner.
        approvers: ids of the roles that may answer what agents ask.
        as_file: the agents go into ``weft.toml``, though there may be only one.
    """

    token: str
    agents: tuple[Agent, ...]
    workspace: str
    projects: tuple[Project, ...] = ()
    users: tuple[int, ...] = ()
    roles: tuple[int, ...] = ()
    approvers: tuple[int, ...] = ()
    health: str = ""
    as_file: bool = False

    @property
    def needs_file(self) -> bool:
        """Whether ``weft.toml`` is written: one agent without a project fits into ``.env``."""
        return bool(self.agents) and (self.as_file or len(self.agents) > 1 or bool(self.projects))

    def settings(self) -> dict[str, str]:
        """Return the settings that ``.env`` gets, by name; those that are empty say nothing there."""
        alone = self.agents[0] if self.agents and not self.needs_file else None
        return {
            "DISCORD_TOKEN": self.token,
            "WEFT_AGENT_COMMAND": shlex.join(alone.command) if alone else "",
            "WEFT_AGENT_ENV": " ".join(alone.env) if alone else "",
            "WEFT_WORKSPACE": self.workspace,
            "WEFT_ALLOWED_USERS": " ".join(map(str, self.users)),
            "WEFT_ALLOWED_ROLES": " ".join(map(str, self.roles)),
            "WEFT_APPROVER_ROLES": " ".join(map(str, self.approvers)),
            "WEFT_HEALTH": self.health,
        }


def name_for(text: str, taken: Collection[str]) -> str:
    """Return a name that ``weft.toml`` allows, made of a program's or a directory's, and not one of ``taken``."""
    known = next((one.name for one in KNOWN if one.command[0] == text), text)
    # With room for a number: a name has 32 characters at most.
    base = _OTHER_CHARACTERS.sub("-", known.lower()).strip("-_")[:28] or "agent"
    numbered = (base if number == 1 else f"{base}-{number}" for number in range(1, len(taken) + 2))
    return next(name for name in numbered if name not in taken)
