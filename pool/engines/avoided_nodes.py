"""The pause after a node's fault, in which its neighbours get the agents. The mutable state is until when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio

AVOIDED: Final = 60.0
"""Seconds in which a node that failed gets no agent while another one has room."""


class AvoidedNodes:
    """Nodes that failed a moment ago."""

    def __init__(self, clock: Callable[[], float] = anyio.current_time) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def failed(self, node: str) -> None:
        """Avoid a node for a while."""
        self._until[node] = self._clock() + AVOIDED

    def well(self, node: str) -> None:
        """Avoid it no longer."""
        self._until.pop(node, None)

    def __contains__(self, node: object) -> bool:
        return self._until.get(str(node), 0.0) > self._clock()
