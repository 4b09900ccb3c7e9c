"""Work trees that are made and removed by processes that are killed at their n-th step.

Run as a module it is what makes these processes: forks of one that has imported everything.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import anyio

from bot.work.workspace.making import make
from bot.work.workspace.removal import remove
from bot.work.workspace.tree_state import look
from bot.work.workspace.worktrees import WorkTree

STEPS = {"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.truncate", "subprocess.Popen"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Killer:
    """Makes the processes."""

    def __init__(self, temporary: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            # What they leave when they are killed goes with the test.
            env={
                **os.environ,
                "TMPDIR": str(temporary),
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def kill(self, action: str, tree: WorkTree, at: int, *, call: bool = False) -> bool:
        """Do something until it is killed, and return whether it was.

        Args:
            action: ``make``, ``look``, ``remove`` or ``anyway``.
            at: the step before which it is killed; -1: none.
            call: not before a step, but in a call of git's, which goes on for a while without it.
        """
        task = {"action": action, "at": at, "call": call, "repository": str(tree.repository)}
        task |= {"directory": str(tree.directory), "branch": tree.branch, "base": tree.base}
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


def _count_steps(at: int) -> None:
    ours, left = f"{tempfile.gettempdir()}/weft-git-", at

    def step(event: str, args: tuple[Any, ...]) -> None:
        nonlocal left
        write = event == "open" and isinstance(args[2], int) and args[2] & WRITES
        # What happens in the directory of git's own is lost in any case.
        if (event not in STEPS and not write) or str(args[0]).startswith((ours, "/dev/null")):
            return
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    sys.addaudithook(step)


def _count_calls(at: int, place: Path) -> None:
    real, place = shutil.which("git"), place / "bin"
    place.mkdir(exist_ok=True)
    (place / "calls").write_text("")
    lines = (
        "#!/bin/sh",
        f"if [ $(wc -c < {place}/calls) = {at} ]; then kill -9 $PPID; sleep 0.1; fi",
        f"printf . >> {place}/calls",
        f'exec {real} "$@"',
    )
    (place / "git").write_text("\n".join(lines))
    (place / "git").chmod(0o755)
    os.environ["PATH"] = f"{place}{os.pathsep}{os.environ['PATH']}"


def _do(task: dict[str, Any]) -> None:
    tree = WorkTree(Path(task["repository"]), Path(task["directory"]), task["branch"], task["base"])
    if task["call"]:
        _count_calls(task["at"], tree.repository.parent)

    async def act() -> None:
        # The loop is there: what it opens for itself is no step.
        if not task["call"]:
            _count_steps(task["at"])
        if task["action"] == "make":
            await make(tree)
        elif task["action"] == "look":
            await look(tree)
        else:
            await remove(tree, anyway=task["action"] == "anyway")

    anyio.run(act)


def _serve() -> None:
    answers = os.dup(1)
    os.dup2(2, 1)  # where logs go
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _do(json.loads(line))
                code = 0
            finally:
                os._exit(code)
        os.write(answers, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


if __name__ == "__main__":
    _serve()
