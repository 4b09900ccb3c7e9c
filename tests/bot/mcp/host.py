"""A listener with a few tools behind it, and what talks to it: the program's own client, or bytes."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio.abc import SocketStream, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream

from acp.mcp_servers import McpServer
from bot.agents.model import only
from bot.agents.tool_access import ToolAccess
from bot.mcp.listener import ListenerLimits, ToolListener
from bot.mcp.protocol import ANSWER_BYTES, VERSION, Answer, Call, Hello
from bot.mcp.server import Bot
from bot.mcp.tools import Ask, ReadThread, SetTitle, StartThread, ToolArguments, ToolRefused
from bot.work.observer import Observer
from pool.session_servers import Offer, SessionServers

THREAD, OTHER = 1, 2
TITLED = "Thread {} is titled 'x'."


@dataclass
class Counting(Observer):
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    changed: anyio.Event = field(default_factory=anyio.Event)

    def tool_called(self, tool: str, outcome: str) -> None:
        self.seen[tool, outcome] += 1
        self.changed.set()
        self.changed = anyio.Event()


@dataclass
class Host:
    """Sets titles at once, asks without ever getting an answer, refuses to start threads, and fails at the rest."""

    path: Path
    tokens: dict[int, str] = field(default_factory=dict)
    offers: dict[int, Offer] = field(default_factory=dict)
    counted: Counting = field(default_factory=Counting)
    called: list[tuple[int | None, ToolArguments]] = field(default_factory=list)
    asking: int = 0
    changed: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    stopped: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        (profile,) = only(("agent",), "/srv")

        def servers_for(thread_id: int, token: str) -> tuple[McpServer, ...]:
            self.tokens[thread_id] = token
            return ToolAccess(self.path).servers(profile, token)

        self.sessions = SessionServers(servers_for)
        for thread_id in (THREAD, OTHER):
            self.offers[thread_id] = self.sessions.offer(thread_id)

    async def call(self, offer: Offer, arguments: ToolArguments) -> str:
        self.called.append((offer.thread_id, arguments))
        match arguments:
            case SetTitle(title=title):
                return f"Thread {offer.thread_id} is titled {title!r}."
            case Ask():
                self._ask(1)
                try:
                    await anyio.sleep_forever()
                finally:
                    self._ask(-1)
            case ReadThread(limit=limit):
                return "x" * 10_000 * limit
            case StartThread():
                raise ToolRefused("A thread that was started like this starts no further ones.")
        raise RuntimeError("a fault with a secret in it")

    def _ask(self, change: int) -> None:
        self.asking += change
        self.changed.set()
        self.changed = anyio.Event()

    async def asks(self, count: int) -> None:
        while self.asking != count:
            await self.changed.wait()

    async def counts(self, tool: str, outcome: str, count: int) -> None:
        while self.counted.seen[tool, outcome] < count:
            await self.counted.changed.wait()

    async def run(self, limits: ListenerLimits, *, task_status: TaskStatus[None]) -> None:
        with self.scope:
            await ToolListener(self.sessions.find, self.call, self.counted, limits).serve(
                self.path, task_status=task_status
            )
        self.stopped.set()

    async def stop(self) -> None:
        """Do what the end of the bot does."""
        self.scope.cancel()
        await self.stopped.wait()

    def bot(self, thread_id: int = THREAD) -> Bot:
        return Bot(str(self.path), self.tokens[thread_id])

    async def title(self, thread_id: int = THREAD) -> Answer:
        return await self.bot(thread_id).call("set_title", {"title": "x"})

    def hello(self, thread_id: int = THREAD) -> bytes:
        return Hello(version=VERSION, token=self.tokens[thread_id]).line()


@contextmanager
def short_directory() -> Iterator[Path]:
    """Give a directory in which a socket's path is short enough, unlike those of tests."""
    directory = Path(tempfile.mkdtemp(prefix="weft-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@asynccontextmanager
async def serving(limits: ListenerLimits | None = None, directory: Path | None = None) -> AsyncIterator[Host]:
    """Give a host whose listener is there until the body ends."""
    with short_directory() if directory is None else nullcontext(directory) as place, anyio.fail_after(90):
        host = Host(place / "socket")
        async with anyio.create_task_group() as tasks:
            await tasks.start(host.run, limits or ListenerLimits(pace=0))
            yield host
            await host.stop()


def call_line(tool: str = "set_title", **arguments: object) -> bytes:
    return Call(tool=tool, arguments=arguments or {"title": "x"}).line()


@asynccontextmanager
async def connected(host: Host) -> AsyncIterator[SocketStream]:
    async with await anyio.connect_unix(host.path) as stream:
        yield stream


async def reply(stream: SocketStream) -> Answer:
    return Answer.model_validate_json(await BufferedByteReceiveStream(stream).receive_until(b"\n", ANSWER_BYTES))


async def said(host: Host, sent: bytes) -> Answer | None:
    """Return what is answered to bytes, or None where the connection is closed without."""
    async with connected(host) as stream:
        with suppress(anyio.BrokenResourceError):  # it was closed before all was read
            await stream.send(sent)
        try:
            return await reply(stream)
        except (anyio.IncompleteRead, anyio.BrokenResourceError):
            return None
