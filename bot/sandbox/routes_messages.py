"""REST routes on messages: create, edit, delete, read, react, type."""

from bot.sandbox import actions, messages, objects, thread_actions
from bot.sandbox.errors import DiscordError, InvalidForm
from bot.sandbox.model import Json, Message
from bot.sandbox.rest import Call, Callers, Reply, Route
from bot.sandbox.state import snowflake_seconds

BULK_DELETE_DAYS = 14
MAX_PAGE = 100


def _seen(call: Call, message: Message) -> Json:
    """The message as the caller may read it."""
    state = call.state
    shape = objects.message_json(state, message, call.who)
    masked = call.who == state.bot.id and not state.content_granted
    return objects.masked(state, message, shape) if masked else shape


def _create(call: Call) -> Reply:
    message = actions.send(call.state, call.who, call.id("channel"), call.form, call.uploads)
    return Reply(objects.message_json(call.state, message, call.who))


def _message(call: Call) -> Message:
    call.place()  # first: nobody learns which ids there are in a place that they do not see
    return call.state.message(call.id("channel"), call.id("message"))


def _edit(call: Call) -> Reply:
    edited = actions.edit(call.state, call.who, _message(call), call.form, call.uploads)
    return Reply(objects.message_json(call.state, edited, call.who))


def _delete(call: Call) -> Reply:
    actions.delete(call.state, call.who, _message(call))
    return Reply()


def _bulk_delete(call: Call) -> Reply:
    state, channel_id = call.state, call.place("manage_messages").id
    ids = [int(one) for one in call.form.get("messages") or []]
    if not 2 <= len(ids) <= MAX_PAGE:
        raise InvalidForm("messages", "Must be between 2 and 100 in length.", "BASE_TYPE_BAD_LENGTH")
    oldest = state.wall() - BULK_DELETE_DAYS * 86_400
    # By the ids alone, so that unknown ones have an age as well.
    if any(snowflake_seconds(one) < oldest for one in ids):
        raise DiscordError(50034)
    messages.delete_many(state, channel_id, ids)
    return Reply()


def _history(call: Call) -> Reply:
    """A page, always newest first; after `after` it is the page next to that id."""
    state, channel_id = call.state, call.place("read_message_history").id
    limit = call.query.get("limit", "50")
    if not limit.isdigit() or not 1 <= int(limit) <= MAX_PAGE:
        raise InvalidForm("limit", "int value should be between 1 and 100.", "NUMBER_TYPE_MAX")
    page = state.posts.page(channel_id, call.query, int(limit))
    return Reply([_seen(call, state.messages[one]) for one in reversed(page)])


def _fetch(call: Call) -> Reply:
    call.place("read_message_history")
    message = _message(call)
    return Reply(_seen(call, message))


def _react(call: Call) -> Reply:
    actions.react(call.state, call.who, _message(call), call.params["emoji"])
    return Reply()


def _unreact_own(call: Call) -> Reply:
    actions.unreact(call.state, call.who, _message(call), call.params["emoji"], call.who)
    return Reply()


def _unreact_user(call: Call) -> Reply:
    actions.unreact(call.state, call.who, _message(call), call.params["emoji"], call.id("user"))
    return Reply()


def _clear_reactions(call: Call) -> Reply:
    actions.clear_reactions(call.state, call.who, _message(call))
    return Reply()


def _typing(call: Call) -> Reply:
    actions.typing(call.state, call.who, call.id("channel"))
    return Reply()


def _start_thread(call: Call) -> Reply:
    thread = thread_actions.start_from_message(call.state, call.who, _message(call), call.form)
    return Reply(objects.channel_json(call.state, thread, call.who), status=201)


_MESSAGES = "/channels/{channel}/messages"
_MESSAGE = _MESSAGES + "/{message}"
_REACTIONS = _MESSAGE + "/reactions"

ROUTES = [
    Route("POST", _MESSAGES, _create, "create_message"),
    Route("GET", _MESSAGES, _history),
    Route("POST", _MESSAGES + "/bulk-delete", _bulk_delete, "delete_message", callers=Callers.BOTS),
    Route("GET", _MESSAGE, _fetch),
    Route("PATCH", _MESSAGE, _edit, "edit_message"),
    Route("DELETE", _MESSAGE, _delete, "delete_message"),
    Route("POST", _MESSAGE + "/threads", _start_thread, "start_thread"),
    Route("PUT", _REACTIONS + "/{emoji}/@me", _react, "reaction"),
    # Before the one with {user}, which fits as well.
    Route("DELETE", _REACTIONS + "/{emoji}/@me", _unreact_own, "reaction"),
    Route("DELETE", _REACTIONS + "/{emoji}/{user}", _unreact_user, "reaction"),
    Route("DELETE", _REACTIONS, _clear_reactions, "reaction"),
    Route("POST", "/channels/{channel}/typing", _typing, "typing"),
]
