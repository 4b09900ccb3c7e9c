"""What is known of our pods, by one list and one watch for all of them, and the wait until one is gone.

It is a hint, told early: nothing is lost if a watch breaks, as who must be sure asks the API. The mutable state is the
pods by name, each with the last that was seen of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import anyio
import structlog

from pool.engines.kubernetes.api import CONFLICT, GONE, NOT_FOUND, PODS, ApiError, KubeApi
from pool.engines.kubernetes.manifest import RUN
from pool.engines.kubernetes.status import is_over, name_of, uid_of
from pool.engines.kubernetes.times import Times

_SHORTEST_ROUND: Final = 0.5
_LOOK: Final = 1.0

log = structlog.get_logger(__name__)


class SeenPod:
    """A pod of ours, and the last that was seen of it.

    Attributes:
        pod: as the API told it; None before it was made. It stays when the pod is gone.
        gone: whether the API has it no more.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.pod: Mapping[str, Any] | None = None
        self.gone = False
        self._changed = anyio.Event()

    @property
    def over(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.gone or (self.pod is not None and is_over(self.pod))

    @property
    def uid(self) -> str:
        return uid_of(self.pod) if self.pod is not None else ""

    def saw(self, pod: Mapping[str, Any]) -> None:
        """Take in what the API has just reported; another pod of the same name means that ours is gone."""
        if self.uid and uid_of(pod) != self.uid:
            self.went()
        # What is gone stays gone: an older word of the watch may come late.
        elif not self.gone:
            self.pod = pod
            self._wake()

    def went(self) -> None:
        """Take that the API has it no more."""
        self.gone = True
        self._wake()

    async def change(self, seconds: float) -> bool:
        """Wait for something new, at most so long; whether there is."""
        with anyio.move_on_after(seconds) as limit:
            await self._changed.wait()
        return not limit.cancelled_caught

    async def look(self, api: KubeApi) -> None:
        """Ask the API about it.

        Raises:
            ApiError: it does not say.
        """
        try:
            self.saw(await api.request("GET", f"{PODS}/{self.name}", retry=False))
        except ApiError as exc:
            if exc.status != NOT_FOUND:
                raise
            self.went()

    def _wake(self) -> None:
        # Set and replaced in one step: who waits from here on waits for the next change.
        self._changed.set()
        self._changed = anyio.Event()


async def remove(api: KubeApi, seen: SeenPod, *, grace: int, within: float) -> bool:
    """Delete a pod and return whether it was gone in time.

    With a grace, the pod is gone once its node says that its processes are. Without one, the API forgets it at once: a
    node that does not answer may run it until it is back, and then ends it.

    Args:
        grace: seconds for its processes to end after TERM; 0: at once, and without the node's word.
    """
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": grace}
    if seen.uid:
        options["preconditions"] = {"uid": seen.uid}  # never another pod that got the name meanwhile
    with anyio.move_on_after(within):
        try:
            await api.request("DELETE", f"{PODS}/{seen.name}", options)
        except ApiError as exc:
            # A conflict: another pod has the name, so ours is gone.
            if exc.status in (NOT_FOUND, CONFLICT):
                seen.went()
        while not seen.gone:
            # The watch says so first, if it is well.
            if not await seen.change(_LOOK):
                await _look_again(api, seen)
    return seen.gone


async def _look_again(api: KubeApi, seen: SeenPod) -> None:
    try:
        await seen.look(api)
    except ApiError:
        await anyio.sleep(_LOOK)  # asked again until the time is over


class PodWatch:
    """Follows the pods with the label of this run."""

    def __init__(self, api: KubeApi, run: str, times: Times) -> None:
        self._api = api
        self._query = [("labelSelector", f"{RUN}={run}")]
        self._times = times
        self._pods: dict[str, SeenPod] = {}
        self._wanted = anyio.Event()

    def add(self, name: str) -> SeenPod:
        """Follow a pod that is about to be made."""
        seen = self._pods[name] = SeenPod(name)
        self._wanted.set()
        return seen

    def discard(self, name: str) -> None:
        """Follow a pod no more."""
        self._pods.pop(name, None)

    async def run(self) -> None:
        """List and watch until cancelled; begins with the first pod."""
        await self._wanted.wait()
        version, pause = "", self._times.first
        while True:
            began = anyio.current_time()
            try:
                version = version or await self._list()
                version = await self._follow(version)
                pause = self._times.first
            except ApiError as exc:
                # A version that is too old is no fault: the list says what was missed.
                log.debug("pods.watch_ended", status=exc.status, error=str(exc))
                version = ""
                if exc.status != GONE:
                    await anyio.sleep(pause)
                    pause = min(2 * pause, self._times.longest)
            # A server that ends each watch at once is not asked in a circle.
            if anyio.current_time() - began < min(_SHORTEST_ROUND, self._times.watch / 2):
                await anyio.sleep(self._times.first)

    async def _list(self) -> str:
        # What is made while the list is on its way may not be in it, and is not gone for that.
        before = {name for name, seen in self._pods.items() if seen.pod is not None}
        answer = await self._api.request("GET", PODS, query=self._query, retry=False)
        listed = {name_of(pod): pod for pod in answer.get("items") or ()}
        for name, seen in list(self._pods.items()):
            if name in listed:
                seen.saw(listed[name])
            elif name in before:
                seen.went()
        return str(answer.get("metadata", {}).get("resourceVersion", ""))

    async def _follow(self, version: str) -> str:
        query = [*self._query, ("resourceVersion", version), ("allowWatchBookmarks", "true")]
        async with self._api.watch(PODS, query, self._times.watch) as events:
            async for event in events:
                pod = event.get("object", {})
                # Of a bookmark, too, which has no pod in it: the next watch goes on from there.
                version = str(pod.get("metadata", {}).get("resourceVersion", "")) or version
                seen = self._pods.get(name_of(pod))
                if seen is None or event.get("type") == "BOOKMARK":
                    continue
                seen.saw(pod)
                if event.get("type") == "DELETED":
                    seen.went()
        return version
