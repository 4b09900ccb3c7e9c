"""The bot as a pod of the cluster that runs its agents, as `examples/kubernetes` shows it.

The examples are applied as they are, but for what a person has to fill in: images, the agent's command, who may speak,
secrets, and volumes where a cluster makes none by itself. Discord is here, and named in the settings.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml  # type: ignore[import-untyped]

from bot.sandbox import FakeDiscord
from tests.agents import ScriptedAgent
from tests.agents.scenario import SCRIPT
from tests.cluster import image
from tests.cluster.bot_image import BOT, write_bot_image
from tests.cluster.cluster import NODES, ROOT, Cluster, cache, wait_until
from tests.cluster.figures import measured
from tests.cluster.pods import NAMESPACE, Pods, aside, python
from tests.e2e import process
from tests.e2e.process import mention, shown, until_answered, until_shown

pytestmark = [pytest.mark.cluster, pytest.mark.asyncio, pytest.mark.timeout(400)]

EXAMPLES = ROOT / "examples" / "kubernetes"
LIMIT = 200.0
POD = "weft-0"
AGENTS = "app.kubernetes.io/managed-by=weft"
HURRY = {"WEFT_STOP_GRACE": "1", "WEFT_CANCEL_GRACE": "1", "WEFT_DEBOUNCE": "0", "WEFT_WELCOME": "false"}

VOLUMES = {"state": "1Gi", "thread": "5Gi"}

# What a driver of volumes makes when it is asked; the nodes give them to the group that the pod names.
VOLUME = """
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}}}
spec:
  capacity: {{storage: {size}}}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  local: {{path: {path}}}
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions: [{{key: kubernetes.io/os, operator: In, values: [linux]}}]
"""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pods take their time."""
    monkeypatch.setattr(process, "LIMIT", LIMIT)


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
async def test_the_cluster_would_take_each_example(pods: Pods, path: Path) -> None:
    """P14: as it stands; the API knows each field, and refuses others."""
    said = await aside(pods.cluster.kubectl, "apply", "--dry-run=server", "--validate=strict", "-f", str(path))
    assert "(server dry run)" in said
    assert "Warning" not in said


async def test_the_bot_in_a_pod_answers_with_agents_in_pods(pods: Pods) -> None:
    """P14, R1: with the rights of its own account; in the end it takes its agents with it."""
    async with deployed(pods) as bot:
        thread_id = await mention(bot.discord, "hello")
        since = time.monotonic()
        await until_answered(bot.discord, thread_id, "hello")
        measured("a mention of the bot in a pod until its answer (s)", time.monotonic() - since)
        (agent,) = await aside(bot.agents)
        assert agent["metadata"]["labels"]["weft/thread"] == str(thread_id)
        names = bot.agent.events("start")[0]["environment"]["names"]
        assert "ANTHROPIC_API_KEY" in names
        assert "DISCORD_TOKEN" not in names
        # What looks after its health finds it well, and began to do so when it was.
        await aside(wait_until, bot.started, "the bot's pod has started")
        bot.discord.assert_clean()
    assert len(bot.agent.events("start")) == 1


@pytest.mark.parametrize("how", ["deleted", "killed"])
async def test_the_successor_of_the_bot_says_what_was_cut_off_and_leaves_no_agent(pods: Pods, how: str) -> None:
    """P8, P9, P14, R1, R2: after an orderly end, and after none; the session is on the thread's volume."""
    async with deployed(pods) as bot:
        thread_id = await mention(bot.discord, "hello")
        await until_answered(bot.discord, thread_id, "hello")
        await bot.discord.owner.say(thread_id, "hang")
        await until_shown(bot.discord, thread_id, "so far")
        (left,) = [one["metadata"]["name"] for one in await aside(bot.agents)]

        first, since = bot.discord.ready, time.monotonic()
        await aside(bot.delete if how == "deleted" else bot.kill)
        await bot.connected(first)
        measured(f"the bot's pod {how} until its successor is connected (s)", time.monotonic() - since)
        await until_shown(bot.discord, thread_id, "**Interrupted:**")
        await aside(wait_until, lambda: left not in bot.agent_names(), "the agent of the first bot is gone")

        await bot.discord.owner.say(thread_id, "go on")
        await until_answered(bot.discord, thread_id, "go on")
        assert shown(bot.discord, thread_id).count("**Interrupted:**") == 1
        assert bot.agent.prompts() == ["hello", "hang", "go on"]
        assert len(bot.agent.received("session/resume")) == 1
        assert len(await aside(bot.agents)) == 1


@dataclass(frozen=True, slots=True)
class Bot:
    """The bot that was deployed, and what it has to do with."""

    cluster: Cluster
    discord: FakeDiscord
    agent: ScriptedAgent

    def agents(self) -> list[dict[str, Any]]:
        """Return the pods of its agents."""
        return list(self.cluster.get("pods", "-n", NAMESPACE, "-l", AGENTS)["items"])

    def agent_names(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.agents()]

    async def connected(self, first: anyio.Event | None = None) -> None:
        """Wait until it is connected with Discord, or again after the ``first`` time; if not, show what it said."""
        with anyio.move_on_after(LIMIT / 2):
            # A connection that ends makes a new event.
            while self.discord.ready is first or not self.discord.ready.is_set():  # noqa: ASYNC110  nobody tells it
                await anyio.sleep(0.05)
            return
        seen = await aside(self.cluster.kubectl, "describe", "pods", "-n", NAMESPACE)
        said = await aside(partial(self.cluster.kubectl, "logs", "-n", NAMESPACE, POD, check=False))
        raise AssertionError(f"the bot is not connected:\n{seen}\n{said}")

    def started(self) -> bool:
        (container,) = self.cluster.get("pod", POD, "-n", NAMESPACE)["status"]["containerStatuses"]
        return bool(container["started"]) and container["restartCount"] == 0

    def delete(self) -> None:
        self.cluster.kubectl("delete", "pod", POD, "-n", NAMESPACE, "--wait=false")

    def kill(self) -> None:
        """Kill all of its container at once, as a machine's lack of memory does."""
        pod = self.cluster.get("pod", POD, "-n", NAMESPACE)
        (container,) = pod["status"]["containerStatuses"]
        name = container["containerID"].removeprefix("containerd://")
        self.cluster.ctr(pod["spec"]["nodeName"], "tasks", "kill", "--signal", "SIGKILL", name)


@asynccontextmanager
async def deployed(pods: Pods) -> AsyncIterator[Bot]:
    """Deploy the bot by the example, until it is connected; afterwards it and its agents are gone."""
    cluster = pods.cluster
    agent = _scripted(pods.directory / "thread")
    await aside(_give_image, cluster)
    with anyio.fail_after(LIMIT):
        async with FakeDiscord() as discord:
            bot = Bot(cluster, discord, agent)
            with cluster.outside(int(discord.url.rpartition(":")[2])) as address:
                discord.go_by(address)
                told = _filled_in(agent.argv, str(discord.owner.id), f"http://{address}/api/v10")
                try:
                    await aside(_prepare, pods, discord.token)
                    await aside(partial(cluster.kubectl, "apply", "-f", "-", told=told))
                    await bot.connected()
                    yield bot
                    await aside(cluster.kubectl, "delete", "statefulset", "weft", "-n", NAMESPACE)
                    await aside(wait_until, lambda: bot.agents() == [], "no agent is left")
                finally:
                    with anyio.CancelScope(shield=True):
                        await aside(_clear_up, pods, told)


def _scripted(directory: Path) -> ScriptedAgent:
    """Return an agent that outlives its input, and keeps its sessions in ``directory``, which pods see as /work."""
    keys = {"log": "/work/log", "store": "/work/store", "resume": True, "words": {"hang": process.HANG}}
    scripted = json.dumps({**keys, "start": {"ignore_eof": True}})
    return ScriptedAgent((*python("")[:3], str(image.AGENTS / SCRIPT.name), scripted), directory / "log")


def _give_image(cluster: Cluster) -> None:
    archive = cluster.directory / "bot.tar"
    if not archive.exists():
        write_bot_image(archive, cache() / "root/bin/busybox")
    for node in NODES:
        if BOT not in cluster.ctr(node, "images", "list", "--quiet"):
            cluster.give_images(node, archive)


def _filled_in(command: Sequence[str], owner: str, api: str) -> str:
    """Return the example with what a person has to fill in."""
    text = (EXAMPLES / "weft.yaml").read_text()
    words = {
        "registry.example/weft:1": BOT,
        "registry.example/agent:1": image.AGENT,
        '["claude-agent-acp"]': json.dumps(command),
        "your-id": owner,
    }
    for blank, word in words.items():
        assert text.count(blank) == 1, blank
        text = text.replace(blank, word)
    items = list(yaml.safe_load_all(text))
    (spec,) = [item["spec"]["template"]["spec"] for item in items if "template" in item.get("spec", {})]
    more = {"WEFT_DISCORD_API": api, **HURRY}
    spec["containers"][0]["env"] += [{"name": name, "value": value} for name, value in more.items()]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def _prepare(pods: Pods, token: str) -> None:
    """Make what has to be there before the example."""
    secret = partial(pods.cluster.kubectl, "create", "secret", "generic", "-n", NAMESPACE)
    secret("weft", f"--from-literal=DISCORD_TOKEN={token}")
    secret("anthropic", "--from-literal=api-key=nobodys")
    for name, size in VOLUMES.items():
        path = pods.directory / name
        path.mkdir()
        volume = VOLUME.format(name=f"{pods.directory.name}-{name}", size=size, path=path)
        pods.cluster.kubectl("apply", "-f", "-", told=volume)


def _clear_up(pods: Pods, told: str) -> None:
    delete = partial(pods.cluster.kubectl, "delete", "--ignore-not-found", "-n", NAMESPACE)
    delete("-f", "-", "--wait=false", told=told)
    delete("pods", "--all", "--now")
    delete("pvc", "-l", "weft/agent=claude")
    delete("secret", "weft", "anthropic")
    delete("pv", *(f"{pods.directory.name}-{name}" for name in VOLUMES))
