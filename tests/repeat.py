"""How often a property is tried: in the suite often enough to notice a fault, with ``-m soak`` at length.

``WEFT_SOAK=short`` shortens the long runs; continuous integration runs them so.
"""

from __future__ import annotations

import os


def long_run(full: int, short: int) -> int:
    """Return how many repetitions a soak test makes."""
    return short if os.environ.get("WEFT_SOAK") == "short" else full
