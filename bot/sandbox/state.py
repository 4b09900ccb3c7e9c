"""What the loopback Discord remembers, and the notice that something changed.

The mutable state of the whole sandbox's content is here: accounts, roles, channels, messages and their timelines.
Rules on what may change stand in `messages` and `channels`; JSON shapes in `objects`.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from bot.sandbox.errors import DiscordError
from bot.sandbox.history import PostIndex
from bot.sandbox.model import (
    ADMINISTRATOR,
    ALL_PERMISSIONS,
    PERMISSIONS,
    Attachment,
    Channel,
    ChannelType,
    Event,
    Json,
    Message,
    Role,
    User,
)

DISCORD_EPOCH_MS = 1_420_070_400_000
Clock = Callable[[], float]


class Snowflakes:
    """Ids that hold the wall time and never repeat or go back."""

    def __init__(self, wall: Clock) -> None:
        self._wall = wall
        self._last = 0

    def __call__(self) -> int:
        """The next id."""
        stamp = (int(self._wall() * 1000) - DISCORD_EPOCH_MS) << 22
        # By one where the time stands still or was set back: the order of ids is that of messages.
        self._last = max(stamp, self._last + 1)
        return self._last


def snowflake_seconds(snowflake: int) -> float:
    """The wall time in seconds that an id was made at."""
    return ((snowflake >> 22) + DISCORD_EPOCH_MS) / 1000


class Changes:
    """Every state a message was in, in order, and an event that fires at each change of anything."""

    def __init__(self) -> None:
        self.log: list[Message] = []
        self._event = anyio.Event()

    def note(self, message: Message | None = None) -> None:
        """Wake those who wait; keep the message's new state."""
        if message is not None:
            self.log.append(message)
        self._event.set()
        self._event = anyio.Event()

    async def wait(self) -> None:
        """Wait for the next change."""
        await self._event.wait()


@dataclass(slots=True)
class Member:
    """A user's part in the guild; one who has ``left`` is kept for what they posted."""

    user: User
    role_ids: tuple[int, ...] = ()
    left: bool = False


@dataclass(slots=True)
class State:
    """All content; `publish` hands an event to the gateway, `base_url` is where attachments are served.

    `messages` is read from everywhere and written here alone, together with `posts`, which has them by channel.
    `files` has those of all messages, `handed` those of commands' options, `files_key` seals their addresses,
    `command_contexts` says by their ids where commands may be used, `removed` that the bot was thrown out of the guild,
    `session_starts` how many times it may still connect anew.
    """

    clock: Clock
    wall: Clock
    ids: Snowflakes
    guild_id: int
    bot: User
    owner_id: int
    application_id: int
    publish: Callable[[Event], None] = lambda _event: None
    base_url: str = ""
    content_granted: bool = True
    removed: bool = False
    session_starts: int = 999
    members: dict[int, Member] = field(default_factory=dict)
    roles: dict[int, Role] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    messages: dict[int, Message] = field(default_factory=dict)
    posts: PostIndex = field(default_factory=PostIndex)
    files: dict[int, Attachment] = field(default_factory=dict)
    files_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    handed: dict[int, Attachment] = field(default_factory=dict)
    timelines: dict[int, list[tuple[float, str]]] = field(default_factory=dict)
    newest: dict[int, int] = field(default_factory=dict)
    posted: dict[int, int] = field(default_factory=dict)
    nonces: dict[tuple[int, str], tuple[float, int]] = field(default_factory=dict)
    commands: dict[str, list[Json]] = field(default_factory=dict)
    command_contexts: dict[str, list[int]] = field(default_factory=dict)
    command_syncs: int = 0
    changes: Changes = field(default_factory=Changes)

    def channel(self, channel_id: int) -> Channel:
        """The channel or thread; raises 10003."""
        try:
            return self.channels[channel_id]
        except KeyError:
            raise DiscordError(10003) from None

    def message(self, channel_id: int, message_id: int) -> Message:
        """The message in that channel that everyone sees; raises 10003 or 10008."""
        self.channel(channel_id)
        message = self.messages.get(message_id)
        # In the path of another channel an id is unknown, or a caller could read what they may not see.
        if message is None or message.channel_id != channel_id or message.ephemeral:
            raise DiscordError(10008)
        return message

    def member(self, user_id: int) -> Member:
        """The member; raises 10007."""
        member = self.members.get(user_id)
        if member is None or member.left:
            raise DiscordError(10007)
        return member

    def history(self, channel_id: int) -> list[Message]:
        """The channel's messages that everyone sees, oldest first."""
        return [self.messages[one] for one in self.posts.ids(channel_id)]

    def last_message_id(self, channel_id: int) -> str | None:
        """The channel's newest message as the wire has it, None where nothing was posted yet."""
        newest = self.newest.get(channel_id)
        return None if newest is None else str(newest)

    def threads(self) -> list[Channel]:
        """All threads, oldest first."""
        return sorted((one for one in self.channels.values() if one.is_thread), key=lambda one: one.id)

    def granted(self, user_id: int) -> int:
        """What the user's roles give, before any channel; @everyone's id is the guild's."""
        if user_id == self.owner_id:
            return ALL_PERMISSIONS
        granted = 0
        for role_id in self._role_ids(user_id):
            granted |= self.roles[role_id].permissions
        return ALL_PERMISSIONS if granted & ADMINISTRATOR else granted

    def permissions(self, user_id: int, channel: Channel) -> int:
        """What the user may do in the channel; a thread has its parent's overwrites."""
        granted = self.granted(user_id)
        if granted & ADMINISTRATOR:
            return granted
        parent = self.channels.get(channel.parent_id) if channel.parent_id is not None else None
        # The parent's first; a thread has none of its own, and a channel no parent here.
        for place in (parent, channel):
            granted = granted if place is None else self._overwritten(granted, user_id, place)
        return granted

    def _role_ids(self, user_id: int) -> tuple[int, ...]:
        member = self.members.get(user_id)
        return (self.guild_id, *(member.role_ids if member is not None else ()))

    def _overwritten(self, granted: int, user_id: int, place: Channel) -> int:
        """Apply the overwrites of @everyone, then those of all roles at once, then the member's own."""
        everyone, *others = self._role_ids(user_id)
        for level in ([everyone], others, [user_id]):
            found = [place.overwrites[one] for one in level if one in place.overwrites]
            # All that a level denies before all that it allows: the roles of a member are not in an order.
            for one in found:
                granted &= ~one.deny
            for one in found:
                granted |= one.allow
        return granted

    def in_guild(self, who: int) -> bool:
        """Whether an account is in the guild now."""
        member = self.members.get(who)
        return member is not None and not member.left and not (self.removed and who == self.bot.id)

    def sees(self, who: int, channel: Channel) -> bool:
        """Whether a place is there for an account: a private thread is for its members and who manages threads."""
        if not channel.in_guild:
            return who == self.bot.id or who in channel.member_ids
        granted = self.permissions(who, channel) if self.in_guild(who) else 0
        if not granted & PERMISSIONS["view_channel"]:
            return False
        private = channel.type is ChannelType.PRIVATE_THREAD
        return not private or who in channel.member_ids or bool(granted & PERMISSIONS["manage_threads"])

    def require(self, who: int, channel: Channel, *names: str) -> None:
        """Raise 50001 or 50013 where an account lacks a permission there."""
        # First: whoever does not see a place gets 50001, whatever they want there.
        if not self.sees(who, channel):
            raise DiscordError(50001)
        if not channel.in_guild:
            return
        granted = self.permissions(who, channel)
        for name in names:
            if not granted & PERMISSIONS[name]:
                raise DiscordError(50013)

    def put_message(self, message: Message) -> Message:
        """Store a message's new state and wake those who wait."""
        if not message.ephemeral:
            self.posts.add(message.channel_id, message.id)
            if message.id not in self.messages:
                self.posted[message.channel_id] = self.posted.get(message.channel_id, 0) + 1
            # As with Discord, a message that is deleted later stays the channel's newest.
            self.newest[message.channel_id] = max(message.id, self.newest.get(message.channel_id, 0))
        # While the earlier state is still there, whose files may go.
        self._keep_files(message)
        self.messages[message.id] = message
        timeline = self.timelines.setdefault(message.id, [])
        # Only texts: reactions and flags make records, too.
        if not timeline or timeline[-1][1] != message.content:
            timeline.append((self.clock(), message.content))
        self.changes.note(message)
        return message

    def _keep_files(self, message: Message) -> None:
        """Have the message's files, and no longer those that an edit took from it."""
        earlier = self.messages.get(message.id)
        for one in earlier.attachments if earlier is not None else ():
            self.files.pop(one.id, None)
        self.files.update({one.id: one for one in message.attachments})

    def drop_message(self, message_id: int) -> None:
        """Forget a message and wake those who wait; an unknown id changes nothing."""
        # The files go, the timeline stays: tests look at what was shown before.
        message = self.messages.pop(message_id, None)
        if message is not None:
            self.posts.remove(message.channel_id, message_id)
            for one in message.attachments:
                self.files.pop(one.id, None)
        self.changes.note()

    def drop_channel(self, channel_id: int) -> None:
        """Forget a channel with its messages, and wake those who wait."""
        del self.channels[channel_id]
        for message in [one for one in self.messages.values() if one.channel_id == channel_id]:
            self.drop_message(message.id)
        self.changes.note()

    def put_channel(self, channel: Channel) -> Channel:
        """Store a channel's new state and wake those who wait."""
        self.channels[channel.id] = channel
        self.changes.note()
        return channel
