"""Agents are started, met and ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from acp.connection import ConnectionLimits
from acp.engine import LaunchSpec
from acp.schema import InitializeResult, SessionResult
from acp.shutdown import StopLimits
from bot.ops.doctor.agents import abilities, check_agent, check_agents, choices, name_of
from bot.ops.doctor.finding import Finding, Verdict
from bot.redaction import Redactor
from tests.agents import ScriptedAgent, alive, scenario

LIMITS = ConnectionLimits(start=30, session=30, stop=StopLimits(eof=0.5, term=0.3, kill=0.5))
METHODS = [{"id": "key", "name": "an API key"}, {"id": "browser", "name": "the browser"}]


def spec(agent: ScriptedAgent, cwd: str = "/") -> LaunchSpec:
    return LaunchSpec(agent.argv, cwd, {"PATH": "/usr/bin:/bin"})


async def check(agent: ScriptedAgent, limits: ConnectionLimits = LIMITS) -> list[Finding]:
    with anyio.fail_after(30):
        found = await check_agent("one", spec(agent), limits, Redactor(["canary-secret"]).text)
    assert [alive(pid) for pid in agent.pids()] in ([], [False])
    return found


@pytest.mark.asyncio
async def test_an_agent_is_told_with_its_version_its_abilities_and_what_it_offers(tmp_path: Path) -> None:
    """P8: no prompt is sent."""
    modes = {"currentModeId": "ask", "availableModes": [{"id": "ask"}, {"id": "plan"}]}
    answers = {"session/new": {"result": {"sessionId": "s", "modes": modes}}}
    agent = scenario(tmp_path, resume=True, fork=True, answers=answers)
    hello, session = await check(agent)
    assert (hello.verdict, hello.subject) == (Verdict.OK, "initialize")
    assert hello.text.startswith("one: scripted-plain 1, after ")
    assert "sessions can be resumed, forked" in hello.text
    assert (session.verdict, session.subject) == (Verdict.OK, "session")
    assert session.text.endswith("modes: ask, plan (set: ask)")
    assert agent.prompts() == []


@pytest.mark.asyncio
async def test_the_session_works_in_an_empty_directory_that_is_gone_afterwards(tmp_path: Path) -> None:
    """P9."""
    agent = scenario(tmp_path)
    await check(agent)
    (new,) = agent.received("session/new")
    directory = Path(new["params"]["cwd"])
    assert directory.name.startswith("weft-doctor-")
    assert not directory.exists()  # noqa: ASYNC240
    assert agent.events("start")[0]["cwd"] == str(directory)


@pytest.mark.asyncio
async def test_a_wrapped_agent_works_where_its_wrapper_says(tmp_path: Path) -> None:
    agent = scenario(tmp_path)
    with anyio.fail_after(30):
        await check_agent("one", LaunchSpec(agent.argv, str(tmp_path), {}, session_cwd="/elsewhere"), LIMITS)
    assert agent.received("session/new")[0]["params"]["cwd"] == "/elsewhere"
    assert agent.events("start")[0]["cwd"] == str(tmp_path)


@pytest.mark.asyncio
async def test_the_session_is_deleted_again_where_the_agent_can_do_that(tmp_path: Path) -> None:
    answers = {"session/new": {"result": {"sessionId": "s-1"}}, "session/delete": {"result": {}}}
    agent = scenario(tmp_path, answers=answers, agent={"sessionCapabilities": {"delete": {}}})
    _, session = await check(agent)
    assert session.verdict is Verdict.OK
    assert [message["params"] for message in agent.received("session/delete")] == [{"sessionId": "s-1"}]


@pytest.mark.asyncio
async def test_a_session_that_stays_behind_is_told(tmp_path: Path) -> None:
    refusal = {"error": {"code": -32603, "message": "not now"}}
    agent = scenario(tmp_path, answers={"session/delete": refusal}, agent={"sessionCapabilities": {"delete": {}}})
    _, session = await check(agent)
    assert session.verdict is Verdict.WARN
    assert "could not be deleted" in session.text


@pytest.mark.asyncio
async def test_an_agent_that_wants_a_login_names_its_ways(tmp_path: Path) -> None:
    """O1, P8."""
    hello: dict[str, Any] = {"protocolVersion": 1, "agentCapabilities": {}, "authMethods": METHODS}
    answers = {"initialize": {"result": hello}}
    agent = scenario(tmp_path, answers=answers, start={"auth_required": True})
    told, login = await check(agent)
    assert told.verdict is Verdict.OK
    assert (login.verdict, login.subject) == (Verdict.FAIL, "login")
    assert login.text.endswith("log in with an API key or the browser")


@pytest.mark.asyncio
async def test_a_session_that_is_refused_fails(tmp_path: Path) -> None:
    refusal = {"error": {"code": -32603, "message": "no room"}}
    agent = scenario(tmp_path, answers={"session/new": refusal}, start={"stderr": "out of\nseats: canary-secret\n\n"})
    _, session = await check(agent)
    assert (session.verdict, session.subject) == (Verdict.FAIL, "session")
    assert "no room" in session.text
    assert session.text.endswith("its last line on stderr: seats: [secret]")


@pytest.mark.parametrize("hang", ["initialize", "session/new"])
@pytest.mark.asyncio
async def test_an_agent_that_does_not_answer_is_ended_in_time(hang: str, tmp_path: Path) -> None:
    """P9."""
    limits = ConnectionLimits(start=0.5, session=0.5, stop=LIMITS.stop)
    start = {"hang": hang, "ignore_eof": True, "ignore_term": True}
    found = await check(scenario(tmp_path, start=start), limits)
    assert found[-1].verdict is Verdict.FAIL
    assert "0.5 s" in found[-1].text


@pytest.mark.asyncio
async def test_an_agent_that_ends_in_its_start_is_told_with_its_last_line(tmp_path: Path) -> None:
    """O1: secrets blacked out."""
    agent = scenario(tmp_path, start={"exit": 4, "stderr": "warming up\nno licence for canary-secret\n"})
    (found,) = await check(agent)
    assert (found.verdict, found.subject) == (Verdict.FAIL, "initialize")
    assert "exit status 4" in found.text
    assert found.text.endswith("its last line on stderr: no licence for [secret]")


@pytest.mark.asyncio
async def test_a_program_that_is_not_there_fails() -> None:
    (found,) = await check_agent("one", LaunchSpec(("/no/such/agent",), "/", {}), LIMITS)
    assert (found.verdict, found.subject) == (Verdict.FAIL, "initialize")
    assert "not found" in found.text


@pytest.mark.asyncio
async def test_only_the_default_agent_keeps_the_bot_from_working(tmp_path: Path) -> None:
    good, bad = scenario(tmp_path), scenario(tmp_path, start={"exit": 1})
    found = await check_agents({"good": spec(good), "bad": spec(bad)}, LIMITS, str)
    assert [finding.verdict for finding in found] == [Verdict.OK, Verdict.OK, Verdict.WARN]
    swapped = await check_agents({"bad": spec(bad), "good": spec(good)}, LIMITS, str)
    assert [finding.verdict for finding in swapped] == [Verdict.FAIL, Verdict.OK, Verdict.OK]


def agent(**more: Any) -> InitializeResult:
    return InitializeResult.parse({"protocolVersion": 1, **more})


def test_everything_that_makes_a_difference_is_named() -> None:
    """P8, Q2, Q9, D8."""
    able = agent(
        agentCapabilities={
            "loadSession": True,
            "promptCapabilities": {"image": True, "audio": True, "embeddedContext": True},
            "mcpCapabilities": {"http": True, "sse": True},
            "sessionCapabilities": {"resume": {}, "fork": {}, "list": {}, "close": {}, "delete": {}},
        },
        _meta={"steering": {"supported": True}},
    )
    assert abilities(able) == (
        "sessions can be resumed, loaded, forked, listed, closed, deleted; takes messages into a running turn;"
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
        (None, "an agent without a name"),
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
