"""A takeover while agents run on an engine, of which the bot that led has asked for something still (R10)."""

from __future__ import annotations

import copy
import json
import signal
from collections.abc import Collection
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import anyio
import pytest

from bot.config import EX_LEASE_LOST
from tests import postgres
from tests.e2e.pair import Side, pair
from tests.e2e.play import LIMIT
from tests.e2e.process import mention, until_answered
from tests.e2e.test_standby import led
from tests.engines.kube_api import KubeApi, cluster
from tests.engines.kube_model import NAMESPACE, Json, kubeconfig

pytestmark = [pytest.mark.asyncio, pytest.mark.soak, postgres.needed]


def on_engine(side: Side, config: str) -> dict[str, str]:
    """Have a bot's agent run in the cluster; return what to set for that."""
    (side.directory / "weft.toml").write_text(
        f"""
        [engines.farm]
        kind = "kubernetes"
        image = "agent:1"
        kubeconfig = {json.dumps(config)}
        [agents.far]
        command = {json.dumps(side.agent.argv)}
        engine = "farm"
        workspace = {json.dumps(f"{side.directory}/there/{{thread_id}}")}
        """
    )
    return {"WEFT_AGENTS_FILE": str(side.directory / "weft.toml"), "WEFT_AGENT_COMMAND": ""}


async def late(api: KubeApi, body: Json) -> None:
    """Have the request for a pod arrive that its bot had sent before."""
    kept = {key: value for key, value in body["metadata"].items() if key in ("name", "labels")}
    spec = {key: value for key, value in body["spec"].items() if key != "nodeName"}
    url = f"http://127.0.0.1:{api.port}/api/v1/namespaces/{NAMESPACE}/pods"
    asked = {**body, "metadata": kept, "spec": spec, "status": {}}
    async with aiohttp.ClientSession() as session, session.post(url, json=asked) as answer:
        assert answer.status == 201


async def until_only(api: KubeApi, pods: Collection[str]) -> None:
    """Wait until no others are left."""
    with anyio.fail_after(LIMIT):
        while set(api.pods) != set(pods):  # noqa: ASYNC110  the server tells nobody
            await anyio.sleep(0.05)


@pytest.mark.timeout(240)
async def test_what_a_bot_that_stands_still_had_asked_for_is_ended_however_late_it_comes(tmp_path: Path) -> None:
    """R10, P14: and when it wakes, it leaves its successor's agents alone."""
    async with cluster() as api, pair(tmp_path) as two, AsyncExitStack() as stack:
        config = kubeconfig(api.port, tmp_path / "kubeconfig")
        first = await stack.enter_async_context(two.one.start(**on_engine(two.one, config)))
        await led(first)
        await until_answered(two.discord, await mention(two.discord, "hello"), "hello")
        (pod,) = api.pods.values()
        asked = copy.deepcopy(pod.body)
        first.process.send_signal(signal.SIGSTOP)
        async with two.two.start(**on_engine(two.two, config)) as second:
            await led(second)
            await until_only(api, ())
            thread_id = await mention(two.discord, "and on")
            await until_answered(two.discord, thread_id, "and on")
            successors = set(api.pods)
            await late(api, asked)
            assert set(api.pods) == {*successors, pod.name}
            await until_only(api, successors)
            first.process.send_signal(signal.SIGCONT)
            assert await first.ended() == EX_LEASE_LOST
            await two.discord.owner.say(thread_id, "still there")
            await until_answered(two.discord, thread_id, "still there")
            assert set(api.pods) == successors
            assert await second.signalled(signal.SIGTERM) == 0
        await until_only(api, ())
