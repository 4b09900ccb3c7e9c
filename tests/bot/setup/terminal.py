"""``weft`` in a terminal of its own, as a person has it: what it shows is read, what is typed is written."""

from __future__ import annotations

import os
import pty
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio

from tests import warm
from tests.commands import LIMIT, environment

CTRL_C = b"\x03"


class Terminal:
    """The person's side.

    Attributes:
        shown: all that was on the screen so far.
    """

    def __init__(self, fd: int, process: warm.WarmProcess) -> None:
        self._fd, self._process = fd, process
        self._seen = 0
        self.shown = ""

    async def expect(self, text: str) -> None:
        """Read on until ``text`` comes, behind what was expected before; its lines may be broken elsewhere."""
        wanted = re.compile(re.escape(text).replace("\\ ", r"\s+"))
        with anyio.move_on_after(LIMIT):
            while not wanted.search(self.shown, self._seen):
                if not await self._more():
                    break
        found = wanted.search(self.shown, self._seen)
        assert found, f"{text!r} did not come: {self.shown[self._seen :]}"
        self._seen = found.end()

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self._fd, f"{text}\n".encode())

    async def interrupt(self) -> int:
        """Press Ctrl-C, again each second as people do, and return the exit code.

        A signal that comes just before Python begins to wait for a line is noticed with the next one only.
        """

        async def press() -> None:
            while True:
                os.write(self._fd, CTRL_C)
                await anyio.sleep(1)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(press)
            code = await self.end()
            tasks.cancel_scope.cancel()
        return code

    async def answer(self, question: str, line: str) -> None:
        await self.expect(question)
        self.type(line)

    async def end(self) -> int:
        """Read the rest and return the exit code."""
        with anyio.fail_after(LIMIT):
            while await self._more():
                pass
            return await self._process.wait()

    async def _more(self) -> bool:
        await anyio.wait_readable(self._fd)
        try:
            read = os.read(self._fd, 65536)
        except OSError:  # nobody holds its other side any more
            return False
        self.shown += read.decode().replace("\r\n", "\n")
        return bool(read)


@asynccontextmanager
async def terminal(directory: Path, *arguments: str, **settings: str) -> AsyncIterator[Terminal]:
    """Run a command in ``directory``, in a terminal of 100 columns."""
    ours, its = pty.openpty()
    try:
        env = environment(directory, COLUMNS="100", **settings)
        process = warm.start(arguments, directory, env, its, its, its)
        os.close(its)
        its = -1
        async with process:
            yield Terminal(ours, process)
    finally:
        os.close(ours)
        with suppress(OSError):
            os.close(its)
