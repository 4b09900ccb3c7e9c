"""The engines of a bot that runs: entered, swept before the first start and ever again, and asked how full they are.

The mutable state is what the nodes said last and when, who waits for them to say it again, and what the last sweeps
had to leave.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from math import inf

import anyio
import structlog

from bot.agents.model import Agents
from pool.engines.bot_run import BotRun
from pool.engines.model import NodeStatus, PoolEngine

SWEEP_LIMIT = 20.0
"""Seconds that the start waits for the engines to end what an earlier run left; they go on with that by themselves."""

SWEEP_FIRST, SWEEP_LONGEST = 15.0, 300.0
"""Seconds until the engines are swept again, and the longest that becomes of doubling them."""

LOOK_EVERY = 15.0
"""Seconds between two looks at how full the machines are, while nobody asks."""

FRESH = 2.0
"""Seconds for which a look is good enough for who asks."""

RENEW_LIMIT = 1.2
"""Seconds that who asks waits for a newer one; Discord waits three for the answer."""

log = structlog.get_logger(__name__)


class RunningEngines:
    """The engines by name, and how full their machines are.

    Attributes:
        engines: by their names.
    """

    def __init__(self, engines: Mapping[str, PoolEngine]) -> None:
        self.engines = engines
        self._seen: dict[str, tuple[tuple[NodeStatus, ...], float]] = dict.fromkeys(engines, ((), -inf))
        self._wanted = {name: anyio.Event() for name in engines}
        self._looked = anyio.Event()
        self._left: dict[str, tuple[str, ...]] = {}

    async def sweep(self, state: str) -> None:
        """End what an earlier run on this state left on any of them; one that is away keeps nobody waiting for long."""
        with anyio.move_on_after(SWEEP_LIMIT) as waited:
            async with anyio.create_task_group() as tasks:
                for engine in self.engines.values():
                    # All at once: one that is away must not use up the time of the others.
                    tasks.start_soon(self._sweep, engine, state, name=f"sweep {engine.name}")
        if waited.cancelled_caught:
            log.warning("engines.sweep_slow", seconds=SWEEP_LIMIT)

    async def keep_sweeping(self, state: str, pause: float = SWEEP_FIRST) -> None:
        """Sweep again and again; never returns.

        What the bot before had asked for when it was killed, or lost its lease, may be carried out at any later time:
        a network holds requests back for minutes, and a machine that stood still sends what it was about to send. No
        wait before the first start would be long enough for that.
        """
        while self.engines:
            await anyio.sleep(pause)
            pause = min(2 * pause, SWEEP_LONGEST)
            await self.sweep(state)
        await anyio.sleep_forever()

    async def _sweep(self, engine: PoolEngine, state: str) -> None:
        try:
            swept = await engine.sweep(state)
        except Exception:  # a fault of one engine must not keep the bot, or the agents of another one, from starting
            log.exception("engine.sweep_failed", engine=engine.name)
            return
        left, self._left[engine.name] = self._left.get(engine.name, ()), swept.left
        # A machine that is away for long is no news each time.
        if swept.ended or swept.left != left:
            log.warning("strays.ended", engine=engine.name, ended=swept.ended, left=swept.left)

    @property
    def nodes(self) -> dict[str, tuple[NodeStatus, ...]]:
        """How full the machines of each engine are, as they were at its last look."""
        now = anyio.current_time()
        return {name: tuple(replace(one, age=now - at) for one in nodes) for name, (nodes, at) in self._seen.items()}

    async def keep_looking(self) -> None:
        """Ask all of them again and again; never returns."""
        async with anyio.create_task_group() as tasks:
            # Each on its own: one that is slow keeps nobody from what the others say.
            for engine in self.engines.values():
                tasks.start_soon(self._keep_looking, engine, name=f"ask {engine.name}")
        await anyio.sleep_forever()

    async def _keep_looking(self, engine: PoolEngine) -> None:
        fresh: float | None = None
        while True:
            # New before the look: who asks while it is under way may want a later one.
            wanted = self._wanted[engine.name] = anyio.Event()
            began = anyio.current_time()
            try:
                nodes = tuple(await engine.nodes(fresh))
            except Exception:  # what can't be asked is shown as it was; the next look may do better
                log.exception("engine.not_asked", engine=engine.name)
            else:
                self._seen[engine.name] = nodes, began
                self._looked.set()
                self._looked = anyio.Event()
            with anyio.move_on_after(LOOK_EVERY):
                await wanted.wait()
            fresh = FRESH if wanted.is_set() else None

    async def renew(self) -> None:
        """Have `nodes` be of now, if they are not; bounded: what an engine says later is seen by the next who looks."""
        old = [name for name in self.engines if not self._is_fresh(name)]
        for name in old:
            self._wanted[name].set()
        with anyio.move_on_after(RENEW_LIMIT):
            while not all(map(self._is_fresh, old)):
                await self._looked.wait()

    def _is_fresh(self, name: str) -> bool:
        return anyio.current_time() - self._seen[name][1] <= FRESH


@asynccontextmanager
async def running_engines(agents: Agents, run: BotRun) -> AsyncIterator[RunningEngines]:
    """Have the engines of the settings run while the body does; their agents belong to ``run``.

    Raises:
        ExtraMissing: the library of one is not installed.
    """
    # One that no agent uses is not even entered: it may be away, or its library missing.
    used = {agent.engine for agent in agents}
    async with AsyncExitStack() as stack:
        engines = {
            name: await stack.enter_async_context(profile.make(run))
            for name, profile in agents.engines.items()
            if name in used
        }
        yield RunningEngines(engines)
