"""Control: how fast commands and other threads are answered while one agent floods, one hangs and one never starts.

And whether that changes with the length of the queue: the same is asked of a bot in which nothing waits, and of one in
which hundreds of messages do. Every command that there is has its turn in `commands`.
"""

from __future__ import annotations

import time

import anyio

from bot.sandbox import RateLimits
from scripts.benchmarks.agent import HANG_NEXT, HUNG
from scripts.benchmarks.commands import every_command
from scripts.benchmarks.scene import LIMIT, Scene, scene, until
from scripts.benchmarks.stats import Figures, percentile, stamps

ROUNDS, PLACES = 12, 3
"""The hung agent is ended 30 s after its input is full: all rounds fit into that. Threads take turns, as each may get
only five messages in five seconds."""
AGENTS = 2 * PLACES + 3

BUSY_ROUNDS, QUIET = 100, 1.0
IN_LINE, IN_THREADS = 200, 200
"""Messages that wait in one thread, and others that wait in threads of their own."""


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
    whole = {"p50_ms": percentile(every, 0.5) * 1e3, "p99_ms": percentile(every, 0.99) * 1e3}
    return {
        **whole,
        **each,
        **busy,
        **await _queued("none_waits", 0, 0),
        **await _queued("400_wait", IN_LINE, IN_THREADS),
        **await every_command(),
    }


async def _trouble(running: Scene, flooded: int, hung: int) -> int:
    """Begin a start that never ends, a hang with a full stdin and a flood; return the thread of the start."""
    (running.directory / HANG_NEXT).touch()
    starting = await running.mention("bench:hi")
    await until((running.directory / HUNG).exists)
    await running.say(hung, "bench:stuff")
    asked = await running.say(flooded, "bench:flood")
    await until(lambda: running.replies(flooded, asked))
    return starting


async def _quiet(running: Scene) -> None:
    """Wait until what is to be told of the waiting messages was told: the bot hardly computes any more."""
    with anyio.fail_after(LIMIT):
        while True:
            await running.report()
            await anyio.sleep(QUIET)
            if (await running.report())["cpu"] < QUIET * 0.1:
                return


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
    """Return the seconds until a message was marked as accepted, once its turn is over."""
    asked = max(one.id for one in running.discord.messages(thread))
    spent = await _accepted(running, thread)
    await running.ended(thread, after=asked)
    return spent


async def _accepted(running: Scene, thread: int) -> float:
    """Return the seconds until a message was marked as accepted."""
    start = time.monotonic()
    message = await running.say(thread, "bench:hi")
    await running.discord.wait_for(lambda discord: discord.message(message).reactions, timeout=30)
    return time.monotonic() - start


async def _queued(name: str, in_line: int, in_threads: int) -> Figures:
    """Return the lag of the loop, and what commands and messages take, while so many messages wait."""
    taken: dict[str, list[float]] = {"status": [], "message": []}
    async with scene(
        limits=RateLimits.OFF, lane=1, queue_cap=in_line + BUSY_ROUNDS, edit_interval=0, stop_grace=0
    ) as running:
        busy = await running.thread()
        await running.say(busy, "bench:stream:600:1:1")
        for _ in range(in_line):
            await running.say(busy, "bench:hi")
        for _ in range(in_threads):
            await running.mention("bench:hi")
        await _quiet(running)
        await running.report()
        for _ in range(BUSY_ROUNDS):
            taken["status"].append(await _command(running, busy, "status"))
            taken["message"].append(await _accepted(running, busy))
        report = await running.report()
    found = {f"{name}_{kind}_p99_ms": percentile(samples, 0.99) * 1e3 for kind, samples in taken.items()}
    lag = {f"{name}_lag_p99_ms": report["lag_p99"] * 1e3, f"{name}_lag_max_ms": report["lag_max"] * 1e3}
    return found | lag | {f"{name}_cpu_ms": report["cpu"] / BUSY_ROUNDS * 1e3}
