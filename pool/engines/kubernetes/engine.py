"""Agents as pods of a cluster: one pod for each process, made, attached and deleted through the API.

The cluster places, limits and ends them. What a pod is made of is in `manifest`, its start in
`start`, the running one in `agent`. The mutable state is the agents, and what could not be
deleted.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Self

import anyio
import structlog

from acp.engine import LaunchSpec
from acp.errors import AgentSpawnError, SpawnFailure
from acp.stderr_tail import StderrTail
from pool.engines.avoided_nodes import AvoidedNodes
from pool.engines.bot_run import BotRun
from pool.engines.kubernetes.agent import KubernetesAgent
from pool.engines.kubernetes.api import PODS, ApiError, KubeApi
from pool.engines.kubernetes.attach import PodStream
from pool.engines.kubernetes.check import check
from pool.engines.kubernetes.manifest import EPOCH, RUN, STATE, header, label, pod_name
from pool.engines.kubernetes.nodes import Nodes
from pool.engines.kubernetes.settings import KubernetesSettings
from pool.engines.kubernetes.start import ATTACH, PodStart
from pool.engines.kubernetes.status import is_over, lacked_room, name_of, node_of, why_it_never_ran
from pool.engines.kubernetes.times import Times
from pool.engines.kubernetes.watch import PodWatch, SeenPod, remove
from pool.engines.model import EngineFinding, NodeStatus, Swept, without_marks
from pool.engines.upkeep import keep_going, watch_agent

_AT_ONCE = 10
"""Pods that a sweep deletes at the same time."""

_UNANSWERED = 30.0
"""Seconds in which the API may still make a pod that it was asked for without an answer."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Leftover:
    """A pod that is to go; until ``until`` it may also be one that is still to come."""

    seen: SeenPod
    until: float = 0.0


class KubernetesEngine:
    """A cluster. Entered and left by one task; all else may be called from any."""

    kind = "kubernetes"

    def __init__(
        self, name: str, settings: KubernetesSettings, *, times: Times | None = None, run: BotRun | None = None
    ) -> None:
        self.name = name
        self.start_timeout = settings.start_timeout
        self._settings = settings
        self._times = times or Times()
        self._run = run or BotRun()
        self._api = KubeApi(settings, self._times)
        self._watch = PodWatch(self._api, self._run.name, self._times)
        self._avoided = AvoidedNodes()
        self._failed: set[str] = set()
        self._agents: dict[str, KubernetesAgent] = {}
        self._nodes = Nodes(self._api, self._agents, self._avoided, self._avoid, self._times)
        self._places = anyio.Semaphore(settings.places) if settings.places is not None else None
        self._leftovers: dict[str, _Leftover] = {}
        self._unswept: set[str] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        # First in, so last out: the tasks use it until they have ended.
        self._stack.push_async_callback(self._api.close)
        self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        self._stack.callback(self._tasks.cancel_scope.cancel)
        self._tasks.start_soon(keep_going, self.name, self._watch.run, self._times.longest)
        self._tasks.start_soon(keep_going, self.name, self._nodes.watch, self._times.longest)
        self._tasks.start_soon(keep_going, self.name, self._clear_leftovers, self._times.longest)
        return self

    async def __aexit__(self, *exc_info: object) -> bool | None:
        # The next run's sweep would find them, too, but nobody knows when that is.
        with anyio.move_on_after(self._times.force, shield=True):
            async with anyio.create_task_group() as tasks:
                for leftover in self._leftovers.values():
                    tasks.start_soon(partial(remove, self._api, leftover.seen, grace=0, within=self._times.force))
        return await self._stack.__aexit__(*exc_info)  # type: ignore[arg-type]

    # --- starting ------------------------------------------------------------------------------------------------

    async def start(self, spec: LaunchSpec) -> KubernetesAgent:
        seen = self._watch.add(pod_name(spec, secrets.token_hex(5)))
        start = PodStart(self._api, seen, spec, self._settings, self._times)
        try:
            try:
                with anyio.fail_after(self.start_timeout):
                    if self._places is not None:
                        await start.take_place(self._places, f"all {self._settings.places} places are taken")
                    return await self._start(start, spec)
            except TimeoutError as exc:
                raise start.too_late(self.start_timeout) from exc
        except BaseException as exc:
            # Cancelled, too: the cluster may have made the pod by now.
            with anyio.CancelScope(shield=True):
                await self._give_up(start)
            if isinstance(exc, AgentSpawnError):
                log.info("pod.not_started", pod=seen.name, failure=exc.failure, error=str(exc))
                if exc.failure in (SpawnFailure.NO_ROOM, SpawnFailure.UNREACHABLE) and seen.pod is not None:
                    self._avoid(node_of(seen.pod))
            raise

    async def _start(self, start: PodStart, spec: LaunchSpec) -> KubernetesAgent:
        seen = start.seen
        await start.make(self._run, [node for node in self._failed if node in self._avoided])
        await start.until_it_runs()
        try:
            websocket = await self._api.websocket(f"{PODS}/{seen.name}/attach", ATTACH)
        except ApiError as exc:
            raise exc.spawn_error("to attach to pods") from exc
        tail = StderrTail()
        agent = KubernetesAgent(
            seen,
            self._api,
            PodStream(websocket, tail.add, self._times),
            tail,
            directory=spec.cwd,
            times=self._times,
            on_removed=self._removed,
        )
        self._tasks.start_soon(watch_agent, self.name, agent.follow, agent.give_up)
        try:
            with anyio.move_on_after(self._times.attach):
                self._run.check()
                if not await agent.enter(header(without_marks(spec.env))):
                    raise self._not_begun(agent, seen)
                self._agents[seen.name] = agent
                log.info("pod.started", pod=seen.name, node=agent.node)
                return agent
            raise AgentSpawnError(f"{agent.place} does not take what is sent to it", failure=SpawnFailure.UNREACHABLE)
        finally:
            if seen.name not in self._agents:
                agent.lost("it did not start")

    def _not_begun(self, agent: KubernetesAgent, seen: SeenPod) -> AgentSpawnError:
        ended, room_on = agent.exit(), None
        if seen.pod is not None and is_over(seen.pod):
            failure, words = why_it_never_ran(seen.pod, self._settings.image)
            room_on = () if lacked_room(seen.pod) else None
        else:
            failure, words = SpawnFailure.UNREACHABLE, ended.reason if ended is not None else "the connection was lost"
        said = ended.stderr_tail.strip()[-500:] if ended is not None else ""
        return AgentSpawnError(f"{words}: {said}" if said else words, failure=failure, exit=ended, room_on=room_on)

    async def _give_up(self, start: PodStart) -> None:
        seen = start.seen
        answered = seen.pod is not None
        gone = not start.asked or await remove(self._api, seen, grace=1, within=self._times.force)
        if start.asked and not (gone and answered):
            self._leftovers[seen.name] = _Leftover(seen, 0.0 if answered else anyio.current_time() + _UNANSWERED)
        self._watch.discard(seen.name)
        if start.placed and self._places is not None:
            self._places.release()

    def _removed(self, seen: SeenPod, gone: bool) -> None:
        """Take that an agent was stopped, and whether its pod is gone."""
        agent = self._agents.pop(seen.name)
        ended = agent.exit()
        if ended is not None and ended.unreachable:
            self._avoid(agent.node)
        if not gone:
            self._leftovers[seen.name] = _Leftover(seen)
        self._watch.discard(seen.name)
        if self._places is not None:
            self._places.release()

    def _avoid(self, node: str) -> None:
        if node:
            self._failed.add(node)
            self._avoided.failed(node)

    # --- clearing up ---------------------------------------------------------------------------------------------

    async def sweep(self, state: str) -> Swept:
        try:
            return await self._sweep(state)
        except BaseException:
            # The caller may wait for less time than it takes; what an earlier run left must go all the same.
            self._unswept.add(state)
            raise

    async def _sweep(self, state: str) -> Swept:
        ended: list[str] = []
        left: list[str] = []
        with anyio.move_on_after(self._times.sweep) as limit:
            try:
                found = await self._of_earlier_runs(state)
            except ApiError as exc:
                log.warning("pods.not_swept", error=str(exc))
                self._unswept.add(state)
                return Swept()
            at_once = anyio.Semaphore(_AT_ONCE)
            left += [seen.name for seen in found]
            async with anyio.create_task_group() as tasks:
                for seen in found:
                    tasks.start_soon(self._end, seen, at_once, ended, left)
        if limit.cancelled_caught:
            self._unswept.add(state)
        return Swept(len(ended), tuple(left))

    async def _of_earlier_runs(self, state: str) -> list[SeenPod]:
        query = [("labelSelector", f"{STATE}={label(state)},{RUN}!={self._run.name}")]
        answer = await self._api.request("GET", PODS, query=query)
        found = []
        for pod in answer.get("items") or ():
            labels = pod.get("metadata", {}).get("labels") or {}
            # A cluster that comes back late is swept late, when a later run may have pods there.
            if self._run.follows(labels.get(RUN, ""), labels.get(EPOCH, "")):
                seen = SeenPod(name_of(pod))
                seen.saw(pod)
                found.append(seen)
        return found

    async def _end(self, seen: SeenPod, at_once: anyio.Semaphore, ended: list[str], left: list[str]) -> None:
        async with at_once:
            gone = await remove(self._api, seen, grace=1, within=1 + self._times.confirm)
            gone = gone or await remove(self._api, seen, grace=0, within=self._times.force)
        if gone:
            ended.append(seen.name)
            left.remove(seen.name)
        else:
            self._leftovers[seen.name] = _Leftover(seen)

    async def _clear_leftovers(self) -> None:
        """Delete what could not be deleted, until cancelled."""
        while True:
            await anyio.sleep(self._times.leftovers)
            for name, leftover in list(self._leftovers.items()):
                gone = await remove(self._api, leftover.seen, grace=0, within=self._times.force)
                if gone and anyio.current_time() < leftover.until:
                    leftover.seen.gone = False  # not made yet, or never to be
                elif gone:
                    del self._leftovers[name]
                    log.info("pod.cleared", pod=name)
            for state in list(self._unswept):
                self._unswept.discard(state)
                await self.sweep(state)

    # --- telling -------------------------------------------------------------------------------------------------

    async def nodes(self, fresh: float | None = None) -> Sequence[NodeStatus]:
        del fresh  # it is asked each time
        return await self._nodes.status()

    async def check(self, *specs: LaunchSpec) -> Sequence[EngineFinding]:
        del specs  # any of its machines is like the others: the trial start says it
        return await check(self._api, self._settings, self._times)
