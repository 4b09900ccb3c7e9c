"""A copy of this checkout, in which tests build and break things."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
WITHOUT_SETTINGS = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
tracked = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False).stdout
TRACKED = sorted(name for name in tracked.split("\0") if name and (ROOT / name).is_file())

"""What git tracks here; nothing if this is no checkout of git."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """A copy of what git tracks here, with one commit in a repository of its own."""

    root: Path

    def run(self, *command: str, exit_code: int = 0, **more: str) -> str:
        env = {**WITHOUT_SETTINGS, "HOME": str(self.root.parent), "WEFT_PYTHON": sys.executable, **more}
        done = subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == exit_code, done.stderr
        return done.stdout.strip()

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments)

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-qm", "all")

    def stamp(self) -> None:
        """Have the environment pass for one in which the lock and this metadata are installed."""
        stamp = self.run("sh", "-c", "cat requirements.lock pyproject.toml | cksum")
        (self.root / ".venv" / "stamp-requirements.lock").write_text(f"{stamp}\n")

    def build(self) -> dict[str, bytes]:
        """Return what `scripts/build` makes, by file name."""
        self.run("scripts/build")
        return {path.name: path.read_bytes() for path in (self.root / "dist").iterdir()}

    @property
    def wheel(self) -> Path:
        return next((self.root / "dist").glob("*.whl"))

    @property
    def sdist(self) -> Path:
        return next((self.root / "dist").glob("*.tar.gz"))


def copied(root: Path) -> Checkout:
    """Copy the checkout."""
    for name in TRACKED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, root / name)
    checkout = Checkout(root)
    checkout.git("init", "-q")
    _settle(checkout)
    checkout.commit()
    return checkout


def cloned(checkout: Checkout, root: Path) -> Checkout:
    """Clone a copy."""
    checkout.git("clone", "-q", ".", str(root))
    _settle(clone := Checkout(root))
    return clone


def _settle(checkout: Checkout) -> None:
    """Give it an author, and an environment that passes for one that the lock was installed into."""
    checkout.git("config", "user.name", "n")
    checkout.git("config", "user.email", "n@example.org")
    place = checkout.root / ".venv"
    (place / "bin").mkdir(parents=True)
    (place / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (place / "bin" / "python").chmod(0o755)
    (place / "interpreter").write_text(f"{sys.base_prefix} {sys.version}\n")
    checkout.stamp()
