"""Requests to the API of a cluster: who we are, retries within bounds, watches and websockets.

`kubernetes_asyncio` reads the settings, gets the tokens and has the connections. What goes over them is plain JSON: its
models know no more and take ten times as long. The mutable state is the client, made with the first request.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import aiohttp
import anyio
import orjson
import structlog
from kubernetes_asyncio import client, config
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_delay, wait_random_exponential

from acp.errors import AgentSpawnError, SpawnFailure
from pool.engines.keep_alive import keep_alive
from pool.engines.kubernetes.kubeconfig import read_kubeconfig
from pool.engines.kubernetes.settings import KubernetesSettings
from pool.engines.kubernetes.status import shortened
from pool.engines.kubernetes.times import Times

AnswerT = TypeVar("AnswerT")
Json = dict[str, Any]
Query = Sequence[tuple[str, str]]

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT, GONE = 401, 403, 404, 409, 410

# 0: there was no answer at all.
_PASSING = frozenset({0, 408, 429, 500, 502, 503, 504})
_OURSELVES = anyio.Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_LONGEST_PAUSE = 30.0
_MOST = 64 * 2**20
"""Bytes of an answer. A page of 500 pods has a few MB."""

_NO_LIMIT: Final = 0

PODS: Final = "/api/v1/namespaces/{namespace}/pods"
EVENTS: Final = "/api/v1/namespaces/{namespace}/events"
CLAIMS: Final = "/api/v1/namespaces/{namespace}/persistentvolumeclaims"
SECRETS: Final = "/api/v1/namespaces/{namespace}/secrets"
"""Paths; which namespace that is, is known once the settings of the client were read."""

log = structlog.get_logger(__name__)


class ApiError(Exception):
    """The API refused a request, or did not answer it.

    Attributes:
        status: of the answer; 0: there was none.
        reason: the API's word, such as ``AlreadyExists``.
        pause: seconds after which the API wants to be asked again.
    """

    def __init__(self, status: int, message: str, reason: str = "", pause: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.pause = pause

    @property
    def over_quota(self) -> bool:
        """Whether the namespace has no room for it."""
        return self.status == FORBIDDEN and "exceeded quota" in str(self)

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed in a moment."""
        # Two that use the same quota at once: the API says a conflict of the quota, not of what was to be made.
        crowded = self.status == CONFLICT and self.reason != "AlreadyExists"
        return self.status in _PASSING or crowded

    def spawn_error(self, what: str) -> AgentSpawnError:
        """Return what to tell of a start that failed by this."""
        if self.over_quota:
            failure, text = SpawnFailure.NO_ROOM, f"the quota of the namespace is used up: {shortened(str(self))}"
        elif self.status in _PASSING:
            failure, text = SpawnFailure.UNREACHABLE, f"the cluster does not answer: {shortened(str(self))}"
        else:
            failure, text = SpawnFailure.RIGHTS, f"the cluster refuses {what} ({self.status}): {shortened(str(self))}"
        return AgentSpawnError(text, failure=failure)


class KubeApi:
    """The API of one cluster, seen from one namespace.

    Attributes:
        namespace: known for certain once something was asked.
    """

    def __init__(self, settings: KubernetesSettings, times: Times) -> None:
        self._settings = settings
        self._times = times
        self._opening = anyio.Lock()
        self._client: client.ApiClient | None = None
        self.namespace = settings.namespace or "default"

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def request(
        self, method: str, path: str, body: Json | None = None, query: Query = (), *, retry: bool = True
    ) -> Json:
        """Return the answer to a request; what fails in passing is tried again for a while.

        Raises:
            ApiError: it was refused, or not answered in time.
        """
        # A POST as well: what it makes has a name, so a second one meets AlreadyExists and makes nothing more.
        call = partial(self._once, method, path, body, query)
        return await (self._again(call) if retry else self._logged_in(call))

    async def _again(self, call: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        """Try a call again for a while, as long as it fails in passing."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, ApiError) and error.passing),
            stop=stop_after_delay(self._times.retries),
            wait=self._pause,
            sleep=anyio.sleep,
            reraise=True,
        )
        answer: AnswerT = await retrying(self._logged_in, call)
        return answer

    def _pause(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        wanted = error.pause if isinstance(error, ApiError) else 0.0
        jitter = wait_random_exponential(multiplier=self._times.first, max=self._times.longest)
        # As long as the API wants, but not for minutes: somebody waits for the agent.
        return max(jitter(state), min(wanted, _LONGEST_PAUSE))

    async def _logged_in(self, call: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        try:
            return await call()
        except ApiError as exc:
            if exc.status != UNAUTHORIZED or self._client is None:
                raise
        # A token that a program gives lasts for minutes, and only reading the settings anew asks that program.
        await self._read_settings(self._client.configuration)
        return await call()

    async def _once(self, method: str, path: str, body: Json | None, query: Query) -> Json:
        async with self._answer(method, path, body, query, aiohttp.ClientTimeout(total=self._times.request)) as answer:
            data = await _read(answer)
        said = _json(data)
        if not isinstance(said, dict):
            return {"text": data.decode(errors="replace")}
        if not (isinstance(said.get("items") or [], list) and isinstance(said.get("metadata", {}), dict)):
            raise ApiError(0, "an answer that cannot be read")
        return said

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, body: Json | None, query: Query, timeout: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        ours = await self._opened()
        try:
            answer = await ours.call_api(
                path,
                method,
                path_params={"namespace": self.namespace},
                query_params=list(query),
                header_params={"Accept": "application/json", "Content-Type": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=timeout,
            )
            async with answer:
                if not answer.ok:
                    raise _refusal(answer.status, await _read(answer), answer.headers)
                yield answer
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise ApiError(0, str(exc) or f"no answer within {self._times.request:g} s") from exc

    @asynccontextmanager
    async def watch(self, path: str, query: Query, seconds: float) -> AsyncIterator[AsyncIterator[Json]]:
        """Yield the events of a watch, until the server ends it, at the latest after ``seconds``.

        Raises:
            ApiError: it was refused or broke off; GONE: the version is too old, so list anew.
        """
        asked = [*query, ("watch", "true"), ("timeoutSeconds", str(max(1, round(seconds))))]
        # Longer than the server lets the watch last: only a connection that is dead gets there.
        timeout = aiohttp.ClientTimeout(sock_connect=self._times.request, sock_read=seconds + self._times.request)
        async with self._answer("GET", path, None, asked, timeout) as answer:
            _keep_alive(answer.connection and answer.connection.transport, self._times.dead)
            yield _events(answer)

    async def websocket(self, path: str, query: Query) -> aiohttp.ClientWebSocketResponse:
        """Open a websocket to a container; the caller closes it.

        Raises:
            ApiError: it was refused, or not answered in time.
        """
        return await self._again(partial(self._connect, path, query))

    async def _connect(self, path: str, query: Query) -> aiohttp.ClientWebSocketResponse:
        ours = await self._opened()
        headers: dict[str, str] = dict(ours.default_headers)
        await ours.update_params_for_auth(headers, [], ["BearerToken"])
        settings = ours.configuration
        where = path.replace("{namespace}", self.namespace)
        url = f"ws{str(settings.host).removeprefix('http')}{where}?{urlencode(query)}"
        try:
            with anyio.fail_after(self._times.request):
                socket_ = await ours.rest_client.pool_manager.ws_connect(
                    url,
                    headers=headers,
                    protocols=(V5, V4),
                    # Pings are ours: they must not count against a server that waits for the agent to read its input.
                    autoping=False,
                    timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                    proxy=settings.proxy,
                    proxy_headers=settings.proxy_headers,
                    server_hostname=settings.tls_server_name or None,
                )
        except aiohttp.WSServerHandshakeError as exc:
            raise ApiError(exc.status, f"no connection to the container: {exc.message}") from exc
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise ApiError(0, str(exc) or f"no answer within {self._times.request:g} s") from exc
        _keep_alive(socket_, self._times.dead)
        return socket_

    async def _opened(self) -> client.ApiClient:
        async with self._opening:
            # Under the lock: of two clients that first requests make at once, one would never be closed.
            if self._client is None:
                settings = client.Configuration()
                await self._read_settings(settings)
                # Each attached agent holds a connection: a pool of a hundred would let nobody else in.
                settings.connection_pool_maxsize = _NO_LIMIT
                self._client = client.ApiClient(settings)
            return self._client

    async def _read_settings(self, settings: client.Configuration) -> None:
        try:
            with anyio.fail_after(self._times.request):
                await self._configure(settings)
        except Exception as exc:  # a kubeconfig can be wrong in any way, and so can the program that it names
            said = shortened(str(exc)) or "no answer to who we are"
            raise ApiError(0, f"the way to the cluster is not known: {said}") from exc

    async def _configure(self, settings: client.Configuration) -> None:
        inside = "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get("KUBECONFIG")
        if self._settings.kubeconfig is None and self._settings.context is None and inside:
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
            said = (await _OURSELVES.read_text()).strip() if await _OURSELVES.is_file() else ""
        else:
            said = await read_kubeconfig(self._settings.kubeconfig, self._settings.context, settings)
        self.namespace = self._settings.namespace or said or "default"


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """Return all of an answer; none that the API gives is longer than so, and memory is bounded whatever answers."""
    data = bytearray()
    async for piece in answer.content.iter_any():
        data += piece
        if len(data) > _MOST:
            raise ApiError(0, "an answer that is longer than any of the API's")
    return bytes(data)


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[Json]:
    while True:
        try:
            line = await answer.content.readline()
        except ValueError as exc:  # a line that is longer than anything a cluster keeps
            raise ApiError(0, "the watch broke off") from exc
        if not line:
            return
        event = _json(line)
        if not isinstance(event, dict):
            raise ApiError(0, "the watch broke off")
        if event.get("type") == "ERROR":
            status = event.get("object", {})
            raise ApiError(int(status.get("code", 0)), str(status.get("message", "")), str(status.get("reason", "")))
        yield event


def _refusal(status: int, body: bytes, headers: Mapping[str, str]) -> ApiError:
    said = _json(body)
    message, reason, pause = body.decode(errors="replace")[:1000], "", 0.0
    if isinstance(said, dict):
        message, reason = str(said.get("message") or message), str(said.get("reason") or "")
        # A proxy before the API answers in JSON as well, and has its own idea of what `details` are.
        details = said.get("details")
        after = details.get("retryAfterSeconds") if isinstance(details, dict) else None
        pause = float(after) if isinstance(after, int | float) else 0.0
    wanted = headers.get("Retry-After", "")
    return ApiError(status, message, reason, max(pause, float(wanted) if wanted.isdecimal() else 0.0))


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _keep_alive(connection: Any, dead: float) -> None:
    """Have the kernel notice within ``dead`` seconds that nobody is at the other end."""
    # A server that is well but reads nothing for a while answers no pings; its kernel still does.
    own = connection.get_extra_info("socket") if connection is not None else None
    if own is None or own.family not in (socket.AF_INET, socket.AF_INET6):
        return
    third = max(1, round(dead / 3))
    keep_alive(own, idle=third, every=third, misses=2)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(dead * 1000))
