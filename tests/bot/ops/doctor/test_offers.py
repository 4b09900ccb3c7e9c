"""What an agent says of itself, in words."""

from __future__ import annotations

from typing import Any

import pytest

from acp.schema import InitializeResult, SessionResult
from bot.ops.doctor.offers import abilities, choices, name_of


def agent(**more: Any) -> InitializeResult:
    return InitializeResult.parse({"protocolVersion": 1, **more})


def test_everything_that_makes_a_difference_is_named() -> None:
    """P8, Q2, Q9, D8."""
    able = agent(
        agentCapabilities={
            "loadSession": True,
            "promptCapabilities": {"image": True, "audio": True, "embeddedContext": True},
            "mcpCapabilities": {"http": True, "sse": True},
            "sessionCapabilities": {"resume": {}, "fork": {}, "close": {}, "delete": {}},
        },
        _meta={"steering": {"supported": True}},
    )
    assert abilities(able) == (
        "sessions can be resumed, loaded, forked, closed, deleted; takes messages into a running turn;"
        " reads images, audio, embedded files; MCP over stdio, http, sse"
    )


def test_an_agent_that_can_nothing_is_told_as_such() -> None:
    assert abilities(agent()) == "sessions end with the process; reads text only; MCP over stdio"


def test_sessions_that_can_be_forked_only_are_still_lost_with_the_process() -> None:
    forks = agent(agentCapabilities={"sessionCapabilities": {"fork": {}}})
    assert abilities(forks).startswith("sessions can be forked, sessions end with the process;")


@pytest.mark.parametrize(
    ("info", "name"),
    [
        ({"name": "one", "version": "2"}, "one 2"),
        ({"name": "one", "title": "The One", "version": "2"}, "The One 2"),
        (None, "an agent that does not name itself"),
    ],
)
def test_the_name_is_the_one_it_gives_itself(info: Any, name: str) -> None:
    assert name_of(agent(agentInfo=info)) == name


def select(category: str, options: Any, current: Any = None) -> dict[str, Any]:
    return {"id": "x", "category": category, "type": "select", "options": options, "currentValue": current}


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({}, ""),
        ({"modes": {"currentModeId": "b", "availableModes": [{"id": "a"}, {"id": "b"}]}}, "modes: a, b (set: b)"),
        ({"models": {"availableModels": [{"modelId": "a"}, {"modelId": "b"}]}}, "models: a, b"),
        ({"configOptions": [select("mode", [{"value": "ask"}], "ask")]}, "modes: ask (set: ask)"),
        ({"configOptions": [{"id": "model", "options": [{"value": "a"}]}]}, "models: a"),
        (
            {"configOptions": [select("model", [{"group": "g", "options": [{"value": "a"}]}, {"value": "b"}])]},
            "models: a, b",
        ),
        (
            {
                "modes": {"availableModes": [{"id": "old"}]},
                "configOptions": [select("mode", [{"value": "new"}])],
            },
            "modes: new",
        ),
        (
            {"models": {"availableModels": [{"modelId": f"m{number}"} for number in range(10)]}},
            "models: m0, m1, m2, m3, m4, m5, m6, m7 and 2 more",
        ),
        ({"modes": {"availableModes": "all", "currentModeId": 7}, "models": {"availableModels": [1, {}]}}, ""),
        ({"configOptions": [select("mode", "all"), select("model", [1, {"value": 2}])]}, ""),
    ],
)
def test_modes_and_models_are_read_wherever_an_agent_puts_them(result: dict[str, Any], text: str) -> None:
    assert choices(SessionResult.parse(result)) == text
