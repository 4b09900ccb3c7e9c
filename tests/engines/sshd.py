"""OpenSSH's own server on the loopback with two accounts, and ways to it that break, for tests of the ssh engine.

It runs in a mount namespace that has its own ``/etc/passwd``: the machine is not changed. That takes root. Agents run
by the system's Python, as the accounts can't read what is root's.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.abc
import psutil

from acp.shutdown import carriers, command_line
from tests.agents import scenario
from tests.ports import free_port

ACCOUNTS = ("weft-one", "weft-two")
FIRST_UID = 61_300
Cut = Literal["", "reset", "silent"]
AGENTS = ("player.py", "scripted.py", "turns.py", "offered.py")
_PATIENCE = 120.0
_TOOLS = ("setpriv", "unshare", "mount", "ssh", "ssh-keygen")
_WITH_US = ("setpriv", "--pdeathsig", "TERM")  # also when the tests are killed
_UNSHARED = ("unshare", "--mount", "--propagation", "private")


def _sshd() -> str | None:
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@cache
def why_not() -> str:
    """Say why there can be no server here, or nothing."""
    if os.geteuid() != 0:
        return "needs root, for a mount namespace with accounts of its own"
    if _sshd() is None:
        return "needs OpenSSH's server (apt-get install openssh-server)"
    if lacking := [name for name in _TOOLS if shutil.which(name) is None]:
        return f"needs {', '.join(lacking)}"
    if shutil.which("python3", path="/usr/bin:/bin") is None:
        return "needs a Python that all users can run (/usr/bin/python3)"
    done = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True, check=False)
    return f"no mount namespaces here: {done.stderr.strip()}" if done.returncode else ""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        directory: readable by all; has ``player.py`` and the accounts' homes.
        key: of the client, which both accounts take.
        known_hosts: names the server by ``weft-test``, whatever its port.
    """

    directory: Path
    port: int
    key: Path
    known_hosts: Path
    config: Path
    python: str

    @property
    def player(self) -> tuple[str, ...]:
        return (self.python, "-I", "-S", str(self.directory / "player.py"))

    def home(self, account: str) -> Path:
        return self.directory / account


@contextmanager
def server() -> Iterator[Server]:
    """Run a server."""
    assert not why_not()
    python = shutil.which("python3", path="/usr/bin:/bin")
    assert python
    with tempfile.TemporaryDirectory(prefix="weft-sshd-") as made:
        directory = Path(made)
        directory.chmod(0o755)
        _write_accounts(directory)
        for name in AGENTS:
            shutil.copy(Path(scenario.__code__.co_filename).with_name(name), directory / name)
        port = _write_configuration(directory)
        started = subprocess.Popen(
            [*_WITH_US, *_UNSHARED, "sh", "-c", _BEGIN, "sh", str(directory), str(_sshd())],
            stdin=subprocess.DEVNULL,
        )
        try:
            _wait_for(port, started)
            yield Server(
                directory, port, directory / "client", directory / "known_hosts", directory / "ssh_config", python
            )
        finally:
            _end(started)


_BEGIN = """
set -e
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/shadow" /etc/shadow
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/sshd
exec "$2" -D -e -f "$1/sshd_config"
"""


def _write_accounts(directory: Path) -> None:
    passwd, shadow = Path("/etc/passwd").read_text(), Path("/etc/shadow").read_text()
    # One has bash for its login, as most have, and the other one dash.
    for number, (name, shell) in enumerate(zip(ACCOUNTS, ("/bin/bash", "/bin/sh"), strict=True)):
        home, uid = directory / name, FIRST_UID + number
        home.mkdir()
        os.chown(home, uid, uid)
        passwd += f"{name}:x:{uid}:{uid}::{home}:{shell if Path(shell).exists() else '/bin/sh'}\n"
        shadow += f"{name}:*:20000:0:99999:7:::\n"
    (directory / "passwd").write_text(passwd)
    (directory / "shadow").write_text(shadow)
    (directory / "shadow").chmod(0o600)


def _write_configuration(directory: Path) -> int:
    for name in ("host", "client"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(directory / name)]
        subprocess.run(command, check=True)
    shutil.copy(directory / "client.pub", directory / "authorized_keys")
    (directory / "known_hosts").write_text(f"weft-test {(directory / 'host.pub').read_text()}")
    port = free_port()
    settings = f"""
        ListenAddress 127.0.0.1
        Port {port}
        HostKey {directory / "host"}
        PidFile none
        AuthorizedKeysFile {directory / "authorized_keys"}
        StrictModes no
        UsePAM no
        PasswordAuthentication no
        KbdInteractiveAuthentication no
        LogLevel QUIET
        Banner {directory / "banner"}
    """
    (directory / "banner").write_text("Welcome.\nPermission denied to all others.\nHave fun!\n\n")
    (directory / "sshd_config").write_text(settings)
    (directory / "ssh_config").write_text("Host *\n    HostKeyAlias weft-test\n    GlobalKnownHostsFile /dev/null\n")
    return port


def _wait_for(port: int, started: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), _PATIENCE):
            return
        assert started.poll() is None, "sshd ended"
        assert time.monotonic() < end, "sshd does not listen"
        time.sleep(0.02)


def _end(started: subprocess.Popen[bytes]) -> None:
    """End the server with all sessions: what is in one must not outlive the tests."""
    with suppress(psutil.Error):
        process = psutil.Process(started.pid)
        below = process.children(recursive=True)
        started.terminate()
        started.wait(_PATIENCE)
        for one in below:
            with suppress(psutil.Error):
                one.kill()
    started.wait(_PATIENCE)


def session_of(marker: str, name: str = "WEFT_AGENT") -> psutil.Process:
    """Return the server's process for the session in which an agent runs."""
    for process in carriers(marker, name):
        for parent in process.parents():
            if parent.name() == "sshd" and "@" in command_line(parent):
                return parent
    raise AssertionError("there is no such session")


# --- a way that breaks -------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Way:
    """A port that leads to the server until it is broken.

    Attributes:
        cut: "": it leads there; "reset": connections are refused; "silent": nothing gets through any more, and nobody
            is told.
    """

    target: int
    port: int = 0
    cut: Cut = ""
    _lines: list[tuple[anyio.abc.SocketStream, anyio.abc.SocketStream]] = field(default_factory=list)
    _mended: anyio.Event = field(default_factory=anyio.Event)

    async def serve(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            self.port = listener.extra(anyio.abc.SocketAttribute.local_port)
            task_status.started()
            await listener.serve(self._lead)

    async def _lead(self, near: anyio.abc.SocketStream) -> None:
        if self.cut == "silent":
            await self._mended.wait()
        if self.cut == "reset":
            _reset(near)
            await near.aclose()
            return
        async with near, await anyio.connect_tcp("127.0.0.1", self.target) as far:
            self._lines.append((near, far))
            async with anyio.create_task_group() as tasks:
                for one, other in ((near, far), (far, near)):
                    tasks.start_soon(self._copy, one, other)
            self._lines.remove((near, far))

    async def _copy(self, one: anyio.abc.SocketStream, other: anyio.abc.SocketStream) -> None:
        with suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
            while True:
                data = await one.receive()
                if self.cut == "silent":
                    await anyio.sleep_forever()
                await other.send(data)
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
            await other.send_eof()

    async def break_off(self, cut: Cut) -> None:
        """Break it: as a reset, or without a word."""
        self.cut, self._mended = cut, anyio.Event()
        if cut == "reset":
            for pair in tuple(self._lines):
                for one in pair:
                    _reset(one)
                    await one.aclose()

    def mend(self) -> None:
        """Let new connections through."""
        self.cut = ""
        self._mended.set()


def _reset(stream: anyio.abc.SocketStream) -> None:
    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    stream.extra(anyio.abc.SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


@asynccontextmanager
async def ways(target: int, count: int) -> AsyncIterator[Sequence[Way]]:
    """Open ports that lead to the server."""
    made = [Way(target) for _ in range(count)]
    async with anyio.create_task_group() as tasks:
        for way in made:
            await tasks.start(way.serve)
        yield made
        tasks.cancel_scope.cancel()


def settings_for(one: Server, ports: Sequence[int], places: int = 10, **more: Any) -> dict[str, Any]:
    """Return an engine's settings for the accounts, each behind a port."""
    hosts = [
        {"address": f"{account}@127.0.0.1", "name": account, "port": port, "places": places}
        for account, port in zip(ACCOUNTS, ports, strict=False)
    ]
    files = {"identity_file": str(one.key), "known_hosts": str(one.known_hosts), "config_file": str(one.config)}
    return {"hosts": hosts, "start_timeout": 60.0, "connect_timeout": 30.0, **files, **more}
