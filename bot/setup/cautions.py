"""What a person should know of the place where the token is about to lie; none of it keeps the bot from working."""

from __future__ import annotations

import grp
import stat
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from bot.agents.checks import fixed_part
from bot.ops.doctor.finding import Finding, warn
from bot.setup.writing import Change
from bot.work.workspace.repository import find_repository


def cautions(env_file: Path, workspace: str, changes: Sequence[Change]) -> Iterator[Finding]:
    """Say who may come across the token: agents that look around in their workspace, and readers of a repository."""
    directory = env_file.absolute().parent
    if (group := _group_of(env_file)) is not None:
        back = f"chgrp {group} {env_file}; chmod 640 {env_file}"
        text = f"{env_file} could be read by the group {group} and will be read by its owner alone"
        yield warn("token", f"{text}; if a service needs it: {back}")
    if workspace and env_file.absolute().is_relative_to(fixed_part(workspace)):
        text = (
            f"{env_file} lies in the workspace, where agents read what they find: choose another place for one of them"
        )
        yield warn("token", text)
    try:
        repository = find_repository(directory)
        told = _ignored(repository.root, directory) if repository is not None else []
    except OSError:
        # It can't be looked at, so there is nothing to warn of for certain.
        return
    names = [
        env_file.name,
        *(f"{env_file.name}.0.bak" for one in changes if one.path == env_file and one.old is not None),
    ]
    if repository is not None and not all(any(fnmatch(name, pattern) for pattern in told) for name in names):
        text = f"{env_file} lies in the git repository {repository.root}: add {env_file.name}* to its .gitignore"
        yield warn("token", text)


def _group_of(env_file: Path) -> str | None:
    """Return the group that may read the file, if one may and nobody else: that is how a service's user gets at it."""
    try:
        found = env_file.stat()
        # Where everybody may read it, no group needs to be given it back.
        readers = stat.S_IMODE(found.st_mode) & (stat.S_IRGRP | stat.S_IRWXO)
        return grp.getgrgid(found.st_gid).gr_name if readers == stat.S_IRGRP else None
    except (OSError, KeyError):
        return None


def _ignored(*directories: Path) -> list[str]:
    """Return the patterns that git ignores in these directories, as far as they are about names alone."""
    lines = [
        line.strip().lstrip("/")
        for directory in dict.fromkeys(directories)
        if (directory / ".gitignore").is_file()
        for line in (directory / ".gitignore").read_text(errors="replace").splitlines()
    ]
    return [line for line in lines if line and not line.startswith(("#", "!"))]
