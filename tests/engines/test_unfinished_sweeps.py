"""P9: the start of the bot waits less for a sweep than an engine may take; what it did not get to goes later."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from pool.engines.bot_run import BotRun
from pool.engines.docker.engine import DockerEngine
from pool.engines.docker.settings import DockerSettings
from pool.engines.model import PoolEngine
from pool.engines.ssh.engine import SshEngine
from pool.engines.ssh.settings import SshSettings
from tests.engines import docker_bed, matrix
from tests.engines.docker_bed import LIMITS, WATCH, launch, until_empty, until_seen
from tests.engines.docker_server import Fault
from tests.engines.kube_bed import SHORT, bed

pytestmark = pytest.mark.asyncio


async def swept_in_vain(engine: PoolEngine, state: str) -> None:
    with anyio.move_on_after(0.2) as waited:
        await engine.sweep(state)
    assert waited.cancelled_caught


async def test_a_daemon_that_took_too_long_is_swept_when_it_answers(tmp_path: Path) -> None:
    """P9, P14"""
    async with docker_bed.bed(tmp_path) as (docker, engine):
        settings = DockerSettings(url=docker.url, image=next(iter(docker.images)))
        async with DockerEngine("box", settings, WATCH, run=BotRun("earlier")) as earlier:
            left = await earlier.start(launch())
            silent = Fault("GET /containers/json", silent=True, times=1000)
            docker.faults.append(silent)
            await swept_in_vain(engine, "s1")
            docker.faults.remove(silent)
            await until_empty(docker)
            await left.stop(LIMITS)


async def test_a_late_sweep_spares_what_another_engine_of_this_run_has_started(
    tmp_path: Path,
) -> None:
    """P9, P14: what that one has started meanwhile is of this run."""
    async with docker_bed.bed(tmp_path) as (docker, engine):
        settings = DockerSettings(url=docker.url, image=next(iter(docker.images)))
        async with DockerEngine("other", settings, WATCH) as other:
            silent = Fault("GET /containers/json", silent=True, times=1000)
            docker.faults.append(silent)
            await swept_in_vain(engine, "s1")
            agent = await other.start(launch())
            docker.faults.remove(silent)
            await until_seen(docker, "GET /containers/json", 2)
            while engine._unswept:  # noqa: ASYNC110  it tells nobody
                await anyio.sleep(0.01)
            assert agent.exit() is None
            await agent.stop(LIMITS)


async def test_a_cluster_that_took_too_long_is_swept_when_it_answers(tmp_path: Path) -> None:
    """P9, P14"""
    async with bed(tmp_path, replace(SHORT, retries=1000, leftovers=0.1)) as one:
        left = await one.start("sleep", "1000")
        one.pod(left).body["metadata"]["labels"]["weft/run"] = "an-earlier-one"
        await one.api.close()
        await swept_in_vain(one.engine, one.state)
        await one.api.serve()
        await matrix.until_gone(one)
        await left.stop(LIMITS)


async def test_a_host_that_took_too_long_stays_on_the_list(tmp_path: Path) -> None:
    """P9, P14"""
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\nexec sleep 600\n")
    ssh.chmod(0o755)
    settings = SshSettings.model_validate({"hosts": ["hung"], "program": str(ssh)})
    async with SshEngine("far", settings) as engine:
        await swept_in_vain(engine, uuid.uuid4().hex)
        assert engine._leftovers.places() == ("agents of before on hung",)
