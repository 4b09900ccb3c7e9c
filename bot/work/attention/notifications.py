"""Whom a message may ping: the person whose prompt it is, as often as they want it (A1, D9).

One ping when input is needed, one when a long turn ends, one on failure. Who pings nobody says so by None. Choices are
kept by `bot.work.thread_settings`; nothing else is remembered here.
"""

from __future__ import annotations

from enum import StrEnum

import structlog

from bot.model import Actor, Inbound, Outcome, ThreadPlace
from bot.work.ending import TurnEnd
from bot.work.ports import Answer
from bot.work.running_turn import RunningTurn
from bot.work.thread_settings import ThreadSettings

log = structlog.get_logger(__name__)

LONG_TURN = 120.0
"""Seconds from which on whoever asked has probably gone away: they are notified that the turn is over."""

MOST_PEOPLE = 200
"""People whose choice is kept for a place; whoever chose longest ago is forgotten first."""

_KEY = "notify"


class Notify(StrEnum):
    """When somebody is pinged for what they have asked."""

    ALWAYS = "always"
    """When input is needed, and at each end of a turn."""
    NEEDED = "needed"
    """When input is needed, when a turn of two minutes or more ends, and when one fails."""
    NEVER = "never"


_CHOSEN = {
    Notify.ALWAYS: "I'll ping you {where} when an agent needs your answer, and whenever a turn of yours ends.",
    Notify.NEEDED: (
        "I'll ping you {where} when an agent needs your answer, when a turn of 2 min or more ends, and when one fails."
    ),
    Notify.NEVER: "I won't ping you {where}, not even when an agent waits for your answer. `/inbox` lists what waits.",
}

FAILURES = frozenset(
    {
        Outcome.FAILED,
        Outcome.TIMED_OUT,
        Outcome.AGENT_DIED,
        Outcome.AGENT_UNREACHABLE,
        Outcome.COULD_NOT_START,
        Outcome.INTERRUPTED,
    }
)
"""Ends that nobody has asked for."""


class Notifications:
    """Knows when whom to ping.

    Attributes:
        usual: holds for those who have chosen nothing.
    """

    def __init__(self, thread_settings: ThreadSettings, usual: Notify = Notify.NEEDED) -> None:
        self._settings = thread_settings
        self.usual = usual

    def choose(self, level: Notify, by: Actor, thread_id: int | None, guild_id: int | None) -> Answer:
        """Choose for a person: for a thread or, without one, wherever in the server they have chosen nothing else."""
        place_id = thread_id if thread_id is not None else guild_id
        assert place_id is not None
        chosen = self._chosen(place_id)
        # Deleted first, so that it becomes the last: those in front go.
        chosen.pop(str(by.id), None)
        chosen[str(by.id)] = str(level)
        self._settings.keep(place_id, {_KEY: dict(list(chosen.items())[-MOST_PEOPLE:])})
        log.info("notify.chosen", place=place_id, level=str(level), user=by.id)
        where = (
            "in this thread"
            if thread_id is not None
            else "in all threads of this server where you have not chosen otherwise"
        )
        return Answer(_CHOSEN[level].format(where=where), accepted=True, lasting=True)

    def level(self, person_id: int, thread: ThreadPlace) -> Notify:
        """Return what somebody has chosen for a thread, else for its server."""
        for place_id in (thread.thread_id, thread.guild_id):
            level = self._chosen(place_id).get(str(person_id))
            if level in tuple(Notify):  # another version may have written it
                return Notify(level)
        return self.usual

    def at_end(self, first: Inbound, end: TurnEnd, seconds: float) -> int | None:
        """Return whom the end of a turn pings; ``first``: of its messages, ``seconds``: since it was admitted."""
        level = self.level(first.author.id, first.thread)
        # 1. Bots read no pings; and what was never begun has its end at once, or somebody else has ended it.
        if first.automatic or level is Notify.NEVER:
            return None
        if end.snapshot is None and end.outcome not in FAILURES:
            return None
        # 2. Who has ended it themselves is there, and knows.
        ended_by = end.by or (end.snapshot.cancelled_by if end.snapshot is not None else None)
        if ended_by == first.author.name and end.outcome not in FAILURES:
            return None
        wanted = level is Notify.ALWAYS or end.outcome in FAILURES or seconds >= LONG_TURN
        return first.author.id if wanted else None

    def asked(self, running: RunningTurn, role: int | None) -> tuple[int | None, int | None]:
        """Return whom a question of a turn pings, a person or a role; to be asked before it is one of the turn's.

        Args:
            role: decides in place of a bot, which reads no card.
        """
        first = running.first
        # Once for all that is open: whoever was pinged for the first finds the others below it.
        if running.waiting_for_people:
            return None, None
        if first.automatic:
            return None, role
        return (first.author.id if self.level(first.author.id, first.thread) is not Notify.NEVER else None), None

    def cut_off(self, first: Inbound) -> int | None:
        """Return whom it pings that the bot's end has cut a turn off."""
        return self.at_end(first, TurnEnd(Outcome.INTERRUPTED), 0.0)

    def _chosen(self, place_id: int | None) -> dict[str, str]:
        chosen = self._settings.kept(place_id, _KEY)
        return dict(chosen) if isinstance(chosen, dict) else {}
