"""Whether the bot can run with its settings: what is missing, not there, or can't be started, a line for each.

It only looks; `bot.config` says what each setting may be at all.
"""

from __future__ import annotations

import base64
import binascii
import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bot.agents.checks import agents_problems, directory_problem, program_problem
from bot.agents.file import AgentsFile, AgentsFileError
from bot.agents.model import Agents, only
from bot.config import TOKEN_VARIABLE, ConfigError, Settings, load_environment, read_settings
from bot.files import Unusable, is_directory, mode_of, not_absolute, user_name
from bot.wording import installing

NO_TOKEN = (
    "this is not a bot token (three parts with dots between them): copy it from Discord's developer portal"  # noqa: S105
    " (Bot, Reset Token)"
)

NO_DRIVER = f"what speaks to PostgreSQL is not installed: {installing('postgres')}"

_TOKEN_PARTS = 3


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What ``weft run`` can't do without, found present and usable.

    Attributes:
        environment: where the variables of agents are taken from; they see an allow-listed part of it (R5).
        database_url: where the state is, if it is on a server.
    """

    token: str
    agents: Agents
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    database_url: str | None = field(default=None, repr=False)


def preflight(settings: Settings, environment: Mapping[str, str] | None = None) -> RunSettings:
    """Check everything that can be checked without starting anything.

    Raises:
        ConfigError: something is missing or not there; one line for each.
    """
    if problems := list(unusable(settings)):
        raise ConfigError(*problems)
    return RunSettings(
        token_of(settings),
        agents_of(settings),
        dict(os.environ if environment is None else environment),
        database_of(settings),
    )


def checked_settings(env_file: Path, token: str | None = None) -> tuple[Settings, RunSettings]:
    """Return what `read_settings` and `preflight` return.

    Raises:
        ConfigError: with all that either finds, so that nobody fixes one line only to be shown the next.
    """
    reading = read_settings(env_file, token)
    if problems := [*reading.problems, *unusable(reading.settings, reading.wrong)]:
        raise ConfigError(*problems)
    return reading.settings, preflight(reading.settings, load_environment(env_file))


def unusable(settings: Settings, wrong: frozenset[str] = frozenset()) -> Iterator[str]:
    """Say what ``weft run`` lacks; ``wrong``: settings of which it is known that they could not be understood."""
    problems = {
        TOKEN_VARIABLE: [_run_token_problem(settings)],
        "WEFT_AGENTS_FILE": _agents_problems(settings, wrong),
        "WEFT_TRANSCRIBE": [_transcriber_problem(settings)],
        "WEFT_STATE_DIR": [state_problem(settings.state_dir, settings.called("WEFT_STATE_DIR"))],
        "WEFT_DATABASE_URL": [_driver_problem(settings)],
    }
    # What was not understood has its default, about which there is nothing to say.
    for name, found in problems.items():
        if name not in wrong:
            yield from filter(None, found)


def _driver_problem(settings: Settings) -> str:
    # Looked for, not imported: that would load a C library for a mere check.
    missing = settings.database_url is not None and importlib.util.find_spec("psycopg") is None
    return f"{settings.called('WEFT_DATABASE_URL')}: {NO_DRIVER}" if missing else ""


def _transcriber_problem(settings: Settings) -> str:
    problem = program_problem(settings.transcribe[0]) if settings.transcribe else ""
    return f"{settings.called('WEFT_TRANSCRIBE')}: {problem}" if problem else ""


def _agents_problems(settings: Settings, wrong: frozenset[str] = frozenset(), path: str | None = None) -> Iterator[str]:
    if settings.agents_file is not None:
        yield from _file_problems(settings, settings.agents_file, wrong, path)
        return
    if "WEFT_AGENT_COMMAND" not in wrong:
        yield agent_problem(settings.agent_command, settings.called("WEFT_AGENT_COMMAND"), path)
    if "WEFT_WORKSPACE" not in wrong:
        yield workspace_problem(settings.workspace, settings.called("WEFT_WORKSPACE"))


def _file_problems(settings: Settings, file: AgentsFile, wrong: frozenset[str], path: str | None) -> Iterator[str]:
    for name, value in (("WEFT_AGENT_COMMAND", settings.agent_command), ("WEFT_AGENT_ENV", settings.agent_env)):
        if value:
            yield f"{settings.called(name)}: {file.path} already says which agents there are: remove one of the two"
    usual = settings.workspace
    problem = workspace_problem(usual, settings.called("WEFT_WORKSPACE")) if usual else ""
    yield problem
    if problem or "WEFT_WORKSPACE" in wrong:
        usual = "/"  # that an agent has none, or a bad one, would be the same fault once more
    try:
        agents: Agents | None = file.agents(usual, settings.state_dir)
    except AgentsFileError as exc:
        yield from exc.problems
        agents = exc.agents
    if agents is not None:
        yield from agents_problems(agents, file, path)
        unset = not settings.approver_roles and "WEFT_APPROVER_ROLES" not in wrong
        if unset and any(one.rules.two_person for one in (*agents, *agents.projects.values())):
            what = f"the two_person rules in {file.path} need a second person"
            yield f"WEFT_APPROVER_ROLES is not set: name a role, as {what}"


def agents_of(settings: Settings, path: str | None = None) -> Agents:
    """Return the agents, of which programs and directories were found.

    Args:
        path: where programs are looked for, if not in our own PATH.

    Raises:
        ConfigError: there is none, or one can't be started; one line for each reason.
    """
    if problems := list(filter(None, _agents_problems(settings, path=path))):
        raise ConfigError(*problems)
    if settings.agents_file is not None:
        return settings.agents_file.agents(settings.workspace, settings.state_dir)
    return only(settings.agent_command, settings.workspace or "", settings.agent_env)


def token_of(settings: Settings) -> str:
    """Return the bot's token, empty if there is none."""
    return settings.discord_token.get_secret_value().strip() if settings.discord_token else ""


def database_of(settings: Settings) -> str | None:
    """Return where the state is, if it is on a server."""
    return settings.database_url.get_secret_value() if settings.database_url is not None else None


def _run_token_problem(settings: Settings) -> str:
    token, name = token_of(settings), settings.called(TOKEN_VARIABLE)
    if not token:
        return f"{name} is not set: create a bot in Discord's developer portal and put its token there"
    # Before its shape: a token with a line break in it has three parts all the same.
    if problem := token_problem(token, name):
        return problem
    # The loopback's tokens have a shape of their own.
    return "" if settings.discord_api or looks_like_token(token) else f"{name}: {NO_TOKEN}"


def token_problem(token: str, name: str = TOKEN_VARIABLE) -> str:
    """Say why a text can't be a token, without repeating it, or nothing."""
    if token.isprintable() and " " not in token:
        return ""
    return f"{name}: a token has no spaces in it: write it alone, on one line"


def looks_like_token(token: str) -> bool:
    """Whether the text is built as Discord builds bot tokens: three parts, the first being an id in base 64."""
    parts = token.split(".")
    if len(parts) != _TOKEN_PARTS or not all(parts):
        return False
    try:
        # Discord leaves out the padding, which Python insists on.
        return base64.urlsafe_b64decode(parts[0] + "=" * (-len(parts[0]) % 4)).isdigit()
    except (binascii.Error, ValueError):
        return False


def agent_problem(argv: tuple[str, ...], name: str = "WEFT_AGENT_COMMAND", path: str | None = None) -> str:
    """Say why the agent command can't be started, or nothing."""
    if not argv:
        return f'{name} is not set: the command that starts your agent, such as "opencode acp"'
    problem = program_problem(argv[0], path)
    return f"{name}: {problem}" if problem else ""


def workspace_problem(workspace: str | None, name: str = "WEFT_WORKSPACE") -> str:
    """Say why the workspace can't be used, or nothing. A part with ``{thread_id}`` is made when it is needed."""
    if not workspace:
        return f"{name} is not set: the directory in which agents work"
    problem = directory_problem(workspace)
    return f"{name}: {problem}" if problem else ""


def state_problem(state_dir: Path, name: str = "WEFT_STATE_DIR") -> str:
    """Say why the state directory can't be used, or nothing; one that is missing is made when the bot starts."""
    if str(state_dir).startswith("~"):  # it would be made, with that name
        return f"{name}: {not_absolute(str(state_dir))}"
    try:
        # The nearest one that is there: below it the bot makes what is missing.
        existing = next(path for path in (state_dir, *state_dir.absolute().parents) if mode_of(path) is not None)
        if not is_directory(existing):
            return f"{name}: {existing} is not a directory"
    except Unusable as exc:
        return f"{name}: {exc}"
    writable = os.access(existing, os.W_OK | os.X_OK)
    return "" if writable else f"{name}: {existing} is not writable for {user_name()}"
