"""Chunks: CPU from the agent's pipe to the snapshot, and the floor: to read and split the same pipe and parse its JSON.

`chunks` starts a fresh process for each length; ``python -m scripts.benchmarks.chunks KIND COUNT`` is that process, and
nothing but the measured code runs in it. The agent is another. Where ``WEFT_BENCH_SDK_PYTHON`` names the interpreter of
an environment with `agent-client-protocol`, that SDK's client is measured on the same agent.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import orjson

from acp.connection import open_connection
from acp.elicitation import ElicitationRequest
from acp.engine import LaunchSpec
from acp.permission_request import PermissionRequest
from acp.schema import text_block
from acp.turn import Turn
from acp.turn_deadlines import TurnLimits
from acp.turn_runner import run_turn
from scripts.benchmarks.scene import AGENT, ROOT
from scripts.benchmarks.stats import Figures

SHORT, LONG = 20_000, 200_000
SDK_PYTHON, SDK_CLIENT = "WEFT_BENCH_SDK_PYTHON", Path(__file__).with_name("sdk_client.py")
TRIES = 3
"""Fresh processes for each figure, of which the quickest counts: what else a machine does only ever adds to it."""

SNAPSHOT = 1.25  # seconds between two snapshots, as the bot's editor takes them
PARSERS: dict[str, Callable[[bytes], object]] = {"json": json.loads, "orjson": orjson.loads}


class Sink:
    """Takes what a turn reports; it counts the changes."""

    def __init__(self) -> None:
        self.changes = 0

    def changed(self) -> None:
        """Count."""
        self.changes += 1

    def permission(self, request: PermissionRequest) -> None:
        """Never called: the agent asks for nothing."""

    def question(self, request: ElicitationRequest) -> None:
        """Never called, either."""


async def whole(count: int) -> float:
    """Return CPU seconds for a turn of so many chunks."""
    spec = LaunchSpec(argv=(sys.executable, "-I", "-S", str(AGENT)), cwd=str(Path.cwd()), env=dict(os.environ))
    async with open_connection(spec) as connection:
        session = (await connection.open_session(spec.cwd, None)).session
        turn, sink = Turn(TurnLimits(), anyio.current_time()), Sink()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_look, turn)
            start = time.process_time()
            prompt = [text_block(f"bench:chunks:{count}")]
            await run_turn(connection, session, turn, prompt, sink, clock=asyncio.get_running_loop().time)
            spent = time.process_time() - start
            tasks.cancel_scope.cancel()
    if sink.changes < count:
        raise RuntimeError(f"{sink.changes} of {count} chunks arrived")
    return spent


async def _look(turn: Turn) -> None:
    while True:
        await anyio.sleep(SNAPSHOT)
        turn.snapshot()


async def floor(count: int, kind: str) -> float:
    """Return CPU seconds for reading so many lines and parsing each."""
    parse = PARSERS[kind]
    argv = [sys.executable, "-I", "-S", str(AGENT), "--raw", str(count)]
    async with await anyio.open_process(argv, stdin=subprocess.DEVNULL, stderr=None) as process:
        assert process.stdout is not None
        rest, seen, start = b"", 0, time.process_time()
        async for data in process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                parse(line)
            seen += len(lines)
        spent = time.process_time() - start
    if seen != count:
        raise RuntimeError(f"{seen} of {count} lines arrived")
    return spent


def least(measure: Callable[..., float], *args: object) -> float:
    """Return the least of what several measurements give."""
    return min(measure(*args) for _ in range(TRIES))


def measured(kind: str, count: int) -> float:
    """Return microseconds of CPU for each line, measured in a fresh process."""
    argv = [sys.executable, "-m", "scripts.benchmarks.chunks", kind, str(count)]
    printed = subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True, timeout=120).stdout
    return float(printed.split()[-1]) / count * 1e6  # the log goes to stdout, too


def measured_sdk(count: int) -> float:
    """Return what the official SDK's client takes for each chunk; not a number where it is not installed."""
    if not (python := os.environ.get(SDK_PYTHON)):
        return math.nan
    # The SDK's module is called `acp`, too: it must not find this project's.
    argv = [python, "-I", str(SDK_CLIENT), str(AGENT), str(count)]
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as away:
        done = subprocess.run(argv, cwd=away, check=True, stdout=subprocess.PIPE, text=True, timeout=120)
    return float(done.stdout) / count * 1e6


def chunks() -> Figures:
    """Return the figures of one run."""
    short, long = least(measured, "whole", SHORT), least(measured, "whole", LONG)
    return {
        "cpu_us_per_chunk": long,
        "cpu_us_per_chunk_short": short,
        "linear_ratio": long / short,
        "floor_json_us": least(measured, "json", LONG),
        "floor_orjson_us": least(measured, "orjson", LONG),
        "sdk_us_per_chunk": least(measured_sdk, LONG),
    }


def main(kind: str, count: int) -> None:
    """Measure and print CPU seconds."""
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as directory:
        os.chdir(directory)
        spent = anyio.run(whole, count) if kind == "whole" else anyio.run(floor, count, kind)
    print(spent)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
