"""The life of the demo's bot: from its assignment to the end of the requests, on a state that outlives it.

It is what ``weft run`` does, with settings that are read from no environment. Each start on the same state goes on with
what an earlier one left, however that one ended.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL
from typing import Any

import anyio
import orjson
from anyio import to_thread

from acp.errors import leaves
from acp.shutdown import StopLimits, end_strays, find, send_signal, survey
from bot.app import Bot, held_state, kept_state, running_bot, secrets
from bot.config import ConfigError, Settings
from bot.demo.assignment import LINE_LIMIT, Assignment, Line, encode
from bot.demo.bot_keeper import LAST_LIMIT
from bot.demo.page_agents import page_agents
from bot.demo.stage import stage_settings
from bot.log import configure_logging
from bot.ops.hardening import deny_process_inspection, leave_lasting_objects_alone
from bot.ops.instance import DATABASE, STATE_MARKER, AlreadyRunning, own_temporary_files
from bot.preflight import RunSettings
from bot.redaction import Redactor
from pool.store import SeenPlace

_LEVELS = ("debug", "info", "warning", "error")


def quiet_level() -> str:
    """Return the level that ``WEFT_LOG_LEVEL`` names, else that of errors: the demo's terminal is for people."""
    level = os.environ.get("WEFT_LOG_LEVEL", "").lower()
    return level if level in _LEVELS else "error"


def run(requests: int, answers: int) -> int:
    """Run the bot until the requests end; they and the answers are descriptors. Return the exit code."""
    deny_process_inspection()  # as under `weft run`
    lines, problems = Lines(requests, answers), list[str]()
    try:
        anyio.run(_live, lines)
    except* (ConfigError, AlreadyRunning) as group:
        problems += [problem for error in leaves(group) for problem in getattr(error, "problems", (str(error),))]
    if problems:
        lines.say(failed="; ".join(problems))
    return 1 if problems else 0


class Lines:
    """The two ends of the pipes; the mutable state is what was read beyond the last line."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests = requests
        self._answers = answers
        self._rest = b""

    def say(self, **line: Any) -> None:
        """Write a line; the pipe takes it at once, as the other side reads all the time."""
        with suppress(BrokenPipeError):  # the other side is gone, and its end of the requests tells that
            os.write(self._answers, encode(line))

    async def read(self) -> AsyncIterator[Line]:
        """Yield the requests until they end."""
        while True:
            await anyio.wait_readable(self._requests)
            data = os.read(self._requests, LINE_LIMIT)
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                yield orjson.loads(line)
            if not data:
                return


async def _live(lines: Lines) -> None:
    requests = lines.read()
    # Only the first line; the rest is read by `_work`, with the same iterator.
    async for first in requests:
        await _work(Assignment.from_line(first), lines, requests)
        return  # nothing more is read: an orderly end comes before the end of the pipe


async def _work(assignment: Assignment, lines: Lines, requests: AsyncIterator[Line]) -> None:
    # Who reads this line knows that an end has to be in order from here on.
    lines.say(begun=True)
    settings = _settings(assignment)
    with held_state(settings), own_temporary_files(settings.state_dir):
        # A bot that was killed has left its agents.
        await end_strays(STATE_MARKER, assignment.mark, StopLimits())
        await _know_places(assignment, settings)
        agents, problem = await page_agents(assignment, settings)
        if problem:
            lines.say(note=problem)
        wanted = RunSettings(assignment.token, agents)
        redactor = Redactor(secrets(wanted))
        configure_logging(quiet_level(), "auto", redactor)
        if quiet_level() == "error":
            # A connection that is lost is an error to discord.py, and something to try out here.
            logging.getLogger("discord").setLevel(logging.CRITICAL)
        async with (
            running_bot(settings, wanted, redactor, {STATE_MARKER: assignment.mark}) as bot,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(_tell_when_ready, bot, lines)
            async for request in requests:
                if "end" in request:
                    break
                tasks.start_soon(_answer, bot, lines, request)
            else:
                # Nobody is there any more, and perhaps no Discord: its last words would be waited for in vain.
                bot.dispatcher.hurry()
                # Not awaited: it strikes only if the orderly end takes too long.
                _leave_in_time(assignment.mark)
            tasks.cancel_scope.cancel()


def _leave_in_time(mark: str) -> None:
    """End this process and its agents by force after a moment."""

    def leave() -> None:
        anyio.run(end_strays, STATE_MARKER, mark, StopLimits())
        os._exit(1)

    # A separate thread, as the end of the bot is shielded against everything in its loop.
    timer = threading.Timer(LAST_LIMIT, leave)
    timer.daemon = True
    timer.start()


def _settings(assignment: Assignment) -> Settings:
    return stage_settings(
        Path(assignment.root),
        token=assignment.token,
        api_url=assignment.api_url,
        argv=assignment.argv,
        agent_env=assignment.agent_env,
        allowed_roles=assignment.users,
        approver_roles=assignment.approvers,
        forums=assignment.forums,
        direct_messages=True,
    )


async def _know_places(assignment: Assignment, settings: Settings) -> None:
    """Have the first start look up what was written before it, in every channel.

    People may write as soon as the page is there. A bot reads on where it has been before, and here that is everywhere.
    """
    # Only at the first start: later ones know from the state how far they have read.
    if (settings.state_dir / DATABASE).exists():
        return
    places = [SeenPlace(one, assignment.guild_id, seen=one) for one in assignment.channels]
    async with kept_state(settings) as store:
        await store.see(places)


async def _tell_when_ready(bot: Bot, lines: Lines) -> None:
    await bot.ready.wait()
    lines.say(ready=True)
    leave_lasting_objects_alone()


async def _answer(bot: Bot, lines: Lines, request: Line) -> None:
    number, thread_id = request["request"], request["kill_agent"]
    status = bot.pool.status(thread_id)
    if status is None or status.pid is None:
        lines.say(answer=number, problem="No agent runs in this thread. Ask it for something first.")
        return
    # Listed before the first signal: what it has started would be nobody's descendant afterwards.
    members = await to_thread.run_sync(functools.partial(survey, find(status.pid), ""))
    killed = send_signal(members, SIGKILL)
    lines.say(answer=number, text=f"Killed the agent ({killed} {'process' if killed == 1 else 'processes'}).")
