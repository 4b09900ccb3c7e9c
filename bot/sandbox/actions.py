"""What an account does with messages: one function for each action, with the checks that Discord makes of whoever asks.

REST comes here for the bot and for people's clients, `people` for those who act in process. What the change is and who
is told of it stands in `messages`; what is done with threads, in `thread_actions`.
"""

from dataclasses import dataclass, field, replace

from bot.sandbox import messages, objects
from bot.sandbox.checks import is_emoji
from bot.sandbox.drafts import Draft, Upload, make_changes, make_draft
from bot.sandbox.errors import DiscordError, InvalidForm
from bot.sandbox.model import PERMISSIONS, Channel, ChannelType, Json, Message, MessageFlags
from bot.sandbox.state import State

FORWARD = 1
MAX_REACTIONS = 20
# A person's client can send no components and no embeds of its own.
_OF_PEOPLE = frozenset(
    {
        "content",
        "nonce",
        "enforce_nonce",
        "flags",
        "message_reference",
        "allowed_mentions",
        "attachments",
        "sticker_ids",
    }
)
_SNAPSHOT = (
    "type",
    "content",
    "embeds",
    "attachments",
    "timestamp",
    "edited_timestamp",
    "flags",
    "mentions",
    "mention_roles",
    "components",
    "sticker_items",
)


@dataclass(frozen=True, slots=True)
class Extras:
    """What tests can hang on a message that no request can: see `Person.say`."""

    parts: Json = field(default_factory=dict)
    voice: bool = False
    declared: int | None = None


def require_send(state: State, who: int, channel: Channel) -> None:
    """Raise where an account may not send into the channel."""
    # Not a permission: a forum has posts, and nobody can write beside them.
    if channel.type is ChannelType.FORUM:
        raise DiscordError(50024)
    state.require(who, channel, "send_messages_in_threads" if channel.is_thread else "send_messages")


def send(
    state: State, who: int, channel_id: int, body: Json, uploads: list[Upload], extras: Extras | None = None
) -> Message:
    """Post a message, answer one or forward one, by the body of the request."""
    channel = state.channel(channel_id)
    # Whether one may comes before whether the form is right: a form's errors tell nothing to those who may not.
    require_send(state, who, channel)
    if uploads:
        state.require(who, channel, "attach_files")
    reference = body.get("message_reference") or {}
    if reference.get("type") == FORWARD:
        return _forward(state, who, channel, body, reference)
    if reference.get("message_id") is not None:
        _require_reply(state, who, channel)
    draft = draft_of(state, who, body, uploads, extras or Extras())
    voice = MessageFlags.VOICE if extras is not None and extras.voice else 0
    return messages.post(state, channel_id, who, draft, flags=int(voice))


def _require_reply(state: State, who: int, channel: Channel) -> None:
    """Raise where an account may not read what it answers: the answer shows that."""
    if channel.in_guild and not state.permissions(who, channel) & PERMISSIONS["read_message_history"]:
        raise DiscordError(160002)


def draft_of(state: State, who: int, body: Json, uploads: list[Upload], extras: Extras) -> Draft:
    """The message that an account wants to post; raises 50006 or 50035."""
    # Left out without an error: the rest of the message is posted.
    given = body if who == state.bot.id else {name: body[name] for name in body if name in _OF_PEOPLE}
    draft = make_draft(given, uploads, state.ids, extras.parts)
    if extras.declared is None:
        return draft
    return replace(draft, attachments=tuple(replace(one, declared=extras.declared) for one in draft.attachments))


def _forward(state: State, who: int, channel: Channel, body: Json, reference: Json) -> Message:
    """Post a copy of a message in another place; it shows no author, and nothing can be added to it."""
    source = state.channel(int(reference.get("channel_id") or channel.id))
    # What is copied is read: without this, a forward would show what lies in places that one does not see.
    state.require(who, source, "read_message_history")
    original = state.message(source.id, int(reference["message_id"]))
    if str(body.get("content") or "").strip():
        raise InvalidForm("content", "A forwarded message can have no content.", "MESSAGE_FORWARD_CANNOT_HAVE_CONTENT")
    draft = make_draft({"nonce": body.get("nonce")}, [], state.ids, snapshot(state, original))
    return messages.post(state, channel.id, who, draft, flags=int(MessageFlags.SNAPSHOT))


def snapshot(state: State, message: Message) -> Json:
    """A message as it is forwarded: a reference and a copy without its author; a copy is forwarded as it is."""
    shape = objects.message_json(state, message)
    reference = {"type": FORWARD, "message_id": shape["id"], "channel_id": shape["channel_id"]}
    if state.channels[message.channel_id].in_guild:
        reference["guild_id"] = str(state.guild_id)
    # Named one by one, so that no author and no reaction comes along with a field that is added later.
    copy = {name: shape[name] for name in _SNAPSHOT if name in shape}
    snapshots = message.parts.get("message_snapshots") or [{"message": copy}]
    return {"message_reference": reference, "message_snapshots": snapshots}


def edit(state: State, who: int, message: Message, body: Json, uploads: list[Upload]) -> Message:
    """Change one's own message."""
    state.require(who, state.channel(message.channel_id))
    if message.author_id != who:
        raise DiscordError(50005)
    given = body if who == state.bot.id else {name: body[name] for name in body if name in _OF_PEOPLE}
    # Else a person's message could get buttons by an edit, which it could not have been posted with.
    changes = make_changes(given, uploads, message, state.ids)
    return messages.edit(state, message, changes, given.get("allowed_mentions"))


def delete(state: State, who: int, message: Message) -> None:
    """Delete one's own message, or, with manage_messages, anyone's."""
    state.require(who, state.channel(message.channel_id), *(() if message.author_id == who else ("manage_messages",)))
    messages.delete(state, message)


def react(state: State, who: int, message: Message, emoji: str) -> None:
    """Add a reaction; joining one that is there takes no right to add reactions."""
    # By what the message has now: a reaction that nobody has set yet needs another right.
    known = emoji in message.reactions
    needed = ("read_message_history",) if known else ("add_reactions", "read_message_history")
    state.require(who, state.channel(message.channel_id), *needed)
    if not known and not is_emoji(emoji):
        raise DiscordError(10014)
    if not known and len(message.reactions) >= MAX_REACTIONS:
        raise DiscordError(30010)
    messages.react(state, message, who, emoji)


def unreact(state: State, who: int, message: Message, emoji: str, whose: int) -> None:
    """Take away one's own reaction, or, with manage_messages, anyone's."""
    state.require(who, state.channel(message.channel_id), *(() if whose == who else ("manage_messages",)))
    messages.unreact(state, message, whose, emoji)


def clear_reactions(state: State, who: int, message: Message) -> None:
    """Take all reactions away."""
    state.require(who, state.channel(message.channel_id), "manage_messages")
    messages.clear_reactions(state, message)


def typing(state: State, who: int, channel_id: int) -> None:
    """Show that an account types."""
    require_send(state, who, state.channel(channel_id))
    messages.typing(state, channel_id, who)
