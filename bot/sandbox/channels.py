"""What happens to channels and threads: making, archiving, renaming, joining, deleting.

Each change is stored, then told to the gateway. Who may do it is decided by the routes.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from bot.sandbox import checks, objects
from bot.sandbox.errors import DiscordError, InvalidForm
from bot.sandbox.model import Channel, ChannelType, Event, Intents, Json, Overwrite, Tag
from bot.sandbox.state import State


def add_channel(
    state: State,
    name: str,
    kind: ChannelType = ChannelType.TEXT,
    tags: Iterable[str] = (),
    moderated: Iterable[str] = (),
) -> Channel:
    """Make a channel of the guild; only a forum has tags, the ``moderated`` ones last."""
    made = (*(Tag(state.ids(), one) for one in tags), *(Tag(state.ids(), one, moderated=True) for one in moderated))
    channel = state.put_channel(Channel(state.ids(), kind, name, tags=made))
    _publish(state, "CHANNEL_CREATE", channel)
    return channel


def open_dm(state: State, user_id: int) -> Channel:
    """The bot's direct message channel with a user, made on first use."""
    # Nobody writes to somebody who is not in the guild; raises 10007.
    state.member(user_id)
    for channel in state.channels.values():
        if channel.type is ChannelType.DM and user_id in channel.member_ids:
            return channel
    opened = state.put_channel(Channel(state.ids(), ChannelType.DM, "", member_ids=frozenset({user_id})))
    # The bot learns of a direct message channel by its first message, as with Discord.
    shape = objects.channel_json(state, opened, user_id)
    state.publish(Event("CHANNEL_CREATE", shape, place=opened, only=user_id))
    return opened


def start_thread(
    state: State, parent_id: int, owner_id: int, body: Json, *, thread_id: int | None = None, kind: ChannelType
) -> Channel:
    """Make a thread; one that starts from a message has the message's id."""
    thread = Channel(
        id=state.ids() if thread_id is None else thread_id,
        type=kind,
        name=checks.check_thread_name(body.get("name")),
        parent_id=parent_id,
        owner_id=owner_id,
        auto_archive_minutes=checks.check_auto_archive(body.get("auto_archive_duration")),
        # Discord sets this when a thread is made, too.
        archived_at=state.wall(),
        member_ids=frozenset({owner_id}),
        applied_tags=_applied_tags(state.channels[parent_id], body.get("applied_tags")),
    )
    state.put_channel(thread)
    _publish(state, "THREAD_CREATE", thread, {"newly_created": True})
    return thread


def moderated_changes(state: State, thread: Channel, wanted: Iterable[int]) -> bool:
    """Whether other tags of a post differ from its present ones in some that only moderators may change."""
    changed = set(wanted) ^ set(thread.applied_tags)
    return any(one.moderated and one.id in changed for one in state.channels[thread.parent_id or 0].tags)


def _applied_tags(parent: Channel, wanted: list[Any] | None) -> tuple[int, ...]:
    ids = tuple(int(one) for one in wanted or ())
    if len(ids) > checks.MAX_APPLIED_TAGS:
        raise InvalidForm("applied_tags", f"Must be {checks.MAX_APPLIED_TAGS} or fewer in length.")
    if set(ids) - {one.id for one in parent.tags}:
        raise InvalidForm("applied_tags", "Unknown tag", "BASE_TYPE_CHOICES")
    return ids


def admit_message(state: State, channel: Channel, author_id: int) -> None:
    """Let a message in: an archived thread opens again, its author joins; a locked thread refuses with 160005."""
    if not channel.is_thread:
        return
    if channel.locked:
        raise DiscordError(160005)
    if channel.archived:
        channel = set_archived(state, channel, archived=False)
    if author_id not in channel.member_ids:
        join(state, channel, author_id)


def set_archived(state: State, thread: Channel, *, archived: bool, locked: bool | None = None) -> Channel:
    """Archive a thread or open it again."""
    fields: Json = {"archived": archived}
    if locked is not None:
        fields["locked"] = locked
    return change(state, thread, fields)


def change(state: State, channel: Channel, fields: dict[str, Any]) -> Channel:
    """Set fields of a channel and publish it where something changed."""
    if fields.get("archived", channel.archived) != channel.archived:
        fields = {**fields, "archived_at": state.wall()}
    changed = replace(channel, **fields)
    # No event: Discord tells of no change where nothing changed.
    if changed == channel:
        return channel
    state.put_channel(changed)
    _publish(state, "THREAD_UPDATE" if changed.is_thread else "CHANNEL_UPDATE", changed)
    return changed


def _publish(state: State, name: str, channel: Channel, added: Json | None = None) -> None:
    shape = {**objects.channel_json(state, channel), **(added or {})}
    state.publish(Event(name, shape, Intents.GUILDS, place=channel, subject=channel))


def patch_fields(state: State, channel: Channel, body: Json) -> dict[str, Any]:
    """The fields that a PATCH body sets; an archived thread can only be opened or locked (50083)."""
    fields: dict[str, Any] = {}
    if "name" in body:
        fields["name"] = checks.check_thread_name(body["name"])
    if "available_tags" in body and channel.type is ChannelType.FORUM:
        fields["tags"] = tuple(
            Tag(int(one.get("id") or state.ids()), one["name"], bool(one.get("moderated")))
            for one in body["available_tags"]
        )
    if channel.is_thread:
        if "applied_tags" in body:
            fields["applied_tags"] = _applied_tags(state.channels[channel.parent_id or 0], body["applied_tags"])
        for name in ("archived", "locked"):
            if name in body:
                fields[name] = _boolean(body[name], name)
        if "auto_archive_duration" in body:
            fields["auto_archive_minutes"] = checks.check_auto_archive(body["auto_archive_duration"])
        # In one request a thread may be opened and renamed; an archived one takes nothing else.
        opens = fields.get("archived", channel.archived) is False
        if channel.archived and not opens and fields.keys() - {"archived", "locked"}:
            raise DiscordError(50083)
    return fields


def _boolean(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidForm(path, "Must be either true or false.", "BOOLEAN_TYPE_PARSE")
    return value


def join(state: State, thread: Channel, user_id: int) -> Channel:
    """Make a user a member of a thread."""
    joined = state.put_channel(replace(thread, member_ids=thread.member_ids | {user_id}))
    member = {"id": str(thread.id), "user_id": str(user_id), "join_timestamp": objects.timestamp(state.wall())}
    added = {**member, "flags": 0, "member": objects.member_json(state.members[user_id])}
    _publish_members(state, joined, {"added_members": [added]})
    return joined


def leave(state: State, thread: Channel, user_id: int) -> Channel:
    """Take a user out of a thread."""
    left = state.put_channel(replace(thread, member_ids=thread.member_ids - {user_id}))
    _publish_members(state, left, {"removed_member_ids": [str(user_id)]})
    return left


def _publish_members(state: State, thread: Channel, change_json: Json) -> None:
    data = {
        "id": str(thread.id),
        "guild_id": str(state.guild_id),
        "member_count": min(len(thread.member_ids), 50),
        **change_json,
    }
    state.publish(Event("THREAD_MEMBERS_UPDATE", data, Intents.GUILDS, place=thread))


def delete(state: State, channel: Channel) -> None:
    """Remove a channel with its messages and threads."""
    # Without an event for each: Discord tells of the channel alone.
    for thread in [one for one in state.channels.values() if one.parent_id == channel.id]:
        state.drop_channel(thread.id)
    # Described before it is dropped: of a thread that is gone no messages can be counted.
    shape = objects.channel_json(state, channel)
    state.drop_channel(channel.id)
    if not channel.is_thread:
        state.publish(Event("CHANNEL_DELETE", shape, Intents.GUILDS, place=channel))
        return
    kept = ("id", "type", "guild_id", "parent_id")
    data = {name: shape[name] for name in kept}
    state.publish(Event("THREAD_DELETE", data, Intents.GUILDS, place=channel))


def overwrite(state: State, channel: Channel, who: int, bits: Overwrite) -> None:
    """Set what the channel gives to a role or member and takes from them; with no bits it says nothing of them."""
    others = {one: kept for one, kept in channel.overwrites.items() if one != who}
    change(state, channel, {"overwrites": {**others, who: bits} if bits != Overwrite() else others})
