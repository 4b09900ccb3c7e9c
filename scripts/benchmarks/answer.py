"""Answer: how soon a message reaches an agent with nothing to do, and how soon a stopped turn is seen to be over."""

from __future__ import annotations

import time

from scripts.benchmarks.scene import Scene, scene, until
from scripts.benchmarks.stats import Figures, percentile, stamps

THREADS, ROUNDS = 6, 5
DEBOUNCE = 0.8
"""As by default: what a lone message waits for is what is measured."""


async def answer() -> Figures:
    """Return the time from a message to its prompt, and from /stop to the line about the end, over 30 turns each."""
    async with scene(debounce=DEBOUNCE) as running:
        threads = [await running.thread() for _ in range(THREADS)] * ROUNDS
        idle = [await _asked(running, thread) for thread in threads]
        stopped = [await _stopped(running, thread) for thread in threads]
    return {
        "idle_p50_ms": percentile(idle, 0.5) * 1e3,
        "idle_p99_ms": percentile(idle, 0.99) * 1e3,
        "stop_shown_p50_ms": percentile(stopped, 0.5) * 1e3,
        "stop_shown_p99_ms": percentile(stopped, 0.99) * 1e3,
    }


async def _asked(running: Scene, thread: int) -> float:
    """Return the seconds from a message in a thread where nothing runs to the agent's first chunk."""
    start = time.monotonic()
    asked = await running.say(thread, "bench:hi")
    await running.ended(thread, after=asked)
    return min(stamps(running.replies(thread, asked)[-1].content)) - start


async def _stopped(running: Scene, thread: int) -> float:
    """Return the seconds from a /stop to the first state of the reply that tells of it and has no button."""
    asked = await running.say(thread, "bench:stream:0:60:5")
    await until(lambda: any(stamps(one.content) for one in running.replies(thread, asked)))
    start = time.monotonic()
    await running.discord.owner.slash(thread, "stop")
    await running.ended(thread, after=asked)
    return next(moment for moment, text in running.timeline(thread, asked) if "**stopped" in text.lower()) - start
