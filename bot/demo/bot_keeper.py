"""Keeps the demo's bot running, in its own process: starts it, and again when that is asked for, and ends it.

Light: the process that serves the page imports nothing of the bot. The mutable state is the process that runs now, what
was asked of it, and whether its end is wanted.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from anyio import CancelScope
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from bot.demo.assignment import LINE_LIMIT, Assignment, Line, encode

BOT = (sys.executable, "-P", "-m", "bot.demo.bot_process")

END_LIMIT = 10.0
"""Seconds in which a bot has to end in order; its turns are cut off at once, so that it takes far less."""

LAST_LIMIT = 2.0
"""The same for the last of them: its last words wait for Discord's limits, and nobody is there to read them."""

ANSWER_LIMIT = 5.0
"""Seconds in which it has to answer a request."""


class Refused(Exception):
    """It can't be done now; the text says why, to a person."""


class BotProcess:
    """One life of the bot.

    Attributes:
        begun: whether it has begun to work: before that nothing is lost with it.
        ready: set once it is connected.
        failure: why it could not start, if it said so.
        ended: set once it is gone.
    """

    def __init__(self, process: Process, note: Callable[[str], None]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._lines = BufferedByteReceiveStream(process.stdout)
        self._note = note
        self._numbers = itertools.count(1)
        self._answers: dict[int, Line] = {}
        self._answered = anyio.Event()
        self.begun = False
        self.ready = anyio.Event()
        self.failure = ""
        self.ended = anyio.Event()

    async def tell(self, line: Line) -> None:
        """Write it a line; one that is about to end need not read it."""
        try:
            await self._stdin.send(encode(line))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return  # its end is noticed by `follow`

    async def follow(self) -> None:
        """Take what it says until it has nothing more to say."""
        while True:
            try:
                data = await self._lines.receive_until(b"\n", LINE_LIMIT)
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                return
            self._take(json.loads(data))

    def _take(self, line: Line) -> None:
        if "answer" in line:
            # Kept even if nobody waits any more: there are as many as buttons were pressed.
            self._answers[line["answer"]] = line
            self._answered.set()
            self._answered = anyio.Event()
        elif "note" in line:
            self._note(line["note"])
        elif "failed" in line:
            self.failure = line["failed"]
        elif "begun" in line:
            self.begun = True
        elif "ready" in line:
            self.ready.set()

    async def ask(self, **request: Any) -> str:
        """Return the answer to a request.

        Raises:
            Refused: it can't do that, or does not answer.
        """
        # By number: an answer that comes too late must not be taken for that of the next request.
        number = next(self._numbers)
        await self.tell({"request": number, **request})
        with anyio.move_on_after(ANSWER_LIMIT):
            while number not in self._answers:
                await self._answered.wait()
        answer = self._answers.pop(number, {"problem": "The bot does not answer."})
        if "problem" in answer:
            raise Refused(answer["problem"])
        return str(answer["text"])

    async def hang_up(self) -> None:
        """Have it end soon; at once as long as it has not begun."""
        if self.begun:
            # The end of its input is the word to end in order: see `bot_life`.
            await self._stdin.aclose()
        else:
            self.kill()

    def kill(self) -> None:
        """Kill it, and nothing of what it has started."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def gone(self) -> int:
        """Wait for its end; return its exit code, or less than 0 for the signal that killed it."""
        code = await self._process.wait()
        self.ended.set()
        # After the event: closing pipes may take a moment, and nobody need wait for that.
        await self._process.aclose()
        return code


@asynccontextmanager
async def started_bot() -> AsyncIterator[Process]:
    """Start a process that gets ready to be the bot, and see that it is gone at the end."""
    # Shielded: one that was just started must not be forgotten.
    with CancelScope(shield=True):
        process = await anyio.open_process(
            BOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
            # Ctrl-C in the terminal is for this process, which ends the bot in order.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with CancelScope(shield=True):
            with suppress(ProcessLookupError):
                process.kill()
            await process.aclose()


class BotKeeper:
    """Keeps the bot running until cancelled.

    Args:
        first: the process of the first bot.
        tell: takes a sentence for people on what is wrong with the bot, or nothing if all is well.
        hurried: once it is set, there is no patience with the end of a bot.
    """

    def __init__(
        self, first: Process, assignment: Assignment, tell: Callable[[str], None], hurried: anyio.Event
    ) -> None:
        self._assignment = assignment
        self._tell = tell
        self._hurried = hurried
        self._bot = BotProcess(first, self._take_note)
        self._again = anyio.Event()
        self._note = ""

    async def run(self) -> None:
        """Follow the first bot, and start another whenever one has ended and that was wanted."""
        code = await self._live(self._bot)
        while True:
            if not self._again.is_set():
                # Not by itself: what made it fail once would make it fail for ever.
                why = self._bot.failure
                what = f"The bot could not start: {why}" if why else f"The bot has ended by itself (exit status {code})"
                self._tell(f"{what.rstrip('.')}. Choose “Restart the bot” to try again.")
                await self._again.wait()
            # Before the start: what is asked for from here on is about the next bot.
            self._again = anyio.Event()
            self._tell(self._note)
            async with started_bot() as process:
                self._bot = BotProcess(process, self._take_note)
                code = await self._live(self._bot)

    async def _live(self, bot: BotProcess) -> int:
        """See one bot through to its end, however that comes; return the exit code."""
        try:
            await bot.tell(self._assignment.to_line())
            await bot.follow()
        except anyio.get_cancelled_exc_class():
            await self._end(bot, LAST_LIMIT)
            raise
        return await self._end(bot, END_LIMIT)

    def _take_note(self, text: str) -> None:
        self._note = text
        self._tell(text)

    async def _end(self, bot: BotProcess, limit: float) -> int:
        """End a bot in order, or by force after a while or when that is wanted; leave nothing that it has started."""
        code = -1
        async with anyio.create_task_group() as tasks:
            tasks.cancel_scope.shield = True  # bounded, by the limit
            tasks.start_soon(self._kill_when_hurried, bot)
            with anyio.move_on_after(limit):
                await bot.hang_up()
                code = await bot.gone()
            if not bot.ended.is_set():
                bot.kill()
                code = await bot.gone()
            # In an orderly end the bot has ended its agents itself.
            if code != 0 and bot.begun:
                await self._end_agents()
            tasks.cancel_scope.cancel()
        return code

    async def _kill_when_hurried(self, bot: BotProcess) -> None:
        await self._hurried.wait()
        bot.kill()

    async def _end_agents(self) -> None:
        # Imported here: nearly always it is not needed.
        from acp.shutdown import StopLimits, end_strays
        from bot.ops.instance import STATE_MARKER

        await end_strays(STATE_MARKER, self._assignment.mark, StopLimits())

    async def restart(self) -> str:
        """End the bot in order and start it again; return a sentence for a person."""
        bot = self._bot
        # Before its end, or `run` would take that for one that nobody wanted.
        self._again.set()
        if bot.ended.is_set():
            return "The bot starts."
        await bot.tell({"end": True})
        with anyio.move_on_after(END_LIMIT if bot.begun else 0):
            await bot.ended.wait()
        bot.kill()
        return "The bot has ended in order and starts again. What was asked meanwhile is answered then."

    async def kill(self) -> str:
        """Kill the bot's process and start another; return a sentence for a person.

        Raises:
            Refused: none runs.
        """
        bot = self._running()
        self._again.set()
        bot.kill()
        await bot.ended.wait()
        return "The bot's process was killed, as by a crash, and another one starts. Nothing that was accepted is lost."

    async def kill_agent(self, thread_id: int) -> str:
        """Kill the agent of a thread, with all that it has started; return a sentence for a person.

        Raises:
            Refused: none runs there.
        """
        return await self._running().ask(kill_agent=thread_id)

    def _running(self) -> BotProcess:
        if self._bot.ended.is_set():
            raise Refused("The bot does not run. Choose “Restart the bot” first.")
        return self._bot
