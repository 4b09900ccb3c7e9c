"""The Discord client: turns events into calls of the work, synchronously, and ends.

discord.py runs every handler as a task of its own, so a handler here does its work before any await, and what needs one
goes to an `Errands` line. The client may be replaced at any time; what must outlive it (`Lasting`) is handed in.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import discord
import structlog

from bot.chat.asking import actor_of
from bot.chat.authorize import Policy, Request, Verdict, authorize
from bot.chat.book import ThreadBook
from bot.chat.commands import CommandStamp, make_tree, sync_if_changed
from bot.chat.errands import Errands
from bot.chat.inbound import BotRuns, Decision, Kind, OncePer, Place, Post, Weft, decide
from bot.chat.port import DiscordChat
from bot.chat.views import KNOWN, answer_unknown
from bot.work.ports import Desk

log = structlog.get_logger(__name__)

REFUSAL_PERIOD = 3600.0  # seconds
BOT_RUN_LIMIT = 5  # prompts by bots in a row in one thread
ORDINARY = frozenset({discord.MessageType.default, discord.MessageType.reply})


@dataclass(frozen=True, slots=True)
class Lasting:
    """What outlives a client."""

    chat: DiscordChat
    lookups: Errands
    answers: Errands
    on_ready: Callable[[], None]
    book: ThreadBook = dataclasses.field(default_factory=ThreadBook)
    refusals: OncePer = dataclasses.field(default_factory=lambda: OncePer(REFUSAL_PERIOD))
    bot_runs: BotRuns = dataclasses.field(default_factory=lambda: BotRuns(BOT_RUN_LIMIT))


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
        )
        self.desk, self.policy, self._lasting = desk, policy, lasting
        self.tree = make_tree(self)

    def judge(self, request: Request) -> Verdict:
        """Decide about a request with the policy in force."""
        return authorize(request, self.policy)

    async def setup_hook(self) -> None:
        """Complete what is known only after the login."""
        self.add_dynamic_items(*KNOWN)
        if self.application is not None:
            self.policy = dataclasses.replace(self.policy, owners=self.policy.owners | owners_of(self.application))

    async def sync_commands(self, stamp: CommandStamp) -> None:
        """Register the slash commands if they changed."""
        await sync_if_changed(self.tree, stamp, self.application_id)

    async def on_ready(self) -> None:
        """Tell that events come from now on; also after a reconnection that could not resume."""
        self._lasting.on_ready()

    async def on_message(self, message: discord.Message) -> None:
        """Take a message in: before any await, so that the order of arrival is kept."""
        self.receive(message)

    def receive(self, message: discord.Message) -> None:
        """Decide about a message now, or after a look at its channel when that is in no cache."""
        if message.guild is None or self.user is None or message.author.id == self.user.id:
            return
        place = self._place(message)
        if place is not None:
            self._take(message, place)
        elif message.type in ORDINARY:
            # One line, in order: later messages of the same thread queue behind this one.
            self._lasting.lookups.post(self._look_up, message)

    def _place(self, message: discord.Message) -> Place | None:
        channel = message.channel
        if isinstance(channel, discord.Thread):
            return self._remember(channel)
        if isinstance(channel, discord.PartialMessageable):
            return self._lasting.book.find(channel.id)
        return Place(message.guild.id if message.guild else None, channel.id)

    def _remember(self, thread: discord.Thread) -> Place:
        place = Place(thread.guild.id, thread.id, thread.parent_id, thread.owner_id)
        self._lasting.book.remember(place)
        return place

    async def _look_up(self, message: discord.Message) -> None:
        place = self._lasting.book.find(message.channel.id)
        if place is None:
            channel = await self._lasting.chat.channel(message.channel.id)
            guild_id = message.guild.id if message.guild else None
            place = (
                self._remember(channel) if isinstance(channel, discord.Thread) else Place(guild_id, message.channel.id)
            )
        self._take(message, place)

    def _take(self, message: discord.Message, place: Place) -> None:
        post = _post(message, place)
        decision = decide(post, self._weft(message.guild), self.policy)
        if decision.kind is Kind.PROMPT and decision.inbound is not None:
            inbound = decision.inbound
            if not self._lasting.bot_runs.allow(inbound.thread_id, automatic=post.automatic):
                log.warning("message.ignored", message=message.id, reason="too many bot prompts in a row")
                return
            if inbound.opens_thread and self.user is not None:
                self._lasting.book.remember(Place(place.guild_id, inbound.thread_id, inbound.channel_id, self.user.id))
            self.desk.submit(inbound)
            return
        self._answer(post, decision)

    def _answer(self, post: Post, decision: Decision) -> None:
        due = decision.kind is Kind.HELP or (
            decision.kind is Kind.REFUSE and self._lasting.refusals.due(post.author.id, time.monotonic())
        )
        if due:
            self._lasting.answers.post(self._lasting.chat.answer, post.place.channel_id, post.message_id, decision.text)

    def _weft(self, guild: discord.Guild | None) -> Weft:
        assert self.user is not None
        role = guild.self_role if guild is not None else None
        return Weft(self.user.id, role.id if role is not None else None)

    async def on_raw_thread_delete(self, payload: discord.RawThreadDeleteEvent) -> None:
        """Let go of a deleted thread."""
        self._gone(payload.thread_id, "the thread was deleted")

    async def on_raw_thread_update(self, payload: discord.RawThreadUpdateEvent) -> None:
        """Let go of a locked thread."""
        if payload.data["thread_metadata"].get("locked", False):
            self._gone(payload.thread_id, "the thread was locked")

    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        """Let go of the threads of a deleted channel; Discord tells of the channel only."""
        for thread_id in self._lasting.book.in_channel(channel.id):
            self._gone(thread_id, "its channel was deleted")

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        """Let go of the threads of a server that Weft is in no more."""
        for thread_id in self._lasting.book.in_guild(guild.id):
            self._gone(thread_id, "Weft was removed from the server")

    def _gone(self, thread_id: int, reason: str) -> None:
        self._lasting.book.forget(thread_id)
        self.desk.thread_gone(thread_id, reason)

    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        """Answer what no button of ours answers."""
        await answer_unknown(interaction)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """Log a handler that failed; called by discord.py while the exception is handled."""
        log.error("handler.failed", handler=event_method, exc_info=sys.exception())


def _post(message: discord.Message, place: Place) -> Post:
    return Post(
        message_id=message.id,
        place=place,
        author=actor_of(message.author),
        content=message.content,
        ordinary=message.type in ORDINARY,
        automatic=message.author.bot or message.webhook_id is not None,
        mentions=frozenset(user.id for user in message.mentions),
        crowds=frozenset(message.raw_role_mentions),
        everyone=message.mention_everyone,
        attachments=len(message.attachments),
        has_thread=message.thread is not None or message.flags.has_thread,
    )
