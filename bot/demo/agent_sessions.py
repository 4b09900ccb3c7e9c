"""The demo agent's sessions: what was said in each, kept in memory and, where possible, in a small file.

The file lets a later process load or resume the session. Where no private directory can be had, sessions live as long
as the process; that costs the demo its memory and nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import sys
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from bot.demo.agent_options import AUTO, MODE, MODEL, beginning, offered

_SESSION_ID = re.compile(r"[0-9a-f]{32}")
PRICES_OF_A_TURN = {"demo-small": 0.0042, "demo-large": 0.0084}  # dollars, invented
LISTED = 100  # sessions that are listed: the newest


@dataclass(slots=True)
class Session:
    """One conversation; ``history`` holds (role, text), the roles ``user`` and ``agent``; ``chosen`` the options."""

    id: str
    cwd: str
    title: str = ""
    trusted: bool = False
    cost: float = 0.0
    history: list[tuple[str, str]] = field(default_factory=list)
    chosen: dict[str, str] = field(default_factory=beginning)

    @property
    def asks(self) -> bool:
        """Whether it asks before it writes."""
        return not self.trusted and self.chosen[MODE] != AUTO

    @property
    def price(self) -> float:
        """What a turn costs, in dollars."""
        return PRICES_OF_A_TURN[self.chosen[MODEL]]

    @property
    def used(self) -> int:
        """About how many tokens of context the history fills."""
        return 1200 + sum(len(text) for _, text in self.history) // 4


def default_directory() -> Path | None:
    """Return a directory of this user alone to keep sessions in, made if need be; None where there is none."""
    base = os.environ.get("XDG_STATE_HOME") or tempfile.gettempdir()
    directory = Path(base) / f"weft-demo-agent-{os.getuid()}"
    with contextlib.suppress(OSError):  # nowhere to write: the sessions stay in memory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.lstat()
        # In a shared temporary directory somebody else may have made it, or a link of that name.
        if directory.is_dir() and not directory.is_symlink() and status.st_uid == os.getuid():
            return directory
    return None


class Sessions:
    """All sessions of this process; the mutable state is the map of them, touched by the reading thread only."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._sessions: dict[str, Session] = {}

    def create(self, cwd: str) -> Session:
        """Start a session in a directory."""
        session = Session(uuid.uuid4().hex, cwd)
        self._sessions[session.id] = session
        return session

    def copy(self, session: Session, cwd: str) -> Session:
        """Start a session that knows what was said in another one."""
        copied = dataclasses.replace(
            session, id=uuid.uuid4().hex, cwd=cwd, history=list(session.history), chosen=dict(session.chosen)
        )
        # What was allowed to one conversation is not allowed to its copy.
        copied.trusted = False
        self._sessions[copied.id] = copied
        return copied

    def listed(self, cwd: str | None) -> list[tuple[float, Session]]:
        """Return when each session of all processes last changed, and it, the newest first; of one directory or all.

        Times are in seconds since the epoch; sessions that could not be kept have none and come last.
        """
        found = {session.id: (0.0, session) for session in self._sessions.values()}
        for path in self._directory.glob("*.json") if self._directory else []:
            # Another process may remove it, and a file that is not a session is none.
            with contextlib.suppress(OSError):
                if session := self.get(path.stem) or self._read(path.stem):
                    found[session.id] = (path.stat().st_mtime, session)
        wanted = [entry for entry in found.values() if cwd in (None, entry[1].cwd)]
        return sorted(wanted, key=lambda entry: entry[0], reverse=True)[:LISTED]

    def get(self, session_id: str) -> Session | None:
        """Return a session of this process."""
        return self._sessions.get(session_id)

    def reopen(self, session_id: str, cwd: str) -> Session | None:
        """Return a session of this or an earlier process, now working in ``cwd``; None if nobody knows it."""
        session = self.get(session_id) or self._read(session_id)
        if session is not None:
            session.cwd = cwd
            self._sessions[session_id] = session
        return session

    def save(self, session: Session) -> None:
        """Keep a session for a later process (any thread may); a disk that refuses is reported on stderr."""
        if self._directory is None:
            return
        path = self._directory / f"{session.id}.json"
        part = path.with_suffix(".part")
        try:
            part.write_text(json.dumps(dataclasses.asdict(session)))
            # In one step: another process may list the sessions at this moment.
            part.replace(path)
        except OSError as exc:
            sys.stderr.write(f"session not saved: {exc}\n")

    def _read(self, session_id: str) -> Session | None:
        # The id comes from the client, and becomes a part of a path.
        if self._directory is None or not _SESSION_ID.fullmatch(session_id):
            return None
        try:
            session = Session(**json.loads((self._directory / f"{session_id}.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None
        # JSON has no tuples.
        session.history = [(role, text) for role, text in session.history]
        # A file of an earlier version has no choices, one of a later version others.
        known = {option: value for option, value in session.chosen.items() if offered(option, value)}
        session.chosen = beginning() | known
        session.trusted = False  # what was allowed "always" holds for one process
        return session
