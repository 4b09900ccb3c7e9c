"""The machine: Python, platform, and which tools are there that agents can be shut in or reached with.

A tool that is missing is no fault, and one is tried by running it: that it is installed says little inside a container.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.abc

from acp.environment import agent_environment
from bot.agents.checks import wants_node
from bot.ops.doctor.finding import Finding, ok, warn

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


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended and what it wrote."""

    code: int
    said: str

    def line(self, number: int = 0) -> str:
        """Return that line of those that are not empty."""
        lines = [line.strip() for line in self.said.splitlines() if line.strip()]
        return lines[number] if lines else ""


def check_python() -> Finding:
    """Say which Python this is; the package can't be installed on one that is too old."""
    return ok("python", f"{platform.python_version()} ({sys.executable})")


def check_platform() -> Finding:
    """Say what is missing on platforms other than Linux."""
    if platform.system() == "Linux":
        return ok("platform", f"Linux {platform.release()}, {platform.machine()}")
    missing = "stray agents can't be found by their environment, and there is no systemd"
    return warn("platform", f"{platform.system()} is best effort: {missing}")


async def check_tools(trials: Mapping[str, tuple[str, ...]] = TRIALS, path: str | None = None) -> list[Finding]:
    """Say of each tool that is there whether it works; ``path``: where it is looked for, if not in our own PATH."""
    found: dict[str, Finding] = {}

    async def try_out(name: str, program: str) -> None:
        ran = await run_command(program, *trials[name])
        works = ran is not None and ran.code == 0
        why = f": {ran.line(-1)}" if ran else f" within {_TRIAL:g} s"
        found[name] = ok("tool", f"{name} works" if works else f"{name} is there and does not work{why}")

    async with anyio.create_task_group() as tasks:
        for name in trials:
            if program := shutil.which(name, path=path):
                tasks.start_soon(try_out, name, program)
    return [found[name] for name in trials if name in found]


async def check_node(commands: Sequence[tuple[str, ...]], path: str | None = None) -> list[Finding]:
    """Say which Node runs the agents that are written for it; ``path``: where it is, if not in our own PATH."""
    programs = [Path(command[0]).name for command in commands if wants_node(command[0], path)]
    if not programs:
        return []
    node = shutil.which("node", path=path)
    ran = await run_command(node, "--version") if node else None
    if ran is None or ran.code != 0:
        return [warn("node", f"{', '.join(programs)} needs Node, and there is none on the PATH")]
    return [ok("node", f"{ran.line()} runs {', '.join(programs)}")]


async def run_command(*argv: str, limit: float = _TRIAL) -> Ran | None:
    """Run a command to its end, without the bot's secrets; None if it took too long. Nothing of it is left.

    Raises:
        OSError: it could not be started.
    """
    process = await anyio.open_process(
        argv,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        env=agent_environment(os.environ, ()),
        start_new_session=True,
    )
    async with process:
        try:
            with anyio.fail_after(limit):
                said = await _output(process)
                code = await process.wait()
        except BaseException as exc:
            with suppress(ProcessLookupError, PermissionError):  # it has just ended by itself
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(exc, TimeoutError):
                return None
            raise
    return Ran(code, said)


async def _output(process: anyio.abc.Process) -> str:
    assert process.stdout
    output = bytearray()
    async for chunk in process.stdout:
        output += chunk[: _MOST_OUTPUT - len(output)]
    return output.decode(errors="replace")
