"""Brings commits and merges that were cut off to one end: done, or not begun (W4, G9).

The branch decides: if it has moved, what belongs to that follows, else it is taken back. What somebody changed
meanwhile is left alone, and told. There is no state but the journals.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from bot.reply.sanitise import inline_code
from bot.work.workspace.checkouts import at_checkout, restore
from bot.work.workspace.journal import IndexLock, Journal
from bot.work.workspace.repository import Repository, Unreadable
from bot.work.workspace.standing import end_merge, named, tip_of
from bot.work.workspace.writing import writing

log = structlog.get_logger(__name__)

WAIT = 30.0
"""Seconds for the last git of the bot that was killed to end."""

LIMIT = 120.0
"""Seconds to bring one of them to its end."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was cut off, and how it ended: ``done`` or not begun; ``text``: a sentence for people, empty if nothing."""

    repository: Path
    branch: str
    done: bool
    text: str


async def recover_merges(journals: Path, repository: Repository | None = None) -> tuple[Recovered, ...]:
    """Bring everything that was cut off to its end; of what can't be, the journal stays for another time.

    Args:
        repository: only what is of this one, whose lock is held: what does not end is not waited for then.
    """
    found = []
    for path in await anyio.to_thread.run_sync(_journals, journals, repository):
        try:
            wait = WAIT if repository is None else 0.0
            journal = await anyio.to_thread.run_sync(Journal.resume, path, wait)
            with anyio.fail_after(LIMIT):
                recovered = await settle(journal)
        except (OSError, ValueError, Unreadable) as exc:  # a TimeoutError is an OSError
            log.warning("merge.not_recovered", journal=path.name, error=str(exc))
        else:
            log.info("merge.recovered", branch=recovered.branch, done=recovered.done, text=recovered.text)
            found.append(recovered)
    return tuple(found)


def _journals(directory: Path, repository: Repository | None) -> list[Path]:
    if not directory.is_dir():
        return []
    if repository is not None:
        # By its own words: whether it is whole is seen later.
        common = json.dumps(str(repository.common))
        return [path for path in sorted(directory.glob("*.json")) if common in path.read_text(errors="replace")]
    for draft in directory.glob("*.tmp"):
        draft.unlink(missing_ok=True)  # it was not begun
    return sorted(directory.glob("*.json"))


async def settle(journal: Journal) -> Recovered:
    """Bring what a journal tells of to an end, and take the journal away.

    Raises:
        OSError, Unreadable: it can't be done; the journal stays, and the locks that guard what is half-way.
    """
    try:
        recovered = await _settle(journal)
    except BaseException:
        journal.leave()
        raise
    await anyio.to_thread.run_sync(journal.end)
    return recovered


async def _settle(journal: Journal) -> Recovered:
    entry, locks = journal.entry, journal.entry.index_locks()
    common = Path(entry.common)
    if not await anyio.to_thread.run_sync(common.is_dir):
        return Recovered(common, entry.branch, done=False, text="")
    root = common.parent
    # Of the repository alone: the work tree may be gone by now.
    async with writing(Repository(root, common, common, ours=True), entry.old, root, index="none") as git:
        git.inherited = (journal.fd,)
        at = await tip_of(git, entry.ref)
        # The branch may have gone on from there since.
        done = at is not None and (await git.run("merge-base", "--is-ancestor", entry.new, at, codes=(0, 1))).code == 0
    left: list[str] = []
    for lock in locks:
        # What was not locked any more has come to its end.
        if await anyio.to_thread.run_sync(lock.held):
            # Untouched, its work trees were only looked at: they are left as they are, and the locks go.
            if entry.kind == "merge" and journal.touched:
                left += await _settle_checkout(journal, lock, done)
            elif done:
                await anyio.to_thread.run_sync(end_merge, lock.repository, entry.merging)
            await anyio.to_thread.run_sync(lock.release)
    return Recovered(root, entry.branch, done, _text(journal, done, left))


async def _settle_checkout(journal: Journal, lock: IndexLock, done: bool) -> list[str]:
    """Bring a work tree to one end; return the files that are left alone, since somebody changed them."""
    entry = journal.entry
    async with at_checkout(lock, entry.old, journal) as git:
        target = entry.new if done else entry.old
        left = await restore(git, lock.repository, entry.old, entry.new, target)
        await anyio.to_thread.run_sync(lock.place, git.directory / "index")
        return [path.decode(errors="replace") for path in left]


def _text(journal: Journal, done: bool, left: list[str]) -> str:
    entry = journal.entry
    base = inline_code(entry.ref.removeprefix("refs/heads/"))
    if entry.kind != "merge" and done:
        return ""
    what = f"The merge into {base}" if entry.kind == "merge" else f"The commit on {base}"
    text = f"{what} was interrupted when I stopped. " + (
        "It is done." if done else "Nothing was changed: try it again."
    )
    return text + (f" Somebody changed {named(left)} meanwhile, which I left alone." if left else "")
