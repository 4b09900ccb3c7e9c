"""By whose clocks schedules go: the time zone of a server, else the one of the settings, else the machine's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import anyio.to_thread

from bot.model import ThreadPlace
from bot.reply.sanitise import inline_code
from bot.wording import nearest
from bot.work.ports import Answer
from bot.work.thread_settings import ThreadSettings

_ZONE = "time_zone"
_LINK = Path("/etc/localtime")
_DATABASE = "zoneinfo/"
UTC = "UTC"


class TimeZones:
    """Knows the time zone of each server, or conversation in direct messages.

    Args:
        usual: where nobody has chosen one.
    """

    def __init__(self, settings: ThreadSettings, usual: str) -> None:
        self._settings, self._usual = settings, usual
        self._names: tuple[str, ...] = ()

    def of(self, place: ThreadPlace) -> str:
        """Return the name of the zone in which a schedule of a thread is made."""
        kept = self._settings.kept(_place_of(place), _ZONE)
        # An update of the machine may have taken away what was chosen once.
        return kept if isinstance(kept, str) and is_zone(kept) else self._usual

    def choose(self, place: ThreadPlace, name: str) -> Answer:
        """Let new schedules of a server go by another zone."""
        if not is_zone(name):
            near = nearest(name, self._names)
            hint = f"Did you mean {inline_code(near)}?" if near else "Write it like `Europe/Berlin`."
            return Answer(f"I don't know the time zone {inline_code(name)}. {hint}", accepted=False)
        self._settings.keep(_place_of(place), {_ZONE: name})
        text = f"New schedules here go by the clocks of {inline_code(name)}. Those that are there keep theirs."
        return Answer(text, accepted=True, lasting=True)

    async def names(self) -> tuple[str, ...]:
        """Return the names of all zones."""
        if not self._names:
            # It looks through directories.
            found = await anyio.to_thread.run_sync(available_timezones, abandon_on_cancel=True)
            self._names = tuple(sorted(found))
        return self._names


def _place_of(place: ThreadPlace) -> int:
    return place.guild_id if place.guild_id is not None else place.thread_id


def is_zone(name: str) -> bool:
    """Return whether this machine knows a time zone."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # No such zone; no name of one, such as a path that leads elsewhere; a directory.
        return False
    return True


def usual_zone(chosen: object, environ: Mapping[str, str] = os.environ, link: Path = _LINK) -> str:
    """Return the zone of the settings, if one is ``chosen`` there, else the machine's, as far as it has a name."""
    if isinstance(chosen, ZoneInfo) and chosen.key:
        return chosen.key
    named = environ.get("TZ", "").lstrip(":")
    try:
        linked = str(link.readlink()).partition(_DATABASE)[2]
    except OSError:
        linked = ""
    return next((name for name in (named, linked) if name and is_zone(name)), UTC)
