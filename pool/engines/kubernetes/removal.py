"""Deleting a pod, and waiting until the cluster confirms that nothing of it is left."""

from __future__ import annotations

import anyio

from pool.engines.kubernetes.api import CONFLICT, NOT_FOUND, PODS, ApiError, KubeApi
from pool.engines.kubernetes.watch import SeenPod

_LOOK = 1.0


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
            if exc.status in (NOT_FOUND, CONFLICT):
                seen.went()
        while not seen.gone:
            # The watch says so first, if it is well.
            if not await seen.change(_LOOK):
                await _look(api, seen)
    return seen.gone


async def _look(api: KubeApi, seen: SeenPod) -> None:
    try:
        await seen.look(api)
    except ApiError:
        await anyio.sleep(_LOOK)  # asked again until the time is over
