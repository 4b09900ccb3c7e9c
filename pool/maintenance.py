"""The periodic pass over the pool: suspends what idled, stops what hung, takes back the places of what leaked.

Never waits for a slot: a lock that is not free means busy, and busy is not idle.
"""

from __future__ import annotations

import anyio
import structlog

from pool import policy
from pool.model import Reason
from pool.registry import Registry
from pool.slot import Slot

log = structlog.get_logger(__name__)


class Maintenance:
    """Runs the pass again and again; ``last_pass`` is the pool's clock at the end of the last good one."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.last_pass = registry.clock()

    async def run(self) -> None:
        """Run until cancelled; a pass that fails is logged and the next one runs."""
        while True:
            await anyio.sleep(self._registry.limits.maintenance)
            try:
                self.once()
            except Exception:  # the maintenance pass: a fault here must not end the pool
                log.exception("maintenance.failed")

    def once(self) -> None:
        """Make one pass."""
        registry = self._registry
        now = registry.clock()
        plan = policy.plan(list(registry.slots.values()), registry.limits, now)
        for slot in plan.hung:
            # It obeys no cancel: only the end of its process ends its turn, and the neighbours' turns with it.
            registry.stop_agent(slot.agent, Reason.HUNG)
        for slot in plan.idle:
            self._suspend(slot)
        registry.leaks.mark(now)
        registry.reclaim()
        registry.breaker.prune(now)
        self.last_pass = now
        registry.changed()

    def _suspend(self, slot: Slot) -> None:
        try:
            slot.lock.acquire_nowait()
        except anyio.WouldBlock:
            return
        try:
            self._registry.stop(slot, Reason.IDLE)
        finally:
            slot.lock.release()
