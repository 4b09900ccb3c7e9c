"""Flood and line: what an agent that writes far too much costs the bot, in memory and in stops of its loop.

Each flood meets a bot of its own, so that memory which an earlier one has left behind hides nothing. Memory is read
from outside: while the bot decodes a line, nothing in its process could look.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from bot.sandbox import RateLimits
from scripts.benchmarks.agent import WRITTEN
from scripts.benchmarks.scene import CLOSING, WORKING, Scene, scene, until
from scripts.benchmarks.stats import Figures

LONGEST = (16 << 20) - 4096  # bytes; the bot drops lines of more than 16 MiB
FLOODS = {
    "text": "bench:text:100000:1000",
    "chunks": "bench:chunks:500000",
    "line_1mb": "bench:text:1000000:1",
    "line_10mb": "bench:text:10000000:1",
    "line_50mb": "bench:text:50000000:1",
    "endless": "bench:endless:60000000",
    "stderr": "bench:stderr:10000000",
}
LINES = {
    "line": f"bench:nested:{LONGEST}",
    "line_flat": f"bench:flat:{LONGEST}",
    "line_string": f"bench:text:{LONGEST}:1",
}
WARM_UP = "bench:text:100000:20"
SAMPLE = 0.005  # seconds between two looks at the memory
AFTER = 0.3  # seconds for which the bot is watched after the last line was taken
MIB = 1 << 20
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a flood cost the bot: the most memory above what it had (MiB), its loop's longest stop (ms)."""

    growth: float
    lag: float


async def flood() -> Figures:
    """Return memory and the loop's longest stop for each flood."""
    costs = {name: await _cost(word) for name, word in FLOODS.items()}
    growths = {f"{name}_growth_mb": cost.growth for name, cost in costs.items()}
    return growths | {f"{name}_lag_ms": cost.lag for name, cost in costs.items()}


async def line() -> Figures:
    """Return the loop's longest stop for the longest lines that are taken, and what decoding them needs."""
    costs = {name: await _cost(word) for name, word in LINES.items()}
    stops = {f"{name}_stop_ms": cost.lag for name, cost in costs.items()}
    return stops | {f"{name}_growth_mb": cost.growth for name, cost in costs.items()}


async def _cost(word: str) -> Cost:
    async with scene(limits=RateLimits.OFF) as running:  # or the pages of each answer would take ten seconds
        thread = await running.thread()
        await _play(running, thread, WARM_UP)
        await running.report()
        async with _memory(running) as used:
            await _play(running, thread, word)
            await anyio.sleep(AFTER)
        report = await running.report()
    return Cost((max(used) - used[0]) / MIB, report["lag_max"] * 1e3)


async def _play(running: Scene, thread: int, word: str) -> None:
    """Have the agent do what a word says, and wait until it is over: the answer, or the writing of what has no end."""
    asked = await running.say(thread, word)
    written = running.directory / WRITTEN
    await until(lambda: _closed(running, thread, asked) or written.exists())


def _closed(running: Scene, thread: int, after: int) -> bool:
    """Whether a turn has ended, whatever is shown of it."""
    replies = running.replies(thread, after)
    return bool(replies) and CLOSING in replies[-1].content and WORKING not in replies[-1].content


@asynccontextmanager
async def _memory(running: Scene) -> AsyncIterator[list[int]]:
    """Note the bot's resident memory (bytes) until left; the first is what it had before."""
    statm, used = Path(f"/proc/{running.process.pid}/statm"), []

    def look() -> None:
        used.append(int(statm.read_text().split()[1]) * PAGE)

    async def watch() -> None:
        while True:
            await anyio.sleep(SAMPLE)
            look()

    look()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        yield used
        tasks.cancel_scope.cancel()
