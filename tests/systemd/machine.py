"""A machine of its own for systemd: booted in namespaces, spoken to by `nsenter`, and gone without a trace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import psutil

from bot.service.unit import NAME

ROOT = Path(__file__).parents[2]
BOOT = Path(__file__).with_name("boot")
USER_ID = 60_990
"""The service's user; the files of a test belong to it here as well."""

BOOT_LIMIT = 180.0
COMMAND_LIMIT = 180.0
"""Seconds; a command is often a Python that imports all of the bot, or a start that waits until it has."""

_TOOLS = ("bash", "unshare", "nsenter", "setpriv", "systemctl", "systemd-analyze")


class NoMachine(Exception):
    """systemd can't be booted here; the message says why."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A booted systemd.

    Attributes:
        pid: of its process 1, as this machine counts.
        shared: a directory that is the same there and here.
    """

    pid: int
    shared: Path

    def command(self, *words: str) -> list[str]:
        """Return what runs a command there."""
        return ["nsenter", "-t", str(self.pid), "-a", "--", *words]

    async def run(self, *words: str, check: bool = True) -> str:
        """Run a command there; return what it said."""
        with anyio.fail_after(COMMAND_LIMIT):
            done = await anyio.run_process(self.command(*words), check=False, stderr=subprocess.STDOUT)
        said = done.stdout.decode()
        assert not (check and done.returncode), f"{words} failed ({done.returncode}): {said}"
        return said

    async def property(self, name: str) -> str:
        """Return a property of the service."""
        return (await self.run("systemctl", "show", "--value", "-p", name, NAME)).strip()

    async def until(self, **wanted: str) -> None:
        """Wait until properties of the service are as wanted; the caller bounds the wait.

        A service that has failed for good will not come to it: that is not waited for.
        """
        names = ",".join({*wanted, "SubState", "ExecMainStatus", "StatusText"})
        while True:
            said = await self.run("systemctl", "show", "-p", names, NAME)
            properties = dict(line.split("=", 1) for line in said.splitlines())
            if all(properties[name] == value for name, value in wanted.items()):
                return
            assert properties["SubState"] != "failed", f"{wanted} was awaited, and the service has failed: {properties}"
            await anyio.sleep(0.05)

    def alive(self, pid: int) -> bool:
        """Say whether a process, as that machine counts, runs there."""
        try:
            stat = Path(f"/proc/{self.pid}/root/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return stat.rpartition(")")[2].split()[0] not in "ZX"


@contextmanager
def booted() -> Iterator[Machine]:
    """Boot a machine for the length of the block.

    Raises:
        NoMachine: that can't be done here.
    """
    # Not below /tmp: the service has one of its own.
    with _directory("/run") as shared, _directory(None) as mount_point, _cgroup() as cgroup:
        paths = dict.fromkeys([ROOT, Path(sys.prefix), Path(sys.base_prefix), shared])
        outside = [str(path) for path in paths if not path.is_relative_to("/usr")]
        # The boot dies with these tests, even if they are killed, and everything inside with the boot.
        command = ["setpriv", "--pdeathsig", "KILL", str(BOOT), str(mount_point), str(cgroup), str(USER_ID), *outside]
        with (shared / "console").open("wb") as console:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        with process:
            try:
                yield Machine(_first_process(process, shared / "console"), shared)
            finally:
                process.send_signal(signal.SIGKILL)


def missing() -> str:
    """Say what a machine would need, or nothing."""
    if sys.platform != "linux":
        return "systemd is Linux's"
    if os.geteuid() != 0:
        return "only root can boot a machine in namespaces"
    if not Path("/lib/systemd/systemd").exists():
        return "systemd is not installed (Debian and Ubuntu: apt install systemd)"
    tools = [tool for tool in _TOOLS if shutil.which(tool) is None]
    return f"{', '.join(tools)} missing" if tools else ""


@contextmanager
def _directory(parent: str | None) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="weft-machine-", dir=parent))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@contextmanager
def _cgroup() -> Iterator[Path]:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    roots = [Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"]
    if not roots:
        raise NoMachine("there is no cgroup2 mount")
    cgroup = roots[0] / f"weft-test-{os.getpid()}"
    try:
        yield cgroup
    finally:
        _remove_cgroup(cgroup)


def _remove_cgroup(cgroup: Path) -> None:
    """Remove a control group and those below it, once the last process in it is gone."""
    if not cgroup.exists():
        return
    limit = time.monotonic() + BOOT_LIMIT
    while "populated 1" in (cgroup / "cgroup.events").read_text() and time.monotonic() < limit:
        time.sleep(0.01)
    for directory, _below, _files in os.walk(cgroup, topdown=False):
        Path(directory).rmdir()


def _is_systemd(process: psutil.Process) -> bool:
    try:
        return process.exe() == str(Path("/lib/systemd/systemd").resolve())
    except psutil.Error:
        return False  # one of the boot's own, gone already


def _first_process(boot: subprocess.Popen[bytes], console: Path) -> int:
    """Return process 1 once its systemd says that it is up."""
    limit = time.monotonic() + BOOT_LIMIT
    while time.monotonic() < limit and boot.poll() is None:
        for child in psutil.Process(boot.pid).children():
            if not _is_systemd(child):
                continue  # still on its way: it would speak to this machine's own
            ask = ["nsenter", "-t", str(child.pid), "-a", "--", "systemctl", "is-system-running"]
            asked = subprocess.run(ask, capture_output=True, text=True, timeout=COMMAND_LIMIT, check=False)
            if asked.stdout.strip() in ("running", "degraded"):
                return child.pid
        time.sleep(0.05)
    lines = console.read_text(errors="replace").splitlines()
    raise NoMachine(f"systemd did not boot: {lines[-1] if lines else 'no word of it'}")
