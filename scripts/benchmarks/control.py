"""Control: how fast commands and other threads are answered while one agent floods, one hangs and one never starts."""

from __future__ import annotations

import time

from scripts.benchmarks.agent import HANG_NEXT, HUNG
from scripts.benchmarks.scene import Scene, scene, until
from scripts.benchmarks.stats import Figures, percentile, stamps

ROUNDS, PLACES = 12, 3
"""The hung agent is ended 30 s after its input is full: all rounds fit into that. Threads take turns, as each may get
only five messages in five seconds."""
AGENTS = 2 * PLACES + 3


async def control() -> Figures:
    """Return the latency of /status, /stop and a message in another thread, together and each for itself."""
    found: dict[str, list[float]] = {"status": [], "stop": [], "message": []}
    async with scene() as running:
        flooded, hung, *threads = [await running.thread() for _ in range(AGENTS - 1)]
        starting = await _trouble(running, flooded, hung)
        await running.report()
        began = time.monotonic()
        for number in range(ROUNDS):
            place = number % PLACES
            for thread in (flooded, hung, starting):
                found["status"].append(await _command(running, thread, "status"))
            found["stop"].append(await _stop(running, threads[place]))
            found["message"].append(await _message(running, threads[PLACES + place]))
        report, spent = await running.report(), time.monotonic() - began
    if report["children"] != AGENTS:
        raise RuntimeError(f"{report['children']} of {AGENTS} agents live: the trouble ended before the measurement")
    every = [sample for samples in found.values() for sample in samples]
    each = {f"{name}_p99_ms": percentile(samples, 0.99) * 1e3 for name, samples in found.items()}
    busy = {"samples": float(len(every)), "bot_cpu_share": report["cpu"] / spent}
    return {"p50_ms": percentile(every, 0.5) * 1e3, "p99_ms": percentile(every, 0.99) * 1e3, **each, **busy}


async def _trouble(running: Scene, flooded: int, hung: int) -> int:
    """Begin a start that never ends, a hang with a full stdin and a flood; return the thread of the start."""
    (running.directory / HANG_NEXT).touch()
    starting = await running.mention("bench:hi")
    await until((running.directory / HUNG).exists)
    await running.say(hung, "bench:stuff")
    asked = await running.say(flooded, "bench:flood")
    await until(lambda: running.replies(flooded, asked))
    return starting


async def _command(running: Scene, thread: int, name: str) -> float:
    """Return the seconds until a command was acknowledged."""
    start = time.monotonic()
    interaction = await running.discord.owner.slash(thread, name)
    if not interaction.acked:
        raise RuntimeError(f"/{name} was not acknowledged")
    return time.monotonic() - start


async def _stop(running: Scene, thread: int) -> float:
    """Begin a turn and return the seconds until its /stop was acknowledged."""
    asked = await running.say(thread, "bench:stream:0:60:5")
    await until(lambda: any(stamps(one.content) for one in running.replies(thread, asked)))
    spent = await _command(running, thread, "stop")
    await running.ended(thread, after=asked)
    return spent


async def _message(running: Scene, thread: int) -> float:
    """Return the seconds until a message was marked as accepted."""
    start = time.monotonic()
    message = await running.say(thread, "bench:hi")
    await running.discord.wait_for(lambda discord: discord.message(message).reactions, timeout=30)
    spent = time.monotonic() - start
    await running.ended(thread, after=message)
    return spent
