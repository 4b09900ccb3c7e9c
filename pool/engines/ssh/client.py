"""The OpenSSH client as a child process: one connection with the script on its far side, or a question to a host.

People's own configuration, keys, agents, jump hosts and known hosts count; what the host's key is worth is ssh's to
decide. The mutable state is the numbers that tell the connections' files apart, and each connection's process.
"""

from __future__ import annotations

import itertools
import os
import random
import secrets
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM

import anyio
import anyio.abc
import structlog

from acp.engine import LaunchSpec
from acp.errors import SpawnFailure
from acp.process import agent_environment
from acp.shutdown import find, send_signal
from pool.engines.ssh.failure import ENDED, MOST_WORDS, SILENT, SshFailure, is_busy, refusal
from pool.engines.ssh.script import Frames, command, message
from pool.engines.ssh.settings import SshHost, SshSettings

CLOSED = (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError)
"""How a stream tells that it is over."""

ALIVE_INTERVAL, ALIVE_COUNT = 5, 2
"""ssh asks for a sign of life after so many seconds of silence, so often: a loss is noticed after 15 s."""

_NEEDED = ("SSH_AUTH_SOCK", "KRB5CCNAME", "LOGNAME")
_NOISE = 256 * 1024
_LINES = 10_000  # of an answer; the longest one tells of each process that is left
_READ_SIZE = 256 * 1024
_SOCKET_PATH = 80
_END = 1.0
_BEGIN = 10.0
"""Seconds beyond those for connecting in which a host's shell has to begin with the script."""
_TRIES = 3

log = structlog.get_logger(__name__)


def _quoted(path: Path) -> str:
    """Return a path as the value of an option, in which ssh splits words and expands ``%``."""
    return '"' + str(path).replace("%", "%%") + '"'


class Greeted(anyio.abc.ByteReceiveStream):
    """A stream whose beginning was read already."""

    def __init__(self, beginning: bytes, rest: anyio.abc.ByteReceiveStream) -> None:
        self._beginning = beginning
        self._rest = rest

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self._beginning:
            return await self._rest.receive(max_bytes)
        data, self._beginning = self._beginning[:max_bytes], self._beginning[max_bytes:]
        return data

    async def aclose(self) -> None:
        await self._rest.aclose()


class SshConnection:
    """One ssh process whose far side evaluates the script; its opener calls `close`.

    Attributes:
        socket: by which other sessions can use this connection; None: they can't.
        stdout: what the script's command says, once it was greeted.
    """

    def __init__(self, process: anyio.abc.Process, nonce: str, words: Path, socket: Path | None) -> None:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self.process = process
        self.nonce = nonce
        self.socket = socket
        self.stdin: anyio.abc.ByteSendStream = process.stdin
        self.stdout: anyio.abc.ByteReceiveStream = process.stdout
        self.stderr: anyio.abc.ByteReceiveStream = process.stderr
        self._words = words
        self._said_before = 0

    async def greeting(self) -> list[str]:
        """Return the words of the script's first line; what a login prints before it is dropped.

        Raises:
            SshFailure: there is none.
        """
        # By the nonce, which nothing that a login prints can have in it.
        begin, seen = b"\x1e" + self.nonce.encode() + b" ", b""
        with suppress(*CLOSED):
            # Bounded, as a login may print for ever.
            while len(seen) <= _NOISE:
                seen += await self.stdout.receive(_READ_SIZE)
                _, found, rest = seen.partition(begin)
                if found and b"\n" in rest:
                    line, _, rest = rest.partition(b"\n")
                    self.stdout = Greeted(rest, self.stdout)
                    self._said_before = len(self.words())
                    return self._understood(line.decode(errors="replace").split(" "))
        raise await self._no_greeting()

    def _understood(self, words: list[str]) -> list[str]:
        what, why, text = words[0], "".join(words[1:2]), " ".join(words[2:])[:MOST_WORDS]
        if what != "failed":
            return words
        failures = {
            "directory": (SpawnFailure.BAD_DIRECTORY, text),
            "missing": (SpawnFailure.NOT_FOUND, f"{text} is not there"),
            "forbidden": (SpawnFailure.NOT_EXECUTABLE, f"{text} can't be executed"),
        }
        raise SshFailure(*failures.get(why, (SpawnFailure.OTHER, text)))

    async def _no_greeting(self) -> SshFailure:
        """Return why the script did not begin: ssh failed, or the account has no shell that runs commands."""
        said = b""
        with anyio.move_on_after(_END):
            with suppress(*CLOSED):
                while len(said) < _NOISE:
                    said += await self.stderr.receive(_READ_SIZE)
            await self.process.wait()
        if self.process.returncode not in (255, None):
            last = self.last_words(said) or f"the account's shell ended with {self.process.returncode}"
            fix = "give Weft an account whose shell runs commands"
            return SshFailure(SpawnFailure.RIGHTS, "has no shell for Weft's account", fix, last)
        return refusal(self.words() or said.decode(errors="replace"))

    @staticmethod
    def last_words(said: bytes) -> str:
        """Return the last line that was said."""
        lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
        return lines[-1][:MOST_WORDS] if lines else ""

    def words(self) -> str:
        """Return what ssh itself has said, apart from what came from the host."""
        try:
            # It may be gone: with the connection, or with the engine's directory.
            return self._words.read_text(errors="replace")
        except OSError:
            return ""

    def loss(self, stderr: str) -> str:
        """Return why the connection ended, for people; what ssh says of it is logged.

        Args:
            stderr: what came on its stderr: there it says in the end that the host has hung up.
        """
        # What it said until it was greeted has nothing to do with it.
        words = self.words()[self._said_before :].strip()
        last = stderr.rstrip().rpartition("\n")[2]
        if not words and last.startswith("Connection to "):
            words = last
        lost = refusal(words or ENDED)
        log.info("ssh.ended", said=lost.said)
        return lost.reason

    async def end(self) -> None:
        """End the ssh process, shielded and bounded; what it ran over there ends by the end of its input."""
        with anyio.CancelScope(shield=True):
            for number in (SIGTERM, SIGKILL):
                if self.process.returncode is None:
                    # Not by the process object, which would reap it under the one that waits for it.
                    send_signal(find(self.process.pid), number)
                    with anyio.move_on_after(_END):
                        await self.process.wait()

    async def close(self) -> None:
        """End the ssh process, and close all that leads to it; nobody reads any more what it has said."""
        await self.end()
        with anyio.CancelScope(shield=True):
            # `aclose` of the process waits without a limit, so only once it is dead.
            if self.process.returncode is not None:
                await self.process.aclose()
            with suppress(OSError):
                self._words.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Task:
    """What the script is to do on the far side of a connection; see `SshClient.open`."""

    mode: str
    values: Mapping[str, str]
    arguments: Sequence[str]
    env: Mapping[str, str]
    spec: LaunchSpec | None
    through: Path | None


class SshClient:
    """Makes connections to the hosts of one engine; its directory is there while the engine is entered."""

    def __init__(self, settings: SshSettings) -> None:
        self._settings = settings
        self._numbers = itertools.count(1)
        self._gates = {host.called: anyio.CapacityLimiter(settings.handshakes) for host in settings.hosts}
        self.directory = Path()

    def argv(self, host: SshHost, remote: str, words: Path, socket: Path | None, *, master: bool) -> list[str]:
        """Return how ssh is called."""
        settings = self._settings
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(max(1, round(settings.connect_timeout))),
            "ServerAliveInterval": str(ALIVE_INTERVAL),
            "ServerAliveCountMax": str(ALIVE_COUNT),
            # Not the user's: agents would share one connection, and be lost together.
            "ControlMaster": "yes" if socket and master else "no",
            "ControlPath": _quoted(socket) if socket else "none",
            # A master that outlives its agent would keep the connection, and nobody would close it.
            "ControlPersist": "no",
            # Whatever the user's configuration says: nothing of this machine is to be reached from there.
            "ClearAllForwardings": "yes",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "PermitLocalCommand": "no",
            "RemoteCommand": "none",
            "RequestTTY": "no",
            "EscapeChar": "none",
            "LogLevel": "INFO",
        }
        if settings.known_hosts is not None:
            options["UserKnownHostsFile"] = _quoted(settings.known_hosts)
        if settings.identity_file is not None:
            options["IdentitiesOnly"] = "yes"
        argv = [settings.program, "-T", "-E", str(words)]
        argv += ["-F", str(settings.config_file)] if settings.config_file is not None else []
        argv += ["-i", str(settings.identity_file)] if settings.identity_file is not None else []
        argv += ["-p", str(host.port)] if host.port is not None else []
        for name, value in options.items():
            argv += ["-o", f"{name}={value}"]
        # Behind the dashes an address is no option, whatever it begins with.
        return [*argv, "--", host.address, remote]

    async def open(
        self,
        host: SshHost,
        mode: str,
        values: Mapping[str, str],
        *,
        arguments: Sequence[str] = (),
        spec: LaunchSpec | None = None,
        env: Mapping[str, str] | None = None,
        through: Path | None = None,
        known: Callable[[], SshFailure | None] = lambda: None,
    ) -> tuple[SshConnection, list[str]]:
        """Connect, send the script and return what it greets with.

        Args:
            env: what the script's command gets.
            known: says what the host has failed with while others were asked first, so that it is not tried in vain.
            spec: of the agent that the connection is for: others may use it, too, and its ssh process is marked.
            through: the socket of a connection to use; where that is gone a new one is made.

        Raises:
            SshFailure: there is no connection, or the script can't do its work.
        """
        task = _Task(mode, values, arguments, env or {}, spec, through)
        for attempt in range(1, _TRIES + 1):
            try:
                # Few at a time: sshd drops at random what comes while many log in (MaxStartups).
                async with self._gates[host.called]:
                    if (failed := known()) is not None:
                        raise failed
                    return await self._begun(host, task)
            except SshFailure as exc:
                if not exc.busy or attempt == _TRIES:
                    raise
            await anyio.sleep(random.uniform(0.1, 0.5) * attempt)  # noqa: S311
        raise AssertionError

    async def _begun(self, host: SshHost, task: _Task) -> tuple[SshConnection, list[str]]:
        """Connect once. Bounded: where a login goes through and nothing comes of it, another host may do better."""
        seconds = self._settings.connect_timeout + _BEGIN
        with anyio.move_on_after(seconds):
            connection = await self._spawn(host, task)
            try:
                return connection, await connection.greeting()
            except BaseException as exc:
                if isinstance(exc, SshFailure):
                    # Before it is closed, which takes its words away.
                    exc.busy = is_busy(connection.words())
                await connection.close()
                raise
        raise SshFailure(SpawnFailure.UNREACHABLE, SILENT, said=f"no answer within {seconds:g} s")

    async def _spawn(self, host: SshHost, task: _Task) -> SshConnection:
        nonce, number = secrets.token_hex(8), next(self._numbers)
        try:
            blob = message(task.mode, nonce, task.values, task.arguments, task.env)
        except ValueError as exc:
            raise SshFailure(SpawnFailure.OTHER, str(exc)) from exc
        spec = task.spec
        words, socket = self.directory / f"{number}.log", task.through
        if spec is not None:
            socket = self.directory / str(number)
        if socket is not None and len(str(socket)) > _SOCKET_PATH:
            socket = None  # ssh appends to it, and the kernel takes 107 bytes
        argv = self.argv(host, command(len(blob)), words, socket, master=spec is not None)
        marks = {"WEFT_STATE": spec.env["WEFT_STATE"]} if spec is not None and "WEFT_STATE" in spec.env else {}
        with anyio.CancelScope(shield=True):  # a spawn cut short would leave a process that nobody knows
            try:
                process = await anyio.open_process(
                    argv,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    # Not the bot's own: neither ssh nor what it starts (a proxy, a jump) needs its secrets.
                    env={**agent_environment(os.environ, _NEEDED), **marks},
                    start_new_session=True,
                )
            except OSError as exc:
                fix = "install the OpenSSH client on Weft's machine (apt-get install openssh-client)"
                raise SshFailure(SpawnFailure.NOT_FOUND, f"{argv[0]}: {exc.strerror}", fix) from exc
        connection = SshConnection(process, nonce, words, socket)
        try:
            with suppress(*CLOSED):  # its words say why it hung up
                await connection.stdin.send(blob)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def ask(
        self,
        host: SshHost,
        mode: str,
        values: Mapping[str, str],
        *,
        arguments: Sequence[str] = (),
        seconds: float,
        through: Path | None = None,
    ) -> list[list[str]]:
        """Have the script answer a question; return the words of its lines.

        Raises:
            SshFailure: there was no answer, in time or at all.
        """
        with anyio.move_on_after(seconds):
            connection, first = await self.open(host, mode, values, arguments=arguments, through=through)
            answer, frames = [first], Frames(connection.nonce)
            try:
                with suppress(*CLOSED):
                    while len(answer) < _LINES:
                        answer += frames.feed(await connection.stdout.receive(_READ_SIZE))[1]
            finally:
                await connection.close()
            return answer[:_LINES]
        raise SshFailure(SpawnFailure.UNREACHABLE, SILENT, said=f"no answer within {seconds:g} s")
