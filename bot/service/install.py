"""Puts the unit in its place and takes it away again, by way of `systemctl`.

What is not ours is not touched: a unit of the same name without our mark is neither overwritten nor removed.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from acp.environment import agent_environment
from bot.agents.checks import fixed_part
from bot.agents.file import FILE_NAME, AgentsFile, AgentsFileError
from bot.config import TOKEN_VARIABLE, ConfigError
from bot.service.unit import MARK, NAME, STRICT_NAME, Plan, strict, unit

CODE = Path(__file__).resolve().parents[2]
"""Where Weft's packages lie: in the environment, or in a checkout beside it."""

STATE = Path("/var/lib/weft")
"""What `StateDirectory=weft` means; it is writable as it is."""


SYSTEMCTL_NEEDS = ("DBUS_SESSION_BUS_ADDRESS", "DBUS_SYSTEM_BUS_ADDRESS", "SYSTEMD_*")
"""What systemctl reads beside what every child gets."""


class ServiceError(Exception):
    """A file could not be written, or systemctl failed; the message says what."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where units lie, and how to speak to the systemd that reads them.

    Attributes:
        own: whether it is the user's own systemd.
    """

    own: bool

    @property
    def unit(self) -> Path:
        """Where the unit is."""
        if not self.own:
            return Path("/etc/systemd/system") / NAME
        return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user" / NAME

    @property
    def strict(self) -> Path:
        """Where the strict drop-in is."""
        return self.unit.with_name(f"{NAME}.d") / STRICT_NAME

    def command(self, *arguments: str) -> list[str]:
        """Return the call of systemctl."""
        return ["systemctl", *(["--user"] if self.own else []), *arguments]

    def systemctl(self, *arguments: str) -> None:
        """Call systemctl.

        Raises:
            ServiceError: it can't be called, or it failed.
        """
        command = self.command(*arguments)
        try:
            done = subprocess.run(command, check=False, env=environment())  # noqa: S603
        except OSError as exc:
            raise ServiceError(f"{command[0]} can't be run: {exc.strerror}") from exc
        if done.returncode:
            raise ServiceError(f"`{' '.join(command)}` failed with exit code {done.returncode}")


def environment() -> dict[str, str]:
    """Return the variables that systemctl gets: this shell may have the token and agents' keys in its own (R5)."""
    return agent_environment(os.environ, SYSTEMCTL_NEEDS)


def make_plan(env_file: Path, run_as: str | None, token_file: Path | None, sealed_token: Path | None = None) -> Plan:
    """Return what the unit has to say, from the file of settings alone: a service does not see this shell's variables.

    Raises:
        ConfigError: something is missing; one line for each.
    """
    settings = _settings_in(env_file)
    agents_file = _agents_file(env_file, settings)
    workspaces = _workspaces(settings.get("WEFT_WORKSPACE"), agents_file)
    problems = [
        *_workspace_problems(env_file, workspaces),
        *_token_problems(env_file, settings, token_file, sealed_token),
        _user_problem(run_as),
    ]
    if any(problems):
        raise ConfigError(*filter(None, problems))
    state = settings.get("WEFT_STATE_DIR")
    writable = [*workspaces, *([Path(state)] if state else []), *_home(run_as)]
    return Plan(
        python=Path(sys.executable),
        prefixes=(Path(sys.prefix), Path(sys.base_prefix), CODE, *([agents_file.parent] if agents_file else [])),
        env_file=env_file.absolute(),
        run_as=run_as,
        token_file=token_file.absolute() if token_file else None,
        sealed_token=sealed_token.absolute() if sealed_token else None,
        writable=tuple(writable),
    )


def _settings_in(env_file: Path) -> dict[str, str | None]:
    try:
        env_file.read_bytes()  # python-dotenv takes a file that is not there for an empty one
        return dotenv_values(env_file)
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{env_file} can't be read: {exc}") from exc


def _agents_file(env_file: Path, settings: dict[str, str | None]) -> Path | None:
    named = settings.get("WEFT_AGENTS_FILE")
    path = Path(named) if named else env_file.absolute().parent / FILE_NAME
    if not path.is_absolute():
        raise ConfigError(f"WEFT_AGENTS_FILE: {path} is not an absolute path, and a service starts elsewhere")
    return path if named or path.exists() else None


def _workspaces(usual: str | None, agents_file: Path | None) -> list[Path]:
    """Return the directories in which agents work, without the part that is each thread's own."""
    if agents_file is None:
        return [fixed_part(usual)] if usual else []
    try:
        agents = AgentsFile.read(agents_file).agents(usual)
    except ValueError as exc:
        raise ConfigError(str(exc)) from exc
    except AgentsFileError as exc:
        raise ConfigError(*exc.problems) from exc
    return list(dict.fromkeys(fixed_part(agent.workspace) for agent in agents))


def _workspace_problems(env_file: Path, workspaces: list[Path]) -> Iterator[str]:
    if not workspaces:
        yield f"{env_file} has no WEFT_WORKSPACE: the directory in which agents work"
    for path in workspaces:
        if not (path.is_absolute() and path.is_dir()):
            yield f"WEFT_WORKSPACE: {path} is not a directory"


def _token_problems(
    env_file: Path, settings: dict[str, str | None], token_file: Path | None, sealed_token: Path | None
) -> Iterator[str]:
    if token_file is None and sealed_token is None and not settings.get(TOKEN_VARIABLE):
        yield f"{env_file} has no {TOKEN_VARIABLE}, and there is no --token-file"
    if token_file is not None and sealed_token is not None:
        yield "--token-file and --sealed-token: only one of them can be"
    for option, path in (("--token-file", token_file), ("--sealed-token", sealed_token)):
        if path is not None and not path.is_file():
            yield f"{option}: {path} is not a file"


def _user_problem(run_as: str | None) -> str:
    if run_as is None or _knows(run_as):
        return ""
    command = f"useradd --system --home-dir {STATE} --shell /usr/sbin/nologin {run_as}"
    return f"there is no user {run_as}: make it with {command}"


def _knows(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _home(run_as: str | None) -> list[Path]:
    """Return the user's home if it has to be made writable: agents keep logins, sessions and caches there."""
    if run_as is None:
        return []
    entry = pwd.getpwnam(run_as)
    home = Path(entry.pw_dir)
    # Users of the system often have a home that is not theirs, such as / or /usr/sbin.
    theirs = home.is_dir() and home.stat().st_uid == entry.pw_uid
    return [home] if theirs and not home.is_relative_to(STATE) else []


def install(place: Place, plan: Plan, *, with_strict: bool, now: bool) -> None:
    """Write the unit, have it read, and enabled for the next boot; with ``now`` started as well.

    Raises:
        ServiceError: a file that is not ours is in the way, can't be written, or systemctl failed.
    """
    _write(place.unit, unit(plan))
    if with_strict:
        _write(place.strict, strict(plan))
    else:
        _remove(place.strict)
    place.systemctl("daemon-reload")
    place.systemctl("enable", NAME)
    if now:
        # Without --no-block this would wait for Discord, as the start does.
        place.systemctl("restart", "--no-block", NAME)


def uninstall(place: Place) -> bool:
    """Stop the service and remove what `install` wrote; False if there is nothing of it.

    Raises:
        ServiceError: the unit is not ours, can't be removed, or systemctl failed.
    """
    if not place.unit.exists():
        return False
    _check(place.unit)
    place.systemctl("disable", "--now", NAME)
    # Or systemd remembers a failure of what is no longer there; without one it knows no such unit any more.
    subprocess.run(place.command("reset-failed", NAME), capture_output=True, check=False, env=environment())  # noqa: S603
    _remove(place.strict)
    _remove(place.unit)
    place.systemctl("daemon-reload")
    return True


def _check(path: Path) -> None:
    if path.exists() and MARK not in path.read_text():
        raise ServiceError(f"{path} was not written by `weft service install`: move it away first")


def _write(path: Path, text: str) -> None:
    try:
        _check(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
    except OSError as exc:
        raise ServiceError(f"{path} can't be written: {exc.strerror}") from exc


def _remove(path: Path) -> None:
    try:
        if path.exists():
            _check(path)
            path.unlink()
            if path.parent.name.endswith(".d") and not any(path.parent.iterdir()):
                path.parent.rmdir()
    except OSError as exc:
        raise ServiceError(f"{path} can't be removed: {exc.strerror}") from exc
