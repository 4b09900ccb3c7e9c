"""P14: what an engine does in the background outlives an answer that nobody foresaw, and so does the bot."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from acp.engine import LaunchSpec
from acp.errors import AgentSpawnError
from pool.engines.kubernetes.engine import KubernetesEngine
from pool.engines.kubernetes.settings import KubernetesSettings
from pool.engines.kubernetes.times import Times
from pool.engines.upkeep import keep_going, watch_agent

pytestmark = pytest.mark.asyncio


async def test_work_that_fails_begins_anew() -> None:
    """P14"""
    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise KeyError(begun)

    with anyio.fail_after(30):
        await keep_going("farm", work, pause=0.01)
    assert begun == 3


async def test_an_agent_that_can_not_be_watched_is_given_up() -> None:
    """P14"""
    given_up: list[str] = []

    async def watch() -> None:
        raise ExceptionGroup("tasks", [TypeError()])

    async def give_up(reason: str) -> None:
        given_up.append(reason)

    await watch_agent("farm", watch, give_up)
    assert given_up == ["an answer of the engine was not understood"]


@asynccontextmanager
async def engine_before(directory: Path, status: int, body: Any) -> AsyncIterator[KubernetesEngine]:
    """An engine whose API gives one answer to everything, as a proxy before it may."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(application) as server:
        cluster = {"name": "c", "cluster": {"server": str(server.make_url("")).rstrip("/")}}
        context = {"name": "here", "context": {"cluster": "c", "user": "me"}}
        users = [{"name": "me", "user": {"token": "t"}}]
        file = anyio.Path(directory / "kubeconfig")
        said = {"current-context": "here", "clusters": [cluster], "contexts": [context], "users": users}
        await file.write_text(json.dumps(said))
        settings = KubernetesSettings(kubeconfig=str(file), image="agent", start_timeout=5)
        times = replace(Times(), request=1.0, retries=0.1, first=0.01, longest=0.05, leftovers=0.05, force=0.05)
        async with KubernetesEngine("farm", settings, times=times) as engine:
            yield engine


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (502, {"message": "bad gateway", "details": "upstream"}),
        (502, {"message": "busy", "details": {"retryAfterSeconds": "soon"}}),
        (200, {"items": "none", "metadata": {}}),
        (200, {"items": [{}], "metadata": None}),
    ],
    ids=["details", "a pause", "items", "metadata"],
)
async def test_a_proxy_that_answers_for_the_cluster_breaks_nothing(tmp_path: Path, status: int, body: Any) -> None:
    """P14"""
    with anyio.fail_after(30):
        async with engine_before(tmp_path, status, body) as engine:
            for _ in range(2):
                with pytest.raises(AgentSpawnError):
                    await engine.start(LaunchSpec(("agent",), "/work", {}, labels={"state": "s", "thread": "7"}))
                await anyio.sleep(0.1)  # the watch and what was left are tried again several times
