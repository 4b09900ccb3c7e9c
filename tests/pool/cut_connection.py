"""What lies between the store and a server: it passes everything on, until it is told to cut, or to swallow it.

A COMMIT can be cut off before the server has it, after the server has carried it out, or so that it arrives late: when
the store has long gone on with another connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto

import anyio
from anyio.abc import ByteStream, SocketAttribute

from tests.postgres import Server

_GONE = (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError)


class Cut(Enum):
    """Where a COMMIT is cut off."""

    BEFORE = auto()
    AFTER = auto()
    LATE = auto()


class Wire:
    """All connections; the mutable state is what happens to them from now on.

    Attributes:
        cut: the next COMMIT is cut off there, that one alone; at: or whatever has this in it.
        cuts: how many were.
        late: to be set when a COMMIT that is late may arrive.
        away: connections end as soon as they are made.
        swallowing: nothing is passed on any more, in either direction.
        connections: how many were made.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.port = 0
        self.cut: Cut | None = None
        self.at = b"COMMIT\0"
        self.cuts = self.connections = 0
        self.late = anyio.Event()
        self.away = self.swallowing = False
        self._links: set[_Link] = set()

    def url(self, schema_url: str) -> str:
        """Return the address of what is on the server, by way of this wire."""
        return self._server.tcp_url(self.port, schema=schema_url.partition("search_path%3D")[2].partition("&")[0])

    def disconnect(self) -> None:
        """End all connections that there are."""
        for link in self._links:
            link.tasks.cancel_scope.cancel()

    async def serve(self, client: ByteStream) -> None:
        async with client:
            if self.away:
                return
            self.connections += 1
            path = f"{self._server.directory}/.s.PGSQL.{self._server.port}"
            try:
                connected = await anyio.connect_unix(path)
            except OSError:  # there is no server at the moment
                return
            async with connected as server, anyio.create_task_group() as tasks:
                link = _Link(self, client, server)
                link.tasks = tasks
                self._links.add(link)
                tasks.start_soon(link.there)
                tasks.start_soon(link.back)
            self._links.discard(link)


class _Link:
    """One connection."""

    tasks: anyio.abc.TaskGroup

    def __init__(self, wire: Wire, client: ByteStream, server: ByteStream) -> None:
        self.wire, self.client, self.server = wire, client, server
        self.muted, self.answered = False, anyio.Event()

    async def there(self) -> None:
        """Pass on what the store says, up to a COMMIT that is to be cut off."""
        try:
            while True:
                data = await self.client.receive()
                if self.wire.cut is not None and self.wire.at in data:
                    await self._cut(data)
                    break
                if not self.wire.swallowing:
                    await self.server.send(data)
        except _GONE:
            pass
        self.tasks.cancel_scope.cancel()

    async def _cut(self, data: bytes) -> None:
        kind, self.wire.cut = self.wire.cut, None
        self.wire.cuts += 1
        if kind is Cut.BEFORE:
            return
        self.muted = True
        if kind is Cut.LATE:
            await self.client.aclose()
            await self.wire.late.wait()
        await self.server.send(data)
        await self.answered.wait()

    async def back(self) -> None:
        """Pass on what the server says."""
        try:
            while True:
                data = await self.server.receive()
                if self.muted:
                    self.answered.set()
                elif not self.wire.swallowing:
                    await self.client.send(data)
        except _GONE:
            pass
        self.tasks.cancel_scope.cancel()


@asynccontextmanager
async def wire(server: Server) -> AsyncIterator[Wire]:
    made = Wire(server)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        made.port = listener.extra(SocketAttribute.local_port)
        tasks.start_soon(listener.serve, made.serve)
        yield made
        tasks.cancel_scope.cancel()
