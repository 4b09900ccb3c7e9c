"""The whole bot with agents in pods of a real cluster: what people see of it, on a good day and on a bad one."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from bot.agents.engines import EngineProfile
from bot.agents.model import AgentProfile, Agents
from bot.model import Outcome
from bot.sandbox import FakeDiscord
from tests.agents import ScriptedAgent, scenario
from tests.agents.scenario import allow_options
from tests.cluster.cluster import wait_until
from tests.cluster.figures import measured
from tests.cluster.pods import Pods, aside, fill, in_pod, make_room
from tests.e2e import play as playing
from tests.e2e import process
from tests.e2e.busy import hurry_notices
from tests.e2e.play import Play, play

pytestmark = [pytest.mark.cluster, pytest.mark.asyncio, pytest.mark.timeout(400)]

LIMIT = 200.0


class FarAgent(ScriptedAgent):
    """An agent whose process ids are those of a pod, and say nothing here."""

    def pids(self) -> list[int]:
        return []


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pods take their time, and notices need not."""
    for module in (playing, process):
        monkeypatch.setattr(module, "LIMIT", LIMIT)
    hurry_notices(monkeypatch)


def far(agent: ScriptedAgent) -> FarAgent:
    return FarAgent(in_pod(agent), agent.log_path)


@asynccontextmanager
async def on_cluster(pods: Pods, tmp_path: Path, agent: ScriptedAgent, **settings: Any) -> AsyncIterator[Play]:
    """Play with an agent in pods; the cluster may have none of them in the end."""
    profile = AgentProfile("far", in_pod(agent), f"{pods.directory}/{{thread_id}}", engine="cluster", tools=False)
    engine = EngineProfile("cluster", "kubernetes", pods.settings(**settings))

    def agents(_discord: FakeDiscord, _workspace: str) -> Agents:
        return Agents({"far": profile}, "far", engines={"cluster": engine})

    async with play(tmp_path, far(agent), agents=agents) as game:
        yield game
    assert await aside(pods.names) == []


async def test_a_thread_is_answered_from_a_pod(pods: Pods, tmp_path: Path) -> None:
    """P14, C1, T2, F1, F4: a turn, a card, a stop, and files there and back."""
    options = allow_options(("yes", "allow_once"), ("no", "reject_once"))
    asks = {"permission": {"tool": {"toolCallId": "t", "title": "rm"}, "options": options}}
    words = {
        "ask": [{**asks, "then": {"yes": [{"text": "removed"}]}}],
        "hang": [{"text": "so far"}, {"hang": True}],
        "make": [{"files": {"{out}/made.txt": "bWFkZQ=="}}, {"text": "there"}],
    }
    agent = scenario(pods.directory, words=words)
    async with on_cluster(pods, tmp_path, agent) as game:
        since = time.monotonic()
        thread_id, outcome = await game.ask("hello")
        measured("a mention until its answer, with the pod's start (s)", time.monotonic() - since)
        assert (outcome, "hello" in game.shown(thread_id)) == (Outcome.ANSWERED, True)

        asked = await game.say(thread_id, "ask")
        await game.press(thread_id, "yes")
        assert await game.outcome(asked) is Outcome.ANSWERED
        assert "removed" in game.shown(thread_id)

        hanging = await game.say(thread_id, "hang")
        await game.until_shown(thread_id, "so far")
        await game.stop(thread_id)
        assert await game.outcome(hanging) is Outcome.STOPPED

        since = time.monotonic()
        message = await game.owner.say(thread_id, "make", files=[("notes.bin", b"\x00note")])
        assert await game.outcome(message.id) is Outcome.ANSWERED
        measured("a turn with a file there and one back (s)", time.monotonic() - since)
        saved = pods.directory / str(thread_id) / f".weft/in/{message.id}/notes.bin"
        assert saved.read_bytes() == b"\x00note"
        await game.until_shown(thread_id, "made.txt")
        posted = [file for reply in game.replies(thread_id) for file in reply.attachments]
        assert [(file.name, file.content) for file in posted] == [("made.txt", b"made")]
    assert len(agent.events("start")) == 1


async def test_a_full_cluster_is_shown_until_there_is_room(pods: Pods, tmp_path: Path) -> None:
    """P14: Pending is told with its reason, in the thread."""
    agent = scenario(pods.directory)
    await aside(fill, pods)
    async with on_cluster(pods, tmp_path, agent, requests={"cpu": "1"}) as game:
        thread_id = await game.mention("hello")
        await game.until_begun(thread_id)
        while True:
            status = await game.owner.slash(thread_id, "status")
            if "Insufficient cpu" in str((status.response or {}).get("content")):
                break
            await anyio.sleep(0.1)
        await aside(make_room, pods)
        assert await game.outcome(thread_id) is Outcome.ANSWERED


@pytest.mark.parametrize(
    ("fault", "what", "outcome", "reason"),
    [
        (lambda pods: pods.end_node(), "a node gone", Outcome.AGENT_UNREACHABLE, "node lost"),
        (lambda pods: pods.evict(), "a pod evicted", Outcome.AGENT_DIED, "Evicted"),
        (
            lambda pods: pods.cut_connections(),
            "the connection reset",
            Outcome.AGENT_UNREACHABLE,
            "the connection to the pod was lost",
        ),
    ],
    ids=["node", "evicted", "connection"],
)
async def test_a_turn_that_is_cut_off_is_told_and_the_thread_goes_on(
    pods: Pods, tmp_path: Path, fault: Callable[[Pods], None], what: str, outcome: Outcome, reason: str
) -> None:
    """P8, P14: what was said stays, the reason stands below, and the next message finds the session elsewhere."""
    words = {"hang": [{"text": "so far"}, {"hang": True}]}
    agent = scenario(pods.directory, words=words, store=str(pods.store()), resume=True)
    async with on_cluster(pods, tmp_path, agent) as game:
        thread_id = await game.mention("hang")
        await game.until_shown(thread_id, "so far")
        await aside(fault, pods)
        since = time.monotonic()
        assert await game.outcome(thread_id) is outcome
        measured(f"{what} until it is told in the thread (s)", time.monotonic() - since)
        await game.until_shown(thread_id, reason)
        again = await game.say(thread_id, "go on")
        assert await game.outcome(again) is Outcome.ANSWERED
        assert "go on" in game.shown(thread_id)
    assert len(agent.received("session/new")) == 1
    assert len(agent.received("session/resume")) == 1


async def test_a_bot_that_is_killed_leaves_no_pod_behind_after_its_next_start(pods: Pods, tmp_path: Path) -> None:
    """P9, P14, R1: with a turn in flight; the next run sweeps its pod, and the thread goes on with its session."""
    words = {"hang": [{"text": "so far"}, {"hang": True}]}
    agent = scenario(pods.directory, words=words, store=str(pods.store()), resume=True, start={"ignore_eof": True})
    (tmp_path / "weft.toml").write_text(_toml(pods, agent))
    settings = {"WEFT_AGENT_COMMAND": "", "WEFT_WORKSPACE": "", "WEFT_AGENTS_FILE": str(tmp_path / "weft.toml")}
    with anyio.fail_after(LIMIT):
        async with FakeDiscord() as discord:

            @asynccontextmanager
            async def bot() -> AsyncIterator[process.Run]:
                async with process.run(tmp_path, discord.api_url, discord.token, far(agent), **settings) as run:
                    yield run

            async with bot() as run:
                await discord.ready.wait()
                thread_id = await process.mention(discord, "hang")
                await process.until_shown(discord, thread_id, "so far")
                (left,) = await aside(pods.names)
                run.process.kill()
                await run.process.wait()
            since = time.monotonic()
            async with bot() as run:
                await run.logged("strays.ended")
                measured("a killed bot's next start until its pod is swept (s)", time.monotonic() - since)
                await aside(wait_until, lambda: left not in pods.names(), "the pod is gone")
                await discord.owner.say(thread_id, "go on")
                await process.until_answered(discord, thread_id, "go on")
                await run.signalled(signal.SIGTERM)
            await aside(wait_until, lambda: pods.names() == [], "no pod is left")
    assert agent.prompts() == ["hang", "go on"]
    assert len(agent.received("session/resume")) == 1


def _toml(pods: Pods, agent: ScriptedAgent) -> str:
    """Return the settings of one agent in pods."""
    lines = ["default = 'far'", "[engines.cluster]"]
    # What JSON writes of texts, numbers and lists is TOML; tables have another sign between key and value.
    for name, value in pods.values().items():
        if isinstance(value, dict):
            inside = ", ".join(f"{key} = {json.dumps(one)}" for key, one in value.items())
            lines.append(f"{name} = {{ {inside} }}")
        else:
            lines.append(f"{name} = {json.dumps(value)}")
    lines += ["kind = 'kubernetes'", "[agents.far]", f"command = {json.dumps(list(in_pod(agent)))}"]
    return "\n".join([*lines, "engine = 'cluster'", f"workspace = '{pods.directory}/{{thread_id}}'", ""])
