"""Fleet, sharing, soak and start: many agents at once, in shared processes, one after the other, and none."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import anyio
import psutil

from bot.sandbox import RateLimits
from scripts.benchmarks.scene import AGENT, ROOT, Report, Scene, scene, until
from scripts.benchmarks.stats import Figures

AGENTS, STREAMING, SECONDS, RATE = 100, 50, 20.0, 15.0
SOAK_THREADS, SOAK_AGENTS, WARM_UP, IDLE_TTL = 40, 8, 200, 2.0
KEEP_ALIVE = 20.0  # idle HTTP connections are kept for 15 s
MB = 1e6
IMPORT = "import time; start = time.perf_counter(); import bot.app; print(time.perf_counter() - start)"

THREADS, SESSIONS = 40, 20


async def fleet() -> Figures:
    """Return what 100 live agents cost, of which 50 stream at once."""
    async with scene(lane=STREAMING, max_agents=AGENTS) as running:
        threads = [await running.mention("bench:hi") for _ in range(AGENTS)]
        await all_ended(running, dict.fromkeys(threads, 0))
        rested = await running.report()
        asked = {}
        for thread in threads[:STREAMING]:
            asked[thread] = await running.say(thread, f"bench:stream:1:{SECONDS}:{RATE}")
        await anyio.sleep(1 + SECONDS / 2)
        await running.report()  # the beginning is over: the window that counts is the middle of the streams
        await anyio.sleep(SECONDS / 2 - 2)
        streamed = await running.report()
        await all_ended(running, asked)
    return {
        "agents": float(rested["children"]),
        "streaming": float(STREAMING),
        "loop_lag_p50_ms": streamed["lag_p50"] * 1e3,
        "loop_lag_p99_ms": streamed["lag_p99"] * 1e3,
        "loop_lag_starting_p99_ms": rested["lag_p99"] * 1e3,
        "loop_lag_max_ms": streamed["lag_max"] * 1e3,
        "cpu_s": streamed["cpu"],
        "window_s": SECONDS / 2 - 2,
        "rss_kb_per_thread": (rested["rss"] - running.first["rss"]) / AGENTS / 1024,
    }


async def all_ended(running: Scene, asked: dict[int, int]) -> None:
    """Wait until each thread's answer is over; looks seldom, since each look goes over everything."""
    for thread, message in asked.items():
        await until(lambda: running.over(thread, message), look=0.25)  # noqa: B023


async def soak(sessions: int) -> Figures:
    """Return what is left of so many sessions, each in a process that was started, prompted and suspended."""
    async with scene(
        limits=RateLimits.OFF, max_agents=SOAK_AGENTS, idle_ttl=IDLE_TTL, edit_interval=0.1, drain=0.02
    ) as running:
        threads = [await running.thread() for _ in range(SOAK_THREADS)]
        await _rounds(running, threads, WARM_UP - SOAK_THREADS)
        before = await _at_rest(running)
        started = time.monotonic()
        await _rounds(running, threads, sessions)
        spent = time.monotonic() - started
        after = await _at_rest(running)
        orphans = len(agents_of(running.directory))
    changes = {name: float(after[name] - before[name]) for name in ("fds", "threads", "tasks")}
    return {
        "sessions": float(sessions),
        **changes,
        "zombies": float(after["zombies"]),
        "orphans": float(orphans),
        "rss_growth_mb": (after["rss"] - before["rss"]) / MB,
        "sessions_per_s": sessions / spent,
    }


async def _rounds(running: Scene, threads: list[int], count: int) -> None:
    """Prompt the threads in turn: with more threads than agents each prompt suspends another thread's agent."""
    for first in range(0, count, SOAK_AGENTS):
        picked = [threads[number % len(threads)] for number in range(first, min(first + SOAK_AGENTS, count))]
        asked = {thread: await running.say(thread, "bench:hi") for thread in picked}
        for thread, message in asked.items():
            await running.ended(thread, after=message)
        _forget(running, asked)


def _forget(running: Scene, asked: dict[int, int]) -> None:
    """Take old messages from the loopback Discord, or looking for answers becomes slower and slower."""
    state = running.discord.state
    for number in [number for number, one in state.messages.items() if one.channel_id in asked]:
        del state.messages[number]
        state.timelines.pop(number, None)
    state.changes.log.clear()


async def _at_rest(running: Scene) -> Report:
    """Wait until every agent is suspended and connections to Discord were given up, and return a report."""
    await until(lambda: not agents_of(running.directory), look=0.25)
    await anyio.sleep(KEEP_ALIVE)
    return await running.report()


def agents_of(directory: Path) -> list[int]:
    """Return the processes of the measuring agent that belong to a scene."""
    wanted = [str(AGENT), str(directory)]
    return [one.pid for one in psutil.process_iter(["cmdline"]) if (one.info["cmdline"] or [])[-2:] == wanted]


async def start() -> Figures:
    """Return how long the bot takes to import and to be ready, and its memory then."""
    argv = [sys.executable, "-c", IMPORT]
    printed = subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout  # noqa: ASYNC221
    async with scene() as running:
        ready = time.monotonic() - running.started
    return {"import_s": float(printed), "ready_s": ready, "rss_mb": running.first["rss"] / MB}


@dataclass(frozen=True, slots=True)
class _Cost:
    processes: float
    agent_kb: float
    bot_kb: float


async def sharing() -> Figures:
    """Return the memory of a thread with an idle session, outside and inside the bot, both ways."""
    alone, shared = await _cost(1), await _cost(SESSIONS)
    return {
        "threads": float(THREADS),
        "processes_alone": alone.processes,
        "processes_shared": shared.processes,
        "agent_kb_per_thread_alone": alone.agent_kb,
        "agent_kb_per_thread_shared": shared.agent_kb,
        "bot_kb_per_thread_alone": alone.bot_kb,
        "bot_kb_per_thread_shared": shared.bot_kb,
    }


async def _cost(sessions: int) -> _Cost:
    async with scene(max_agents=THREADS, sessions_per_process=sessions) as running:
        threads = [await running.mention("bench:hi") for _ in range(THREADS)]
        await all_ended(running, dict.fromkeys(threads, 0))
        report, pids = await running.report(), agents_of(running.directory)
        # Proportional: a page that several processes have in common counts as one, whoever has it.
        pages = sum(psutil.Process(pid).memory_full_info().pss for pid in pids)
    grown = report["rss"] - running.first["rss"]
    return _Cost(float(len(pids)), pages / THREADS / 1024, grown / THREADS / 1024)
