"""``weft`` as a process of its own: started in an empty directory, with an environment of its own, ended by its id."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import psutil

from tests import warm

LIMIT = 90.0
"""Seconds that a process may take: a net for a busy machine, on which a start takes most of a minute."""
_MOST = 1 << 20
TOKEN = base64.urlsafe_b64encode(b"100000000000000001").decode().rstrip("=") + ".canary.canary"
"""Nobody's, in the shape of Discord's."""

WEFT = (sys.executable, "-P", "-m", "bot")


def environment(directory: Path, **more: str) -> dict[str, str]:
    """An environment without settings; everything that is made by default is made below ``directory``."""
    for name in ("home", "tmp", "state"):
        (directory / name).mkdir(exist_ok=True)
    places = {"HOME": "home", "TMPDIR": "tmp", "XDG_STATE_HOME": "state"}
    # The tree that is tested need not be the one that is installed.
    tree = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    return {
        **tree,
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        **{name: str(directory / place) for name, place in places.items()},
        **more,
    }


def weft(directory: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in a fork of one that has imported everything."""
    env = environment(directory, **settings)
    with Path(os.devnull).open("rb") as nothing, TemporaryFile() as out, TemporaryFile() as err:
        process = warm.start(arguments, directory, env, nothing.fileno(), err.fileno(), out.fileno())
        try:
            code = process.wait_here(LIMIT)
        finally:
            process.close()
        said = [os.pread(file.fileno(), _MOST, 0).decode() for file in (out, err)]
    return subprocess.CompletedProcess(arguments, code, *said)


def weft_cold(directory: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end as its users do, for what is about its own start."""
    return subprocess.run(
        [*WEFT, *arguments],
        cwd=directory,
        env=environment(directory, **settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


@contextmanager
def started(
    directory: Path, *arguments: str, settings: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command; it is ended with the block if it is not over by then."""
    process = subprocess.Popen(
        [*WEFT, *arguments],
        cwd=directory,
        env=environment(directory, **(settings or {})),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        with process:
            yield process
            process.kill()
    finally:
        process.kill()


def left_by(directory: Path) -> list[str]:
    """Name the processes that were started below `environment` and still live; agents inherit its TMPDIR."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("TMPDIR") == str(directory / "tmp"):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def temporary_files(directory: Path) -> list[str]:
    """Name what is left in the temporary directory."""
    return [path.name for path in (directory / "tmp").iterdir()]
