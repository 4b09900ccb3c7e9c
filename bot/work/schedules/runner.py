"""Lets schedules fire: looks at the clock, and makes of each time that has come one prompt in its thread (A5).

A time is written down before its message is posted, and the message's prompt before it counts, so a kill at any point
leaves one prompt, not none and not two. The mutable state is which schedules are on their way to a prompt, the line
with which each thread was told that it was too busy, and when the next thread may catch up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import inf

import anyio
import structlog

from bot.model import Actor
from bot.recent import RecentMap
from bot.reply.editor import Delivery, ThreadEditor
from bot.reply.port import Body, PortError, ThreadDeleted, Unavailable
from bot.reply.sanitise import inline_code
from bot.work.editors import Editors
from bot.work.intake import Intake
from bot.work.ports import Chat, Lookups
from bot.work.schedules.cron import NotATimetable, Timetable, told
from bot.work.schedules.firing import GIST_LIMIT, NAME_LIMIT, Firing, fired, firing_of, place_of
from bot.work.schedules.service import Schedules, by_thread
from bot.work.serialization import accepted_prompt
from bot.work.skipped import RateLimiter
from bot.work.task_tracker import TaskTracker
from pool.storage.durable import SessionStore
from pool.store import KeptSchedule, StoreBusy

log = structlog.get_logger(__name__)

LOOK = 15.0
"""Seconds between two looks at the clock at most: it may be set, and the machine may have slept."""

HELD = 1.0
"""Seconds until the next look while nothing may start."""

LATE = 90.0
"""Seconds after which a time counts as missed: then threads come one by one."""

SPREAD = 2.0
"""Seconds between two threads that catch up."""

WRONG_CLOCK = 24 * 3600.0
"""Seconds by which the past lies ahead if the clock was wrong then, and not merely set."""

AT_ONCE, BREATH = 50, 0.1
"""Threads that begin in one look, and seconds until the next one: a thousand would keep all other work waiting."""

AGAIN, LONGEST_AGAIN = 1.0, 15.0
"""Seconds until Discord or the store is asked again; doubled each time."""

MOST_SKIPPED = 200
"""Schedules of which the line that tells that they were skipped can still be changed."""

NOT_LET_IN = "its author may no longer use Weft here, or has left"
NO_WRITING = "the thread is locked, or I can't write in it"


@dataclass(slots=True)
class _Skips:
    """The line that tells a thread that a schedule was skipped, and how often since it last ran."""

    editor: ThreadEditor
    line: Delivery
    count: int = 1


@dataclass(eq=False)
class ScheduleRunner:
    """Runs what is due.

    Args:
        redact: takes secrets out of what is posted.
    """

    schedules: Schedules
    tracker: TaskTracker
    chat: Chat
    lookups: Lookups
    store: SessionStore
    editors: Editors
    intake: Intake
    limiter: RateLimiter
    redact: Callable[[str], str]
    _firing: dict[int, int] = field(init=False, default_factory=dict)
    _skips: RecentMap[int, _Skips] = field(init=False, default_factory=lambda: RecentMap(MOST_SKIPPED))
    _next_late: float = field(init=False, default=-inf)
    _woken: anyio.Event = field(init=False, default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self.schedules.changed = self.wake

    def wake(self) -> None:
        """Look at the clock: something may be due sooner than was known."""
        self._woken.set()

    async def load(self) -> None:
        """Take over the schedules, and go on with what a kill cut off on its way to a prompt."""
        await self.schedules.load()
        for row in list(self.schedules.rows.values()):
            try:
                firing = firing_of(row)
            except ValueError:
                # Better one time too few than one bot that does not start.
                log.exception("schedule.damaged", schedule=row.schedule_id)
                self.schedules.keep(fired(row, None))
            else:
                if firing is not None:
                    self._begin(row, firing, again=True)
        self.wake()

    async def run(self) -> None:
        """Look at the clock for ever."""
        while True:
            try:
                wait = self._look()
            except Exception:
                # One schedule that nobody can make sense of must not end the work of all threads (O4).
                log.exception("schedules.failed")
                wait = LOOK
            # Made after the look and before any await: no wake-up gets lost in between.
            self._woken = anyio.Event()
            # However many wake it: each look goes through all schedules.
            await anyio.sleep(BREATH)
            with anyio.move_on_after(wait):
                await self._woken.wait()

    # --- deciding, without await -------------------------------------------------------------------------------------

    def _look(self) -> float:
        """Start what is due; return in how many seconds to look again."""
        active = [row for row in self.schedules.rows.values() if row.due_at and not row.paused]
        if self.intake.closed or not active:
            return inf
        # What people posted meanwhile comes first, and may make a thread busy.
        if self.intake.scheduler.held:
            return HELD
        now = self.schedules.now()
        for row in active:
            if max(row.fired_at, row.created_at) > now + WRONG_CLOCK:
                self._put_right(row, now)
        due = by_thread(row for row in active if row.due_at <= now)
        # One that is on its way may make the thread busy by itself: the others are not skipped for that.
        under_way, begun = set(self._firing.values()), 0
        for thread_id, rows in due.items():
            if thread_id not in under_way and self._may_begin(now - rows[0].due_at):
                self._take(rows, now)
                begun += 1
                if begun == AT_ONCE:
                    return 0.0
        left = [row.due_at - now for row in self.schedules.rows.values() if row.due_at and not row.paused]
        return max(HELD, min([LOOK, *left])) if left else inf

    def _may_begin(self, late: float) -> bool:
        """Return whether a thread may begin now: of those that were missed, one after the other."""
        if late < LATE:
            return True
        now = anyio.current_time()
        if now < self._next_late:
            return False
        self._next_late = now + SPREAD
        return True

    def _take(self, rows: Iterable[KeptSchedule], now: float) -> None:
        """Let the schedules of one thread that are due run, one behind the other, or skip them all."""
        rows = list(rows)
        # Asked once for all of them: what they themselves bring is not in each other's way.
        busy = not self.intake.scheduler.queue(rows[0].thread_id).idle
        for row in rows:
            try:
                times = Timetable(row.cron, row.zone)
                latest, count = times.passed(row.due_at, now)
                # From now on and not from the time that was due: what was missed is not run one by one.
                ahead = replace(row, due_at=times.after(now) or 0, fired_at=int(now))
            except NotATimetable as exc:
                self.schedules.stop(row, str(exc))
                self._say(row, f"paused: {exc}")
                continue
            if latest <= max(row.fired_at, row.created_at) <= now:
                # Reckoned while the clock was behind, as on a machine that starts in 1970: it has come already.
                self.schedules.keep(replace(ahead, fired_at=row.fired_at))
            elif busy:
                self.schedules.keep(ahead)
                self._skip(ahead)
            else:
                self._skips.pop(row.schedule_id, None)
                firing = Firing(latest, count, int(now))
                self.schedules.keep(fired(ahead, firing))
                self._begin(ahead, firing)

    def _put_right(self, row: KeptSchedule, now: float) -> None:
        """Let a schedule go by the clock again that went by a wrong one: it would be silent until then."""
        with suppress(NotATimetable):
            due = Timetable(row.cron, row.zone).after(now) or 0
            if 0 < due < row.due_at:
                # When it fired stays as it is: it may be the clock of now that is wrong.
                self.schedules.keep(replace(row, due_at=due))
                log.warning("schedule.put_right", schedule=row.schedule_id, fired_at=row.fired_at)

    def _begin(self, row: KeptSchedule, firing: Firing, *, again: bool = False) -> None:
        self._firing[row.schedule_id] = row.thread_id
        self.tracker.begin(self._fire, row.schedule_id, firing, again, name=f"schedule {row.schedule_id}")

    # --- a time that has come ----------------------------------------------------------------------------------------

    async def _fire(self, schedule_id: int, firing: Firing, again: bool) -> None:
        try:
            await self._ask(schedule_id, firing, again)
        finally:
            del self._firing[schedule_id]
            self.wake()

    async def _ask(self, schedule_id: int, firing: Firing, again: bool) -> None:
        """Post the message of a firing, and make it a prompt; ``again``: an earlier run may have done that."""
        # 1. As of now, and before anybody reads it: rights may be gone since the schedule was made.
        row = self.schedules.rows.get(schedule_id)
        if row is None:
            return
        try:
            author = await self._author_now(row)
        except Unavailable:
            return  # the bot stops: the next run goes on
        if author is None:
            self._give_up(schedule_id, NOT_LET_IN)
            return
        # 2. Record before show: the row is on its way since the decision; a message that nobody knows of would be
        # posted once more after a kill.
        await self.store.flush()
        # Nobody has read anything of it yet: who has paused or removed it meanwhile wants no more of it.
        now = self.schedules.rows.get(schedule_id)
        if now is None or (now.paused and not again):
            self._settle(schedule_id)
            return
        # 3. Its message.
        editor = self.editors.of(row.thread_id)
        body = firing.body(row, self.redact(row.prompt))
        line = editor.say_once(firing.since, body, nonce=firing.nonce(row), reply_to=None, maybe_said=again)
        message_id = await line.posted()
        self.editors.let_go(row.thread_id)
        if message_id is None:
            await self._not_posted(row)
            return
        # 4. Its prompt, which has the message's id: a second one is refused by the store.
        await self._prompt(row, firing, author, message_id)

    async def _author_now(self, row: KeptSchedule) -> Actor | None:
        pause = AGAIN
        while True:
            try:
                return await self.lookups.let_in(place_of(row), Actor(row.author_id, row.author_name))
            except Unavailable:
                if self.intake.closed:
                    raise
                await anyio.sleep(pause)
                pause = min(2 * pause, LONGEST_AGAIN)

    async def _prompt(self, row: KeptSchedule, firing: Firing, author: Actor, message_id: int) -> None:
        inbound = firing.inbound(row, author, message_id)
        if self.intake.commands.named_in(inbound):
            inbound = replace(inbound, command=True)
        pause = AGAIN
        while True:
            # Not taken by a bot that stops: the next run finds the message, and takes it.
            if self.intake.closed:
                return
            try:
                if self.limiter.refuses(inbound):
                    break
                if await self.store.accept(accepted_prompt(inbound)):
                    # No await since: it is in its queue before anybody asks whether the thread is busy.
                    self.intake.take_again(inbound)
                break
            except StoreBusy:
                await anyio.sleep(pause)
                pause = min(2 * pause, LONGEST_AGAIN)
        log.info("schedule.fired", schedule=row.schedule_id, thread=row.thread_id, prompt=message_id, due=firing.due)
        self._settle(row.schedule_id)

    def _settle(self, schedule_id: int) -> None:
        """Keep nothing more of a firing: it is a prompt, or nothing comes of it."""
        row = self.schedules.rows.get(schedule_id)
        if row is not None:
            self.schedules.keep(fired(row, None))

    async def _not_posted(self, row: KeptSchedule) -> None:
        """Pause a schedule whose thread takes no message, or remove it with its thread."""
        # An editor gives up at the end of the bot, too: then the next run goes on.
        if self.intake.closed or self.tracker.over:
            return
        try:
            with anyio.move_on_after(LONGEST_AGAIN):
                await self.chat.channels.header(row.thread_id)
        except ThreadDeleted:
            self.schedules.drop(row, "its thread is gone")
            return
        except PortError as exc:
            log.info("thread.unknown", thread=row.thread_id, error=str(exc))
        self._give_up(row.schedule_id, NO_WRITING, tell=False)
        if row.channel_id != row.thread_id:
            text = f"-# ⏸️ A schedule of {_named(row)} in <#{row.thread_id}> is paused: {NO_WRITING}."
            # Where the thread stands, if that can be written in; the list says it in any case.
            with suppress(PortError):
                await self.chat.thread(row.channel_id).send(Body(text), nonce=f"p{row.schedule_id:x}{row.fired_at:x}")

    def _give_up(self, schedule_id: int, why: str, *, tell: bool = True) -> None:
        row = self.schedules.rows.get(schedule_id)
        if row is None:
            return
        self.schedules.stop(fired(row, None), why)
        if tell:
            self._say(row, f"paused: {why}")

    # --- lines in the thread -----------------------------------------------------------------------------------------

    def _skip(self, row: KeptSchedule) -> None:
        """Tell the thread that it was too busy; as long as it goes on so, in one line."""
        log.info("schedule.skipped", schedule=row.schedule_id, thread=row.thread_id)
        editor, before = self.editors.of(row.thread_id), self._skips.get(row.schedule_id)
        count = before.count + 1 if before is not None and before.editor is editor else 1
        often = "" if count == 1 else f" {count} times"
        ahead = f" Next: {told(row.due_at, row.zone, self.schedules.now())}." if row.due_at else ""
        body = Body(f"-# ⏭️ Skipped{often}, because this thread was busy: {self._gist(row)}.{ahead}")
        if before is not None and before.editor is editor:
            before.count = count
            editor.change(before.line, body)
        else:
            self._skips.put(row.schedule_id, _Skips(editor, editor.say(body)))

    def _say(self, row: KeptSchedule, what: str) -> None:
        self.editors.of(row.thread_id).say(Body(f"-# ⏸️ Schedule of {_named(row)} {what}: {self._gist(row)}."))

    def _gist(self, row: KeptSchedule) -> str:
        # Redacted before it is cut: the rest of a cut secret would not be recognised for certain.
        return inline_code(self.redact(row.prompt), GIST_LIMIT)


def _named(row: KeptSchedule) -> str:
    return inline_code(row.author_name, NAME_LIMIT)
