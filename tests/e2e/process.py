"""``weft run`` as a process of its own, with a loopback Discord in the test: started, watched, signalled, run again."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import anyio
import anyio.abc

from bot.sandbox import FakeDiscord
from bot.sandbox.audit import Problem
from tests import warm
from tests.agents import ScriptedAgent, Step, alive
from tests.commands import WEFT, environment
from tests.e2e.play import LIMIT
from tests.warm import WarmProcess

END_LIMIT = 30.0
"""Seconds from a signal to the end: the bounds of the turn, the last edits and the agents, with a noisy machine."""

HANG: list[Step] = [{"text": "so far"}, {"hang": True}]


@dataclass(slots=True)
class Run:
    """The bot's process."""

    process: anyio.abc.Process | WarmProcess
    log_path: Path

    @property
    def said(self) -> str:
        """What it wrote to stderr."""
        return self.log_path.read_text()

    def plain_lines(self) -> list[str]:
        """The lines for people."""
        return [line for line in self.said.splitlines() if not line.startswith("{")]

    def events(self) -> list[dict[str, Any]]:
        """The lines for machines; each must be JSON."""
        return [json.loads(line) for line in self.said.splitlines() if line.startswith("{")]

    async def logged(self, event: str) -> None:
        """Wait until an event is logged; the caller bounds the wait."""
        while event not in self.said:  # noqa: ASYNC110  another process writes the log
            await anyio.sleep(0.01)

    async def ended(self) -> int:
        """Wait for the end by itself and return the exit code."""
        with anyio.fail_after(LIMIT):
            return await self.process.wait()

    async def signalled(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code, which has to come soon."""
        self.process.send_signal(number)
        with anyio.fail_after(END_LIMIT):
            return await self.process.wait()


async def start_cold(
    arguments: Sequence[str], cwd: Path, env: Mapping[str, str], stdin: BinaryIO, stderr: BinaryIO
) -> anyio.abc.Process:
    """Start the program as its users do, for what is about that."""
    return await anyio.open_process([*WEFT, *arguments], cwd=cwd, env=env, stdin=stdin, stderr=stderr)


async def start_warm(
    arguments: Sequence[str], cwd: Path, env: Mapping[str, str], stdin: BinaryIO, stderr: BinaryIO
) -> WarmProcess:
    """Fork a program that has imported all it needs."""
    return warm.start(arguments, cwd, env, stdin.fileno(), stderr.fileno())


START: Callable[..., Awaitable[anyio.abc.Process | WarmProcess]] = start_warm


def _source(path: str) -> Path:
    return Path(path or os.devnull)


@asynccontextmanager
async def run(
    directory: Path, api: str, token: str, agent: ScriptedAgent, *options: str, stdin: str = "", **more: str
) -> AsyncIterator[Run]:
    """Run the bot in ``directory`` until left; a second run there works on the same state.

    ``options`` go to the command, and the file ``stdin`` is its standard input.
    No agent may live afterwards, unless the bot was killed: then the next start ends them.
    """
    settings = {
        "DISCORD_TOKEN": token,
        "WEFT_DISCORD_API": api,
        "WEFT_AGENT_COMMAND": shlex.join(agent.argv),
        "WEFT_WORKSPACE": str(directory),
        "WEFT_EDIT_INTERVAL": "0.02",
        "WEFT_DRAIN": "0.05",
        "WEFT_CANCEL_GRACE": "1",
        "WEFT_STOP_GRACE": "0",
        "WEFT_DEBOUNCE": "0",
        "WEFT_REACTIONS": "false",
        "WEFT_WELCOME": "false",
        "WEFT_USER_MESSAGES": "0",
    }
    log_path, source = directory / "stderr", _source(stdin)
    variables = environment(directory, **(settings | more))
    with log_path.open("wb") as log, source.open("rb") as file, anyio.fail_after(LIMIT + END_LIMIT):
        process = await START(["run", *options], directory, variables, file, log)
        async with process:
            try:
                yield Run(process, log_path)
            finally:
                if process.returncode is None:
                    process.kill()
    if process.returncode != -signal.SIGKILL:
        assert [pid for pid in agent.pids() if alive(pid)] == []


@asynccontextmanager
async def connected(
    directory: Path, agent: ScriptedAgent, *, allow: Collection[int | str | Problem] = (), **more: str
) -> AsyncIterator[tuple[FakeDiscord, Run]]:
    """Run the bot until it is ready, and the test; it may have broken no rule of Discord's but those ``allow``ed."""
    async with FakeDiscord() as discord, run(directory, discord.api_url, discord.token, agent, **more) as bot:
        with anyio.fail_after(LIMIT):
            await discord.ready.wait()
        yield discord, bot
        discord.assert_clean(allow)


async def mention(discord: FakeDiscord, text: str) -> int:
    return (await discord.owner.say(discord.channel_id, text, mention_bot=True)).id


def shown(discord: FakeDiscord, thread_id: int) -> str:
    if all(thread.id != thread_id for thread in discord.threads()):
        return ""
    return "\n".join(message.content for message in discord.messages(thread_id))


async def until_shown(discord: FakeDiscord, thread_id: int, text: str) -> None:
    await discord.wait_for(lambda _: text in shown(discord, thread_id), timeout=LIMIT)


def first_lines(discord: FakeDiscord, thread_id: int) -> list[str]:
    """Return the first line of each of Weft's messages in a thread."""
    bot = discord.bot_user.id
    return [message.content.split("\n")[0] for message in discord.messages(thread_id) if message.author_id == bot]


async def until_answered(discord: FakeDiscord, thread_id: int, text: str) -> None:
    """Wait until Weft has said ``text`` with a footer below; the line of a turn that runs begins with a sign."""
    # Between them stand the tools that have finished.
    end = re.compile(re.escape(text) + r"(?:\n-# ✓ .*)*\n-# \d")
    await discord.wait_for(lambda _: end.search(shown(discord, thread_id)), timeout=LIMIT)


def rows(directory: Path, statement: str) -> list[tuple[Any, ...]]:
    """Read the bot's database."""
    with closing(sqlite3.connect(f"file:{directory}/state/weft/weft.db?mode=ro", uri=True)) as database:
        return database.execute(statement).fetchall()


async def until_rows(directory: Path, statement: str, wanted: list[tuple[Any, ...]]) -> None:
    """Wait until the bot's database answers so."""
    with anyio.fail_after(LIMIT):
        while rows(directory, statement) != wanted:  # noqa: ASYNC110  another process writes the file
            await anyio.sleep(0.01)


async def status(discord: FakeDiscord) -> str:
    """Give the /status command in the channel; return what it answers."""
    await discord.wait_for(lambda fd: fd.commands, timeout=LIMIT)
    answer = await discord.owner.slash(discord.channel_id, "status")
    return str((answer.response or {}).get("content"))
