"""What was measured on the cluster, printed at the end of the run. The mutable state is the figures."""

from __future__ import annotations

import statistics
from collections import defaultdict

_measured: dict[str, list[float]] = defaultdict(list)


def measured(what: str, value: float) -> None:
    """Note one value; ``what`` ends with its unit in brackets."""
    _measured[what].append(value)


def table() -> list[str]:
    """Return a line for each thing measured: how often, the median, and the ends."""
    width = max(map(len, _measured), default=0)
    return [
        f"{what:<{width}}  n={len(values):<3} median {statistics.median(values):10.3f}"
        f"  least {min(values):10.3f}  most {max(values):10.3f}"
        for what, values in _measured.items()
    ]
