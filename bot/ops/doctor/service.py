"""systemd: whether it runs this machine, and how the unit ``weft.service`` fares, the system's and the user's own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from bot.ops.doctor.finding import Finding, ok, warn
from bot.ops.doctor.machine import run_command

UNIT = "weft.service"
BOOTED = Path("/run/systemd/system")
"""There only where systemd is the machine's first process; source: sd_booted(3)."""

_PROPERTIES = ("LoadState", "UnitFileState", "ActiveState", "SubState", "Result", "NRestarts")
_MANAGERS = {"system": "--system", "user": "--user"}


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
