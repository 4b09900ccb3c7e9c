"""What an account does with threads, posts, channels and direct messages, checked as Discord checks whoever asks.

REST comes here for the bot and for people's clients, `people` and the server's own calls for those who act in process.
The changes themselves stand in `channels`.
"""

from typing import Any

from bot.sandbox import channels, messages, objects
from bot.sandbox.actions import Extras, draft_of
from bot.sandbox.drafts import Upload
from bot.sandbox.errors import DiscordError, InvalidForm
from bot.sandbox.model import THREAD_TYPES, Channel, ChannelType, Json, Message, MessageFlags
from bot.sandbox.state import State


def start_from_message(state: State, who: int, message: Message, body: Json) -> Channel:
    """Start a thread with the message's id; once for each message (160004)."""
    parent = state.channel(message.channel_id)
    if parent.is_thread or not parent.in_guild:
        raise DiscordError(50024)
    state.require(who, parent, "create_public_threads", "read_message_history")
    # The flag stays when the thread is deleted: no message gets a second one.
    if message.flags & MessageFlags.HAS_THREAD or message.id in state.channels:
        raise DiscordError(160004)
    kind = ChannelType.PUBLIC_THREAD
    thread = channels.start_thread(state, parent.id, who, body, thread_id=message.id, kind=kind)
    messages.mark_thread(state, message)
    return thread


def start(state: State, who: int, parent: Channel, body: Json) -> Channel:
    """Start a thread without a message."""
    if parent.is_thread or not parent.in_guild:
        raise DiscordError(50024)
    kind = body.get("type", ChannelType.PRIVATE_THREAD)
    if kind not in THREAD_TYPES:
        raise InvalidForm("type", "Value must be one of (11, 12).", "BASE_TYPE_CHOICES")
    public = kind == ChannelType.PUBLIC_THREAD
    state.require(who, parent, "create_public_threads" if public else "create_private_threads")
    return channels.start_thread(state, parent.id, who, body, kind=ChannelType(kind))


def start_post(state: State, who: int, forum: Channel, body: Json, uploads: list[Upload]) -> tuple[Channel, Message]:
    """Make a forum's post: a thread with its first message."""
    state.require(who, forum, "send_messages", *(("attach_files",) if uploads else ()))
    # A post answers nothing; checked now, a wrong reference can't leave a thread without its message.
    said = {name: value for name, value in (body.get("message") or {}).items() if name != "message_reference"}
    draft = draft_of(state, who, said, uploads, Extras())
    # Discord lets moderators alone set these, from the first moment on.
    moderated = {str(one.id) for one in forum.tags if one.moderated}
    if moderated & {str(one) for one in body.get("applied_tags") or []}:
        state.require(who, forum, "manage_threads")
    return messages.start_post(state, forum, who, body, draft)


def change(state: State, who: int, channel: Channel, body: Json) -> Channel:
    """Set what the body names: a thread's name, tags, lock, whether it is open; a channel's name."""
    # The fields say what is asked for; whether that is allowed depends on which they are.
    fields = channels.patch_fields(state, channel, body)
    _require_change(state, who, channel, fields)
    changed = channels.change(state, channel, fields)
    messages.tell_of_name(state, channel, changed, who)
    return changed


def _require_change(state: State, who: int, channel: Channel, fields: dict[str, Any]) -> None:
    """One may archive, rename and tag one's own threads; all else needs the permission to manage.

    A thread that is not locked is opened again by whoever may write there: writing opens it, too.
    """
    moderated = "applied_tags" in fields and channels.moderated_changes(state, channel, fields["applied_tags"])
    if not channel.is_thread:
        state.require(who, channel, "manage_channels")
    elif fields == {"archived": False} and not channel.locked:
        state.require(who, channel, "send_messages_in_threads")
    elif channel.owner_id != who or "locked" in fields or moderated:
        state.require(who, channel, "manage_threads")
    else:
        state.require(who, channel)


def delete(state: State, who: int, channel: Channel) -> Json:
    """Delete a thread or channel, and return what it was."""
    state.require(who, channel, "manage_threads" if channel.is_thread else "manage_channels")
    shape = objects.channel_json(state, channel, who)  # afterwards there is nothing left to describe
    channels.delete(state, channel)
    return shape


def set_membership(state: State, who: int, thread: Channel, user_id: int, *, joins: bool) -> None:
    """Let somebody join a thread or leave it; others are added by whoever may write there."""
    if not thread.is_thread:
        raise DiscordError(50024)
    if user_id == who or (not joins and thread.type is ChannelType.PRIVATE_THREAD and thread.owner_id == who):
        state.require(who, thread)
    else:
        state.require(who, thread, "send_messages_in_threads" if joins else "manage_threads")
    if thread.archived:
        raise DiscordError(50083)
    state.member(user_id)  # nobody who left is added
    (channels.join if joins else channels.leave)(state, thread, user_id)


def open_dm(state: State, who: int, other: int) -> Channel:
    """The direct message channel between the bot and a person; two people can have none here (50007)."""
    person = other if who == state.bot.id else who
    # A channel has one person written down; the other end is always the bot.
    if state.bot.id not in (who, other) or person == state.bot.id:
        raise DiscordError(50007)
    return channels.open_dm(state, person)
