"""What a reader sees: the time to the first text, and how old a streamed answer is on the screen."""

from __future__ import annotations

import random
from statistics import mean

import anyio

from scripts.benchmarks.scene import Scene, scene
from scripts.benchmarks.stats import Figures, ages, newest, percentile, stamps

FIRST_THREADS, FIRST_ROUNDS = 8, 3
THREADS, SECONDS, RATE = 34, 30.0, 15.0
PHASE = 5.0  # seconds over which the streams begin
ROUND_TRIP = 0.08
SEED = 20


async def first_visible() -> Figures:
    """Return how long the first text takes from the agent's pipe to the loopback Discord, over 24 turns."""
    samples: list[float] = []
    async with scene() as running:
        threads = [await running.thread() for _ in range(FIRST_THREADS)]
        for _ in range(FIRST_ROUNDS):
            for thread in threads:
                asked = await running.say(thread, "bench:stream:0.25:0.5:15")
                await running.ended(thread, after=asked)
                samples.append(first_delay(running.timeline(thread, asked)))
    return {"p50_ms": percentile(samples, 0.5) * 1e3, "p99_ms": percentile(samples, 0.99) * 1e3}


def first_delay(timeline: list[tuple[float, str]]) -> float:
    """Return the seconds from the first chunk's writing to the first state that shows a chunk."""
    return next(moment - min(stamps(text)) for moment, text in timeline if stamps(text))


async def staleness() -> Figures:
    """Return the age of what is visible during 30 s streams in many threads at once, and the time to the final text."""
    phases = random.Random(SEED)  # noqa: S311  it spreads the streams
    async with scene(round_trip=ROUND_TRIP, lane=THREADS, max_agents=THREADS + 1) as running:
        threads = [await running.mention("bench:hi") for _ in range(THREADS)]
        for thread in threads:
            await running.ended(thread)
        await anyio.sleep(PHASE)  # the budgets of the beginning are full again
        asked = {}
        for thread in threads:
            delay = phases.uniform(1.0, 1.0 + PHASE)
            asked[thread] = await running.say(thread, f"bench:stream:{delay:.3f}:{SECONDS}:{RATE}")
        for thread, message in asked.items():
            await running.ended(thread, after=message)
        return _staleness(running, asked)


def _staleness(running: Scene, asked: dict[int, int]) -> Figures:
    looked: list[float] = []
    shown: list[float] = []
    closed: list[float] = []
    for thread, message in asked.items():
        timeline = running.timeline(thread, message)
        written = sorted({stamp for _, text in timeline for stamp in stamps(text)})
        if len(written) != SECONDS * RATE:
            raise RuntimeError(f"{len(written)} of {SECONDS * RATE:g} chunks became visible")
        looked += ages(timeline, written[0], written[-1])
        shown.append(max(newest(timeline))[0] - written[-1])
        closed.append(timeline[-1][0] - written[-1])
    return {
        "mean_s": mean(looked),
        "p99_s": percentile(looked, 0.99),
        "max_s": max(looked),
        "final_p50_s": percentile(shown, 0.5),
        "final_p99_s": percentile(shown, 0.99),
        "closed_p99_s": percentile(closed, 0.99),
        "streams": float(len(asked)),
    }
