"""When a schedule fires: expressions of five fields, read by the library `cronsim`, in a time zone (pure).

Where the clocks change, the library's rules hold, which are those of Debian's cron: a job at a fixed time that the
change leaves out runs right after it, one at a time that comes twice runs once; what runs every so many minutes or
hours goes by the time that really passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from bot.reply.sanitise import inline_code

SHORTEST = 5
"""Minutes that lie between two times of a schedule at least."""

MOST_MISSED = 200
"""Missed times that are counted; beyond that nobody wants to know the number."""

_EXPRESSION_LIMIT = 100
_DAY = 24 * 60
"""Minutes."""

_SOON, _FAR = 6 * 24 * 3600, 300 * 24 * 3600
"""Seconds up to which a day of the week says enough, and beyond which a time needs its year."""

_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
CHOICES = (
    ("Every weekday at 9:00", "0 9 * * 1-5"),
    ("Every day at 9:00", "0 9 * * *"),
    ("Every Monday at 9:00", "0 9 * * 1"),
    ("Every hour", "@hourly"),
    ("Every 15 minutes", "*/15 * * * *"),
    ("Every midnight", "@daily"),
    ("Every Sunday at midnight", "@weekly"),
    ("On the first of each month at 9:00", "0 9 1 * *"),
)
"""What most people want, with its expression."""

_FAULTS = (KeyError, ValueError, OSError, OverflowError)
"""What comes of a time zone that is not there, and of a clock that is beyond all years."""

NOT_ANY_MORE = "I can no longer read its times or its time zone"
_FIELDS = "write five fields: minute, hour, day of the month, month, day of the week, such as `0 9 * * 1-5`"


class NotATimetable(Exception):
    """An expression can't be used; the message says why, for people."""


@dataclass(frozen=True, slots=True)
class Timetable:
    """The times of a schedule.

    Attributes:
        expression: as somebody wrote it, in single spaces.
        zone: the name of the time zone by whose clocks it goes.
    """

    expression: str
    zone: str

    def after(self, at: float) -> int | None:
        """Return the first time after a moment, both in seconds since the epoch; None: there is none in 50 years.

        Raises:
            NotATimetable: what was kept can't be read by this version, or with the time zones of this machine.
        """
        try:
            for found in CronSim(self._fields, datetime.fromtimestamp(at, ZoneInfo(self.zone))):
                # Of an hour that comes twice the library means the first, which may be over.
                if (seconds := int(found.timestamp())) > at:
                    return seconds
        except (CronSimError, *_FAULTS) as exc:
            raise NotATimetable(NOT_ANY_MORE) from exc
        return None

    def passed(self, due: int, now: float) -> tuple[int, int]:
        """Return the latest time up to now, and how many there were from ``due`` on; see `MOST_MISSED`."""
        latest, count = due, 1
        while count <= MOST_MISSED and (found := self.after(latest)) is not None and found <= now:
            latest, count = found, count + 1
        if count > MOST_MISSED:
            latest = self._latest(latest, int(now))
        return latest, count

    def _latest(self, found: int, now: int) -> int:
        """Return the last time up to now, which is ``found`` or later, without going through all between."""
        beyond = now + 1
        while beyond - found > 1:
            middle = (found + beyond) // 2
            following = self.after(middle)
            if following is not None and following <= now:
                found = following
            else:
                beyond = middle
        return found

    @property
    def _fields(self) -> str:
        return _NAMED.get(self.expression.lower(), self.expression)


def read(when: str, zone: str, now: float) -> Timetable:
    """Return the times that an expression stands for.

    Raises:
        NotATimetable: it can't be read, never fires, or fires too often; or there is no such time zone.
    """
    expression = " ".join(when.split())
    # Typed as it stands in the suggestions, and none of them chosen.
    expression = next((one for label, one in CHOICES if label.casefold() == expression.casefold()), expression)
    found = Timetable(expression, zone)
    if len(expression) > _EXPRESSION_LIMIT:
        raise NotATimetable(f"That is too long for a schedule: {_FIELDS}.")
    if expression.startswith("@") and expression.lower() not in _NAMED:
        raise NotATimetable(f"I don't know {inline_code(expression)}, only {', '.join(f'`{one}`' for one in _NAMED)}.")
    # Counted here: the library takes a sixth one, for seconds.
    if len(found._fields.split()) != 5:
        raise NotATimetable(f"I can't read {inline_code(expression)}: {_FIELDS}.")
    try:
        start = datetime.fromtimestamp(now, ZoneInfo(zone))
    except _FAULTS as exc:
        raise NotATimetable(f"I don't know the time zone {inline_code(zone)}.") from exc
    try:
        times = CronSim(found._fields, start)
    except CronSimError as exc:
        # Its words are short and its own: "Bad day-of-month".
        raise NotATimetable(f"I can't read {inline_code(expression)} ({str(exc).lower()}): {_FIELDS}.") from exc
    except (AssertionError, ValueError) as exc:
        raise NotATimetable(f"I can't read {inline_code(expression)}: {_FIELDS}.") from exc
    if found.after(now) is None:
        raise NotATimetable(f"{inline_code(expression)} never comes: there is no such day.")
    if _shortest(times) < SHORTEST:
        raise NotATimetable(
            f"That is too often: leave at least {SHORTEST} minutes between two runs, as in `*/{SHORTEST} * * * *`."
        )
    return found


def _shortest(times: CronSim) -> int:
    """Return how many minutes lie between two times of one day, or of two days in a row, at least."""
    minutes = sorted(60 * hour + minute for hour in times.hours for minute in times.minutes)
    return min(later - earlier for earlier, later in pairwise([*minutes, minutes[0] + _DAY]))


def told(at: float, zone: str, now: float) -> str:
    """Return a time as people read it who have that zone's clocks: ``Mon 09:00``, with the date if it is far off."""
    try:
        when = datetime.fromtimestamp(at, ZoneInfo(zone))
    except _FAULTS:
        # It is shown all the same, so that somebody can remove it.
        return f"{datetime.fromtimestamp(at, UTC):%d %b %H:%M} UTC"
    if at - now < _SOON:
        return f"{when:%a %H:%M}"
    return f"{when:%a} {when.day} {when:%b %H:%M}" if at - now < _FAR else f"{when.day} {when:%b %Y %H:%M}"


def suggested(typed: str, zone: str, now: float) -> list[tuple[str, str]]:
    """Return what somebody may mean who has typed this: as texts that say when that is next, and as expressions."""
    typed = " ".join(typed.split())
    found = [(label, expression) for label, expression in CHOICES if typed.lower() in f"{label} {expression}".lower()]
    try:
        read(typed, zone, now)
    except NotATimetable:
        pass
    else:
        found = [(typed, typed), *(one for one in found if one[1] != typed)]
    listed = []
    for label, expression in islice(found, 25):
        at = Timetable(expression, zone).after(now)
        listed.append((f"{label} · next: {told(at or now, zone, now)}", expression))
    return listed
