"""Looks up what happened while nobody listened: after every READY that is no RESUME.

In every known place it looks up the messages that were posted, and of the messages that wait, what they say now and
which roles their authors have: no event tells of any of it then (Q5, R2, D2). From the READY on the work starts nothing
new until everything is looked up or a limit has passed; the look-ups continue after that. Messages are decided on as
live ones are, but refusals and help are for live ones only.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from math import inf

import anyio
import structlog

from bot.chat.client import CatchUpRequest, WeftClient
from bot.chat.inbound import Kind, Place, Post, Wordings, decide, revised
from bot.chat.job_queue import Job, contain
from bot.chat.port import DiscordChat
from bot.chat.read_marks import Due, Watermarks
from bot.model import posted_at, snowflake_at
from bot.reply.port import MessageGone, PortError, ThreadDeleted, ThreadGone, Unavailable

log = structlog.get_logger(__name__)

PLACES, AT_ONCE = 200, 4
MOST_POSTS = 50  # of forums, that were opened in a gap: the newest
MESSAGES = 100  # of a place: a page of Discord's
PLACE_LIMIT = 120.0  # seconds
AGAIN, AGAIN_LONGEST = 60.0, 3600.0
"""Seconds until what could not be read, or was left out, is tried again without a new READY; doubled each time."""
MOST_WAITING = 50
"""Waiting messages of a place that are looked up: the newest ones."""
REVIEW_LIMIT = 10.0
"""Seconds for one of them; if it takes longer, what was accepted holds."""
_LET_IN = frozenset({Kind.PROMPT, Kind.COMMAND, Kind.TELL})


@dataclass(frozen=True, slots=True)
class CatchUp:
    """One for all clients, which ask for it by the request; the owner runs `run` in its task group.

    Attributes:
        age: seconds; an older message is not run, but its author learns that it was missed.
    """

    _archive: DiscordChat
    _marks: Watermarks
    _wordings: Wordings
    _request: CatchUpRequest
    age: float

    async def run(self) -> None:
        """Catch up whenever that was asked for, until cancelled."""
        request = self._request
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._release_in_time)
            while True:
                while request.client is None:
                    await request.changed.wait()
                client, request.client = request.client, None
                with anyio.CancelScope() as request.scope:
                    await self._look_until_done(client)

    async def _release_in_time(self) -> None:
        request = self._request
        while True:
            while request.held is None:
                await request.changed.wait()
            number = request.number
            with anyio.CancelScope(deadline=request.until):
                while request.number == number and request.held is not None:
                    await request.changed.wait()
            # By its number: a later READY holds anew, and has its own limit.
            if request.number == number and request.held is not None:
                log.warning("catch_up.slow", limit=request.limit)
                request.release()

    async def _look_until_done(self, client: WeftClient) -> None:
        request, pause, first = self._request, AGAIN, True
        scope = request.scope
        while True:
            await contain("catch-up", functools.partial(self._look, client, first=first), inf)
            if scope.cancel_called:
                return  # the work is already held for the pass that replaces this one
            request.release()
            if request.client is not None or not self._marks.due():
                return
            first = False
            await anyio.sleep(pause)
            pause = min(2 * pause, AGAIN_LONGEST)

    async def _look(self, client: WeftClient, *, first: bool) -> None:
        """Look up what waits, unless that was done, and what was posted in the places that are due."""
        tried: set[int] = set()
        number = self._request.number
        self._discover_posts(client)
        async with anyio.create_task_group() as tasks:
            if first:
                roles = Roles(self._archive)
                tasks.start_soon(review_waiting, client, self._archive, self._wordings, roles)
                tasks.start_soon(_ask_for_roles, client, roles)
            # Again and again: other places become due meanwhile, such as a thread that was opened just before a crash.
            while True:
                news: list[Due] = []
                perhaps: list[Due] = []
                for due in self._marks.due():
                    place_id = due.place.channel_id
                    newest = client.newest(place_id)
                    if newest is not None and newest <= due.after:
                        # The client knows that nothing is new there, so Discord need not be asked.
                        self._marks.done(place_id, number)
                    elif place_id not in tried:
                        (perhaps if newest is None else news).append(due)
                # What is in no cache was archived or left, as a rule, and might take all the room.
                todo = (news + perhaps)[: PLACES - len(tried)]
                if not todo:
                    break
                log.info("catch_up.started", places=len(todo))
                tried |= {due.place.channel_id for due in todo}
                read = functools.partial(self._read, client, roles=Roles(self._archive), number=number)
                jobs = ((f"catch-up of {due.place.channel_id}", functools.partial(read, due)) for due in todo)
                await _some_at_once(jobs, PLACE_LIMIT)
            left = sum(1 for due in self._marks.due() if due.place.channel_id not in tried)
            log.info("catch_up.finished", places=len(tried), left_out=left)

    def _discover_posts(self, client: WeftClient) -> None:
        """Make posts of forums known that were opened while nobody listened: each post is a place (S6)."""
        # What came before the gap was heard. Where nothing ever was, only what would still be run is looked at.
        border = self._marks.heard or snowflake_at(time.time() - self.age)
        found = [place for place in client.active_posts() if place.channel_id > border]
        for place in sorted(found, key=lambda one: one.channel_id)[-MOST_POSTS:]:
            self._marks.discover(place, place.channel_id - 1)

    async def _read(self, client: WeftClient, due: Due, roles: Roles, number: int) -> None:
        """Take what was posted in a place since it was last read."""
        place, weft = due.place, client.weft(due.place.guild_id)
        taken = False
        try:
            posts = await self._archive.history(place, due.after, MESSAGES)
        except ThreadGone as exc:
            log.info("place.unreachable", place=place.channel_id, error=str(exc))
            self._marks.unreachable(place.channel_id)
            if isinstance(exc, ThreadDeleted):
                client.vanished(place)
            return
        if len(posts) == MESSAGES:
            log.warning("place.cut", place=place.channel_id, messages=MESSAGES)
        for found in posts:
            # 1. History does not tell roles, so they are asked for where they decide.
            post = await roles.complete(
                found, client.policy.roles, lambda one: decide(one, weft, client.policy).kind in _LET_IN
            )
            decision = decide(post, weft, client.policy)
            if decision.inbound is not None and post.reference is not None:
                post = await self._archive.with_original(post)
                decision = decide(post, weft, client.policy)
            # 2. Weft's own reaction: it was accepted, and may have been run, even if the state has forgotten it.
            missed = post.reacted or time.time() - posted_at(post.message_id) > self.age
            client.take(post, decision, live=False, missed=missed)
            taken = taken or decision.inbound is not None
            # 3. Its thread was opened just before a crash: what was said there since is due too.
            if decision.inbound is not None and place.parent_id is None and post.thread_owner is not None:
                thread_id = decision.inbound.thread_id
                thread = Place(place.guild_id, thread_id, place.channel_id, post.thread_owner)
                self._marks.discover(thread, thread_id)
        # Not before all were taken: a pass that is cut off here begins again at the old border.
        self._marks.done(place.channel_id, number)
        # A post that was only looked at is not Weft's: the next gap finds it anew if it is new then.
        if not taken and due.after < place.channel_id and place.parent_id is not None:
            self._marks.forget(place.channel_id)


async def _some_at_once(jobs: Iterable[tuple[str, Job]], limit: float) -> None:
    """Do named jobs in order, a few at a time, each within ``limit`` seconds; one that fails does not affect others."""
    todo = iter(jobs)

    async def work() -> None:
        for name, job in todo:  # all workers take from the same iterator
            await contain(name, job, limit)

    async with anyio.create_task_group() as workers:
        for _ in range(AT_ONCE):
            workers.start_soon(work)


async def review_waiting(client: WeftClient, archive: DiscordChat, wordings: Wordings, roles: Roles) -> None:
    """Look up all messages that wait, and tell the work what they say now, or that they are gone."""

    async def review(message_id: int, place: Place) -> None:
        before = wordings.get(message_id)
        try:
            post = await archive.message(place, message_id)
        except MessageGone:
            client.withdraw(message_id)
            return
        weft = client.weft(place.guild_id)
        post = await roles.complete(
            post, client.policy.roles, lambda one: revised(one, weft, client.policy) is not None
        )
        # What was heard meanwhile is newer than what was read.
        if wordings.get(message_id) == before:
            client.revise(post)

    found: list[tuple[int, Place]] = []
    for place_id, waiting in client.dispatcher.waiting().items():
        place = client.find_place(place_id)
        if place is not None:
            found += [(message_id, place) for message_id in sorted(waiting)[-MOST_WAITING:]]
    # What is next to run comes first.
    found.sort(key=lambda one: one[0])
    jobs = ((f"review of {one}", functools.partial(review, one, place)) for one, place in found)
    await _some_at_once(jobs, REVIEW_LIMIT)


async def _ask_for_roles(client: WeftClient, roles: Roles) -> None:
    """Tell the work which roles the authors of waiting messages have now, where a role may decide (D2)."""

    async def ask(guild_id: int, user_id: int) -> None:
        client.dispatcher.roles_now(guild_id, user_id, await roles.of(guild_id, user_id))

    known = client.policy.users | client.policy.owners
    for guild_id, user_id in sorted(client.dispatcher.authors()):
        if client.policy.roles and user_id not in known:
            await contain(f"roles of {user_id}", functools.partial(ask, guild_id, user_id), REVIEW_LIMIT)


@dataclass(frozen=True, slots=True)
class Roles:
    """Roles of members, each asked for once; lives as long as one pass, since roles change."""

    _archive: DiscordChat
    _known: dict[tuple[int, int], frozenset[int]] = field(default_factory=dict)
    _lock: anyio.Lock = field(default_factory=anyio.Lock)

    async def complete(self, post: Post, wanted: frozenset[int], let_in: Callable[[Post], bool]) -> Post:
        """Return the post with its author's roles, if one of the ``wanted`` may decide whether it is accepted."""
        guild_id, author = post.place.guild_id, post.author
        with_all = replace(post, author=replace(author, roles=wanted))
        # Only then: most posts are accepted without a role or not at all, and each question is a request.
        if let_in(post) or guild_id is None or not wanted or not let_in(with_all):
            return post
        roles = await self.of(guild_id, author.id)
        return replace(post, author=replace(author, roles=roles))

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
