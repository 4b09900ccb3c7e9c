"""The Discord client: turns events into calls of the work, synchronously, and ends.

discord.py runs each handler as a separate task, in the order of the events, so a handler here does its work before
any await, and what needs one goes to a `JobQueue`. The client may be replaced at any time; what must outlive it, its
`ClientState`, is handed in. Commands and buttons are added by `bot.chat.commands`.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Any

import anyio
import discord
import structlog

from bot.chat.answers import run_command, saved
from bot.chat.authorize import Policy
from bot.chat.catchup import CatchUp, with_original
from bot.chat.connection_health import Logins, Progress
from bot.chat.events import guard
from bot.chat.inbound import BotRuns, Command, Decision, Kind, OncePer, Place, Post, Weft, Wordings, decide, revised
from bot.chat.job_queue import CAPACITY, Job, JobQueue, contain
from bot.chat.port import DiscordChat
from bot.chat.posts import Json, post_of, snowflake, whole
from bot.chat.read_marks import ThreadCache, Watermarks
from bot.chat.rest import Breaker, trace_config
from bot.model import Inbound
from bot.recent import Recent
from bot.redaction import Redactor
from bot.reply.port import PortError
from bot.work.observer import Observer
from bot.work.ports import Answer, DispatcherPort

log = structlog.get_logger(__name__)

REFUSAL_PERIOD = 3600.0  # seconds
BOT_RUN_LIMIT = 5  # prompts by bots in a row in one thread
MOST_MESSAGES = 5000  # remembered to have been taken, or deleted
LONGEST_LIMIT = 30.0
"""Seconds that discord.py may wait for a rate limit, with everything of that kind behind it; it takes no fewer."""

# Weft has no voice: discord.py need not warn of the packages that voice would take.
discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False


@dataclass(frozen=True, slots=True)
class ClientState:
    """What outlives a client: the next one goes on with it.

    Attributes:
        ready: set when Discord has sent everything that it tells at the start.
        lookups: works off the places in which something has to be asked first; ``detours`` has their messages in order.
        answers: what is said to people, so that no event waits for it.
        taken: messages that took effect: Discord and catch-ups may bring them again.
        withdrawn: messages that were deleted.
    """

    chat: DiscordChat
    marks: Watermarks
    wordings: Wordings
    catch_up: CatchUp
    breaker: Breaker
    logins: Logins
    progress: Progress
    observer: Observer
    redactor: Redactor
    ready: anyio.Event = field(default_factory=anyio.Event)
    lookups: JobQueue = field(default_factory=lambda: JobQueue("lookups", job_limit=inf))
    answers: JobQueue = field(default_factory=lambda: JobQueue("answers"))
    threads: ThreadCache = field(default_factory=ThreadCache)
    refusals: OncePer = field(default_factory=lambda: OncePer(REFUSAL_PERIOD))
    bot_runs: BotRuns = field(default_factory=lambda: BotRuns(BOT_RUN_LIMIT))
    taken: Recent[int] = field(default_factory=lambda: Recent(MOST_MESSAGES))
    withdrawn: Recent[int] = field(default_factory=lambda: Recent(MOST_MESSAGES))
    detours: dict[int, deque[Job]] = field(default_factory=dict)


async def _work_off(detours: dict[int, deque[Job]], place_id: int) -> None:
    """Take the messages of a place that wait, and those that come meanwhile, each within its own limit."""
    waiting = detours[place_id]
    try:
        while waiting:
            await contain("lookups", waiting[0])
            waiting.popleft()
    finally:
        del detours[place_id]


def intents() -> discord.Intents:
    """Return the events that Weft needs; message content is the only privileged one."""
    wanted = discord.Intents.none()
    wanted.guilds = True
    wanted.guild_messages = True
    wanted.message_content = True
    return wanted


def owners_of(application: discord.AppInfo) -> frozenset[int]:
    """Return the owner; of a team its owner and the members who have accepted and may do more than look."""
    team = application.team
    if team is None:
        return frozenset({application.owner.id})
    members = {
        member.id
        for member in team.members
        if member.membership_state is discord.TeamMembershipState.accepted
        and member.role is not discord.TeamMemberRole.read_only
    }
    return frozenset(members if team.owner_id is None else members | {team.owner_id})


class WeftClient(discord.Client):
    """One connection to Discord."""

    def __init__(
        self, dispatcher: DispatcherPort, policy: Policy, state: ClientState, *, guild_ready_timeout: float
    ) -> None:
        super().__init__(
            intents=intents(),
            allowed_mentions=discord.AllowedMentions.none(),
            guild_ready_timeout=guild_ready_timeout,
            max_messages=None,
            max_ratelimit_timeout=LONGEST_LIMIT,
            http_trace=trace_config(state.breaker, state.observer),
        )
        self.dispatcher, self.policy, self.state = dispatcher, policy, state
        guard(self)

    # --- the connection ---

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        # discord.py's task that waits for the servers after a READY outlives a client, whose loop is gone by then.
        if not self.is_closed():
            super().dispatch(event, *args, **kwargs)

    async def setup_hook(self) -> None:
        # The owners are known only after the login.
        if self.application is not None:
            self.policy = dataclasses.replace(self.policy, owners=self.policy.owners | owners_of(self.application))

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        # One login too many raises, which ends this client; the gateway waits before the next.
        self.state.logins.take()
        await super().before_identify_hook(shard_id, initial=initial)

    async def on_connect(self) -> None:
        """Hold what comes from now on back, until what came before is looked up; not called after a RESUME."""
        # on_ready is up to two seconds later, with messages in between.
        if not self.is_closed():
            self.state.catch_up.begin(self.dispatcher)

    async def on_disconnect(self) -> None:
        if not self.is_closed():
            self.state.progress.lost()

    async def on_ready(self) -> None:
        """Catch up on what was missed; called after a reconnection that could not resume, too."""
        if self.is_closed():
            return  # it comes late, and a replaced client's cache knows nothing of what came since
        state = self.state
        log.info("gateway.ready")
        state.observer.gateway_opened(resumed=False)
        state.ready.set()
        # A READY names all servers that Weft is in, those with an outage, too. One without any is rather a fault of
        # Discord's than the end of all of them, and what is forgotten does not come back.
        here = {guild.id for guild in self.guilds}
        known = {place.guild_id for place in state.marks.places() if place.guild_id is not None}
        for guild_id in known - here if here else ():
            self._forget_guild(guild_id)
        state.catch_up.start(self)

    async def on_resumed(self) -> None:
        self.state.observer.gateway_opened(resumed=True)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        # Called by discord.py while the exception is handled.
        log.error("handler.failed", handler=event_method, exc_info=sys.exception())

    # --- messages ---

    async def on_message_payload(self, message: Json) -> None:
        """Take a message in."""
        # Nothing is awaited here: another message of the thread would overtake this one.
        post, place_known = self._read(message)
        if post is None or self.user is None:
            return
        place_id, state = post.place.channel_id, self.state
        if post.author.id == self.user.id:
            # Not past a message that still waits for a look-up: nobody else knows of that one yet.
            if place_id not in state.detours:
                state.marks.pass_by(place_id, post.message_id)
            return
        decision = decide(post, self.weft(post.place.guild_id), self.policy)
        wants_original = decision.inbound is not None and post.reference is not None
        # Discord has to be asked something before this message is decided on, or before one that came before it.
        if place_id in state.detours or (post.ordinary and not place_known) or wants_original:
            self._queue_lookup(self._take_later, post)
        else:
            self.take(post, decision)

    async def on_message_edit_payload(self, message: Json) -> None:
        """Take the new text of a message."""
        post, place_known = self._read(message) if whole(message) else (None, False)
        if post is None or self.user is None or post.author.id == self.user.id:
            return
        if post.place.channel_id in self.state.detours or not place_known:
            # The message itself may still stand in this queue; for an edit alone nothing is looked up.
            self._queue_lookup(self._revise_later, post)
        else:
            self.revise(post)

    def _read(self, message: Json) -> tuple[Post | None, bool]:
        """Return a message of a server, and whether its place is known without asking Discord."""
        guild_id, channel_id = snowflake(message.get("guild_id")), snowflake(message.get("channel_id"))
        if guild_id is None or channel_id is None:
            return None, False
        place = self.find_place(channel_id)
        return post_of(message, place or Place(guild_id, channel_id)), place is not None

    def find_place(self, place_id: int) -> Place | None:
        """Return a place by its id, if it is known without asking Discord."""
        channel = self.get_channel(place_id)
        if isinstance(channel, discord.Thread):
            place = Place(channel.guild.id, channel.id, channel.parent_id, channel.owner_id)
            self.state.threads.put(place_id, place)
            return place
        if isinstance(channel, discord.abc.GuildChannel):
            return Place(channel.guild.id, place_id)
        return self.state.threads.get(place_id) or self.state.marks.place(place_id)

    def newest(self, place_id: int) -> int | None:
        """Return the newest message of a place that the cache knows."""
        channel = self.get_channel(place_id)
        if isinstance(channel, discord.Thread | discord.TextChannel | discord.VoiceChannel | discord.StageChannel):
            return channel.last_message_id
        return None

    def _queue_lookup(self, job: Callable[[Post], Awaitable[None]], post: Post) -> None:
        # In order: later messages of the same place wait behind this one. Those of other places don't.
        detours, place_id, do = self.state.detours, post.place.channel_id, functools.partial(job, post)
        waiting = detours.get(place_id)
        if waiting is None:
            if self.state.lookups.post(_work_off, detours, place_id):
                detours[place_id] = deque([do])
        elif len(waiting) < CAPACITY:
            waiting.append(do)
        else:
            log.warning("errand.refused", line="lookups", place=place_id)

    async def _take_later(self, post: Post) -> None:
        place_id, chat = post.place.channel_id, self.state.chat
        place = self.find_place(place_id) or await chat.place(place_id) or post.place
        if place.parent_id is not None:
            self.state.threads.put(place_id, place)
        post = dataclasses.replace(post, place=place)
        decision = decide(post, self.weft(place.guild_id), self.policy)
        # Only for a prompt: a message between people is nothing to ask Discord about.
        if decision.inbound is not None and post.reference is not None:
            post = await with_original(post, chat)
            decision = decide(post, self.weft(place.guild_id), self.policy)
        self.take(post, decision)

    async def _revise_later(self, post: Post) -> None:
        place = self.find_place(post.place.channel_id)
        if place is not None:
            self.revise(dataclasses.replace(post, place=place))

    def weft(self, guild_id: int | None) -> Weft:
        """Return what Weft is called in a server."""
        assert self.user is not None
        guild = self.get_guild(guild_id) if guild_id is not None else None
        role = guild.self_role if guild is not None else None
        return Weft(self.user.id, role.id if role is not None else None)

    def take(self, post: Post, decision: Decision, *, live: bool = True, missed: bool = False) -> None:
        """Do what was decided about a message, unless it was done before.

        Args:
            live: it was posted just now: only then people are told that they are refused, or how Weft is used.
            missed: it is too old to be run unasked.
        """
        state, place_id, message_id = self.state, post.place.channel_id, post.message_id
        if decision.inbound is not None:
            self.hand_over(post, decision.inbound, missed=missed)
            return
        state.marks.pass_by(place_id, message_id)
        if missed:
            return
        if decision.command is not None:
            if state.taken.first(message_id):
                self._run_typed(post, decision.command)
            return
        if (
            (decision.kind is Kind.TELL and state.taken.first(message_id))
            or (decision.kind is Kind.HELP and live)
            or (decision.kind is Kind.REFUSE and live and state.refusals.due(post.author.id, time.monotonic()))
        ):
            state.answers.post(state.chat.answer, place_id, message_id, decision.text)

    def hand_over(self, post: Post, inbound: Inbound, *, missed: bool = False) -> None:
        """Give a prompt to the work, unless it was given before; one without words only opens its thread."""
        state, place = self.state, post.place
        # Withdrawn is asked first: what was deleted while its place was looked up must not count as taken.
        if inbound.message_id in state.withdrawn or not state.taken.first(inbound.message_id):
            state.marks.pass_by(place.channel_id, post.message_id)
            return
        if not state.bot_runs.allow(inbound.thread_id, automatic=post.automatic):
            log.warning("message.ignored", message=inbound.message_id, reason="too many bot prompts in a row")
            state.marks.pass_by(place.channel_id, post.message_id)
            return
        state.wordings.note(inbound.message_id, inbound.text)
        if missed:
            self.dispatcher.missed(inbound)
        elif inbound.text or inbound.quotes:
            self.dispatcher.submit(inbound)
        else:
            state.answers.post(self._open_thread, inbound)
        # From now on nothing that is said there may be lost.
        state.marks.note(place, inbound.message_id, handed=True)
        if inbound.opens_thread and not missed and self.user is not None:
            thread = Place(place.guild_id, inbound.thread_id, inbound.channel_id, self.user.id)
            state.threads.put(inbound.thread_id, thread)
            state.marks.note(thread, inbound.message_id, handed=True)

    def _run_typed(self, post: Post, command: Command) -> None:
        thread_id = post.place.channel_id if post.place.parent_id is not None else None
        # Done now, in the order of arrival; only the answer may wait.
        answer = run_command(command, self.dispatcher, thread_id, post.author, post.message_id)

        async def tell(answer: Answer) -> None:
            text = (await saved(answer, self.dispatcher)).text
            await self.state.chat.answer(post.place.channel_id, post.message_id, text)

        if not post.automatic:  # bots that answer each other would go on for ever
            self.state.answers.post(tell, answer)

    async def _open_thread(self, inbound: Inbound) -> None:
        try:
            await self.state.chat.open_thread(inbound)
        except PortError as exc:
            await self.state.chat.refuse(inbound, f"The thread could not be opened: {exc}")

    # --- edits and deletions ---

    def revise(self, post: Post) -> None:
        """Tell the work what a message says now, if that is new."""
        text = revised(post, self.weft(post.place.guild_id), self.policy)
        if text is None:
            return
        changed = self.state.wordings.note(post.message_id, text)
        # Of a text that is not known, as after a restart, Discord tells at least whether it ever was edited.
        if changed or (changed is None and post.edited):
            self.dispatcher.edited(post.message_id, text) if text else self.withdraw(post.message_id)

    def withdraw(self, message_id: int) -> None:
        """Take a message out that was deleted."""
        # Its channel may still be looked up, or its place: it must not be handed over after this.
        self.state.withdrawn.first(message_id)
        self.dispatcher.deleted(message_id)

    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        self.withdraw(payload.message_id)

    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        for message_id in sorted(payload.message_ids):
            self.withdraw(message_id)

    # --- places that are gone ---

    async def on_raw_thread_delete(self, payload: discord.RawThreadDeleteEvent) -> None:
        self._let_go([payload.thread_id], "the thread was deleted")
        self.dispatcher.forget(payload.thread_id)

    async def on_raw_thread_update(self, payload: discord.RawThreadUpdateEvent) -> None:
        # Not forgotten: what is locked may be unlocked. Archived is no end at all.
        if payload.data["thread_metadata"].get("locked", False):
            self._let_go([payload.thread_id], "the thread was locked")

    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        self._forget_channel(channel.id)

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        # Weft is in that server no more; for an outage discord.py has another event.
        self._forget_guild(guild.id)

    def vanished(self, place: Place) -> None:
        """Forget a place that Discord does not know any more: it was deleted while nobody listened."""
        if place.parent_id is None:
            self._forget_channel(place.channel_id)
        elif self.dispatcher.at_rest(place.channel_id):  # else it may be a thread that is still to be opened
            self._let_go([place.channel_id], "the thread was deleted")
            self.dispatcher.forget(place.channel_id)

    def _forget_channel(self, channel_id: int) -> None:
        # Discord tells of the channel only, not of its threads.
        threads = self.state.threads.in_channel(channel_id)
        self._let_go(threads, "its channel was deleted")
        self.state.marks.forget(channel_id)
        self.dispatcher.forget(channel_id, *threads)

    def _forget_guild(self, guild_id: int) -> None:
        threads = self.state.threads.in_guild(guild_id)
        self._let_go(threads, "Weft was removed from the server")
        for place in self.state.marks.places():
            if place.guild_id == guild_id:
                self.state.marks.forget(place.channel_id)
        self.dispatcher.forget(guild_id, *threads)

    def _let_go(self, threads: Iterable[int], reason: str) -> None:
        for thread_id in threads:
            self.state.threads.pop(thread_id, None)
            self.state.marks.forget(thread_id)
            self.dispatcher.thread_gone(thread_id, reason)
