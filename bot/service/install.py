"""Puts the unit in its place and takes it away again, by way of `systemctl`.

What is not ours is not touched: a unit of the same name without our mark is neither overwritten nor removed.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from acp.process import agent_environment
from bot.agents.checks import directory_problem, fixed_part, wants_node
from bot.agents.file import FILE_NAME, AgentsFile, AgentsFileError
from bot.agents.model import Agents, only
from bot.config import TOKEN_VARIABLE, ConfigError
from bot.files import EnvFile, Unusable, may, mode_of, not_absolute, read_text, user_name
from bot.service.unit import MARK, NAME, STRICT_NAME, USUAL_PATH, Plan, strict, unit

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

    def reach(self) -> None:
        """Ask systemd for its version.

        Raises:
            ServiceError: it does not answer.
        """
        command = self.command("show", "--property=Version")
        try:
            asked = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())  # noqa: S603
        except OSError as exc:
            raise ServiceError(f"{command[0]} can't be run: {exc.strerror}") from exc
        if asked.returncode:
            said = asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"]
            raise ServiceError(f"{' '.join(self.command())} gets no answer from systemd: {said[-1]}")

    def reached(self) -> bool:
        """Whether systemd answers."""
        try:
            self.reach()
        except ServiceError:
            return False
        return True

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
    agents = _agents(settings, agents_file)
    workspaces = list(dict.fromkeys(fixed_part(agent.workspace) for agent in agents if agent.workspace))
    problems = [
        *_workspace_problems(env_file, workspaces),
        *_token_problems(env_file, settings, token_file, sealed_token),
        *_user_problems(run_as, [env_file, *([agents_file] if agents_file else [])]),
    ]
    if problems:
        raise ConfigError(*problems)
    state = settings.get("WEFT_STATE_DIR")
    # Branches and objects are written to the repositories, too.
    projects = [project.path for project in agents.projects.values()]
    writable = [*workspaces, *projects, *([Path(state)] if state else []), *_home(run_as)]
    return Plan(
        python=Path(sys.executable),
        prefixes=(Path(sys.prefix), Path(sys.base_prefix), CODE, *([agents_file.parent] if agents_file else [])),
        env_file=env_file.absolute(),
        run_as=run_as,
        token_file=token_file.absolute() if token_file else None,
        sealed_token=sealed_token.absolute() if sealed_token else None,
        writable=tuple(writable),
        path=_search_path(agents, run_as),
    )


def _settings_in(env_file: Path) -> Mapping[str, str]:
    try:
        file = EnvFile.read(env_file)
    except Unusable as exc:
        raise ConfigError(str(exc)) from exc
    if mode_of(env_file) is None:
        raise ConfigError(f"{env_file} does not exist: the service reads its settings from it")
    if file.problems:
        raise ConfigError(*file.problems)
    return file.values


def _agents_file(env_file: Path, settings: Mapping[str, str]) -> Path | None:
    named = settings.get("WEFT_AGENTS_FILE")
    path = Path(named) if named else env_file.absolute().parent / FILE_NAME
    if not path.is_absolute():
        raise ConfigError(f"WEFT_AGENTS_FILE: {not_absolute(str(path))}: a service starts in another directory")
    return path if named or path.exists() else None


def _agents(settings: Mapping[str, str], agents_file: Path | None) -> Agents:
    """Return the agents as far as the file of settings goes; whether they can be started is not looked at."""
    usual = settings.get("WEFT_WORKSPACE")
    if agents_file is None:
        try:
            command = shlex.split(settings.get("WEFT_AGENT_COMMAND", ""))
        except ValueError as exc:
            raise ConfigError(f"WEFT_AGENT_COMMAND: {exc}") from exc
        return only(tuple(command), usual or "")
    try:
        return AgentsFile.read(agents_file).agents(usual)
    except Unusable as exc:
        raise ConfigError(str(exc)) from exc
    except AgentsFileError as exc:
        raise ConfigError(*exc.problems) from exc


def _search_path(agents: Agents, run_as: str | None) -> tuple[Path, ...]:
    """Return where the service is to look for programs.

    This shell's PATH is not taken over: it belongs to a session, and some of it may be gone with that. What a version
    manager has made for the session is a link to a directory that stays, which is named instead.
    """
    found: list[str | None] = []
    for program in [words[0] for agent in agents for words in (agent.wrapper, agent.command) if words]:
        found.append(where := shutil.which(program))
        if where and wants_node(where):
            found.append(shutil.which("node", path=f"{Path(where).parent}:{os.environ.get('PATH', '')}"))
    directories = dict.fromkeys(Path(where).absolute().parent.resolve() for where in found if where)
    return (*(one for one in directories if one not in USUAL_PATH and may(run_as, "x", one)), *USUAL_PATH)


def _workspace_problems(env_file: Path, workspaces: list[Path]) -> Iterator[str]:
    if not workspaces:
        yield f"{env_file} has no WEFT_WORKSPACE: the directory in which agents work"
    for path in workspaces:
        if problem := directory_problem(str(path)):
            yield f"WEFT_WORKSPACE: {problem}"


def _token_problems(
    env_file: Path, settings: Mapping[str, str], token_file: Path | None, sealed_token: Path | None
) -> Iterator[str]:
    if token_file is None and sealed_token is None and not settings.get(TOKEN_VARIABLE):
        yield f"{env_file} has no {TOKEN_VARIABLE}, and there is no --token-file"
    if token_file is not None and sealed_token is not None:
        yield "--token-file and --sealed-token: give only one of the two"
    for option, path in (("--token-file", token_file), ("--sealed-token", sealed_token)):
        try:
            if path is not None and not stat.S_ISREG(mode_of(path) or 0):
                yield f"{option}: {path} is not a file"
        except Unusable as exc:
            yield f"{option}: {exc}"


def _user_problems(run_as: str | None, read: list[Path]) -> Iterator[str]:
    if run_as is not None and not _knows(run_as):
        command = f"useradd --system --home-dir {STATE} --shell /usr/sbin/nologin {run_as}"
        yield f"there is no user {run_as}: create it with {command}"
        return
    # As after pipx by root, which puts its environments below /root: the start would fail with 203/EXEC.
    if not may(run_as, "x", Path(sys.executable)):
        yield f"{sys.executable} can't be run by {run_as}: install Weft where that user can enter, such as below /opt"
    for path in read:
        if not may(run_as, "r", path):
            who = run_as or user_name()
            yield f"{path} can't be read by {who}, the user of the service: chgrp {who} {path}; chmod 640 {path}"


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
        ServiceError: a file that is not ours is in the way, can't be written, systemd does not answer, or it failed.
    """
    place.reach()  # first, so that nothing is written where nothing reads it
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
    """Stop the service and remove what `install` wrote, whatever systemd says; False if there is nothing of it.

    Raises:
        ServiceError: the unit is not ours, can't be removed, or systemd could not stop it.
    """
    if not _check(place.unit):
        return False
    failed = ""
    if reached := place.reached():
        try:
            place.systemctl("disable", "--now", NAME)
        except ServiceError as exc:
            failed = str(exc)
        # Or systemd remembers a failure of what is no longer there; without one it knows no such unit any more.
        subprocess.run(place.command("reset-failed", NAME), capture_output=True, check=False, env=environment())  # noqa: S603
    _remove(place.strict)
    _remove(place.unit)
    for wants in place.unit.parent.glob("*.wants"):  # where systemd answers, `disable` has done it
        (wants / NAME).unlink(missing_ok=True)
    if reached:
        place.systemctl("daemon-reload")
    if failed:
        raise ServiceError(f"{place.unit}: removed, but {failed}: check whether the bot is still running")
    return True


def _check(path: Path) -> bool:
    """Return whether there is a file; refuse one that is not ours."""
    try:
        if mode_of(path) is None:
            return False
        if MARK not in read_text(path):
            raise ServiceError(f"{path} was not written by `weft service install`: move it away, then try again")
    except Unusable as exc:
        raise ServiceError(str(exc)) from exc
    return True


def _write(path: Path, text: str) -> None:
    try:
        # Or a unit of the same name that somebody else wrote would be lost.
        _check(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        # Whatever the umask: systemd complains about units that not everybody can read.
        path.chmod(0o644)
    except OSError as exc:
        raise ServiceError(f"{path} can't be written: {exc.strerror}") from exc


def _remove(path: Path) -> None:
    try:
        if _check(path):
            path.unlink()
            if path.parent.name.endswith(".d") and not any(path.parent.iterdir()):
                path.parent.rmdir()
    except OSError as exc:
        raise ServiceError(f"{path} can't be removed: {exc.strerror}") from exc
