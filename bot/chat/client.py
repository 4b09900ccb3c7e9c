"""The Discord client: turns events into calls of the work, synchronously, and ends.

discord.py runs every handler as a task of its own, so a handler here does its work before any await, and what needs one
goes to an `Errands` line. The client may be replaced at any time; what must outlive it (`Lasting`) is handed in.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import discord
import structlog

from bot.chat import breaker, calls
from bot.chat.asking import MESSAGE_LIMIT, outcome, promised
from bot.chat.authorize import Policy, Request, Verdict, authorize
from bot.chat.commands import CommandStamp, carry_out, make_tree, sync_if_changed
from bot.chat.events import guard, tell_unread
from bot.chat.inbound import Decision, Kind, Place, Post, Weft, clip, decide, revised
from bot.chat.lasting import Lasting
from bot.chat.payloads import Json
from bot.chat.posts import post_of, stands_in, whole
from bot.chat.replies import with_original
from bot.chat.views import KNOWN, answer_unknown
from bot.model import Inbound
from bot.reply.port import PortError
from bot.work.ports import Answer, Desk

log = structlog.get_logger(__name__)


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


LONGEST_LIMIT = 30.0
"""Seconds that discord.py may wait for a rate limit, with everything of that kind behind it; it takes no fewer."""

# Weft has no voice: discord.py need not warn of the packages that voice would take.
discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False


class WeftClient(discord.Client):
    """One connection to Discord."""

    def __init__(self, desk: Desk, policy: Policy, lasting: Lasting, *, guild_ready_timeout: float = 2.0) -> None:
        super().__init__(
            intents=intents(),
            allowed_mentions=discord.AllowedMentions.none(),
            guild_ready_timeout=guild_ready_timeout,
            max_messages=None,
            max_ratelimit_timeout=LONGEST_LIMIT,
            http_trace=calls.timed(breaker.trace(lasting.breaker), lasting.observer),
        )
        self.desk, self.policy, self._lasting = desk, policy, lasting
        self.tree = make_tree(self)
        guard(self)

    def judge(self, request: Request) -> Verdict:
        """Decide about a request with the policy in force."""
        return authorize(request, self.policy)

    async def setup_hook(self) -> None:
        """Complete what is known only after the login."""
        self.add_dynamic_items(*KNOWN)
        if self.application is not None:
            self.policy = dataclasses.replace(self.policy, owners=self.policy.owners | owners_of(self.application))

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Count a login; one too many ends this client, and the gateway waits before the next.

        Raises:
            LoginsSpent: it is one too many.
        """
        self._lasting.logins.take()
        await super().before_identify_hook(shard_id, initial=initial)

    async def sync_commands(self, stamp: CommandStamp) -> None:
        """Register the slash commands if they changed."""
        await sync_if_changed(self.tree, stamp, self.application_id)

    async def on_connect(self) -> None:
        """Hold what comes from now on back, until what came before is looked up; not called after a RESUME."""
        # on_ready is up to two seconds later, with messages in between.
        if not self.is_closed():
            self._lasting.catch_up.begin(self.desk)

    async def on_disconnect(self) -> None:
        """Tell that a connection ended or could not be made; another one is tried."""
        if not self.is_closed():
            self._lasting.on_lost()

    async def on_ready(self) -> None:
        """Tell that events come from now on; also after a reconnection that could not resume."""
        if self.is_closed():
            return  # it comes late, and a replaced client's cache knows nothing of what came since
        self._lasting.on_ready()
        # A READY names all servers that Weft is in, those with an outage, too. One without any is rather a fault of
        # Discord's than the end of all of them, and what is forgotten does not come back.
        here = {guild.id for guild in self.guilds}
        for guild_id in self._lasting.marks.guilds() - here if here else ():
            self._forget_guild(guild_id)
        self._lasting.catch_up.start(self)

    async def on_resumed(self) -> None:
        """Tell that events go on, none of them lost."""
        self._lasting.observer.gateway_opened(resumed=True)

    async def on_written(self, message: Json) -> None:
        """Take a message in: before any await, so that the order of arrival is kept."""
        post = self._read(message)
        if post is None or self.user is None:
            return
        if post.author.id == self.user.id:
            self._pass_by(post.place.channel_id, post.message_id)
        elif self._has_to_wait(post):
            self._post_lookup(self._look_up, post)
        else:
            self._take(post)

    def _read(self, message: Json) -> Post | None:
        """Return a message of a server, in its place as far as that is known without asking Discord."""
        guild_id, channel_id = stands_in(message)
        if guild_id is None or channel_id is None:
            return None
        return post_of(message, self.whereabouts(channel_id) or Place(guild_id, channel_id))

    def _has_to_wait(self, post: Post) -> bool:
        """Return whether Discord has to be asked something before this message, or one before it, is decided on."""
        place_id = post.place.channel_id
        if self._lasting.detours[place_id]:
            return True
        return post.ordinary if self.whereabouts(place_id) is None else self._wants_original(post)

    def _wants_original(self, post: Post) -> bool:
        return post.reference is not None and self.decide(post).inbound is not None

    def _post_lookup(self, job: Callable[[Post], Awaitable[None]], post: Post) -> None:
        # One line, in order: later messages of the same place queue behind this one.
        detours, place_id = self._lasting.detours, post.place.channel_id

        async def do() -> None:
            try:
                await job(post)
            finally:
                detours[place_id] -= 1
                if not detours[place_id]:
                    del detours[place_id]

        if self._lasting.lookups.post(do):
            detours[place_id] += 1

    def whereabouts(self, place_id: int) -> Place | None:
        """Return a place by its id, if it is known without asking Discord."""
        channel = self.get_channel(place_id)
        if isinstance(channel, discord.Thread):
            return self._remember(channel)
        if isinstance(channel, discord.abc.GuildChannel):
            return Place(channel.guild.id, place_id)
        return self._lasting.book.find(place_id) or self._lasting.marks.place(place_id)

    def _remember(self, thread: discord.Thread) -> Place:
        place = Place(thread.guild.id, thread.id, thread.parent_id, thread.owner_id)
        self._lasting.book.remember(place)
        return place

    async def _look_up(self, post: Post) -> None:
        place_id = post.place.channel_id
        place = self.whereabouts(place_id) or await self._lasting.chat.place(place_id) or post.place
        if place.parent_id is not None:
            self._lasting.book.remember(place)
        post = dataclasses.replace(post, place=place)
        self._take(await with_original(post, self._lasting.chat) if self._wants_original(post) else post)

    def _take(self, post: Post) -> None:
        decision = self.decide(post)
        if decision.inbound is not None:
            self.hand_over(post, decision.inbound)
            return
        self._pass_by(post.place.channel_id, post.message_id)
        self.obey(post, decision)
        self.own_up(post, decision)
        self._answer(post, decision)

    def decide(self, post: Post) -> Decision:
        """Say what is to be done with a message."""
        return decide(post, self._weft(post.place.guild_id), self.policy)

    def hand_over(self, post: Post, inbound: Inbound, *, missed: bool = False) -> None:
        """Give a prompt to the work, unless it was given before; ``missed``: it is too old to be run unasked."""
        lasting = self._lasting
        if inbound.message_id in lasting.withdrawn or not lasting.taken.first(inbound.message_id):
            self._pass_by(post.place.channel_id, post.message_id)
            return
        if lasting.bot_runs.allow(inbound.thread_id, automatic=post.automatic):
            lasting.wordings.note(inbound.message_id, inbound.text)
            (self.desk.missed if missed else self.desk.submit)(inbound)
            self._open_places(post.place, inbound, opened=not missed)
        else:
            log.warning("message.ignored", message=inbound.message_id, reason="too many bot prompts in a row")
            self._pass_by(post.place.channel_id, post.message_id)

    def begin(self, post: Post, inbound: Inbound) -> None:
        """Take a request that stands in a message of Weft's own; one without text only opens its thread."""
        if inbound.text:
            self.hand_over(post, inbound)
        elif inbound.opens_thread:
            self._open_places(post.place, inbound, opened=True)
            self._lasting.answers.post(self._open_thread, inbound)

    def decline(self, inbound: Inbound, text: str) -> None:
        """Say below a request of that kind why it is not taken."""
        self._lasting.answers.post(self._lasting.chat.refuse, inbound, text)

    async def _open_thread(self, inbound: Inbound) -> None:
        try:
            await self._lasting.chat.open_thread(inbound)
        except PortError as exc:
            await self._lasting.chat.refuse(inbound, f"The thread could not be opened: {exc}")

    def obey(self, post: Post, decision: Decision) -> None:
        """Carry out a typed command, unless that was done before, and answer it."""
        command, lasting = decision.command, self._lasting
        if command is None or not lasting.taken.first(post.message_id):
            return
        thread_id = post.place.channel_id if post.place.parent_id is not None else None
        answer = outcome(
            lambda: carry_out(command, self.desk, thread_id, post.author, post.message_id), post.message_id
        )
        if not post.automatic:  # bots that answer each other would go on for ever
            lasting.answers.post(self._tell, post, answer)

    async def _tell(self, post: Post, answer: Answer) -> None:
        text = (await promised(self.desk, answer)).text
        await self._lasting.chat.answer(post.place.channel_id, post.message_id, clip(text, MESSAGE_LIMIT))

    async def on_rewritten(self, message: Json) -> None:
        """Take the new text of a message."""
        post = self._read(message) if whole(message) else None
        if post is None or self.user is None or post.author.id == self.user.id:
            return
        place_id = post.place.channel_id
        if self._lasting.detours[place_id] or self.whereabouts(place_id) is None:
            # The message itself may still stand in this line; what is looked up for nothing else isn't for an edit.
            self._post_lookup(self._revise_later, post)
        else:
            self.revise(post, edited=post.edited)

    async def _revise_later(self, post: Post) -> None:
        place = self.whereabouts(post.place.channel_id)
        if place is not None:
            self.revise(dataclasses.replace(post, place=place), edited=post.edited)

    def wording(self, post: Post) -> str | None:
        """Return what a message asks for that was a prompt; None if its author has no say."""
        return revised(post, self._weft(post.place.guild_id), self.policy)

    def noted(self, message_id: int) -> int | None:
        """Return a mark of what a message was last known to say."""
        return self._lasting.wordings.known(message_id)

    def revise(self, post: Post, *, edited: bool) -> None:
        """Tell the work what a message says now, if that is new; ``edited``: Discord says that it was edited."""
        text = self.wording(post)
        if text is None:
            return
        changed = self._lasting.wordings.note(post.message_id, text)
        # Of a text that is not known, as after a restart, Discord tells at least whether it ever was edited.
        if changed or (changed is None and edited):
            self.desk.edited(post.message_id, text) if text else self.withdraw(post.message_id)

    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        """Take a message out that was deleted."""
        self.withdraw(payload.message_id)

    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        """Take messages out that were deleted at once."""
        for message_id in sorted(payload.message_ids):
            self.withdraw(message_id)

    def withdraw(self, message_id: int) -> None:
        """Take a message out that was deleted."""
        # Its channel may still be looked up, or its place: it must not be handed over after this.
        self._lasting.withdrawn.first(message_id)
        self.desk.deleted(message_id)

    def _open_places(self, place: Place, inbound: Inbound, *, opened: bool) -> None:
        """Remember where a prompt was accepted: from now on nothing that is said there may be lost."""
        lasting = self._lasting
        lasting.marks.note(place, inbound.message_id, handed=True)
        if opened and inbound.opens_thread and self.user is not None:
            thread = Place(place.guild_id, inbound.thread_id, inbound.channel_id, self.user.id)
            lasting.book.remember(thread)
            lasting.marks.note(thread, inbound.message_id, handed=True)

    def _pass_by(self, place_id: int, message_id: int) -> None:
        """Take note of a message that is no prompt, in a place that is known."""
        place = self._lasting.marks.place(place_id)
        if place is not None:
            self._lasting.marks.note(place, message_id)

    def newest(self, place_id: int) -> int | None:
        """Return the newest message of a place that the cache knows."""
        channel = self.get_channel(place_id)
        if isinstance(channel, discord.Thread | discord.TextChannel | discord.VoiceChannel | discord.StageChannel):
            return channel.last_message_id
        return None

    def own_up(self, post: Post, decision: Decision) -> None:
        """Say what its author has to know, if the decision holds that, unless it was said before."""
        lasting = self._lasting
        if decision.kind is Kind.TELL and lasting.taken.first(post.message_id):
            lasting.answers.post(lasting.chat.answer, post.place.channel_id, post.message_id, decision.text)

    def _answer(self, post: Post, decision: Decision) -> None:
        due = decision.kind is Kind.HELP or (
            decision.kind is Kind.REFUSE and self._lasting.refusals.due(post.author.id, time.monotonic())
        )
        if due:
            self._lasting.answers.post(self._lasting.chat.answer, post.place.channel_id, post.message_id, decision.text)

    def _weft(self, guild_id: int | None) -> Weft:
        assert self.user is not None
        guild = self.get_guild(guild_id) if guild_id is not None else None
        role = guild.self_role if guild is not None else None
        return Weft(self.user.id, role.id if role is not None else None)

    async def on_raw_thread_delete(self, payload: discord.RawThreadDeleteEvent) -> None:
        """Let go of a deleted thread."""
        self._gone(payload.thread_id, "the thread was deleted")
        self.desk.forget(payload.thread_id)

    async def on_raw_thread_update(self, payload: discord.RawThreadUpdateEvent) -> None:
        """Let go of a locked thread."""
        if payload.data["thread_metadata"].get("locked", False):
            self._gone(payload.thread_id, "the thread was locked")

    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        """Let go of the threads of a deleted channel; Discord tells of the channel only."""
        self._forget_channel(channel.id)

    def _forget_channel(self, channel_id: int) -> None:
        threads = self._lasting.book.in_channel(channel_id)
        for thread_id in threads:
            self._gone(thread_id, "its channel was deleted")
        self._lasting.marks.forget(channel_id)
        self.desk.forget(channel_id, *threads)

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        """Let go of the threads of a server that Weft is in no more; of an outage discord.py tells something else."""
        self._forget_guild(guild.id)

    def _forget_guild(self, guild_id: int) -> None:
        threads = self._lasting.book.in_guild(guild_id)
        for thread_id in threads:
            self._gone(thread_id, "Weft was removed from the server")
        for place in self._lasting.marks.in_guild(guild_id):
            self._lasting.marks.forget(place.channel_id)
        self.desk.forget(guild_id, *threads)

    def vanished(self, place: Place) -> None:
        """Forget a place that Discord does not know any more: it was deleted while nobody listened."""
        if place.parent_id is None:
            self._forget_channel(place.channel_id)
        elif self.desk.at_rest(place.channel_id):  # else it may be a thread that is still to be opened
            self._gone(place.channel_id, "the thread was deleted")
            self.desk.forget(place.channel_id)

    def _gone(self, thread_id: int, reason: str) -> None:
        self._lasting.book.forget(thread_id)
        self._lasting.marks.forget(thread_id)
        self.desk.thread_gone(thread_id, reason)

    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        """Answer what no button of ours answers."""
        await answer_unknown(interaction)

    async def on_unread(self, interaction: Json) -> None:
        """Tell whoever pressed or typed something that it could not be read."""
        await tell_unread(self, interaction)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """Log a handler that failed; called by discord.py while the exception is handled."""
        log.error("handler.failed", handler=event_method, exc_info=sys.exception())
