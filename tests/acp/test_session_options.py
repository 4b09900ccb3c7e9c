"""What can be chosen in a session: read in three ways, changed by people and by the agent, set with an end to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from acp.connection import AgentConnection, open_connection
from acp.engine import LaunchSpec
from acp.errors import RequestFailed, RequestTimeout
from acp.handshake import session_result
from acp.schema import ConfigOptionUpdate, CurrentModeUpdate, decode_update
from acp.session_options import (
    ID_LIMIT,
    LEAST_VALUES,
    MOST_OPTIONS,
    MOST_VALUES,
    NAME_LIMIT,
    TEXT_LIMIT,
    Kind,
    SessionOption,
    SessionOptions,
    Way,
    as_json,
    from_json,
    read_options,
)
from acp.turn import Turn
from acp.turn_deadlines import TurnLimits
from acp.turn_runner import run_turn
from tests.acp.connections import HELLO, QUICK, Sink
from tests.agents import Gate, scenario
from tests.agents.offers import (
    MALFORMED_OPTIONS,
    UNKNOWN_OPTION,
    boolean,
    grouped,
    many_models,
    models,
    modes,
    offers,
    select,
)


def opened(**result: Any) -> SessionOptions:
    options = SessionOptions()
    options.opened(session_result({"sessionId": "s", **result}))
    return options


def chosen(options: SessionOptions) -> dict[str, str]:
    return {option.id: option.current for option in options.all}


def test_options_are_read_one_by_one_and_what_nobody_knows_is_left_out() -> None:
    """K1, T9: flat and in groups; of what is malformed, the rest stays."""
    options = opened(
        configOptions=[grouped(many_models(4), 3), boolean("fast", current=True), UNKNOWN_OPTION, *MALFORMED_OPTIONS],
        modes=modes("ask", "plan"),
        models=models("a", "b"),
    )
    assert chosen(options) == {"model": "model-00", "fast": "true", "lost": "gone"}
    model, fast, lost = options.all
    assert [(one.value, one.name, one.group) for one in model.values][2:] == [
        ("model-02", "Model-02", "Group 1"),
        ("model-03", "Model-03", "Group 2"),
    ]
    assert (model.kind, fast.kind, fast.way) == (Kind.MODEL, Kind.OTHER, Way.BOOLEAN)
    assert lost.name_of(lost.current) == "gone"
    # What is kept over a restart is read back as it was.
    kept = from_json(json.loads(json.dumps(as_json(options.all))))
    assert kept == options.all
    assert from_json([{**as_json(options.all)[0], "way": "future"}, 7, None]) == ()


def test_options_alone_count_where_there_are_some_else_modes_and_models() -> None:
    """K1: an empty list of options says nothing."""
    assert chosen(opened(configOptions=[select("effort", "low")], modes=modes("ask"), models=models("a"))) == {
        "effort": "low"
    }
    both = opened(configOptions=[], modes=modes("ask", "plan"), models={**models("a", "b"), "currentModelId": 7})
    assert chosen(both) == {"mode": "ask", "model": ""}
    assert [option.request("plan") for option in both.all] == [
        ("session/set_mode", {"modeId": "plan"}),
        ("session/set_model", {"modelId": "plan"}),
    ]
    assert opened(modes=[], models={"availableModels": [{"modelId": ""}]}).all == ()


@pytest.mark.parametrize(
    ("option_id", "category", "kind"),
    [
        ("reasoning_effort", None, Kind.EFFORT),
        ("x", "thought_level", Kind.EFFORT),
        ("mode", "_own", Kind.MODE),
        ("mode", "model_config", Kind.OTHER),
        ("collaboration_mode", "_own", Kind.OTHER),
    ],
)
def test_an_option_is_known_by_its_category_else_by_its_id(option_id: str, category: str | None, kind: Kind) -> None:
    """K1"""
    (option,) = read_options([select(option_id, "a", category=category)])
    assert option.kind is kind


def test_a_flood_of_options_is_bounded_and_an_id_that_is_too_long_is_left_out() -> None:
    """K1, T10"""
    value = {"value": "v", "name": "n" * 5_000, "description": "d" * 5_000}
    long = {**select("model", "a"), "options": [value, {**value, "value": "x" * (ID_LIMIT + 1)}]}
    options = read_options([long, *(select(f"o{n}", *(f"v{m}" for m in range(1_100))) for n in range(60))])
    assert len(options) == MOST_OPTIONS
    assert [len(one.values) for one in options[:4]] == [1, MOST_VALUES - 1, LEAST_VALUES, LEAST_VALUES]
    assert (len(options[0].values[0].name), len(options[0].values[0].description)) == (NAME_LIMIT, TEXT_LIMIT)


def test_what_changes_by_itself_is_known_with_what_is_worth_telling() -> None:
    """K2: a list takes the place of the last; the mode is told where it is not that of the beginning."""
    options = opened(configOptions=[select("mode", "ask", "plan"), select("model", "a", "b", category="model")])
    assert (options.model, options.unusual_mode) == ("A", None)
    for update in (
        {"sessionUpdate": "current_mode_update", "currentModeId": "plan"},
        {"sessionUpdate": "current_mode_update", "currentModeId": "elsewhere"},
    ):
        told = decode_update(update)
        assert isinstance(told, CurrentModeUpdate)
        options.take(told)
        assert (options.model, options.unusual_mode) == ("A", "Plan")
    told = decode_update({"sessionUpdate": "config_option_update", "configOptions": [select("model", "b"), None]})
    assert isinstance(told, ConfigOptionUpdate)
    options.take(told)
    assert (chosen(options), options.unusual_mode) == ({"model": "b"}, None)


async def scripted(connection: AgentConnection, cwd: Path) -> Any:
    return (await connection.open_session(str(cwd), None)).session


def option_of(options: SessionOptions, kind: Kind) -> SessionOption:
    found = options.of(kind)
    assert found is not None
    return found


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["opencode", "claude", "codex", "gemini"])
async def test_model_and_mode_of_each_agent_are_set_in_its_own_way_and_seen_in_the_turn(
    tmp_path: Path, name: str
) -> None:
    """K1, K2: also in a copy, which has its own."""
    agent = scenario(tmp_path, [{"text": "done"}], **offers(name))
    with anyio.fail_after(30):
        async with open_connection(LaunchSpec(agent.argv, str(tmp_path), {}), QUICK) as connection:
            session = await scripted(connection, tmp_path)
            for kind in (Kind.MODEL, Kind.MODE):
                option = option_of(session.options, kind)
                wanted = option.values[1].value
                assert await session.set_option(option.id, wanted, 5.0) == wanted
            turn = Turn(TurnLimits(), anyio.current_time())
            shown = await run_turn(connection, session, turn, HELLO, Sink())
            names = [option_of(session.options, kind).values[1].name for kind in (Kind.MODEL, Kind.MODE)]
            assert [shown.model, shown.mode] == names
            with pytest.raises(ValueError, match="no option"):
                await session.set_option("mode", "unheard of", 5.0)
            if connection.can_fork:
                copy = await connection.fork_session(session.id, str(tmp_path))
                assert option_of(copy.options, Kind.MODEL).values == option_of(session.options, Kind.MODEL).values
    sent = [entry["message"]["method"] for entry in agent.events("received") if "set_" in str(entry["message"])]
    two = {"gemini": ["session/set_model", "session/set_mode"]}
    assert sent == two.get(name, ["session/set_config_option"] * 2)


@pytest.mark.asyncio
async def test_a_choice_that_is_refused_or_never_answered_says_so(tmp_path: Path) -> None:
    """K2: an answer that comes too late still counts for what is known."""
    gate = Gate(tmp_path / "gate")
    agent = scenario(
        tmp_path,
        [{"set": {"model": "c"}}],
        options=[select("model", "a", "b", "c"), boolean("fast")],
        refuses={"model=c": {"code": -32603, "message": "not with your plan"}},
    )
    with anyio.fail_after(30):
        async with open_connection(LaunchSpec(agent.argv, str(tmp_path), {}), QUICK) as connection:
            session = await scripted(connection, tmp_path)
            assert await session.set_option("fast", "true", 5.0) == "true"
            with pytest.raises(RequestFailed, match="not with your plan"):
                await session.set_option("model", "c", 5.0)
            assert chosen(session.options) == {"model": "a", "fast": "true"}
            turn = Turn(TurnLimits(), anyio.current_time())
            assert (await run_turn(connection, session, turn, HELLO, Sink())).model == "C"
    slow = scenario(tmp_path, options=[select("model", "a", "b")], gates={"session/set_config_option": str(gate.path)})
    with anyio.fail_after(30):
        async with open_connection(LaunchSpec(slow.argv, str(tmp_path), {}), QUICK) as connection:
            session = await scripted(connection, tmp_path)
            with pytest.raises(RequestTimeout):
                await session.set_option("model", "b", 0.05)
            gate.open()
            while session.options.model != "B":  # noqa: ASYNC110  nothing tells of it, as nothing has to
                await anyio.sleep(0.01)
    announced = slow.received("initialize")[0]["params"]["clientCapabilities"]["session"]
    assert announced == {"configOptions": {"boolean": {}}}
