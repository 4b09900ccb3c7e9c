"""The HTTP side of health and metrics: three addresses to read from, on this machine only.

What it answers comes from its caller. Requests that a web page could make through somebody's browser are refused by
their Host header; connections are few and short, since everybody on this machine, agents too, may open them at a port.
There is no mutable state but the socket.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import anyio
import anyio.lowlevel
import yarl
from aiohttp import web
from aiohttp.typedefs import Middleware

from bot.ops.address import Address, AddressUnusable, Loopback, UnixSocket
from bot.ops.health import HEALTHY, Health, Status

HEALTH, READY, METRICS = "/healthz", "/readyz", "/metrics"
RENEWED = "renewed"
"""What a person asks for in the query: other machines as they are now. What looks every few seconds does without."""

_SHUTDOWN_SECONDS = 1.0
_BACKLOG = 64
_MOST_CONNECTIONS = 32
_LIFETIME = 10.0
"""Seconds that a connection may last, whatever is said on it."""

_OWNER_ONLY = 0o600
_LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

Exposition = Callable[[str], tuple[bytes, str]]
"""Returns the metrics and their content type, in a format that an Accept header allows."""


@asynccontextmanager
async def listening(
    address: Address,
    health: Callable[[], Health],
    metrics: Exposition,
    lifetime: float = _LIFETIME,
    renew: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint,
) -> AsyncIterator[Address]:
    """Answer while the body runs; give the address with the port that was found.

    Args:
        lifetime: seconds after which a connection is closed.
        renew: has ``health`` tell of other machines as they are now; bounds itself.

    Raises:
        AddressUnusable: somebody else listens there, or the file system has no place for it.
    """
    with bound(address) as listener:
        app = web.Application(middlewares=[_only_local(address)])
        app.router.add_get(HEALTH, _health_handler(health, HEALTHY, renew))
        app.router.add_get(READY, _health_handler(health, frozenset({Status.OK}), renew))
        app.router.add_get(METRICS, _metrics_handler(metrics))
        # No log of accesses: a line for each scrape would bury the rest.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        assert runner.server
        taking = _few(runner.server, lifetime)
        # Not by aiohttp's own site, which has no bound on connections.
        server = await asyncio.get_running_loop().create_server(taking, sock=listener, backlog=_BACKLOG)
        try:
            yield Loopback(address.host, listener.getsockname()[1]) if isinstance(address, Loopback) else address
        finally:
            server.close()
            # Bounded by the runner's own time.
            with anyio.CancelScope(shield=True):
                await runner.cleanup()


def _few(server: web.Server, lifetime: float) -> Callable[[], asyncio.BaseProtocol]:
    """Return what takes connections: so many at a time, so that the bot's open files are left to the bot."""
    loop = asyncio.get_running_loop()

    def take() -> asyncio.BaseProtocol:
        if len(server.connections) >= _MOST_CONNECTIONS:
            return _Refusal()
        connection = server()
        # From the start on, not from the last byte: whoever sends one now and then would keep it for ever.
        loop.call_later(lifetime, connection.force_close)
        return connection

    return take


class _Refusal(asyncio.Protocol):
    """Closes a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@contextmanager
def bound(address: Address) -> Iterator[socket.socket]:
    """Give a socket that listens at the address; a socket's file is for its owner only, and goes at the end."""
    try:
        listener = _bind_tcp(address) if isinstance(address, Loopback) else _bind_unix(address.path)
    except OSError as exc:
        raise AddressUnusable(f"{address} can't be listened on: {exc.strerror or exc}") from exc
    file = _identity(address)
    try:
        with listener:
            yield listener
    finally:
        # Only what is still ours: a successor may have put its own there.
        if isinstance(address, UnixSocket) and file is not None and file == _identity(address):
            with suppress(FileNotFoundError):
                address.path.unlink()


def _bind_tcp(address: Loopback) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Or the port of a bot that was just restarted is taken for a minute by its old connections.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _bind_unix(path: Path) -> socket.socket:
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(OSError):
            # On Linux the file takes the socket's mode over, so there is no moment at which others may connect.
            os.fchmod(listener.fileno(), _OWNER_ONLY)
        listener.bind(str(path))
        path.chmod(_OWNER_ONLY)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    """Remove the file of a socket that nobody listens on any more.

    Raises:
        OSError: somebody does, or it is another kind of file.
    """
    if not path.is_symlink() and not path.exists():
        return
    # By `lstat`: a link may lead to a socket of somebody else.
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise OSError(errno.EEXIST, "there is a file that is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        try:
            # Asked and not guessed: only a socket that nobody listens on refuses.
            other.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _identity(address: Address) -> tuple[int, int] | None:
    if not isinstance(address, UnixSocket):
        return None
    try:
        found = address.path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_local(host: str | None, address: Address) -> bool:
    """Whether a Host header may be answered: a page that a browser shows can't choose the one of this machine."""
    if isinstance(address, UnixSocket):
        return True  # no page gets there
    try:
        name = yarl.URL(f"http://{host}").host if host else None
    except ValueError:
        return False
    return name is not None and (name in _LOCAL_NAMES or name == address.host)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _only_local(address: Address) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_local(request.headers.get("Host"), address):
            raise web.HTTPMisdirectedRequest(text="ask for this machine by 127.0.0.1 or localhost\n")
        return await handler(request)

    return middleware


def _health_handler(
    health: Callable[[], Health], well: Collection[Status], renew: Callable[[], Awaitable[None]]
) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        if RENEWED in request.query:
            await renew()
        found = health()
        code = web.HTTPOk.status_code if found.status in well else web.HTTPServiceUnavailable.status_code
        body = found.model_dump_json() + "\n"
        return web.Response(text=body, status=code, content_type="application/json", headers=_HEADERS)

    return handle


def _metrics_handler(metrics: Exposition) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        body, content_type = metrics(request.headers.get("Accept", ""))
        return web.Response(body=body, headers=_HEADERS | {"Content-Type": content_type})

    return handle
