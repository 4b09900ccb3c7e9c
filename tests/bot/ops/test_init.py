"""The first process of a container, as bubblewrap starts one: with a process namespace in which it has the number 1."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BWRAP = shutil.which("bwrap")
NAMESPACE = [BWRAP or "", "--unshare-pid", "--as-pid-1", "--dev-bind", "/", "/", "--proc", "/proc", "--"]
works = BWRAP and subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0

pytestmark = pytest.mark.skipif(not works, reason="bubblewrap can't make namespaces here")

PARTED = "import os, signal, sys, time\nfrom bot.ops.init import part_from_init\npart_from_init({shortest})\n"
ORPHANS = """
def zombies():
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            state = open(f"/proc/{name}/stat").read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state[0] == "Z":
            yield int(name)

read, write = os.pipe()
for _ in range(20):
    if (child := os.fork()) == 0:
        if os.fork() == 0:
            os.read(read, 1)  # until its parent has ended
        os._exit(0)
    os.waitpid(child, 0)
os.write(write, b"x" * 20)
deadline = time.monotonic() + 20
while (left := [name for name in os.listdir("/proc") if name.isdigit() and int(name) > os.getpid()]):
    assert time.monotonic() < deadline, (left, list(zombies()))
    time.sleep(0.01)
print(os.getpid(), os.getppid())
"""
WAIT = """
expected = (signal.SIGTERM, signal.SIGHUP)
signal.pthread_sigmask(signal.SIG_BLOCK, expected)  # or one that comes just before the wait would be missed
print("ready", flush=True)
while True:
    number = signal.sigwait(expected)
    print(number.name, flush=True)
    if number == signal.SIGTERM:
        sys.exit(5)
"""


@contextmanager
def first_process(code: str, shortest: float = 0.0) -> Iterator[subprocess.Popen[str]]:
    """Run code after it has parted from the first process of its namespace; gives out bubblewrap, its parent."""
    command = [*NAMESPACE, sys.executable, "-P", "-c", PARTED.format(shortest=shortest) + code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def inside(process: subprocess.Popen[str]) -> int:
    """Return the id, outside of the namespace, of its first process."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


def test_processes_whose_parents_have_ended_are_taken_in() -> None:
    with first_process(ORPHANS) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "2 1\n", "")


def test_signals_are_passed_on_and_the_exit_code_comes_back() -> None:
    with first_process(WAIT, shortest=600) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for number in (signal.SIGHUP, signal.SIGTERM):
            os.kill(inside(process), number)
            assert process.stdout.readline() == f"{number.name}\n"
        assert process.wait(30) == 5  # at once: somebody asked for it


@pytest.mark.parametrize(("code", "expected"), [("sys.exit(78)", 78), ("os.kill(os.getpid(), 9)", 137)])
def test_an_end_that_nobody_asked_for_is_held_back(code: str, expected: int) -> None:
    """Discord allows 1000 logins a day, and whatever restarts containers does not count."""
    with first_process(code, shortest=600) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(f"weft: ended with exit code {expected}; the container stays for 6")
        os.kill(inside(process), signal.SIGTERM)
        assert process.wait(30) == expected


def test_a_process_that_is_not_the_first_goes_on_as_it_is() -> None:
    command = [
        sys.executable,
        "-P",
        "-c",
        PARTED.format(shortest=600) + "print(os.getppid(), signal.pthread_sigmask(0, []))",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, f"{os.getpid()} set()\n")
