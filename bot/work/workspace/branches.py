"""Names for the branches of threads: readable, whatever the thread is called, and free (W2)."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection
from pathlib import Path

from bot.work.workspace.repository import head_of
from bot.work.workspace.worktrees import find_project, read_in_thread
from bot.work.workspace.writing import writing

LONGEST = 50
"""Characters of a name."""

_PREFIXES = ("weft", "weft-threads", "threads-of-weft")
_NAMELESS = "thread"
_TITLE = 1_000  # characters of a title that are looked at
_MOST_BYTES = 8 * 2**20
_SPOKEN = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ł": "l", "ı": "i", "þ": "th"}


def branch_name(title: str, thread_id: int, taken: Collection[str]) -> str:
    """Return a name for a thread's branch, such as ``weft/fix-login-7c2``.

    Args:
        title: the thread's, in any script.
        taken: the names of branches that are not to be had, without ``refs/heads/``.
    """
    # Where a branch has the name of a directory, nothing fits below it.
    files = {name.casefold() for name in taken}
    # Regardless of case, as some disks can't tell two such names apart.
    prefix = next((one for one in _PREFIXES if one not in files), f"{_PREFIXES[0]}-{_short(thread_id, 6)}")
    slug = _slug(title)
    # More of the id as long as the name is somebody's.
    for digits in range(3, 32):
        ending = f"-{_short(thread_id, digits)}"
        name = f"{prefix}/{slug[: LONGEST - len(prefix) - 1 - len(ending)].rstrip('-')}{ending}"
        if _is_free(name, files):
            return name
    number = 2
    while not _is_free(f"{name}-{number}", files):
        number += 1
    return f"{name}-{number}"


def _is_free(name: str, taken: Collection[str]) -> bool:
    return name not in taken and not any(one.startswith(f"{name}/") for one in taken)


def _short(thread_id: int, digits: int) -> str:
    # Discord's ids of one day begin alike, and most of them end alike.
    return hashlib.blake2s(str(thread_id).encode()).hexdigest()[:digits]


def _slug(title: str) -> str:
    folded = unicodedata.normalize("NFKD", title[:_TITLE]).casefold()
    spoken = "".join(_SPOKEN.get(letter, letter) for letter in folded if not unicodedata.combining(letter))
    return re.sub(r"[^a-z0-9]+", "-", spoken).strip("-") or _NAMELESS


async def taken_branches(path: Path) -> set[str]:
    """Return the names of the branches that a project's repository has.

    Raises:
        Unreadable: they can't be read.
    """
    repository = await read_in_thread(find_project, path)
    head = await read_in_thread(head_of, repository)
    async with writing(repository, head, path, index="none") as git:
        listed = await git.run("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads", most=_MOST_BYTES)
    return set(listed.data.decode(errors="replace").split("\n")) - {""}
