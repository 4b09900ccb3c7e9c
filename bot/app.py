"""The composition root: builds the parts, connects them, runs them, and takes them down in order.

Order of the end: no new messages, turns end with a word in their threads, last edits go out, agents end, Discord's
connection, and the store last.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import structlog

from acp.ladder import StopLimits, StopStage, end_strays
from bot import wiring
from bot.agents.launching import launcher_of, secret_values
from bot.chat.ends import ChatConfigError
from bot.chat.gateway import DiscordGateway
from bot.config import ConfigError, RunSettings, Settings, unknown_variables
from bot.files import user_name
from bot.log import Redactor, configure_logging
from bot.ops.address import AddressUnusable
from bot.ops.instance import DATABASE, STATE_MARKER, sole_instance
from bot.ops.look import Watched
from bot.ops.memory import give_back_large_blocks, leave_lasting_objects_alone
from bot.ops.notify import Supervisor
from bot.ops.watch import Watch, watching
from bot.reload import Reload
from bot.supervised import longest_stop, supervised
from bot.work.desk import ThreadDesk
from bot.work.ports import Desk
from bot.work.redacted import RedactedChat, RedactedDesk
from pool.pool import ConnectionPool
from pool.storage.durable import DurableStore, open_store
from pool.storage.model import FileTooNew

log = structlog.get_logger(__name__)

COMMAND_STAMP = "commands.sha256"


@dataclass(frozen=True, slots=True)
class Bot:
    """A running bot.

    Attributes:
        ready: set once Discord has told everything that it tells at the start.
        health: where the bot says how it is, if it does (`WEFT_HEALTH`).
    """

    desk: ThreadDesk
    pool: ConnectionPool
    gateway: DiscordGateway
    ready: anyio.Event
    health: str | None = None


@dataclass(frozen=True, slots=True)
class CommandStampFile:
    """Keeps over restarts which commands were registered last; see `bot.chat.commands`."""

    path: Path

    def read(self) -> str | None:
        """Return what was written last, if anything."""
        return self.path.read_text() if self.path.exists() else None

    def write(self, stamp: str) -> None:
        """Keep ``stamp``."""
        self.path.write_text(stamp)


@contextmanager
def held_state(settings: Settings) -> Iterator[str]:
    """Make the state directory and hold it; give the id of the state.

    Raises:
        ConfigError: it can't be made, or something in it belongs to somebody else.
        AlreadyRunning: another bot holds it.
    """
    with ExitStack() as stack:
        try:
            identity = stack.enter_context(sole_instance(settings.state_dir))
        except OSError as exc:
            what = f"{exc.filename or settings.state_dir} can't be made or written to by {user_name()}: {exc.strerror}"
            raise ConfigError(f"{settings.called('WEFT_STATE_DIR')}: {what}") from exc
        yield identity


@asynccontextmanager
async def kept_state(state_dir: Path) -> AsyncIterator[DurableStore]:
    """Open the store in the state directory.

    Raises:
        ConfigError: a newer version has written it.
    """
    try:
        async with open_store(state_dir / DATABASE) as store:
            yield store
    except FileTooNew as exc:
        raise ConfigError(str(exc)) from exc


@asynccontextmanager
async def watched(settings: Settings, redactor: Redactor) -> AsyncIterator[Watch]:
    """Say how the bot is while the body runs, if that is wanted.

    Raises:
        ConfigError: the address can't be listened on.
    """
    async with AsyncExitStack() as stack:
        try:
            watch = await stack.enter_async_context(watching(settings.health, redactor.text))
        except AddressUnusable as exc:
            raise ConfigError(f"{settings.called('WEFT_HEALTH')}: {exc}") from exc
        yield watch


@asynccontextmanager
async def running_bot(
    settings: Settings,
    wanted: RunSettings,
    redactor: Redactor | None = None,
    marker: Mapping[str, str] | None = None,
) -> AsyncIterator[Bot]:
    """Run the bot while the body runs; leaving takes it down in order.

    Args:
        marker: goes into the environment of every agent, so that a later run finds those that this one left.

    Raises:
        ConfigError: Discord refused the token or the intents; in a group, since the body is cut off.
    """
    redactor = redactor or Redactor(secrets(wanted))
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = CommandStampFile(settings.state_dir / COMMAND_STAMP)

    def capacity_changed() -> None:
        desk.admit()  # the pool and the desk know each other; the desk is made right below

    def agent_of(thread_id: int) -> str:
        return desk.assignments.of(thread_id)

    launcher = launcher_of(wanted.agents, wanted.environment, marker or {}, agent_of, settings.sessions_per_process)

    async with (
        watched(settings, redactor) as watch,
        kept_state(settings.state_dir) as store,
        anyio.create_task_group() as connection,
    ):
        gateway = DiscordGateway(wiring.chat_config(settings, wanted), stamp, seen=store, observer=watch.observer)
        limits = wiring.widened(wiring.pool_limits(settings), settings, wanted.agents)
        pool = ConnectionPool(launcher, store, limits, wiring.connection_limits(settings), on_change=capacity_changed)
        async with pool, anyio.create_task_group() as work:
            chat = RedactedChat(gateway.chat, redactor)
            desk = ThreadDesk(work, chat, pool, store, wiring.desk_limits(settings), redactor.text, wanted.agents)
            desk.may = gateway.may
            watch.begin(Watched(desk, pool, gateway, store, limits.maintenance))
            # Nothing starts before what people posted meanwhile was looked up: the gateway lets go.
            desk.hold()
            await desk.recover()
            connection.start_soon(_stay_connected, gateway, RedactedDesk(desk, redactor), name="gateway")
            try:
                yield Bot(desk, pool, gateway, gateway.ready, watch.address)
            finally:
                with anyio.CancelScope(shield=True):
                    await desk.shutdown()
                work.cancel_scope.cancel()
        gateway.close()


async def _stay_connected(gateway: DiscordGateway, desk: Desk) -> None:
    try:
        await gateway.run(desk)
    except ChatConfigError as exc:
        raise ConfigError(str(exc)) from exc


def secrets(wanted: RunSettings) -> list[str]:
    """Return what must be in no log and no message: the token, and what agents are given by name (R5)."""
    return [wanted.token, *secret_values(wanted.agents, wanted.environment)]


def run_bot(
    settings: Settings, wanted: RunSettings, load: Callable[[], Settings], supervisor: Supervisor | None = None
) -> int:
    """Run until SIGTERM or SIGINT; return the exit code. On SIGHUP, ``load`` reads the settings anew.

    Args:
        supervisor: hears how the bot fares, and may want to be told that it lives.

    Raises:
        ConfigError: Discord refused the token or the intents.
        AlreadyRunning: another bot works on this state.
    """
    redactor = Redactor(secrets(wanted))
    configure_logging(settings.log_level, settings.log_format, redactor)
    try:
        with held_state(settings) as identity:
            for problem in unknown_variables(settings, os.environ):
                log.warning("settings.unknown_variable", problem=problem)
            marker = {STATE_MARKER: identity}
            give_back_large_blocks()
            given = (settings, wanted, redactor, marker, load, supervisor or Supervisor())
            return anyio.run(functools.partial(_run_until_signal, *given))
    except* ConfigError as group:
        problems = [problem for error in leaves(group) for problem in error.problems]
        if supervisor is not None:
            supervisor.notifier.send(f"STATUS={redactor.text('; '.join(problems))}")
    raise ConfigError(*problems)


async def _run_until_signal(
    settings: Settings,
    wanted: RunSettings,
    redactor: Redactor,
    marker: Mapping[str, str],
    load: Callable[[], Settings],
    supervisor: Supervisor,
) -> int:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        for name, value in marker.items():
            report = await end_strays(name, value, StopLimits())
            if report.stage is not StopStage.GONE:
                log.warning("strays.ended", stage=str(report.stage), left=report.leaked_pids())
        async with anyio.create_task_group() as tasks:
            async with running_bot(settings, wanted, redactor, marker) as bot:
                tasks.start_soon(_settle_when_ready, bot.ready, name="settle")
                herald = supervised(tasks, bot, wiring.pool_limits(settings), supervisor)
                reload = Reload(settings, load, functools.partial(apply_settings, bot, redactor))
                try:
                    number = await _await_stop(signals, functools.partial(herald.reload, reload))
                    log.info("bot.stopping", signal=number.name)
                finally:
                    # Also when Discord refuses the bot for good: turns and agents then have their end, too.
                    now = reload.current
                    herald.stopping(longest_stop(wiring.desk_limits(now), wiring.pool_limits(now)))
                tasks.start_soon(_hurry_on_signal, signals, bot.desk, name="second signal")
            tasks.cancel_scope.cancel()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the process only has to leave: one more must not kill it
    return 0


async def _settle_when_ready(ready: anyio.Event) -> None:
    await ready.wait()
    leave_lasting_objects_alone()


async def _await_stop(signals: AsyncIterator[signal.Signals], reload: Callable[[], None]) -> signal.Signals:
    """Return the first signal that asks for the end; reload the settings at each SIGHUP before it."""
    async for number in signals:
        if number is not signal.SIGHUP:
            return number
        reload()
    raise AssertionError("the stream of signals never ends")


async def _hurry_on_signal(signals: AsyncIterator[signal.Signals], desk: ThreadDesk) -> None:
    async for number in signals:
        if number is not signal.SIGHUP:
            log.info("bot.hurried", signal=number.name)
            desk.hurry()


def apply_settings(bot: Bot, redactor: Redactor, settings: Settings) -> None:
    """Make settings take effect that a running bot can take over; see `bot.reload.LIVE`."""
    configure_logging(settings.log_level, settings.log_format, redactor)
    bot.gateway.allow(wiring.policy_of(settings))
    bot.desk.expel()
    bot.desk.limit(wiring.desk_limits(settings))
    bot.pool.widen(wiring.widened(wiring.pool_limits(settings), settings, bot.desk.assignments.agents).hung_after)


def leaves(group: BaseExceptionGroup[ConfigError]) -> list[ConfigError]:
    """Return the errors of a group, however deep they lie."""
    found: list[ConfigError] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
