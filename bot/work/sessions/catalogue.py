"""Which sessions people may go on with: those that an agent lists, and those that threads of Weft have (S1).

Only sessions in the agent's workspace count. Whose a session is or was is told with each, so that whoever shows the
list can leave out what the person who asks may not see. The mutable state is the lists that were shown last, by token.
"""

from __future__ import annotations

import os.path
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import anyio
import anyio.to_thread
import structlog

from acp.errors import AcpError
from acp.handshake import ways
from acp.session_list import ListedSession
from bot.agents.model import AgentProfile
from bot.recent import RecentMap
from bot.reply.sanitise import inline_code
from bot.work.thread_settings import ThreadSettings
from pool.launcher import THREAD_FIELD
from pool.pool import ConnectionPool
from pool.storage.durable import SessionStore
from pool.store import KnownSession, ThreadSession

log = structlog.get_logger(__name__)

ASK_LIMIT = 30.0
"""Seconds for an agent to say what it has, and to be started for that if none runs."""

MOST_THREADS = 500
"""Threads of Weft that are looked through, the ones used last."""

MOST_LISTS = 100
_DISK_LIMIT = 2.0

CANNOT_LIST = "{agent} can't list its sessions, so only those of its threads here are shown."
NOT_ASKED = "{agent} could not be asked for its sessions ({reason}), so only those of its threads here are shown."
CANNOT_RESUME = "{agent} can't reopen a session in another process, so you can only look at these."
NOT_ALL = "{agent} has more sessions than I looked at."
ELSEWHERE = "Left out: {count} outside its workspace."


@dataclass(frozen=True, slots=True)
class Entry:
    """A session that may be shown to whoever sees all its threads.

    Attributes:
        cwd: as the agent sees it.
        at: when it was used last, in seconds since the epoch; None: unknown.
        thread_id: the thread that has it now.
        home: the thread whose directory it works in; None: the directory is that of all threads.
        threads: whose it is and was: who may not see one of these must not learn of it.
        program: what the agent calls itself.
        project: whose directory it works in, by name; None: of no project, as far as that can be told.
    """

    session_id: str
    title: str
    cwd: str
    at: float | None
    thread_id: int | None
    home: int | None
    threads: frozenset[int]
    program: str | None = None
    project: str | None = None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The sessions of an agent, the latest first, and what has to be said about the list, as Markdown.

    ``openable``: whether the agent can go on with one that no thread has.
    """

    agent: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
    openable: bool = True


@dataclass(slots=True)
class _Told:
    """What an agent has told of its sessions, what it calls itself, and what is to be said about that."""

    sessions: tuple[ListedSession, ...] = ()
    program: str | None = None
    openable: bool = True
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ShownList:
    """A list that was shown to one person in one place; its buttons name it by its token."""

    token: str
    by: int
    place_id: int
    catalogue: Catalogue


@dataclass(eq=False)
class Catalogues:
    """Asks agents and the store for sessions.

    Args:
        redact: takes secrets out of what agents say.
    """

    pool: ConnectionPool
    store: SessionStore
    settings: ThreadSettings
    redact: Callable[[str], str]
    shown: RecentMap[str, ShownList] = field(default_factory=lambda: RecentMap(MOST_LISTS))

    def show(self, by: int, place_id: int, catalogue: Catalogue) -> ShownList:
        """Remember a list that is shown to a person, so that its buttons are understood."""
        # Not to be guessed: the list is made for what this one person may see.
        shown = ShownList(secrets.token_urlsafe(9), by, place_id, catalogue)
        self.shown.put(shown.token, shown)
        return shown

    async def look(self, agent: str, stand_in: int) -> Catalogue:
        """Return the sessions of an agent.

        Args:
            stand_in: an id that is no place's and nobody else's, such as that of the command.
        """
        told = await self._ask(agent, stand_in)
        having = await self.store.session_threads(MOST_THREADS)
        ours = [one for one in having if self.settings.agent_of(one.thread_id) == agent]
        known = await self.store.known_sessions([one.session_id for one in told.sessions])
        agents = self.settings.agents
        patterns: dict[str, str | None] = {}
        # The agent's own directory first: where an agent sees all directories as one, they can't be told apart.
        for project in (None, *agents.projects):
            for pattern in await _patterns(agents.profile(agent, project)):
                patterns.setdefault(pattern, project)
        entries, elsewhere = merged(told.sessions, ours, known, patterns, told.program)
        notes = (*told.notes, *([ELSEWHERE.format(count=elsewhere)] if elsewhere else []))
        return Catalogue(agent, tuple(entries), notes, told.openable)

    async def whose(self, entry: Entry) -> frozenset[int]:
        """Return the threads whose a listed session is and was, with those that had it since the list was made."""
        known = await self.store.known_sessions([entry.session_id])
        return entry.threads | {one.thread_id for one in known}

    async def _ask(self, agent: str, stand_in: int) -> _Told:
        named, told = inline_code(agent, 32), _Told()
        try:
            with anyio.fail_after(ASK_LIMIT), self.settings.standing_in(stand_in, agent):
                async with self.pool.borrow(stand_in) as connection:
                    told.program = connection.agent.agent_info.name if connection.agent.agent_info else None
                    told.openable = bool(ways(connection.agent))
                    if connection.can_list:
                        found = await connection.list_sessions()
                        told.sessions = found.sessions
                        told.notes += [] if found.complete else [NOT_ALL.format(agent=named)]
                    else:
                        told.notes.append(CANNOT_LIST.format(agent=named))
        except TimeoutError:
            told.notes.append(NOT_ASKED.format(agent=named, reason=f"it took more than {ASK_LIMIT:g} s"))
        except AcpError as exc:
            log.info("sessions.not_listed", agent=agent, reason=str(exc))
            told.notes.append(NOT_ASKED.format(agent=named, reason=inline_code(self.redact(str(exc)), 200)))
        if told.sessions and not told.openable:
            told.notes.append(CANNOT_RESUME.format(agent=named))
        return told


def merged(
    listed: Iterable[ListedSession],
    ours: Iterable[ThreadSession],
    known: Iterable[KnownSession],
    patterns: Mapping[str, str | None],
    program: str | None,
) -> tuple[list[Entry], int]:
    """Return the sessions, the latest first, and how many lie elsewhere (pure).

    Args:
        ours: threads that have one.
        known: of those that are listed, whose they are and were.
        patterns: see `home_in`; with the project whose directories they are.
    """
    # 1. Whose each of them is and was.
    having = {one.session_id: one for one in ours}
    threads: dict[str, set[int]] = {}
    copies, owned = set[str](), set[str]()
    for one in known:
        threads.setdefault(one.session_id, set()).add(one.thread_id)
        (copies if one.copy else owned).add(one.session_id)
    # 2. What the agent has listed.
    entries: dict[str, Entry] = {}
    elsewhere = 0
    for found in listed:
        home = home_in(found.cwd, patterns)
        held = having.get(found.session_id)
        # What was made for one turn of a thread, or for a thread that never was, is nothing to go on with.
        if found.session_id in copies - owned and held is None:
            continue
        if home is None and held is None:
            elsewhere += 1
            continue
        whose = threads.get(found.session_id, set()) | ({home} if home else set())
        # In another's directory, what a thread did is to be seen; of the thread that has it now, that thread says all.
        entries[found.session_id] = Entry(
            found.session_id,
            found.title or (held.title if held is not None else None) or "",
            found.cwd,
            float(held.used_at) if found.updated_at is None and held is not None else found.updated_at,
            held.thread_id if held is not None else None,
            home or None,
            frozenset({held.thread_id} if held is not None else whose),
            program,
            next((project for pattern, project in patterns.items() if home_in(found.cwd, [pattern]) is not None), None),
        )
    # 3. Those that the agent has not listed: it can't, or did not answer, or stopped before them.
    for one_of_ours in having.values():
        entries.setdefault(
            one_of_ours.session_id,
            Entry(
                one_of_ours.session_id,
                one_of_ours.title or "",
                one_of_ours.cwd or "",
                float(one_of_ours.used_at),
                one_of_ours.thread_id,
                None,
                frozenset({one_of_ours.thread_id}),
                one_of_ours.agent,
            ),
        )
    return sorted(entries.values(), key=lambda one: (-(one.at or 0.0), one.session_id)), elsewhere


def home_in(cwd: str, patterns: Iterable[str]) -> int | None:
    """Return the thread whose directory this is, 0 for that of all threads; None: it is no working directory (pure).

    Nothing below one counts, nor what only leads there: an agent could plant a link.

    Args:
        patterns: the directories of threads, with ``{thread_id}`` where each has its own.
    """
    for pattern in patterns:
        if found := _expression(pattern).fullmatch(cwd.rstrip("/")):
            return int(found[1]) if THREAD_FIELD in pattern else 0
    return None


@lru_cache
def _expression(pattern: str) -> re.Pattern[str]:
    head, *rest = pattern.rstrip("/").split(THREAD_FIELD)
    # Each further field is the same number; and ASCII, as ids have no digits of other scripts.
    return re.compile(re.escape(head) + (r"(\d{1,20})" + r"\1".join(map(re.escape, rest)) if rest else ""), re.ASCII)


async def _patterns(profile: AgentProfile) -> list[str]:
    """Return the directories in which sessions of an agent work, as it sees them."""
    if profile.session_directory is not None:
        return [profile.session_directory.replace("{workspace}", profile.workspace)]
    head, *rest = profile.workspace.split(THREAD_FIELD)
    real = head
    with anyio.move_on_after(_DISK_LIMIT):
        # Agents tell where they are without links. In a worker thread: the disk may hang.
        real = await anyio.to_thread.run_sync(os.path.realpath, head, abandon_on_cancel=True)
    real += "/" if head.endswith("/") and not real.endswith("/") and rest else ""
    return [profile.workspace, THREAD_FIELD.join([real, *rest])]
