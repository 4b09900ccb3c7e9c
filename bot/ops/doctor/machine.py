"""The machine: Python, platform, the tools that agents can be shut in or reached with, and systemd with its unit.

A tool that is missing is no fault. One that is there is tried by running it: that it is installed says little inside a
container. The unit ``weft.service`` is looked for in the system's systemd and in the user's own.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.abc

from acp.process import agent_environment
from bot.agents.checks import wants_node
from bot.ops.doctor.finding import Finding, ok, warn
from bot.programs import running
from bot.service.unit import USUAL_PATH
from bot.version import full

_TRIAL = 5.0
_MOST_OUTPUT = 64 * 1024

TRIALS: Mapping[str, tuple[str, ...]] = {
    "bwrap": ("--ro-bind", "/", "/", "true"),
    "systemd-run": ("--user", "--scope", "--quiet", "--collect", "true"),
    "setpriv": ("--no-new-privs", "true"),
    "prlimit": ("--core=0", "true"),
    "unshare": ("--user", "--map-root-user", "true"),
    "docker": ("version", "--format", "server {{.Server.Version}}"),
    "ssh": ("-V",),
    "kubectl": ("version", "--client"),
}
"""Tools and the arguments with which they show that they work here."""

UNIT = "weft.service"
BOOTED = Path("/run/systemd/system")
"""There only where systemd is the machine's first process; source: sd_booted(3)."""
_USUAL_PATH = ":".join(map(str, USUAL_PATH))
_PROPERTIES = ("LoadState", "UnitFileState", "ActiveState", "SubState", "Result", "NRestarts")
_MANAGERS = {"system": "--system", "user": "--user"}


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended and what it wrote."""

    code: int
    said: str

    def line(self, number: int = 0) -> str:
        """Return that line of those that are not empty."""
        lines = [line.strip() for line in self.said.splitlines() if line.strip()]
        return lines[number] if lines else ""


def check_weft() -> Finding:
    """Say which Weft this is: the first thing that is asked of somebody who reports a fault."""
    return ok("weft", full())


def check_python() -> Finding:
    """Say which Python this is; the package can't be installed on one that is too old."""
    return ok("python", f"{platform.python_version()} ({sys.executable})")


def check_platform() -> Finding:
    """Say what is missing on platforms other than Linux."""
    if platform.system() == "Linux":
        return ok("platform", f"Linux {platform.release()}, {platform.machine()}")
    missing = "stray agents can't be found by their environment, and there is no systemd"
    return warn("platform", f"{platform.system()} works with limits: {missing}")


async def check_tools(trials: Mapping[str, tuple[str, ...]] = TRIALS, path: str | None = None) -> list[Finding]:
    """Say of each tool that is there whether it works; ``path``: where it is looked for, if not in our own PATH."""
    found: dict[str, Finding] = {}

    async def try_out(name: str, program: str) -> None:
        ran = await run_command(program, *trials[name])
        works = ran is not None and ran.code == 0
        why = f": {ran.line(-1)}" if ran else f" within {_TRIAL:g} s"
        found[name] = (
            ok("tool", f"{name} works") if works else warn("tool", f"{name} is installed but does not work here{why}")
        )

    # All at once: those that hang would otherwise use up their time one after the other.
    async with anyio.create_task_group() as tasks:
        for name in trials:
            if program := shutil.which(name, path=path):
                tasks.start_soon(try_out, name, program)
    # In the order of the list, whichever answered first.
    return [found[name] for name in trials if name in found]


async def check_node(commands: Sequence[tuple[str, ...]], path: str | None = None) -> list[Finding]:
    """Say which Node runs the agents that are written for it; ``path``: where it is, if not in our own PATH."""
    programs = [Path(command[0]).name for command in commands if wants_node(command[0], path)]
    if not programs:
        return []
    node = shutil.which("node", path=path)
    ran = await run_command(node, "--version") if node else None
    if ran is None or ran.code != 0:
        return [warn("node", f"{', '.join(programs)} needs Node, which is not on the PATH")]
    return [ok("node", f"{ran.line()} runs {', '.join(programs)}")]


async def run_command(*argv: str, limit: float = _TRIAL) -> Ran | None:
    """Run a command to its end, without the bot's secrets; None if it took too long. Nothing of it is left.

    Raises:
        OSError: it could not be started.
    """
    environment = agent_environment(os.environ, ())
    async with running(argv, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, env=environment) as process:
        with anyio.move_on_after(limit):
            said = await _output(process)
            return Ran(await process.wait(), said)
    return None


async def _output(process: anyio.abc.Process) -> str:
    assert process.stdout
    output = bytearray()
    async for chunk in process.stdout:
        # Read to its end in any case: at a full pipe it would wait for ever.
        output += chunk[: _MOST_OUTPUT - len(output)]
    return output.decode(errors="replace")


# --- systemd ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit that runs the bot with the settings at hand: what it gives it that this shell does not.

    Attributes:
        user: as whom it runs, if not as the one whose systemd it is.
    """

    name: str
    path: str
    user: str | None


async def installed_unit(env_file: Path, booted: Path = BOOTED) -> Unit | None:
    """Return the unit that reads this file of settings (an absolute path), if one is installed."""
    systemctl = shutil.which("systemctl")
    if systemctl is None or not _is_there(booted):
        return None
    for manager, option in _MANAGERS.items():
        shown = await run_command(systemctl, option, "show", UNIT, "--property=LoadState,ExecStart,Environment,User")
        said = dict(line.partition("=")[::2] for line in shown.said.splitlines()) if shown and not shown.code else {}
        # With the blanks, or a file whose name only begins like this one would do.
        if said.get("LoadState") != "loaded" or f" --env-file {env_file} " not in said.get("ExecStart", ""):
            continue
        given = dict(word.partition("=")[::2] for word in shlex.split(said.get("Environment", "")))
        path = given.get("PATH") or await _path_of(systemctl, option)
        return Unit(f"{UNIT} ({manager})", path, said.get("User") or None)
    return None


async def _path_of(systemctl: str, option: str) -> str:
    """Return the PATH of units that name none."""
    shown = await run_command(systemctl, option, "show-environment")
    lines = shown.said.splitlines() if shown and not shown.code else []
    return next((line.removeprefix("PATH=") for line in lines if line.startswith("PATH=")), _USUAL_PATH)


async def check_service(booted: Path = BOOTED) -> list[Finding]:
    """Say which systemd there is, and how the unit is doing in each of the two."""
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        # No fault: a container has none.
        return [ok("systemd", "not installed")]
    told = await run_command(systemctl, "--version")
    version = told.line().split(" (")[0] if told and told.code == 0 else "systemd"
    if not _is_there(booted):
        return [ok("systemd", f"{version} is installed, but this machine was not started by it")]
    units = [await _unit(systemctl, manager) for manager in _MANAGERS]
    found = [unit for unit in units if unit]
    return [ok("systemd", f"{version} runs this machine"), *(found or [ok("unit", f"{UNIT} is not installed")])]


def _is_there(booted: Path) -> bool:
    return booted.is_dir()


async def _unit(systemctl: str, manager: str) -> Finding | None:
    shown = await run_command(systemctl, _MANAGERS[manager], "show", UNIT, f"--property={','.join(_PROPERTIES)}")
    if shown is None or shown.code != 0:
        return None
    return unit_finding(manager, dict(line.partition("=")[::2] for line in shown.said.splitlines()))


def unit_finding(manager: str, properties: Mapping[str, str]) -> Finding | None:
    """Judge a unit by what ``systemctl show`` says of it; None if it is not installed."""
    load, active, result = (properties.get(name, "") for name in ("LoadState", "ActiveState", "Result"))
    # Empty where systemctl has said nothing at all.
    if load in ("", "not-found"):
        return None
    state = f"{active} ({properties.get('SubState', '')}), {properties.get('UnitFileState') or 'not enabled'}"
    restarts = properties.get("NRestarts", "0")
    parts = [f"{UNIT} ({manager})", state, "" if restarts in ("", "0") else f"restarted {restarts} times"]
    if load != "loaded":
        return warn("unit", f"{parts[0]} can't be used: {load}")
    if active == "failed" or result not in ("", "success"):
        return warn("unit", ", ".join(filter(None, [*parts, f"failed: {result}"])))
    return ok("unit", ", ".join(filter(None, parts)))
