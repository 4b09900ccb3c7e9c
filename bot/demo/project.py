"""The demo's project: a small repository that is made for it, so that threads have work trees of their own.

Without git the demo goes on without it. Nobody's configuration of git is read, and nothing of it is changed.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import anyio
import anyio.to_thread

from bot.agents.model import Project

NAME, BASE = "demo", "main"
GREETING = "greeting.py"
FILES = {
    "README.md": "# Demo\n\nA small project to play with. It is gone when the demo ends.\n",
    GREETING: 'GREETING = "Hello"\n\n\ndef greet(name: str) -> str:\n    return f"{GREETING}, {name}!"\n',
}
LIMIT = 10.0
"""Seconds for each command of git's; it takes a few milliseconds."""

_AUTHOR = {"NAME": "Weft demo", "EMAIL": "demo@localhost"}
_ENVIRONMENT = {
    "PATH": os.defpath,
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _AUTHOR.items()},
}


class NoProject(Exception):
    """There is no project; the message says why, for a person."""


async def known_project(root: Path, state_dir: Path) -> Project:
    """Return the project as an earlier start has made it, else as `make_project` does."""
    path = root / NAME
    # Its first commit is the last thing that is made.
    if (path / ".git" / "refs" / "heads" / BASE).exists():
        return _project(path, state_dir)
    # What a start that was killed has left half made.
    await anyio.to_thread.run_sync(functools.partial(shutil.rmtree, path, ignore_errors=True))
    return await make_project(root, state_dir)


async def make_project(root: Path, state_dir: Path) -> Project:
    """Make a repository with one commit below ``root``, and return it as a project with work trees.

    Raises:
        NoProject: git is not there, or can't do it.
    """
    program = shutil.which("git")
    if program is None:
        raise NoProject("git is not installed")
    path = root / NAME
    await anyio.to_thread.run_sync(_write, path)
    for arguments in (
        # Without a template: those of the machine may have hooks in them.
        ("init", "--quiet", "--template=", f"--initial-branch={BASE}"),
        ("add", "--all"),
        ("commit", "--quiet", "--message=Begin"),
    ):
        await _run(program, path, arguments)
    return _project(path, state_dir)


def _project(path: Path, state_dir: Path) -> Project:
    return Project(NAME, path, state_dir / "worktrees" / NAME, base=BASE)


def _write(path: Path) -> None:
    path.mkdir()
    for name, text in FILES.items():
        (path / name).write_text(text)


async def _run(program: str, path: Path, arguments: tuple[str, ...]) -> None:
    try:
        with anyio.fail_after(LIMIT):
            await anyio.run_process(
                [program, *arguments],
                cwd=path,
                # A home in which there is no configuration of anybody's.
                env=_ENVIRONMENT | {"HOME": str(path)},
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
    except TimeoutError as exc:
        raise NoProject(f"git {arguments[0]} took more than {LIMIT:g} s") from exc
    except OSError as exc:
        raise NoProject(f"git does not work here ({exc.strerror})") from exc
    except subprocess.CalledProcessError as exc:
        said = exc.stderr.decode(errors="replace").strip().split("\n")[0]
        raise NoProject(f"git {arguments[0]} failed: {said}") from exc
