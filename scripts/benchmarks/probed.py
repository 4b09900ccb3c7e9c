"""The bot with a probe in it: ``python -m scripts.benchmarks.probed REPORT``, settings as for ``weft run``.

SIGUSR1 writes a report (JSON) to the file and begins a new window: the lag of the loop since the last report, CPU,
memory, tasks, descriptors.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread
import psutil

from bot.app import running_bot, secrets
from bot.config import Settings
from bot.log import configure_logging
from bot.ops.hardening import give_back_large_blocks, leave_lasting_objects_alone
from bot.ops.instance import STATE_MARKER, sole_instance
from bot.preflight import preflight
from bot.redaction import Redactor
from scripts.benchmarks.stats import percentile

TICK = 0.005


@dataclass(slots=True)
class Probe:
    """Looks at the process; the mutable state is the lags and the CPU time at the window's start."""

    path: Path
    lags: list[float] = field(default_factory=list)
    cpu: float = field(default_factory=time.process_time)
    number: int = 0

    async def watch(self) -> None:
        """Note for each tick how late the loop was, unless a report was written meanwhile, which takes a while."""
        while True:
            due, number = time.monotonic() + TICK, self.number
            await anyio.sleep(TICK)
            if self.number == number:
                self.lags.append(time.monotonic() - due)

    def report(self) -> None:
        """Write what was seen since the last report."""
        process = psutil.Process()
        children = process.children(recursive=True)
        lags, cpu = self.lags or [0.0], time.process_time()
        self.number += 1
        found = {
            "number": self.number,
            "lag_p50": percentile(lags, 0.5),
            "lag_p99": percentile(lags, 0.99),
            "lag_max": max(lags),
            "cpu": cpu - self.cpu,
            "rss": process.memory_info().rss,
            "fds": process.num_fds(),
            "threads": threading.active_count(),
            "tasks": len(asyncio.all_tasks()),
            "zombies": sum(child.status() == psutil.STATUS_ZOMBIE for child in children),
            "children": len(children),
        }
        self.lags, self.cpu = [], cpu
        partial = self.path.with_suffix(".part")
        partial.write_text(json.dumps(found))
        partial.rename(self.path)


async def run(settings: Settings, probe: Probe) -> None:
    """Run the bot until SIGTERM; report when it is ready, and on SIGUSR1."""
    wanted = preflight(settings)
    redactor = Redactor(secrets(wanted))
    configure_logging(settings.log_level, settings.log_format, redactor)
    give_back_large_blocks()
    with sole_instance(settings.state_dir) as identity, anyio.open_signal_receiver(*SIGNALS) as signals:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(probe.watch)
            async with running_bot(settings, wanted, redactor, {STATE_MARKER: identity}) as bot:
                await bot.ready.wait()
                leave_lasting_objects_alone()
                probe.report()
                async for number in signals:
                    if number is signal.SIGTERM:
                        break
                    # Worker threads that have been idle for long end when the next call is made: make it.
                    await anyio.to_thread.run_sync(int)
                    probe.report()
            tasks.cancel_scope.cancel()


SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

if __name__ == "__main__":
    anyio.run(run, Settings(), Probe(Path(sys.argv[1])))
