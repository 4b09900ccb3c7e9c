"""Two bots on one database and one loopback Discord, each a process with its own way to both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import psycopg
from anyio.abc import ByteStream, Listener, SocketAttribute, SocketStream
from yarl import URL

from bot.sandbox import FakeDiscord
from bot.sandbox.gateway import Gateway
from bot.sandbox.gateway_sessions import Connection
from bot.sandbox.model import Json
from pool.storage.postgres_lease import MAKE
from tests import postgres
from tests.agents import ScriptedAgent, Step, scenario
from tests.e2e.play import LIMIT
from tests.e2e.process import Run, run
from tests.pool.cut_connection import Wire, wire

SHORT = "4,1.2,0.4,0.1,0.8,0.1"
"""Duration, margin, renew, look, call and retry of a lease: long enough for a machine that is busy."""

_COUNT = """;
CREATE TABLE takings (epoch bigint);
CREATE FUNCTION count_taking() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO takings VALUES (NEW.epoch); RETURN NULL; END $$;
CREATE TRIGGER taking AFTER INSERT OR UPDATE OF epoch ON leadership FOR EACH ROW EXECUTE FUNCTION count_taking();
"""

_GONE = (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError)


class Relay:
    """One bot's way to Discord's REST interface.

    Attributes:
        sent: when the bot sent something, by the loop's clock.
    """

    def __init__(self, target: int, port: int) -> None:
        self._target, self.port = target, port
        self.sent: list[float] = []

    async def serve(self, client: ByteStream) -> None:
        there = anyio.connect_tcp("127.0.0.1", self._target)
        async with client, await there as server, anyio.create_task_group() as tasks:
            tasks.start_soon(self._pass, client, server, self.sent)
            await self._pass(server, client, [])
            tasks.cancel_scope.cancel()

    async def _pass(self, source: ByteStream, target: ByteStream, noted: list[float]) -> None:
        with suppress(*_GONE):
            async for data in source:
                noted.append(anyio.current_time())
                await target.send(data)
            await target.send_eof()


@dataclass(slots=True)
class Side:
    """One of the two: where it runs, and its ways to the database and to Discord."""

    directory: Path
    agent: ScriptedAgent
    discord: FakeDiscord
    relay: Relay
    database: Wire
    url: str
    settings: dict[str, str]

    def start(self, **more: str) -> AbstractAsyncContextManager[Run]:
        api = self.discord.api_url.replace(self.discord.url, f"http://127.0.0.1:{self.relay.port}")
        settings = self.settings | {"WEFT_DATABASE_URL": self.database.url(self.url)} | more
        return run(self.directory, api, self.discord.token, self.agent, **settings)


@dataclass(slots=True)
class Pair:
    """Both, and what the loopback Discord saw of their gateway sessions.

    Attributes:
        overlaps: how many sessions were begun while another one was connected.
        begun: when each was begun.
    """

    discord: FakeDiscord
    one: Side
    two: Side
    overlaps: int = 0
    begun: list[float] = field(default_factory=list)

    def prompts(self) -> list[str]:
        """All that reached an agent."""
        return self.one.agent.prompts() + self.two.agent.prompts()

    def check(self) -> None:
        """All that the first sent came before anything of the second, and no prompt was run twice."""
        assert self.one.relay.sent[-1] < self.two.relay.sent[0]
        assert len(self.prompts()) == len(set(self.prompts()))

    async def known_places(self) -> None:
        """Wait until it is written where something was accepted: there, what was missed is looked for."""
        with anyio.fail_after(LIMIT):
            while not postgres.rows(self.one.url, "SELECT 1 FROM places"):  # noqa: ASYNC110  another process writes
                await anyio.sleep(0.05)

    def takings(self) -> int:
        """How often the lease was taken."""
        return int(str(postgres.rows(self.one.url, "SELECT count(*) FROM takings")[0][0]))


@asynccontextmanager
async def pair(
    directory: Path,
    words: dict[str, list[Step]] | None = None,
    limits: str | None = SHORT,
    server: postgres.Server | None = None,
    turns: Sequence[list[Step]] = (),
    **more: str,
) -> AsyncIterator[Pair]:
    """Give two bots that are not started yet; their agents play the same.

    Args:
        limits: of the lease; None: those of production.
    """
    there = server or postgres.server()
    url = postgres.fresh(there)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(MAKE + _COUNT)
    settings = {**({"WEFT_LEASE_LIMITS": limits} if limits else {}), **more}
    async with (
        FakeDiscord() as discord,
        wire(there) as first,
        wire(there) as second,
        anyio.create_task_group() as tasks,
    ):
        sides = []
        for name, database in (("one", first), ("two", second)):
            home = directory / name
            home.mkdir()
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
            relay = Relay(URL(discord.url).port or 0, listener.extra(SocketAttribute.local_port))
            tasks.start_soon(_serve, listener, relay)
            # It goes by its own address only, and both ways are this test's.
            discord._guard._hosts |= {f"127.0.0.1:{relay.port}"}
            agent = scenario(home, *turns, resume=True, words=words or {})
            sides.append(Side(home, agent, discord, relay, database, url, settings))
        made = Pair(discord, sides[0], sides[1])
        with _noting_sessions(made):
            yield made
        tasks.cancel_scope.cancel()


async def _serve(listener: Listener[SocketStream], relay: Relay) -> None:
    async with listener:
        await listener.serve(relay.serve)


@contextmanager
def _noting_sessions(made: Pair) -> Iterator[None]:
    gateway: Gateway = made.discord.gateway
    identify = gateway._identify

    def noted(connection: Connection, data: Json) -> None:
        made.overlaps += gateway.connected
        made.begun.append(anyio.current_time())
        identify(connection, data)

    gateway._identify = noted  # type: ignore[method-assign]
    try:
        yield
    finally:
        gateway._identify = identify  # type: ignore[method-assign]
