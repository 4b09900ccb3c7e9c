"""Hatchling's hook: puts into wheel and sdist what is not part of the packages.

The commit goes into both. Documentation and examples go into the wheel, by the list in `bot.packaged`.
"""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WeftBuildHook(BuildHookInterface[Any]):
    """Adds the files to what is built; nothing is written into the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add them. Called before each target is built; ``version`` is "editable" if it is only to be linked."""
        if version == "editable":
            return
        root = Path(self.root)
        self._scratch = TemporaryDirectory()
        include = build_data.setdefault("force_include", {})
        # An sdist has it where it belongs already, and no repository to ask.
        if not (root / "bot" / "_commit").exists() and (commit := commit_of(root)):
            (made := Path(self._scratch.name) / "_commit").write_text(f"{commit}\n")
            include[str(made)] = "bot/_commit"
        if self.target_name == "wheel":
            files = load(root, "packaged").files_below(root)
            include.update({str(path): f"bot/_packaged/{name}" for name, path in files.items()})

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Take away what was only made to be copied."""
        if version != "editable":
            self._scratch.cleanup()


def commit_of(root: Path) -> str | None:
    """Return what the build is of, as `bot.version.commit` is to return it."""
    known = load(root, "version")
    try:
        commit = known.commit_of(root)
    except (OSError, ValueError):
        return None
    if commit is None:
        return None
    return f"{commit[: known.SHORT]} + changes" if changed(root) else str(commit[: known.SHORT])


def changed(root: Path) -> bool:
    """Whether there is something in the checkout that is not committed; False where git does not say so."""
    command = ["git", "-C", str(root), "status", "--porcelain"]
    try:
        return bool(subprocess.run(command, capture_output=True, check=False).stdout)
    except OSError:
        return False


def load(root: Path, name: str) -> ModuleType:
    """Load a module of the bot by its path: the build has none of the libraries that the package needs."""
    spec = importlib.util.spec_from_file_location(f"weft_{name}", root / "bot" / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
