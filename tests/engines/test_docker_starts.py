"""Starts of the docker engine that fail or find no room, and what is left of them: nothing (P9, P14)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from acp.errors import AgentSpawnError, SpawnFailure
from pool.engines.docker.agent import DockerAgent
from pool.engines.docker.engine import DockerEngine
from pool.engines.docker.settings import DockerSettings
from tests.clock import let_pass
from tests.engines.docker_bed import LIMITS, WATCH, bed, launch, started, until_empty, until_seen
from tests.engines.docker_server import STDERR, Answer, Container, Fault

pytestmark = pytest.mark.asyncio


# --- starts that fail --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "answer", "failure", "words"),
    [
        ("create", Answer(400, "invalid mount config: bind source path does not exist: /x"), "BAD_DIRECTORY", "/x"),
        ("create", Answer(403, "authorization denied by plugin"), "RIGHTS", "refuses"),
        ("create", Answer(500, "no space left on device"), "OTHER", "no space left"),
        ("create", Answer(404, "network weft not found"), "OTHER", "network weft"),
        ("attach.*stdin=1", Answer(409, "container is paused"), "OTHER", "paused"),
        ("attach.*stdin=0", None, "UNREACHABLE", "closed the connection"),
        ("/start", Answer(400, 'exec: "/bin/sh": no such file'), "IMAGE", "no /bin/sh"),
        ("/start", None, "UNREACHABLE", "does not answer"),
        ("/start", Answer(500, b"<html>not JSON</html>"), "OTHER", "cannot be read"),
        ("create", Answer(201, {}), "OTHER", "cannot be read"),
    ],
)
async def test_a_start_that_fails_says_why_and_leaves_nothing(
    tmp_path: Path, match: str, answer: Answer | None, failure: str, words: str
) -> None:
    """P9, P14"""
    async with bed(tmp_path) as (docker, engine):
        docker.faults.append(Fault(match, answer))
        with pytest.raises(AgentSpawnError, match=re.escape(words)) as caught:
            await engine.start(launch())
        assert caught.value.failure is SpawnFailure[failure]
        assert docker.containers == {}
        assert str(caught.value).startswith("box: ")


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        (b"mkdir: can't create directory '/work': Permission denied\nweft: directory\n", "BAD_DIRECTORY"),
        (b"weft: program\n", "NOT_FOUND"),
        (b"sh: something else\n", "EXITED"),
        (b"x" * 20_000, "IMAGE"),
    ],
)
async def test_what_the_container_says_of_its_start_is_understood(tmp_path: Path, said: bytes, failure: str) -> None:
    """P14"""
    async with bed(tmp_path) as (docker, engine):

        async def run(container: Container) -> None:
            container.status = "running"
            await container.say(said, STDERR)
            container.end(1)

        docker.run = run
        with pytest.raises(AgentSpawnError) as caught:
            await engine.start(launch())
        assert caught.value.failure is SpawnFailure[failure]
        assert docker.containers == {}


@pytest.mark.parametrize("at", ["create", "attach", "/start"])
async def test_a_start_that_is_cancelled_leaves_nothing(tmp_path: Path, at: str) -> None:
    """P9, P14"""
    async with bed(tmp_path, start_timeout=10) as (docker, engine):
        docker.faults.append(Fault(at, silent=True, after=at == "create"))

        async def start() -> None:
            with suppress(AgentSpawnError):
                await engine.start(launch())

        async with anyio.create_task_group() as starts:
            starts.start_soon(start)
            await until_seen(docker, at)
            starts.cancel_scope.cancel()
            let_pass(10)  # as long as it waits for the id of what it may have made
        await until_empty(docker)


async def test_a_start_that_is_cancelled_as_its_container_is_made_leaves_nothing(tmp_path: Path) -> None:
    """P9, P14"""
    async with bed(tmp_path) as (docker, engine):
        make = docker.create
        with anyio.CancelScope() as scope:

            async def create(query: Mapping[str, str], body: Any) -> Answer:
                scope.cancel()
                return await make(query, body)

            docker.create = create  # type: ignore[method-assign]
            await engine.start(launch())
        assert scope.cancelled_caught
        assert docker.containers == {}
        assert "DELETE" in docker.seen[-1]


async def test_a_container_whose_making_was_not_confirmed_is_removed(tmp_path: Path) -> None:
    """P9, P14"""
    async with bed(tmp_path) as (docker, engine):
        docker.faults.append(Fault("create", after=True))
        with pytest.raises(AgentSpawnError) as caught:
            await engine.start(launch())
        assert caught.value.failure is SpawnFailure.UNREACHABLE
        await until_empty(docker)


async def test_an_image_that_is_missing_is_fetched_and_that_is_told(tmp_path: Path) -> None:
    """P14"""
    told: list[str] = []
    async with bed(tmp_path, image="registry/known:1") as (docker, engine):
        parts = [{"id": f"part{n}", "status": "Downloading", "progressDetail": {}} for n in range(2)]
        done = [{"id": f"part{n}", "status": "Pull complete", "progressDetail": {}} for n in range(2)]
        docker.pulled = [{"status": "Pulling from known"}, *parts, *done]
        agent = await engine.start(launch(tell=told.append))
        await agent.stop(LIMITS)
    assert told[0] == "fetching the image registry/known:1"
    assert told[-1] == "fetching the image registry/known:1: 2 of 2 parts"


@pytest.mark.parametrize("pull", ["missing", "never"])
async def test_an_image_that_cannot_be_had_is_told_without_credentials(tmp_path: Path, pull: str) -> None:
    """R5, P14"""
    async with bed(tmp_path, image="registry/closed:1", pull=pull) as (docker, engine):
        words = "Get https://robot:hunter22@registry/v2/: denied: token=eyJhbGciOi is expired"
        docker.pulled = [{"error": words, "errorDetail": {"message": words}}]
        with pytest.raises(AgentSpawnError) as caught:
            await engine.start(launch())
        assert (caught.value.failure, caught.value.transient) == (SpawnFailure.IMAGE, False)
        assert ("denied" in str(caught.value)) == (pull == "missing")
        assert "hunter22" not in str(caught.value)
        assert "eyJ" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "room"),
    [
        ("failed to create shim task: fork/exec /usr/bin/runc: resource temporarily unavailable", True),
        ("OCI runtime create failed: write /proc/1/oom_score_adj: cannot allocate memory", True),
        ("no available IPv4 addresses on this network's address pools: bridge", True),
        ("network agents not found", False),
    ],
)
async def test_a_daemon_without_room_for_one_more_says_so(tmp_path: Path, words: str, room: bool) -> None:
    """P4, P14: the end of another agent makes some."""
    async with bed(tmp_path) as (docker, engine):
        docker.faults.append(Fault("POST .*/start", Answer(500, words)))
        with pytest.raises(AgentSpawnError) as caught:
            await engine.start(launch())
        assert (caught.value.failure, caught.value.room_on) == (
            (SpawnFailure.NO_ROOM, ()) if room else (SpawnFailure.OTHER, None)
        )
        await until_empty(docker)


async def test_a_daemon_that_is_not_there_is_no_fault_before_somebody_needs_it(tmp_path: Path) -> None:
    """P14"""
    settings = DockerSettings(url=f"unix://{tmp_path}/nobody.sock", image="x")
    async with DockerEngine("box", settings, WATCH) as engine:
        assert (await engine.sweep("s1")).left == (
            f"box: the Docker daemon at {settings.url} does not answer: No such file or directory",
        )
        (node,) = await engine.nodes()
        assert (node.reachable, node.running) == (False, 0)
        (finding,) = await engine.check()
        assert not finding.ok
        assert finding.fix == "start the daemon, or correct url"
        with pytest.raises(AgentSpawnError, match="No such file") as caught:
            await engine.start(launch())
        assert caught.value.failure is SpawnFailure.UNREACHABLE


async def test_certificates_that_cannot_be_read_are_told_by_each_call(tmp_path: Path) -> None:
    """P14"""
    settings = DockerSettings(url="tcp://127.0.0.1:1", image="x", tls_ca=f"{tmp_path}/none.pem")
    async with DockerEngine("box", settings, WATCH) as engine:
        with pytest.raises(AgentSpawnError, match="a tls_ file cannot be used") as caught:
            await engine.start(launch())
        assert caught.value.failure is SpawnFailure.RIGHTS


# --- room --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [{"places": 2}, {"memory": "3G"}])
async def test_there_are_as_many_agents_as_places(tmp_path: Path, values: dict[str, Any]) -> None:
    """P14"""
    async with bed(tmp_path, **values) as (docker, engine):
        agents: list[DockerAgent] = []
        refused: list[AgentSpawnError] = []

        async def begin() -> None:
            try:
                agents.append(await engine.start(launch()))
            except AgentSpawnError as exc:
                refused.append(exc)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(begin)
        assert [one.failure for one in refused] == [SpawnFailure.NO_ROOM] * 3
        for agent in agents:
            await agent.stop(LIMITS)
        assert docker.containers == {}
    async with bed(tmp_path, **values) as (_, engine), started(engine):
        async with started(engine):
            (node,) = await engine.nodes()
            assert (node.running, node.places, node.reason) == (2, 2, "all 2 places are taken")
            assert node.free_memory == (2 << 30 if "memory" in values else None)
            with pytest.raises(AgentSpawnError) as caught:
                await engine.start(launch())
            assert (caught.value.failure, caught.value.transient) == (SpawnFailure.NO_ROOM, True)
            assert caught.value.room_on == ()
        async with started(engine):
            pass
