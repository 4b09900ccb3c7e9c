"""Scale: what agents on engines cost beside those of this machine, a store in PostgreSQL beside one in a file, one bot.

Engines and PostgreSQL are the real ones that the tests start (`tests.engines`, `tests.postgres`); what can't run on a
machine is not a number.
"""

from __future__ import annotations

import contextlib
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog

from acp.connection import open_connection
from acp.engine import LaunchSpec
from acp.schema import text_block
from acp.turn import Turn
from acp.turn_deadlines import TurnLimits
from acp.turn_runner import run_turn
from bot.sandbox import RateLimits
from pool.storage.durable import SessionStore, open_store
from pool.store import AcceptedPrompt
from scripts.benchmarks.chunks import Sink
from scripts.benchmarks.fleet import RATE, all_ended
from scripts.benchmarks.scene import scene
from scripts.benchmarks.stats import Figures

STARTS, CHUNKS, SIZE = 5, 20_000, 100
ACCEPTS, CALLERS = 2_000, (1, 50)
OTHERS, THREADS, TURNS = 2_000, 16, 20
STREAMS, WINDOW = (25, 100, 200), 8.0
PLAYER = Path(__file__).parents[2] / "tests" / "agents" / "player.py"


@dataclass(frozen=True, slots=True)
class Bench:
    """Where agents start: ``player`` plays a scenario given as JSON; ``engine`` None: on this machine."""

    player: Sequence[str]
    directory: str
    engine: Any = None


Open = Callable[[], AbstractAsyncContextManager[Bench]]


@asynccontextmanager
async def _local() -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as directory:
        yield Bench((sys.executable, "-I", "-S", str(PLAYER)), directory)


@asynccontextmanager
async def _hosts() -> AsyncIterator[Bench]:
    from pool.engines.ssh.engine import SshEngine
    from pool.engines.ssh.settings import SshSettings
    from tests.engines import sshd

    if reason := sshd.why_not():
        pytest.skip(reason)
    with sshd.server() as server:
        settings = sshd.settings_for(server, [server.port, server.port])
        place = server.directory / "bench"
        place.mkdir()
        place.chmod(0o777)  # both accounts work there
        async with SshEngine("bench", SshSettings.model_validate(settings)) as engine:
            yield Bench(server.player, str(place), engine)


@asynccontextmanager
async def _daemon(kind: str) -> AsyncIterator[Bench]:
    from tests.engines import docker_daemon
    from tests.engines.test_docker_daemon import bed_on

    if reason := docker_daemon.missing(kind):
        pytest.skip(reason)
    with docker_daemon.running(kind) as daemon:
        async with bed_on(daemon) as bed:
            yield Bench(bed.player, bed.directory, bed.engine)


@asynccontextmanager
async def _cluster() -> AsyncIterator[Bench]:
    from tests.cluster import cluster
    from tests.cluster.pods import aside, pods_of, prepare

    if reason := cluster.missing():
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        # Built beside the loop, which has nothing else to do yet.
        running = await aside(stack.enter_context, cluster.running())
        config = await aside(prepare, running)
        pods = stack.enter_context(contextlib.contextmanager(pods_of)(running, running.shared / "bench", config))
        async with pods.engine() as engine:
            # The image has the Python that this environment was made from, and the tests' agents at the same paths.
            player = (sys._base_executable, "-I", "-S", str(PLAYER))  # type: ignore[attr-defined]
            yield Bench(player, str(pods.directory), engine)


ENGINES: dict[str, Open] = {
    "local": _local,
    "ssh": _hosts,
    "docker": partial(_daemon, "docker"),
    "podman": partial(_daemon, "podman"),
    "kubernetes": _cluster,
}


async def scale() -> Figures:
    """Return the figures of one run."""
    # The connections are in this process, and stdout is for the figures.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    found: Figures = {}
    for name, opened in ENGINES.items():
        found |= {f"{name}_{figure}": value for figure, value in (await _on(opened)).items()}
    found |= {f"sqlite_{figure}": value for figure, value in (await _file()).items()}
    found |= {f"postgres_{figure}": value for figure, value in (await _server()).items()}
    return found | await _messages() | await _streams()


# --- engines -----------------------------------------------------------------------------------------------------


async def _on(opened: Open) -> Figures:
    """Return what an agent costs on an engine: its start to the answered handshake, and each chunk of its answer."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            bench = await stack.enter_async_context(opened())
        except pytest.skip.Exception:
            return dict.fromkeys(("start_ms", "stop_ms", "us_per_chunk", "cpu_us_per_chunk"), math.nan)
        starts, stops = [], []
        for _ in range(STARTS):
            began = time.monotonic()
            async with open_connection(_spec(bench)):
                starts.append(time.monotonic() - began)
                ending = time.monotonic()
            stops.append(time.monotonic() - ending)
        spent, cpu = await _answer(bench)
    return {
        "start_ms": statistics.median(starts) * 1e3,
        "stop_ms": statistics.median(stops) * 1e3,
        "us_per_chunk": spent / CHUNKS * 1e6,
        "cpu_us_per_chunk": cpu / CHUNKS * 1e6,
    }


def _spec(bench: Bench, *turns: Sequence[dict[str, Any]]) -> LaunchSpec:
    scenario = {"turns": [list(steps) for steps in turns]} if turns else {}
    labels = {"state": "bench", "agent": "bench", "thread": "1"}
    argv = (*bench.player, json.dumps(scenario))
    return LaunchSpec(argv, bench.directory, {}, engine=bench.engine, labels=labels, start_timeout=60.0)


async def _answer(bench: Bench) -> tuple[float, float]:
    """Return the seconds, and those of this process's CPU, for a turn of `CHUNKS` chunks."""
    spec = _spec(bench, [{"flood": SIZE, "times": CHUNKS}])
    async with open_connection(spec) as connection:
        session = (await connection.open_session(spec.directory, None)).session
        turn, sink = Turn(TurnLimits(), anyio.current_time()), Sink()
        began, cpu = time.monotonic(), time.process_time()
        snapshot = await run_turn(connection, session, turn, [text_block("go")], sink, clock=anyio.current_time)
        spent, used = time.monotonic() - began, time.process_time() - cpu
    if snapshot.text_length != CHUNKS * SIZE:
        raise RuntimeError(f"{snapshot.text_length} of {CHUNKS * SIZE} characters arrived")
    return spent, used


# --- the store ---------------------------------------------------------------------------------------------------


async def _file() -> Figures:
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as directory:
        async with open_store(Path(directory) / "weft.db") as store:
            return await _accepts(store)


async def _server() -> Figures:
    from pool.storage.postgres_ledger import open_database_store
    from tests import postgres

    if postgres.missing():
        return {f"accepts_per_s_{callers}": math.nan for callers in CALLERS}
    # As people run it: every commit is on the disk.
    with postgres.own_server(durable=True) as own:
        async with open_database_store(own.server.tcp_url()) as store:
            return await _accepts(store)


async def _accepts(store: SessionStore) -> Figures:
    """Return how many prompts a second are accepted, by one after the other and by many callers at once."""
    found: Figures = {}
    ids = iter(range(1, 10**9))
    for callers in CALLERS:
        count = ACCEPTS // 4 if callers == 1 else ACCEPTS

        async def call(times: int) -> None:
            for _ in range(times):
                await store.accept(AcceptedPrompt(next(ids), 1, 2, 3, '{"text": "a message of some length"}'))

        began = time.monotonic()
        async with anyio.create_task_group() as tasks:
            for _ in range(callers):
                tasks.start_soon(call, count // callers)
        found[f"accepts_per_s_{callers}"] = count / (time.monotonic() - began)
    return found


# --- one bot -----------------------------------------------------------------------------------------------------


async def _messages() -> Figures:
    """Return what one bot takes for a message that is not for it, and for a whole turn of an agent that is there."""
    async with scene(lane=THREADS, max_agents=THREADS + 1, limits=RateLimits.OFF, drain=0.02) as running:
        threads = [await running.mention("bench:hi") for _ in range(THREADS)]
        await all_ended(running, dict.fromkeys(threads, 0))
        # 1. What others say in a channel.
        await running.report()
        for number in range(OTHERS):
            await running.discord.owner.say(running.discord.channel_id, f"not for the bot {number}")
        await running.thread()  # behind all of them, so they were read
        said = await running.report()
        # 2. Turns, each thread's one after the other.
        began = time.monotonic()

        async def talk(thread: int) -> None:
            for _ in range(TURNS):
                await running.ended(thread, after=await running.say(thread, "bench:hi"))

        async with anyio.create_task_group() as tasks:
            for thread in threads:
                tasks.start_soon(talk, thread)
        spent = time.monotonic() - began
        turned = await running.report()
    return {
        "cpu_us_per_message_of_others": said["cpu"] / OTHERS * 1e6,
        "turns_per_s": THREADS * TURNS / spent,
        "cpu_ms_per_turn": turned["cpu"] / (THREADS * TURNS) * 1e3,
    }


async def _streams() -> Figures:
    """Return what one bot takes of a core, and how late its loop is, with so many turns that stream at once.

    Discord's own limits are off: they would hold 200 streams back, and its reach is asked for here.
    """
    found: Figures = {}
    for count in STREAMS:
        async with scene(lane=count, max_agents=count + 1, limits=RateLimits.OFF) as running:
            threads = [await running.mention("bench:hi") for _ in range(count)]
            await all_ended(running, dict.fromkeys(threads, 0))
            memory = (await running.report())["rss"]
            asked = {thread: await running.say(thread, f"bench:stream:1:{2 * WINDOW}:{RATE}") for thread in threads}
            await anyio.sleep(WINDOW / 2)
            await running.report()
            began = time.monotonic()
            await anyio.sleep(WINDOW)
            streamed = await running.report()
            window = time.monotonic() - began
            await all_ended(running, asked)
        found |= {
            f"streams_{count}_core_share": streamed["cpu"] / window,
            f"streams_{count}_loop_lag_p99_ms": streamed["lag_p99"] * 1e3,
            f"streams_{count}_rss_mb": memory / 1e6,
        }
    return found
