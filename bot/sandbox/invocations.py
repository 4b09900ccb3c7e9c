"""What a user's click or command carries: pure functions from registered commands and messages to event data.

LookupError says that something is not there, ValueError that a value does not suit; who may do it is decided in
`user_interactions`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bot.sandbox import objects
from bot.sandbox.checks import BUTTON, STRING_SELECT, utf16_length, walk
from bot.sandbox.drafts import attach
from bot.sandbox.model import Json, Message
from bot.sandbox.state import State

SUB_COMMAND, SUB_COMMAND_GROUP = 1, 2
STRING, INTEGER, BOOLEAN, USER, CHANNEL, ROLE, MENTIONABLE, NUMBER, ATTACHMENT = 3, 4, 5, 6, 7, 8, 9, 10, 11
MAX_STRING = 6000
_CASTS: Mapping[int, Callable[[Any], Any]] = {STRING: str, INTEGER: int, NUMBER: float, BOOLEAN: bool}
MENTIONABLE_SELECT = 7
_SELECTED = {5: USER, 6: ROLE, MENTIONABLE_SELECT: USER, 8: CHANNEL}
_RESOLVED = {USER: "users", CHANNEL: "channels", ROLE: "roles"}


def find_component(message: Message, custom_id: str) -> Json:
    """The component with that id; raises LookupError where there is none or it is disabled."""
    for component in walk(message.components):
        if component.get("custom_id") == custom_id:
            if component.get("disabled"):
                raise LookupError(f"the component {custom_id!r} is disabled")
            return component
    known = [one["custom_id"] for one in walk(message.components) if "custom_id" in one]
    raise LookupError(f"message {message.id} has no component {custom_id!r}, only {known}")


def component_data(state: State, component: Json, values: list[str]) -> Json:
    """The data of a click or a selection; raises ValueError where the select does not take the values."""
    data: Json = {"custom_id": component["custom_id"], "component_type": component["type"]}
    if component["type"] == BUTTON:
        return data
    _check_selection(component, values)
    resolved: Json = {}
    for value in values if component["type"] in _SELECTED else ():
        _resolve(state, _selected_kind(state, component["type"], int(value)), int(value), resolved)
    return {**data, "values": values, **({"resolved": resolved} if resolved else {})}


def _check_selection(select: Json, values: list[str]) -> None:
    least, most = select.get("min_values", 1), select.get("max_values", 1)
    if not least <= len(values) <= most:
        raise ValueError(f"{select['custom_id']!r} takes {least} to {most} values, not {len(values)}")
    offered = [one["value"] for one in select.get("options") or []]
    if select["type"] == STRING_SELECT and set(values) - set(offered):
        raise ValueError(f"{select['custom_id']!r} offers {offered}, not {values}")


def _selected_kind(state: State, select: int, wanted: int) -> int:
    """What an id stands for that was chosen in a select; a mentionable one is a person or a role."""
    if select == MENTIONABLE_SELECT:
        return ROLE if wanted in state.roles else USER
    return _SELECTED[select]


def find_command(state: State, name: str) -> Json:
    """The registered command, the guild's own before a global one; raises LookupError."""
    for scope in (str(state.guild_id), ""):
        for command in state.commands.get(scope, []):
            if command["name"] == name and command["type"] == 1:
                return command
    known = sorted(one["name"] for listed in state.commands.values() for one in listed)
    raise LookupError(f"no command {name!r} is registered, only {known}")


def command_by_id(state: State, command_id: str) -> Json:
    """The registered command; raises LookupError."""
    for scope in (str(state.guild_id), ""):
        for command in state.commands.get(scope, []):
            if command["id"] == command_id and command["type"] == 1:
                return command
    raise LookupError(f"no command has the id {command_id!r}")


def command_data(state: State, command: Json, inner: Sequence[str], values: Mapping[str, Any]) -> Json:
    """The data of a slash command; `inner` names its sub-command, and its group before. A file is name and content."""
    data: Json = {"id": command["id"], "name": command["name"], "type": 1}
    if "guild_id" in command:
        data["guild_id"] = command["guild_id"]
    resolved: Json = {}
    data["options"] = _nest(state, command, inner, values, resolved)
    # Only where there is something: Discord leaves it out as well.
    return {**data, "resolved": resolved} if resolved else data


def _nest(state: State, level: Json, inner: Sequence[str], values: Mapping[str, Any], resolved: Json) -> list[Json]:
    declared = {one["name"]: one for one in level.get("options") or []}
    if inner:
        sub = declared.get(inner[0])
        if sub is None or sub["type"] not in (SUB_COMMAND, SUB_COMMAND_GROUP):
            raise LookupError(f"{level['name']!r} has no sub-command {inner[0]!r}, only {sorted(declared)}")
        return [{"name": sub["name"], "type": sub["type"], "options": _nest(state, sub, inner[1:], values, resolved)}]
    if any(one["type"] in (SUB_COMMAND, SUB_COMMAND_GROUP) for one in declared.values()):
        raise LookupError(f"{level['name']!r} needs one of its sub-commands {sorted(declared)}")
    return _options(state, declared, values, resolved)


def _options(state: State, declared: Mapping[str, Json], values: Mapping[str, Any], resolved: Json) -> list[Json]:
    unknown = values.keys() - declared.keys()
    missing = {name for name, one in declared.items() if one.get("required")} - values.keys()
    if unknown or missing:
        raise ValueError(f"options do not fit: unknown {sorted(unknown)}, missing {sorted(missing)}")
    return [
        {"name": name, "type": declared[name]["type"], "value": _value(state, declared[name], value, resolved)}
        for name, value in values.items()
    ]


def _value(state: State, option: Json, value: Any, resolved: Json) -> Any:
    kind = option["type"]
    if kind == MENTIONABLE:
        # Ids never repeat, so the id says which of the two it is.
        kind = ROLE if int(value) in state.roles else USER
    if kind == ATTACHMENT:
        name, content = value
        file = attach(name, content, state.ids)
        state.handed[file.id] = file
        resolved.setdefault("attachments", {})[str(file.id)] = objects.option_attachment_json(state, file)
        return str(file.id)
    if kind in _RESOLVED:
        _resolve(state, kind, int(value), resolved)
        if kind == CHANNEL:
            _check_channel_type(state, option, int(value))
        # A text on the wire, also where a test gives the number.
        return str(int(value))
    cast = _CASTS.get(kind, str)(value)
    _check_bounds(option, cast)
    choices = [one["value"] for one in option.get("choices") or []]
    # What is merely suggested binds nobody: any value may be sent.
    if choices and cast not in choices and not option.get("autocomplete"):
        raise ValueError(f"{cast!r} is no choice of {option['name']!r}: {choices}")
    return cast


def _check_channel_type(state: State, option: Json, channel_id: int) -> None:
    allowed = option.get("channel_types")
    if allowed and state.channel(channel_id).type not in allowed:
        raise ValueError(f"{option['name']!r} takes channels of the types {allowed}")


def _check_bounds(option: Json, value: Any) -> None:
    """Raise where a number or the length of a text is outside of what the command takes."""
    text = option["type"] == STRING
    size = utf16_length(value) if text else value
    least, most = option.get("min_length" if text else "min_value"), option.get("max_length" if text else "max_value")
    # A text has a limit even if the command names none.
    most = MAX_STRING if text and most is None else most
    if (least is not None and size < least) or (most is not None and size > most):
        raise ValueError(f"{option['name']!r} takes {least} to {most}, not {size}")


def _resolve(state: State, kind: int, wanted: int, resolved: Json) -> None:
    """Add the object that an id stands for."""
    found = resolved.setdefault(_RESOLVED[kind], {})
    if kind == USER:
        member = state.member(wanted)
        found[str(wanted)] = objects.user_json(member.user)
        resolved.setdefault("members", {})[str(wanted)] = {
            **objects.member_json(member, with_user=False),
            "permissions": "0",
        }
    elif kind == CHANNEL:
        found[str(wanted)] = {**objects.channel_json(state, state.channel(wanted)), "permissions": "0"}
    else:
        found[str(wanted)] = objects.role_json(state.roles[wanted], 1)


def autocomplete_data(command: Json, inner: Sequence[str], option: str, text: str, values: Mapping[str, Any]) -> Json:
    """The data of a half-typed option; `values` are the options that were filled before."""
    levels = _levels(command, inner)
    declared = {one["name"]: one for one in levels[-1].get("options") or []}
    if not declared.get(option, {}).get("autocomplete"):
        raise LookupError(f"{levels[-1]['name']!r} suggests nothing for {option!r}")
    if values.keys() - declared.keys():
        raise LookupError(f"{levels[-1]['name']!r} has no options {sorted(values.keys() - declared.keys())}")
    options = [{"name": one, "type": declared[one]["type"], "value": value} for one, value in values.items()]
    options.append({"name": option, "type": declared[option]["type"], "value": text, "focused": True})
    for level in reversed(levels[1:]):
        options = [{"name": level["name"], "type": level["type"], "options": options}]
    return {"id": command["id"], "name": command["name"], "type": 1, "options": options}


def _levels(command: Json, inner: Sequence[str]) -> list[Json]:
    """The command and its sub-commands on the way; raises LookupError."""
    levels = [command]
    for name in inner:
        found = [one for one in levels[-1].get("options") or [] if one["name"] == name]
        if not found or found[0]["type"] not in (SUB_COMMAND, SUB_COMMAND_GROUP):
            raise LookupError(f"{levels[-1]['name']!r} has no sub-command {name!r}")
        levels.append(found[0])
    return levels
