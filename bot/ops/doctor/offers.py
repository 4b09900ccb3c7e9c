"""What an agent says of itself, in words: its name, what it can do, and what can be chosen in a session (pure).

Sources: the Agent Client Protocol's `initialize` and `session/new`, schema version 1. Models come in a field of their
own from agents that follow an older draft, and as a session's options from others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from acp.handshake import can_steer
from acp.schema import InitializeResult, SessionResult
from bot.ops.doctor.finding import several


def name_of(agent: InitializeResult) -> str:
    """Return the agent's name and version."""
    who = agent.agent_info
    return f"{who.title or who.name} {who.version}".strip() if who else "an agent that does not name itself"


def abilities(agent: InitializeResult) -> str:
    """Return what the agent announced that makes a difference to Weft."""
    announced = agent.agent_capabilities
    prompts, mcp = announced.prompt_capabilities, announced.mcp_capabilities
    takes = {"images": prompts.image, "audio": prompts.audio, "embedded files": prompts.embedded_context}
    servers = {"stdio": True, "http": mcp.http, "sse": mcp.sse}
    parts = [
        _sessions(agent),
        "takes messages into a running turn" if can_steer(agent) else "",
        f"reads {_present(takes)}" if any(takes.values()) else "reads text only",
        f"MCP over {_present(servers)}",
    ]
    return "; ".join(filter(None, parts))


def _sessions(agent: InitializeResult) -> str:
    announced = agent.agent_capabilities
    more = announced.session_capabilities
    can = {
        "resumed": more.resume is not None,
        "loaded": announced.load_session,
        "forked": more.fork is not None,
        "closed": more.close is not None,
        "deleted": more.delete is not None,
    }
    lost = "" if can["resumed"] or can["loaded"] else "sessions end with the process"
    able = f"sessions can be {_present(can)}" if any(can.values()) else ""
    return ", ".join(filter(None, (able, lost)))


def _present(what: dict[str, bool]) -> str:
    return ", ".join(name for name, there in what.items() if there)


def choices(result: SessionResult) -> str:
    """Return the modes and models that a session offers, and which are set."""
    modes = _option(result, "mode") or _listed(result.modes, "availableModes", "id", "currentModeId")
    models = _option(result, "model") or _listed(result.models, "availableModels", "modelId", "currentModelId")
    return "; ".join(filter(None, (_told("modes", *modes), _told("models", *models))))


def _told(what: str, ids: list[str], current: str) -> str:
    return f"{what}: {several(ids)}{f' (set: {current})' if current else ''}" if ids else ""


def _option(result: SessionResult, category: str) -> tuple[list[str], str] | None:
    for option in result.config_options or ():
        if option.get("category", option.get("id")) == category and (ids := list(_values(option.get("options")))):
            return ids, _text(option.get("currentValue"))
    return None


def _values(options: Any) -> Iterator[str]:
    """Give the values of a list of options, those in groups as well."""
    for option in options if isinstance(options, list) else ():
        if isinstance(option, dict) and isinstance(option.get("value"), str):
            yield option["value"]
        elif isinstance(option, dict) and "value" not in option:
            yield from _values(option.get("options"))


def _listed(offer: dict[str, Any] | None, items: str, key: str, current: str) -> tuple[list[str], str]:
    listed = (offer or {}).get(items)
    found = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    return [item[key] for item in found if isinstance(item.get(key), str)], _text((offer or {}).get(current))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
