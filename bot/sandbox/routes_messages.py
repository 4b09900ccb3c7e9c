"""REST routes on messages: create, edit, delete, read, react, type."""

from bot.sandbox import messages, objects
from bot.sandbox.channels import start_thread
from bot.sandbox.drafts import make_changes, make_draft
from bot.sandbox.errors import DiscordError, InvalidForm
from bot.sandbox.model import Channel, ChannelType, Json, Message, MessageFlags
from bot.sandbox.rest import Call, Reply, Route
from bot.sandbox.state import State, snowflake_seconds

BULK_DELETE_DAYS = 14
MAX_PAGE = 100


def _seen(state: State, message: Message) -> Json:
    """The message as this application may read it."""
    shape = objects.message_json(state, message)
    return shape if state.content_granted else objects.masked(state, message, shape)


def require_send(state: State, channel: Channel) -> None:
    """Raise where the bot may not send into the channel."""
    state.require(channel, "send_messages_in_threads" if channel.is_thread else "send_messages")


def _create(call: Call) -> Reply:
    state, channel_id = call.state, call.id("channel")
    channel = state.channel(channel_id)
    if channel.type is ChannelType.FORUM:
        raise DiscordError(50024)
    require_send(state, channel)
    if call.uploads:
        state.require(channel, "attach_files")
    draft = make_draft(call.form, call.uploads, state.ids)
    return Reply(objects.message_json(state, messages.post(state, channel_id, state.bot.id, draft)))


def _edit(call: Call) -> Reply:
    state = call.state
    message = state.message(call.id("channel"), call.id("message"))
    state.require(state.channel(message.channel_id))
    if message.author_id != state.bot.id:
        raise DiscordError(50005)
    changes = make_changes(call.form, call.uploads, message, state.ids)
    edited = messages.edit(state, message, changes, call.form.get("allowed_mentions"))
    return Reply(objects.message_json(state, edited))


def _delete(call: Call) -> Reply:
    state = call.state
    message = state.message(call.id("channel"), call.id("message"))
    needed = () if message.author_id == state.bot.id else ("manage_messages",)
    state.require(state.channel(message.channel_id), *needed)
    messages.delete(state, message)
    return Reply()


def _bulk_delete(call: Call) -> Reply:
    state, channel_id = call.state, call.id("channel")
    state.require(state.channel(channel_id), "manage_messages")
    ids = [int(one) for one in call.form.get("messages") or []]
    if not 2 <= len(ids) <= MAX_PAGE:
        raise InvalidForm("messages", "Must be between 2 and 100 in length.", "BASE_TYPE_BAD_LENGTH")
    oldest = state.wall() - BULK_DELETE_DAYS * 86_400
    if any(snowflake_seconds(one) < oldest for one in ids):
        raise DiscordError(50034)
    messages.delete_many(state, channel_id, ids)
    return Reply()


def _history(call: Call) -> Reply:
    """A page, always newest first; after `after` it is the page next to that id."""
    state, channel_id = call.state, call.id("channel")
    state.require(state.channel(channel_id), "read_message_history")
    limit = call.query.get("limit", "50")
    if not limit.isdigit() or not 1 <= int(limit) <= MAX_PAGE:
        raise InvalidForm("limit", "int value should be between 1 and 100.", "NUMBER_TYPE_MAX")
    page = _page(state.history(channel_id), call.query, int(limit))
    return Reply([_seen(state, one) for one in reversed(page)])


def _page(found: list[Message], query: dict[str, str], limit: int) -> list[Message]:
    """The asked part of a channel's messages, oldest first."""
    if "after" in query:
        return [one for one in found if one.id > int(query["after"])][:limit]
    if "before" in query:
        return [one for one in found if one.id < int(query["before"])][-limit:]
    if "around" in query:
        middle = int(query["around"])
        older = [one for one in found if one.id < middle][-(limit // 2) :]
        return (older + [one for one in found if one.id >= middle])[:limit]
    return found[-limit:]


def _fetch(call: Call) -> Reply:
    state = call.state
    message = state.message(call.id("channel"), call.id("message"))
    state.require(state.channel(message.channel_id), "read_message_history")
    return Reply(_seen(state, message))


def _react(call: Call) -> Reply:
    state = call.state
    message = state.message(call.id("channel"), call.id("message"))
    state.require(state.channel(message.channel_id), "add_reactions", "read_message_history")
    messages.react(state, message, state.bot.id, call.params["emoji"])
    return Reply()


def _unreact_own(call: Call) -> Reply:
    message = call.state.message(call.id("channel"), call.id("message"))
    messages.unreact(call.state, message, call.state.bot.id, call.params["emoji"])
    return Reply()


def _unreact_user(call: Call) -> Reply:
    message = call.state.message(call.id("channel"), call.id("message"))
    call.state.require(call.state.channel(message.channel_id), "manage_messages")
    messages.unreact(call.state, message, call.id("user"), call.params["emoji"])
    return Reply()


def _clear_reactions(call: Call) -> Reply:
    message = call.state.message(call.id("channel"), call.id("message"))
    call.state.require(call.state.channel(message.channel_id), "manage_messages")
    messages.clear_reactions(call.state, message)
    return Reply()


def _typing(call: Call) -> Reply:
    state, channel_id = call.state, call.id("channel")
    require_send(state, state.channel(channel_id))
    messages.typing(state, channel_id, state.bot.id)
    return Reply()


def _start_thread(call: Call) -> Reply:
    """A thread with the message's id; once per message (160004)."""
    state = call.state
    parent = state.channel(call.id("channel"))
    message = state.message(parent.id, call.id("message"))
    if parent.is_thread or not parent.in_guild:
        raise DiscordError(50024)
    state.require(parent, "create_public_threads", "read_message_history")
    if message.flags & MessageFlags.HAS_THREAD or message.id in state.channels:
        raise DiscordError(160004)
    kind = ChannelType.PUBLIC_THREAD
    thread = start_thread(state, parent.id, state.bot.id, call.form, thread_id=message.id, kind=kind)
    messages.mark_thread(state, message)
    return Reply(objects.channel_json(state, thread), status=201)


_MESSAGES = "/channels/{channel}/messages"
_MESSAGE = _MESSAGES + "/{message}"
_REACTIONS = _MESSAGE + "/reactions"

ROUTES = [
    Route("POST", _MESSAGES, _create, "create_message"),
    Route("GET", _MESSAGES, _history),
    Route("POST", _MESSAGES + "/bulk-delete", _bulk_delete, "delete_message"),
    Route("GET", _MESSAGE, _fetch),
    Route("PATCH", _MESSAGE, _edit, "edit_message"),
    Route("DELETE", _MESSAGE, _delete, "delete_message"),
    Route("POST", _MESSAGE + "/threads", _start_thread, "start_thread"),
    Route("PUT", _REACTIONS + "/{emoji}/@me", _react, "reaction"),
    Route("DELETE", _REACTIONS + "/{emoji}/@me", _unreact_own, "reaction"),
    Route("DELETE", _REACTIONS + "/{emoji}/{user}", _unreact_user, "reaction"),
    Route("DELETE", _REACTIONS, _clear_reactions, "reaction"),
    Route("POST", "/channels/{channel}/typing", _typing, "typing"),
]
