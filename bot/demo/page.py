"""``weft demo``: the page in the browser, with the loopback Discord behind it and the bot in a process beside it.

Light, so that the page answers at once: of the bot nothing is imported here. What people write before the bot is
connected waits for it. Everything is made in one temporary directory, which is gone at the end, as is every process.
"""

from __future__ import annotations

import errno
import functools
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click
from anyio import CancelScope
from anyio.abc import Process

from bot.demo.assignment import Assignment
from bot.demo.bot_keeper import BotKeeper, Refused, started_bot
from bot.demo.chosen_agent import agent_or_leave
from bot.ops.address import fits
from bot.ops.hardening import deny_process_inspection
from bot.usage import fail

if TYPE_CHECKING:
    from bot.demo.cast import Cast
    from bot.sandbox import FakeDiscord, RateLimits

REQUESTS_KEPT = 1000
"""Open for days, with an answer that is edited each second, all of them would fill the memory."""

_PREFIX = "weft-demo-"
_SIGNALLED = 128  # what a shell adds to a signal's number


@dataclass(frozen=True, slots=True)
class PageStage:
    """The page's Discord, who is there, and the bot."""

    discord: FakeDiscord
    cast: Cast
    keeper: BotKeeper


def show_page(argv: tuple[str, ...] | None, port: int, *, open_browser: bool) -> int:
    """Serve the page until a signal; return the exit code. A port or an agent that can't be used is named in a line."""
    deny_process_inspection()  # here is what makes anybody act as anybody
    problems: list[str] = []
    try:
        code = anyio.run(_until_signal, agent_or_leave(argv), port, open_browser, problems)
    except* BrokenPipeError:
        code = None
    if code is None:  # raised out of its groups: click knows it as the end of all output
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    if problems:
        fail(*problems)
    return code


async def _until_signal(argv: tuple[str, ...], port: int, open_browser: bool, problems: list[str]) -> int:
    code = 0
    hurried = anyio.Event()

    async def listen(scope: CancelScope) -> None:
        nonlocal code
        async for number in signals:
            if scope.cancel_called:
                hurried.set()  # the second one
            code = code or _SIGNALLED + number
            scope.cancel()

    # One that `nohup` has it ignore stays ignored.
    hangups = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    heard = [signal.SIGINT, signal.SIGTERM, *hangups]
    # Before anything is made, so that from here on all of it goes in order, whenever the signal comes.
    with (
        anyio.open_signal_receiver(*heard) as signals,
        tempfile.TemporaryDirectory(prefix=_PREFIX, dir=_short_base(), ignore_cleanup_errors=True) as root,
    ):
        async with anyio.create_task_group() as watch:
            with CancelScope() as serving:
                watch.start_soon(listen, serving)
                await _serve(argv, port, open_browser, Path(root), hurried, problems)
            watch.cancel_scope.cancel()
    for number in heard:
        signal.signal(number, signal.SIG_IGN)  # the process only has to leave: one more must not kill it
    return code


def _short_base() -> str:
    """Return where the temporary directory is made: the bot's socket has to fit into it, or a kill would leave it."""
    usual = tempfile.gettempdir()
    return usual if fits(Path(usual, f"{_PREFIX}xxxxxxxx", "state", "mcp", "socket")) else "/tmp"  # noqa: S108  private


async def _serve(
    argv: tuple[str, ...], port: int, open_browser: bool, root: Path, hurried: anyio.Event, problems: list[str]
) -> None:
    try:
        async with page_stage(argv, root, port=port, hurried=hurried) as on_stage:
            url = on_stage.discord.page_url
            click.echo(f"Weft's demo is open at {url} (Ctrl-C ends it).")
            if open_browser and sys.stdout.isatty() and has_display():
                # Not with the key: an agent could read it in the list of processes, and allow itself everything.
                await _open(on_stage.discord.one_time_url())
            else:
                await anyio.sleep_forever()
    except PortUnusable as exc:
        problems.append(f"--port {port}: {exc}")


class PortUnusable(Exception):
    """The port can't be listened on."""


@asynccontextmanager
async def page_stage(
    argv: tuple[str, ...],
    root: Path,
    *,
    port: int = 0,
    hurried: anyio.Event | None = None,
    rate_limits: RateLimits | None = None,
) -> AsyncIterator[PageStage]:
    """Run Discord with its page, and the bot, until left; the page answers when the body begins, the bot comes later.

    Args:
        root: an empty directory, in which everything is made.
        hurried: once it is set, the end has no patience with the bot.
        rate_limits: Discord's own, if not given.

    Raises:
        PortUnusable: before anything was started that lasts.
    """
    async with started_bot() as process:
        # Imported here, while the bot's process does most of its own imports.
        from bot.sandbox import FakeDiscord, RateLimits

        discord = FakeDiscord(rate_limits=rate_limits or RateLimits.REAL, port=port, requests_kept=REQUESTS_KEPT)
        try:
            # By hand, so that an OSError of the body is not taken for one of the port.
            await discord.__aenter__()
        except OSError as exc:
            raise PortUnusable(exc.strerror) from exc
        try:
            async with _on_stage(discord, process, argv, root, hurried or anyio.Event()) as on_stage:
                yield on_stage
        finally:
            await discord.__aexit__(None, None, None)


@asynccontextmanager
async def _on_stage(
    discord: FakeDiscord, process: Process, argv: tuple[str, ...], root: Path, hurried: anyio.Event
) -> AsyncIterator[PageStage]:
    from bot.demo.cast import CHARACTERS, make_cast
    from bot.demo.tour import TOUR

    cast = make_cast(discord)
    for person, character in zip(cast.people, CHARACTERS, strict=True):
        discord.introduce(person, role=character.role, note=character.note)
    discord.tour = [one.to_json() for one in TOUR]
    # The token goes through the pipe: command lines and environments are shown to every process of the user.
    keeper = BotKeeper(process, _assignment(discord, cast, argv, root), functools.partial(_tell, discord), hurried)
    _add_controls(discord, keeper)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keeper.run)
        yield PageStage(discord, cast, keeper)
        # The bot ends before its Discord does.
        tasks.cancel_scope.cancel()


def _assignment(discord: FakeDiscord, cast: Cast, argv: tuple[str, ...], root: Path) -> Assignment:
    return Assignment(
        token=discord.token,
        api_url=discord.api_url,
        mark=secrets.token_hex(16),
        root=str(root),
        argv=argv,
        agent_env=tuple(os.environ.get("WEFT_AGENT_ENV", "").replace(",", " ").split()),
        guild_id=discord.guild_id,
        channels=cast.channels,
        forums=(cast.forum,),
        users=(cast.team,),
        approvers=(cast.approver,),
    )


def _tell(discord: FakeDiscord, text: str) -> None:
    """Tell people what is wrong with the bot, on the page and in the terminal."""
    discord.announce(text)
    if text:
        click.echo(f"weft: {text}", err=True)


def _add_controls(discord: FakeDiscord, keeper: BotKeeper) -> None:
    from bot.sandbox import Control, ControlError

    async def restart(_on: bool | None, _channel_id: int | None) -> str:
        return await keeper.restart()

    async def kill(_on: bool | None, _channel_id: int | None) -> str:
        try:
            return await keeper.kill()
        except Refused as exc:
            raise ControlError(str(exc)) from exc

    async def kill_agent(_on: bool | None, channel_id: int | None) -> str:
        if channel_id is None:
            raise ControlError("Open the thread whose agent is meant.")
        try:
            return await keeper.kill_agent(channel_id)
        except Refused as exc:
            raise ControlError(str(exc)) from exc

    for control in (
        Control("restart-bot", "Restart the bot", "Ends it in order, and starts it again.", "Bot", restart),
        Control("kill-bot", "Kill the bot", "Its process dies at once, as in a crash; another starts.", "Bot", kill),
        Control("kill-agent", "Kill the agent", "The agent of the open thread dies at once.", "Bot", kill_agent),
    ):
        discord.add_control(control)


# --- the browser -----------------------------------------------------------------------------------------------------


def has_display() -> bool:
    """Whether a browser could show itself here."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


async def _open(url: str) -> None:
    """Open the page in the browser, if there is one; never returns."""
    # In a separate process, as some wait for the browser's end. Without a TERM no text browser takes the terminal.
    environment = {name: value for name, value in os.environ.items() if name != "TERM"}
    await anyio.run_process(
        [sys.executable, "-P", "-m", "webbrowser", "-t", url],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        check=False,
    )
    await anyio.sleep_forever()
