"""The tables of ``weft.toml``: which keys there are, and what each value may be.

What does not go together is `bot.agents.file`'s to say, which reads them. There is no state.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from acp.session_options import ID_LIMIT
from bot.work.budget.limits import MILLION, Budget, Limit, Scope
from bot.work.permissions.rules import Rule, Rules
from pool.sizes import Memory

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?")
# A text, though all digits: keys of a TOML table are texts.
_ID = re.compile(r"[0-9]{15,20}")
_BRANCH = re.compile(r"(?![-/.])(?!.*(\.\.|//|@\{|/\.|\.lock(/|$)))[^\x00-\x20~^:?*\[\\\x7f]{1,200}(?<![/.])")
_CURRENCY = re.compile(r"[A-Z]{3,8}")


def _words(value: object) -> object:
    # A line is split as a shell would, and no shell is asked: nothing in it is expanded.
    return shlex.split(value) if isinstance(value, str) else value


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[object], object]:
    def check(value: object) -> object:
        if not (isinstance(value, str) and pattern.fullmatch(value)):
            raise ValueError(f"{value!r} is not a {what}")
        return value

    return check


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (LookupError, OSError, ValueError) as exc:  # one that is not there, a directory, no name of a file
        raise ValueError(f"{name!r} is not a time zone that this machine knows, such as Europe/Berlin") from exc
    return name


def _millionths(amount: float | None) -> int | None:
    # At least one: less would refuse everything, which nobody can have meant.
    return None if amount is None else max(1, round(amount * MILLION))


def _command_or_table(value: object) -> object:
    return {"command": value} if isinstance(value, str) else value


def _agent_or_table(value: object) -> object:
    return {"agent": value} if isinstance(value, str) else value


def _value(value: object) -> object:
    # As they are written in TOML: an option that is on or off is no text there.
    return str(value).lower() if isinstance(value, bool) else value


_Words = Annotated[list[str], BeforeValidator(_words)]
_Variable = Annotated[str, BeforeValidator(_matching(_VARIABLE, "variable's name"))]
_Name = Annotated[str, BeforeValidator(_matching(_NAME, "name: small letters, digits, - and _, at most 32"))]
_Money = Annotated[float, Field(gt=0, le=10**12, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1)]
_ChannelId = Annotated[str, BeforeValidator(_matching(_ID, "channel's id (15 to 20 digits)"))]
_Branch = Annotated[str, BeforeValidator(_matching(_BRANCH, "name that git allows, such as main"))]
_Option = Annotated[str, Field(min_length=1, max_length=ID_LIMIT)]
_Options = dict[_Option, Annotated[_Option, BeforeValidator(_value)]]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    # Strict: TOML has types, and who writes "12" for a number has made a mistake.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class LimitsTable(_Strict):
    memory: Memory | None = None
    processes: Annotated[int, Field(ge=1)] | None = None
    open_files: Annotated[int, Field(ge=16)] | None = None


class RuleTable(_Strict):
    kind: str | None = None
    command: str | None = None
    path: str | None = None

    def rule(self) -> Rule:
        return Rule(self.kind, self.command, self.path)


class PermissionsTable(_Strict):
    mode: Literal["ask", "deny", "allow"] | None = None
    two_person: list[Annotated[RuleTable, BeforeValidator(_command_or_table)]] = []
    allow: list[RuleTable] = []
    deny: list[RuleTable] = []
    modes: list[_Option] = []

    def rules(self) -> Rules:
        return Rules(*(tuple(one.rule() for one in several) for several in (self.allow, self.deny, self.two_person)))


class AgentPermissionsTable(PermissionsTable):
    i_trust_this_agent: bool = False


class AgentTable(_Strict):
    command: Annotated[_Words, Field(min_length=1)]
    env: list[_Variable] = []
    set: dict[_Variable, str] = {}
    workspace: Annotated[str, Field(min_length=1)] | None = None
    session_directory: Annotated[str, Field(pattern="^/")] | None = None
    start_timeout: _Seconds | None = None
    hard_timeout: _Seconds | None = None
    wrapper: _Words = []
    sessions_per_process: Annotated[int, Field(ge=1)] | None = None
    limits: LimitsTable = LimitsTable()
    permissions: AgentPermissionsTable = AgentPermissionsTable()
    options: _Options = {}
    mcp: bool | None = None
    mcp_command: _Words = []
    engine: str | None = None


class ProjectTable(_Strict):
    path: Annotated[str, Field(pattern="^/")]
    agent: str | None = None
    worktree: bool = True
    base: _Branch = "main"
    setup: _Words = []
    setup_timeout: _Seconds = 600.0
    env: list[_Variable] = []
    hooks: bool = False
    remote: _Branch = "origin"
    keep_days: Annotated[int, Field(ge=1, le=3650)] = 14
    permissions: PermissionsTable = PermissionsTable()


class ChannelTable(_Strict):
    agent: str | None = None
    project: str | None = None
    options: _Options = {}


class BudgetTable(_Strict):
    per_thread: _Money | None = None
    per_user_day: _Money | None = None
    per_day: _Money | None = None
    per_thread_tokens: _Count | None = None
    per_user_day_tokens: _Count | None = None
    per_day_tokens: _Count | None = None
    currency: Annotated[str, BeforeValidator(_matching(_CURRENCY, "currency, such as USD"))] = "USD"
    time_zone: Annotated[str, AfterValidator(_time_zone)] | None = None

    def budget(self) -> Budget:
        said = self.model_dump()
        # In whole millionths: sums of fractions would drift away from what was spent.
        limits = {scope: Limit(_millionths(said[scope.value]), said[f"{scope.value}_tokens"]) for scope in Scope}
        zone = ZoneInfo(self.time_zone) if self.time_zone is not None else None
        return Budget({scope: limit for scope, limit in limits.items() if limit != Limit()}, self.currency, zone)


class Content(_Strict):
    default: str | None = None
    budget: BudgetTable = BudgetTable()
    permissions: PermissionsTable = PermissionsTable()
    agents: Annotated[dict[_Name, AgentTable], Field(min_length=1)]
    engines: dict[_Name, dict[str, Any]] = {}
    projects: dict[_Name, ProjectTable] = {}
    channels: dict[_ChannelId, Annotated[ChannelTable, BeforeValidator(_agent_or_table)]] = {}
