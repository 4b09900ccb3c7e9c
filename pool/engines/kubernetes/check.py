"""What a start needs of the cluster, looked at in turn: the way, the rights, the image's secrets, the volume, a pod."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import anyio

from acp.engine import LaunchSpec
from acp.shutdown import StopLimits
from pool.engines.bot_run import BotRun
from pool.engines.kubernetes.api import CLAIMS, FORBIDDEN, NOT_FOUND, PODS, SECRETS, ApiError, KubeApi
from pool.engines.kubernetes.manifest import pod_manifest
from pool.engines.kubernetes.settings import KubernetesSettings
from pool.engines.kubernetes.status import shortened
from pool.engines.kubernetes.times import Times
from pool.engines.model import EngineFinding

Right = tuple[str, str, str]
"""A verb, a resource and its part."""

NEEDED: tuple[Right, ...] = (
    *((verb, "pods", "") for verb in ("get", "list", "watch", "create", "delete")),
    *((verb, "pods", part) for part in ("attach", "exec") for verb in ("get", "create")),
)
WITH_CLAIMS: tuple[Right, ...] = (("create", "persistentvolumeclaims", ""),)
HELPFUL: tuple[tuple[Right, str], ...] = (
    (("get", "pods", "log"), "a node that is gone is noticed a minute later"),
    (("list", "events", ""), "why a volume is waited for is not told"),
)
"""Rights without which agents run, and what is missing then."""

_FIX = "apply examples/kubernetes/rights.yaml, or give Weft's account this right"
_CLUSTER_FIX = "look at kubeconfig and context in the settings, and whether `kubectl get pods` works with them"


async def check(api: KubeApi, settings: KubernetesSettings, times: Times) -> list[EngineFinding]:
    """Return what was found; bounded."""
    found: list[EngineFinding] = []
    with anyio.move_on_after(3 * times.request) as limit:
        try:
            version = await api.request("GET", "/version", retry=False)
        except ApiError as exc:
            return [
                EngineFinding(ok=False, what=f"the cluster can't be reached: {shortened(str(exc))}", fix=_CLUSTER_FIX)
            ]
        found.append(EngineFinding(ok=True, what=f"Kubernetes {version.get('gitVersion', '?')} answers"))
        for look in (_rights, _pull_secrets, _claim, _dry_run):
            async for finding in look(api, settings):
                found.append(finding)  # noqa: PERF401 - what was found counts even if the time is over
    if limit.cancelled_caught:
        found.append(EngineFinding(ok=False, what="the cluster answers too slowly to look at all", fix=_CLUSTER_FIX))
    return found


async def _rights(api: KubeApi, settings: KubernetesSettings) -> AsyncIterator[EngineFinding]:
    needed = (*NEEDED, *(WITH_CLAIMS if settings.volume.new_claim is not None else ()))
    allowed: dict[Right, bool] = {}

    async def ask(right: Right) -> None:
        allowed[right] = await _may(api, right)

    try:
        async with anyio.create_task_group() as tasks:
            for right in (*needed, *(right for right, _ in HELPFUL)):
                tasks.start_soon(ask, right)
    except* ApiError as group:
        what = f"its rights can't be asked for: {shortened(str(group.exceptions[0]))}"
        yield EngineFinding(ok=False, what=what, fix=_CLUSTER_FIX)
    # Only what is known to be missing is reported: a right that could not be asked for has its own line.
    missing = [_words(right) for right in needed if not allowed.get(right, True)]
    if missing:
        yield EngineFinding(ok=False, what=f"no right in {api.namespace} to {', '.join(missing)}", fix=_FIX)
    elif allowed:
        yield EngineFinding(ok=True, what=f"all rights in the namespace {api.namespace}")
    for right, without in HELPFUL:
        if not allowed.get(right, True):
            yield EngineFinding(ok=False, what=f"no right to {_words(right)}: {without}", fix=_FIX, mild=True)


async def _may(api: KubeApi, right: Right, name: str = "") -> bool:
    verb, resource, part = right
    wanted = {"namespace": api.namespace, "verb": verb, "resource": resource, "subresource": part, "name": name}
    # Asked, and not tried out: a look changes nothing.
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in wanted.items() if value}},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = await api.request("POST", path, review, retry=False)
    return bool(answer.get("status", {}).get("allowed"))


def _words(right: Right) -> str:
    verb, resource, part = right
    return f"{verb} {resource}/{part}" if part else f"{verb} {resource}"


async def _pull_secrets(api: KubeApi, settings: KubernetesSettings) -> AsyncIterator[EngineFinding]:
    for name in settings.image_pull_secrets:
        try:
            await api.request("GET", f"{SECRETS}/{name}", retry=False)
        except ApiError as exc:
            # Least rights: that secrets can't be read is as it should be.
            if exc.status == NOT_FOUND:
                fix = f"kubectl create secret docker-registry {name} --namespace {api.namespace} …"
                yield EngineFinding(ok=False, what=f"there is no secret {name} for pulling the image", fix=fix)
            elif exc.status != FORBIDDEN:
                yield EngineFinding(ok=False, what=f"the secret {name}: {shortened(str(exc))}", fix=_CLUSTER_FIX)


async def _claim(api: KubeApi, settings: KubernetesSettings) -> AsyncIterator[EngineFinding]:
    name = settings.volume.claim
    if name is None:
        if settings.volume.new_claim is None and settings.volume.host_path is None:
            what = "no volume: files and conversations end with the agent's pod"
            yield EngineFinding(ok=True, what=what)
        return
    try:
        claim = await api.request("GET", f"{CLAIMS}/{name}", retry=False)
    except ApiError as exc:
        if exc.status == FORBIDDEN:
            return
        yield EngineFinding(
            ok=False, what=f"the claim {name}: {shortened(str(exc))}", fix="make the claim, or name another"
        )
        return
    phase = claim.get("status", {}).get("phase", "unknown")
    # One that waits for its first pod is bound then.
    fix = "" if phase in ("Bound", "Pending") else f"kubectl describe pvc {name} --namespace {api.namespace}"
    yield EngineFinding(ok=not fix, what=f"the claim {name} is {phase}", fix=fix)


async def _dry_run(api: KubeApi, settings: KubernetesSettings) -> AsyncIterator[EngineFinding]:
    spec = LaunchSpec(("true",), settings.volume.path, {}, labels={"state": "doctor", "agent": "doctor", "thread": "0"})
    body = pod_manifest("weft-doctor", spec, settings, BotRun("doctor"), limits=StopLimits())
    # Only the cluster itself knows its quotas and policies.
    create = partial(api.request, "POST", PODS, body, [("dryRun", "All")], retry=False)
    try:
        await create()
    except ApiError as exc:
        what = f"a pod would be refused ({exc.status}): {shortened(str(exc))}"
        yield EngineFinding(ok=False, what=what, fix="change what the message names, in the settings or in the cluster")
    else:
        yield EngineFinding(ok=True, what=f"a pod with the image {settings.image} would be taken")
