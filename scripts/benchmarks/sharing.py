"""Sharing: what a thread costs in memory, with a process of its own and with one that many threads share."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from scripts.benchmarks.fleet import agents_of, all_ended
from scripts.benchmarks.scene import scene
from scripts.benchmarks.stats import Figures

THREADS, SESSIONS = 40, 20


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
