"""The Discord client: turns events into calls of the work, synchronously, and ends.

discord.py runs each handler as a separate task, in the order of the events, so a handler here does its work before
any await, and what needs one goes to a `JobQueue`. The client may be replaced at any time; what must outlive it, its
`ClientState`, is passed in. Commands and buttons are added by `bot.chat.commands.tree`.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import anyio
import discord
import structlog

from bot.chat.answers import look_first, run_command, saved
from bot.chat.authorize import Policy
from bot.chat.connection_health import Logins, Progress
from bot.chat.events import guard
from bot.chat.fence import MaySend, always, fence_gateway
from bot.chat.inbound import (
    BotRuns,
    Command,
    Decision,
    Kind,
    OncePer,
    Place,
    Post,
    Weft,
    Wordings,
    asks_nothing,
    decide,
    revised,
)
from bot.chat.job_queue import JobQueue, PlaceQueues
from bot.chat.port import DiscordChat
from bot.chat.posts import WHOLE, Json, post_of, snowflake
from bot.chat.read_marks import MOST_PLACES, Watermarks
from bot.chat.rest import Breaker, trace_config
from bot.model import Inbound
from bot.recent import Recent, RecentMap
from bot.redaction import Redactor
from bot.reply.port import PortError
from bot.work.dispatcher import Dispatcher
from bot.work.observer import Observer

log = structlog.get_logger(__name__)

REFUSAL_PERIOD = 3600.0  # seconds
BOT_RUN_LIMIT = 5  # prompts by bots in a row in one thread
MOST_MESSAGES = 5000  # taken or deleted ones that are remembered
LONGEST_LIMIT = 30.0
"""Seconds that discord.py may wait for a rate limit, with everything of that kind behind it; it takes no fewer."""

INTENTS = discord.Intents(guilds=True, guild_messages=True, guild_reactions=True, message_content=True)
"""The events that Weft needs; message content is the only privileged one."""

INTENTS_WITH_DIRECT = discord.Intents(guilds=True, messages=True, message_content=True)
"""The same with direct messages, for a Weft that takes them."""

# Weft has no voice: discord.py need not warn of the packages that voice would take.
discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False


@dataclass(slots=True, eq=False)
class CatchUpRequest:
    """The catch-up that a client asks for, and `bot.chat.catchup` does; meanwhile the work starts nothing new.

    Attributes:
        limit: for how many seconds the work is held at most, from the READY on.
        client: the one to be caught up, once it knows its servers.
        held: the dispatcher that is held, ``until`` a time of the loop's clock.
        number: see `Watermarks.hold`.
        scope: of the pass under way.
        changed: set, and replaced, when something above changes.
    """

    marks: Watermarks
    limit: float = 10.0
    client: WeftClient | None = None
    held: Dispatcher | None = None
    until: float = 0.0
    number: int = 0
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    changed: anyio.Event = field(default_factory=anyio.Event)

    def begin(self, dispatcher: Dispatcher) -> None:
        """Take note of a READY, before the first event that follows it; a pass under way is replaced."""
        dispatcher.hold()
        self.scope.cancel()
        self.number = self.marks.hold()
        self.held, self.until = dispatcher, anyio.current_time() + self.limit
        # The previous READY's client is useless now: its cache lacks what came since.
        self.start(None)

    def start(self, client: WeftClient | None) -> None:
        """Have what was missed looked up, now that the client knows its servers."""
        self.client = client
        self.changed.set()
        self.changed = anyio.Event()

    def release(self) -> None:
        """Let the work start again what it has, if it is held."""
        if self.held is not None:
            self.held.release()
            self.held = None
            self.changed.set()
            self.changed = anyio.Event()


@dataclass(frozen=True, slots=True)
class ClientState:
    """What outlives a client: the next one continues with it.

    Attributes:
        ready: set when Discord has sent everything that it tells at the start.
        detours: the messages of places in which Discord has to be asked something first.
        answers: what is said to people, so that no event waits for it.
        threads: the place of each thread and who opened it, by id: Discord's client forgets archived ones.
        taken: messages that took effect: Discord and catch-ups may bring them again.
        withdrawn: messages that were deleted.
        may_send: whether this bot leads, and may send anything at all.
    """

    chat: DiscordChat
    marks: Watermarks
    wordings: Wordings
    catch_up: CatchUpRequest
    breaker: Breaker
    logins: Logins
    progress: Progress
    observer: Observer
    redactor: Redactor
    ready: anyio.Event = field(default_factory=anyio.Event)
    answers: JobQueue = field(default_factory=lambda: JobQueue("answers"))
    threads: RecentMap[int, Place] = field(default_factory=lambda: RecentMap(MOST_PLACES))
    refusals: OncePer = field(default_factory=lambda: OncePer(REFUSAL_PERIOD))
    bot_runs: BotRuns = field(default_factory=lambda: BotRuns(BOT_RUN_LIMIT))
    taken: Recent[int] = field(default_factory=lambda: Recent(MOST_MESSAGES))
    withdrawn: Recent[int] = field(default_factory=lambda: Recent(MOST_MESSAGES))
    detours: PlaceQueues = field(default_factory=lambda: PlaceQueues("lookups"))
    may_send: MaySend = always


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
        self, dispatcher: Dispatcher, policy: Policy, state: ClientState, *, guild_ready_timeout: float
    ) -> None:
        super().__init__(
            intents=INTENTS_WITH_DIRECT if policy.direct else INTENTS,
            allowed_mentions=discord.AllowedMentions.none(),
            guild_ready_timeout=guild_ready_timeout,
            max_messages=None,
            max_ratelimit_timeout=LONGEST_LIMIT,
            http_trace=trace_config(state.breaker, state.observer, state.may_send),
        )
        self.dispatcher, self.policy, self.state = dispatcher, policy, state
        guard(self)
        fence_gateway(self, state.may_send)

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
        """Hold back what comes from now on, until what came before is looked up; not called after a RESUME."""
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
        # A READY names all servers that Weft is in, even those with an outage. One without any is more likely a fault
        # of Discord's than the end of all of them, and what is forgotten does not come back.
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
        # Whomever it is for: its author is there now (A2).
        prompts = decision.inbound is not None
        self.dispatcher.inbox.seen(place_id, post.author.id, post.message_id, prompts=prompts)
        wants_original = decision.inbound is not None and post.reference is not None
        # Discord has to be asked something before this message is decided on, or before one that came before it.
        if place_id in state.detours or (post.ordinary and not place_known) or wants_original:
            self._queue_lookup(post, edit=False)
        else:
            self.take(post, decision)

    async def on_raw_reaction_add(self, reaction: discord.RawReactionActionEvent) -> None:
        """Take note that somebody has been in a thread."""
        self.dispatcher.inbox.seen(reaction.channel_id, reaction.user_id)

    async def on_message_edit_payload(self, message: Json) -> None:
        """Take the new text of a message."""
        post, place_known = self._read(message) if message.keys() >= WHOLE else (None, False)
        if post is None or self.user is None or post.author.id == self.user.id:
            return
        if post.place.channel_id in self.state.detours or not place_known:
            # The message itself may still be in this queue; for an edit alone nothing is looked up.
            self._queue_lookup(post, edit=True)
        else:
            self.revise(post)

    def _read(self, message: Json) -> tuple[Post | None, bool]:
        """Return a message, and whether its place is known without asking Discord.

        None: it can't be read, or is a direct message to a Weft that takes none.
        """
        guild_id, channel_id = snowflake(message.get("guild_id")), snowflake(message.get("channel_id"))
        if channel_id is None or (guild_id is None and not self.policy.direct):
            return None, False
        place = self.find_place(channel_id)
        if guild_id is None and place is None:
            # Discord names the server of all other messages.
            place = Place(None, channel_id)
        return post_of(message, place or Place(guild_id, channel_id)), place is not None

    def find_place(self, place_id: int) -> Place | None:
        """Return a place by its id, if it is known without asking Discord."""
        channel = self.get_channel(place_id)
        if isinstance(channel, discord.Thread):
            place = Place(channel.guild.id, channel.id, channel.parent_id, channel.owner_id, channel.name)
            self.state.threads.put(place_id, place)
            return place
        if isinstance(channel, discord.abc.GuildChannel):
            return Place(channel.guild.id, place_id)
        return self.state.threads.get(place_id) or self.state.marks.place(place_id)

    def active_posts(self) -> list[Place]:
        """Return the posts of forums that are not archived."""
        return [
            Place(guild.id, thread.id, thread.parent_id, thread.owner_id, thread.name)
            for guild in self.guilds
            for thread in guild.threads
            if isinstance(thread.parent, discord.ForumChannel)
        ]

    def newest(self, place_id: int) -> int | None:
        """Return the newest message of a place that the cache knows."""
        channel = self.get_channel(place_id)
        if isinstance(channel, discord.Thread | discord.TextChannel | discord.VoiceChannel | discord.StageChannel):
            return channel.last_message_id
        return None

    def _queue_lookup(self, post: Post, *, edit: bool) -> None:
        self.state.detours.post(post.place.channel_id, functools.partial(self._look_up, post, edit=edit))

    async def _look_up(self, post: Post, *, edit: bool) -> None:
        place_id, chat = post.place.channel_id, self.state.chat
        place = self.find_place(place_id)
        if edit:
            # Nothing is asked for an edit alone: of an unknown place no message was taken.
            if place is not None:
                self.revise(dataclasses.replace(post, place=place))
            return
        place = place or await chat.place(place_id) or post.place
        if place.parent_id is not None:
            self.state.threads.put(place_id, place)
        post = dataclasses.replace(post, place=place)
        decision = decide(post, self.weft(place.guild_id), self.policy)
        # Only for a prompt: a message between people is nothing to ask Discord about.
        if decision.inbound is not None and post.reference is not None:
            post = await chat.with_original(post)
            decision = decide(post, self.weft(place.guild_id), self.policy)
        self.take(post, decision)

    def weft(self, guild_id: int | None) -> Weft:
        """Return what Weft is called in a server."""
        assert self.user is not None
        guild = self.get_guild(guild_id) if guild_id is not None else None
        role = guild.self_role if guild is not None else None
        return Weft(self.user.id, role.id if role is not None else None, self.dispatcher.outside.posts)

    def take(self, post: Post, decision: Decision, *, live: bool = True, missed: bool = False) -> None:
        """Do what was decided about a message, unless it was done before: a prompt goes to the work.

        Args:
            live: it was posted just now: only then people are told that they are refused, or how Weft is used.
            missed: it is too old to be run unasked.
        """
        state, place, inbound = self.state, post.place, decision.inbound
        # 1. No prompt.
        if inbound is None:
            state.marks.pass_by(place.channel_id, post.message_id)
            if not missed:
                self._reply(post, decision, live=live)
            return
        # 2. A prompt that was deleted or given before. Deletion is checked first: what was deleted while its place was
        # looked up must not count as taken.
        if inbound.message_id in state.withdrawn or not state.taken.first(inbound.message_id):
            state.marks.pass_by(place.channel_id, post.message_id)
            return
        # 3. One too many: bots that answer each other would never stop.
        if not state.bot_runs.allow(inbound.thread_id, automatic=post.automatic):
            log.warning("message.ignored", message=inbound.message_id, reason="too many bot prompts in a row")
            state.marks.pass_by(place.channel_id, post.message_id)
            return
        # 4. A new prompt; one without words only opens its thread.
        state.wordings.note(inbound.message_id, inbound.text)
        if missed:
            self.dispatcher.missed(inbound)
        elif inbound.text or inbound.quotes or inbound.attachments:
            self.dispatcher.submit(inbound)
        else:
            state.answers.post(self._open_thread, inbound)
        # From now on no message there may be lost.
        state.marks.note(place, inbound.message_id, handed=True)
        if post.begins_post:
            self.dispatcher.outside.posts.claim(place.channel_id)  # in this step: the next message there is for Weft
        if inbound.opens_thread and not missed and self.user is not None:
            thread = Place(place.guild_id, inbound.thread_id, inbound.channel_id, self.user.id)
            state.threads.put(inbound.thread_id, thread)
            state.marks.note(thread, inbound.message_id, handed=True)

    def _reply(self, post: Post, decision: Decision, *, live: bool) -> None:
        """Run a typed command, or tell the author of a message that is no prompt what they should know."""
        state, place, kind = self.state, post.place, decision.kind
        if decision.command is None:
            if (
                (kind is Kind.TELL and state.taken.first(post.message_id))
                or (kind is Kind.HELP and live)
                or (kind is Kind.REFUSE and live and state.refusals.due(post.author.id, time.monotonic()))
            ):
                state.answers.post(state.chat.answer, place.channel_id, post.message_id, decision.text)
            return
        if not state.taken.first(post.message_id):
            return
        thread_id = place.channel_id if place.conversation else None
        command = decision.command
        run = functools.partial(run_command, command, self.dispatcher, thread_id, post.author, post.message_id)
        # Done now, in the order of arrival; only the answer may wait. A status decides nothing, and waits for its look.
        done = None if command is Command.STATUS else run()

        async def tell() -> None:
            await look_first(command, self.dispatcher, thread_id)
            text = (await saved(done or run(), self.dispatcher)).text
            await state.chat.answer(place.channel_id, post.message_id, text)

        if not post.automatic:  # bots that answer each other would never stop
            state.answers.post(tell)

    async def _open_thread(self, inbound: Inbound) -> None:
        try:
            await self.state.chat.open_thread(inbound)
        except PortError as exc:
            await self.state.chat.refuse(inbound, f"The thread could not be opened: {exc}")
        else:
            self.dispatcher.outside.opened(inbound.thread_id, inbound.title)

    # --- edits and deletions ---

    def revise(self, post: Post) -> None:
        """Pass on what a message says now, if that is new."""
        weft = self.weft(post.place.guild_id)
        text = revised(post, weft, self.policy)
        if text is None:
            return
        changed = self.state.wordings.note(post.message_id, text)
        # Of a text that is not known, as after a restart, Discord tells at least whether it ever was edited.
        if changed or (changed is None and post.edited):
            if asks_nothing(post, text, weft):
                self.withdraw(post.message_id)
            else:
                self.dispatcher.edited(post.message_id, text)

    def withdraw(self, message_id: int) -> None:
        """Remove a message that was deleted."""
        # Its place may still be being looked up: it must not be submitted after this.
        self.state.withdrawn.first(message_id)
        self.dispatcher.deleted(message_id)

    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        self.withdraw(payload.message_id)

    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        for message_id in sorted(payload.message_ids):
            self.withdraw(message_id)

    # --- places that are gone ---

    async def on_raw_thread_delete(self, payload: discord.RawThreadDeleteEvent) -> None:
        self._let_go([payload.thread_id], "the thread was deleted", gone=payload.thread_id)

    async def on_raw_thread_update(self, payload: discord.RawThreadUpdateEvent) -> None:
        # Not forgotten: what is locked may be unlocked. Archived is no end at all, except for an agent that is idle.
        metadata = payload.data["thread_metadata"]
        if metadata.get("locked", False):
            self._let_go([payload.thread_id], "the thread was locked")
        elif metadata.get("archived", False):
            self.dispatcher.archived(payload.thread_id)

    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        self.vanished(Place(channel.guild.id, channel.id))

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        # Weft is no longer in that server; for an outage discord.py has another event.
        self._forget_guild(guild.id)

    def vanished(self, place: Place) -> None:
        """Forget a place that was deleted, perhaps while nobody listened."""
        gone, threads = place.channel_id, self.state.threads
        if place.parent_id is None:
            # Discord tells of the channel only, not of its threads.
            of_channel = [key for key, thread in threads.items() if thread.parent_id == gone]
            self._let_go(of_channel, "its channel was deleted", gone=gone)
        elif self.dispatcher.at_rest(gone):  # else it may be a thread that is still to be opened
            self._let_go([gone], "the thread was deleted", gone=gone)

    def _forget_guild(self, guild_id: int) -> None:
        threads = [key for key, thread in self.state.threads.items() if thread.guild_id == guild_id]
        self._let_go(threads, "Weft was removed from the server", gone=guild_id)
        for place in self.state.marks.places():
            if place.guild_id == guild_id:
                self.state.marks.forget(place.channel_id)

    def _let_go(self, threads: Iterable[int], reason: str, *, gone: int | None = None) -> None:
        """End what runs in threads; forget ``gone``, which is one of them, or the channel or server they are in."""
        for thread_id in threads:
            self.state.threads.pop(thread_id, None)
            self.state.marks.forget(thread_id)
            self.dispatcher.thread_gone(thread_id, reason)
        if gone is not None:
            self.state.marks.forget(gone)
            # Each once: a thread that is gone is both.
            self.dispatcher.forget(*dict.fromkeys((gone, *threads)))
