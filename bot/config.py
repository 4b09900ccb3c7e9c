"""Settings: read from the environment and an optional ``.env`` file, checked once, immutable from then on.

Every setting has a name, a unit and a line in ``.env.example``. Nothing here starts anything; `preflight` only looks.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bot.agents.checks import agents_problems, directory_problem, program_problem
from bot.agents.file import FILE_NAME, AgentsFile, AgentsFileError
from bot.agents.model import Agents, only
from bot.ops.address import parse_address

EX_CONFIG = 78
"""Exit code for what a restart can't heal: configuration, token, intents, an agent that can't start."""

EX_SECOND_INSTANCE = 75
"""Exit code for a second bot on the same state."""

TOKEN_VARIABLE = "DISCORD_TOKEN"  # noqa: S105  a name
TOKEN_CREDENTIAL = "discord-token"  # noqa: S105
"""Name of the file in systemd's `$CREDENTIALS_DIRECTORY` that holds the token."""
_MIN_ID_DIGITS, _MAX_ID_DIGITS = 15, 20


class ConfigError(Exception):
    """The settings can't be used; ``problems`` holds one line each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def _words(value: object) -> object:
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _argv(value: object) -> object:
    return shlex.split(value) if isinstance(value, str) else value


def _snowflake(value: object) -> int:
    text = str(value)
    if not (text.isascii() and text.isdigit() and _MIN_ID_DIGITS <= len(text) <= _MAX_ID_DIGITS):
        raise ValueError(f"{text!r} is not a Discord id (a number of {_MIN_ID_DIGITS} to {_MAX_ID_DIGITS} digits)")
    return int(text)


def _agents_file(value: object) -> object:
    return AgentsFile.read(Path(value)) if isinstance(value, str | Path) else value


def _http_url(value: str | None) -> str | None:
    if value and not value.startswith(("http://", "https://")):
        raise ValueError(f"{value!r} is not an http address")
    return value.rstrip("/") if value else None


def _health_address(value: str | None) -> str | None:
    return str(parse_address(value)) if value else None


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

    model_config = SettingsConfigDict(env_prefix="WEFT_", extra="ignore", frozen=True, env_ignore_empty=True)

    discord_token: SecretStr | None = Field(default=None, validation_alias="DISCORD_TOKEN")
    discord_api: Annotated[str | None, AfterValidator(_http_url)] = None
    agent_command: Argv = ()
    agent_env: Names = ()
    agents_file: File = None
    workspace: str | None = None
    state_dir: Path = Field(default_factory=default_state_dir)
    allowed_guilds: Ids = ()
    allowed_channels: Ids = ()
    allowed_users: Ids = ()
    allowed_roles: Ids = ()
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
    reactions: bool = True
    idle_ttl: Seconds = 900
    start_timeout: Seconds = 60
    liveness_interval: Seconds = 30
    hard_timeout: Seconds = 1800
    cancel_grace: Seconds = 10
    permission_timeout: Seconds = 600
    stop_grace: Annotated[float, Field(ge=0)] = 30
    catch_up: Annotated[float, Field(ge=0)] = 600
    drain: Annotated[float, Field(ge=0, le=10)] = 0.2
    edit_interval: Annotated[float, Field(ge=0)] = 1.25
    max_line: Annotated[int, Field(ge=64 * 1024)] = 16 * 1024 * 1024
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = "auto"
    health: Annotated[str | None, AfterValidator(_health_address)] = None

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


def load_settings(env_file: Path | None = None, token: str | None = None) -> Settings:
    """Return the settings of this environment; a ``weft.toml`` beside ``env_file`` is read if no other is named.

    Args:
        token: goes before all other places; by default systemd's credential does.

    Raises:
        ConfigError: a value can't be understood; one line for each, named by its setting.
    """
    try:
        given = token or credential(os.environ)
        first: dict[str, Any] = {TOKEN_VARIABLE: given} if given else {}
        return _with_agents(Settings(_env_file=env_file, **first), env_file)
    except ValidationError as exc:
        raise ConfigError(*dict.fromkeys(_problem(error["loc"], error["msg"]) for error in exc.errors())) from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{env_file} can't be read: {exc}") from exc


def credential(environ: Mapping[str, str]) -> str | None:
    """Return the token that systemd hands over in a file of its own, if it does.

    Raises:
        ConfigError: the file can't be read.
    """
    directory = environ.get("CREDENTIALS_DIRECTORY")
    path = Path(directory) / TOKEN_CREDENTIAL if directory else None
    try:
        return path.read_text().strip() or None if path is not None and path.exists() else None
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"the credential {TOKEN_CREDENTIAL} can't be read: {exc}") from exc


def take_token(environ: MutableMapping[str, str]) -> str | None:
    """Return the token of the credential or else the variable, which is removed: no child is to inherit it (R5).

    Raises:
        ConfigError: the credential can't be read.
    """
    variable = environ.pop(TOKEN_VARIABLE, "").strip()
    return credential(environ) or variable or None


def _with_agents(settings: Settings, env_file: Path | None) -> Settings:
    beside = env_file.parent / FILE_NAME if env_file is not None else None
    if settings.agents_file is not None or beside is None or not beside.exists():
        return settings
    try:
        return settings.model_copy(update={"agents_file": AgentsFile.read(beside)})
    except ValueError as exc:
        raise ConfigError(str(exc)) from exc


def _problem(location: tuple[int | str, ...], message: str) -> str:
    field = str(location[0]) if location else "settings"
    setting = field if field.isupper() else f"WEFT_{field.upper()}"
    return f"{setting}: {message.removeprefix('Value error, ')}"


def load_environment(env_file: Path | None = None) -> dict[str, str]:
    """Return the variables that agents may be given by name: those of the file, the process's own going first."""
    if env_file is None or not env_file.is_file():
        return dict(os.environ)
    return {name: value for name, value in dotenv_values(env_file).items() if value} | dict(os.environ)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What ``weft run`` can't do without, found present and usable.

    Attributes:
        environment: where the variables of agents are taken from; they see an allow-listed part of it (R5).
    """

    token: str
    agents: Agents
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)


def preflight(settings: Settings, environment: Mapping[str, str] | None = None) -> RunSettings:
    """Check everything that can be checked without starting anything.

    Raises:
        ConfigError: something is missing or not there; one line for each.
    """
    token = settings.discord_token.get_secret_value().strip() if settings.discord_token else ""
    problems = [
        "DISCORD_TOKEN is not set: create a bot in Discord's developer portal and put its token there"
        if not token
        else token_problem(token),
        state_problem(settings.state_dir),
    ]
    try:
        agents = agents_of(settings)
    except ConfigError as exc:
        problems[1:1] = exc.problems
    if any(problems):
        raise ConfigError(*filter(None, problems))
    return RunSettings(token, agents, os.environ.copy() if environment is None else environment)


def agents_of(settings: Settings) -> Agents:
    """Return the agents, of which programs and directories were found.

    Raises:
        ConfigError: there is none, or one can't be started; one line for each reason.
    """
    file = settings.agents_file
    if file is None:
        problems = list(filter(None, [agent_problem(settings.agent_command), workspace_problem(settings.workspace)]))
        if problems:
            raise ConfigError(*problems)
        return only(settings.agent_command, settings.workspace or "", settings.agent_env)
    try:
        agents = file.agents(settings.workspace)
    except AgentsFileError as exc:
        raise ConfigError(*_contradictions(settings, file), *exc.problems) from exc
    if problems := [*_contradictions(settings, file), *agents_problems(agents, file.path.name)]:
        raise ConfigError(*problems)
    return agents


def _contradictions(settings: Settings, file: AgentsFile) -> list[str]:
    given = {"WEFT_AGENT_COMMAND": settings.agent_command, "WEFT_AGENT_ENV": settings.agent_env}
    return [
        f"{name}: {file.path} says which agents there are; take one of the two away" for name in given if given[name]
    ]


def token_problem(token: str) -> str:
    """Say why a text can't be a token, without repeating it, or nothing."""
    return "" if token.isprintable() and " " not in token else "DISCORD_TOKEN: white space is no part of a token"


def agent_problem(argv: tuple[str, ...]) -> str:
    """Say why the agent command can't be started, or nothing."""
    if not argv:
        return 'WEFT_AGENT_COMMAND is not set: the command that starts your agent, such as "opencode acp"'
    problem = program_problem(argv[0])
    return f"WEFT_AGENT_COMMAND: {problem}" if problem else ""


def workspace_problem(workspace: str | None) -> str:
    """Say why the workspace can't be used, or nothing. A part with ``{thread_id}`` is made when it is needed."""
    if not workspace:
        return "WEFT_WORKSPACE is not set: the directory in which agents work"
    problem = directory_problem(workspace)
    return f"WEFT_WORKSPACE: {problem}" if problem else ""


def state_problem(state_dir: Path) -> str:
    """Say why the state directory can't be used, or nothing; one that is missing is made when the bot starts."""
    existing = next(path for path in (state_dir, *state_dir.absolute().parents) if path.exists())
    if not existing.is_dir():
        return f"WEFT_STATE_DIR: {existing} is not a directory"
    return "" if os.access(existing, os.W_OK | os.X_OK) else f"WEFT_STATE_DIR: {existing} is not writable"
