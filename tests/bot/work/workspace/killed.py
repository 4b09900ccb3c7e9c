"""Commits, merges and recoveries that are killed at their n-th step, each in a process of its own.

Run as a module it is what makes these processes: forks of one that has imported everything.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import anyio
import pytest

from bot.work.workspace import checkouts, git, journal, standing
from bot.work.workspace.commits import commit
from bot.work.workspace.merging import merge
from bot.work.workspace.recovery import recover_merges
from bot.work.workspace.worktrees import WorkTree

STEPS = ("link", "rename", "unlink", "open", "fsync", "write", "utime")
"""What changes files in the modules that change them; each call of git is a step too."""


class Killer:
    """Makes the processes; ``scratch``: where what they leave behind lies."""

    def __init__(self, scratch: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            env={
                **os.environ,
                "TMPDIR": str(scratch),
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def kill(
        self, action: str, tree: WorkTree, journals: Path, at: int = -1, *, until: str = "", torn: str = ""
    ) -> bool:
        """Do something until it is killed; return whether it was.

        Args:
            action: ``commit``, ``merge``, ``squash`` or ``recover``.
            at: the step before which it is killed.
            until: the command of git's, or ``place`` for an index, before which it is.
            torn: the file that git is just writing when both are.
        """
        said = {"repository": tree.repository, "directory": tree.directory, "branch": tree.branch, "base": tree.base}
        task = {"action": action, "journals": str(journals), "at": at, "until": until, "torn": torn}
        task["tree"] = {key: str(value) for key, value in said.items()}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(task), file=self._process.stdin, flush=True)
        code = int(self._process.stdout.readline())
        assert code in (0, -signal.SIGKILL), code
        return code != 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.communicate(timeout=30)


class _Steps:
    def __init__(self, at: int) -> None:
        self._left = at

    def count(self) -> None:
        if self._left == 0:
            _die()
        self._left -= 1


class _CountedOs:
    """``os``, of which each call that changes files is a step."""

    def __init__(self, steps: _Steps) -> None:
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        found = getattr(os, name)
        return self._counted(found) if name in STEPS else found

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self._steps.count()
            return call(*args, **kwargs)

        return counted


async def _do(task: dict[str, Any]) -> None:
    steps = _Steps(task["at"])
    run, patch = git.Git.run, pytest.MonkeyPatch()

    async def counted(self: git.Git, *args: str, **kwargs: Any) -> git.Output:
        steps.count()
        if args[0] == task["until"]:
            _die()
        if task["torn"] and args[:3] == ("read-tree", "-m", "-u") and "--dry-run" not in args:
            _tear(Path(self.environment["GIT_WORK_TREE"]) / task["torn"])
        return await run(self, *args, **kwargs)

    patch.setattr(git.Git, "run", counted)
    if task["until"] == "place":
        patch.setattr(journal.IndexLock, "place", _die)
    for module in (journal, checkouts, standing):
        patch.setattr(module, "os", _CountedOs(steps))
    said = task["tree"]
    tree = WorkTree(Path(said["repository"]), Path(said["directory"]), said["branch"], said["base"])
    journals = Path(task["journals"])
    if task["action"] == "commit":
        await commit(tree, "Commit", "Ada", journals=journals)
    elif task["action"] == "recover":
        await recover_merges(journals)
    else:
        await merge(tree, "Merge", "Ada", squash=task["action"] == "squash", journals=journals)


def _tear(path: Path) -> None:
    """Leave a file as git does that is killed while it writes it."""
    path.unlink(missing_ok=True)
    path.write_text("n")
    _die()


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _serve() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.dup2(2, 1)  # what it logs is no answer
                anyio.run(_do, json.loads(line))
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
