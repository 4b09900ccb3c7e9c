"""What tests of isolation share: an agent that looks for what it should not see, and leaves a daemon behind."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
import psutil

from bot.sandbox import FakeDiscord, Message
from tests.agents import ScriptedAgent, Step, scenario
from tests.e2e.play import LIMIT
from tests.e2e.process import END_LIMIT, Run, run

PROBE = """
token="{head}""{tail}"
{{
    if env | grep -q "$token"; then echo token in its own environment; fi
    if [ -n "$CREDENTIALS_DIRECTORY" ]; then echo directory of credentials; fi
    if grep -aqs "$token" /proc/[0-9]*/environ; then echo token in an environment; fi
    if cat /proc/{bot}/environ >/dev/null 2>&1; then echo environment of the bot; fi
    if grep -qs "$token" "{credentials}/discord-token"; then echo credential; fi
    if ls /proc/{bot}/fd/ >/dev/null 2>&1; then echo files of the bot; fi
    if grep -rqs "$token" "{state}"; then echo token in the state; fi
    if ls "{state}" 2>/dev/null | grep -qvx mcp; then echo state; fi
}} >"{out}.part"
mv "{out}.part" "{out}"
"""
"""The five paths: own environment, the bot's, the credential, the bot's open files, the state.

Of the state, an agent may see the directory of the socket that its tools are reached by, and nothing beside it.
"""

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Walled:
    """A bot with one agent behind a wrapper, and the agent's workspace, which both see."""

    directory: Path
    workspace: Path
    discord: FakeDiscord
    bot: Run
    nap: str

    async def probe(self) -> list[str]:
        """Let the agent look for the token by all paths; return what it found."""
        out, token = self.workspace / "found", self.discord.token
        half = len(token) // 2
        text = PROBE.format(
            head=token[:half],
            tail=token[half:],
            bot=self.bot.process.pid,
            credentials=self.directory / "credentials",
            state=self.directory / "state" / "weft",
            out=out,
        )
        (self.workspace / "probe.sh").write_text(text)
        await self.ask("probe")
        return out.read_text().splitlines()

    async def ask(self, text: str) -> int:
        """Mention Weft and wait for the agent's answer; return the thread."""
        thread_id = (await self.discord.owner.say(self.discord.channel_id, text, mention_bot=True)).id
        await self.discord.wait_for(
            lambda fd: any(f"{text} is done" in one.content and "\n-# " in one.content for one in _said(fd, thread_id)),
            timeout=LIMIT,
        )
        return thread_id

    def napping(self) -> list[psutil.Process]:
        """The daemons that the agent left behind, wherever they hang."""
        return _processes(self.nap)

    def agents(self) -> list[psutil.Process]:
        """The agent's processes, and those that wrap it."""
        return [one for one in _processes(str(self.workspace)) if one.pid != os.getpid()]

    async def until_gone(self) -> None:
        """Wait until nothing of the agent lives."""
        with anyio.fail_after(END_LIMIT):
            while self.napping() or self.agents():  # noqa: ASYNC110  the kernel sends no event
                await anyio.sleep(0.02)


def _said(discord: FakeDiscord, thread_id: int) -> list[Message]:
    return list(discord.messages(thread_id)) if any(one.id == thread_id for one in discord.threads()) else []


def _processes(word: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and any(word in one for one in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def works(*argv: str) -> str:
    """Say why a program does nothing here, or nothing."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError:
        return f"{argv[0]} is not there"
    return "" if done.returncode == 0 else f"{argv[0]} can't be used here: {done.stderr.strip()}"


@asynccontextmanager
async def walled(
    directory: Path, workspace: Path, wrapper: Sequence[str], program: Sequence[str] = (), **start: bool
) -> AsyncIterator[Walled]:
    """Run a bot whose agent is behind a wrapper. ``start``: as in a scenario."""
    nap = f"31536{next(_numbers)}.{os.getpid()}"
    words: dict[str, list[Step]] = {
        "probe": [
            {"spawn_shell": f"sh {workspace}/probe.sh"},
            {"wait_file": f"{workspace}/found"},
            {"text": "probe is done"},
        ],
        # Without a mark in its environment, and nobody's child: only its namespace tells whose it is.
        "leave": [
            {"spawn_shell": f"env -i setsid sh -c 'sleep {nap} & echo > {workspace}/left'"},
            {"wait_file": f"{workspace}/left"},
            {"text": "leave is done"},
        ],
        "hello": [{"text": "hello is done"}],
        "tools": [
            {"call": {}, "then": {"ok": [{"text": "It has {result}. "}]}},
            {"call": {"tool": "read_thread", "sdk": True}, "then": {"ok": [{"text": "It reads. "}]}},
            {"text": "tools is done"},
        ],
    }
    agent = scenario(workspace, words=words, start=start)
    command = [*(program or agent.argv[:-1]), agent.argv[-1]]
    (directory / "weft.toml").write_text(
        f"[agents.walled]\ncommand = {command!r}\nworkspace = '{workspace}'\nwrapper = {list(wrapper)!r}\n"
    )
    more = {"WEFT_AGENT_COMMAND": "", "CREDENTIALS_DIRECTORY": str(directory / "credentials")}
    nobody = ScriptedAgent((), directory / "none")  # its processes have other ids inside than outside
    async with FakeDiscord() as discord:
        (directory / "credentials").mkdir(mode=0o700)
        (directory / "credentials" / "discord-token").write_text(discord.token)
        async with run(directory, discord.api_url, discord.token, nobody, **more) as bot:
            with anyio.fail_after(LIMIT):
                await discord.ready.wait()
            walled_bot = Walled(directory, workspace, discord, bot, nap)
            try:
                yield walled_bot
            finally:
                for process in [*walled_bot.napping(), *walled_bot.agents()]:
                    with suppress(psutil.Error):  # it may end together with another one
                        process.kill()
