"""Settings: read from the environment and an optional ``.env`` file, checked once, immutable from then on.

Every setting has a name, a unit and a line in ``.env.example``. Whether the bot can run with them is for
`bot.preflight` to say.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from acp.process import named
from bot.agents.file import FILE_NAME, AgentsFile, AgentsFileError
from bot.agents.model import Agents
from bot.files import EnvFile, Unusable, is_ours, mode_of, not_absolute, read_text
from bot.ops.address import parse_address
from bot.ops.database_address import database_problem
from bot.wording import nearest, told

EX_CONFIG = 78
"""Exit code for what a restart can't fix: configuration, token, intents, an agent that can't start."""

EX_SECOND_INSTANCE = 75
"""Exit code for a second bot on the same state."""

EX_LEASE_LOST = 69
"""Exit code for a bot that leads no more; started again, it stands by."""

TOKEN_VARIABLE = "DISCORD_TOKEN"  # noqa: S105  a name
TOKEN_CREDENTIAL = "discord-token"  # noqa: S105
"""Name of the file in systemd's `$CREDENTIALS_DIRECTORY` that holds the token."""

NOT_SETTINGS = frozenset(
    {
        "WEFT_AGENT",
        "WEFT_BOT_RUN",
        "WEFT_DEMO_PACE",
        "WEFT_ENGINE_STATE",
        "WEFT_EPOCH",
        "WEFT_LEASE_LIMITS",
        "WEFT_PYTHON",
        "WEFT_RUN",
        "WEFT_STATE",
        "WEFT_TEST_SERVERS",
        "WEFT_TEST_WORKERS",
    }
)
"""Names of Weft's that are no settings: its marks on agents, and what its demo agent, its scripts and its tests use."""

_MIN_ID_DIGITS, _MAX_ID_DIGITS = 15, 20


class ConfigError(Exception):
    """The settings can't be used; ``problems`` holds one line each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def _words(value: object) -> object:
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _argv(value: object) -> object:
    try:
        return shlex.split(value) if isinstance(value, str) else value
    except ValueError as exc:
        reason = str(exc)
        raise ValueError(f"{reason[:1].lower()}{reason[1:]}: check its quotes and backslashes") from exc


def _snowflake(value: object) -> int:
    text = str(value)
    # Before `int`, which takes signs, underscores and the digits of other scripts as well.
    if not (text.isascii() and text.isdigit() and _MIN_ID_DIGITS <= len(text) <= _MAX_ID_DIGITS):
        raise ValueError(f"{text!r} is not a Discord id (a number of {_MIN_ID_DIGITS} to {_MAX_ID_DIGITS} digits)")
    return int(text)


def _agents_file(value: object) -> object:
    if isinstance(value, str) and value.startswith("~"):
        raise ValueError(not_absolute(value))
    return AgentsFile.read(Path(value)) if isinstance(value, str | Path) else value


def _http_url(value: str | None) -> str | None:
    if value and not value.startswith(("http://", "https://")):
        raise ValueError(f"{value!r} is not an http address")
    return value.rstrip("/") if value else None


def _health_address(value: str | None) -> str | None:
    return str(parse_address(value)) if value else None


def _database_url(value: SecretStr | None) -> SecretStr | None:
    # No message has the value in it: it may hold a password.
    if value is not None and (problem := database_problem(value.get_secret_value().strip())):
        raise ValueError(problem)
    return SecretStr(value.get_secret_value().strip()) if value is not None else None


Ids = Annotated[tuple[Annotated[int, BeforeValidator(_snowflake)], ...], NoDecode, BeforeValidator(_words)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
Argv = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_argv)]
File = Annotated[AgentsFile | None, NoDecode, BeforeValidator(_agents_file)]
Seconds = Annotated[float, Field(gt=0)]


def default_state_dir() -> Path:
    """Return where state is kept: ``$STATE_DIRECTORY``, else below ``$XDG_STATE_HOME``, else ``~/.local/state``."""
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "weft"


class Settings(BaseSettings):
    """All settings of ``weft run``; times are in seconds. The agents' file is read with them, and understood later."""

    model_config = SettingsConfigDict(
        env_prefix="WEFT_",
        extra="ignore",  # `unknown_names` can say what was meant
        frozen=True,
        env_ignore_empty=True,  # an empty line in `.env` sets nothing
        env_file_encoding="utf-8-sig",  # some editors put a mark before the text
    )

    discord_token: SecretStr | None = Field(default=None, validation_alias="DISCORD_TOKEN")
    discord_api: Annotated[str | None, AfterValidator(_http_url)] = None
    agent_command: Argv = ()
    agent_env: Names = ()
    agents_file: File = None
    workspace: str | None = None
    state_dir: Path = Field(default_factory=default_state_dir)
    database_url: Annotated[SecretStr | None, AfterValidator(_database_url)] = None
    allowed_guilds: Ids = ()
    allowed_channels: Ids = ()
    allowed_users: Ids = ()
    allowed_roles: Ids = ()
    approver_roles: Ids = ()
    forums: Ids = ()
    max_agents: Annotated[int, Field(ge=1)] = 12
    sessions_per_process: Annotated[int, Field(ge=1)] = 1
    lane_main: Annotated[int | None, Field(ge=1)] = None
    lane_background: Annotated[int | None, Field(ge=1)] = None
    queue_mode: Literal["queue", "followup", "interrupt", "steer"] = "queue"
    queue_cap: Annotated[int, Field(ge=0)] = 10
    queue_drop: Literal["old", "new"] = "old"
    debounce: Annotated[float, Field(ge=0, le=60)] = 0.8
    debounce_max: Annotated[float, Field(ge=0, le=60)] = 3
    max_concurrent: Annotated[int, Field(ge=1)] = 1
    user_messages: Annotated[int, Field(ge=0)] = 30
    context: Annotated[int, Field(ge=0, le=100)] = 20
    reactions: bool = True
    welcome: bool = True
    direct_messages: bool = False
    max_files: Annotated[int, Field(ge=0)] = 10
    max_file_bytes: Annotated[int, Field(ge=1)] = 25 * 1024 * 1024
    transcribe: Argv = ()
    idle_ttl: Seconds = 900
    start_timeout: Seconds = 60
    liveness_interval: Seconds = 30
    hard_timeout: Seconds = 1800
    cancel_grace: Seconds = 10
    permission_timeout: Seconds = 600
    audit_days: Annotated[int, Field(ge=1, le=36500)] = 180
    transcript_days: Annotated[int, Field(ge=0, le=36500)] = 30
    stop_grace: Annotated[float, Field(ge=0)] = 30
    catch_up: Annotated[float, Field(ge=0)] = 600
    drain: Annotated[float, Field(ge=0, le=10)] = 0.2
    edit_interval: Annotated[float, Field(ge=0)] = 1.25
    verbosity: Literal["quiet", "normal", "verbose"] = "normal"
    long_answers: Literal["messages", "file"] = "messages"
    max_line: Annotated[int, Field(ge=64 * 1024)] = 16 * 1024 * 1024
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = "auto"
    health: Annotated[str | None, AfterValidator(_health_address)] = None

    _places: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @property
    def lanes(self) -> tuple[int, int]:
        """How many turns run at once over all threads, for people and in the background (Q6).

        What is not set is 8 and 2, or as many as there can be sessions.
        """
        return self.lane_main or min(8, self._most_sessions), self.lane_background or min(2, self._most_sessions)

    @property
    def _most_sessions(self) -> int:
        return self.max_agents * self.sessions_per_process

    @model_validator(mode="after")
    def _room_for_the_lanes(self) -> Self:
        chosen = self.lane_main is not None or self.lane_background is not None
        if chosen and sum(self.lanes) > self._most_sessions:
            main, background = self.lanes
            each = f" with {self.sessions_per_process} sessions each" if self.sessions_per_process > 1 else ""
            raise ValueError(
                f"WEFT_MAX_AGENTS: {self.max_agents} agents{each} are fewer than the {main} + {background} turns that"
                " the lanes let run (WEFT_LANE_MAIN, WEFT_LANE_BACKGROUND)"
            )
        return self

    def called(self, name: str) -> str:
        """Return a setting's name with the place of its value, as messages have it."""
        return f"{name} ({self._places[name]})" if name in self._places else name


_LANE_FIELDS = frozenset({"max_agents", "sessions_per_process", "lane_main", "lane_background"})


def setting_names() -> frozenset[str]:
    return frozenset(_variable(name) for name in Settings.model_fields)


def _variable(field_name: str) -> str:
    return TOKEN_VARIABLE if field_name in ("discord_token", TOKEN_VARIABLE) else f"WEFT_{field_name.upper()}"


@dataclass(frozen=True, slots=True)
class Reading:
    """Settings as they were read, with all that is wrong in them.

    Attributes:
        settings: what can't be understood has its default.
        problems: a line each.
        wrong: the settings that were not understood; nothing more is to be said of them.
    """

    settings: Settings
    problems: tuple[str, ...]
    wrong: frozenset[str]


def read_settings(env_file: Path | None = None, token: str | None = None) -> Reading:
    """Read the settings of this environment; a ``weft.toml`` beside ``env_file`` is read if no other is named.

    Args:
        token: goes before all other places; by default systemd's credential does.

    Raises:
        ConfigError: the file or the credential can't be read at all.
    """
    try:
        file = EnvFile.read(env_file) if env_file is not None else EnvFile({}, {}, (), frozenset())
    except Unusable as exc:
        raise ConfigError(str(exc)) from exc
    given = token or credential(os.environ)
    first: dict[str, Any] = {TOKEN_VARIABLE: given} if given else {}
    places = {name: f"{env_file}, line {line}" for name, line in file.lines.items()}
    # After the file, as the values: the environment goes first.
    places |= {name.upper(): "environment" for name, value in os.environ.items() if value}
    # A token that was handed over stands in neither place.
    if given:
        places.pop(TOKEN_VARIABLE, None)
    settings, faults = _understood(env_file, first)
    # Private, and so not frozen: where a value stands is known only after it was read.
    settings._places = places
    problems = [f"{settings.called(name)}: {fault}" for name, fault in faults.items()]
    wrong = {*faults, *(file.lost - {name.upper() for name, value in os.environ.items() if value})}
    if "WEFT_AGENTS_FILE" not in wrong and settings.agents_file is None and env_file is not None:
        try:
            settings = settings.model_copy(update={"agents_file": _beside(env_file)})
        except Unusable as exc:
            problems.append(str(exc))
            wrong.add("WEFT_AGENTS_FILE")
    problems = [*file.problems, *unknown_names(file.lines, settings, places), *problems]
    return Reading(settings, tuple(problems), frozenset(wrong))


def _understood(env_file: Path | None, first: dict[str, Any]) -> tuple[Settings, dict[str, str]]:
    """Return the settings, and what is wrong with those that have their default instead."""
    try:
        return Settings(_env_file=env_file, **first), {}
    except ValidationError as exc:
        # One line for each setting: the first of what is wrong with it. What has no place is about the lanes.
        faults = {str((*error["loc"], "max_agents")[0]): told(error) for error in reversed(exc.errors())}
    fields = Settings.model_fields
    # The lanes are compared once every field is understood, so with the rest of them this would come up in their place.
    lost = faults.keys() | (_LANE_FIELDS if faults.keys() & _LANE_FIELDS else frozenset())
    defaults = {name: fields[name].get_default(call_default_factory=True) for name in lost}
    # This ends: a default is valid, so each round leaves fewer names that can be wrong.
    settings, more = _understood(env_file, first | defaults)
    found = {_variable(name): faults[name].removeprefix("WEFT_MAX_AGENTS: ") for name in fields if name in faults}
    return settings, found | more


def unknown_names(names: Iterable[str], settings: Settings, places: Mapping[str, str]) -> Iterator[str]:
    """Say of each name that begins as Weft's do whether there is no such setting."""
    known = setting_names()
    # Compared without what they all begin with: it would make any two of them alike.
    short = {one.removeprefix("WEFT_"): one for one in known}
    given = _given_by_name(settings)
    for name in names:
        # What agents are given by name may be called anything, even like a setting.
        if not is_ours(name) or name in known | NOT_SETTINGS or named({name: ""}, given):
            continue
        near = nearest(name.removeprefix("WEFT_"), short)
        hint = f"did you mean {short[near]}?" if near else ".env.example lists them all"
        yield f"{name} ({places[name]}): there is no such setting; {hint}"


def _given_by_name(settings: Settings) -> tuple[str, ...]:
    """Return which variables agents are given by name, as far as the file of agents can be understood."""
    if settings.agents_file is None:
        return settings.agent_env
    try:
        agents: Agents | None = settings.agents_file.agents("/")
    except AgentsFileError as exc:
        agents = exc.agents
    givers = [*agents, *agents.projects.values()] if agents is not None else []
    return tuple(name for giver in givers for name in giver.env)


def unknown_variables(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Say which variables of the environment look like settings and are none.

    They are worth a warning only: unlike the file, the environment is not Weft's alone.
    """
    places = {name.upper(): "environment" for name in environ}
    return list(unknown_names(places, settings, places))


def load_settings(env_file: Path | None = None, token: str | None = None) -> Settings:
    """Return the settings; the arguments are those of `read_settings`.

    Raises:
        ConfigError: something in them can't be understood; one line for each, named by its setting and its place.
    """
    reading = read_settings(env_file, token)
    if reading.problems:
        raise ConfigError(*reading.problems)
    return reading.settings


def _beside(env_file: Path) -> AgentsFile | None:
    path = env_file.parent / FILE_NAME
    return AgentsFile.read(path) if mode_of(path) is not None else None


def credential(environ: Mapping[str, str]) -> str | None:
    """Return the token that systemd hands over in a file, if it does.

    Raises:
        ConfigError: the file can't be read.
    """
    directory = environ.get("CREDENTIALS_DIRECTORY")
    path = Path(directory) / TOKEN_CREDENTIAL if directory else None
    try:
        return read_text(path).strip() or None if path is not None and mode_of(path) is not None else None
    except Unusable as exc:
        raise ConfigError(f"the credential {TOKEN_CREDENTIAL} can't be read: {exc}") from exc


def take_token(environ: MutableMapping[str, str]) -> str | None:
    """Return the token of the credential or else the variable, which is removed: no child is to inherit it (R5).

    Raises:
        ConfigError: the credential can't be read.
    """
    # Removed in any case, as children inherit what is left.
    variable = environ.pop(TOKEN_VARIABLE, "").strip()
    return credential(environ) or variable or None


def load_environment(env_file: Path | None = None) -> dict[str, str]:
    """Return the variables that agents may be given by name: those of the file, the process's own going first.

    Raises:
        ConfigError: the file can't be read.
    """
    try:
        return (dict(EnvFile.read(env_file).values) if env_file is not None else {}) | dict(os.environ)
    except Unusable as exc:
        raise ConfigError(str(exc)) from exc
