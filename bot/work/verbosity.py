"""How much of its turns a thread shows: chosen for it, for its channel or for the server, else by the settings (V1).

What each level shows is decided in `bot.reply`. Choices are kept by `bot.work.thread_settings`; nothing is kept here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import structlog

from bot.model import Actor, Inbound, Verbosity
from bot.work.ports import Answer
from bot.work.running_turn import RunningTurn
from bot.work.runs import Runs
from bot.work.thread_settings import ThreadSettings
from bot.work.turn_events import TurnListener

log = structlog.get_logger(__name__)

_KEY = "verbosity"

LEVELS = {
    Verbosity.QUIET: "only the answer and its last line",
    Verbosity.NORMAL: "also what it is doing, its plan, and its tools in one line",
    Verbosity.VERBOSE: "also what its tools print and change, and what it thinks",
}
"""What people read about each level."""


class Scope(StrEnum):
    """For what something is chosen; the nearest choice counts."""

    THREAD = "thread"
    CHANNEL = "channel"
    SERVER = "server"


_FROM_NOW_ON = {Scope.THREAD: "In this thread", Scope.CHANNEL: "In this channel", Scope.SERVER: "In this server"}


@dataclass(frozen=True, slots=True)
class Places:
    """Where something is shown or chosen: a thread, the channel that it stands in, and the server."""

    thread: int | None = None
    channel: int | None = None
    server: int | None = None

    def of(self, scope: Scope) -> int | None:
        """Return the place that a choice for ``scope`` belongs to."""
        return {Scope.THREAD: self.thread, Scope.CHANNEL: self.channel, Scope.SERVER: self.server}[scope]


def places_of(inbound: Inbound) -> Places:
    """Return where the thread of a message is."""
    channel = inbound.channel_id if inbound.parent_id is None else inbound.parent_id
    return Places(inbound.thread_id, channel, inbound.guild_id)


class VerbosityChoices(TurnListener):
    """Knows what was chosen where, and lets running turns follow."""

    def __init__(self, runs: Runs, thread_settings: ThreadSettings) -> None:
        self._runs = runs
        self._settings = thread_settings

    def level_in(self, places: Places) -> tuple[Verbosity, Scope | None]:
        """Return how much is shown, and for what that was chosen; None: nobody chose, the settings say it."""
        for scope in Scope:
            kept = self._settings.kept(places.of(scope), _KEY)
            if kept in tuple(Verbosity):  # what an older or newer version wrote may be none
                return Verbosity(kept), scope
        return self._runs.limits.verbosity, None

    def started(self, running: RunningTurn) -> None:
        """Let a turn begin with the level of its thread."""
        running.reply.verbosity, _ = self.level_in(places_of(running.first))

    def choose(self, scope: Scope, places: Places, level: Verbosity | None, by: Actor) -> Answer:
        """Choose a level, or with None go by the wider choice again; turns that run show it at once."""
        place_id = places.of(scope)
        if place_id is None:
            return Answer("This can't be chosen here.", accepted=False)
        self._settings.keep(place_id, {_KEY: None if level is None else str(level)})
        log.info("verbosity.chosen", place=place_id, level=level and str(level), scope=str(scope), user=by.id)
        for running in self._runs.running.values():
            level_now, _ = self.level_in(places_of(running.first))
            if running.reply.verbosity is not level_now:
                running.reply.verbosity = level_now
        text = f"{_FROM_NOW_ON[scope]} from now on: **{level}**: {LEVELS[level]}." if level else "Choice removed."
        holds, chosen_for = self.level_in(places)
        # The choice that somebody made for the thread hides a wider one, which they would miss.
        if level is None or (chosen_for is not None and chosen_for is not scope):
            text += f" {self._told(holds, chosen_for)}"
        return Answer(text, accepted=True, lasting=True)

    def describe(self, places: Places) -> Answer:
        """Return which level holds, and why."""
        return Answer(self._told(*self.level_in(places)), accepted=True)

    def _told(self, level: Verbosity, chosen_for: Scope | None) -> str:
        why = f"chosen for this {chosen_for}" if chosen_for else "the usual level"
        return f"Shown here: **{level}** ({why}): {LEVELS[level]}."
