"""The scene of a measurement: the loopback Discord here, the bot in a process of its own, the agents below the bot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process

from bot.sandbox import FakeDiscord, Fault, Message, RateLimits
from scripts.benchmarks.stats import stamps

ROOT = Path(__file__).resolve().parents[2]
AGENT = Path(__file__).with_name("agent.py")
ALWAYS = 10**9
LOOK = 0.01  # seconds between two looks at what sends no event
LIMIT = 90.0
STOP_LIMIT = 30.0
CLOSING, WORKING = "-# ", "⏳"

Report = dict[str, Any]


@dataclass(slots=True)
class Scene:
    """A running bot, and what a measurement does and looks at; ``started`` is when the bot's process was made."""

    discord: FakeDiscord
    process: Process
    directory: Path
    started: float
    _reports: int = 0
    first: Report = field(default_factory=dict)

    async def report(self) -> Report:
        """Have the bot write a report; it begins a new window."""
        self.process.send_signal(signal.SIGUSR1)
        return await self.next_report()

    async def next_report(self) -> Report:
        """Wait for the report that comes next."""
        self._reports += 1
        await until(lambda: self._read().get("number", 0) >= self._reports)
        return self._read()

    def _read(self) -> Report:
        if self.process.returncode is not None:
            raise RuntimeError(f"the bot ended with status {self.process.returncode}")
        path = self.directory / "report.json"
        found: Report = json.loads(path.read_text()) if path.exists() else {}
        return found

    async def mention(self, text: str) -> int:
        """Ask in the channel; return the thread's id."""
        return (await self.discord.owner.say(self.discord.channel_id, text, mention_bot=True)).id

    async def thread(self) -> int:
        """Make a thread with a live agent that has answered once."""
        thread = await self.mention("bench:hi")
        await self.ended(thread)
        return thread

    async def say(self, thread: int, text: str) -> int:
        """Write in a thread; return the message's id."""
        return (await self.discord.owner.say(thread, text)).id

    def replies(self, thread: int, after: int = 0) -> list[Message]:
        """What the bot has posted in a thread after a message."""
        bot, channels = self.discord.bot_user.id, self.discord.state.channels
        messages = self.discord.messages(thread) if thread in channels else []
        return [one for one in messages if one.author_id == bot and one.id > after]

    def over(self, thread: int, after: int = 0) -> bool:
        """Whether an answer is over: its last message ends with a line that does not tell of work any more."""
        replies = self.replies(thread, after)
        if not replies or replies[-1].components:
            return False
        text = replies[-1].content
        return bool(stamps(text)) and CLOSING in text and WORKING not in text

    async def ended(self, thread: int, after: int = 0) -> None:
        """Wait until an answer is over."""
        await until(lambda: self.over(thread, after))

    def timeline(self, thread: int, after: int = 0) -> list[tuple[float, str]]:
        """What became visible after a message in a thread, in order of time."""
        states = [state for one in self.replies(thread, after) for state in self.discord.timeline(one.id)]
        return sorted(states)


async def until(holds: Callable[[], object], limit: float = LIMIT, look: float = LOOK) -> None:
    """Wait until something holds."""
    with anyio.fail_after(limit):
        while not holds():  # noqa: ASYNC110  another process does it
            await anyio.sleep(look)


@asynccontextmanager
async def scene(
    *, limits: RateLimits = RateLimits.REAL, round_trip: float = 0.0, lane: int | None = None, **settings: Any
) -> AsyncIterator[Scene]:
    """Run the bot with the measuring agent until left.

    Args:
        round_trip: seconds that each request waits before it takes effect.
        lane: how many turns run at once; the bot's own choice if not given.
        settings: of the bot, by the names of its fields.
    """
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as temporary:
        directory = Path(temporary)
        async with FakeDiscord(rate_limits=limits) as discord:
            if round_trip:
                for method in ("POST", "PATCH", "PUT", "DELETE"):
                    discord.faults.next(method, "", Fault.delay(round_trip), times=ALWAYS)
            environment = _environment(
                discord, directory, settings | ({} if lane is None else {"lane_main": lane, "lane_background": 1})
            )
            async with _running(directory, environment) as (process, started):
                running = Scene(discord, process, directory, started)
                running.first = await running.next_report()
                yield running


@asynccontextmanager
async def _running(directory: Path, environment: dict[str, str]) -> AsyncIterator[tuple[Process, float]]:
    argv = [sys.executable, "-m", "scripts.benchmarks.probed", str(directory / "report.json")]
    with (directory / "log").open("wb") as log:
        started = time.monotonic()
        process = await anyio.open_process(
            argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield process, started
    except BaseException:
        sys.stderr.write((directory / "log").read_text()[-2000:])
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
    with anyio.move_on_after(STOP_LIMIT):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()


def _environment(discord: FakeDiscord, directory: Path, settings: dict[str, Any]) -> dict[str, str]:
    workspace = directory / "workspace"
    workspace.mkdir()
    agent = f"{sys.executable} -I -S {AGENT} {directory}"
    own = {name: value for name, value in os.environ.items() if not name.startswith(("WEFT_", "DISCORD_"))}
    fixed = {
        "DISCORD_TOKEN": discord.token,
        "WEFT_DISCORD_API": discord.api_url,
        "WEFT_AGENT_COMMAND": agent,
        "WEFT_WORKSPACE": str(workspace),
        "WEFT_STATE_DIR": str(directory / "state"),
        "WEFT_LOG_FORMAT": "json",
        # Nobody writes in rows here, and one person writes for many.
        "WEFT_DEBOUNCE": "0",
        "WEFT_USER_MESSAGES": "0",
    }
    return own | fixed | {f"WEFT_{name.upper()}": str(value) for name, value in settings.items()}
