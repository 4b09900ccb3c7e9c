"""Looks up what happened while nobody listened: after every READY that is no RESUME.

In every known place the messages that were posted, and of the messages that wait, what they say now and which roles
their authors have: no event tells of any of it then (Q5, R2, D2). From the moment of the READY on the work starts
nothing new, until everything is looked up or a limit is over; the looking up goes on after that. What comes of a
message is decided as for live ones; refusals and help are for live ones only.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Protocol

import anyio
import structlog

from bot.chat.authorize import Policy
from bot.chat.inbound import Decision, Kind, Place, Post, Weft, Wordings, decide, revised
from bot.chat.job_queue import Job, contain
from bot.chat.read_marks import Due, Watermarks
from bot.model import posted_at
from bot.reply.port import MessageGone, PortError, ThreadDeleted, ThreadGone, Unavailable
from bot.work.ports import DispatcherPort

log = structlog.get_logger(__name__)

PLACES, AT_ONCE = 200, 4
MESSAGES = 100  # of a place: a page of Discord's
PLACE_LIMIT = 120.0  # seconds
AGAIN, AGAIN_LONGEST = 60.0, 3600.0
"""Seconds until what could not be read, or was left out, is tried again without a new READY; doubled each time."""
MOST_WAITING = 50
"""Waiting messages of a place that are looked up: the newest ones."""
REVIEW_LIMIT = 10.0
"""Seconds for one of them; of one that can't be had by then, what was accepted holds."""
ORIGINAL_LIMIT = 5.0
"""Seconds; a prompt waits no longer for what it replies to."""
_LET_IN = frozenset({Kind.PROMPT, Kind.COMMAND, Kind.TELL})


@dataclass(frozen=True, slots=True)
class CatchUpLimits:
    """Times in seconds.

    Attributes:
        age: a message older than this is not run, but its author is told that it was missed.
        hold: how long the work waits for the end of a catch-up, from the READY on.
    """

    age: float = 600.0
    hold: float = 10.0


class Archive(Protocol):
    """What Discord can be asked about the past. Errors are those of `bot.reply.port`."""

    async def history(self, place: Place, after: int, limit: int) -> list[Post]:
        """Return the newest ``limit`` messages after one, the oldest of them first."""

    async def message(self, place: Place, message_id: int) -> Post:
        """Return a message as it is now; `MessageGone`: it was deleted."""

    async def roles(self, guild_id: int, user_id: int) -> frozenset[int]:
        """Return the roles of a member."""


class Source(Protocol):
    """The client that became ready."""

    policy: Policy

    @property
    def dispatcher(self) -> DispatcherPort: ...

    def weft(self, guild_id: int | None) -> Weft:
        """Return what Weft is called in a server."""

    def find_place(self, place_id: int) -> Place | None:
        """Return a place by its id, if it is known."""

    def newest(self, place_id: int) -> int | None:
        """Return the newest message of a place, as far as that is known without asking Discord."""

    def take(self, post: Post, decision: Decision, *, live: bool, missed: bool) -> None:
        """Do what was decided, unless it was done before; ``missed``: it is too old to be run unasked."""

    def vanished(self, place: Place) -> None:
        """Forget a place that Discord does not know any more, unless it does not know it yet."""

    def revise(self, post: Post) -> None:
        """Tell the work what the message says, if that is new."""

    def withdraw(self, message_id: int) -> None:
        """Take a message out that was deleted."""


@dataclass(frozen=True, slots=True, eq=False)
class _Hold:
    dispatcher: DispatcherPort
    until: float


class CatchUp:
    """One for all clients; the owner runs `run` in its task group.

    The mutable state is the hold under way, the client waiting to be caught up, and the scope of the pass under way.
    """

    def __init__(self, archive: Archive, marks: Watermarks, wordings: Wordings, limits: CatchUpLimits) -> None:
        self._archive, self._marks, self._wordings, self._limits = archive, marks, wordings, limits
        self._hold: _Hold | None = None
        self._number = 0
        self._source: Source | None = None
        self._scope = anyio.CancelScope()
        self._changed = anyio.Event()

    def begin(self, dispatcher: DispatcherPort) -> None:
        """Take note of a READY, before the first event that follows it; a pass under way is replaced."""
        dispatcher.hold()
        self._scope.cancel()
        self._number = self._marks.hold()
        self._hold = _Hold(dispatcher, anyio.current_time() + self._limits.hold)
        # The client of the READY before is of no use any more: its cache misses what came since.
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
            hold.dispatcher.release()
            self._change()

    async def run(self) -> None:
        """Catch up whenever that was asked for, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._release_in_time)
            while True:
                while self._source is None:
                    await self._changed.wait()
                source, self._source = self._source, None
                with anyio.CancelScope() as self._scope:
                    await self._look_until_done(source)

    async def _release_in_time(self) -> None:
        while True:
            while (hold := self._hold) is None:
                await self._changed.wait()
            with anyio.CancelScope(deadline=hold.until):
                while self._hold is hold:
                    await self._changed.wait()
            # By identity: a later READY holds anew, and has its own limit.
            if self._hold is hold:
                log.warning("catch_up.slow", limit=self._limits.hold)
                self._release()

    async def _look_until_done(self, source: Source) -> None:
        pause, scope = AGAIN, self._scope
        look = self._look_at_all
        while True:
            await contain("catch-up", functools.partial(look, source), inf)
            if scope.cancel_called:
                return  # the hold is already that of the pass that replaces this one
            self._release()
            if self._source is not None or not self._marks.due():
                return
            look = self._read_places
            await anyio.sleep(pause)
            pause = min(2 * pause, AGAIN_LONGEST)

    async def _look_at_all(self, source: Source) -> None:
        async with anyio.create_task_group() as tasks:
            roles = Roles(self._archive)
            tasks.start_soon(review_waiting, source, self._archive, self._wordings, roles)
            tasks.start_soon(_ask_for_roles, source, roles)
            await self._read_places(source)

    async def _read_places(self, source: Source) -> None:
        """Look up what was posted in the places that are due; again, while others become due meanwhile."""
        tried: set[int] = set()
        while todo := self._todo(source, tried):
            log.info("catch_up.started", places=len(todo))
            tried |= {due.place.channel_id for due in todo}
            roles = Roles(self._archive)
            read = functools.partial(self._read, source, roles=roles, number=self._number)
            jobs = ((f"catch-up of {due.place.channel_id}", functools.partial(read, due)) for due in todo)
            await _some_at_once(jobs, PLACE_LIMIT)
        left = sum(1 for due in self._marks.due() if due.place.channel_id not in tried)
        log.info("catch_up.finished", places=len(tried), left_out=left)

    def _todo(self, source: Source, tried: set[int]) -> list[Due]:
        """Return where Discord has to be asked; where its client knows that nothing is new, nothing is due."""
        news: list[Due] = []
        perhaps: list[Due] = []
        for due in self._marks.due():
            place_id = due.place.channel_id
            newest = source.newest(place_id)
            if newest is not None and newest <= due.after:
                self._marks.done(place_id, self._number)
            elif place_id not in tried:
                (perhaps if newest is None else news).append(due)
        # What is in no cache was archived or left, as a rule, and might take all the room.
        return (news + perhaps)[: PLACES - len(tried)]

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
        # Not before all were taken: a pass that is cut off here begins again at the old border.
        self._marks.done(place.channel_id, number)

    async def _take(self, source: Source, post: Post, roles: Roles) -> None:
        # History does not tell roles, so they are asked for where they decide.
        weft = source.weft(post.place.guild_id)
        post = await roles.complete(
            post, source.policy.roles, lambda one: decide(one, weft, source.policy).kind in _LET_IN
        )
        decision = decide(post, weft, source.policy)
        if decision.inbound is not None and post.reference is not None:
            post = await with_original(post, self._archive)
            decision = decide(post, weft, source.policy)
        # Weft's own reaction: it was accepted, and may have been run, even if the state has forgotten it.
        missed = post.reacted or time.time() - posted_at(post.message_id) > self._limits.age
        source.take(post, decision, live=False, missed=missed)
        if decision.inbound is not None and post.place.parent_id is None and post.thread_owner is not None:
            # Its thread was opened just before a crash: what was said there since is due too.
            thread_id = decision.inbound.thread_id
            thread = Place(post.place.guild_id, thread_id, post.place.channel_id, post.thread_owner)
            self._marks.discover(thread, thread_id)


async def _some_at_once(jobs: Iterable[tuple[str, Job]], limit: float) -> None:
    """Do named jobs in order, a few at a time, each within ``limit`` seconds; one that fails does not affect others."""
    todo = iter(jobs)

    async def work() -> None:
        for name, job in todo:  # all workers take from the same iterator
            await contain(name, job, limit)

    async with anyio.create_task_group() as workers:
        for _ in range(AT_ONCE):
            workers.start_soon(work)


async def review_waiting(source: Source, archive: Archive, wordings: Wordings, roles: Roles) -> None:
    """Look up all messages that wait, and tell the work what they say now, or that they are gone."""
    found: list[tuple[int, Place]] = []
    for place_id, waiting in source.dispatcher.waiting().items():
        place = source.find_place(place_id)
        if place is not None:
            found += [(message_id, place) for message_id in sorted(waiting)[-MOST_WAITING:]]
    # What is next to run comes first.
    found.sort(key=lambda one: one[0])
    review = functools.partial(_review, source, archive, wordings, roles)
    await _some_at_once(
        ((f"review of {one}", functools.partial(review, one, place)) for one, place in found), REVIEW_LIMIT
    )


async def _review(
    source: Source, archive: Archive, wordings: Wordings, roles: Roles, message_id: int, place: Place
) -> None:
    before = wordings.known(message_id)
    try:
        post = await archive.message(place, message_id)
    except MessageGone:
        source.withdraw(message_id)
        return
    weft = source.weft(place.guild_id)
    post = await roles.complete(post, source.policy.roles, lambda one: revised(one, weft, source.policy) is not None)
    # What was heard meanwhile is newer than what was read.
    if wordings.known(message_id) == before:
        source.revise(post)


async def _ask_for_roles(source: Source, roles: Roles) -> None:
    """Tell the work which roles the authors of waiting messages have now, where a role may decide (D2)."""

    async def ask(guild_id: int, user_id: int) -> None:
        source.dispatcher.roles_now(guild_id, user_id, await roles.of(guild_id, user_id))

    known = source.policy.users | source.policy.owners
    for guild_id, user_id in sorted(source.dispatcher.authors()):
        if source.policy.roles and user_id not in known:
            await contain(f"roles of {user_id}", functools.partial(ask, guild_id, user_id), REVIEW_LIMIT)


class Roles:
    """Roles of members, each asked for once; lives as long as one pass, since roles change."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._known: dict[tuple[int, int], frozenset[int]] = {}
        self._lock = anyio.Lock()

    async def complete(self, post: Post, wanted: frozenset[int], let_in: Callable[[Post], bool]) -> Post:
        """Return the post with its author's roles, if one of the ``wanted`` may decide whether it is let in."""
        guild_id = post.place.guild_id
        if let_in(post) or guild_id is None or not wanted or not let_in(_with_roles(post, wanted)):
            return post
        return _with_roles(post, await self.of(guild_id, post.author.id))

    async def of(self, guild_id: int, user_id: int) -> frozenset[int]:
        """Return a member's roles; none for somebody whom Discord does not know: Weft is closed by default (D2).

        Raises:
            Unavailable: Discord did not say, so nothing is decided yet.
        """
        # Locked over the question, so that two messages of the same author ask once.
        async with self._lock:
            key = guild_id, user_id
            if key not in self._known:
                try:
                    self._known[key] = await self._archive.roles(guild_id, user_id)
                except Unavailable:
                    raise
                except PortError as exc:
                    log.warning("member.unknown", user=user_id, error=str(exc))
                    self._known[key] = frozenset()
            return self._known[key]


def _with_roles(post: Post, roles: frozenset[int]) -> Post:
    return dataclasses.replace(post, author=dataclasses.replace(post.author, roles=roles))


async def with_original(post: Post, archive: Archive) -> Post:
    """Return a reply with its original, as far as that can be had: of one that was deleted nothing is said."""
    if post.reference is None:
        return post
    error = "time-out"
    with anyio.move_on_after(ORIGINAL_LIMIT):
        try:
            original = await archive.message(post.place, post.reference)
        except MessageGone:
            return dataclasses.replace(post, reference=None)
        except PortError as exc:
            error = str(exc)
        else:
            return dataclasses.replace(post, reference=None, original=original)
    # The reference stays: the prompt says then that something is missing.
    log.warning("original.unknown", message=post.message_id, error=error)
    return post
