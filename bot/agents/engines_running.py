"""The engines of a bot that runs: entered and swept before the first start, and asked often how full they are.

The mutable state is what the nodes said last.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import structlog

from bot.agents.model import Agents
from pool.engines.model import NodeStatus, PoolEngine

SWEEP_LIMIT = 20.0
"""Seconds that the start waits for the engines to end what an earlier run left; they go on with that by themselves."""

LOOK_EVERY = 15.0
"""Seconds between two looks at how full the machines are."""

log = structlog.get_logger(__name__)


class RunningEngines:
    """The engines by name, and how full their machines are.

    Attributes:
        nodes: of each engine, as they were at the last look.
    """

    def __init__(self, engines: Mapping[str, PoolEngine]) -> None:
        self.engines = engines
        self.nodes: Mapping[str, tuple[NodeStatus, ...]] = dict.fromkeys(engines, ())

    async def sweep(self, state: str) -> None:
        """End what an earlier run on this state left on any of them; one that is away keeps nobody waiting for long."""
        with anyio.move_on_after(SWEEP_LIMIT) as waited:
            async with anyio.create_task_group() as tasks:
                for engine in self.engines.values():
                    # All at once: one that is away must not use up the time of the others.
                    tasks.start_soon(self._sweep, engine, state, name=f"sweep {engine.name}")
        if waited.cancelled_caught:
            log.warning("engines.sweep_slow", seconds=SWEEP_LIMIT)

    async def _sweep(self, engine: PoolEngine, state: str) -> None:
        try:
            swept = await engine.sweep(state)
        except Exception:  # a fault of one engine must not keep the bot, or the agents of another one, from starting
            log.exception("engine.sweep_failed", engine=engine.name)
            return
        if swept.ended or swept.left:
            log.warning("strays.ended", engine=engine.name, ended=swept.ended, left=swept.left)

    async def look(self) -> None:
        """Ask all of them once."""
        found: dict[str, tuple[NodeStatus, ...]] = {}

        async def ask(engine: PoolEngine) -> None:
            try:
                found[engine.name] = tuple(await engine.nodes())
            except Exception:  # what can't be asked is shown as it was; the next look may do better
                log.exception("engine.not_asked", engine=engine.name)
                found[engine.name] = self.nodes[engine.name]

        async with anyio.create_task_group() as tasks:
            for engine in self.engines.values():
                tasks.start_soon(ask, engine, name=f"ask {engine.name}")
        # In one step, so that nobody sees the nodes of one look beside those of another.
        self.nodes = {name: found[name] for name in self.engines}

    async def keep_looking(self) -> None:
        """Ask again and again; never returns, and does nothing where there is no engine."""
        while self.engines:
            await self.look()
            await anyio.sleep(LOOK_EVERY)
        await anyio.sleep_forever()


@asynccontextmanager
async def running_engines(agents: Agents) -> AsyncIterator[RunningEngines]:
    """Have the engines of the settings run while the body does.

    Raises:
        ExtraMissing: the library of one is not installed.
    """
    # One that no agent uses is not even entered: it may be away, or its library missing.
    used = {agent.engine for agent in agents}
    async with AsyncExitStack() as stack:
        engines = {
            name: await stack.enter_async_context(profile.make())
            for name, profile in agents.engines.items()
            if name in used
        }
        yield RunningEngines(engines)
