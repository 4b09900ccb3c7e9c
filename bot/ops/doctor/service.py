"""systemd: whether it runs this machine, and how the unit ``weft.service`` fares, the system's and the user's own."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bot.ops.doctor.finding import Finding, ok, warn
from bot.ops.doctor.machine import run_command
from bot.service.unit import USUAL_PATH

UNIT = "weft.service"
BOOTED = Path("/run/systemd/system")
"""There only where systemd is the machine's first process; source: sd_booted(3)."""

_USUAL_PATH = ":".join(map(str, USUAL_PATH))
_PROPERTIES = ("LoadState", "UnitFileState", "ActiveState", "SubState", "Result", "NRestarts")
_MANAGERS = {"system": "--system", "user": "--user"}


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
        return [ok("systemd", "not installed")]
    told = await run_command(systemctl, "--version")
    version = told.line().split(" (")[0] if told and told.code == 0 else "systemd"
    if not _is_there(booted):
        return [ok("systemd", f"{version} is installed, and something else runs this machine")]
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
