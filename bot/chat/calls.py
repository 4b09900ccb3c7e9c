"""Tells an observer of every answer of Discord, and which kind of call it was to.

A path holds ids, and those of interactions a token: of both nothing is told but a word out of a short list.
"""

from __future__ import annotations

import time
from types import SimpleNamespace

import aiohttp
import yarl

from bot.work.observer import Observer

METHODS = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE"})
SCOPES = frozenset({"user", "global", "shared"})
OTHER = "other"
"""Stands for a method, route or scope that is not known."""

_LIMITED = 429
_SCOPE = "X-RateLimit-Scope"
_PLACES = frozenset({"channels", "guilds", "users", "applications", "interactions", "webhooks", "oauth2", "gateway"})
_IN_CHANNEL = ("reactions", "threads", "typing", "messages")
"""What is called below a channel; the first of them that a path has names it."""

ROUTES = (*sorted(_PLACES), *_IN_CHANNEL, OTHER)


def route(url: yarl.URL) -> str:
    """Return what kind of call goes to an address: one of `ROUTES`."""
    if url.scheme in ("ws", "wss"):
        return "gateway"
    parts = [part for part in url.path.split("/") if part]
    first = next((part for part in parts if part in _PLACES), OTHER)
    if first != "channels":
        return first
    below = parts[parts.index(first) + 2 :]
    return next((name for name in _IN_CHANNEL if name in below), first)


def timed(config: aiohttp.TraceConfig, observer: Observer) -> aiohttp.TraceConfig:
    """Add to what sees the answers of an HTTP session that ``observer`` is told of them; return it."""

    async def started(
        _session: aiohttp.ClientSession, context: SimpleNamespace, _told: aiohttp.TraceRequestStartParams
    ) -> None:
        context.began = time.monotonic()

    async def ended(
        _session: aiohttp.ClientSession, context: SimpleNamespace, told: aiohttp.TraceRequestEndParams
    ) -> None:
        _tell(observer, context, told.method, told.url, told.response.status)
        if told.response.status == _LIMITED:
            scope = told.response.headers.get(_SCOPE, OTHER)
            observer.discord_limited(scope if scope in SCOPES else OTHER)

    async def failed(
        _session: aiohttp.ClientSession, context: SimpleNamespace, told: aiohttp.TraceRequestExceptionParams
    ) -> None:
        if isinstance(told.exception, Exception):  # a call that we cut off ourselves tells nothing of Discord
            _tell(observer, context, told.method, told.url, 0)

    config.on_request_start.append(started)
    config.on_request_end.append(ended)
    config.on_request_exception.append(failed)
    return config


def _tell(observer: Observer, context: SimpleNamespace, method: str, url: yarl.URL, status: int) -> None:
    method = method if method in METHODS else OTHER
    observer.discord_answered(method, route(url), status, time.monotonic() - context.began)
