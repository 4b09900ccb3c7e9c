"""Discord's JSON objects, made of the stored records.

Fields that discord.py can't take as null (thread, reactions, attachments...) are left out rather than set to null. The
address of a file is worth nothing without its query, and nothing after its time; a message read again has a fresh one.
Where it matters who looks, `who` says so; it is the bot unless told.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from bot.sandbox.model import (
    Attachment,
    Channel,
    ChannelType,
    Json,
    Message,
    MessageFlags,
    MessageType,
    Role,
    User,
)
from bot.sandbox.state import Member, State, snowflake_seconds

ATTACHMENT_LIMIT_BYTES = 10 * 1024 * 1024
LOCALE = "en-US"
LIFETIME_SECONDS = 24 * 60 * 60


def timestamp(seconds: float) -> str:
    """ISO 8601 with an offset."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def user_json(user: User) -> Json:
    return {
        "id": str(user.id),
        "username": user.name,
        # What the wire has for names without one.
        "discriminator": "0",
        "global_name": user.name,
        "avatar": None,
        "banner": None,
        "primary_guild": None,
        "bot": user.bot,
        "flags": 0,
        "public_flags": 0,
    }


def own_user_json(user: User) -> Json:
    """An account as itself sees it."""
    return {**user_json(user), "mfa_enabled": True, "locale": LOCALE, "verified": True, "email": None}


def member_json(member: Member, *, with_user: bool = True) -> Json:
    """A member object; in MESSAGE_CREATE it comes without the user."""
    shape: Json = {
        "roles": [str(role_id) for role_id in member.role_ids],
        "flags": 0,
        # An account is made in the moment in which it joins.
        "joined_at": timestamp(snowflake_seconds(member.user.id)),
        "nick": None,
        "avatar": None,
        "banner": None,
        "communication_disabled_until": None,
        "pending": False,
        "premium_since": None,
        "deaf": False,
        "mute": False,
    }
    return {**shape, "user": user_json(member.user)} if with_user else shape


def role_json(role: Role, position: int) -> Json:
    shape: Json = {
        "id": str(role.id),
        "name": role.name,
        "permissions": str(role.permissions),
        "position": position,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "icon": None,
        "unicode_emoji": None,
        "hoist": False,
        "managed": role.bot_id is not None,
        "mentionable": True,
        "flags": 0,
    }
    return shape if role.bot_id is None else {**shape, "tags": {"bot_id": str(role.bot_id)}}


def channel_json(state: State, channel: Channel, who: int | None = None) -> Json:
    """A channel, thread or direct message channel object."""
    if channel.is_thread:
        return _thread_json(state, channel, state.bot.id if who is None else who)
    shape: Json = {
        "id": str(channel.id),
        "type": int(channel.type),
        "flags": 0,
        "last_message_id": state.last_message_id(channel.id),
    }
    if channel.type is ChannelType.DM:
        # The one who looks is left out; the bot is in each, without being written down.
        others = channel.member_ids if who in (None, state.bot.id) else {state.bot.id}
        return {**shape, "recipients": [user_json(state.members[one].user) for one in sorted(others)]}
    shape |= {
        "guild_id": str(state.guild_id),
        "name": channel.name,
        "position": 0,
        "nsfw": False,
        "topic": None,
        "parent_id": None,
        "permission_overwrites": _overwrites(state, channel),
    }
    return {**shape, "available_tags": _tags(channel)} if channel.type is ChannelType.FORUM else shape


def _tags(forum: Channel) -> list[Json]:
    shape = {"emoji_id": None, "emoji_name": None}
    return [{**shape, "id": str(one.id), "name": one.name, "moderated": one.moderated} for one in forum.tags]


def _overwrites(state: State, channel: Channel) -> list[Json]:
    return [
        # Bits are texts on the wire: not every client has numbers of that size.
        {"id": str(one), "type": 0 if one in state.roles else 1, "allow": str(bits.allow), "deny": str(bits.deny)}
        for one, bits in channel.overwrites.items()
    ]


def _thread_json(state: State, thread: Channel, who: int) -> Json:
    made = timestamp(snowflake_seconds(thread.id))
    shape: Json = {
        "id": str(thread.id),
        "type": int(thread.type),
        "guild_id": str(state.guild_id),
        "parent_id": str(thread.parent_id),
        "owner_id": str(thread.owner_id),
        "name": thread.name,
        "flags": 0,
        "message_count": state.posts.replies(thread.id),
        "total_message_sent": state.posted.get(thread.id, 0),
        # Discord stops counting there.
        "member_count": min(len(thread.member_ids), 50),
        "rate_limit_per_user": 0,
        "last_message_id": state.last_message_id(thread.id),
        "thread_metadata": {
            "archived": thread.archived,
            "locked": thread.locked,
            "auto_archive_duration": thread.auto_archive_minutes,
            "archive_timestamp": timestamp(thread.archived_at),
            "create_timestamp": made,
        },
    }
    if state.channels[thread.parent_id or 0].type is ChannelType.FORUM:
        shape["applied_tags"] = [str(one) for one in thread.applied_tags]
    # For members alone: by this a client knows that it has joined.
    if who in thread.member_ids:
        shape["member"] = {
            "id": str(thread.id),
            "user_id": str(who),
            "join_timestamp": made,
            "flags": 0,
        }
    return shape


def thread_list_json(state: State, threads: list[Channel], who: int) -> Json:
    """The answer of the thread list routes."""
    shapes = [channel_json(state, one, who) for one in threads]
    members = [one["member"] for one in shapes if "member" in one]
    return {"threads": shapes, "members": members, "has_more": False}


def attachment_url(state: State, message: Message, attachment: Attachment) -> str:
    """Where the sandbox serves the bytes, for a day from now."""
    path = f"/attachments/{message.channel_id}/{attachment.id}/{quote(attachment.name)}"
    return state.base_url + _signed(state, path)


def attachment_json(state: State, message: Message, attachment: Attachment) -> Json:
    sound = {"duration_secs": 1.5, "waveform": "AAAA"} if message.flags & MessageFlags.VOICE else {}
    return {**_described(attachment, attachment_url(state, message, attachment)), **sound}


def option_attachment_json(state: State, attachment: Attachment) -> Json:
    """An attachment object of a command's option, which belongs to no message."""
    path = f"/ephemeral-attachments/{state.application_id}/{attachment.id}/{quote(attachment.name)}"
    return {**_described(attachment, state.base_url + _signed(state, path)), "ephemeral": True}


def _described(attachment: Attachment, url: str) -> Json:
    return {
        "id": str(attachment.id),
        "filename": attachment.name,
        "size": len(attachment.content) if attachment.declared is None else attachment.declared,
        "content_type": attachment.content_type,
        "url": url,
        "proxy_url": url,
    }


def emoji_json(emoji: str) -> Json:
    """A standard emoji (no id) or `name:id`."""
    name, _, emoji_id = emoji.partition(":")
    return {"id": emoji_id or None, "name": name}


def message_json(state: State, message: Message, who: int | None = None) -> Json:
    """A message object as REST answers it."""
    who = state.bot.id if who is None else who
    shape: Json = {
        "id": str(message.id),
        "channel_id": str(message.channel_id),
        "author": user_json(state.members[message.author_id].user),
        "content": message.content,
        "type": int(message.type),
        "timestamp": timestamp(snowflake_seconds(message.id)),
        "edited_timestamp": None if message.edited_at is None else timestamp(message.edited_at),
        "tts": False,
        "pinned": False,
        "flags": message.flags,
        "mention_everyone": message.mention_everyone,
        "mentions": [user_json(state.members[one].user) for one in message.mentions],
        "mention_roles": [str(one) for one in message.mention_roles],
        "attachments": [attachment_json(state, message, one) for one in message.attachments],
        "embeds": message.embeds,
        "components": message.components,
    }
    # The parts of a test come last: they may replace anything, to see what the bot makes of it.
    return shape | _optional_parts(state, message, who) | message.parts


def _optional_parts(state: State, message: Message, who: int) -> Json:
    shape: Json = {}
    if message.nonce is not None:
        shape["nonce"] = message.nonce
    if message.reactions:
        shape["reactions"] = [_reaction(emoji, users, who) for emoji, users in message.reactions.items()]
    thread = state.channels.get(message.id)
    if message.flags & MessageFlags.HAS_THREAD and thread is not None:
        shape["thread"] = channel_json(state, thread, who)
    if message.reference_id is not None:
        shape |= _reference(state, message, message.reference_id, who)
    if message.answers is not None and who != state.bot.id:
        shape["interaction_metadata"] = message.answers
    return shape


def _reaction(emoji: str, users: frozenset[int], who: int) -> Json:
    return {
        "emoji": emoji_json(emoji),
        "count": len(users),
        "count_details": {"burst": 0, "normal": len(users)},
        "burst_colors": [],
        "me": who in users,
        "me_burst": False,
    }


def _reference(state: State, message: Message, reference_id: int, who: int) -> Json:
    shape: Json = {
        "message_reference": {
            "type": 0,
            "message_id": str(reference_id),
            "channel_id": str(message.channel_id),
            "guild_id": str(state.guild_id),
        }
    }
    # Null says that the original was deleted; left out, that nobody has looked. Only replies bring it along.
    if message.type is MessageType.REPLY:
        original = state.messages.get(reference_id)
        shape["referenced_message"] = None if original is None else _original_json(state, original, who)
    return shape


def _original_json(state: State, message: Message, who: int) -> Json:
    """A message as a reply shows it: without what it replies to, and without reactions."""
    left_out = ("referenced_message", "reactions")
    return {name: value for name, value in message_json(state, message, who).items() if name not in left_out}


def message_event_json(state: State, message: Message, who: int | None = None) -> Json:
    """A message object as MESSAGE_CREATE and MESSAGE_UPDATE carry it."""
    shape = message_json(state, message, who)
    if state.channels[message.channel_id].in_guild:
        shape["guild_id"] = str(state.guild_id)
        shape["member"] = member_json(state.members[message.author_id], with_user=False)
    return shape


def masked(state: State, message: Message, shape: Json) -> Json:
    """The same object for an application that may not read this message's content."""
    # What Discord shows without the intent as well: a bot's own words, and those that mention it.
    own = message.author_id == state.bot.id or state.bot.id in message.mentions
    if own or not state.channels[message.channel_id].in_guild:
        return shape
    hidden = {**shape, "content": "", "embeds": [], "attachments": [], "components": []}
    # A poll counts as content, too.
    hidden.pop("poll", None)
    return hidden


def _signed(state: State, path: str) -> str:
    """The path with the query that lets it be read from now on."""
    now = int(state.wall())
    expires = f"{now + LIFETIME_SECONDS:x}"
    return f"{path}?{urlencode({'ex': expires, 'is': f'{now:x}', 'hm': _seal(state, path, expires)})}"


def may_be_read(state: State, path: str, query: Mapping[str, str]) -> bool:
    """Whether an address still gives its file."""
    expires, seal = query.get("ex", ""), query.get("hm", "")
    # Before the time is read: only what was sealed is known to be a number.
    genuine = hmac.compare_digest(seal.encode(), _seal(state, path, expires).encode())
    return genuine and state.wall() < int(expires, 16)


def _seal(state: State, path: str, expires: str) -> str:
    # With a key, or whoever guesses a file's id reads it: the address is all that it takes.
    return hmac.new(state.files_key, f"{path}:{expires}".encode(), hashlib.sha256).hexdigest()
