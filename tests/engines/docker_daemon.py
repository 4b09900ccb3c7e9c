"""A real daemon for the tests: Docker's own or Podman's compatible service, on a socket in a directory of its own.

It needs root, and Debian's ``docker.io`` or ``podman`` with ``runc``; `missing` says why there is none. The image is
made here, of nothing but directories: programs and Python are the machine's own, mounted read-only. No
registry is asked.

Whoever runs one may be killed, by a time-out for instance. So a process waits beside it for the end of its input, which
comes with that of the tests, and ends the daemon with its containers.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

IMAGE = "localhost/weft-test:latest"
AGENTS = Path(__file__).parents[1] / "agents"
VOLUMES = ("/usr:/usr:ro", f"{AGENTS}:/agents:ro", f"{sys.base_prefix}:/opt/python:ro")
PYTHON = "/opt/python/bin/python3"
STATE = "weft.state"

_BEGIN, _END, _CALL = 120.0, 60.0, 60.0
_PROGRAMS = {"docker": ("dockerd", "containerd", "runc", "docker-init"), "podman": ("podman", "conmon", "runc")}
_HIDE = 'mkdir -p /run/containerd && mount -t tmpfs none /run/containerd && exec "$@"'
# Docker's own would be one too, which it gives up after 15 s: a busy machine needs more to start it.
_CONTAINERD = """
version = 2
root = "{at}/containerd/root"
state = "{at}/containerd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{at}/c.sock"
"""
_LINKS = ("bin", "lib", "lib64")
# Without CAP_SYS_RESOURCE, a container can't have more than its parent, which is what Podman would give it.
_PODMAN = """
[containers]
default_ulimits = ["nofile=1000:1000", "nproc=9000:9000"]
init_path = "{init}"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
init_path = "{init}"
"""


def missing(kind: str) -> str:
    """Return why there can be no daemon of this kind here; "" if nothing is known to be in its way."""
    if os.geteuid() != 0:
        return f"{kind}: needs root"
    absent = [name for name in _PROGRAMS[kind] if shutil.which(name) is None]
    if kind == "podman" and _init() is None:
        absent.append("catatonit")
    if absent:
        return f"{kind}: {', '.join(absent)} not installed (apt-get install docker.io podman conmon runc tini)"
    if not all(Path("/", name).is_symlink() for name in _LINKS):
        return f"{kind}: the test's image is of the machine's own /usr, which /bin has to be a part of"
    return ""


def _init() -> str | None:
    return shutil.which("catatonit", path="/usr/libexec/podman") or shutil.which("docker-init") or shutil.which("tini")


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=_CALL)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Daemon:
    """A daemon that runs.

    Attributes:
        socket: of its API.
        directory: all that it keeps; removed with it.
    """

    def __init__(self, kind: str, directory: Path, *listen: str) -> None:
        self.kind = kind
        self.directory = directory
        self.socket = str(directory / "api.sock")
        self._listen = listen
        self._process: subprocess.Popen[bytes] | None = None
        self._containerd: subprocess.Popen[bytes] | None = None
        self._log = directory / "log"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self) -> None:
        """Start it, or start it again, and wait until it answers.

        Raises:
            RuntimeError: it ends instead; with its last words.
            TimeoutError: it neither ends nor answers.
        """
        environment = dict(os.environ)
        if self.kind == "podman":
            (self.directory / "containers.conf").write_text(_PODMAN.format(init=_init()))
            environment["CONTAINERS_CONF"] = str(self.directory / "containers.conf")
        else:
            (self.directory / "pid").unlink(missing_ok=True)  # of one that was killed, whose id may be another's by now
            (self.directory / "containerd.toml").write_text(_CONTAINERD.format(at=self.directory))
            # Its mounts end with it, and shims that a containerd of the system's has started are not to be seen.
            hidden = ["unshare", "--mount", "sh", "-c", _HIDE, "sh"]
            self._containerd = self._spawn(
                [*hidden, "containerd", f"--config={self.directory}/containerd.toml"], environment
            )
            self._wait_for(self._containerd, self._containerd_listens)
        self._process = self._spawn(self._command(), environment)
        self._wait_for(self._process, lambda: bool(self.call("GET", "/version")))

    def _spawn(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def _wait_for(self, process: subprocess.Popen[bytes], answers: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _BEGIN
        while process.poll() is None:
            with suppress(OSError, http.client.HTTPException):
                if answers():
                    return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.kind} does not answer: {self._log.read_text()[-500:]}")
            time.sleep(0.05)
        raise RuntimeError(f"{self.kind} does not start: {self._log.read_text()[-500:]}")

    def _containerd_listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(f"{self.directory}/c.sock")
        return True

    def _command(self) -> list[str]:
        at = self.directory
        if self.kind == "podman":
            places = [f"--root={at}/root", f"--runroot={at}/run", f"--tmpdir={at}/tmp", "--storage-driver=vfs"]
            return ["podman", *places, "system", "service", "--time=0", f"unix://{self.socket}"]
        assert self._containerd
        places = [f"--data-root={at}/root", f"--exec-root={at}/run", f"--pidfile={at}/pid", f"--containerd={at}/c.sock"]
        network = ["--iptables=false", "--ip6tables=false", "--bridge=none"]
        own = ["dockerd", f"--host=unix://{self.socket}", *self._listen, *places, *network, "--storage-driver=vfs"]
        # It mounts what its containerd has to see.
        return ["nsenter", f"--mount=/proc/{self._containerd.pid}/ns/mnt", *own]

    def call(self, method: str, path: str, body: bytes | None = None) -> Any:
        """Make a request, past the engine; return its JSON.

        Raises:
            OSError: nobody answered, or not with what was asked for.
        """
        connection = _Connection(self.socket)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= http.client.BAD_REQUEST:
            raise OSError(answer.status, text)
        with suppress(ValueError):
            return json.loads(text)
        return text

    def containers(self, **labels: str) -> list[Mapping[str, Any]]:
        """Return all containers with these labels, those that have ended included."""
        filters = json.dumps({"label": [f"{name}={value}" for name, value in labels.items()]})
        found: list[Mapping[str, Any]] = self.call("GET", f"/containers/json?all=true&filters={quote(filters)}")
        return found

    def make_image(self) -> None:
        """Make the image: a few directories, and links into what will be mounted."""
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as image:
            # The daemon puts its init into /sbin.
            for name, mode in {"usr": 0o755, "sbin": 0o755, "proc": 0o755, "dev": 0o755, "tmp": 0o1777}.items():
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, mode
                image.addfile(entry)
            for name in _LINKS:
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
                image.addfile(entry)
        repository, _, tag = IMAGE.partition(":")
        self.call("POST", f"/images/create?fromSrc=-&repo={repository}&tag={tag}", tar.getvalue())

    def pause(self) -> None:
        """Have it answer nothing until `go_on`, as a machine whose cable is pulled."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def crash(self) -> None:
        """Kill it, and what it has started but the containers."""
        for one in self._own():
            with suppress(psutil.Error):
                for process in (root := psutil.Process(one.pid), *root.children(recursive=True)):
                    with suppress(psutil.Error):
                        process.kill()
            one.wait(_END)

    def bring_back(self) -> None:
        """Have it answer, whatever a test has done to it: nothing happens to one that runs.

        Raises:
            RuntimeError, TimeoutError: as `start`.
        """
        own = self._own()
        if own and all(one.poll() is None for one in own):
            self.go_on()
            self._wait_for(own[0], lambda: bool(self.call("GET", "/version")))
        else:
            self.crash()
            self.start()

    def _own(self) -> list[subprocess.Popen[bytes]]:
        """Return its processes, itself first."""
        return [one for one in (self._process, self._containerd) if one is not None]

    def stop(self) -> None:
        """End it with all containers."""
        if self._process is not None and self._process.poll() is None:
            self.go_on()
            self._remove_containers()
        for one in self._own():
            if one.poll() is None:
                one.terminate()
            try:
                one.wait(_END)
            except subprocess.TimeoutExpired:
                self.crash()
        if self._own():
            self._end_rest()
        self._process = self._containerd = None

    def clear_up(self) -> None:
        """Do as `stop` for a daemon that somebody else has started, who is gone."""
        left = self._left()
        for process in left:
            with suppress(psutil.Error):
                process.resume()
        self._remove_containers()
        for process in left:
            with suppress(psutil.Error):
                process.terminate()
        self._end_rest(psutil.wait_procs(left, _END)[1])

    def _remove_containers(self) -> None:
        with suppress(OSError, http.client.HTTPException):
            for one in self.containers():
                with suppress(OSError):
                    self.call("DELETE", f"/containers/{one['Id']}?force=true&v=true")

    def _left(self) -> list[psutil.Process]:
        """Return what there is of it: itself, shims and monitors name its directory; below them run the containers."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if any(str(self.directory) in word for word in process.cmdline()):
                    found += [process, *process.children(recursive=True)]
        return found

    def _end_rest(self, known: Sequence[psutil.Process] = ()) -> None:
        """End what the daemon could not, containers of which it knew no more among it."""
        for process in (*known, *self._left()):
            with suppress(psutil.Error):
                process.kill()
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((one for one in mounts if one.startswith(f"{self.directory}/")), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False)


@contextmanager
def running(kind: str, *listen: str) -> Iterator[Daemon]:
    """Run a daemon with the test's image.

    Raises:
        RuntimeError, TimeoutError: as `Daemon.start`.
    """
    # A short path: that of a socket may have 107 characters, and the daemon adds some.
    directory = Path(tempfile.mkdtemp(prefix="weft-", dir="/tmp"))
    daemon = Daemon(kind, directory, *listen)
    with watched(daemon):
        try:
            daemon.start()
            daemon.make_image()
            yield daemon
        finally:
            daemon.stop()
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def watched(daemon: Daemon) -> Iterator[None]:
    """Have a daemon cleared up if this process is killed meanwhile."""
    command, root = [sys.executable, "-m", "tests.engines.docker_daemon"], Path(__file__).parents[2]
    # In a session of its own: a signal to all of the tests must not reach it.
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, start_new_session=True) as watcher:
        assert watcher.stdin
        # Not as an argument: what names the directory is ended.
        watcher.stdin.write(f"{daemon.kind} {daemon.directory}\n".encode())
        watcher.stdin.flush()
        yield


def _watch() -> None:
    kind, _, directory = sys.stdin.readline().rstrip("\n").partition(" ")
    sys.stdin.read()
    # After an orderly end there is nothing left.
    if directory and Path(directory).exists():
        Daemon(kind, Path(directory)).clear_up()
        shutil.rmtree(directory, ignore_errors=True)


def certificate(directory: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 that is its own authority, and good for both sides; return it and its key."""
    cert, key = directory / "cert.pem", directory / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    named = ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*made, *named, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


if __name__ == "__main__":
    _watch()
