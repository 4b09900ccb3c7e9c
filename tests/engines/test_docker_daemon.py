"""Agents in containers of real daemons: what every engine has to show, and what only containers can."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import psutil
import pytest

from acp.errors import AgentSpawnError, SpawnFailure
from acp.snapshot import Ending, TurnSnapshot
from pool.engines.docker.engine import STATE, DockerEngine, WatchLimits
from pool.engines.docker.settings import DockerSettings
from pool.engines.model import PoolEngine, RemoteAgent
from tests.agents import Step
from tests.engines import docker_daemon, matrix
from tests.engines.docker_daemon import IMAGE, PYTHON, VOLUMES, Daemon
from tests.ports import free_port
from tests.repeat import in_soak, long_run

pytestmark = pytest.mark.timeout(600)  # the first test of a module waits for its daemon


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """The daemon of all tests here that take one of the same kind."""
    kind: str = request.param
    if reason := docker_daemon.missing(kind):
        pytest.skip(reason)
    try:
        running = docker_daemon.running(kind)
        found = running.__enter__()
    except RuntimeError as exc:
        pytest.skip(str(exc))
    try:
        yield found
    finally:
        running.__exit__(None, None, None)


@pytest.fixture
def daemon(shared: Daemon) -> Iterator[Daemon]:
    """The shared daemon, which answers: whatever a test does to it, and however it ends, the next one finds it well."""
    shared.bring_back()
    try:
        yield shared
    finally:
        shared.bring_back()


WATCH = WatchLimits(every=1.0, patience=5.0, misses=3)


class DockerBed:
    """An engine on a daemon of the tests."""

    player: Sequence[str] = (PYTHON, "-I", "-S", "/agents/player.py")
    python: Sequence[str] = (PYTHON, "-c")
    directory = "/tmp/work"

    def __init__(self, daemon: Daemon, **values: Any) -> None:
        self.daemon = daemon
        self.state = uuid.uuid4().hex
        self.values = {
            "url": f"unix://{daemon.socket}",
            "image": IMAGE,
            "network": "none",
            "volumes": VOLUMES,
            **values,
        }
        self.engine: PoolEngine = DockerEngine("tests", DockerSettings(**self.values), WATCH)
        self.recipe = matrix.Recipe(
            "pool.engines.docker.engine:DockerEngine", "pool.engines.docker.settings:DockerSettings", self.values
        )

    async def running(self) -> Sequence[str]:
        found = await anyio.to_thread.run_sync(lambda: self.daemon.containers(**{STATE: self.state}))
        return [one["Names"][0] for one in found]

    async def cut(self, agent: RemoteAgent) -> None:
        del agent
        self.daemon.pause()

    async def mend(self) -> None:
        self.daemon.go_on()


@asynccontextmanager
async def bed_on(daemon: Daemon, **values: Any) -> AsyncIterator[DockerBed]:
    bed = DockerBed(daemon, **values)
    async with bed.engine:
        yield bed


async def out_of_memory(bed: matrix.Bed) -> None:
    """What the kernel ends for its memory is told as that; Podman's monitor does not notice in control groups v1."""
    assert isinstance(bed, DockerBed)
    async with matrix.raw(bed, "x = bytearray(200 << 20)\nimport time; time.sleep(100)") as agent:
        ended = await agent.wait()
        assert (ended.returncode, ended.reason) == (-signal.SIGKILL, "OOMKilled" if bed.daemon.kind == "docker" else "")


async def deleted_by_somebody(bed: matrix.Bed) -> None:
    """A container that somebody removes is told as that, and the next start works."""
    assert isinstance(bed, DockerBed)
    async with matrix.talking(matrix.scripted(bed)) as talk:
        assert (await talk.ask()).text == "hello"
        (one,) = bed.daemon.containers(**{STATE: bed.state})
        await anyio.to_thread.run_sync(bed.daemon.call, "DELETE", f"/containers/{one['Id']}?force=true")
        ended = await talk.connection.wait_exited()
        assert (ended.reason, ended.unreachable) == ("deleted", False)
    async with matrix.talking(matrix.scripted(bed)) as talk:
        assert (await talk.ask()).text == "hello"


async def another_user(bed: matrix.Bed) -> None:
    """The agent's user has no rights beyond its own, and its directory is its own."""
    look = "import os; print(os.getuid(), open('/proc/self/status').read().split('CapEff:')[1].split()[0], flush=True)"
    async with matrix.raw(bed, look + "; open('here', 'w').close()") as agent:
        assert await matrix.read_line(agent, bytearray()) == b"1234 0000000000000000"
        assert (await agent.wait()).returncode == 0


async def the_doctor(bed: matrix.Bed) -> None:
    """A real daemon gives the doctor nothing to say, and a look leaves no container."""
    findings = await bed.engine.check()
    assert [one.ok for one in findings] == [True, True, True], findings
    assert isinstance(bed, DockerBed)
    assert bed.daemon.containers(**{"weft.check": "1"}) == []


async def missing_image(bed: matrix.Bed) -> None:
    """An image that neither the daemon nor a registry has is told with the registry's words."""
    with pytest.raises(AgentSpawnError, match="cannot be fetched") as caught:
        async with matrix.talking(matrix.scripted(bed)):
            raise AssertionError("it should not have started")
    assert caught.value.failure is SpawnFailure.IMAGE


OWN: dict[str, tuple[matrix.Case, dict[str, Any]]] = {
    "deleted": (deleted_by_somebody, {}),
    "doctor": (the_doctor, {}),
    "image": (missing_image, {"image": "127.0.0.1:1/nobody/nothing:1"}),
    "memory": (out_of_memory, {"memory": "64M"}),
    "user": (another_user, {"user": "1234:1234", "read_only": True}),
}
DAEMONS = ["docker", *in_soak(["podman"])]
SHORT = ["docker", *["podman"] * long_run(1, 0)]
"""Those with which a soak goes through everything, Podman taking twice the time."""


@pytest.mark.parametrize("shared", DAEMONS, indirect=True, scope="module")
@pytest.mark.parametrize("case", matrix.QUICK, ids=matrix.name_of)
@pytest.mark.asyncio
async def test_an_agent_in_a_container_is_like_one_here(daemon: Daemon, case: matrix.Case) -> None:
    """P1, P2, P9, R5"""
    async with bed_on(daemon) as bed:
        await matrix.run(case, bed)


@pytest.mark.soak
@pytest.mark.parametrize("shared", SHORT, indirect=True, scope="module")
@pytest.mark.parametrize("case", matrix.LONG, ids=matrix.name_of)
@pytest.mark.asyncio
async def test_an_agent_in_a_container_is_like_one_here_at_length(daemon: Daemon, case: matrix.Case) -> None:
    """P1, P2, P9, R5"""
    async with bed_on(daemon) as bed:
        await matrix.run(case, bed)


@pytest.mark.soak
@pytest.mark.parametrize("shared", SHORT, indirect=True, scope="module")
@pytest.mark.parametrize("name", OWN)
@pytest.mark.asyncio
async def test_what_only_containers_can(daemon: Daemon, name: str) -> None:
    """P14"""
    case, values = OWN[name]
    async with bed_on(daemon, **values) as bed:
        await matrix.run(case, bed)


@pytest.mark.soak
@pytest.mark.parametrize("shared", ["docker"], indirect=True, scope="module")
@pytest.mark.asyncio
async def test_a_daemon_that_crashes_is_told_and_its_containers_go_when_it_is_back(daemon: Daemon) -> None:
    """P9, P14"""
    async with bed_on(daemon) as bed:
        hang: list[Step] = [{"text": "working"}, {"hang": True}]
        try:
            async with matrix.talking(matrix.scripted(bed, hang, start={"ignore_eof": True})) as talk:
                shown: list[TurnSnapshot] = []

                async def first() -> None:
                    shown.append(await talk.ask())

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(first)
                    await talk.until_said("working")
                    await anyio.to_thread.run_sync(daemon.crash)
                assert shown[0].ending is Ending.AGENT_DIED
                assert shown[0].exit
                assert shown[0].exit.unreachable
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(daemon.bring_back)
        await matrix.until_gone(bed)
        async with matrix.talking(matrix.scripted(bed)) as talk:
            assert (await talk.ask()).text == "hello"


@pytest.mark.soak
@pytest.mark.parametrize("shared", ["docker"], indirect=True, scope="module")
@pytest.mark.parametrize("harm", [Daemon.pause, Daemon.crash, Daemon.stop], ids=lambda harm: harm.__name__)
def test_a_daemon_that_a_test_has_harmed_answers_the_next(shared: Daemon, harm: Callable[[Daemon], None]) -> None:
    harm(shared)
    shared.bring_back()
    assert shared.containers() == []


@pytest.mark.soak
@pytest.mark.asyncio
async def test_over_tls_a_daemon_is_the_same(tmp_path: Path) -> None:
    """P14"""
    if reason := docker_daemon.missing("docker"):
        pytest.skip(reason)
    cert, key = docker_daemon.certificate(tmp_path)
    at = f"tcp://127.0.0.1:{free_port()}"
    flags = ["--tlsverify", f"--tlscacert={cert}", f"--tlscert={cert}", f"--tlskey={key}"]
    ours = {"tls_ca": str(cert), "tls_cert": str(cert), "tls_key": str(key)}
    with docker_daemon.running("docker", f"--host={at}", *flags) as daemon:
        for case in (matrix.basic_turn, matrix.beside, matrix.deaf_agent, matrix.slow_reader):
            async with bed_on(daemon, url=at, **ours) as bed:
                await matrix.run(case, bed)
        for less in ({"tls_ca": str(cert)}, {**ours, "tls_ca": None}):
            async with bed_on(daemon, url=at, **less) as bed:
                with pytest.raises(AgentSpawnError, match="refuses Weft: TLS") as caught:
                    await bed.engine.start(matrix.scripted(bed))
                assert caught.value.failure is SpawnFailure.RIGHTS


_HOLDER = """
import subprocess, sys, time
from pathlib import Path
from tests.engines import docker_daemon
if sys.argv[2:]:
    daemon = docker_daemon.Daemon("docker", Path(sys.argv[1]))
    with docker_daemon.watched(daemon):
        # In place of the daemon a shell that names its directory, with a child that does not.
        shell = ["sh", "-c", f"sleep {sys.argv[2]} & wait", f"{daemon.directory}/root"]
        subprocess.Popen(shell, start_new_session=True)
        print(daemon.directory, flush=True)
        time.sleep(1000)
with docker_daemon.running(sys.argv[1]) as daemon:
    print(daemon.directory, flush=True)
    time.sleep(1000)
"""


def killed_holder(*argv: str) -> Path:
    """Have a process hold a daemon, and kill it; return the daemon's directory."""
    command = [sys.executable, "-c", _HOLDER, *argv]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout
            return Path(holder.stdout.readline().decode().strip())
        finally:
            holder.kill()


def until_cleared_up(directory: Path, *words: str) -> None:
    named = {str(directory), *words}
    deadline = time.monotonic() + 180
    found: list[str] = ["not looked yet"]
    while time.monotonic() < deadline and (found or directory.exists()):
        time.sleep(0.1)
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                line = " ".join(process.cmdline())
                found += [line] if any(word in line for word in named) else []
    assert (found, directory.exists()) == ([], False)


def test_what_a_daemon_has_left_is_cleared_up_when_its_tests_are_killed(tmp_path: Path) -> None:
    directory, nap = tmp_path / "weft-daemon", f"1000.{uuid.uuid4().int % 10**9}"
    directory.mkdir()
    assert killed_holder(str(directory), nap) == directory
    until_cleared_up(directory, nap)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["docker", "podman"])
def test_a_daemon_ends_when_its_tests_are_killed(kind: str) -> None:
    if reason := docker_daemon.missing(kind):
        pytest.skip(reason)
    until_cleared_up(killed_holder(kind))
