"""Agents as pods on a real cluster that is well, or full, or refuses them: what they take, and what is told."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

import anyio
import pytest

from acp.errors import AgentSpawnError, SpawnFailure
from acp.snapshot import Ending
from pool.engines.kubernetes.engine import KubernetesEngine
from tests.agents import scenario
from tests.agents.scenario import SCRIPT
from tests.cluster.cluster import NODES, ROOT
from tests.cluster.figures import measured
from tests.cluster.pods import NAMESPACE, VOLUME, Pods, aside, fill, make_room, python
from tests.cluster.talk import talking

pytestmark = [pytest.mark.cluster, pytest.mark.asyncio, pytest.mark.timeout(300)]

LIMIT = 120.0
MANY = 20
MUCH = 256 * 1024 * 1024
"""Bytes that fit into no buffers between bot and agent."""

QUIET = 3.0
"""Seconds in which a number that still grows does so, on a busy machine."""


async def test_a_turn_is_played_in_a_pod_that_goes_with_its_end(pods: Pods) -> None:
    """P9, P14: the pod says whose it is, and nothing that an agent should not have."""
    agent = scenario(pods.directory)
    with anyio.fail_after(LIMIT):
        async with pods.engine() as engine:
            for _ in range(3):
                since = time.monotonic()
                async with talking(pods.spec(engine, agent, thread=7)) as talk:
                    measured("start to the first session (s)", time.monotonic() - since)
                    snapshot = await talk.ask("hello")
                    (pod,) = await aside(pods.found)
                    since = time.monotonic()
                measured("stop until the pod is gone (s)", time.monotonic() - since)
            assert (snapshot.ending, snapshot.text) == (Ending.ANSWERED, "hello")
            assert pod["metadata"]["labels"]["weft/thread"] == "7"
            assert pod["spec"]["automountServiceAccountToken"] is False
            assert talk.place == f"pod {pod['metadata']['name']} on {pod['spec']['nodeName']}"
    names = agent.events("start")[0]["environment"]["names"]
    assert [name for name in names if "TOKEN" in name or "PYTEST" in name] == []


async def test_a_flood_comes_through_byte_by_byte(pods: Pods) -> None:
    """P14: 32 MB of output, and 8 MB of input that come back, are what was sent."""
    size, back = 32 * 1024 * 1024, 8 * 1024 * 1024
    source = f"""
import hashlib, os, sys
block = bytes(range(256)) * 256
for _ in range({size} // len(block)): sys.stdout.buffer.write(block)
sys.stdout.flush()
while data := os.read(0, 65536): sys.stdout.buffer.write(data)
sys.stdout.flush()
"""
    with anyio.fail_after(LIMIT):
        async with pods.engine() as engine:
            running = await engine.start(pods.spec(engine, python(source)))
            try:
                expected = hashlib.sha256(bytes(range(256)) * (size // 256)).hexdigest()
                since, digest, left = time.monotonic(), hashlib.sha256(), size
                while left:
                    digest.update(data := await running.stdout.receive(min(left, 1 << 16)))
                    left -= len(data)
                measured("output through attach (MB/s)", size / 1e6 / (time.monotonic() - since))
                assert digest.hexdigest() == expected
                since = time.monotonic()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_send, running.stdin, b"0123456789abcdef" * (back // 16))
                    echoed = b""
                    while len(echoed) < back:
                        echoed += await running.stdout.receive(1 << 16)
                measured("input and back through attach (MB/s)", back / 1e6 / (time.monotonic() - since))
                assert echoed == b"0123456789abcdef" * (back // 16)
            finally:
                await running.stop()


async def _send(stdin: anyio.abc.ByteSendStream, data: bytes) -> None:
    for begin in range(0, len(data), 1 << 15):
        await stdin.send(data[begin : begin + (1 << 15)])
    await stdin.aclose()


async def test_what_nobody_reads_waits_on_its_way(pods: Pods) -> None:
    """P14: in either direction only the buffers of the cluster's connections are filled, and nothing is lost."""
    deaf = "import time\ntime.sleep(1000)"
    loud = f"import os\nn = 0\nwhile n < {MUCH}: n += os.write(1, bytes(65536)); open('said', 'w').write(str(n))"
    with anyio.fail_after(LIMIT):
        async with pods.engine() as engine:
            running, sent = await engine.start(pods.spec(engine, python(deaf))), 0

            async def feed() -> None:
                nonlocal sent
                while sent < MUCH:
                    await running.stdin.send(bytes(65536))
                    sent += 65536

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(feed)
                taken = await _settled(lambda: sent)
                tasks.cancel_scope.cancel()
            await running.stop()
            measured("input between the bot and an agent that does not read (MB)", taken / 1e6)

            running, path = await engine.start(pods.spec(engine, python(loud))), pods.directory / "said"
            given = await _settled(lambda: int(path.read_text() or 0) if path.exists() else 0)
            measured("output between an agent and nobody who reads (MB)", given / 1e6)
            left = MUCH
            while left:
                left -= len(await running.stdout.receive())
            assert (await running.wait()).returncode == 0
            await running.stop()
    assert 0 < taken < MUCH // 2
    assert 0 < given < MUCH // 2


async def _settled(look: Callable[[], int]) -> int:
    """Return a number that has grown, and grows no more."""
    before = 0
    while True:
        await anyio.sleep(QUIET)
        if (now := look()) and now == before:
            return now
        before = now


async def test_a_line_and_its_echo_take_little_time(pods: Pods) -> None:
    """P14: the way there and back, measured."""
    source = "import sys\nfor line in sys.stdin: sys.stdout.write(line); sys.stdout.flush()"
    with anyio.fail_after(LIMIT):
        async with pods.engine() as engine:
            running = await engine.start(pods.spec(engine, python(source)))
            try:
                for number in range(200):
                    line, since, got = b"line %d\n" % number, time.monotonic(), b""
                    await running.stdin.send(line)
                    while not got.endswith(b"\n"):
                        got += await running.stdout.receive()
                    measured("a line to the pod and back (ms)", (time.monotonic() - since) * 1000)
                    assert got == line
            finally:
                await running.stop()


async def test_many_agents_start_at_once_on_both_nodes(pods: Pods) -> None:
    """P14: each answers its own, and all pods are gone in the end."""
    agent = scenario(pods.directory)
    answers: dict[int, str] = {}
    everybody, looked = anyio.Event(), anyio.Event()

    async def play(engine: KubernetesEngine, thread: int) -> None:
        since = time.monotonic()
        async with talking(pods.spec(engine, agent, thread)) as talk:
            measured(f"start to the first session, {MANY} at once (s)", time.monotonic() - since)
            answers[thread] = (await talk.ask(f"thread {thread}")).text
            if len(answers) == MANY:
                everybody.set()
            await looked.wait()

    with anyio.fail_after(2 * LIMIT):
        async with pods.engine() as engine, anyio.create_task_group() as tasks:
            for thread in range(MANY):
                tasks.start_soon(play, engine, thread)
            await everybody.wait()
            nodes = {pod["spec"]["nodeName"] for pod in await aside(pods.found)}
            looked.set()
    assert answers == {thread: f"thread {thread}" for thread in range(MANY)}
    assert nodes == set(NODES)


async def test_a_full_cluster_is_told_and_waited_for(pods: Pods) -> None:
    """P14: Pending is told with its reason; the start goes on once there is room."""
    agent = scenario(pods.directory)
    told: list[str] = []
    waits = anyio.Event()
    await aside(fill, pods)

    def tell(words: str) -> None:
        told.append(words)
        waits.set()

    with anyio.fail_after(LIMIT):
        async with pods.engine(requests={"cpu": "1", "memory": "16Mi"}) as engine, anyio.create_task_group() as tasks:

            async def let_in() -> None:
                await waits.wait()
                await aside(make_room, pods)

            tasks.start_soon(let_in)
            async with talking(pods.spec(engine, agent, tell=tell)) as talk:
                assert (await talk.ask("in")).text == "in"
    assert any("Insufficient cpu" in words for words in told), told


async def test_a_cluster_that_stays_full_ends_the_start_in_time(pods: Pods) -> None:
    """P14: no room, which a later try may mend."""
    await aside(fill, pods)
    with anyio.fail_after(LIMIT):
        async with AsyncExitStack() as stack:
            stack.push_async_callback(aside, make_room, pods)
            async with KubernetesEngine("c", pods.settings(requests={"cpu": "1"}, start_timeout=5.0)) as engine:
                with pytest.raises(AgentSpawnError) as caught:
                    async with talking(pods.spec(engine, scenario(pods.directory))):
                        raise AssertionError("there was room")
    assert (caught.value.failure, caught.value.transient) == (SpawnFailure.NO_ROOM, True)
    assert "Insufficient cpu" in str(caught.value)


async def test_an_image_that_can_not_be_had_is_told_as_such(pods: Pods) -> None:
    """P14: no later try mends it."""
    with anyio.fail_after(LIMIT):
        async with pods.engine(image="weft.invalid/nobody-has-it:1") as engine:
            with pytest.raises(AgentSpawnError) as caught:
                await engine.start(pods.spec(engine, scenario(pods.directory)))
    assert (caught.value.failure, caught.value.transient) == (SpawnFailure.IMAGE, False)


async def test_a_quota_that_is_used_up_counts_as_no_room(pods: Pods) -> None:
    """P14: the API refuses it as forbidden, and yet the rights are well."""
    with anyio.fail_after(LIMIT):
        await aside(pods.cluster.kubectl, "create", "quota", "none", "--hard=pods=0", "-n", NAMESPACE)
        async with pods.engine(start_timeout=5.0) as engine:
            with pytest.raises(AgentSpawnError) as caught:
                await engine.start(pods.spec(engine, scenario(pods.directory)))
    assert caught.value.failure is SpawnFailure.NO_ROOM


async def test_a_cluster_that_refuses_us_is_told_as_such(pods: Pods) -> None:
    """P14: an account without rights."""
    config = await aside(pods.cluster.account_config, NAMESPACE, "nobody")
    with anyio.fail_after(LIMIT):
        async with pods.engine(kubeconfig=str(config)) as engine:
            with pytest.raises(AgentSpawnError) as caught:
                await engine.start(pods.spec(engine, scenario(pods.directory)))
    assert (caught.value.failure, caught.value.transient) == (SpawnFailure.RIGHTS, False)


async def test_a_claim_for_each_thread_takes_its_session_to_another_node(pods: Pods) -> None:
    """P8, P14: the claim is made with the thread's first agent, found by the next one, and never deleted."""
    kind, disk = pods.directory.name, pods.directory / "disk"
    disk.mkdir()
    disk.chmod(0o777)
    volume = VOLUME.format(name=kind, mode="ReadWriteOnce", kind=kind, path=disk)
    await aside(partial(pods.cluster.kubectl, "apply", "-f", "-", told=volume))
    scripted = json.dumps({"store": "/thread/store", "resume": True})
    settings = {"path": "/thread", "new_claim": {"size": "1Gi", "storage_class": kind}}
    with anyio.fail_after(LIMIT):
        async with pods.engine(volume=settings) as engine:
            spec = replace(pods.spec(engine, (*python("")[:3], str(SCRIPT), scripted), thread=7), cwd="/thread/7")
            async with talking(spec) as talk:
                session, first = talk.opened.session.id, talk.node
                await talk.ask("hello")
            await aside(pods.cluster.kubectl, "cordon", first)
            try:
                async with talking(spec, session) as talk:
                    assert (talk.opened.how, talk.opened.lost) == ("resumed", False)
                    assert talk.node != first
            finally:
                await aside(pods.cluster.kubectl, "uncordon", first)
    claims = await aside(pods.cluster.get, "pvc", "-n", NAMESPACE, "-l", "weft/thread=7")
    assert [claim["status"]["phase"] for claim in claims["items"]] == ["Bound"]


async def test_the_doctor_finds_the_example_well(pods: Pods) -> None:
    """P14: the way, each right, and what the cluster would say to such a pod."""
    with anyio.fail_after(LIMIT):
        async with pods.engine() as engine:
            found = await engine.check()
    assert [finding for finding in found if not finding.ok] == []
    assert found


async def test_how_full_the_nodes_are_is_known_with_the_right_to_see_them(pods: Pods) -> None:
    """P14: without it those are named that have agents."""
    example = str(ROOT / "examples/kubernetes/nodes.yaml")
    with anyio.fail_after(LIMIT):
        async with pods.engine() as engine, talking(pods.spec(engine, scenario(pods.directory))) as talk:
            assert [(one.name, one.running, one.free_memory) for one in await engine.nodes()] == [(talk.node, 1, None)]
            await aside(pods.cluster.kubectl, "apply", "-f", example)
            try:
                seen = await engine.nodes()
            finally:
                await aside(pods.cluster.kubectl, "delete", "-f", example)
    assert {one.name: (one.running, one.reachable) for one in seen} == {
        name: (int(name == talk.node), True) for name in NODES
    }
    assert all(one.free_memory for one in seen)
