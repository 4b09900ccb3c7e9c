"""Who hears of an event, and in which form: the one place that decides it (pure).

The bot hears of everything that concerns its guild, in the form in which events are made. People hear of the places
that they see, with what is theirs alone: their own reactions, their own part in a thread, answers for their eyes only.
"""

from bot.sandbox import objects
from bot.sandbox.model import Channel, Event, Json, Message
from bot.sandbox.state import State

_ADDED_TO_CHANNELS = ("newly_created",)
# Permissions come from roles, members' roles and channels' overwrites; private threads, from their members.
_CHANGES_WHAT_IS_SEEN = frozenset(
    {
        "CHANNEL_UPDATE",
        "GUILD_MEMBER_UPDATE",
        "GUILD_MEMBER_REMOVE",
        "GUILD_ROLE_UPDATE",
        "THREAD_MEMBERS_UPDATE",
    }
)


def for_bot(state: State, event: Event) -> bool:
    """Whether the bot gets it."""
    return not state.removed and event.only in (None, state.bot.id)


def for_person(state: State, event: Event, who: int) -> Json | None:
    """What a person is told, None where it is nothing."""
    # 1. What is for one account goes to no other, whatever the place.
    if event.only is not None:
        if event.only != who:
            return None
    elif event.place is None and not state.in_guild(who):
        return None
    # 2. By the record that the event carries: a place that was deleted is in no list any more.
    if event.place is not None and not state.sees(who, event.place):
        return None
    # 3. In their own form: `data` has the bot's reactions and memberships.
    if event.subject is None:
        return event.data
    return _own_form(state, event, event.subject, who)


def _own_form(state: State, event: Event, subject: Message | Channel, who: int) -> Json:
    if isinstance(subject, Message):
        return objects.message_event_json(state, subject, who)
    added = {name: event.data[name] for name in _ADDED_TO_CHANNELS if name in event.data}
    return {**objects.channel_json(state, subject, who), **added}


def changes_what_is_seen(event: Event) -> bool:
    """Whether people may see other places than before."""
    return event.name in _CHANGES_WHAT_IS_SEEN


def seen_places(state: State, who: int) -> frozenset[int]:
    """The channels and threads that a person sees; archived ones too, as they are no new places when they open."""
    return frozenset(one.id for one in state.channels.values() if one.in_guild and state.sees(who, one))


def appearing(state: State, who: int, channel_id: int) -> tuple[str, Json] | None:
    """The event by which a person learns of a place that they see from now on; none of an archived thread."""
    channel = state.channels[channel_id]
    # Clients ask for these when somebody looks for them.
    if channel.is_thread and channel.archived:
        return None
    name = "THREAD_CREATE" if channel.is_thread else "CHANNEL_CREATE"
    return name, objects.channel_json(state, channel, who)


def vanishing(state: State, channel_id: int) -> tuple[str, Json] | None:
    """The event by which a person learns that they do not see a place any more; none of one that is deleted."""
    channel = state.channels.get(channel_id)
    if channel is None:
        return None
    shape: Json = {"id": str(channel.id), "type": int(channel.type), "guild_id": str(state.guild_id)}
    if not channel.is_thread:
        return "CHANNEL_DELETE", shape
    return "THREAD_DELETE", {**shape, "parent_id": str(channel.parent_id)}
