"""What ended unread: turns of a person's that ended since they were last seen in the thread (A2).

Discord tells bots nothing of reading. Who writes, presses, gives a command or reacts in a thread has been there, and
what ended before is read; so is what they clear. Each thread keeps the last end for each person, over restarts, with
what else is kept for it (`bot.work.thread_settings`); nothing is remembered here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bot.model import Inbound, Outcome, ThreadPlace
from bot.reply.sanitise import clip, one_line
from bot.work.attention.notifications import FAILURES, MOST_PEOPLE
from bot.work.ports import Answer
from bot.work.thread_settings import ThreadSettings

READ_AFTER = 30 * 24 * 3600
"""Seconds after which an end is no longer listed."""

GIST_LIMIT = 80

_KEY = "unread"
_LOOKED_AT = 2_000
_BY_PEOPLE = frozenset({Outcome.STOPPED, Outcome.SUPERSEDED, Outcome.REMOVED, Outcome.STALE})
"""Ends that somebody has asked for in the thread."""


@dataclass(frozen=True, slots=True)
class Unread:
    """The end of somebody's message.

    Attributes:
        prompt: the id of the message; ``gist``: how it begins, on one line, without secrets.
        at: when it ended, in seconds since the epoch.
        failed: it was not answered.
        posted_in: the thread, or the channel in which the message opened it.
    """

    place: ThreadPlace
    prompt: int
    at: float
    failed: bool
    gist: str
    posted_in: int

    @property
    def link(self) -> str:
        """The address of the message, or of the thread that it has opened."""
        inside = self.posted_in == self.place.thread_id
        address = f"https://discord.com/channels/{self.place.guild_id}/{self.place.thread_id}"
        return f"{address}/{self.prompt}" if inside else address


class Inbox:
    """Knows what each person has not seen.

    Attributes:
        now: tells the seconds since the epoch.
    """

    def __init__(
        self, thread_settings: ThreadSettings, redact: Callable[[str], str], now: Callable[[], float] = time.time
    ) -> None:
        self._settings = thread_settings
        self._redact = redact
        self.now = now

    def ended(self, message: Inbound, outcome: Outcome) -> None:
        """Note the end of a message; `bot.work.delivery.Deliveries` tells it once it is recorded and visible."""
        if message.automatic or outcome in _BY_PEOPLE:
            return
        place = message.thread
        # Redacted before it is cut: the rest of a cut secret would not be recognised for certain.
        gist = clip(one_line(self._redact(message.gist[:_LOOKED_AT])), GIST_LIMIT)
        kept = self._of(place.thread_id)
        # Taken out before, so that it becomes the last: those in front are forgotten first.
        kept.pop(str(message.author.id), None)
        kept[str(message.author.id)] = {
            "prompt": message.message_id,
            "at": round(self.now(), 3),
            "failed": outcome in FAILURES or outcome in (Outcome.DROPPED, Outcome.OVER_BUDGET),
            "gist": gist,
            "guild": place.guild_id,
            "parent": place.parent_id,
            "in": message.channel_id,
        }
        self._keep(place.thread_id, dict(list(kept.items())[-MOST_PEOPLE:]))

    def seen(self, place_id: int | None, person_id: int, at: int | None = None, *, prompts: bool = False) -> None:
        """Take note that somebody has been in a place; ``at``: the snowflake of what they did there.

        Called for every message and press, so it costs nothing where nothing is unread. If they prompt there, it is
        written with the end of their turn: a write now would keep their prompt waiting for the disk once more.
        """
        ends = self._settings.kept(place_id, _KEY) if place_id is not None else None
        if place_id is None or not isinstance(ends, dict) or str(person_id) not in ends:
            return
        found = _read(place_id, ends[str(person_id)])
        # What was written before the prompt, and is only found now, says nothing of its end.
        # What can't be read is dropped with what was seen.
        if found is None or at is None or at > found.prompt:
            self._keep(place_id, {key: end for key, end in ends.items() if key != str(person_id)}, at_once=not prompts)

    def unread(self, person_id: int, guild_id: int | None) -> list[Unread]:
        """Return what ended unread in a server, what waits longest first."""
        since = self.now() - READ_AFTER
        found = [
            end
            for place_id, ends in self._settings.all_kept(_KEY).items()
            if isinstance(ends, dict) and (end := _read(place_id, ends.get(str(person_id)))) is not None
        ]
        return sorted(
            (end for end in found if end.place.guild_id == guild_id and end.at >= since), key=lambda end: end.at
        )

    def clear(self, person_id: int, guild_id: int | None, until: float) -> Answer:
        """Count all as read that had ended by ``until`` (seconds since the epoch): what came since, nobody has seen."""
        ends = [end for end in self.unread(person_id, guild_id) if end.at <= until]
        for end in ends:
            self.seen(end.place.thread_id, person_id)
        return Answer("Cleared." if ends else "Nothing to clear.", accepted=True, lasting=bool(ends))

    def _of(self, thread_id: int) -> dict[str, Any]:
        ends = self._settings.kept(thread_id, _KEY)
        return dict(ends) if isinstance(ends, dict) else {}

    def _keep(self, thread_id: int, ends: dict[str, Any], *, at_once: bool = True) -> None:
        self._settings.keep(thread_id, {_KEY: ends or None}, at_once=at_once)


def _read(thread_id: int, kept: Any) -> Unread | None:
    """Return an end as it was kept; None if it can't be understood: another version may have written it."""
    try:
        place = ThreadPlace(kept["guild"], thread_id, kept["parent"])
        return Unread(
            place, int(kept["prompt"]), float(kept["at"]), bool(kept["failed"]), str(kept["gist"]), int(kept["in"])
        )
    except (KeyError, TypeError, ValueError):
        return None
