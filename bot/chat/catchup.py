"""Looks up what was posted while nobody listened: after every READY that is no RESUME, in every known place.

From the moment of the READY on the work starts nothing new, until all is looked up or a limit is over; the looking up
goes on after that. What became of messages that wait is looked up beside it, in `revisions`. What comes of a message
is decided as for live ones; refusals and help are for live ones only. The mutable state is the hold under way, the
client waiting to be caught up, and the scope of the pass under way.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import anyio
import structlog

from bot.chat.errands import contain
from bot.chat.inbound import Decision, Kind, Place, Post
from bot.chat.replies import with_original
from bot.chat.revisions import Messages, Reviser, ask_for_roles, look_again
from bot.chat.roles import Members, Roles
from bot.chat.watermarks import Due, Watermarks
from bot.model import Inbound, posted_at
from bot.reply.port import ThreadDeleted, ThreadGone
from bot.work.ports import Desk

log = structlog.get_logger(__name__)

PLACES, AT_ONCE = 200, 4
MESSAGES = 100  # of a place: a page of Discord's
PLACE_LIMIT = 120.0  # seconds
AGAIN, AGAIN_LONGEST = 60.0, 3600.0
"""Seconds until what could not be read, or was left out, is tried again without a new READY; doubled each time."""
_LET_IN = frozenset({Kind.PROMPT, Kind.COMMAND, Kind.TELL})


@dataclass(frozen=True, slots=True)
class CatchUpLimits:
    """Times in seconds.

    Attributes:
        age: a message older than this is not run, but told to have been missed.
        hold: how long the work waits for the end of a catch-up, from the READY on.
    """

    age: float = 600.0
    hold: float = 10.0


class Archive(Messages, Members, Protocol):
    """What Discord can be asked about the past. Errors are those of `bot.reply.port`."""

    async def history(self, place: Place, after: int, limit: int) -> list[Post]:
        """Return the newest ``limit`` messages after one, the oldest of them first."""


class Source(Reviser, Protocol):
    """The client that became ready."""

    def newest(self, place_id: int) -> int | None:
        """Return the newest message of a place, as far as that is known without asking Discord."""

    def decide(self, post: Post) -> Decision:
        """Say what is to be done with a message."""

    def hand_over(self, post: Post, inbound: Inbound, *, missed: bool = False) -> None:
        """Give a prompt to the work, unless it was given before."""

    def vanished(self, place: Place) -> None:
        """Forget a place that Discord does not know any more, unless it does not know it yet."""

    def obey(self, post: Post, decision: Decision) -> None:
        """Carry out a typed command, if the decision holds one, unless that was done before."""

    def own_up(self, post: Post, decision: Decision) -> None:
        """Say what its author has to know, if the decision holds that, unless it was said before."""


@dataclass(frozen=True, slots=True, eq=False)
class _Hold:
    desk: Desk
    number: int
    until: float


class CatchUp:
    """One for all clients; the owner runs `run` in its task group."""

    def __init__(
        self, archive: Archive, marks: Watermarks, limits: CatchUpLimits, *, wall: Callable[[], float] = time.time
    ) -> None:
        self._archive, self._marks, self._limits, self._wall = archive, marks, limits, wall
        self._hold: _Hold | None = None
        self._number = 0
        self._source: Source | None = None
        self._scope = anyio.CancelScope()
        self._changed = anyio.Event()

    def begin(self, desk: Desk) -> None:
        """Take note of a READY, before the first event that follows it; a pass under way is replaced."""
        desk.hold()
        self._scope.cancel()
        self._number = self._marks.hold()
        self._hold = _Hold(desk, self._number, anyio.current_time() + self._limits.hold)
        self._source = None
        self._change()

    def start(self, source: Source) -> None:
        """Look up what was missed, now that the client knows its servers."""
        self._source = source
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _release(self) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.desk.release()
            self._change()

    async def run(self) -> None:
        """Catch up whenever that was asked for, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._release_in_time)
            while True:
                source = await self._next_source()
                with anyio.CancelScope() as self._scope:
                    await self._look_until_done(source)

    async def _look_until_done(self, source: Source) -> None:
        pause, scope = AGAIN, self._scope
        look = self._look_at_all
        while True:
            await contain("catch-up", functools.partial(look, source), float("inf"))
            look = self._look_everywhere
            if scope.cancel_called:
                return
            self._release()
            if self._source is not None or not self._marks.due():
                return
            await anyio.sleep(pause)
            pause = min(2 * pause, AGAIN_LONGEST)

    async def _next_source(self) -> Source:
        while self._source is None:
            await self._changed.wait()
        source, self._source = self._source, None
        return source

    async def _release_in_time(self) -> None:
        while True:
            while (hold := self._hold) is None:
                await self._changed.wait()
            with anyio.CancelScope(deadline=hold.until):
                while self._hold is hold:
                    await self._changed.wait()
            if self._hold is hold:
                log.warning("catch_up.slow", limit=self._limits.hold)
                self._release()

    async def _look_at_all(self, source: Source) -> None:
        """Look up what was posted, and what became of the messages that were accepted before and wait."""
        async with anyio.create_task_group() as both:
            roles = Roles(self._archive)
            both.start_soon(look_again, source, self._archive, roles)
            both.start_soon(ask_for_roles, source, roles)
            await self._look_everywhere(source)

    async def _look_everywhere(self, source: Source) -> None:
        tried: set[int] = set()
        while todo := self._todo(source, tried):
            log.info("catch_up.started", places=len(todo))
            tried |= {one.place.channel_id for one in todo}
            one_by_one, roles = iter(todo), Roles(self._archive)
            async with anyio.create_task_group() as workers:
                for _ in range(AT_ONCE):
                    workers.start_soon(self._look, source, one_by_one, roles, self._number)
        left = sum(1 for one in self._marks.due() if one.place.channel_id not in tried)
        log.info("catch_up.finished", places=len(tried), left_out=left)

    def _todo(self, source: Source, tried: set[int]) -> list[Due]:
        """Return where Discord has to be asked; where its client knows that nothing is new, nothing is due."""
        news: list[Due] = []
        perhaps: list[Due] = []
        for one in self._marks.due():
            place_id = one.place.channel_id
            newest = source.newest(place_id)
            if newest is not None and newest <= one.after:
                self._marks.done(place_id, self._number)
            elif place_id not in tried:
                (perhaps if newest is None else news).append(one)
        # What is in no cache was archived or left, as a rule, and might take all the room.
        return (news + perhaps)[: PLACES - len(tried)]

    async def _look(self, source: Source, todo: Iterator[Due], roles: Roles, number: int) -> None:
        for due in todo:
            job = functools.partial(self._read, source, due, roles, number)
            await contain(f"catch-up of {due.place.channel_id}", job, PLACE_LIMIT)

    async def _read(self, source: Source, due: Due, roles: Roles, number: int) -> None:
        place = due.place
        try:
            posts = await self._archive.history(place, due.after, MESSAGES)
        except ThreadGone as exc:
            log.info("place.unreachable", place=place.channel_id, error=str(exc))
            self._marks.unreachable(place.channel_id)
            if isinstance(exc, ThreadDeleted):
                source.vanished(place)
            return
        if len(posts) == MESSAGES:
            log.warning("place.cut", place=place.channel_id, messages=MESSAGES)
        for post in posts:
            await self._take(source, post, roles)
        self._marks.done(place.channel_id, number)

    async def _take(self, source: Source, post: Post, roles: Roles) -> None:
        post = await self._complete(source, post, roles)
        decision, age = source.decide(post), self._wall() - posted_at(post.message_id)
        inbound = decision.inbound
        if inbound is None:
            self._marks.note(post.place, post.message_id)
            if age <= self._limits.age:
                source.obey(post, decision)
                source.own_up(post, decision)
            return
        # Weft's own reaction: it was accepted, and may have been run, whatever became of the state meanwhile.
        source.hand_over(post, inbound, missed=post.reacted or age > self._limits.age)
        if post.place.parent_id is None and post.thread_owner is not None:
            # Its thread was opened just before a crash: what was said there since is due too.
            thread = Place(post.place.guild_id, inbound.thread_id, post.place.channel_id, post.thread_owner)
            self._marks.discover(thread, inbound.thread_id)

    async def _complete(self, source: Source, post: Post, roles: Roles) -> Post:
        """Make it like a live message; history does not tell roles, so they are asked for where they matter."""
        post = await roles.complete(post, source.policy.roles, lambda one: source.decide(one).kind in _LET_IN)
        return await with_original(post, self._archive) if source.decide(post).inbound is not None else post
