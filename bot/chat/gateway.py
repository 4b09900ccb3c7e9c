"""Keeps one client connected: starts it, and replaces it when it ends, unless retrying cannot help.

discord.py reconnects by itself, but its `connect()` ends for good on a malformed READY or a refused first connection.
Then a new client takes over; the old one's HTTP session stays in use until the new one is logged in.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import threading
import time
from dataclasses import dataclass, field
from math import inf, isfinite

import aiohttp
import anyio
import discord
import structlog
import yarl
from discord.gateway import DiscordWebSocket, KeepAliveHandler
from discord.http import Route

from bot.chat.authorize import Policy, Purpose, Request, authorize
from bot.chat.catchup import CatchUp
from bot.chat.client import CatchUpRequest, ClientState, WeftClient
from bot.chat.commands.tree import CommandStamp, answer_interactions, sync_if_changed
from bot.chat.connection_health import LOGIN_WINDOW, MOST_LOGINS, Logins, Progress, Step
from bot.chat.fence import MaySend, NotLeading, always, check_leave
from bot.chat.inbound import Wordings
from bot.chat.job_queue import contain
from bot.chat.lookups import DiscordLookups
from bot.chat.port import DiscordChat
from bot.chat.read_marks import LAST_WRITE_LIMIT, Watermarks, keep_writing, write_marks
from bot.chat.rest import Breaker, Rest, RetryLimits, TryAgain
from bot.model import Actor, Inbound, ThreadPlace
from bot.redaction import Redactor
from bot.reply.port import Unavailable
from bot.work.dispatcher import Dispatcher
from bot.work.observer import Observer
from pool.storage.durable import SessionStore

log = structlog.get_logger(__name__)

CLOSE_LIMIT = 5.0  # seconds
GATEWAY_QUESTION_LIMIT = 10.0  # seconds
LOOKUPS_AT_ONCE = 4  # places: what is slow in one must not hold up the others
MOST_WORDINGS = 5000  # prompts whose edits are recognised without asking Discord
STABLE_AFTER = 60.0  # seconds; a client that lasted this long does not count as a failed try

_BAD_TOKEN = 4004
_FATAL_CLOSES = {
    _BAD_TOKEN: "Discord does not accept the token",
    4010: "Discord refused the shard",
    4011: "Discord asks for sharding: the bot is in too many servers",
    4012: "Discord no longer offers this version of its gateway",
    4013: "Discord does not know one of the intents",
    4014: "Discord did not grant the intents",
}
_LOGIN_REFUSED = "Discord does not accept the token: check DISCORD_TOKEN, or make a new one in the developer portal"
_INTENTS = (
    "the Message Content intent is off: switch it on in the developer portal, under Bot, Privileged Gateway Intents"
)


class ChatConfigError(Exception):
    """The connection can't work until somebody changes the configuration; the message says what."""


class Disconnected(Exception):
    """The client ended; a new one may work."""


def verdict(error: Exception) -> ChatConfigError | Disconnected:
    """Return what a connection's end means: whether a new client can help."""
    if isinstance(error, discord.LoginFailure):
        return ChatConfigError(_LOGIN_REFUSED)
    if isinstance(error, discord.PrivilegedIntentsRequired):
        return ChatConfigError(_INTENTS)
    if isinstance(error, discord.ConnectionClosed) and error.code in _FATAL_CLOSES:
        return ChatConfigError(
            _LOGIN_REFUSED if error.code == _BAD_TOKEN else f"{_FATAL_CLOSES[error.code]} ({error.code})"
        )
    return Disconnected(repr(error))


@dataclass(frozen=True, slots=True)
class ChatConfig:
    """How to reach Discord and who may use Weft. Times in seconds.

    Attributes:
        api_url: another address than Discord's, such as the loopback's; its gateway is asked for there.
        first_pause, longest_pause: before a new client is tried; doubled each time in between.
        catch_up_limit: a message that was missed and is older than this is not run, but reported as missed.
        hold_limit: how long the work waits for a catch-up, from the READY on.
        seen_interval: how often it is written how far each place was read.
        most_logins: in each ``login_window``; see `bot.chat.connection_health`.
    """

    token: str = field(repr=False)
    policy: Policy
    api_url: str | None = None
    guild_ready_timeout: float = 2.0
    first_pause: float = 1.0
    longest_pause: float = 60.0
    retries: RetryLimits = field(default_factory=RetryLimits)
    catch_up_limit: float = 600.0
    hold_limit: float = 10.0
    seen_interval: float = 1.0
    most_logins: int = MOST_LOGINS
    login_window: float = LOGIN_WINDOW


class DiscordGateway:
    """The connection to Discord over all its clients.

    Attributes:
        chat: what the work may ask of Discord; usable before and between connections (calls wait, within their budget).
        lookups: what prompts refer to, asked of Discord.
        ready: set when Discord has sent everything that it tells at the start.
        breaker: counts what Discord refused.

    Args:
        redactor: what is posted leaves without its secrets (R5).
        store: keeps over restarts how far each place was read.
        observer: notified of connections and of every answer of Discord.
        may_send: whether this bot leads; while it does not, nothing is sent.
    """

    def __init__(
        self,
        config: ChatConfig,
        stamp: CommandStamp,
        redactor: Redactor,
        *,
        store: SessionStore,
        observer: Observer,
        may_send: MaySend = always,
    ) -> None:
        self._config, self._stamp, self._store, self._may_send = config, stamp, store, may_send
        self.breaker = Breaker()
        self.chat = DiscordChat(self.current, config.retries, self.breaker, redactor, config.api_url)
        self.lookups = DiscordLookups(self.current, self.chat, Rest(self.current, config.retries, self.breaker))
        self._progress = Progress(time.monotonic)
        self._logins = Logins(time.monotonic, config.most_logins, config.login_window)
        marks, wordings = Watermarks(), Wordings(MOST_WORDINGS)
        request = CatchUpRequest(marks, config.hold_limit)
        self._catch_up = CatchUp(self.chat, marks, wordings, request, config.catch_up_limit)
        self._state = ClientState(
            self.chat, marks, wordings, request, self.breaker, self._logins, self._progress, observer, redactor,
            may_send=may_send,
        )  # fmt: skip
        self.ready = self._state.ready
        self._client: WeftClient | None = None
        self._closing, self._scope = False, anyio.CancelScope()
        self._short_lives = 0

    def current(self) -> WeftClient:
        """Return the client of the moment.

        Raises:
            TryAgain: there is none just now.
            Unavailable: there will be no other.
        """
        if self._closing:
            raise Unavailable("the connection to Discord was closed")
        if not self._may_send():
            raise Unavailable(str(NotLeading()))
        if self._client is None or self._client.is_closed():
            raise TryAgain("there is no connection to Discord at the moment")
        return self._client

    def allow(self, policy: Policy) -> None:
        """Apply another policy from now on; the owners stay."""
        self._config = dataclasses.replace(self._config, policy=policy)
        if self._client is not None:
            self._client.policy = dataclasses.replace(policy, owners=self._client.policy.owners)

    def may(self, inbound: Inbound) -> bool:
        """Return whether its author may use Weft now (D2); while nobody is logged in, the earlier decision holds."""
        client = self._client
        if client is None:
            return True
        # From the message itself: after a kill soon after a thread was opened, nothing else knows its channel.
        parent = inbound.parent_id
        if parent is None and (place := self._state.marks.place(inbound.channel_id)) is not None:
            parent = place.parent_id
        author, automatic = inbound.author, inbound.automatic
        request = Request(inbound.guild_id, inbound.channel_id, parent, author.id, author.roles, automatic)
        return authorize(request, client.policy).allowed

    def rights(self, by: Actor, place: ThreadPlace) -> Actor | None:
        """Return a person with the rights to decide that they have in a thread now, by the roles of their last press.

        None: they are not let in. While nobody is logged in, what was known before holds.
        """
        if self._client is None:
            return by
        request = Request(place.guild_id, place.thread_id, place.parent_id, by.id, by.roles)
        policy = self._client.policy
        return policy.knows(by) if authorize(request, policy, Purpose.DECIDE).allowed else None

    @property
    def connected(self) -> bool:
        """Whether Discord can be heard now."""
        client = self._client
        return client is not None and client.is_ready() and _silence(client) is not None

    def stuck(self) -> str | None:
        """Say why the connection is not healthy, or nothing; being disconnected is no reason (R3).

        To be asked now and then: what it sees of the socket it remembers.
        """
        if self._client is not None:
            self._progress.socket(_silence(self._client))
        return self._progress.stuck()

    def close(self) -> None:
        """Ask `run` to hang up and return."""
        self._closing = True
        self._scope.cancel()

    @property
    def latency(self) -> float | None:
        """Seconds from the last heartbeat to its answer; None while there is none."""
        latency = self._client.latency if self._client is not None and self.connected else inf
        return latency if isfinite(latency) else None

    async def run(self, dispatcher: Dispatcher) -> None:
        """Stay connected until `close` is called.

        Raises:
            ChatConfigError: trying again is of no use.
        """
        marks = self._state.marks
        failure: ChatConfigError | None = None
        # Places that are known need no look-up when something comes from them.
        marks.load(await self._store.places())
        for place in marks.places():
            if place.parent_id is not None:
                self._state.threads.put(place.channel_id, place)
        with self._scope:
            async with anyio.create_task_group() as tasks:
                for _ in range(LOOKUPS_AT_ONCE):
                    tasks.start_soon(self._state.detours.run)
                tasks.start_soon(self._state.answers.run)
                tasks.start_soon(self._catch_up.run)
                tasks.start_soon(keep_writing, marks, self._store, dispatcher, self._config.seen_interval)
                try:
                    for tries in itertools.count(1):
                        try:
                            await self._live(dispatcher)
                        except Disconnected as exc:
                            await self._pause(exc, tries)
                except ChatConfigError as exc:
                    failure = exc  # raised below: the group would wrap it
                finally:
                    self._closing = True
                    try:
                        await _close(self._client)
                        # The last: until the connection is closed, messages may still be submitted. Shielded, as the
                        # last prompts were written in this very shutdown, and their marks would be lost with it.
                        with anyio.CancelScope(shield=True):
                            write = functools.partial(write_marks, marks, self._store, dispatcher)
                            await contain("seen", write, LAST_WRITE_LIMIT)
                    finally:
                        self._progress.enter(Step.ENDED)  # not before: closing is no fault for the watchdog
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _live(self, dispatcher: Dispatcher) -> None:
        """One client from login to its end; always raises."""
        began = anyio.current_time()
        try:
            await self._listen(await self._log_in(dispatcher))
        except Exception as exc:
            # connect() lets through whatever a malformed READY raised in discord.py's reader.
            raise verdict(exc) from exc
        finally:
            if anyio.current_time() - began > STABLE_AFTER:
                self._short_lives = 0

    async def _log_in(self, dispatcher: Dispatcher) -> WeftClient:
        """Return a new client that is logged in and has taken the place of the one before."""
        self._progress.enter(Step.FINDING)
        check_leave(self._may_send)
        api = self._config.api_url
        if api is not None and api != Route.BASE:
            limit = aiohttp.ClientTimeout(total=GATEWAY_QUESTION_LIMIT)
            async with aiohttp.ClientSession(timeout=limit) as session, session.get(f"{api}/gateway") as answer:
                answer.raise_for_status()
                url = str((await answer.json())["url"])
            # Class attributes: discord.py has no other way to be sent elsewhere.
            Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = api, yarl.URL(url)
        self._progress.enter(Step.LOGGING_IN)
        client = WeftClient(
            dispatcher, self._config.policy, self._state, guild_ready_timeout=self._config.guild_ready_timeout
        )
        try:
            await client.login(self._config.token)
        except BaseException:
            await _close(client)
            raise
        # In this order: while the new one logged in, calls still went out by the old one.
        previous, self._client = self._client, client
        await _close(previous)
        return client

    async def _listen(self, client: WeftClient) -> None:
        self._progress.enter(Step.CONNECTING)
        tree = answer_interactions(client)
        ended: Exception | None = None
        async with anyio.create_task_group() as connection:
            sync = functools.partial(sync_if_changed, tree, self._stamp, direct=client.policy.direct)
            connection.start_soon(contain, "commands", sync)
            try:
                await client.connect()
            except Exception as exc:  # noqa: BLE001 - raised below: the group would wrap it
                ended = exc
            finally:
                await _hang_up(client)
            connection.cancel_scope.cancel()
        raise ended or Disconnected("the connection ended without a reason")

    async def _pause(self, lost: Disconnected, tries: int) -> None:
        """Wait before the next client, longer each time while clients do not last."""
        self._progress.enter(Step.PAUSING)
        self._short_lives += 1
        usual = min(self._config.longest_pause, self._config.first_pause * 2.0 ** min(self._short_lives - 1, 16))
        pause = max(usual, self._logins.wait())
        # A traceback helps with what a malformed event raised, not with a network that is down.
        expected = isinstance(lost.__cause__, OSError | aiohttp.ClientError | discord.DiscordException)
        error = None if expected else lost
        log.warning("gateway.lost", error=str(lost), tries=tries, pause=round(pause, 1), exc_info=error)
        await anyio.sleep(pause)


def _silence(client: discord.Client) -> float | None:
    """Return for how many seconds nothing came, or None if the websocket is not open, or not greeted yet."""
    websocket: DiscordWebSocket | None = client.ws
    if websocket is None or not websocket.open or websocket._keep_alive is None:
        return None
    return time.perf_counter() - websocket._keep_alive._last_recv


async def _hang_up(client: discord.Client) -> None:
    """End the client's websockets and their heartbeat threads; requests in flight continue."""
    # The open one, and one whose login was broken off: discord.py forgets it, but its thread keeps running.
    threads = [thread for thread in threading.enumerate() if isinstance(thread, KeepAliveHandler)]
    websockets = {thread.ws for thread in threads if thread.ws._connection is client._connection}
    # discord.py says the websocket is always there; before the first connection it is None.
    websocket: DiscordWebSocket | None = client.ws
    if websocket is not None:
        websockets.add(websocket)
    # Shielded: an open websocket of a replaced client would keep receiving events.
    with anyio.move_on_after(CLOSE_LIMIT, shield=True):
        for one in websockets:
            await one.close(code=1000)


async def _close(client: discord.Client | None) -> None:
    if client is not None:
        with anyio.move_on_after(CLOSE_LIMIT, shield=True):
            await client.close()
