"""A takeover while agents run on an engine: the bot that led wakes later, amid what it was about to do there (R10)."""

from __future__ import annotations

import json
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from bot.config import EX_LEASE_LOST
from tests import postgres
from tests.e2e.pair import Side, pair
from tests.e2e.play import LIMIT
from tests.e2e.process import mention, until_answered
from tests.e2e.test_standby import led, waiting
from tests.engines.kube_api import KubeApi, cluster
from tests.engines.kube_model import Refused, kubeconfig

pytestmark = [pytest.mark.asyncio, pytest.mark.soak, postgres.needed]

RETRIED = 10.0
"""Seconds after which a sweep that failed is tried again."""


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


async def until_listed(api: KubeApi, before: int) -> None:
    """Wait until the pods were listed more often than that."""
    with anyio.fail_after(LIMIT):
        while lists(api) <= before:  # noqa: ASYNC110  the server tells nobody
            await anyio.sleep(0.01)


def lists(api: KubeApi) -> int:
    return sum(request.startswith("GET") and request.endswith("/pods") for request in api.requests)


@pytest.mark.timeout(240)
async def test_a_bot_that_wakes_amid_a_sweep_leaves_its_successors_agents_alone(tmp_path: Path) -> None:
    """R10, P14: its sweep was due while it stood still, and is made before it knows that it leads no more."""
    async with cluster() as api, pair(tmp_path) as two, AsyncExitStack() as stack:
        config = kubeconfig(api.port, tmp_path / "kubeconfig")
        api.fail("GET .*/pods", Refused(403, "Forbidden", "not yet"), times=100)
        first = await stack.enter_async_context(two.one.start(**on_engine(two.one, config)))
        await led(first)
        stopped = anyio.current_time()
        first.process.send_signal(signal.SIGSTOP)
        api._faults.clear()
        second = await stack.enter_async_context(two.two.start(**on_engine(two.two, config)))
        await waiting(second)
        await led(second)
        thread_id = await mention(two.discord, "hello")
        await until_answered(two.discord, thread_id, "hello")
        (pod,) = api.pods
        await anyio.sleep_until(stopped + RETRIED)
        listed = lists(api)
        first.process.send_signal(signal.SIGCONT)
        assert await first.ended() == EX_LEASE_LOST
        await until_listed(api, listed)
        assert list(api.pods) == [pod]
        await two.discord.owner.say(thread_id, "still there")
        await until_answered(two.discord, thread_id, "still there")
        assert list(api.pods) == [pod]
        assert await second.signalled(signal.SIGTERM) == 0
        assert api.pods == {}
