"""REST routes of people's clients on commands and interactions: which commands there are, and using what the bot shows.

A request is turned into the form that `user_interactions` takes, its values are checked for their types there and then.
"""

from collections.abc import Callable
from typing import Any

from bot.sandbox import invocations, modals, objects, user_interactions
from bot.sandbox.checks import check_nonce
from bot.sandbox.drafts import Upload
from bot.sandbox.errors import DiscordError, InvalidForm
from bot.sandbox.interactions import Client, InteractionType
from bot.sandbox.invocations import (
    ATTACHMENT,
    BOOLEAN,
    INTEGER,
    NUMBER,
    STRING,
    SUB_COMMAND,
    SUB_COMMAND_GROUP,
)
from bot.sandbox.model import Channel, Json, Message
from bot.sandbox.rest import Call, Callers, Reply, Route
from bot.sandbox.routes_channels import require_guild

MAX_SAFE_INTEGER = 1 << 53


def _guild_index(call: Call) -> Reply:
    require_guild(call)
    return Reply(_index(call, None))


def _channel_index(call: Call) -> Reply:
    return Reply(_index(call, call.place()))


def _index(call: Call, channel: Channel | None) -> Json:
    state = call.state
    commands = user_interactions.usable_commands(state, call.who, channel)
    application: Json = {
        "id": str(state.application_id),
        "name": state.bot.name,
        "description": "",
        "icon": None,
        "bot": objects.user_json(state.bot),
    }
    return {
        "applications": [application] if commands else [],
        "application_commands": [one for one in commands if one["type"] == 1],
        "version": str(max((int(one["version"]) for one in commands), default=0)),
    }


# -- what a person does ------------------------------------------------------------------------------------------------


def _interact(call: Call) -> Reply:
    """Begin an interaction; its answer comes over the gateway."""
    form, state = call.form, call.state
    handler = _HANDLERS.get(form.get("type"))
    if handler is None:
        raise InvalidForm("type", "Value must be one of {2, 3, 4, 5}.", "BASE_TYPE_CHOICES")
    if str(form.get("application_id")) != str(state.application_id):
        raise DiscordError(10002)
    channel = state.channel(_snowflake(form.get("channel_id"), "channel_id"))
    # Before the form: its errors tell nothing to those who do not see the place.
    state.require(call.who, channel)
    if channel.in_guild and str(form.get("guild_id")) != str(state.guild_id):
        raise DiscordError(10004)
    data = form.get("data")
    if not isinstance(data, dict):
        raise InvalidForm("data", "This field is required", "BASE_TYPE_REQUIRED")
    client = _client(call)
    try:
        handler(call, channel, data, client)
    except DiscordError:
        raise  # says by itself what is wrong
    except (LookupError, TypeError, ValueError) as error:
        kind = "COMPONENT_VALIDATION_FAILED" if form["type"] in (3, 5) else "INTERACTION_APPLICATION_COMMAND_INVALID"
        raise InvalidForm("data", str(error), kind) from error
    return Reply()


def _client(call: Call) -> Client:
    """Whom to tell how it goes on: one session of the caller, or all where none is named."""
    session_id, nonce = call.form.get("session_id"), check_nonce(call.form.get("nonce"))
    # Only one's own: an answer sent to another session could show somebody else what is ephemeral.
    if session_id is not None and not call.backend.gateway.people.has(call.who, str(session_id)):
        raise InvalidForm("session_id", "Unknown session", "BASE_TYPE_CHOICES")
    return Client(None if session_id is None else str(session_id), None if nonce is None else str(nonce))


def _use_command(call: Call, channel: Channel, data: Json, client: Client) -> None:
    command = _command(call, data)
    inner, given = _path(data)
    files = _files(data, call.uploads)
    values = {one["name"]: _value(one, files) for one in given}
    user_interactions.use_command(call.backend.interactions, call.who, channel.id, command, inner, values, client)


def _suggest(call: Call, channel: Channel, data: Json, client: Client) -> None:
    command = _command(call, data)
    inner, given = _path(data)
    typed = [one for one in given if one.get("focused")]
    if len(typed) != 1:
        raise ValueError("exactly one option must be focused")
    values = {one["name"]: _half_typed(one) for one in given if one is not typed[0]}
    text = typed[0].get("value", "")
    if not isinstance(text, str) or len(text) > invocations.MAX_STRING:
        raise ValueError("what is typed must be a text")
    user_interactions.suggest(
        call.backend.interactions, call.who, channel.id, command, inner, typed[0]["name"], text, values, client
    )


def _press(call: Call, channel: Channel, data: Json, client: Client) -> None:
    message = _message(call, channel)
    component = invocations.find_component(message, _text(data.get("custom_id"), "custom_id"))
    if data.get("component_type") != component["type"]:
        raise ValueError(f"{component['custom_id']!r} is of the type {component['type']}")
    values = _texts(data.get("values") or [])
    user_interactions.press(call.backend.interactions, call.who, message, component["custom_id"], values, client)


def _submit(call: Call, channel: Channel, data: Json, client: Client) -> None:
    interactions = call.backend.interactions
    try:
        opened_by = interactions.get(_snowflake(data.get("id"), "data.id"))
    except KeyError:
        raise DiscordError(10062) from None
    # A client may still show the modal of an earlier press.
    if opened_by.channel_id != channel.id or (opened_by.response or {}).get("custom_id") != data.get("custom_id"):
        raise LookupError("that is not the modal that was opened")
    user_interactions.submit(interactions, call.who, opened_by, _filled(data.get("components") or []), client)


_HANDLERS: dict[Any, Callable[[Call, Channel, Json, Client], None]] = {
    int(InteractionType.COMMAND): _use_command,
    int(InteractionType.COMPONENT): _press,
    int(InteractionType.AUTOCOMPLETE): _suggest,
    int(InteractionType.MODAL): _submit,
}


# -- from the request's form to values ---------------------------------------------------------------------------------


def _message(call: Call, channel: Channel) -> Message:
    """The message whose component is used, an ephemeral one of the caller too."""
    # Not by `State.message`, which has no ephemeral ones.
    message = call.state.messages.get(_snowflake(call.form.get("message_id"), "message_id"))
    if message is None or message.channel_id != channel.id or message.reader_id not in (None, call.who):
        raise DiscordError(10008)
    return message


def _command(call: Call, data: Json) -> Json:
    try:
        command = invocations.command_by_id(call.state, str(data.get("id")))
    except LookupError:
        raise DiscordError(10063) from None
    # A client with an old list of commands; Discord refuses it, too.
    if data.get("name") != command["name"]:
        raise DiscordError(10063)
    return command


def _path(data: Json) -> tuple[list[str], list[Json]]:
    """The names of the sub-commands on the way, and the options in the innermost one."""
    names: list[str] = []
    level = data
    while True:
        options = level.get("options") or []
        if not isinstance(options, list) or not all(isinstance(one, dict) for one in options):
            raise ValueError("options must be a list of objects")
        if not (options and options[0].get("type") in (SUB_COMMAND, SUB_COMMAND_GROUP)):
            break
        level = options[0]
        names.append(_text(level.get("name"), "options.name"))
    if len({one.get("name") for one in options}) < len(options):
        raise ValueError("an option was given twice")
    for one in options:
        _text(one.get("name"), "options.name")
    return names, options


def _value(option: Json, files: dict[str, tuple[str, bytes]]) -> Any:
    """An option's value, if it is of the type that the option says it is of."""
    kind, value = option.get("type"), option.get("value")
    if kind == ATTACHMENT:
        return files[str(value)]
    # JSON's types, nothing is converted: a bot may rely on an integer being one. In Python, True is an int.
    if kind == BOOLEAN:
        fits = isinstance(value, bool)
    elif kind == INTEGER:
        fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < MAX_SAFE_INTEGER
    elif kind == NUMBER:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_SAFE_INTEGER
    elif kind == STRING:
        fits = isinstance(value, str)
    else:
        fits = isinstance(value, str) and value.isascii() and value.isdigit()
    if not fits:
        raise ValueError(f"{option['name']!r} is not of the type {kind}")
    return value


def _half_typed(option: Json) -> Any:
    """The value of an option beside the one that is typed into: it may not suit yet, but the bot is sent it."""
    value = option.get("value")
    if not isinstance(value, str | int | float | None) or len(str(value)) > invocations.MAX_STRING:
        raise ValueError(f"{option['name']!r} has no value that could be typed")
    return value


def _files(data: Json, uploads: list[Upload]) -> dict[str, tuple[str, bytes]]:
    """The uploaded files by the ids that the options name."""
    by_index = {str(one.index): one for one in uploads}
    found = {}
    for listed in data.get("attachments") or []:
        upload = by_index[str(listed["id"])]
        found[str(listed["id"])] = (str(listed.get("filename") or upload.name), upload.content)
    return found


def _filled(components: list[Json]) -> modals.Filled:
    """What was typed and chosen, by the fields' custom ids."""
    values: dict[str, str | list[str]] = {}
    for field in modals.fields_of(components):
        custom_id = _text(field.get("custom_id"), "components.custom_id")
        if custom_id in values:
            raise ValueError(f"{custom_id!r} was filled twice")
        chosen = field.get("values")
        values[custom_id] = _typed(field.get("value")) if chosen is None else _texts(chosen)
    return values


def _typed(value: object) -> str:
    if not isinstance(value, str | None):
        raise TypeError("a text must be a string")
    return value or ""


def _texts(values: object) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise ValueError("values must be a list of strings")
    if len(set(values)) < len(values):
        raise ValueError("a value was chosen twice")
    return values


def _text(value: object, path: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidForm(path, "This field is required", "BASE_TYPE_REQUIRED")
    return value


def _snowflake(value: object, path: str) -> int:
    text = str(value)
    # isdigit() alone takes digits of other scripts, and int() is slow with very long ones.
    if not (text.isascii() and text.isdigit()) or len(text) > 20:
        raise InvalidForm(path, f"Value {text[:40]!r} is not snowflake.", "NUMBER_TYPE_COERCE")
    return int(text)


ROUTES = [
    Route("GET", "/guilds/{guild}/application-command-index", _guild_index, callers=Callers.PEOPLE),
    Route("GET", "/channels/{channel}/application-command-index", _channel_index, callers=Callers.PEOPLE),
    Route("POST", "/interactions", _interact, "interaction", callers=Callers.PEOPLE),
]
