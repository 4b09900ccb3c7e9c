"""A small API server of a cluster: pods whose containers are child processes of the test, on nodes that can be lost.

It speaks what the engine uses: pods (create, get, list, watch, delete), attach and exec over websockets with the
channels of v4 and v5, logs, claims, events, nodes, reviews of rights. A test makes it fail by `fail`, or through its
attributes.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import signal
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
from aiohttp import web

from acp.shutdown import StopLimits, carriers, end_processes
from tests.engines.kube_model import NAMESPACE, Json, Node, Pod, Refused, avoided_by, chosen
from tests.engines.kube_streams import SUCCESS, carry

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
_MARKER = "FAKE_POD"


class KubeApi:
    """The cluster.

    Attributes:
        protocols: of websockets, that the server knows.
        quota: pods at most.
        unschedulable: why no node takes any pod; "" where there is room.
        images: what an image's pull says, by image; others are there.
        volumes: whether volumes can be mounted; the event otherwise.
        denied: rights that the caller has not, as ``verb resource/part``.
        requests: what was asked so far, as ``METHOD path``.
        watch_ends: how many watches are ended at once.
        deaf: whether nothing comes through websockets any more, pings included, without an end of the connection.
        frames: that were looked at in websockets so far.
    """

    def __init__(self, tasks: anyio.abc.TaskGroup, nodes: tuple[str, ...] = ("node-1", "node-2")) -> None:
        self.nodes = {name: Node(name) for name in nodes}
        self.pods: dict[str, Pod] = {}
        self.claims: dict[str, Json] = {}
        self.secrets: dict[str, dict[str, str]] = {}
        self.protocols: tuple[str, ...] = (V5, V4)
        self.quota = 1000
        self.unschedulable = ""
        self.images: dict[str, tuple[str, str]] = {}
        self.volumes = ""
        self.denied: set[str] = set()
        self.requests: list[str] = []
        self.watch_ends = 0
        self.deaf = False
        self.frames = 0
        self.port = 0
        self._tasks = tasks
        self._faults: list[tuple[re.Pattern[str], Refused | None]] = []
        self._version = itertools.count(100)
        self._last = self._oldest = 100
        self._history: list[tuple[int, Json]] = []
        self._happened = anyio.Event()
        self._runner: web.AppRunner | None = None

    # --- what tests do to it -------------------------------------------------------------------------------------

    def fail(self, what: str, refusal: Refused | None = None, times: int = 1) -> None:
        """Answer the next requests that match ``METHOD path`` so; None: do what is asked, and give no answer."""
        self._faults += [(re.compile(what), refusal)] * times

    @property
    def faults(self) -> int:
        """How many of these answers are still to be given."""
        return len(self._faults)

    def forget(self) -> None:
        """Have watches of what was before end with 410."""
        self._last = next(self._version)  # something else has changed since
        self._oldest = self._last + 1
        self._history.clear()
        self.wake()

    async def restart(self) -> None:
        """Break all connections off; pods run on."""
        await self.close()
        await self.serve()

    def wake(self) -> None:
        """Have what waits look again, after an attribute was changed."""
        self._happened.set()
        self._happened = anyio.Event()

    def lose(self, node: str) -> None:
        self.nodes[node].lost = True

    def mend(self) -> None:
        """Have all nodes back."""
        for node in self.nodes.values():
            node.lost = False
            node.back.set()
            node.back = anyio.Event()

    def change(self, pod: Pod, **status: Any) -> None:
        """Change the status of a pod, and tell it."""
        pod.body["status"] |= status
        self._tell("MODIFIED", pod)

    async def kill(self, pod: Pod, *, reason: str = "Error", code: int | None = None) -> None:
        """End a pod's processes as its node does."""
        pod.body["metadata"].setdefault("annotations", {})["reason"] = reason
        if code is not None:
            pod.body["metadata"]["annotations"]["code"] = code
        await self._kill(pod)

    async def evict(self, pod: Pod, message: str) -> None:
        self.change(pod, phase="Failed", reason="Evicted", message=message)
        await self._kill(pod)

    def delete(self, pod: Pod, grace: float, **condition: str) -> None:
        """Delete a pod as somebody else does; ``condition`` is what else its status says of why."""
        if condition:
            pod.body["status"].setdefault("conditions", []).append({"status": "True", **condition})
        self._delete(pod, grace)

    # --- serving -------------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        app = web.Application(middlewares=[self._guard])
        one = f"/api/v1/namespaces/{NAMESPACE}"
        app.add_routes(
            [
                web.get("/version", self._get_version),
                web.get("/api/v1/nodes", self._list_nodes),
                web.get("/api/v1/pods", self._list_pods),
                web.get(f"{one}/pods", self._list_pods),
                web.post(f"{one}/pods", self._create_pod),
                web.get(f"{one}/pods/{{name}}", self._get_pod),
                web.delete(f"{one}/pods/{{name}}", self._delete_pod),
                web.get(f"{one}/pods/{{name}}/log", self._log),
                web.get(f"{one}/pods/{{name}}/attach", self._attach),
                web.get(f"{one}/pods/{{name}}/exec", self._exec),
                web.get(f"{one}/events", self._events),
                web.post(f"{one}/persistentvolumeclaims", self._create_claim),
                web.get(f"{one}/persistentvolumeclaims/{{name}}", self._get_claim),
                web.get(f"{one}/secrets/{{name}}", self._get_secret),
                web.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", self._review),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def close(self) -> None:
        if self._runner is not None:
            assert self._runner.server is not None
            for connection in self._runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
            await self._runner.cleanup()

    async def end(self) -> None:
        """End what runs, whatever the tests did."""
        self.mend()
        for pod in list(self.pods.values()):
            await self._kill(pod)

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        what = f"{request.method} {request.path}" + ("?watch" if "watch" in request.query else "")
        self.requests.append(what)
        try:
            for fault in self._faults:
                if fault[0].fullmatch(what):
                    self._faults.remove(fault)
                    if fault[1] is not None:
                        raise fault[1]
                    await handler(request)
                    assert request.transport is not None
                    request.transport.abort()
                    return web.Response()
            return await handler(request)
        except Refused as exc:
            return web.json_response(exc.body, status=exc.status, headers=exc.headers)

    # --- pods ----------------------------------------------------------------------------------------------------

    async def _get_version(self, request: web.Request) -> web.Response:
        return web.json_response({"gitVersion": "v1.34.4"})

    async def _create_pod(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = body["metadata"]["name"]
        if len(self.pods) >= self.quota:
            raise Refused(
                403, "Forbidden", f'pods "{name}" is forbidden: exceeded quota: weft, limited: pods={self.quota}'
            )
        if name in self.pods:
            raise Refused(409, "AlreadyExists", f'pods "{name}" already exists')
        body["metadata"] |= {"uid": str(uuid.uuid4()), "namespace": NAMESPACE}
        body["status"] = {"phase": "Pending"}
        if request.query.get("dryRun") != "All":
            pod = self.pods[name] = Pod(body)
            self._tell("ADDED", pod)
            self._tasks.start_soon(self._live, pod)
        return web.json_response(body, status=201)

    def _found(self, request: web.Request) -> Pod:
        name = request.match_info["name"]
        if name not in self.pods:
            raise Refused(404, "NotFound", f'pods "{name}" not found')
        return self.pods[name]

    async def _get_pod(self, request: web.Request) -> web.Response:
        return web.json_response(self._found(request).body)

    async def _delete_pod(self, request: web.Request) -> web.Response:
        pod, options = self._found(request), await request.json()
        if options.get("preconditions", {}).get("uid", pod.body["metadata"]["uid"]) != pod.body["metadata"]["uid"]:
            raise Refused(409, "Conflict", "the UID in the precondition does not match")
        self._delete(pod, options.get("gracePeriodSeconds", 30))
        return web.json_response(pod.body)

    async def _list_pods(self, request: web.Request) -> web.StreamResponse:
        wanted = partial(chosen, request.query.get("labelSelector", ""))
        if "watch" in request.query:
            return await self._watch(request, wanted)
        items = [pod.body for pod in self.pods.values() if wanted(pod.body)]
        return web.json_response({"items": items, "metadata": {"resourceVersion": str(self._last)}})

    async def _watch(self, request: web.Request, wanted: Callable[[Json], bool]) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        since = int(request.query["resourceVersion"])
        if self.watch_ends:
            self.watch_ends -= 1
            return answer
        with anyio.move_on_after(float(request.query["timeoutSeconds"])):
            while True:
                if since < self._oldest - 1:
                    gone = Refused(410, "Expired", "too old resource version").body
                    await answer.write(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
                    break
                for version, event in [one for one in self._history if one[0] > since]:
                    since = version
                    if wanted(event["object"]):
                        with suppress(ConnectionError):  # who watched was killed
                            await answer.write(json.dumps(event).encode() + b"\n")
                await self._happened.wait()
        return answer

    def _tell(self, kind: str, pod: Pod) -> None:
        self._last = next(self._version)
        pod.body["metadata"]["resourceVersion"] = str(self._last)
        self._history.append((self._last, {"type": kind, "object": json.loads(json.dumps(pod.body))}))
        self.wake()

    # --- the life of a pod ---------------------------------------------------------------------------------------

    async def _live(self, pod: Pod) -> None:
        """Schedule a pod, run its container, and see it to its end."""
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_cancel_after, pod.deleted, scope)
                await self._schedule(pod)
                await self._wait_for_image(pod)
                await self._mount(pod)
                await self._run(pod)
                tasks.cancel_scope.cancel()

    async def _schedule(self, pod: Pod) -> None:
        while True:
            there = [one.body["spec"].get("nodeName") for one in self.pods.values() if not one.ended.is_set()]
            avoided = avoided_by(pod.body)
            free = [node for node in self.nodes.values() if there.count(node.name) < node.room]
            if free and not self.unschedulable:
                node = min(free, key=lambda one: (one.name in avoided, there.count(one.name)))
                pod.body["spec"]["nodeName"] = node.name
                self.change(pod, conditions=[{"type": "PodScheduled", "status": "True"}])
                return
            total = len(self.nodes)
            why = self.unschedulable or f"{total} Insufficient memory"
            words = f"0/{total} nodes are available: {why}. preemption: 0/{total} nodes are available"
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
            if pod.body["status"].get("conditions") != [condition]:
                self.change(pod, conditions=[condition])
            await self._happened.wait()

    async def _wait_for_image(self, pod: Pod) -> None:
        while said := self.images.get(pod.body["spec"]["containers"][0]["image"]):
            self._container(pod, waiting={"reason": said[0], "message": said[1]})
            await self._happened.wait()

    async def _mount(self, pod: Pod) -> None:
        self._container(pod, waiting={"reason": "ContainerCreating"})
        while self.volumes:
            await self._happened.wait()

    async def _run(self, pod: Pod) -> None:
        container = pod.body["spec"]["containers"][0]
        given = {"PATH": os.environ["PATH"], "HOME": "/", _MARKER: pod.body["metadata"]["uid"]}
        for one in container.get("env") or ():
            reference = one["valueFrom"]["secretKeyRef"]
            given[one["name"]] = self.secrets[reference["name"]][reference["key"]]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with anyio.CancelScope(shield=True):
            process = await anyio.open_process(container["command"], env=given, start_new_session=True, **pipes)  # type: ignore[arg-type]
        pod.process = process
        self._tasks.start_soon(self._reap, pod, process)
        self._container(pod, "Running", running={})

    async def _reap(self, pod: Pod, process: anyio.abc.Process) -> None:
        """See a container to its end, with all that it started, as a runtime does."""
        with anyio.CancelScope(shield=True):
            while process.returncode is None:
                with anyio.move_on_after(0.1):
                    await process.wait()
            await self._kill(pod)
            await self._present(pod)
            noted = pod.body["metadata"].get("annotations", {})
            code = noted.get("code", process.returncode if process.returncode >= 0 else 128 - process.returncode)
            reason = noted.get("reason") or ("Error" if code else "Completed")
            phase = "Failed" if code or pod.body["status"].get("phase") == "Failed" else "Succeeded"
            self._container(pod, phase, terminated={"exitCode": code, "reason": reason})
            pod.ended.set()
            # Pipes that nobody reads to their end are closed once nobody can want them.
            with anyio.move_on_after(30):
                await pod.deleted.wait()
            await process.aclose()

    async def _kill(self, pod: Pod) -> None:
        marker = pod.body["metadata"]["uid"]
        if pod.process is not None:
            found = await anyio.to_thread.run_sync(carriers, marker, _MARKER)
            await end_processes(found, StopLimits(0, 0, 1))

    def _delete(self, pod: Pod, grace: float) -> None:
        if pod.process is None or pod.ended.is_set() or grace == 0:
            pod.body["metadata"]["deletionTimestamp"] = "now"
            if self.pods.pop(pod.name, None) is not None:
                self._tell("DELETED", pod)
                pod.deleted.set()
                self._tasks.start_soon(self._kill, pod)
        elif "deletionTimestamp" not in pod.body["metadata"]:
            pod.body["metadata"]["deletionTimestamp"] = "now"
            self._tell("MODIFIED", pod)
            self._tasks.start_soon(self._end_within, pod, grace)

    async def _end_within(self, pod: Pod, grace: float) -> None:
        await self._present(pod)
        with suppress(ProcessLookupError):
            os.kill(pod.process.pid, signal.SIGTERM)  # type: ignore[union-attr]
        with anyio.move_on_after(grace):
            await pod.ended.wait()
        if not pod.ended.is_set():
            await self._kill(pod)
            await pod.ended.wait()
        self._delete(pod, 0)

    async def _present(self, pod: Pod) -> None:
        """Wait until a pod's node is not lost."""
        node = self.nodes[pod.body["spec"]["nodeName"]]
        while node.lost:
            await node.back.wait()

    def _container(self, pod: Pod, phase: str = "Pending", **state: Json) -> None:
        self.change(pod, phase=phase, containerStatuses=[{"name": "agent", "state": state}])

    # --- streams -------------------------------------------------------------------------------------------------

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        pod = self._found(request)
        if pod.process is None or pod.attached:
            raise Refused(400, "BadRequest", "container agent is not running")
        pod.attached = True
        websocket = await self._upgraded(request)
        await carry(websocket, pod.process, self._reached(pod), SUCCESS)
        return websocket

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        pod = self._found(request)
        if pod.process is None or pod.process.returncode is not None:
            raise Refused(400, "BadRequest", "container agent is not running")
        websocket = await self._upgraded(request)
        wanted = subprocess.PIPE if request.query.get("stdin") == "true" else subprocess.DEVNULL
        pipes = {"stdin": wanted, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        given = {"PATH": os.environ["PATH"], _MARKER: pod.body["metadata"]["uid"]}
        process = await anyio.open_process(request.query.getall("command"), env=given, **pipes)  # type: ignore[arg-type]
        try:
            await carry(websocket, process, self._reached(pod))
        finally:
            with anyio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.aclose()
        return websocket

    async def _upgraded(self, request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(protocols=self.protocols, max_msg_size=0, timeout=0.5)
        await websocket.prepare(request)
        await websocket.send_bytes(b"\x01")
        return websocket

    def _reached(self, pod: Pod) -> Callable[[], Awaitable[None]]:
        async def reached() -> None:
            self.frames += 1
            if self.deaf:
                await anyio.sleep_forever()
            await self._present(pod)

        return reached

    # --- what else there is --------------------------------------------------------------------------------------

    async def _log(self, request: web.Request) -> web.Response:
        await self._present(self._found(request))
        return web.Response(text="")

    async def _events(self, request: web.Request) -> web.Response:
        items = [{"type": "Warning", "reason": "FailedMount", "message": self.volumes}] if self.volumes else []
        return web.json_response({"items": items})

    async def _list_nodes(self, request: web.Request) -> web.Response:
        if "list nodes" in self.denied:
            raise Refused(403, "Forbidden", "nodes is forbidden")
        status = {"allocatable": {"memory": "4Gi"}, "conditions": [{"type": "Ready", "status": "True"}]}
        return web.json_response({"items": [{"metadata": {"name": name}, "status": status} for name in self.nodes]})

    async def _create_claim(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["metadata"]["name"] in self.claims:
            raise Refused(409, "AlreadyExists", "it already exists")
        self.claims[body["metadata"]["name"]] = body
        return web.json_response(body, status=201)

    async def _get_claim(self, request: web.Request) -> web.Response:
        if (name := request.match_info["name"]) not in self.claims:
            raise Refused(404, "NotFound", f'persistentvolumeclaims "{name}" not found')
        return web.json_response({**self.claims[name], "status": {"phase": "Bound"}})

    async def _get_secret(self, request: web.Request) -> web.Response:
        if (name := request.match_info["name"]) not in self.secrets:
            raise Refused(404, "NotFound", f'secrets "{name}" not found')
        data = {key: base64.b64encode(value.encode()).decode() for key, value in self.secrets[name].items()}
        return web.json_response({"data": data})

    async def _review(self, request: web.Request) -> web.Response:
        wanted = (await request.json())["spec"]["resourceAttributes"]
        part = f"/{wanted['subresource']}" if "subresource" in wanted else ""
        allowed = f"{wanted['verb']} {wanted['resource']}{part}" not in self.denied
        return web.json_response({"status": {"allowed": allowed}}, status=201)


async def _cancel_after(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


@asynccontextmanager
async def cluster(*nodes: str) -> AsyncIterator[KubeApi]:
    """Run a cluster, and end all that is left in it."""
    async with anyio.create_task_group() as tasks:
        api = KubeApi(tasks, nodes or ("node-1", "node-2"))
        await api.serve()
        try:
            yield api
        finally:
            with anyio.CancelScope(shield=True):
                await api.end()
                await api.close()
                for pod in api.pods.values():
                    pod.deleted.set()
                tasks.cancel_scope.cancel()
