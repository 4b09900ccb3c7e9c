"""What people can choose of the demo agent: its mode, model and effort, and the commands it takes by their names.

Pure: values and what the protocol says of them. A session holds what was chosen, `agent` answers the requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JSON = dict[str, Any]
ASK, AUTO = "ask", "auto"
MODE, MODEL, EFFORT = "mode", "model", "effort"

# The first value of each is where a session begins: nothing is allowed by itself.
_VALUES: dict[str, dict[str, tuple[str, str]]] = {
    MODE: {ASK: ("Ask", "asks before it writes"), AUTO: ("Auto", "writes without asking")},
    MODEL: {
        "demo-small": ("Demo small", "no model at all"),
        "demo-large": ("Demo large", "the same, at twice the price"),
    },
    EFFORT: {"low": ("Low", "thinks no less than high"), "high": ("High", "thinks no more than low")},
}
_CATEGORIES = {MODE: "mode", MODEL: "model", EFFORT: "thought_level"}
# Only those whose scene makes something of what follows.
_HINTS = {
    "say": "what to say",
    "write": "what to write down",
    "run": "a command",
    "wait": "seconds",
    "spend": "dollars",
}


def beginning() -> dict[str, str]:
    """Return the choices that a session begins with."""
    return {option: next(iter(values)) for option, values in _VALUES.items()}


def config_options(chosen: Mapping[str, str]) -> list[JSON]:
    """Return the complete list of options, as each answer about them has it."""
    return [
        {
            "id": option,
            "name": option.capitalize(),
            "category": _CATEGORIES[option],
            "type": "select",
            "currentValue": chosen[option],
            "options": [
                {"value": value, "name": name, "description": description}
                for value, (name, description) in values.items()
            ],
        }
        for option, values in _VALUES.items()
    ]


def offered(option: Any, value: Any) -> bool:
    """Say whether there is such an option with such a value."""
    return isinstance(option, str) and isinstance(value, str) and value in _VALUES.get(option, {})


def commands(scenes: Mapping[str, str]) -> list[JSON]:
    """Return the commands for scenes, given as their keyword and a sentence on each."""
    return [
        {"name": name, "description": about} | ({"input": {"hint": _HINTS[name]}} if name in _HINTS else {})
        for name, about in scenes.items()
    ]
