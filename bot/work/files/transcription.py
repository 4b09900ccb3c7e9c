"""Makes text of a voice message, by a program of whoever runs Weft: a file's path in, text out.

The program gets a copy that only this user can reach, as what lies in a workspace may be exchanged by others meanwhile.
It runs in its own process session, which is ended with it, and sees no more of the environment than agents do.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.abc
import anyio.to_thread
import structlog

from bot.programs import running

MOST_BYTES = 256 * 1024
"""Of a transcript."""

log = structlog.get_logger(__name__)


class NotTranscribed(Exception):
    """There is no transcript; the message says why, for people."""


@dataclass(frozen=True, slots=True)
class Transcriber:
    """Runs the program.

    Attributes:
        command: the path of the sound goes behind it.
        environment: all that the program sees.
        timeout: seconds.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 120.0

    async def transcribe(self, sound: BinaryIO, name: str, left: float = inf) -> str:
        """Return what is said in a sound; ``name`` is safe, and its ending may tell the program what it gets.

        Args:
            left: seconds until somebody stops waiting, if that is sooner than `timeout`.

        Raises:
            NotTranscribed: the program failed, said nothing, or took too long.
        """
        try:
            with tempfile.TemporaryDirectory(prefix="weft-voice-", ignore_cleanup_errors=True) as directory:
                path = Path(directory, name)
                await anyio.to_thread.run_sync(_copy, sound, path)
                with anyio.fail_after(min(left, self.timeout)):
                    text = await self._run(path)
        except TimeoutError as exc:
            before = "the voice messages before it took too long"
            raise NotTranscribed(before if left < self.timeout else f"it took longer than {self.timeout:g} s") from exc
        except OSError as exc:
            log.warning("transcriber.not_started", error=str(exc))
            raise NotTranscribed("the program for it could not be started") from exc
        if not text.strip():
            raise NotTranscribed("nothing was understood")
        return text.strip()

    async def _run(self, path: Path) -> str:
        async with running(
            [*self.command, str(path)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=path.parent,
            env=self.environment,
        ) as process:
            output = await _read(process)
            code = await process.wait()
        if code != 0:
            log.warning("transcriber.failed", exit_code=code)
            raise NotTranscribed("it failed")
        return output.decode(errors="replace")


async def _read(process: anyio.abc.Process) -> bytes:
    assert process.stdout is not None
    output = bytearray()
    async for chunk in process.stdout:
        output += chunk
        if len(output) > MOST_BYTES:
            raise NotTranscribed("its transcript is too long")
    return bytes(output)


def _copy(sound: BinaryIO, path: Path) -> None:
    sound.seek(0)
    with path.open("xb") as copy:
        shutil.copyfileobj(sound, copy)
