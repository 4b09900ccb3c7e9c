"""Reads ``weft.toml``: several agents by name, and the channels in which each is used.

The file is read with the settings and understood before the bot starts; all mistakes are reported at once, a
line each. Whether programs and directories are there is checked in `bot.agents.checks`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from acp.process import WITHHELD, named
from acp.shutdown import MARKER
from bot.agents.engines import contains, engine_of, table_problems
from bot.agents.model import WORKTREES, AgentProfile, Agents, Project
from bot.agents.tables import (
    AgentPermissionsTable,
    AgentTable,
    BudgetTable,
    ChannelTable,
    Content,
    LimitsTable,
    PermissionsTable,
    ProjectTable,
    RuleTable,
)
from bot.agents.tool_access import SOCKET_FIELD
from bot.files import read_text
from bot.wording import nearest, told
from bot.work.permissions.rules import Mode, problem_of
from pool.wrapping import ResourceLimits, unknown_placeholders

FILE_NAME = "weft.toml"
THREAD = "{thread_id}"

_LOCAL_ONLY = frozenset({"wrapper", "limits", "session_directory", "sessions_per_process", "mcp", "mcp_command"})
_TOO_MUCH_TRUST = (
    "allow lets {name} do whatever it asks for, with nobody looking. Give it a wrapper (docs/isolation.md), "
    "or write i_trust_this_agent = true below [agents.{name}.permissions]"
)


class AgentsFileError(Exception):
    """The file can't be used; ``problems`` holds one line each.

    Attributes:
        agents: what it says apart from that, if it can be told.
    """

    def __init__(self, *problems: str, agents: Agents | None = None) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
        self.agents = agents


@dataclass(frozen=True, slots=True)
class AgentsFile:
    """A file as it was read; two readings are equal if nothing was changed meanwhile."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> AgentsFile:
        """Read a file.

        Raises:
            Unusable: it can't be read.
        """
        return cls(path, read_text(path))

    def agents(self, workspace: str | None = None, state_dir: Path = Path()) -> Agents:
        """Return what the file says.

        Args:
            workspace: of agents for which it names none.
            state_dir: where work trees are made.

        Raises:
            AgentsFileError: it says something that can't be understood or can't be.
        """
        try:
            raw = tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as exc:
            raise AgentsFileError(f"{self.path.name}: {exc}") from exc
        try:
            content, lines = Content.model_validate(raw), []
        except ValidationError as exc:
            # Each once: two faults of one value may read alike.
            lines = list(dict.fromkeys(self.line(*_told(error)) for error in exc.errors()))
            # Without the keys that there are not, what does not go together can be told at once.
            if not _removed(raw, [error["loc"] for error in exc.errors() if error["type"] == "extra_forbidden"]):
                raise AgentsFileError(*lines) from exc
            try:
                # The second of two readings: what is wrong beside unknown keys is in `lines` already.
                content = Content.model_validate(raw)
            except ValidationError:
                raise AgentsFileError(*lines) from exc
        problems = [self.line(location, problem) for location, problem in _problems(content, workspace)]
        agents = None if problems else _agents(content, workspace or "", state_dir.absolute() / WORKTREES)
        if agents is None or lines:
            raise AgentsFileError(*lines, *problems, agents=agents)
        return agents

    def line(self, location: tuple[int | str, ...], problem: str) -> str:
        """Return a problem as people read it: with the file, the line, and the key that it is about."""
        # pydantic marks a key of a table with "[key]"; the key itself is named before it.
        steps = tuple(step for step in location if step != "[key]")
        number = line_of(self.text, steps)
        place = f"{self.path.name}, line {number}" if number else self.path.name
        return ": ".join(filter(None, [place, ".".join(map(str, steps)), problem]))


def line_of(text: str, location: tuple[int | str, ...]) -> int | None:
    """Return on which line the key at ``location`` is said, or of those around it the nearest that is.

    `tomllib` tells no places. But the text up to a line is TOML itself, unless a value goes on after it: so the key
    begins after the last such text that lacks it.
    """
    lines = text.splitlines(keepends=True)
    try:
        steps = _said(tomllib.loads(text), location)
    except tomllib.TOMLDecodeError:
        return None
    before = 0
    for number in range(1, len(lines) + 1):
        try:
            known = _said(tomllib.loads("".join(lines[:number])), steps)
        except tomllib.TOMLDecodeError:
            continue
        if steps and known == steps:
            return before + 1
        before = number
    return None


def _said(table: object, location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Return how far a location leads."""
    inner: Any = table
    for depth, step in enumerate(location):
        in_list = isinstance(inner, list) and isinstance(step, int) and step < len(inner)
        if not (in_list or (isinstance(inner, dict) and step in inner)):
            return location[:depth]
        inner = inner[step]
    return location


def _removed(table: dict[str, Any], locations: Iterable[tuple[int | str, ...]]) -> bool:
    """Take keys out of a table; False if there was none."""
    found = False
    for *steps, key in locations:
        inner: Any = table
        for step in steps:
            inner = inner[step]
        del inner[key]
        found = True
    return found


Problem = tuple[tuple[int | str, ...], str]
"""What is wrong, and the keys that lead to it."""

_TABLES: dict[tuple[int | str, ...], type[BaseModel]] = {
    (): Content,
    ("budget",): BudgetTable,
    ("permissions",): PermissionsTable,
    ("agents", "*"): AgentTable,
    ("agents", "*", "limits"): LimitsTable,
    ("projects", "*"): ProjectTable,
    ("projects", "*", "permissions"): PermissionsTable,
    ("channels", "*"): ChannelTable,
    ("agents", "*", "permissions"): AgentPermissionsTable,
}
"""Which keys there are, by the table that they are in; in the tables below these there are rules."""


def _told(error: ErrorDetails) -> Problem:
    location = error["loc"]
    if error["type"] == "extra_forbidden":
        by_name = location[0] in ("agents", "projects", "channels")
        table = tuple("*" if depth == 1 and by_name else step for depth, step in enumerate(location[:-1]))
        near = nearest(str(location[-1]), _TABLES.get(table, RuleTable).model_fields)
        return location, "there is no such setting" + (f"; did you mean {near}?" if near else "")
    if location == ("agents",) and error["type"] in ("missing", "too_short"):
        return (), "there is no [agents.NAME] in it"
    return location, told(error)


# --- what does not go together ----------------------------------------------------------------------------------


def _problems(content: Content, workspace: str | None) -> Iterator[Problem]:
    names = ", ".join(content.agents)
    if content.default is None and len(content.agents) > 1:
        yield ("default",), f"is missing: name one of {names}"
    if content.default is not None and content.default not in content.agents:
        yield ("default",), f"there is no agent {content.default!r}, only {names}"
    for channel, one in content.channels.items():
        if one.agent is not None and one.agent not in content.agents:
            yield ("channels", channel), f"there is no agent {one.agent!r}, only {names}"
        if one.project is not None and one.project not in content.projects:
            yield ("channels", channel), _no_project(one.project, content.projects)
    yield from _rule_problems(("permissions",), content.permissions)
    for name, table in content.engines.items():
        yield from ((("engines", name, *steps), problem) for steps, problem in table_problems(table))
    for name, entry in content.agents.items():
        yield from ((("agents", name, setting), problem) for setting, problem in _engine_problems(entry, content))
        yield from ((("agents", name, setting), problem) for setting, problem in _agent_problems(entry, workspace))
        own = ("agents", name, "permissions")
        yield from _rule_problems(own, entry.permissions)
        if _mode(content, entry) is Mode.ALLOW and not _walled(entry, content):
            said = (*own, "mode") if entry.permissions.mode is not None else ("permissions", "mode")
            yield said, _TOO_MUCH_TRUST.format(name=name)
    for name, project in content.projects.items():
        yield from ((("projects", name, setting), problem) for setting, problem in _project_problems(project, content))
        yield from _rule_problems(("projects", name, "permissions"), project.permissions)


def _no_project(name: str, known: Iterable[str]) -> str:
    if near := nearest(name, known):
        return f"there is no project {name!r}; did you mean {near}?"
    names = ", ".join(known)
    return f"there is no project {name!r}, only {names}" if names else f"there is no [projects.{name}]"


def _project_problems(project: ProjectTable, content: Content) -> Iterator[tuple[str, str]]:
    names = ", ".join(content.agents)
    if project.agent is not None and project.agent not in content.agents:
        near = nearest(project.agent, content.agents)
        yield (
            "agent",
            f"there is no agent {project.agent!r}" + (f"; did you mean {near}?" if near else f", only {names}"),
        )
    yield from _env_problems(project.env)
    # What is also fixed for an agent would have two values.
    for name, entry in content.agents.items():
        for variable in entry.set.keys() & set(project.env):
            yield "env", f"{variable} is in agents.{name}.set as well: keep one of the two"
    if project.setup and not project.worktree:
        yield "setup", "runs in new work trees, but worktree = false"
    agent = project.agent or content.default or next(iter(content.agents))
    if agent in content.agents and content.agents[agent].engine is not None:
        yield "agent", f"{agent} runs on another machine, and a project is a directory of this one: name another agent"
    for name, entry in content.agents.items():
        # Each of them may be chosen for a thread of the project.
        if project.permissions.mode == "allow" and not _walled(entry, content):
            yield "permissions", _TOO_MUCH_TRUST.format(name=name)


def _env_problems(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        # A pattern may mean these among others; they are left out when it is applied.
        if not name.endswith("*") and _withheld(name):
            yield "env", f"{name} is never given to agents"


def _agent_problems(entry: AgentTable, workspace: str | None) -> Iterator[tuple[str, str]]:
    if not (entry.workspace or workspace):
        yield "workspace", "is missing, and WEFT_WORKSPACE is not set"
    yield from _env_problems(entry.env)
    for name in entry.set:
        # An agent with another marker would not be found when it has to be ended (P9).
        if name.endswith("*") or _withheld(name) or name == MARKER:
            yield "set", f"{name} can't be set"
        if name in entry.env:
            yield "set", f"{name} is in env as well: keep one of the two"
    for setting, words in (("wrapper", entry.wrapper), ("session_directory", [entry.session_directory or ""])):
        for placeholder in unknown_placeholders(words):
            yield setting, f"{{{placeholder}}} is not a placeholder"
    # The agent starts it, in a directory and on a PATH that nobody here knows.
    if entry.mcp_command and not entry.mcp_command[0].startswith("/"):
        yield "mcp_command", "has to begin with an absolute path"
    if (entry.sessions_per_process or 1) > 1 and any(THREAD in word for word in entry.wrapper):
        yield "wrapper", f"{THREAD} means one thread, but sessions_per_process lets several share it"


def _engine_problems(entry: AgentTable, content: Content) -> Iterator[tuple[str, str]]:
    if entry.engine is None:
        return
    if entry.engine not in content.engines:
        near = nearest(entry.engine, content.engines)
        yield "engine", f"there is no [engines.{entry.engine}]" + (f"; did you mean {near}?" if near else "")
    if not entry.workspace:
        # The one of all agents is a directory of this machine.
        yield "workspace", f"is missing: a directory on the machines of {entry.engine}, with {THREAD} in it"
    # Only what was written down: defaults say nothing.
    for setting in _LOCAL_ONLY & entry.model_fields_set:
        yield setting, "is for agents of this machine: leave it out, or leave out engine"


def _rule_problems(table: tuple[str, ...], said: PermissionsTable) -> Iterator[Problem]:
    for key, rules in (("allow", said.allow), ("deny", said.deny), ("two_person", said.two_person)):
        for number, rule in enumerate(rules):
            if problem := problem_of(rule.rule(), allow=key == "allow"):
                yield (*table, key, number), problem


def _mode(content: Content, entry: AgentTable) -> Mode:
    return Mode(entry.permissions.mode or content.permissions.mode or Mode.ASK)


def _walled(entry: AgentTable, content: Content) -> bool:
    """Whether an agent may be let do everything: something keeps it in, or somebody has said that they trust it."""
    return bool(entry.wrapper or _contained(entry, content) or entry.permissions.i_trust_this_agent)


def _contained(entry: AgentTable, content: Content) -> bool:
    """Whether an engine keeps an agent in a container; on a host, all threads' agents have one account."""
    return contains(content.engines.get(entry.engine or "", {}))


def _withheld(name: str) -> bool:
    return bool(named({name: ""}, WITHHELD))


def _agents(content: Content, workspace: str, worktrees: Path) -> Agents:
    return Agents(
        profiles={name: _profile(content, name, workspace) for name in content.agents},
        # There is only one then: with several, the default has to be named.
        default=content.default or next(iter(content.agents)),
        budget=content.budget.budget(),
        channels={int(channel): said.agent for channel, said in content.channels.items() if said.agent is not None},
        channel_options={int(channel): said.options for channel, said in content.channels.items() if said.options},
        projects={name: _project(content, name, worktrees / name) for name in content.projects},
        engines={name: engine_of(name, table) for name, table in content.engines.items()},
        channel_projects={
            int(channel): said.project for channel, said in content.channels.items() if said.project is not None
        },
    )


def _project(content: Content, name: str, worktrees: Path) -> Project:
    entry = content.projects[name]
    return Project(
        name=name,
        path=Path(entry.path),
        worktrees=worktrees,
        agent=entry.agent,
        worktree=entry.worktree,
        base=entry.base,
        setup=tuple(entry.setup),
        setup_timeout=entry.setup_timeout,
        env=tuple(entry.env),
        hooks=entry.hooks,
        keep_days=entry.keep_days,
        remote=entry.remote,
        rules=entry.permissions.rules(),
        mode=Mode(entry.permissions.mode) if entry.permissions.mode is not None else None,
        modes=frozenset(entry.permissions.modes),
    )


def _profile(content: Content, name: str, workspace: str) -> AgentProfile:
    entry = content.agents[name]
    limits: dict[str, Any] = entry.limits.model_dump()
    return AgentProfile(
        name=name,
        command=tuple(entry.command),
        workspace=entry.workspace or workspace,
        env=tuple(entry.env),
        fixed=entry.set,
        wrapper=tuple(entry.wrapper),
        session_directory=entry.session_directory,
        start_timeout=entry.start_timeout,
        hard_timeout=entry.hard_timeout,
        sessions_per_process=entry.sessions_per_process,
        limits=ResourceLimits(**limits),
        # Added, not replaced: a rule for all agents, a deny above all, is in force whatever one of them says.
        rules=content.permissions.rules() + entry.permissions.rules(),
        mode=_mode(content, entry),
        trusted=entry.permissions.i_trust_this_agent,
        options=entry.options,
        modes=frozenset(content.permissions.modes + entry.permissions.modes),
        # A sandbox that was made before there were tools has no way in for them: every session would say so.
        tools=entry.engine is None
        and (entry.mcp if entry.mcp is not None else not entry.wrapper or _lets_tools_in(entry)),
        tool_command=tuple(entry.mcp_command),
        engine=entry.engine,
        contained=_contained(entry, content),
    )


def _lets_tools_in(entry: AgentTable) -> bool:
    return any(f"{{{SOCKET_FIELD}}}" in word for word in entry.wrapper)
