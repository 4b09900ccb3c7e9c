"""Copies the example settings and the pages out of the package, for people without a checkout."""

from __future__ import annotations

import shutil
from pathlib import Path

from bot.config import ConfigError
from bot.files import refusal
from bot.packaged import files


def copy_examples(directory: Path) -> list[Path]:
    """Copy them below a directory, which is made; files that are there are left alone. Return those that were copied.

    Raises:
        ConfigError: one can't be written.
    """
    copied = []
    for name, source in files().items():
        target = directory / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # A link that leads nowhere does not exist, and would be written through.
            if not target.is_symlink() and not target.exists():
                shutil.copyfile(source, target)
                copied.append(target)
        except OSError as exc:
            raise ConfigError(refusal(target, exc)) from exc
    return copied
