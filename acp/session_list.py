"""The sessions that an agent knows, page by page, within bounds (``session/list``).

Source: the Agent Client Protocol's session list, schema version 1. The cursor is opaque. What cannot be read of an
entry is dropped, and with it the entry where a session could not be opened by the rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import anyio

from acp.errors import AcpError, RequestTimeout

MOST_PAGES = 40
MOST_SESSIONS = 2_000
LIST_LIMIT = 10.0
"""Seconds for all pages together: somebody waits for the answer."""

LONGEST_ID = 256
LONGEST_PATH = 4_096
LONGEST_TITLE = 400
LONGEST_TIME = 64

Ask = Callable[[dict[str, Any]], Awaitable[Any]]
"""Sends one ``session/list`` with these parameters and returns the result."""


@dataclass(frozen=True, slots=True)
class ListedSession:
    """A session as an agent lists it.

    Attributes:
        cwd: absolute, as the agent sees it.
        title: any text; "" if it has none.
        updated_at: seconds since the epoch; None if it is not said, or can't be read.
    """

    session_id: str
    cwd: str
    title: str = ""
    updated_at: float | None = None


@dataclass(frozen=True, slots=True)
class SessionList:
    """The sessions of an agent in its order, each once; ``complete``: there are no others."""

    sessions: tuple[ListedSession, ...]
    complete: bool


async def read_pages(ask: Ask) -> SessionList:
    """Ask for pages until the last one, or until there are enough of them.

    Raises:
        RequestTimeout: not even the first page came in time.
        AcpError: as ``ask`` does, for the first page; later, what came before it is returned.
    """
    found: dict[str, ListedSession] = {}
    cursors: set[str] = set()
    cursor: str | None = None
    pages, complete = 0, False
    with anyio.move_on_after(LIST_LIMIT) as limit:
        while pages < MOST_PAGES and len(found) < MOST_SESSIONS:
            try:
                raw = await ask({} if cursor is None else {"cursor": cursor})
            except AcpError:
                # What was listed so far is worth more than an error: the list only is not complete.
                if pages:
                    break
                raise
            pages += 1
            cursor = _take(raw, found)
            if cursor is None:
                complete = len(found) <= MOST_SESSIONS
                break
            # An agent that names a page for the second time would be asked for ever.
            if cursor in cursors:
                break
            cursors.add(cursor)
    if limit.cancelled_caught and not pages:
        raise RequestTimeout("session/list", LIST_LIMIT)
    return SessionList(tuple(found.values())[:MOST_SESSIONS], complete)


def _take(raw: Any, found: dict[str, ListedSession]) -> str | None:
    """Take the entries of a page; return the cursor of the next one, None if it was the last."""
    page = raw if isinstance(raw, dict) else {}
    entries = page.get("sessions")
    for entry in entries if isinstance(entries, list) else ():
        session = _read(entry)
        if session is not None:
            found.setdefault(session.session_id, session)
    cursor = page.get("nextCursor")
    return cursor if isinstance(cursor, str) and cursor else None


def _read(entry: Any) -> ListedSession | None:
    """Return an entry; None if it has no id or no absolute directory."""
    if not isinstance(entry, dict):
        return None
    session_id, cwd, title = entry.get("sessionId"), entry.get("cwd"), entry.get("title")
    if not isinstance(session_id, str) or not 0 < len(session_id) <= LONGEST_ID:
        return None
    if not isinstance(cwd, str) or not cwd.startswith("/") or len(cwd) > LONGEST_PATH or "\0" in cwd:
        return None
    return ListedSession(
        session_id, cwd, title[:LONGEST_TITLE] if isinstance(title, str) else "", _time(entry.get("updatedAt"))
    )


def _time(raw: Any) -> float | None:
    """Return an ISO 8601 time in seconds since the epoch; without a zone it is taken for UTC."""
    if not isinstance(raw, str) or len(raw) > LONGEST_TIME:
        return None
    try:
        when = datetime.fromisoformat(raw)
        return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
