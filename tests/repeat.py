"""How often a property is tried: in the suite often enough to notice a fault, with ``-m soak`` at length.

``WEFT_SOAK=short`` shortens the long runs; continuous integration runs them so.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import pytest


def long_run(full: int, short: int) -> int:
    """Return how many repetitions a soak test makes."""
    return short if os.environ.get("WEFT_SOAK") == "short" else full


def in_soak(values: Iterable[Any]) -> list[Any]:
    """Return parameters that only a soak tries: variants of what the suite tries with the others."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.soak) for value in values
    ]
