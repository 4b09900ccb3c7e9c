"""What can be chosen in a session, what is chosen, and how it is set (pure).

Agents offer choices in three ways: as config options; as modes; and as models, by a method that the protocol no longer
has. Here all are `SessionOption`, so that nobody else has to tell them apart. Source: the Agent Client Protocol,
"Session Config Options" and "Session Modes": where there are config options, modes do not count, a list is complete and
takes the place of the one before, and a type that is not known is left out.

Whatever an agent sends costs what is malformed in it alone, and is bounded. The mutable state is the options of a
`SessionOptions`, and what they were when the session was opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeGuard

from acp.schema import ConfigOptionUpdate, CurrentModeUpdate, SessionResult

MOST_OPTIONS, MOST_VALUES, LEAST_VALUES = 50, 1000, 25
"""Options of a session that are kept, the first ones, and values of all of them; of each at least its first ones."""

ID_LIMIT, NAME_LIMIT, TEXT_LIMIT = 200, 300, 300
"""Characters of an id or a value, of a name, and of a description. A longer id is left out: cut, it is another one.

Of the others more is kept than a list in Discord shows, so that no secret in what is shown was cut here.
"""

ON, OFF = "true", "false"
"""The values of a boolean option."""


class Kind(StrEnum):
    """What an option is about, as far as people have a command for it."""

    MODEL = "model"
    MODE = "mode"
    EFFORT = "effort"
    OTHER = "other"


_BY_CATEGORY = {"model": Kind.MODEL, "mode": Kind.MODE, "thought_level": Kind.EFFORT, "model_config": Kind.OTHER}
# Of an option without a category that is known: some agents give none, or one of their own.
_BY_ID = {
    "model": Kind.MODEL,
    "mode": Kind.MODE,
    "effort": Kind.EFFORT,
    "reasoning_effort": Kind.EFFORT,
    "thought_level": Kind.EFFORT,
}


class Way(StrEnum):
    """How an option is set."""

    OPTION = "option"
    BOOLEAN = "boolean"
    MODE = "mode"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class OptionValue:
    """One of the values of an option; ``group`` is the name of the group that it came in, "" for none."""

    value: str
    name: str
    description: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class SessionOption:
    """Something that can be chosen in a session.

    Attributes:
        category: the agent's own word, "" if it gives none.
        current: the value that is chosen; an agent may name one that it does not offer.
        values: at least one, no value twice.
    """

    id: str
    name: str
    current: str
    values: tuple[OptionValue, ...]
    category: str = ""
    description: str = ""
    way: Way = Way.OPTION

    @property
    def kind(self) -> Kind:
        """What it is about."""
        return _BY_CATEGORY.get(self.category) or _BY_ID.get(self.id, Kind.OTHER)

    def offers(self, value: str) -> bool:
        """Return whether a value is one of its values."""
        return any(one.value == value for one in self.values)

    def name_of(self, value: str) -> str:
        """Return the name of a value; the value itself where it has none."""
        return next((one.name for one in self.values if one.value == value), value)

    def choosing(self, value: str) -> SessionOption:
        """Return the same option with another value chosen."""
        return replace(self, current=value)

    def request(self, value: str) -> tuple[str, dict[str, Any]]:
        """Return method and parameters, but for the session's id, of the request that chooses a value."""
        match self.way:
            case Way.MODE:
                return "session/set_mode", {"modeId": value}
            case Way.MODEL:
                return "session/set_model", {"modelId": value}
            case Way.BOOLEAN:
                chosen = {"type": "boolean", "value": value == ON}
                return "session/set_config_option", {"configId": self.id, **chosen}
            case Way.OPTION:
                return "session/set_config_option", {"configId": self.id, "value": value}


_SWITCH: tuple[OptionValue, ...] = (OptionValue(ON, "on"), OptionValue(OFF, "off"))


class SessionOptions:
    """The options of one session.

    Attributes:
        all: what is offered now, in the agent's order.
        initial: by id, what was chosen when the session was opened.
    """

    def __init__(self) -> None:
        self.all: tuple[SessionOption, ...] = ()
        self.initial: Mapping[str, str] = {}

    def opened(self, result: SessionResult) -> None:
        """Take what the answer to the request that opened the session says."""
        self.all = read_options(result.config_options or ())
        # An empty list of options says nothing, and an agent with options may still send modes for older clients.
        if not result.config_options:
            found = (read_modes(result.modes), read_models(result.models))
            self.all = tuple(option for option in found if option is not None)
        self.initial = {option.id: option.current for option in self.all}

    def take(self, update: ConfigOptionUpdate | CurrentModeUpdate) -> None:
        """Take a change that the agent tells of."""
        if isinstance(update, ConfigOptionUpdate):
            # An agent with modes alone may still tell of options, once it has some.
            self.all = read_options(update.config_options)
            return
        mode = self.of(Kind.MODE)
        # With config options as well: a real agent tells of the same change in both ways, in either order.
        if mode is not None and mode.offers(update.current_mode_id):
            self._choose(mode.id, update.current_mode_id)

    def chosen(self, option_id: str, value: str, result: Any) -> None:
        """Take the agent's answer to the request that chose a value, which may say that it is another one."""
        options = result.get("configOptions") if isinstance(result, dict) else None
        if isinstance(options, list) and options:
            self.all = read_options(options)
        else:
            self._choose(option_id, value)

    def find(self, option_id: str) -> SessionOption | None:
        """Return an option by its id."""
        return next((option for option in self.all if option.id == option_id), None)

    def of(self, kind: Kind) -> SessionOption | None:
        """Return the option of a kind; of several the first."""
        return first_of(self.all, kind)

    @property
    def model(self) -> str | None:
        """The name of the model; None if the agent does not say."""
        option = self.of(Kind.MODEL)
        return option.name_of(option.current) if option is not None else None

    @property
    def unusual_mode(self) -> str | None:
        """The name of the mode, if it is another one than that in which the session was opened."""
        option = self.of(Kind.MODE)
        if option is None or option.current == self.initial.get(option.id, option.current):
            return None
        return option.name_of(option.current)

    def _choose(self, option_id: str, value: str) -> None:
        self.all = tuple(one.choosing(value) if one.id == option_id else one for one in self.all)


def first_of(options: Iterable[SessionOption], kind: Kind) -> SessionOption | None:
    """Return the first option of a kind."""
    return next((option for option in options if option.kind is kind), None)


# --- reading ------------------------------------------------------------------------------------------------------


def read_options(raw: Sequence[Any]) -> tuple[SessionOption, ...]:
    """Return the config options that can be used, each id once."""
    found: dict[str, SessionOption] = {}
    room = MOST_VALUES
    # What can't be used is passed over, up to a bound, too: a list may have a million entries and not one that is an
    # option.
    for one in raw[: 4 * MOST_OPTIONS]:
        option = _option(one) if isinstance(one, dict) else None
        if option is None or option.id in found or len(found) >= MOST_OPTIONS:
            continue
        # Many models must not cost the modes, which some agents name after them.
        values = option.values[: max(room, LEAST_VALUES)]
        found[option.id] = option if len(values) == len(option.values) else replace(option, values=values)
        room -= len(values)
    return tuple(found.values())


def _option(raw: Mapping[str, Any]) -> SessionOption | None:
    option_id, current = raw.get("id"), raw.get("currentValue")
    if not _is_id(option_id):
        return None
    if raw.get("type") == "boolean" and isinstance(current, bool):
        way, values, chosen = Way.BOOLEAN, _SWITCH, ON if current else OFF
    elif raw.get("type") == "select" and isinstance(current, str):
        way, values, chosen = Way.OPTION, _values(raw.get("options"), "value"), current[:ID_LIMIT]
    else:
        return None
    if not values:
        return None  # nothing to choose
    return SessionOption(
        id=option_id,
        name=_name(raw.get("name"), option_id),
        current=chosen,
        values=values,
        category=_text(raw.get("category"), NAME_LIMIT),
        description=_text(raw.get("description"), TEXT_LIMIT),
        way=way,
    )


def read_modes(raw: Any) -> SessionOption | None:
    """Return the session's modes as an option; None if there is nothing to choose."""
    return _state(raw, "currentModeId", "availableModes", "id", SessionOption("mode", "Mode", "", (), way=Way.MODE))


def read_models(raw: Any) -> SessionOption | None:
    """Return the models, as they are offered by the removed way, as an option; None if there is nothing to choose."""
    option = SessionOption("model", "Model", "", (), way=Way.MODEL)
    return _state(raw, "currentModelId", "availableModels", "modelId", option)


def _state(raw: Any, current: str, available: str, key: str, option: SessionOption) -> SessionOption | None:
    if not isinstance(raw, dict):
        return None
    values, chosen = _values(raw.get(available), key), raw.get(current)
    return replace(option, current=_text(chosen, ID_LIMIT), values=values) if values else None


def _values(raw: Any, key: str) -> tuple[OptionValue, ...]:
    """Return the values that can be used, each once, of a flat list or one of groups."""
    found: dict[str, OptionValue] = {}
    for one in raw[: 4 * MOST_VALUES] if isinstance(raw, list) else ():
        if not isinstance(one, dict):
            continue
        # A group has a list where a value has its value. Groups in groups there are not.
        inner = one.get("options") if key not in one else None
        grouped = isinstance(inner, list)
        group = _text(one.get("name" if grouped else "group"), NAME_LIMIT)
        for entry in inner[: 4 * MOST_VALUES] if isinstance(inner, list) else (one,):
            value = entry.get(key) if isinstance(entry, dict) else None
            if _is_id(value) and len(found) < MOST_VALUES:
                about = _text(entry.get("description"), TEXT_LIMIT)
                found.setdefault(value, OptionValue(value, _name(entry.get("name"), value), about, group))
    return tuple(found.values())


def _is_id(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= ID_LIMIT


def _name(value: Any, otherwise: str) -> str:
    return _text(value, NAME_LIMIT) or otherwise[:NAME_LIMIT]


def _text(value: Any, limit: int) -> str:
    # Cut first: nothing of a text of megabytes is worth splitting.
    return " ".join(value[: 2 * limit].split())[:limit] if isinstance(value, str) else ""


# --- keeping ------------------------------------------------------------------------------------------------------


def as_json(options: Iterable[SessionOption]) -> list[Any]:
    """Return options as `from_json` reads them, in the protocol's own form as far as it has one."""
    return [
        {
            "way": str(option.way),
            "id": option.id,
            "name": option.name,
            "category": option.category,
            "description": option.description,
            "currentValue": option.current,
            "options": [
                {"value": one.value, "name": one.name, "description": one.description, "group": one.group}
                for one in option.values
            ],
        }
        for option in options
    ]


def from_json(raw: Any) -> tuple[SessionOption, ...]:
    """Return options that were kept; what can't be understood is left out."""
    found: list[SessionOption] = []
    for one in raw[:MOST_OPTIONS] if isinstance(raw, list) else ():
        way = one.get("way") if isinstance(one, dict) else None
        option = _option({**one, "type": "select"}) if isinstance(way, str) and way in tuple(Way) else None
        if option is not None and isinstance(way, str):
            found.append(replace(option, way=Way(way)))
    return tuple(found)
