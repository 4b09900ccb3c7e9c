"""What the loopback Discord stores: immutable records, and the bits that Discord packs into integers.

Ids are ints here; `objects` turns them into the strings of the wire.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Any

Json = dict[str, Any]


class ChannelType(IntEnum):
    """The channel types that exist here."""

    TEXT = 0
    DM = 1
    PUBLIC_THREAD = 11
    PRIVATE_THREAD = 12
    FORUM = 15


THREAD_TYPES = frozenset({ChannelType.PUBLIC_THREAD, ChannelType.PRIVATE_THREAD})


class MessageType(IntEnum):
    """The message types that exist here."""

    DEFAULT = 0
    CHANNEL_NAME_CHANGE = 4
    REPLY = 19
    COMMAND = 20


class MessageFlags(IntFlag):
    """The message flags that change what happens."""

    SUPPRESS_EMBEDS = 1 << 2
    HAS_THREAD = 1 << 5
    EPHEMERAL = 1 << 6
    LOADING = 1 << 7
    SUPPRESS_NOTIFICATIONS = 1 << 12
    VOICE = 1 << 13
    SNAPSHOT = 1 << 14
    COMPONENTS_V2 = 1 << 15


class Intents(IntFlag):
    """The gateway intents that gate an event here."""

    NONE = 0
    GUILDS = 1 << 0
    GUILD_MEMBERS = 1 << 1
    GUILD_PRESENCES = 1 << 8
    GUILD_MESSAGES = 1 << 9
    GUILD_MESSAGE_REACTIONS = 1 << 10
    GUILD_MESSAGE_TYPING = 1 << 11
    DIRECT_MESSAGES = 1 << 12
    DIRECT_MESSAGE_REACTIONS = 1 << 13
    DIRECT_MESSAGE_TYPING = 1 << 14
    MESSAGE_CONTENT = 1 << 15


# All that Discord knows, not only those that gate something here: others are refused at the login.
KNOWN_INTENTS = sum(1 << bit for bit in (*range(17), 20, 21, 24, 25))
# Those that have to be switched on in the developer portal.
PRIVILEGED_INTENTS = Intents.GUILD_MEMBERS | Intents.GUILD_PRESENCES | Intents.MESSAGE_CONTENT

PERMISSIONS: Mapping[str, int] = {
    "administrator": 1 << 3,
    "manage_channels": 1 << 4,
    "manage_guild": 1 << 5,
    "add_reactions": 1 << 6,
    "view_channel": 1 << 10,
    "send_messages": 1 << 11,
    "manage_messages": 1 << 13,
    "embed_links": 1 << 14,
    "attach_files": 1 << 15,
    "read_message_history": 1 << 16,
    "mention_everyone": 1 << 17,
    "use_application_commands": 1 << 31,
    "manage_threads": 1 << 34,
    "create_public_threads": 1 << 35,
    "create_private_threads": 1 << 36,
    "send_messages_in_threads": 1 << 38,
}
ADMINISTRATOR = PERMISSIONS["administrator"]
ALL_PERMISSIONS = sum(PERMISSIONS.values())
_WITHHELD = PERMISSIONS["mention_everyone"] | PERMISSIONS["manage_guild"] | ADMINISTRATOR
# As in a new server: without what could harm others.
EVERYONE_PERMISSIONS = ALL_PERMISSIONS & ~_WITHHELD


def permission_bits(names: Iterable[str]) -> int:
    bits = 0
    for name in names:
        bits |= PERMISSIONS[name]
    return bits


@dataclass(frozen=True, slots=True)
class User:
    id: int
    name: str
    bot: bool = False


@dataclass(frozen=True, slots=True)
class Role:
    """A role of the guild; the one that a bot's invite makes belongs to that bot."""

    id: int
    name: str
    permissions: int = 0
    bot_id: int | None = None


@dataclass(frozen=True, slots=True)
class Overwrite:
    """What a channel gives to a role or a member, and takes from them."""

    allow: int = 0
    deny: int = 0


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag of a forum; a ``moderated`` one is set and taken away by whoever manages threads only."""

    id: int
    name: str
    moderated: bool = False


@dataclass(frozen=True, slots=True)
class Channel:
    """A text channel, forum, thread or direct message channel; `archived_at` is wall time in seconds."""

    id: int
    type: ChannelType
    name: str
    parent_id: int | None = None
    owner_id: int | None = None
    archived: bool = False
    locked: bool = False
    auto_archive_minutes: int = 1440
    archived_at: float = 0.0
    member_ids: frozenset[int] = frozenset()
    overwrites: Mapping[int, Overwrite] = field(default_factory=dict)
    tags: tuple[Tag, ...] = ()
    applied_tags: tuple[int, ...] = ()

    @property
    def is_thread(self) -> bool:
        return self.type in THREAD_TYPES

    @property
    def in_guild(self) -> bool:
        return self.type is not ChannelType.DM


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a message; ``declared``: the size in bytes that is announced, if that is a lie."""

    id: int
    name: str
    content: bytes = field(repr=False)
    content_type: str = "application/octet-stream"
    declared: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One state of a message; an edit makes another record with the same id.

    Attributes:
        parts: further fields of the wire's object, told as they are; see `parts`.
        reader_id: of an ephemeral message, who alone sees it.
        answers: what a person did that the bot answers with it; told to people only.
    """

    id: int
    channel_id: int
    author_id: int
    content: str = ""
    type: MessageType = MessageType.DEFAULT
    flags: int = 0
    components: list[Json] = field(default_factory=list)
    embeds: list[Json] = field(default_factory=list)
    attachments: tuple[Attachment, ...] = ()
    reactions: Mapping[str, frozenset[int]] = field(default_factory=dict)
    reference_id: int | None = None
    nonce: str | int | None = None
    mentions: tuple[int, ...] = ()
    mention_roles: tuple[int, ...] = ()
    mention_everyone: bool = False
    edited_at: float | None = None
    parts: Json = field(default_factory=dict)
    reader_id: int | None = None
    answers: Json | None = None

    @property
    def ephemeral(self) -> bool:
        """Whether only the user of one interaction sees it."""
        return bool(self.flags & MessageFlags.EPHEMERAL)

    @property
    def loading(self) -> bool:
        """Whether it stands for a deferred answer that has not come yet."""
        return bool(self.flags & MessageFlags.LOADING)


@dataclass(frozen=True, slots=True)
class Event:
    """A gateway event as the bot gets it; who else gets it, and in which form, is decided in `visibility`.

    Attributes:
        masked: what a bot without the content intent gets instead.
        place: where it happened; people who do not see that place hear nothing of it.
        subject: the record that `data` shows, where that differs by who looks at it.
        only: the one account that it is for.
        session: the one session of that account that it is for, where it answers what that session sent.
    """

    name: str
    data: Json
    intent: Intents = Intents.NONE
    masked: Json | None = None
    place: Channel | None = None
    subject: Message | Channel | None = None
    only: int | None = None
    session: str | None = None


@dataclass(frozen=True, slots=True)
class RestCall:
    """One request and its answer; times are the clock's seconds, `status` is 0 where the connection was reset.

    `answer` is the body that went back.
    """

    time: float
    ended: float
    method: str
    path: str
    body: Any
    status: int
    code: int
    rule: str
    injected: bool = False
    archived: bool = False
    answer: bytes = field(default=b"", repr=False)
