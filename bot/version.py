"""Which Weft this is: its version, and the commit that it was made from.

A wheel and an sdist have the commit in a file, ``bot/_commit``, which `scripts/hatch_build.py` writes. A checkout has
it in its `.git`, which is read here without calling git: agents may be able to write to that repository, and its
configuration can name programs. So only a build can say that there were changes besides.

That script loads this module without the rest of the bot, so nothing but the standard library is imported here.
"""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from functools import cache
from pathlib import Path

COMMIT_FILE = Path(__file__).with_name("_commit")
CHECKOUT = Path(__file__).parents[1]
SHORT = 7
"""Digits of a commit that are shown."""

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def full() -> str:
    """Return version and commit: ``0.2.0 (abc1234)``, or the version alone where nobody knows the commit."""
    known = commit()
    return f"{version()} ({known})" if known else version()


@cache
def version() -> str:
    """Return the version; "unknown" if the code lies somewhere without having been installed."""
    try:
        # What was installed from a checkout may have been an older state of it.
        if (CHECKOUT / ".git").exists():
            return str(tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"])
    except (OSError, ValueError, KeyError):
        pass  # then what is installed says it
    try:
        return importlib.metadata.version("weft")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


@cache  # a running bot says what it was started from, whatever is checked out meanwhile
def commit() -> str | None:
    """Return the commit's first digits, with "+ changes" if a build found some; None if nobody knows it."""
    try:
        if COMMIT_FILE.is_file():
            return COMMIT_FILE.read_text().strip() or None
        found = commit_of(CHECKOUT)
    except (OSError, ValueError):
        return None
    return found[:SHORT] if found else None


def commit_of(checkout: Path) -> str | None:
    """Return the whole id of what is checked out in a directory; None if it is no checkout, or has no commit.

    Raises:
        OSError, ValueError: its files can't be read.
    """
    git = checkout / ".git"
    if git.is_file():  # a work tree or a submodule: "gitdir: /where/it/is"
        git = checkout / git.read_text().removeprefix("gitdir:").strip()
    if not git.is_dir():
        return None
    # Branches of a work tree are kept by the repository that it belongs to.
    shared = git / (git / "commondir").read_text().strip() if (git / "commondir").is_file() else git
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref:"):
        return _whole(head)
    name = head.removeprefix("ref:").strip()
    for place in (git, shared):
        if (place / name).is_file():
            return _whole((place / name).read_text().strip())
    return _packed(shared / "packed-refs", name)


def _packed(refs: Path, name: str) -> str | None:
    lines = refs.read_text().splitlines() if refs.is_file() else []
    return next((_whole(line.split(" ")[0]) for line in lines if line.endswith(f" {name}")), None)


def _whole(text: str) -> str | None:
    return text if _COMMIT.fullmatch(text) else None
