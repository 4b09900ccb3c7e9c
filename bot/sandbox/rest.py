"""The REST pipeline that every request passes: body, token, rate limit, injected fault, route, log entry.

The mutable state is the request log. Routes are plain functions from a `Call` to a `Reply`; they raise `DiscordError`.
The log and the faults are about the bot under test: what people ask for is in no log and meets no fault.
Answers have the content type `application/json` without a charset, which discord.py compares for equality.
"""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import anyio
from aiohttp import BodyPartReader, web

from bot.sandbox import ratelimit
from bot.sandbox.accounts import Accounts
from bot.sandbox.drafts import Upload
from bot.sandbox.errors import DiscordError, InvalidForm
from bot.sandbox.faults import Fault, FaultKind, Faults
from bot.sandbox.gateway import Gateway
from bot.sandbox.gateway_sessions import reset
from bot.sandbox.interactions import Interactions
from bot.sandbox.model import Channel, Json, RestCall, User
from bot.sandbox.objects import ATTACHMENT_LIMIT_BYTES
from bot.sandbox.state import State

PREFIX = "/api/v10"
NO_STATUS = 0
MAX_FILES = 10
MAX_REQUEST_BYTES = 25 * 1024 * 1024
MAX_JSON_BYTES = 512 * 1024
_CHUNK = 65_536
_HTML = "<!DOCTYPE html><html><head><title>discord.com | {0}</title></head><body>error {0}</body></html>"


@dataclass(frozen=True, slots=True)
class Backend:
    """The parts of one loopback Discord that routes work on."""

    state: State
    gateway: Gateway
    interactions: Interactions
    faults: Faults
    limiter: ratelimit.Limiter
    accounts: Accounts
    calls: deque[RestCall]


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and authenticated; `caller` is the bot where a route takes no token."""

    backend: Backend
    caller: User
    params: dict[str, str]
    query: dict[str, str]
    body: Any
    uploads: list[Upload]

    @property
    def state(self) -> State:
        """The stored content."""
        return self.backend.state

    @property
    def who(self) -> int:
        """The caller's id."""
        return self.caller.id

    def place(self, *permissions: str) -> Channel:
        """The channel that the path names; raises 10003, 50001 or 50013 where the caller may not do that there."""
        channel = self.state.channel(self.id("channel"))
        self.state.require(self.who, channel, *permissions)
        return channel

    @property
    def form(self) -> Json:
        """The body as an object; raises 50109."""
        if self.body is None:
            return {}
        if not isinstance(self.body, dict):
            raise DiscordError(50109)
        return self.body

    def id(self, name: str) -> int:
        """A path parameter as an id, 0 where it is none."""
        text = self.params[name]
        # 0 is nobody's, so that it ends as an unknown one.
        return int(text) if text.isdigit() else 0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; no data means 204."""

    data: Any = None
    status: int = 200


Handler = Callable[[Call], Reply]


class Callers(Enum):
    """Whose requests a route takes."""

    ANYONE = "anyone"
    BOTS = "bots"
    PEOPLE = "people"


@dataclass(frozen=True, slots=True)
class Route:
    """A method and path template, its handler, the name of its rate limit rule and who may call it."""

    method: str
    path: str
    handler: Handler
    rule: str = "other"
    needs_token: bool = True
    callers: Callers = Callers.ANYONE


@dataclass(slots=True)
class _Outcome:
    """What the pipeline found out about a request on its way."""

    started: float
    body: Any = None
    status: int = NO_STATUS
    code: int = 0
    injected: bool = False
    archived: bool = False
    answer: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Pipeline:
    """Turns routes into aiohttp handlers."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def install(self, app: web.Application, routes: list[Route]) -> None:
        """Register the routes under the API's prefix."""
        for route in routes:
            app.router.add_route(route.method, PREFIX + route.path, self._handler(route))
        app.router.add_route("*", PREFIX + "/{tail:.*}", self._handler(Route("*", "", _unknown_route, "unknown")))

    def _handler(self, route: Route) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._run(request, route)

        return handle

    async def _run(self, request: web.Request, route: Route) -> web.Response:
        outcome = _Outcome(self._backend.state.clock())
        bot = self._backend.state.bot
        caller = self._backend.accounts.by_header(request.headers.get("Authorization"))
        try:
            response = await self._answer(request, route, caller if route.needs_token else bot, outcome)
        except DiscordError as error:
            outcome.code = error.code
            response = _json_response(error.body(), error.status)
        except (AttributeError, KeyError, TypeError, ValueError, web.RequestPayloadError) as error:
            # A value of a shape that no check names; Discord answers such a form with 50035 too.
            malformed = InvalidForm("body", f"{type(error).__name__}: {error}")
            outcome.code = malformed.code
            response = _json_response(malformed.body(), malformed.status)
        # Of refusals as well: a client learns its limits from every answer.
        response.headers.update(outcome.headers)
        outcome.answer = response.body if isinstance(response.body, bytes) else b""
        # Of a connection that was reset the client has seen no answer, whatever was made for it.
        outcome.status = NO_STATUS if request.transport is None or request.transport.is_closing() else response.status
        # Without a valid token it is the bot's as well: a bot that forgets its token has to show in the log.
        if caller is None or caller == bot:
            self._log(request, route, outcome)
        return response

    async def _answer(self, request: web.Request, route: Route, caller: User | None, outcome: _Outcome) -> web.Response:
        if caller is None:  # before the body: nobody unknown may have it held or logged
            raise DiscordError(0)
        body, uploads = await _read_body(request)
        outcome.body = body
        outcome.archived = self._aims_at_archived(request, route)
        # Before what a route may refuse: that costs as much of the limit as what succeeds.
        refused = self._limit(request, route, caller, body, outcome)
        if refused is not None:
            return refused
        is_bot = caller == self._backend.state.bot
        if route.callers is (Callers.PEOPLE if is_bot else Callers.BOTS):
            raise DiscordError(20001 if is_bot else 20002)
        if not is_bot:
            _check_body(body)
        call = Call(self._backend, caller, dict(request.match_info), dict(request.query), body, uploads)
        # Last, so that a fault is not used up by a request that never reaches its route.
        fault = self._backend.faults.take(request.method, request.path) if is_bot else None
        if fault is None:
            return _reply_response(route.handler(call))
        outcome.injected = True
        return await self._fail(request, route, call, fault, outcome)

    def _limit(
        self, request: web.Request, route: Route, caller: User, body: Any, outcome: _Outcome
    ) -> web.Response | None:
        state = self._backend.state
        rename = route.rule == "edit_channel" and isinstance(body, dict) and "name" in body
        key = request.match_info.get("channel", "")
        account = "" if caller == state.bot else str(caller.id)
        verdict = self._backend.limiter.judge(route.rule, key, state.clock(), rename=rename, account=account)
        if verdict is None:
            return None
        outcome.headers = ratelimit.headers(verdict, state.wall())
        if verdict.scope is None:
            return None
        return _rate_limited(verdict.retry_after, is_global=verdict.scope == "global")

    async def _fail(
        self, request: web.Request, route: Route, call: Call, fault: Fault, outcome: _Outcome
    ) -> web.Response:
        """Carry out an injected fault."""
        if fault.kind is FaultKind.DELAY:
            await anyio.sleep(fault.seconds)
            return _reply_response(route.handler(call))
        # It took effect and nobody hears of it: what a nonce is for.
        if fault.kind is FaultKind.RESET_AFTER:
            route.handler(call)
        if fault.kind in (FaultKind.RESET_AFTER, FaultKind.RESET_BEFORE):
            reset(request)
            return web.Response(status=503)
        if fault.kind is FaultKind.RATE_LIMITED:
            scope = "global" if fault.is_global else "shared" if fault.shared else "user"
            outcome.headers |= ratelimit.refusal_headers(fault.seconds, scope, via=fault.via)
            return _rate_limited(fault.seconds, is_global=fault.is_global)
        if fault.kind is FaultKind.HTML:
            return web.Response(
                text=_HTML.format(fault.http_status), status=fault.http_status, content_type="text/html"
            )
        raise DiscordError(fault.code, status=fault.http_status)

    def _aims_at_archived(self, request: web.Request, route: Route) -> bool:
        """Whether it would change a message in a thread that is archived already."""
        channel_id = request.match_info.get("channel", "")
        channel = self._backend.state.channels.get(int(channel_id)) if channel_id.isdigit() else None
        return channel is not None and channel.archived and route.rule in ("edit_message", "reaction")

    def _log(self, request: web.Request, route: Route, outcome: _Outcome) -> None:
        state = self._backend.state
        self._backend.calls.append(
            RestCall(
                time=outcome.started,
                ended=state.clock(),
                method=request.method,
                path=request.path.removeprefix(PREFIX),
                body=outcome.body,
                status=outcome.status,
                code=outcome.code,
                rule=route.rule,
                injected=outcome.injected,
                archived=outcome.archived,
                answer=outcome.answer,
            )
        )
        state.changes.note()


def _unknown_route(_call: Call) -> Reply:
    raise DiscordError(0, status=404, message="404: Not Found")


def _json_response(data: Any, status: int) -> web.Response:
    return web.Response(body=json.dumps(data).encode(), status=status, headers={"Content-Type": "application/json"})


def _reply_response(reply: Reply) -> web.Response:
    return web.Response(status=204) if reply.data is None else _json_response(reply.data, reply.status)


def _rate_limited(retry_after: float, *, is_global: bool) -> web.Response:
    body = {"message": "You are being rate limited.", "retry_after": round(retry_after, 3), "global": is_global}
    return _json_response(body, 429)


async def _read_body(request: web.Request) -> tuple[Any, list[Upload]]:
    """The JSON body and the files; raises 50109 where the JSON is broken."""
    if request.content_type.startswith("multipart/"):
        return await _read_multipart(request)
    raw = await request.read()
    return (_parse(raw) if raw else None), []


async def _read_multipart(request: web.Request) -> tuple[Any, list[Upload]]:
    body: Any = None
    uploads: list[Upload] = []
    left = MAX_REQUEST_BYTES  # aiohttp holds no form to the limit of the application
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            raise DiscordError(50109)
        content = await _read_part(part, min(left, ATTACHMENT_LIMIT_BYTES))
        left -= len(content)
        if part.name == "payload_json":
            body = _parse(content)
        elif part.filename is not None:
            index = (part.name or "").removeprefix("files[").removesuffix("]")
            if len(uploads) == MAX_FILES:
                raise InvalidForm("attachments", f"Must be {MAX_FILES} or fewer in length.", "BASE_TYPE_MAX_LENGTH")
            uploads.append(Upload(int(index) if index.isdigit() else len(uploads), part.filename, content))
    return body, uploads


async def _read_part(part: BodyPartReader, limit: int) -> bytes:
    """One part of a form; raises 40005 as soon as it is too large, rather than holding all of it."""
    content = bytearray()
    while chunk := await part.read_chunk(_CHUNK):
        content += chunk
        if len(content) > limit:
            raise DiscordError(40005)
    return bytes(content)


def _parse(raw: bytes) -> Any:
    # Far more than any message has; megabytes of brackets would hold everybody up for seconds.
    if len(raw) > MAX_JSON_BYTES:
        raise DiscordError(40005)
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise DiscordError(50109) from None


def _check_body(body: Any) -> None:
    """Raise 50109 for what is no JSON elsewhere: whoever is told of it would lose their connection over it.

    Halves of surrogate pairs could be neither shown nor stored; NaN and numbers too large are taken by Python alone.
    """
    try:
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise DiscordError(50109) from None
