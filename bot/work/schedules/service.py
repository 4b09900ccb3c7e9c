"""Schedules: people make them, look at them, pause and remove them (A5). What happens when one fires: `runner`.

Decisions go by what is in memory, which has all that the store has. The mutable state is the schedules by their ids.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import anyio.lowlevel
import structlog

from bot.model import Actor, ThreadPlace, snowflake_at
from bot.reply.sanitise import inline_code
from bot.work.ports import Answer
from bot.work.schedules.cron import NotATimetable, Timetable, read, told
from bot.work.schedules.firing import made_by_agent
from bot.work.schedules.zones import TimeZones
from bot.work.task_tracker import TaskTracker
from pool.storage.durable import SessionStore
from pool.store import KeptSchedule

log = structlog.get_logger(__name__)

MOST = 20
"""Schedules of one person, paused ones too."""

PROMPT_LIMIT = 2000

TOO_MANY = Answer(f"You have {MOST} schedules already. Remove one in `/schedules` first.", accepted=False)
NO_PROMPT = Answer("The prompt is empty: say what you want done.", accepted=False)
TOO_LONG = Answer(f"That prompt is too long: a schedule takes up to {PROMPT_LIMIT:,} characters.", accepted=False)
GONE = Answer("This schedule is gone.", accepted=False)
NOT_YOURS = Answer("Only the person who made this schedule, approvers and the owner can change it.", accepted=False)


class Schedules:
    """Keeps the schedules.

    Attributes:
        rows: all of them, by id; only `keep` and `drop` change them.
        now: tells the seconds since the epoch, by the wall clock: schedules go by that of people.
        changed: called whenever one may be due sooner than was known.
    """

    def __init__(
        self,
        tracker: TaskTracker,
        store: SessionStore,
        zones: TimeZones,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.zones, self.now = zones, now
        self.rows: dict[int, KeptSchedule] = {}
        self.changed: Callable[[], None] = lambda: None
        self._tracker, self._store = tracker, store

    async def load(self) -> None:
        """Read what earlier runs have kept."""
        self.rows = {one.schedule_id: one for one in await self._store.schedules()}

    # --- what people do ----------------------------------------------------------------------------------------------

    async def add(self, place: ThreadPlace, by: Actor, when: str, prompt: str, *, by_agent: bool = False) -> Answer:
        """Make a schedule as `make` does, and wait until it is written down."""
        answer = self.make(place, by, when, prompt, by_agent=by_agent)
        if answer.accepted:
            await anyio.lowlevel.checkpoint()  # what writes it begins in this moment
            await self._store.flush()
        return answer

    def make(self, place: ThreadPlace, by: Actor, when: str, prompt: str, *, by_agent: bool = False) -> Answer:
        """Let a prompt run in a thread again and again, as ``by``, who may have the agent work there.

        Args:
            by_agent: an agent makes it in that person's name.
        """
        prompt, now, zone = prompt.strip(), self.now(), self.zones.of(place)
        if not prompt:
            return NO_PROMPT
        if len(prompt) > PROMPT_LIMIT:
            return TOO_LONG
        if sum(one.author_id == by.id for one in self.rows.values()) >= MOST:
            return TOO_MANY
        try:
            times = read(when, zone, now)
        except NotATimetable as exc:
            return Answer(str(exc), accepted=False)
        due = times.after(now) or 0
        # As a message's id, so that it can't be one of an earlier schedule of which a button still stands somewhere.
        schedule_id = max(snowflake_at(now), max(self.rows, default=0) + 1)
        channel_id = place.parent_id if place.parent_id is not None else place.thread_id
        row = KeptSchedule(
            schedule_id, place.guild_id, channel_id, place.thread_id, by.id, by.name, times.expression, zone, prompt,
            paused="", created_at=int(now), due_at=due, fired_at=0,
        )  # fmt: skip
        if by_agent:
            row = made_by_agent(row)
        self.keep(row)
        self.changed()
        log.info(
            "schedule.made",
            schedule=schedule_id, thread=place.thread_id, by=by.id, agent=by_agent, cron=times.expression,
        )  # fmt: skip
        text = f"⏰ Scheduled: {inline_code(times.expression)}, {inline_code(zone)} time. {self._next(row)}"
        return Answer(f"{text} Use `/schedules` to pause or remove it.", accepted=True, lasting=True)

    def pause(self, schedule_id: int, by: Actor, guild_id: int | None) -> Answer:
        """Let a schedule not run until somebody resumes it; ``guild_id``: of the server in which they ask."""
        row = self._changed_by(schedule_id, by, guild_id)
        if isinstance(row, Answer):
            return row
        if not row.paused:
            self.stop(row, f"paused by {by.name}", by=by.id)
        return Answer("Paused.", accepted=True, lasting=True)

    def resume(self, schedule_id: int, by: Actor, guild_id: int | None) -> Answer:
        """Let a schedule run again, from its next time on."""
        row = self._changed_by(schedule_id, by, guild_id)
        if isinstance(row, Answer):
            return row
        if row.paused:
            try:
                due = Timetable(row.cron, row.zone).after(self.now()) or 0
            except NotATimetable as exc:
                return Answer(f"This schedule stays paused: {exc}.", accepted=False)
            row = replace(row, paused="", due_at=due)
            self.keep(row)
            self.changed()
            log.info("schedule.resumed", schedule=schedule_id, thread=row.thread_id, by=by.id)
        return Answer(f"Resumed. {self._next(row)}", accepted=True, lasting=True)

    def remove(self, schedule_id: int, by: Actor, guild_id: int | None) -> Answer:
        """Take a schedule away."""
        row = self._changed_by(schedule_id, by, guild_id)
        if isinstance(row, Answer):
            return row
        self.drop(row, "removed", by=by.id)
        return Answer("Removed.", accepted=True, lasting=True)

    def may_change(self, row: KeptSchedule, by: Actor, guild_id: int | None) -> bool:
        """Return whether somebody may change a schedule where they ask: an approver of one server is none elsewhere."""
        approves = by.approver and guild_id is not None and guild_id == row.guild_id
        return by.id == row.author_id or by.owner or approves

    def _changed_by(self, schedule_id: int, by: Actor, guild_id: int | None) -> KeptSchedule | Answer:
        row = self.rows.get(schedule_id)
        if row is None:
            return GONE
        return row if self.may_change(row, by, guild_id) else NOT_YOURS

    def _next(self, row: KeptSchedule) -> str:
        return f"Next: {told(row.due_at, row.zone, self.now())} (<t:{row.due_at}:R>)." if row.due_at else ""

    # --- what the runner and the rest of the work do -----------------------------------------------------------------

    def listed(self, by: Actor, guild_id: int | None, thread_id: int | None) -> list[KeptSchedule]:
        """Return the schedules of a thread, those of whoever asks, and all of the server for who may change them."""
        found = [
            row
            for row in self.rows.values()
            if row.thread_id == thread_id
            or row.author_id == by.id
            or (row.guild_id == guild_id and guild_id is not None and self.may_change(row, by, guild_id))
        ]
        # Those that run next come first, paused ones last.
        return sorted(
            found, key=lambda row: (row.thread_id != thread_id, bool(row.paused), row.due_at, row.schedule_id)
        )

    def keep(self, row: KeptSchedule) -> None:
        """Keep a schedule; it holds at once, and is written down soon."""
        self.rows[row.schedule_id] = row
        self._tracker.begin(self._store.keep_schedule, row, name=f"keep schedule {row.schedule_id}")

    def stop(self, row: KeptSchedule, why: str, *, by: int = 0) -> None:
        """Pause a schedule, as somebody wants or because it can't run; ``why`` is for people."""
        self.keep(replace(row, paused=why, due_at=0))
        log.info("schedule.paused", schedule=row.schedule_id, thread=row.thread_id, reason=why, by=by)

    def drop(self, row: KeptSchedule, why: str, *, by: int = 0) -> None:
        """Take a schedule away."""
        # Once: a press and the end of its place may both want it gone.
        if self.rows.pop(row.schedule_id, None) is not None:
            self._tracker.begin(self._store.drop_schedule, row.schedule_id, name=f"drop schedule {row.schedule_id}")
            log.info("schedule.removed", schedule=row.schedule_id, thread=row.thread_id, reason=why, by=by)

    def forget(self, place_id: int) -> None:
        """Take away the schedules of a thread, a channel or a server that is gone."""
        for row in list(self.rows.values()):
            if place_id in (row.thread_id, row.channel_id, row.guild_id):
                self.drop(row, "its place is gone")

    def counts(self) -> tuple[int, int]:
        """Return how many schedules run, and how many are paused."""
        paused = sum(bool(row.paused) for row in self.rows.values())
        return len(self.rows) - paused, paused


def by_thread(rows: Iterable[KeptSchedule]) -> dict[int, list[KeptSchedule]]:
    """Return schedules by their threads, each one's and the threads by when they are due."""
    found: dict[int, list[KeptSchedule]] = {}
    for row in sorted(rows, key=lambda one: (one.due_at, one.schedule_id)):
        found.setdefault(row.thread_id, []).append(row)
    return found
