"""Transcripts of voice messages, by a program that may do anything."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import anyio
import pytest

from bot.work.files.transcription import MOST_BYTES, NotTranscribed, Transcriber
from tests.agents import alive

pytestmark = pytest.mark.asyncio


def program(script: str, timeout: float = 10.0) -> Transcriber:
    return Transcriber((sys.executable, "-c", script), {"PATH": "/usr/bin:/bin"}, timeout)


async def test_the_program_gets_a_file_and_its_output_is_the_text() -> None:
    """F6: with the ending that says what it is, for this user alone, and nothing of it stays."""
    script = (
        "import os, sys; path = sys.argv[-1]; "
        "print(path, oct(os.stat(os.path.dirname(path)).st_mode), open(path).read(), sorted(os.environ))"
    )
    text = await program(script).transcribe(io.BytesIO(b"sound"), "voice-message.ogg")
    path, mode, *rest = text.split(" ", 3)
    assert (Path(path).name, mode, rest) == ("voice-message.ogg", "0o40700", ["sound", rest[1]])
    assert "DISCORD_TOKEN" not in rest[1]
    assert not Path(path).parent.exists()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import sys; print('half'); sys.exit(3)", "failed"),
        ("print('  ')", "nothing was understood"),
        (f"print('x' * {MOST_BYTES + 1})", "too long"),
        ("import time; time.sleep(100)", "took longer than"),
        ("import os; os.close(1); import time; time.sleep(100)", "took longer than"),
    ],
)
async def test_whatever_the_program_does_there_is_a_reason(script: str, reason: str) -> None:
    """F6"""
    timeout = 0.3 if "sleep" in script else 10.0
    with anyio.fail_after(30), pytest.raises(NotTranscribed, match=reason):
        await program(script, timeout).transcribe(io.BytesIO(b"sound"), "a.ogg")


async def test_a_program_that_is_not_there_is_a_reason() -> None:
    """F6"""
    with pytest.raises(NotTranscribed, match="could not be started"):
        await Transcriber(("/not/there",)).transcribe(io.BytesIO(b"sound"), "a.ogg")


async def test_a_stop_leaves_no_process_behind(tmp_path: Path) -> None:
    """F6, T6"""
    pids = tmp_path / "pids"
    script = (
        "import os, subprocess, time; child = subprocess.Popen(['sleep', '100']); "
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}\\n'); time.sleep(100)"
    )
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(program(script).transcribe, io.BytesIO(b"sound"), "a.ogg")
            while not (pids.exists() and pids.read_text().endswith("\n")):  # noqa: ASYNC110
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        for pid in map(int, pids.read_text().split()):
            while alive(pid):  # noqa: ASYNC110  the kernel sends no event
                await anyio.sleep(0.01)
