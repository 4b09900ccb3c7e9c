"""The start of an agent in a pod: its claim, its pod, the wait until it runs, and the first words.

The caller bounds it, and removes the pod when it fails. The mutable state is what the pod waits for.
"""

from __future__ import annotations

from collections.abc import Iterable

import anyio

from acp.engine import LaunchSpec
from acp.errors import AgentSpawnError, SpawnFailure
from acp.shutdown import StopLimits
from pool.engines.bot_run import BotRun
from pool.engines.kubernetes.api import CLAIMS, CONFLICT, EVENTS, PODS, ApiError, KubeApi
from pool.engines.kubernetes.manifest import CONTAINER, claim_manifest, pod_manifest
from pool.engines.kubernetes.settings import KubernetesSettings
from pool.engines.kubernetes.status import (
    PodWait,
    event_words,
    is_over,
    is_running,
    lacked_room,
    node_of,
    waiting_for,
    why_it_never_ran,
)
from pool.engines.kubernetes.times import Times
from pool.engines.kubernetes.watch import SeenPod

_LOOK = 5.0

ATTACH = [("container", CONTAINER), ("stdin", "true"), ("stdout", "true"), ("stderr", "true"), ("tty", "false")]


class PodStart:
    """One start.

    Attributes:
        seen: the pod.
        asked: whether the API was asked to make it; it may have done so without an answer.
        placed: whether it has one of the engine's places.
        waiting: what it waits for.
    """

    def __init__(
        self, api: KubeApi, seen: SeenPod, spec: LaunchSpec, settings: KubernetesSettings, times: Times
    ) -> None:
        self.seen = seen
        self.asked = False
        self.placed = False
        self.waiting = PodWait("waiting for the cluster", SpawnFailure.UNREACHABLE)
        self._api = api
        self._spec = spec
        self._settings = settings
        self._times = times

    def tell(self, waiting: PodWait) -> None:
        """Say what it waits for, once for each change, and each time that it waits for room."""
        changed, self.waiting = waiting.words != self.waiting.words, waiting
        if changed:
            self._spec.tell(waiting.words)
        if waiting.full:
            self._spec.ask_for_room()

    def too_late(self, seconds: float) -> AgentSpawnError:
        """Return what to tell when the time is over."""
        return AgentSpawnError(f"{self.waiting.words} (for {seconds:g} s)", failure=self.waiting.failure)

    async def take_place(self, places: anyio.Semaphore, words: str) -> None:
        """Wait for one of the engine's places."""
        try:
            places.acquire_nowait()
        except anyio.WouldBlock:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep_telling, PodWait(words, SpawnFailure.NO_ROOM, full=True))
                await places.acquire()
                # Before the next await: a start that is cancelled there has to give it back.
                self.placed = True
                tasks.cancel_scope.cancel()
        self.placed = True

    async def _keep_telling(self, waiting: PodWait) -> None:
        while True:
            self.tell(waiting)
            await anyio.sleep(min(_LOOK, self._times.events))

    async def make(self, run: BotRun, avoid: Iterable[str]) -> None:
        """Make the claim, if there is to be one, and the pod; a full quota is waited for.

        Raises:
            AgentSpawnError: the cluster refuses one of them.
        """
        if self._settings.volume.new_claim is not None:
            await self._post(run, CLAIMS, claim_manifest(self._spec, self._settings), "to make a claim")
        # Before the answer: a request that is cut off may have made the pod all the same.
        self.asked = True
        body = pod_manifest(self.seen.name, self._spec, self._settings, run, avoid=avoid, limits=StopLimits())
        made = await self._post(run, PODS, body, "to make pods")
        if made is not None:
            self.seen.saw(made)
            return
        # An earlier try got through without an answer: nobody else has this name.
        try:
            await self.seen.look(self._api)
        except ApiError as exc:
            raise exc.spawn_error("to read pods") from exc

    async def _post(self, run: BotRun, path: str, body: dict[str, object], what: str) -> dict[str, object] | None:
        """Return what was made; None: it is there already."""
        while True:
            run.check()
            try:
                return await self._api.request("POST", path, body)
            except ApiError as exc:
                if exc.status == CONFLICT and exc.reason == "AlreadyExists":
                    return None
                error = exc.spawn_error(what)
                if not exc.over_quota:
                    raise error from exc
            # The claim of an agent that ends stays, and counts.
            self.tell(PodWait(str(error), error.failure, full=path == PODS))
            await anyio.sleep(self._times.quota)

    async def until_it_runs(self) -> None:
        """Wait until the pod runs.

        Raises:
            AgentSpawnError: it never will.
        """
        bound = troubled = 0.0
        while True:
            state, now = self.seen.pod or {}, anyio.current_time()
            # 1. It runs, or nothing of it ever will.
            if self.seen.gone:
                raise AgentSpawnError("the pod was deleted while it started", failure=SpawnFailure.OTHER)
            if is_over(state):
                failure, words = why_it_never_ran(state, self._settings.image)
                raise AgentSpawnError(words, failure=failure, room_on=() if lacked_room(state) else None)
            if is_running(state):
                return
            # 2. It waits, and people see what for.
            waiting = waiting_for(state)
            bound = (bound or now) if waiting.mounting else 0.0
            if waiting.mounting and now - bound > self._times.events:
                bound, waiting = now, await self._with_events(waiting)
            elif waiting.mounting and self.waiting.mounting:
                waiting = self.waiting  # what its events have said counts until they say something else
            self.tell(waiting)
            # 3. The cluster tries again what fails, but not everything gets better by that.
            troubled = (troubled or now) if waiting.lasting else 0.0
            if waiting.final or (waiting.lasting and now - troubled > self._times.image):
                raise AgentSpawnError(waiting.words, failure=waiting.failure)
            # The watch tells early, and may be broken: now and then the API is asked.
            if not await self.seen.change(min(_LOOK, self._times.events, self._times.image)):
                await self._look()

    async def _look(self) -> None:
        try:
            await self.seen.look(self._api)
        except ApiError as exc:
            if not exc.passing:
                raise exc.spawn_error("to read pods") from exc

    async def _with_events(self, waiting: PodWait) -> PodWait:
        """Add what the cluster says elsewhere: a volume that can't be attached is in the events only."""
        query = [("fieldSelector", f"involvedObject.name={self.seen.name}"), ("limit", "50")]
        path = EVENTS
        try:
            answer = await self._api.request("GET", path, query=query, retry=False)
        except ApiError:
            return waiting  # not everybody may read them
        words = event_words(answer.get("items") or ())
        node = node_of(self.seen.pod or {})
        return PodWait(f"starting on {node}: {words}", mounting=True) if words else waiting
