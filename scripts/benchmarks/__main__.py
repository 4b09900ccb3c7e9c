"""The entry point: ``python -m scripts.benchmarks [scenario ...] [--json] [--runs N] [--soak-sessions N]``."""

from __future__ import annotations

import argparse
import functools
import json
import math
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import anyio
import anyio.to_thread

from scripts.benchmarks.answer import answer
from scripts.benchmarks.chunks import chunks
from scripts.benchmarks.control import control
from scripts.benchmarks.files import files
from scripts.benchmarks.fleet import fleet, sharing, soak, start
from scripts.benchmarks.flood import flood, line
from scripts.benchmarks.scale import scale
from scripts.benchmarks.showing import first_visible, staleness
from scripts.benchmarks.stats import Figures, middle, spread

Scenario = Callable[[], Awaitable[Figures]]
RUNS, MOST_RUNS = (
    3,
    {"answer": 2, "first_visible": 2}
    | dict.fromkeys(("control", "flood", "staleness", "files", "fleet", "sharing", "scale", "soak"), 1),
)
"""How often a scenario runs unless told otherwise: all of them stay within twelve minutes."""


async def _chunks() -> Figures:
    return await anyio.to_thread.run_sync(chunks)


def scenarios(soak_sessions: int) -> dict[str, Scenario]:
    """Return the scenarios in order, by name."""
    return {
        "start": start,
        "chunks": _chunks,
        "answer": answer,
        "first_visible": first_visible,
        "control": control,
        "line": line,
        "flood": flood,
        "staleness": staleness,
        "files": files,
        "fleet": fleet,
        "sharing": sharing,
        "scale": scale,
        "soak": functools.partial(soak, soak_sessions),
    }


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what was asked for."""
    names = list(scenarios(0))
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure the bot; see docs/performance.md.")
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help=f"all of them by default: {', '.join(names)}")
    parser.add_argument("--json", action="store_true", help="print one object with the medians, and nothing else")
    parser.add_argument("--runs", type=int, help=f"of each scenario; {RUNS} by default, fewer of the long ones")
    parser.add_argument("--soak-sessions", type=int, default=2000, help="2000 by default")
    asked = parser.parse_args(argv)
    if unknown := set(asked.scenarios) - set(names):
        parser.error(f"no scenario {', '.join(sorted(unknown))}: there are {', '.join(names)}")
    if asked.soak_sessions < 1 or (asked.runs is not None and asked.runs < 1):
        parser.error("--runs and --soak-sessions are at least 1")
    return asked


def runs_of(name: str, asked: int | None) -> int:
    """Return how often a scenario runs."""
    return asked or MOST_RUNS.get(name, RUNS)


def table(name: str, runs: Sequence[Figures], seconds: float) -> str:
    """Return the figures of a scenario as lines: the median and, of several runs, the least and the greatest."""
    lines = [f"{name} ({len(runs)} x, {seconds:.0f} s)"]
    ranges = spread(runs)
    for figure, value in middle(runs).items():
        low, high = ranges[figure]
        shown = "not installed" if math.isnan(value) else f"{value:.3f}"
        lines.append(f"  {figure:<26}{shown:>14}" + (f"   ({low:.3f} to {high:.3f})" if low < high else ""))
    return "\n".join(lines)


def whole(value: float) -> float | int | None:
    """Return a number as JSON shows it best; None for what could not be measured."""
    if math.isnan(value):
        return None
    return int(value) if value.is_integer() else round(value, 6)


async def measure(asked: argparse.Namespace) -> dict[str, dict[str, float | int | None]]:
    """Run what was asked for, one after the other, and return the medians."""
    found: dict[str, dict[str, float | int | None]] = {}
    known = scenarios(asked.soak_sessions)
    for name in asked.scenarios or known:
        started = time.monotonic()
        runs = [await known[name]() for _ in range(runs_of(name, asked.runs))]
        print(table(name, runs, time.monotonic() - started), file=sys.stderr if asked.json else sys.stdout, flush=True)
        found[name] = {figure: whole(value) for figure, value in middle(runs).items()}
    return found


def main() -> None:
    """Measure and print."""
    asked = arguments()
    found = anyio.run(measure, asked)
    if asked.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
