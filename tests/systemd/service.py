"""The bot as a service of the machine: installed by its own command, with a loopback Discord in the test."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from bot.sandbox import FakeDiscord
from bot.service.unit import NAME
from tests.agents import ScriptedAgent
from tests.systemd.machine import ROOT, USER_ID, Machine

LIMIT = 300.0
"""Seconds for all that a test does with a service: several starts of the bot from nothing, on a busy machine."""

UNITS = "/etc/systemd/system"
WEFT = (sys.executable, "-P", "-m", "bot")
DROP_IN = """\
[Service]
Environment=PYTHONPATH={root}
StandardOutput=append:{log}
StandardError=append:{log}
RestartSec=100ms
"""


@dataclass(frozen=True, slots=True)
class Service:
    """The service of one test."""

    machine: Machine
    directory: Path
    discord: FakeDiscord

    @property
    def log(self) -> str:
        """What the bot has said on stderr, all its lives together."""
        path = self.directory / "log"
        return path.read_text() if path.exists() else ""

    async def logged(self, event: str) -> None:
        """Wait until an event is logged; the caller bounds the wait."""
        while event not in self.log:  # noqa: ASYNC110  another process writes the log
            await anyio.sleep(0.01)

    async def pid(self) -> int:
        """Return the bot's process id, as the machine counts."""
        return int(await self.machine.property("MainPID"))

    async def age(self) -> float:
        """Return for how many seconds the bot's process has been there."""
        begun = int(await self.machine.property("ExecMainStartTimestampMonotonic")) / 1e6
        return time.clock_gettime(time.CLOCK_MONOTONIC) - begun

    async def start(self, command: str = "start") -> None:
        """Start or restart the service; returns when it is ready."""
        await self.machine.run("systemctl", command, NAME)


def written_settings(directory: Path, discord: FakeDiscord, agent: ScriptedAgent, **more: str) -> Path:
    """Write the file of settings: everything is quick, and Discord is the test's."""
    settings = {
        "WEFT_DISCORD_API": discord.api_url,
        "WEFT_AGENT_COMMAND": shlex.join(agent.argv),
        "WEFT_WORKSPACE": str(directory / "work"),
        "WEFT_CANCEL_GRACE": "1",
        "WEFT_STOP_GRACE": "0",
        "WEFT_DEBOUNCE": "0",
        "WEFT_REACTIONS": "false",
        "WEFT_WELCOME": "false",
        "WEFT_USER_MESSAGES": "0",
        "WEFT_EDIT_INTERVAL": "0.02",
        "WEFT_DRAIN": "0.05",
    } | more
    env_file = directory / "env"
    env_file.write_text("".join(f"{name}='{value}'\n" for name, value in settings.items()))
    env_file.chmod(0o644)
    return env_file


@asynccontextmanager
async def installed(
    machine: Machine,
    discord: FakeDiscord,
    directory: Path,
    agent: ScriptedAgent,
    *options: str,
    unit: str = "",
    token: str | None = None,
    **more: str,
) -> AsyncIterator[Service]:
    """Install the service for the length of the block.

    Args:
        options: go to the command.
        unit: further lines of the service's section, with ``{env_file}`` for the settings' place and ``{work}`` for a
            directory that the service may write to.
        more: go to the settings.
    """
    env_file = written_settings(directory, discord, agent, **more)
    token_file = directory / "token"
    token_file.write_text(f"{token or discord.token}\n")
    token_file.chmod(0o600)
    change_unit(
        machine,
        DROP_IN.format(root=ROOT, log=directory / "log") + unit.format(env_file=env_file, work=directory / "work"),
    )
    where = ["--env-file", str(env_file), "--token-file", str(token_file)]
    service = Service(machine, directory, discord)
    try:
        with told(machine, directory / "log"):
            await machine.run("env", f"PYTHONPATH={ROOT}", *WEFT, "service", "install", *where, *options)
            yield service
    finally:
        with anyio.CancelScope(shield=True):
            await _removed(machine)


@contextmanager
def told(machine: Machine, log: Path) -> Iterator[None]:
    """Show what the bot and systemd have said if the block fails: of another machine nothing else is left."""
    try:
        yield
    except BaseException:
        for path in (log, machine.shared / "console"):
            text = path.read_text(errors="replace") if path.exists() else "(nothing)"
            sys.stderr.write(f"--- {path.name}\n{text[-8000:]}\n")
        raise


async def _removed(machine: Machine) -> None:
    """Take the service away, whatever state it is in, so that the next test finds the machine as it was."""
    steps = (
        f"systemctl kill --signal=KILL {NAME}",
        f"systemctl disable --now {NAME}",
        f"systemctl reset-failed {NAME}",
        f"rm -rf /var/lib/weft {UNITS}/{NAME} {UNITS}/{NAME}.d",
        "systemctl daemon-reload",
    )
    await machine.run("sh", "-c", "; ".join(steps))


def change_unit(machine: Machine, text: str, units: str = UNITS) -> None:
    """Write a drop-in; it takes effect when the units are read again."""
    path = Path(f"/proc/{machine.pid}/root{units}/{NAME}.d/90-test.conf")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@contextmanager
def place(machine: Machine) -> Iterator[Path]:
    """Make a directory, the same here and there, in which the service's user may write to `work`."""
    directory = Path(tempfile.mkdtemp(prefix="test-", dir=machine.shared))
    try:
        (directory / "work").mkdir()
        for path in (directory, directory / "work"):
            os.chown(path, USER_ID, USER_ID)
        yield directory
    finally:
        shutil.rmtree(directory)
