"""One run of the bot's process: it holds its state, waits until it leads, works until a signal, and says how it ended.

What the bot consists of stands in `bot.app`, what a standby does in `bot.ops.standby`. The mutable state is the
settings in force.
"""

from __future__ import annotations

import functools
import os
import platform
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import anyio
import structlog
from anyio.abc import TaskGroup

from acp.errors import leaves
from acp.shutdown import StopLimits, StopStage, end_strays
from bot import version
from bot.app import CONNECTION_CLOSE, Bot, Reload, apply_settings, held_state, running_bot, secrets, watched
from bot.config import EX_LEASE_LOST, ConfigError, Settings, unknown_variables
from bot.derived_settings import pool_limits, work_limits
from bot.log import configure_logging
from bot.ops.hardening import give_back_large_blocks, leave_lasting_objects_alone
from bot.ops.health import problems
from bot.ops.instance import STATE_MARKER, own_temporary_files
from bot.ops.snapshot import vitals
from bot.ops.standby import Standby, led
from bot.ops.supervisor import Figures, Supervisor, SupervisorNotifier, Watchdog
from bot.ops.watch import Watch
from bot.preflight import RunSettings
from bot.redaction import Redactor
from bot.work.dispatcher import Dispatcher
from bot.work.limits import WorkLimits
from pool.model import PoolLimits
from pool.storage.lease import Lease
from pool.storage.model import LeaseLost

log = structlog.get_logger(__name__)


def run_bot(
    settings: Settings, wanted: RunSettings, load: Callable[[], Settings], supervisor: Supervisor | None = None
) -> int:
    """Run until SIGTERM or SIGINT; return the exit code. On SIGHUP, ``load`` reads the settings anew.

    Args:
        supervisor: hears what the bot is doing, and may expect signs of life.

    Raises:
        ConfigError: Discord refused the token or the intents.
        AlreadyRunning: another bot works on this state.
    """
    # Before the first line of the log.
    redactor = Redactor(secrets(wanted))
    configure_logging(settings.log_level, settings.log_format, redactor)
    try:
        with held_state(settings) as identity, own_temporary_files(settings.state_dir):
            log.info("bot.started", version=version.full(), python=platform.python_version())
            for problem in unknown_variables(settings, os.environ):
                log.warning("settings.unknown_variable", problem=problem)
            marker = {STATE_MARKER: identity}
            give_back_large_blocks()
            given = (settings, wanted, redactor, marker, load, supervisor or Supervisor())
            return anyio.run(functools.partial(_run_until_signal, *given))
    # The groups are those of the tasks below; the caller wants the error itself.
    except* ConfigError as group:
        problems = [problem for error in leaves(group) for problem in error.problems]
        if supervisor is not None:
            supervisor.notifier.send(f"STATUS={redactor.text('; '.join(problems))}")
    # Not within the clause: what is raised there comes as a group again.
    raise ConfigError(*problems)


async def _run_until_signal(
    settings: Settings,
    wanted: RunSettings,
    redactor: Redactor,
    marker: Mapping[str, str],
    load: Callable[[], Settings],
    supervisor: Supervisor,
) -> int:
    # Around everything: a signal that comes while nobody asks for one is kept until somebody does.
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        for name, value in marker.items():
            # Before any agent starts: two that work in one directory spoil it (P9).
            report = await end_strays(name, value, StopLimits())
            if report.stage is not StopStage.GONE:
                log.warning("strays.ended", stage=str(report.stage), left=report.leaked_pids())
        async with watched(settings, redactor) as watch, anyio.create_task_group() as tasks:
            run = _Run(signals, tasks, wanted, redactor, marker, load, supervisor, watch)
            code = await run.to_its_end(settings)
            # These tasks wait for signals and for losses, and never end by themselves.
            tasks.cancel_scope.cancel()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the process only has to leave: one more must not kill it
    return code


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of the bot: it waits until it leads, works, and ends by a signal or when it leads no more."""

    signals: AsyncIterator[signal.Signals]
    tasks: TaskGroup
    wanted: RunSettings
    redactor: Redactor
    marker: Mapping[str, str]
    load: Callable[[], Settings]
    supervisor: Supervisor
    watch: Watch

    async def to_its_end(self, settings: Settings) -> int:
        """Return the exit code."""
        standby, early = Standby(self.supervisor, self.watch, self.redactor), anyio.CancelScope()
        reload = Reload(settings, self.load, self._configure_logging)
        lease: Lease | None = None
        with anyio.CancelScope() as life:
            self.tasks.start_soon(self._leave_early, early, life, standby, reload, name="early signals")
            try:
                async with led(self.wanted.database_url, standby, self.marker) as lease:
                    if lease is not None:
                        self.tasks.start_soon(_end_when_lost, lease, life, name="lease lost")
                    # Those of now: a reload may come while the bot is made, and then `_serve` has to catch up with it.
                    known = reload.current
                    start = running_bot(known, self.wanted, self.redactor, self.marker, lease, self.watch)
                    async with start as bot:
                        early.cancel()
                        # From here on `_serve` takes the signals: with two who take them, each would miss some.
                        standby.begun()
                        await self._serve(bot, known, changed=reload.current is not known)
            except Exception as exc:
                if lease is None or not (lease.lost.is_set() or _says_lost(exc)):
                    raise
                # Cut off wherever it was: what failed by that is no fault.
                lease.lose("another bot works on the state")
                log.info("bot.broken_off", error=repr(exc))
        if lease is None or not lease.lost.is_set():
            return 0
        log.error("bot.leads_no_more", reason=lease.why)
        return EX_LEASE_LOST

    async def _leave_early(
        self, early: anyio.CancelScope, life: anyio.CancelScope, standby: Standby, reload: Reload
    ) -> None:
        """Take the signals until the bot has begun: it may wait for its lease for days."""
        with early:
            async for number in self.signals:
                if number is not signal.SIGHUP:
                    log.info("bot.stopping", signal=number.name)
                    self.supervisor.notifier.send("STOPPING=1")
                    life.cancel()
                    return
                with standby.reloading():
                    reload()

    def _configure_logging(self, settings: Settings) -> None:
        configure_logging(settings.log_level, settings.log_format, self.redactor)

    async def _serve(self, bot: Bot, settings: Settings, *, changed: bool) -> None:
        """Work until a signal; ``changed``: the settings are others by now than those that the bot was made with."""
        # Once the servers have been told of: what comes with them lasts as long as the bot.
        self.tasks.start_soon(_settle_when_ready, bot.ready, name="settle")
        notifier = supervise(self.tasks, bot, pool_limits(settings), self.supervisor)
        reload = Reload(settings, self.load, functools.partial(apply_settings, bot, self.redactor))
        if changed:
            reload()
        try:
            async for number in self.signals:
                if number is not signal.SIGHUP:
                    log.info("bot.stopping", signal=number.name)
                    break
                with notifier.reloading():
                    reload()
        finally:
            # Even when Discord refuses the bot for good: turns and agents then have their end, too.
            now = reload.current
            notifier.stopping(longest_stop(work_limits(now), pool_limits(now)))
        # Only now, when nobody else takes signals; the orderly end begins when this returns.
        self.tasks.start_soon(_hurry_on_signal, self.signals, bot.dispatcher, name="second signal")


def _says_lost(error: Exception) -> bool:
    found = leaves(error) if isinstance(error, ExceptionGroup) else [error]
    return any(isinstance(one, LeaseLost) for one in found)


async def _end_when_lost(lease: Lease, life: anyio.CancelScope) -> None:
    await lease.lost.wait()
    life.cancel()


async def _settle_when_ready(ready: anyio.Event) -> None:
    await ready.wait()
    leave_lasting_objects_alone()


async def _hurry_on_signal(signals: AsyncIterator[signal.Signals], dispatcher: Dispatcher) -> None:
    async for number in signals:
        if number is not signal.SIGHUP:
            log.info("bot.hurried", signal=number.name)
            dispatcher.hurry()


def supervise(tasks: TaskGroup, bot: Bot, limits: PoolLimits, supervisor: Supervisor) -> SupervisorNotifier:
    """Report to the supervisor what the bot is doing, and send it signs of life where it wants them (R3)."""

    def figures() -> Figures:
        pool = bot.pool.counts()
        return Figures(
            bot.gateway.connected, pool.live + pool.starting + pool.closing, pool.limit, bot.dispatcher.running
        )

    def fault() -> str | None:
        # At the end the parts go one by one; what bounds them is the time that the supervisor gives to the stop.
        if notifier.stops:
            return None
        return "; ".join(problems(vitals(bot.gateway, bot.pool, limits.maintenance))) or None

    notifier = SupervisorNotifier(supervisor.notifier, figures, fault)
    tasks.start_soon(notifier.run, bot.ready, name="supervisor notifier")
    if supervisor.watchdog is not None:
        watchdog = Watchdog(supervisor.notifier, supervisor.watchdog, fault)
        tasks.start_soon(watchdog.run, name="watchdog")
    return notifier


def longest_stop(dispatcher: WorkLimits, pool: PoolLimits) -> float:
    """Return how many seconds the orderly end takes at most (R1)."""
    return dispatcher.stop_grace + dispatcher.stop_bound + dispatcher.flush_bound + pool.close_bound + CONNECTION_CLOSE
