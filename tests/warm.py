"""Processes of ``weft`` that begin as forks of one that has imported everything: most of a start is that.

A fork has its own arguments, directory, environment, files and id, and is signalled and killed like any other process.
What it has not is its own start: what is about that, or about what ``/proc`` tells of it, runs ``weft`` itself.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple, Self

import anyio

_MOST = 1 << 20
_servers: dict[int, socket.socket] = {}


class WarmProcess:
    """What `anyio.abc.Process` offers, as far as it is used."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self.pid = int(line.recv(64))
        self.code: int | None = None
        line.setblocking(False)

    @property
    def returncode(self) -> int | None:
        if self.code is None:
            try:
                self.code = int(self._line.recv(64))
            except BlockingIOError:
                return None
        return self.code

    async def wait(self) -> int:
        while self.returncode is None:
            await anyio.wait_readable(self._line)
        assert self.code is not None
        return self.code

    def wait_here(self, timeout: float) -> int:
        """As `wait`, where no loop runs."""
        if self.returncode is None and not select.select([self._line], [], [], timeout)[0]:
            raise TimeoutError(f"it runs after {timeout} s")
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        # It may end, and be reaped by the process that forked it, between the look and the signal.
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Kill it if it still runs, and forget it."""
        self.kill()
        self.wait_here(30.0)
        self._line.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class WarmPopen:
    """What `subprocess.Popen` with pipes offers, as far as it is used."""

    def __init__(self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        (its_in, our_in), (our_out, its_out), (our_err, its_err) = (os.pipe() for _ in range(3))
        try:
            self._process = start(arguments, cwd, env, its_in, its_err, its_out)
        finally:
            for number in (its_in, its_out, its_err):
                os.close(number)
        self.stdin, self.stdout, self.stderr = (
            os.fdopen(our_in, "wb"),
            os.fdopen(our_out, "rb"),
            os.fdopen(our_err, "rb"),
        )
        self.wait, self.send_signal, self.kill = self._process.wait_here, self._process.send_signal, self._process.kill

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self.stdout, self.stderr):
            file.close()
        with suppress(BrokenPipeError):  # something was left that it did not read
            self.stdin.close()
        self._process.close()


def start(
    arguments: Sequence[str], cwd: Path, env: Mapping[str, str], stdin: int, stderr: int, stdout: int | None = None
) -> WarmProcess:
    """Start ``weft`` with these arguments; what it prints is read by nobody, if there is no ``stdout``."""
    asked = json.dumps({"arguments": list(arguments), "cwd": str(cwd), "env": dict(env)}).encode()
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its, Path(os.devnull).open("wb") as nowhere:
        out = nowhere.fileno() if stdout is None else stdout
        socket.send_fds(_server(), [asked], [its.fileno(), stdin, out, stderr])
    return WarmProcess(ours)


def _server() -> socket.socket:
    """Return the line to the process that is forked; each process of the tests has its own."""
    if os.getpid() not in _servers:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            command = [sys.executable, "-P", "-m", "tests.warm", str(its.fileno())]
            process = subprocess.Popen(command, cwd="/", env=_environment(), pass_fds=[its.fileno()])
        _servers[os.getpid()] = ours

        def end() -> None:
            ours.close()
            process.wait()

        atexit.register(end)
    return _servers[os.getpid()]


def _environment() -> dict[str, str]:
    here = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": here}


class _Fork(NamedTuple):
    """What the child is to be; ``files`` are its standard descriptors."""

    arguments: list[str]
    cwd: str
    env: dict[str, str]
    files: list[int]


def _serve(line: socket.socket) -> _Fork | None:
    """Fork for each request, and tell the end of each fork on its own line; until the tests hang up.

    In a child this returns what it is to be; all that is the server's is closed there.
    """
    lives: dict[int, socket.socket] = {}
    with ExitStack() as mine:
        woken, wakes = (mine.enter_context(one) for one in socket.socketpair())
        wakes.setblocking(False)
        signal.set_wakeup_fd(wakes.fileno())
        mine.callback(signal.set_wakeup_fd, -1)
        mine.callback(signal.signal, signal.SIGCHLD, signal.signal(signal.SIGCHLD, lambda *_: None))
        mine.callback(line.close)
        ready = mine.enter_context(selectors.DefaultSelector())
        ready.register(line, selectors.EVENT_READ)
        ready.register(woken, selectors.EVENT_READ)
        while True:
            found = [key.fileobj for key, _ in ready.select()]
            if woken in found:
                woken.recv(_MOST)
                _tell_ends(lives)
            if line in found:
                asked, given, _, _ = socket.recv_fds(line, _MOST, 4)
                if not asked:
                    return None
                its, files = socket.socket(fileno=given[0]), given[1:]
                pid = os.fork()
                if pid == 0:
                    for one in (its, *lives.values()):
                        one.close()
                    return _Fork(**json.loads(asked), files=files)
                lives[pid] = its
                its.send(str(pid).encode())
                for number in files:
                    os.close(number)


def _tell_ends(lives: dict[int, socket.socket]) -> None:
    while lives:
        # Told before it is reaped: until then nobody else gets its id, and a signal to it does no harm.
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return
        code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        with lives.pop(found.si_pid) as its, suppress(OSError):  # whoever asked may be gone
            its.send(str(code).encode())
        os.waitpid(found.si_pid, 0)


def _become(fork: _Fork) -> None:
    for number, given in enumerate(fork.files):
        os.dup2(given, number)
        os.close(given)
    if os.isatty(0):
        # As a terminal starts programs: passwords are read from it, and Ctrl-C in it comes as a signal.
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.chdir(fork.cwd)
    os.environ.clear()
    os.environ.update(fork.env)
    # What a shell started in the background ignores Ctrl-C, and so does all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["weft", *fork.arguments]
    main(prog_name="weft")


if __name__ == "__main__":
    import bot.app
    import bot.demo.session
    import bot.demo.stage
    import bot.demo.terminal
    import bot.life
    import bot.log
    import bot.setup.command  # noqa: F401  with the app, all that is needed
    from bot.cli import main

    gc.collect()
    gc.freeze()
    if (wanted := _serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        _become(wanted)
