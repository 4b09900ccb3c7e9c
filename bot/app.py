"""The composition root: builds the parts from the settings, runs them, reloads them, and takes them down in order.

Order of the end: no new messages, turns end with a word in their threads, last edits go out, agents end, Discord's
connection, and the store last. The mutable state is the settings in force.
"""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import anyio
import structlog
from anyio.abc import TaskGroup

from acp.mcp_servers import McpServer
from bot import derived_settings
from bot.agents.engines_running import RunningEngines, running_engines
from bot.agents.model import launcher_of, secret_values
from bot.agents.tool_access import ToolAccess
from bot.chat.fence import always
from bot.chat.gateway import ChatConfigError, DiscordGateway
from bot.config import ConfigError, Settings
from bot.files import user_name
from bot.log import configure_logging
from bot.mcp.listener import ToolListener
from bot.mcp.place import private_place
from bot.ops.address import AddressUnusable
from bot.ops.database_address import database_secrets
from bot.ops.instance import COMMAND_STAMP, DATABASE, STATE_MARKER, CommandStampFile, sole_instance
from bot.ops.snapshot import Watched
from bot.ops.watch import Watch, watching
from bot.preflight import NO_DRIVER, RunSettings, database_of
from bot.redaction import Redactor
from bot.work.dispatcher import Dispatcher
from bot.work.observer import Observer
from pool.engines.bot_run import BotRun
from pool.launcher import LauncherByName
from pool.pool import ConnectionPool
from pool.session_servers import SessionServers, new_key
from pool.storage.durable import SessionStore, open_store
from pool.storage.lease import Lease
from pool.storage.model import StateRefused

log = structlog.get_logger(__name__)

CONNECTION_CLOSE = 15.0
"""Seconds that Discord's connection and the store have for their ends, and a little."""

STORE_PATIENCE = 5.0
"""Seconds that a database which is away is waited for once the work is over."""

LIVE = frozenset(
    {
        "allowed_guilds",
        "allowed_channels",
        "allowed_users",
        "allowed_roles",
        "approver_roles",
        "forums",
        "liveness_interval",
        "max_files",
        "max_file_bytes",
        "hard_timeout",
        "cancel_grace",
        "permission_timeout",
        "stop_grace",
        "drain",
        "verbosity",
        "log_level",
    }
)
"""Settings that a reload puts in force, at once or with the next turn where they belong to a turn."""


@dataclass(frozen=True, slots=True)
class Bot:
    """A running bot.

    Attributes:
        ready: set once Discord has told everything that it tells at the start.
        health: where the bot says how it is, if it does (`WEFT_HEALTH`).
    """

    dispatcher: Dispatcher
    pool: ConnectionPool
    gateway: DiscordGateway
    ready: anyio.Event
    health: str | None = None


@contextmanager
def held_state(settings: Settings) -> Iterator[str]:
    """Make the state directory and hold it; give the id of the state.

    Raises:
        ConfigError: it can't be made, or something in it belongs to somebody else.
        AlreadyRunning: another bot holds it.
    """
    # Entered by hand: an OSError of the body must not be taken for one of the directory.
    with ExitStack() as stack:
        try:
            identity = stack.enter_context(sole_instance(settings.state_dir))
        except OSError as exc:
            what = f"{exc.filename or settings.state_dir} can't be made or written to by {user_name()}: {exc.strerror}"
            raise ConfigError(f"{settings.called('WEFT_STATE_DIR')}: {what}") from exc
        yield identity


@asynccontextmanager
async def kept_state(settings: Settings, epoch: Callable[[], int] | None = None) -> AsyncIterator[SessionStore]:
    """Open the store: in the state directory, or on the server that the settings name.

    Args:
        epoch: in which this process may write on the server; None: nobody else could.

    Raises:
        ConfigError: a person has to do something before it can be used, as when a newer version has written it.
        LeaseLost: another bot works on it.
    """
    limits, url = derived_settings.storage_limits(settings), database_of(settings)
    try:
        if url is None:
            async with open_store(settings.state_dir / DATABASE, limits) as store:
                yield store
            return
        try:
            # Here, as the driver is an extra that a bot with a file does not have.
            from pool.storage.postgres_ledger import open_database_store
        except ImportError as exc:
            raise ConfigError(f"{settings.called('WEFT_DATABASE_URL')}: {NO_DRIVER}") from exc
        async with open_database_store(url, limits, epoch) as store:
            yield store
    except StateRefused as exc:
        raise ConfigError(f"{settings.called('WEFT_DATABASE_URL')}: {exc}" if url else str(exc)) from exc


@asynccontextmanager
async def watched(settings: Settings, redactor: Redactor) -> AsyncIterator[Watch]:
    """Say how the bot is while the body runs, if that is wanted.

    Raises:
        ConfigError: the address can't be listened on.
    """
    # Entered by hand, as in `held_state`: what the body raises is not about the address.
    async with AsyncExitStack() as stack:
        try:
            watch = await stack.enter_async_context(watching(settings.health, redactor.text))
        except AddressUnusable as exc:
            raise ConfigError(f"{settings.called('WEFT_HEALTH')}: {exc}") from exc
        yield watch


@asynccontextmanager
async def tool_access(settings: Settings, marker: Mapping[str, str]) -> AsyncIterator[ToolAccess]:
    """Give the place of the socket by which agents reach their tools (M1).

    Raises:
        ConfigError: there is no directory for it.
    """
    with ExitStack() as stack:
        try:
            path = stack.enter_context(private_place(os.environ, settings.state_dir, marker.get(STATE_MARKER, "")))
        except AddressUnusable as exc:
            raise ConfigError(str(exc)) from exc
        yield ToolAccess(path, marker)


async def serve_tools(work: TaskGroup, path: Path, listener: ToolListener) -> None:
    """Take calls of agents' servers until the work ends; return once they can be made.

    Raises:
        ConfigError: the socket can't be made.
    """
    try:
        await work.start(listener.serve, path, name="tools")
    except AddressUnusable as exc:
        raise ConfigError(str(exc)) from exc


class _Later:
    """What the pool and its launcher ask of the dispatcher, which is made of them and so after them."""

    dispatcher: Dispatcher

    def capacity_changed(self) -> None:
        self.dispatcher.admit()

    def cut_off(self, thread_id: int) -> None:
        self.dispatcher.late_outputs.cut_off(thread_id)

    def agent_of(self, thread_id: int) -> str:
        return self.dispatcher.thread_settings.agent_of(thread_id)

    def home_of(self, thread_id: int) -> int:
        return self.dispatcher.thread_settings.home_of(thread_id)

    def project_of(self, thread_id: int) -> str | None:
        return self.dispatcher.thread_settings.project_name(thread_id)

    def servers_for(self, access: ToolAccess, thread_id: int, token: str) -> tuple[McpServer, ...]:
        return access.servers(self.dispatcher.thread_settings.profile_of(thread_id), token)

    async def prepare(self, thread_id: int) -> None:
        await self.dispatcher.projects.prepare(thread_id)


def _launcher(
    settings: Settings,
    wanted: RunSettings,
    marker: Mapping[str, str],
    state: str,
    later: _Later,
    access: ToolAccess,
    engines: RunningEngines,
) -> LauncherByName:
    return launcher_of(
        wanted.agents,
        wanted.environment,
        marker,
        later.agent_of,
        settings.sessions_per_process,
        later.home_of,
        later.project_of,
        later.prepare,
        access.places(),
        engines.engines,
        state,
    )


@asynccontextmanager
async def running_bot(
    settings: Settings,
    wanted: RunSettings,
    redactor: Redactor | None = None,
    marker: Mapping[str, str] | None = None,
    lease: Lease | None = None,
    watch: Watch | None = None,
) -> AsyncIterator[Bot]:
    """Run the bot while the body runs; leaving takes it down in order, or at once if the lease is lost.

    Args:
        marker: goes into the environment of every agent, so that a later run finds those that this one left.
        lease: on a state that several machines can work on; None: nobody else could.
        watch: looks at the bot, in place of one made here.

    Raises:
        ConfigError: Discord refused the token or the intents; in a group, since the body is cut off.
    """
    redactor, marker, later = redactor or Redactor(secrets(wanted)), marker or {}, _Later()
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Whoever has it can make no token of it, and what is left of a token without it is worth nothing.
    key = new_key()
    redactor.add([key])

    async with (
        # Left from the last to the first: the store closes after agents and Discord, which still have something to
        # write.
        tool_access(settings, marker) as access,
        nullcontext(watch) if watch is not None else watched(settings, redactor) as watch,
        kept_state(settings, None if lease is None else lambda: lease.epoch) as store,
        running_engines(wanted.agents, _run_of(lease)) as engines,
        anyio.create_task_group() as connection,
    ):
        gateway = _gateway(settings, wanted, redactor, store, watch.observer, lease)
        limits = derived_settings.widened(derived_settings.pool_limits(settings), settings, wanted.agents)
        # What runs on engines belongs to the state: whichever machine leads next has to find it.
        state = await store.identity() or marker.get(STATE_MARKER, "")
        launcher = _launcher(settings, wanted, marker, state, later, access, engines)
        sessions = SessionServers(functools.partial(later.servers_for, access), key)
        pool = ConnectionPool(
            launcher, store, limits, derived_settings.connection_limits(settings),
            on_change=later.capacity_changed, on_cut_off=later.cut_off, servers=sessions,
            nodes=lambda: engines.nodes, renew_nodes=engines.renew,
        )  # fmt: skip
        async with pool, anyio.create_task_group() as work:
            later.dispatcher = dispatcher = _dispatcher(
                work, gateway, pool, store, settings, wanted, watch.observer, redactor, launcher
            )
            if lease is not None:
                work.start_soon(_lose_with_store, lease, store, name="lease and store")
            watch.begin(Watched(dispatcher, pool, gateway, store, limits.maintenance))
            listener = ToolListener(sessions.find, dispatcher.tools.call, watch.observer)
            await _take_up(work, dispatcher, engines, state, access.socket, listener)
            # Not before: what waits from the last run has its place before Discord brings anything new.
            connection.start_soon(_stay_connected, gateway, dispatcher, name="gateway")
            try:
                yield Bot(dispatcher, pool, gateway, gateway.ready, watch.address)
            finally:
                await _take_down(dispatcher, gateway, store, lease)
                # Not before: turns and replies run in this group, and the end above lets them end by themselves.
                work.cancel_scope.cancel()
        gateway.close()


def _run_of(lease: Lease | None) -> BotRun:
    """Return the run to which agents on engines belong."""
    return BotRun() if lease is None else BotRun(epoch=lease.epoch, leads=lease.held)


def _gateway(
    settings: Settings,
    wanted: RunSettings,
    redactor: Redactor,
    store: SessionStore,
    observer: Observer,
    lease: Lease | None,
) -> DiscordGateway:
    stamp = CommandStampFile(settings.state_dir / COMMAND_STAMP)
    if lease is not None:
        stamp.forget()  # the one that led before may have registered others since
    may_send = lease.held if lease is not None else always
    config = derived_settings.chat_config(settings, wanted)
    return DiscordGateway(config, stamp, redactor, store=store, observer=observer, may_send=may_send)


def _dispatcher(
    work: TaskGroup,
    gateway: DiscordGateway,
    pool: ConnectionPool,
    store: SessionStore,
    settings: Settings,
    wanted: RunSettings,
    observer: Observer,
    redactor: Redactor,
    launcher: LauncherByName,
) -> Dispatcher:
    return Dispatcher(
        work, gateway.chat, pool, store, derived_settings.work_limits(settings), wanted.agents, observer,
        may=gateway.may,
        rights=gateway.rights,
        lookups=gateway.lookups,
        redact=redactor.text,
        transcriber=derived_settings.transcriber_of(settings, wanted),
        launcher=launcher,
        journals=settings.state_dir / "merges",
        mirrors=settings.state_dir / "remote",
    )  # fmt: skip


async def _take_up(
    work: TaskGroup,
    dispatcher: Dispatcher,
    engines: RunningEngines,
    state: str,
    socket: Path,
    listener: ToolListener,
) -> None:
    """Go on where an earlier run ended."""
    # 1. Before any agent is started: what an earlier run left may still work in a thread's directory.
    await engines.sweep(state)
    work.start_soon(engines.keep_sweeping, state, name="sweeps of engines")
    work.start_soon(engines.keep_looking, name="engines")
    # 2. Before any agent is started, which may call at once.
    await serve_tools(work, socket, listener)
    # 3. Nothing starts before what people posted meanwhile was looked up: the gateway lets go.
    dispatcher.hold()
    await dispatcher.recover()


async def _take_down(dispatcher: Dispatcher, gateway: DiscordGateway, store: SessionStore, lease: Lease | None) -> None:
    """End the work in order for as long as this bot leads; without the lease there is nothing left to say or write."""
    # Shielded, as a body that was cut off gets here as well. Each step of the end has its own limit.
    with anyio.CancelScope(shield=True):
        async with anyio.create_task_group() as ending:
            if lease is not None:
                ending.start_soon(_break_off, lease, gateway, store, ending.cancel_scope)
            if lease is None or lease.held():
                await dispatcher.shutdown()
                ending.cancel_scope.cancel()
    # What is shielded may wait for a database that is away; nobody would end that wait later.
    store.leave(STORE_PATIENCE)


async def _break_off(lease: Lease, gateway: DiscordGateway, store: SessionStore, work: anyio.CancelScope) -> None:
    await lease.lost.wait()
    # In this order: nothing more is said, then nothing more is written, and only then does the work notice.
    gateway.close()
    store.leave(0)
    work.cancel()


async def _lose_with_store(lease: Lease, store: SessionStore) -> None:
    await store.lost.wait()
    lease.lose("another bot works on the state")


async def _stay_connected(gateway: DiscordGateway, dispatcher: Dispatcher) -> None:
    try:
        await gateway.run(dispatcher)
    except ChatConfigError as exc:
        raise ConfigError(str(exc)) from exc


def secrets(wanted: RunSettings) -> list[str]:
    """Return what must be in no log and no message: the token, the database's password, what agents are given (R5)."""
    database = database_secrets(wanted.database_url) if wanted.database_url else []
    if wanted.database_url and (password := wanted.environment.get("PGPASSWORD")):
        database.append(password)  # the driver takes it from there
    return [wanted.token, *database, *secret_values(wanted.agents, wanted.environment)]


# --- a reload -----------------------------------------------------------------------------------------------------


class Reload:
    """Reads the settings anew at SIGHUP: what can change without losing a turn does, and what can't is named.

    Attributes:
        current: the settings in force.

    Args:
        load: reads the settings anew.
        apply: makes settings take effect, of which only those in `LIVE` differ from the ones before.
    """

    def __init__(self, current: Settings, load: Callable[[], Settings], apply: Callable[[Settings], None]) -> None:
        self.current = current
        self._load = load
        self._apply = apply

    def __call__(self) -> None:
        """Read the settings and apply what can be; settings that are not valid change nothing."""
        try:
            wanted = self._load()
        except ConfigError as exc:
            # All or nothing: what is valid in a file with a mistake may make sense only together with the rest.
            log.warning("settings.not_reloaded", problems=exc.problems)
            return
        changed = changed_names(self.current, wanted)
        live = sorted(changed & LIVE)
        if live:
            # The rest stays as it is in force, so that each later reload names it again.
            self.current = self.current.model_copy(update={name: getattr(wanted, name) for name in live})
            self._apply(self.current)
        log.info("settings.reloaded", changed=live, need_a_restart=sorted(changed - LIVE))


def changed_names(before: Settings, after: Settings) -> frozenset[str]:
    """Return the names of the settings that differ."""
    return frozenset(name for name in Settings.model_fields if getattr(before, name) != getattr(after, name))


def apply_settings(bot: Bot, redactor: Redactor, settings: Settings) -> None:
    """Make settings take effect that a running bot can take over; see `LIVE`."""
    configure_logging(settings.log_level, settings.log_format, redactor)
    # In this order: who waits is judged by the new lists.
    bot.gateway.allow(derived_settings.policy_of(settings))
    bot.dispatcher.expel()
    bot.dispatcher.limit(derived_settings.work_limits(settings))
    limits = derived_settings.pool_limits(settings)
    # The net under hung turns has to stay wider than the turns that were just made longer (P6).
    bot.pool.widen(derived_settings.widened(limits, settings, bot.dispatcher.thread_settings.agents).hung_after)
