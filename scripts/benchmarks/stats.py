"""Numbers out of samples: percentiles, medians over runs, and the age of what a reader sees (pure)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median

Figures = dict[str, float]

STAMP = re.compile(r"\bt(\d{9,})\b")
"""A chunk of the measuring agent: the moment in which it was written, in microseconds of the machine's clock."""


def percentile(samples: Iterable[float], share: float) -> float:
    """Return the smallest sample that at least this share of all samples (0 to 1) does not exceed.

    Raises:
        ValueError: there are no samples.
    """
    ordered = sorted(samples)
    if not ordered:
        raise ValueError("no samples")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def middle(runs: Sequence[Mapping[str, float]]) -> Figures:
    """Return the median of each figure over the runs."""
    return {name: median(run[name] for run in runs) for name in runs[0]}


def spread(runs: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Return the least and the greatest value of each figure over the runs."""
    return {name: (min(run[name] for run in runs), max(run[name] for run in runs)) for name in runs[0]}


def stamps(text: str) -> list[float]:
    """Return when the chunks in a text were written, in seconds."""
    return [int(found) / 1e6 for found in STAMP.findall(text)]


def newest(timeline: Iterable[tuple[float, str]]) -> Iterator[tuple[float, float]]:
    """Return (moment, newest chunk visible from then on) for each state of a reply that shows more than before."""
    best = -math.inf
    for moment, text in timeline:
        shown = max(stamps(text), default=-math.inf)
        if shown > best:
            best = shown
            yield moment, best


def ages(timeline: Iterable[tuple[float, str]], first: float, last: float, step: float = 0.05) -> list[float]:
    """Return how old the newest visible chunk is, looked at regularly from the first chunk to the last.

    Until something is visible, the age is that of the first chunk.
    """
    states = [(-math.inf, first), *newest(timeline)]
    found, at = [], 0
    for number in range(int((last - first) / step) + 1):
        now = first + number * step
        while at + 1 < len(states) and states[at + 1][0] <= now:
            at += 1
        found.append(now - states[at][1])
    return found
