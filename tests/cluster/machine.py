"""A machine of the cluster: namespaces with a network, mounts and processes of their own, and the programs in them.

Its process 1 only reaps, and ends when its input closes: that is when this process ends, however that comes about. With
it goes everything inside, as when the power fails. Its links can be taken down, and then it is silent, as when a cable
is pulled: what speaks to it hears no refusal. The mutable state is the programs that run.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

COMMAND_LIMIT = 60.0
_END_LIMIT = 30.0
_PRIVATE = ("/run", "/var/log", "/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni")
"""What the parts write to by their nature; each machine has it to itself."""

_FIRST_PROCESS = """
import os, signal, sys
def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
signal.signal(signal.SIGCHLD, reap)
print(flush=True)
sys.stdin.read()
"""

_LISTEN = """
import socket, sys
with socket.create_server((sys.argv[2], int(sys.argv[3]))) as listener, socket.socket(fileno=int(sys.argv[1])) as way:
    socket.send_fds(way, [b"."], [listener.fileno()])
"""


class Machine:
    """A machine that runs from the beginning, until `end`.

    Attributes:
        name: what the cluster calls it.
        directory: where its files are, on the machine of the tests.
        pid: of its process 1, as the tests count.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        (directory / "logs").mkdir(parents=True)
        namespaces = ["--pid", "--net", "--mount", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"]
        self._process = subprocess.Popen(
            ["unshare", *namespaces, sys.executable, "-I", "-S", "-c", _FIRST_PROCESS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the tests, which end it in order
        )
        assert self._process.stdout
        self._process.stdout.readline()  # its namespaces are complete
        (first,) = psutil.Process(self._process.pid).children()
        self.pid = first.pid
        self._mount()

    def _mount(self) -> None:
        for place in _PRIVATE:
            source = self.directory / place.replace("/", "_")
            source.mkdir(exist_ok=True)
            # A mount point that is missing is made, here as there, and stays: an empty directory.
            self.run("sh", "-c", 'mkdir -p "$2" && mount --bind "$1" "$2"', "sh", str(source), place)
        self.run("sh", "-c", "mount --make-rshared / && ip link set lo up && hostname " + self.name)

    def command(self, *words: str, network: bool = True) -> list[str]:
        """Return what runs a command there; without its ``network``, in that of the tests."""
        entered = ["-a"] if network else ["--pid", "--mount"]
        return ["nsenter", "-t", str(self.pid), *entered, "--", *words]

    def run(self, *words: str, limit: float = COMMAND_LIMIT) -> str:
        """Run a command there, for so many seconds at most; return what it said."""
        done = subprocess.run(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit,
            check=False,
        )
        assert done.returncode == 0, f"{words} failed on {self.name} ({done.returncode}): {done.stdout}"
        return done.stdout

    def listen(self, host: str, port: int) -> socket.socket:
        """Return a socket that listens there, wherever it is used: a socket keeps its network."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            words = (sys.executable, "-I", "-S", "-c", _LISTEN, str(theirs.fileno()), host, str(port))
            subprocess.run(self.command(*words), pass_fds=[theirs.fileno()], check=True, timeout=COMMAND_LIMIT)
            _, (number,), _, _ = socket.recv_fds(ours, 1, 1)
        return socket.socket(fileno=number)

    def start(
        self, *words: str, name: str = "", files: Sequence[int] = (), path: str = "", network: bool = True
    ) -> None:
        """Start a program, known by its own name or by ``name``; one that was killed may be started again."""
        name = name or Path(words[0]).name
        assert name not in self._programs, f"{name} runs on {self.name} already"
        with (self.directory / "logs" / name).open("ab") as log:
            self._programs[name] = subprocess.Popen(
                self.command(*words, network=network),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"PATH": f"{path}:{os.environ['PATH']}"},
                pass_fds=files,
                start_new_session=True,
            )

    def runs(self, name: str) -> bool:
        """Whether a program was started, and has not ended."""
        return name in self._programs and self._programs[name].poll() is None

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a program."""
        started = self._programs[name]
        for child in psutil.Process(started.pid).children():
            child.send_signal(number)
        if number is signal.SIGCONT:
            started.send_signal(number)  # nsenter stops with what it has started

    def kill(self, name: str) -> None:
        """Kill a program, and wait for its end."""
        self.signal(name, signal.SIGKILL)
        self._programs.pop(name).wait(_END_LIMIT)

    def ended(self) -> str:
        """Say which programs have ended by themselves, with the last lines of their logs; empty: none."""
        return "\n".join(
            f"{name} on {self.name} ended ({process.returncode}):\n{self.log(name)}"
            for name, process in self._programs.items()
            if process.poll() is not None
        )

    def log(self, name: str, lines: int = 15) -> str:
        """Return the end of a program's log."""
        return "\n".join((self.directory / "logs" / name).read_text(errors="replace").splitlines()[-lines:])

    def pids(self) -> set[int]:
        """Return the processes on it, as the tests count."""
        own = Path(f"/proc/{self.pid}/ns/pid").readlink()
        found = set()
        for process in psutil.process_iter():
            try:
                if Path(f"/proc/{process.pid}/ns/pid").readlink() == own:
                    found.add(process.pid)
            except OSError:
                continue  # it has just ended
        return found

    def end(self) -> None:
        """End everything on it at once. May be called again."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(_END_LIMIT)
        for process in self._programs.values():
            process.wait(_END_LIMIT)
        self._programs.clear()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        # The kernel takes a namespace's processes after its first one.
        limit = time.monotonic() + _END_LIMIT
        while psutil.pid_exists(self.pid) and time.monotonic() < limit:
            time.sleep(0.01)
