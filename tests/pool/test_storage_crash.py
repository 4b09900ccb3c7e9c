"""The store in a process that is killed, and the state of a disk that lost its power."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pool.storage import database
from pool.storage.decisions import Decisions
from pool.storage.operations import All
from pool.store import OpenPrompt
from tests.repeat import long_run

ROOT = Path(__file__).parents[2]

WRITER = """
import os, sys
from pathlib import Path
import anyio
from tests.pool.storage_child import write
anyio.run(write, Path(sys.argv[1]), 1, sys.stdout.fileno())
"""


@contextmanager
def child(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said_by_a_killed_writer(process: subprocess.Popen[str], seed: int, first: int) -> list[str]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{seed} {first}\n")
    process.stdin.flush()
    words: list[str] = json.loads(process.stdout.readline())
    return words


def ids(words: list[str], kind: str) -> set[int]:
    return {int(word[1:]) for word in words if word.startswith(kind)}


def found(path: Path) -> tuple[set[int], set[int], set[int]]:
    """Open the file as the bot does and as anybody would; return the ids that are accepted, finished, decided about."""
    file = database.open_file(path, database.connect, 1)
    every, decisions = (answer.value for answer in file.apply([All(OpenPrompt), Decisions(100_000)]))
    open_ids, decided = {each.prompt.message_id for each in every}, {each.prompt_id for each in decisions}
    file.close()
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = other.execute("SELECT message_id, finished_at IS NOT NULL FROM prompts").fetchall()
    finished = {message_id for message_id, over in rows if over}
    assert open_ids == {message_id for message_id, _ in rows} - finished
    return {message_id for message_id, _ in rows}, finished, decided


def test_no_acknowledged_row_is_lost_to_a_kill(tmp_path: Path) -> None:
    """R6, C5: SIGKILL at random points, over and over on the same file; nothing that was shown is lost."""
    kill_writers(tmp_path, range(30))


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(4))
def test_no_acknowledged_row_is_lost_to_many_kills(tmp_path: Path, part: int) -> None:
    """R6"""
    kill_writers(tmp_path, range((part + 1) * 100, (part + 1) * 100 + long_run(100, 12)))


def kill_writers(tmp_path: Path, seeds: Iterable[int]) -> None:
    path = tmp_path / "state.db"
    accepted: set[int] = set()
    finished: set[int] = set()
    decided: set[int] = set()
    with child("-m", "tests.pool.storage_child", str(path)) as process:
        for seed in seeds:
            words = said_by_a_killed_writer(process, seed, max(accepted, default=0) + 100)
            assert words
            accepted |= ids(words, "a")
            finished |= ids(words, "f")
            decided |= ids(words, "d")
            there, over, told = found(path)
            assert accepted <= there
            assert finished <= over
            assert decided <= told
    assert finished
    assert decided


def power_cut(path: Path, pid: int, target: Path) -> None:
    """Copy the file and its log as they are at one moment."""
    os.kill(pid, signal.SIGSTOP)
    try:
        os.waitpid(pid, os.WUNTRACED)
        for suffix in ("", "-wal"):
            shutil.copy(database.beside(path, suffix), database.beside(target, suffix))
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.soak
def test_a_copy_of_any_moment_opens_and_holds_what_was_acknowledged_before_it(tmp_path: Path) -> None:
    """R6: what a loss of power leaves; also with the end of the log missing, or full of noise."""
    rng, path = random.Random(1), tmp_path / "state.db"
    said: list[str] = []
    with child("-c", WRITER, str(path)) as process:
        assert process.stdout is not None
        for moment in range(30):
            said += [process.stdout.readline().strip() for _ in range(rng.randint(1, 100))]
            target = tmp_path / f"{moment}.db"
            power_cut(path, process.pid, target)
            torn = tmp_path / f"{moment}-torn.db"
            shutil.copy(target, torn)
            log = database.beside(target, "-wal").read_bytes()
            cut = rng.randint(0, len(log))
            database.beside(torn, "-wal").write_bytes(log[:cut] + rng.randbytes(rng.choice([0, 5000])))
            there, over, told = found(target)
            assert ids(said, "a") <= there
            assert ids(said, "f") <= over
            assert ids(said, "d") <= told
            assert found(torn)[0] <= there
