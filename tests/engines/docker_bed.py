"""A docker engine on a server of ours, for tests that need no daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from acp.engine import LaunchSpec
from acp.shutdown import StopLimits
from pool.engines.docker.agent import DockerAgent
from pool.engines.docker.engine import DockerEngine, WatchLimits
from pool.engines.docker.settings import DockerSettings
from tests.engines.docker_server import FakeDocker

LIMITS = StopLimits(eof=0.2, term=0.2, kill=0.5)
WATCH = WatchLimits(every=0.05, patience=5.0, misses=2)
SECRET = "k3y-that-nobody-may-see"


@asynccontextmanager
async def bed(tmp_path: Path, **values: Any) -> AsyncIterator[tuple[FakeDocker, DockerEngine]]:
    async with FakeDocker(tmp_path / "docker.sock").running() as docker:
        settings = DockerSettings(**{"url": docker.url, "image": next(iter(docker.images)), **values})
        async with DockerEngine("box", settings, WATCH) as engine:
            yield docker, engine


def launch(*argv: str, labels: Mapping[str, str] | None = None, tell: Any = print) -> LaunchSpec:
    labels = labels or {"state": "s1", "agent": "claude", "thread": "7"}
    return LaunchSpec(argv or ("agent", "--acp"), "/work/7", {"API_KEY": SECRET}, labels=labels, tell=tell)


@asynccontextmanager
async def started(engine: DockerEngine) -> AsyncIterator[DockerAgent]:
    agent = await engine.start(launch())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agent.drain_stderr)
        try:
            yield agent
        finally:
            await agent.stop(LIMITS)
            tasks.cancel_scope.cancel()


async def until_seen(docker: FakeDocker, words: str, times: int = 1) -> None:
    await until(lambda: sum(words in one for one in docker.seen) >= times)


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not holds():  # noqa: ASYNC110  the server sends no events
            await anyio.sleep(0.01)


async def until_empty(docker: FakeDocker) -> None:
    await until(lambda: not docker.containers)
