"""What agents offer around their turns, as scenario keys: options, modes, models, commands, ways to log in.

`offers(name)` is all of it as one of four real agents has it; the rest are the pieces, for scenarios that need one.
Give them to `scenario` by ``**``, or one by one by the key that they are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

Offer = dict[str, Any]

USAGE = {"totalTokens": 1500, "inputTokens": 1200, "outputTokens": 300}
# Nothing that Weft knows of, and entries that no reader of the protocol must stumble over: for ``options``.
UNKNOWN_OPTION: Offer = {"id": "temperature", "name": "Temperature", "type": "slider", "currentValue": 0.7, "max": 2}
MALFORMED_OPTIONS: list[Any] = [
    None,
    "model",
    {"type": "select"},
    {"id": "empty", "name": "Empty", "type": "select", "currentValue": "x", "options": []},
    {"id": "lost", "name": "Lost", "type": "select", "currentValue": "gone", "options": [{"value": "a", "name": "A"}]},
    {"id": "half", "name": "Half", "type": "select", "currentValue": "a", "options": [7, {"name": "no value"}]},
    {"id": 5, "name": None, "type": "boolean", "currentValue": "yes"},
]


def select(option_id: str, *values: str, category: str | None = None, current: str | None = None) -> Offer:
    """Return a select option whose values are named like themselves; the first is the current one."""
    choices = [{"value": value, "name": value.capitalize(), "description": f"use {value}"} for value in values]
    option: Offer = {"id": option_id, "name": option_id.replace("_", " ").capitalize(), "type": "select"}
    option |= {"currentValue": current or values[0], "options": choices}
    return option if category is None else {**option, "category": category}


def boolean(option_id: str, *, current: bool = False) -> Offer:
    """Return a boolean option, which only a client that announces them gets to see."""
    return {"id": option_id, "name": option_id.capitalize(), "type": "boolean", "currentValue": current}


def grouped(option: Offer, size: int) -> Offer:
    """Return a select option with its values in groups of so many."""
    values = option["options"]
    groups = [
        {"group": f"g{start // size}", "name": f"Group {start // size + 1}", "options": values[start : start + size]}
        for start in range(0, len(values), size)
    ]
    return {**option, "options": groups}


def many_models(count: int = 60) -> Offer:
    """Return a model option with more values than Discord shows at once: ``model-00`` and so on."""
    return select("model", *(f"model-{number:02}" for number in range(count)), category="model")


def modes(*ids: str) -> Offer:
    """Return the state for ``modes``, the first one current."""
    known = [{"id": mode, "name": mode.capitalize(), "description": f"work in {mode}"} for mode in ids]
    return {"currentModeId": ids[0], "availableModes": known}


def models(*ids: str) -> Offer:
    """Return the state for ``models``, which the protocol no longer has, the first one current."""
    known = [{"modelId": model, "name": model.capitalize(), "description": f"think with {model}"} for model in ids]
    return {"currentModelId": ids[0], "availableModels": known}


def commands(count: int, size: int = 0) -> list[Offer]:
    """Return commands ``compact``, ``review``, ``command-02`` and so on; filled up to a list of so many bytes.

    Every second one takes something behind its name and says so by a hint.
    """
    names = ["compact", "review", *(f"command-{number:02}" for number in range(2, count))][:count]
    about = max(0, size // count - 90) * "x"
    return [
        {"name": name, "description": f"does {name} {about}".strip()}
        | ({"input": {"hint": f"what to {name}"}} if number % 2 else {})
        for number, name in enumerate(names)
    ]


def method(method_id: str, description: str = "") -> Offer:
    """Return a way to log in that the agent carries out when it is asked to."""
    told: Offer = {"id": method_id, "name": method_id.replace("-", " ").capitalize()}
    return {**told, "description": description} if description else told


def terminal_method(method_id: str, *args: str) -> Offer:
    """Return a way to log in that takes a terminal: the agent's own command with these arguments."""
    return {**method(method_id), "type": "terminal", "args": list(args)}


def auth(*methods: Offer, **keys: Any) -> Offer:
    """Return the ``auth`` key with these methods; ``required``, ``answer``, ``logout`` and ``file`` as it has them."""
    return {"methods": list(methods), **keys}


def _sessions(*names: str, load: str = "ok") -> Offer:
    return {"load": load, **dict.fromkeys(names, True)}


def _logins(*ids: str) -> Offer:
    return auth(*(method(method_id) for method_id in ids), required=False)


def _opencode() -> Offer:
    options = [select("model", "local/fake", "local/other", category="model"), select("mode", "build", "plan")]
    spent = {"cost": 0.01, "response": USAGE}
    return {
        **_sessions("list", "resume", "close", "fork"),
        "options": options,
        "commands": commands(3),
        "titles": "listed",
        "spend": spent,
        "auth": _logins("opencode-login"),
    }


def _claude() -> Offer:
    known = ("default", "acceptEdits", "plan", "auto")
    options = [
        select("mode", *known, category="mode"),
        select("model", "default", "opus", "haiku", category="model"),
        select("effort", "low", "medium", "high", category="thought_level", current="medium"),
        select("fast", "off", "on", category="model_config"),
        select("ultracode", "off", "on", category="_ultracode"),
    ]
    return {
        **_sessions("list", "resume", "close", "delete", "fork"),
        "options": options,
        "modes": modes(*known),
        "commands": commands(44, 12_000),
        "titles": "late",
        "spend": {"cost": 0.02, "response": USAGE},
    }


def _codex() -> Offer:
    known = ("read-only", "workspace-write", "agent", "agent-full-access")
    names = [f"gpt-{number:02}" for number in range(50)]
    options = [
        select("mode", *known, category="mode"),
        select("collaboration_mode", "default", "plan", category="_collaboration"),
        select("model", *names, category="model"),
        select("reasoning_effort", "low", "medium", "high", category="thought_level"),
        boolean("fast-mode"),
    ]
    return {
        **_sessions("list", "resume", "close", "delete", "fork"),
        "options": options,
        "modes": modes(*known),
        "models": models(*names),
        "commands": commands(16),
        "titles": "prompt",
        "spend": {"response": USAGE, "used": 9_000},
        "auth": _logins("api-key", "chat-gpt"),
    }


def _gemini() -> Offer:
    # No usage: its tokens come in the `_meta` of the response, see `behaviours.gemini_turn`.
    return {
        **_sessions(load="replay_after"),
        "modes": modes("default", "autoEdit", "yolo", "plan"),
        "commands": commands(20),
        "models": models("auto-gemini", "gemini-pro", "gemini-flash"),
        "auth": _logins("oauth-personal", "gemini-api-key", "vertex-ai", "gateway"),
    }


OFFERS = {"opencode": _opencode, "claude": _claude, "codex": _codex, "gemini": _gemini}


def offers(name: str, store: Path | None = None, without: Sequence[str] = ()) -> Offer:
    """Return the scenario keys for all that one of the four offers, its sessions kept in ``store`` if given."""
    keys = {"behaviour": name, **OFFERS[name]()}
    keys |= {} if store is None else {"store": str(store)}
    return {key: value for key, value in keys.items() if key not in without}
