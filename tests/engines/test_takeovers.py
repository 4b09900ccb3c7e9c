"""Two runs of the bot on one engine, of which the earlier one may not know yet that the other one leads."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from acp.engine import LaunchSpec
from acp.errors import AgentSpawnError
from acp.shutdown import StopLimits
from bot.agents.engines_running import RunningEngines
from pool.engines.bot_run import BotRun
from pool.engines.docker.engine import DockerEngine
from pool.engines.docker.settings import DockerSettings
from pool.engines.kubernetes.engine import KubernetesEngine
from pool.engines.kubernetes.settings import KubernetesSettings
from pool.engines.model import PoolEngine, RemoteAgent
from pool.engines.ssh.engine import SshEngine
from pool.engines.ssh.settings import SshSettings
from tests.engines.docker_bed import WATCH
from tests.engines.docker_server import Answer, FakeDocker
from tests.engines.kube_api import KubeApi, cluster
from tests.engines.kube_bed import SHORT
from tests.engines.kube_model import kubeconfig
from tests.engines.test_ssh_hostile import PROGRAM
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio

LIMITS = StopLimits(eof=0.5, term=0.5, kill=0.5)
OLD, NEW = BotRun("old", 9), BotRun("new", 10)


@dataclass
class Place:
    """Where agents run.

    Attributes:
        engine: makes one that leads there, for a run.
    """

    engine: Callable[[BotRun], PoolEngine]
    directory: str
    state: str

    def spec(self, thread: int) -> LaunchSpec:
        labels = {"state": self.state, "agent": "a", "thread": f"123{thread}"}
        return LaunchSpec(("cat",), self.directory, {}, labels=labels)


@asynccontextmanager
async def daemon(tmp_path: Path) -> AsyncIterator[Place]:
    async with FakeDocker(tmp_path / "docker.sock").running() as docker:
        settings = DockerSettings(url=docker.url, image=next(iter(docker.images)))
        yield Place(lambda run: DockerEngine("box", settings, WATCH, run=run), "/work", uuid.uuid4().hex)


@asynccontextmanager
async def nodes(tmp_path: Path) -> AsyncIterator[Place]:
    async with cluster() as api:
        given = {"image": "agent:1", "kubeconfig": kubeconfig(api.port, tmp_path / "kubeconfig")}
        settings = KubernetesSettings(**cast("dict[str, Any]", given))
        yield Place(
            lambda run: KubernetesEngine("box", settings, times=SHORT, run=run), str(tmp_path), uuid.uuid4().hex
        )


@asynccontextmanager
async def hosts(tmp_path: Path) -> AsyncIterator[Place]:
    program = tmp_path / "ssh"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    settings = SshSettings.model_validate({"hosts": ["well"], "program": str(program)})
    yield Place(lambda run: SshEngine("box", settings, run=run), str(tmp_path), uuid.uuid4().hex)


Kind = Callable[[Path], AbstractAsyncContextManager[Place]]
each_kind = pytest.mark.parametrize("kind", [daemon, nodes, hosts], ids=lambda kind: kind.__name__)
one_kind = pytest.mark.parametrize("kind", [daemon, *in_soak([nodes, hosts])], ids=lambda kind: kind.__name__)


async def gone(agent: RemoteAgent) -> None:
    with anyio.fail_after(30):
        await agent.wait()


@each_kind
async def test_a_sweep_ends_agents_of_earlier_runs_and_none_of_a_later_one(kind: Kind, tmp_path: Path) -> None:
    """R10, P9: whenever it is carried out; the run that is over may ask for it late."""
    async with kind(tmp_path) as place, place.engine(OLD) as old, place.engine(NEW) as new:
        left = cast("RemoteAgent", await old.start(place.spec(1)))
        agent = cast("RemoteAgent", await new.start(place.spec(2)))
        assert (await old.sweep(place.state)).ended == 0
        assert (left.exit(), agent.exit()) == (None, None)
        assert (await new.sweep(place.state)).ended == 1
        await gone(left)
        assert agent.exit() is None
        # Nor does what the earlier run does with its own agents.
        await left.stop(LIMITS)
        assert agent.exit() is None
        await agent.stop(LIMITS)


@one_kind
async def test_what_an_earlier_run_asked_for_and_gets_late_is_ended(kind: Kind, tmp_path: Path) -> None:
    """R10, P9: it stood still before it knew that it leads no more, or its network held the request back."""
    async with kind(tmp_path) as place, place.engine(OLD) as old, place.engine(NEW) as new:
        assert (await new.sweep(place.state)).ended == 0
        late = cast("RemoteAgent", await old.start(place.spec(1)))
        agent = cast("RemoteAgent", await new.start(place.spec(2)))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(RunningEngines({"box": new}).keep_sweeping, place.state, 0.05)
            await gone(late)
            tasks.cancel_scope.cancel()
        assert agent.exit() is None
        for one in (late, agent):
            await one.stop(LIMITS)


@each_kind
async def test_a_run_that_leads_no_more_starts_nothing(kind: Kind, tmp_path: Path) -> None:
    """R10"""
    over = BotRun("over", 8, lambda: False)
    async with kind(tmp_path) as place, place.engine(over) as engine, place.engine(NEW) as new:
        with pytest.raises(AgentSpawnError, match="does not lead any more"):
            await engine.start(place.spec(1))
        assert (await new.sweep(place.state)).ended == 0


@one_kind
async def test_without_a_lease_all_other_runs_are_over(kind: Kind, tmp_path: Path) -> None:
    """P9: a state that was in a database may have left agents of any epoch."""
    async with kind(tmp_path) as place, place.engine(NEW) as old, place.engine(BotRun("alone")) as alone:
        left = cast("RemoteAgent", await old.start(place.spec(1)))
        agent = cast("RemoteAgent", await alone.start(place.spec(2)))
        assert (await alone.sweep(place.state)).ended == 1
        await gone(left)
        assert agent.exit() is None
        for one in (left, agent):
            await one.stop(LIMITS)


class Lead:
    """Whether a run leads, which a test takes away amid a start."""

    def __init__(self) -> None:
        self.held = True

    def __call__(self) -> bool:
        return self.held


async def test_a_container_is_not_run_once_another_bot_may_lead(tmp_path: Path) -> None:
    """R10: it stood still between making and starting it."""
    lead = Lead()
    async with FakeDocker(tmp_path / "docker.sock").running() as docker:
        create = docker.create

        async def created(query: Any, body: Any) -> Answer:
            lead.held = False
            return await create(query, body)

        docker.create = created  # type: ignore[method-assign]
        settings = DockerSettings(url=docker.url, image=next(iter(docker.images)))
        async with DockerEngine("box", settings, WATCH, run=BotRun("over", 9, lead)) as engine:
            with pytest.raises(AgentSpawnError, match="does not lead any more"):
                await engine.start(LaunchSpec(("cat",), "/work", {}, labels={"state": "s", "agent": "a"}))
        assert docker.containers == {}
        assert not any(request.endswith("/start") for request in docker.seen)


async def test_a_pod_gets_no_agent_once_another_bot_may_lead(tmp_path: Path) -> None:
    """R10: what is made by then waits for its agent's environment, and is deleted."""
    lead = Lead()
    async with cluster() as api:
        attach = api._upgraded

        async def attached(request: Any) -> Any:
            lead.held = False
            return await attach(request)

        api._upgraded = attached  # type: ignore[method-assign]
        values = cast("dict[str, Any]", {"image": "a:1", "kubeconfig": kubeconfig(api.port, tmp_path / "config")})
        run = BotRun("over", 9, lead)
        async with KubernetesEngine("box", KubernetesSettings(**values), times=SHORT, run=run) as engine:
            with pytest.raises(AgentSpawnError, match="does not lead any more"):
                await engine.start(LaunchSpec(("cat",), str(tmp_path), {}, labels={"state": "s", "agent": "a"}))
            await until_empty(api)


async def until_empty(api: KubeApi) -> None:
    with anyio.fail_after(30):
        while api.pods:  # noqa: ASYNC110  the server tells nobody
            await anyio.sleep(0.01)
