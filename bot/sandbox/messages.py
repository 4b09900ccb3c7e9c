"""What happens to messages: posting, editing, deleting, reacting; each change is stored, then told to the gateway.

Both sides come here: REST on behalf of the bot, and `people` on behalf of users. Checks of the text are in `drafts`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bot.sandbox import objects
from bot.sandbox.channels import admit_message, start_thread
from bot.sandbox.drafts import Draft, Mentions, find_mentions
from bot.sandbox.errors import DiscordError, InvalidForm
from bot.sandbox.model import (
    PERMISSIONS,
    Channel,
    ChannelType,
    Event,
    Intents,
    Json,
    Message,
    MessageFlags,
    MessageType,
)
from bot.sandbox.state import State

NONCE_SECONDS = 180.0


def post(
    state: State,
    channel_id: int,
    author_id: int,
    draft: Draft,
    kind: MessageType = MessageType.DEFAULT,
    flags: int = 0,
    message_id: int | None = None,
    answers: Json | None = None,
) -> Message:
    """Post a message, or return the one that the author already posted with this nonce.

    Args:
        message_id: an id that is not a new one: a forum's first message has that of its thread.
        answers: what a person did that it answers.
    """
    channel = state.channel(channel_id)
    earlier = _same_nonce(state, author_id, draft)
    if earlier is not None:
        return earlier
    reference_id = _reference_id(state, channel, draft)
    # Not before the nonce: a repeated try must not open a thread that was archived since.
    admit_message(state, channel, author_id)
    message = Message(
        id=state.ids() if message_id is None else message_id,
        channel_id=channel_id,
        author_id=author_id,
        content=draft.content,
        type=MessageType.REPLY if reference_id is not None else kind,
        # Only what answers an interaction can be for one person's eyes.
        flags=(draft.flags & ~MessageFlags.EPHEMERAL) | flags,
        components=draft.components,
        embeds=draft.embeds,
        attachments=draft.attachments,
        reference_id=reference_id,
        nonce=draft.nonce,
        parts=draft.parts,
        answers=answers,
        **_mention_fields(state, channel, author_id, _mentions(state, draft, reference_id)),
    )
    state.put_message(message)
    if draft.nonce is not None and draft.enforce_nonce:
        # By author: two bots may draw the same one.
        state.nonces[author_id, str(draft.nonce)] = (state.clock(), message.id)
    publish_message(state, "MESSAGE_CREATE", message)
    return message


def start_post(state: State, forum: Channel, author_id: int, body: Json, draft: Draft) -> tuple[Channel, Message]:
    """Make a forum's post: a thread with its first message."""
    thread = start_thread(state, forum.id, author_id, body, kind=ChannelType.PUBLIC_THREAD)
    return thread, post(state, thread.id, author_id, draft, message_id=thread.id)


def tell_of_name(state: State, before: Channel, after: Channel, author_id: int) -> None:
    """Post the notice that a thread has another name, as Discord does in the name of whoever changed it."""
    if after.is_thread and after.name != before.name:
        notice = Draft(content=after.name, allowed_mentions={"parse": []})  # a name calls nobody
        post(state, after.id, author_id, notice, MessageType.CHANNEL_NAME_CHANGE)


def _same_nonce(state: State, author_id: int, draft: Draft) -> Message | None:
    # Only where the client asks for it: otherwise a nonce is a label, by which it knows its own message.
    if draft.nonce is None or not draft.enforce_nonce:
        return None
    posted, message_id = state.nonces.get((author_id, str(draft.nonce)), (0.0, 0))
    if state.clock() - posted > NONCE_SECONDS:
        return None
    return state.messages.get(message_id)


def _reference_id(state: State, channel: Channel, draft: Draft) -> int | None:
    """The message replied to; an unknown one is refused unless the client said that this is fine."""
    if draft.reference is None or draft.reference.get("message_id") is None:
        return None
    message_id = int(draft.reference["message_id"])
    original = state.messages.get(message_id)
    # One that only somebody else sees is as unknown as one that is not there.
    if original is not None and original.channel_id == channel.id and not original.ephemeral:
        return message_id
    if draft.reference.get("fail_if_not_exists", True):
        raise InvalidForm("message_reference", "Unknown message", "REPLIES_UNKNOWN_MESSAGE")
    return None


def _mentions(state: State, draft: Draft, reference_id: int | None) -> Mentions:
    found = find_mentions(draft.content, draft.allowed_mentions)
    allowed = draft.allowed_mentions
    if reference_id is None or (allowed is not None and not allowed.get("replied_user")):
        return found
    author_id = state.messages[reference_id].author_id
    return replace(found, users=tuple(dict.fromkeys((*found.users, author_id))))


def _mention_fields(state: State, channel: Channel, author_id: int, found: Mentions) -> dict[str, Any]:
    # What the bot asks for is kept even where it has no right to it: tests see what it would do with the right.
    free = author_id == state.bot.id or not channel.in_guild
    everyone = free or bool(state.permissions(author_id, channel) & PERMISSIONS["mention_everyone"])
    return {
        "mentions": tuple(one for one in found.users if one in state.members),
        "mention_roles": tuple(one for one in found.roles if one in state.roles and one != state.guild_id),
        "mention_everyone": found.everyone and everyone,
    }


def edit(
    state: State, message: Message, changes: Mapping[str, object], allowed_mentions: Json | None = None
) -> Message:
    """Set fields of a message; raises 50083 in an archived thread."""
    channel = state.channel(message.channel_id)
    if channel.archived:
        raise DiscordError(50083)
    fields: dict[str, Any] = {**changes, "edited_at": state.wall()}
    if "content" in changes:
        # Mentions are found anew, since they are those of the text as it is now; nobody is notified of an edit.
        found = find_mentions(str(changes["content"]), allowed_mentions)
        fields |= _mention_fields(state, channel, message.author_id, found)
    edited = state.put_message(replace(message, **fields))
    publish_message(state, "MESSAGE_UPDATE", edited)
    return edited


def mark_thread(state: State, message: Message) -> None:
    """Set the flag that the message has a thread; this is no edit."""
    marked = state.put_message(replace(message, flags=message.flags | MessageFlags.HAS_THREAD))
    publish_message(state, "MESSAGE_UPDATE", marked)


def unfurl(state: State, message: Message) -> None:
    """Add the preview of a link; this is no edit."""
    shown = state.put_message(replace(message, embeds=[*message.embeds, {"type": "link", "title": "A page"}]))
    publish_message(state, "MESSAGE_UPDATE", shown)


def delete(state: State, message: Message) -> None:
    # First: whoever is woken by the event must not find it any more.
    state.drop_message(message.id)
    data = {"id": str(message.id), **_place(state, message.channel_id)}
    if message.ephemeral:
        if message.reader_id is not None:
            state.publish(Event("MESSAGE_DELETE", data, only=message.reader_id))
        return
    place = state.channels[message.channel_id]
    state.publish(Event("MESSAGE_DELETE", data, message_intent(state, place.id), place=place))


def delete_many(state: State, channel_id: int, message_ids: list[int]) -> None:
    """Remove messages with one event; unknown ids are ignored."""
    known = [one for one in message_ids if one in state.messages and state.messages[one].channel_id == channel_id]
    for message_id in known:
        state.drop_message(message_id)
    data = {"ids": [str(one) for one in known], **_place(state, channel_id)}
    place = state.channels[channel_id]
    state.publish(Event("MESSAGE_DELETE_BULK", data, message_intent(state, channel_id), place=place))


def react(state: State, message: Message, user_id: int, emoji: str) -> None:
    """Add a reaction; adding it twice changes nothing."""
    if state.channel(message.channel_id).archived:
        raise DiscordError(50083)
    users = message.reactions.get(emoji, frozenset())
    # No event for what was there already.
    if user_id in users:
        return
    state.put_message(replace(message, reactions={**message.reactions, emoji: users | {user_id}}))
    _publish_reaction(state, "MESSAGE_REACTION_ADD", message, user_id, emoji)


def unreact(state: State, message: Message, user_id: int, emoji: str) -> None:
    """Take a reaction away; raises 10014 where there is none."""
    if state.channel(message.channel_id).archived:
        raise DiscordError(50083)
    users = message.reactions.get(emoji, frozenset())
    if user_id not in users:
        raise DiscordError(10014)
    reactions = {**message.reactions, emoji: users - {user_id}}
    state.put_message(replace(message, reactions={name: left for name, left in reactions.items() if left}))
    _publish_reaction(state, "MESSAGE_REACTION_REMOVE", message, user_id, emoji)


def clear_reactions(state: State, message: Message) -> None:
    """Take all reactions away."""
    state.put_message(replace(message, reactions={}))
    data = {"message_id": str(message.id), **_place(state, message.channel_id)}
    place = state.channels[message.channel_id]
    state.publish(Event("MESSAGE_REACTION_REMOVE_ALL", data, Intents.GUILD_MESSAGE_REACTIONS, place=place))


def _publish_reaction(state: State, name: str, message: Message, user_id: int, emoji: str) -> None:
    place = state.channels[message.channel_id]
    data: Json = {
        "user_id": str(user_id),
        "message_id": str(message.id),
        "message_author_id": str(message.author_id),
        "emoji": objects.emoji_json(emoji),
        "type": 0,
        "burst": False,
        **_place(state, message.channel_id),
    }
    if place.in_guild and name == "MESSAGE_REACTION_ADD":
        data["member"] = objects.member_json(state.members[user_id])
    intent = Intents.GUILD_MESSAGE_REACTIONS if place.in_guild else Intents.DIRECT_MESSAGE_REACTIONS
    state.publish(Event(name, data, intent, place=place))


def typing(state: State, channel_id: int, user_id: int) -> None:
    """Show that someone types."""
    place = state.channel(channel_id)
    data = {"user_id": str(user_id), "timestamp": int(state.wall()), **_place(state, channel_id)}
    intent = Intents.GUILD_MESSAGE_TYPING if place.in_guild else Intents.DIRECT_MESSAGE_TYPING
    state.publish(Event("TYPING_START", data, intent, place=place))


def publish_message(state: State, name: str, message: Message) -> None:
    """Tell the gateway of a message's present state; of an ephemeral one, its one reader."""
    if message.ephemeral and message.reader_id is None:
        return
    shape = objects.message_event_json(state, message)
    masked = objects.masked(state, message, shape)
    intent, place = message_intent(state, message.channel_id), state.channels[message.channel_id]
    state.publish(Event(name, shape, intent, masked, place=place, subject=message, only=message.reader_id))


def message_intent(state: State, channel_id: int) -> Intents:
    """The intent that gates message events there."""
    return Intents.GUILD_MESSAGES if state.channels[channel_id].in_guild else Intents.DIRECT_MESSAGES


def _place(state: State, channel_id: int) -> Json:
    shape = {"channel_id": str(channel_id)}
    return {**shape, "guild_id": str(state.guild_id)} if state.channels[channel_id].in_guild else shape
