"""What the scripted agent offers around its turns: options, commands, kept sessions, titles, logins, costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.agents import Gate, Step, scenario
from tests.agents.client import Message, PipeClient, scripted_session, talking_to
from tests.agents.offers import (
    MALFORMED_OPTIONS,
    UNKNOWN_OPTION,
    USAGE,
    auth,
    boolean,
    commands,
    grouped,
    many_models,
    method,
    models,
    modes,
    offers,
    select,
    terminal_method,
)

NO_METHOD, INVALID, LOG_IN = -32601, -32602, -32000
BOOLEANS: dict[str, Any] = {"session": {"configOptions": {"boolean": {}}}}
REFUSED = {"code": -32603, "message": "not with your plan"}


def opened(client: PipeClient, cwd: Path, **announced: Any) -> Message:
    """Initialize and return the answer to session/new."""
    client.call("initialize", protocolVersion=1, clientCapabilities=announced)
    result: Message = client.call("session/new", cwd=str(cwd), mcpServers=[])["result"]
    return result


def set_option(client: PipeClient, session: str, option: str, value: Any) -> Message:
    return client.call("session/set_config_option", sessionId=session, configId=option, value=value)


def code_of(response: Message) -> int | None:
    code: int | None = response.get("error", {}).get("code")
    return code


def current(options: list[Any]) -> dict[str, Any]:
    return {option["id"]: option["currentValue"] for option in options if isinstance(option, dict) and "id" in option}


@pytest.mark.parametrize("name", ["opencode", "claude", "codex", "gemini"])
def test_each_agent_offers_what_the_real_one_does(tmp_path: Path, name: str) -> None:
    """K1, K3, S1: who has options, who has modes, who tells of a change how, who lists sessions."""
    with talking_to(scenario(tmp_path, **offers(name)).argv, tmp_path) as client:
        new = opened(client, tmp_path)
        capabilities = client.seen[0]["result"]["agentCapabilities"]["sessionCapabilities"]
        session = new["sessionId"]
        told = client.updated("available_commands_update")["availableCommands"]
        option = set_option(client, session, "mode", "plan" if name != "codex" else "agent")
        model = client.call("session/set_model", sessionId=session, modelId="gpt-07")
        changes = [update["sessionUpdate"] for update in client.updates()[1:]]
        first = client.answer_to(client.prompt(session, "hello there"))
        client.answer_to(client.prompt(session, "again"))
        listed = client.call("session/list")
        if name == "claude" and not client.updates("session_info_update"):
            client.updated("session_info_update")  # 20 ms after the first response
    found = (sorted(new), sorted(capabilities), len(told), changes, code_of(option), code_of(model))
    every = ["close", "delete", "fork", "list", "resume"]
    expected: dict[str, tuple[Any, ...]] = {
        "opencode": (["configOptions", "sessionId"], ["close", "fork", "list", "resume"], 3, [], None, NO_METHOD),
        "claude": (["configOptions", "modes", "sessionId"], every, 44, ["current_mode_update"], None, NO_METHOD),
        "codex": (["configOptions", "models", "modes", "sessionId"], every, 16, ["config_option_update"], None, None),
        "gemini": (["models", "modes", "sessionId"], [], 20, [], NO_METHOD, None),
    }
    assert found == expected[name]
    titles = [update["title"] for update in client.updates("session_info_update")]
    costs = [update.get("cost", {}).get("amount") for update in client.updates("usage_update")]
    assert titles == (["hello there"] if name in ("claude", "codex") else [])
    assert costs == {"opencode": [0.01, 0.02], "claude": [0.02, 0.04], "codex": [None, None], "gemini": []}[name]
    assert first["result"].get("usage") == (None if name == "gemini" else USAGE)
    assert code_of(listed) == (NO_METHOD if name == "gemini" else None)
    assert name == "gemini" or listed["result"]["sessions"][0]["title"] == "hello there"


def test_an_option_is_set_and_each_answer_has_the_complete_list(tmp_path: Path) -> None:
    """K1"""
    options = [grouped(many_models(60), 25), boolean("fast"), UNKNOWN_OPTION, *MALFORMED_OPTIONS]
    agent = scenario(tmp_path, options=options, refuses={"model=model-02": REFUSED})
    with talking_to(agent.argv, tmp_path) as client:
        new = opened(client, tmp_path, **BOOLEANS)
        session = new["sessionId"]
        other = client.call("session/new", cwd="/", mcpServers=[])["result"]["configOptions"]
        changed = set_option(client, session, "model", "model-59")["result"]["configOptions"]
        fast = set_option(client, session, "fast", value=True)["result"]["configOptions"]
        codes = [code_of(set_option(client, session, "model", value)) for value in ("model-02", "model-60")]
        codes.append(code_of(set_option(client, session, "colour", "red")))
    assert new["configOptions"] == other == options
    assert [len(group["options"]) for group in changed[0]["options"]] == [25, 25, 10]
    assert (current(changed)["model"], current(fast)["fast"]) == ("model-59", True)
    assert codes == [REFUSED["code"], INVALID, INVALID]


def test_booleans_are_offered_to_who_announces_them_alone(tmp_path: Path) -> None:
    """K1"""
    with talking_to(scenario(tmp_path, options=[boolean("fast"), select("mode", "a")]).argv, tmp_path) as client:
        assert list(current(opened(client, tmp_path)["configOptions"])) == ["mode"]


def test_options_and_modes_change_by_themselves_in_a_turn(tmp_path: Path) -> None:
    """K2"""
    steps: list[Step] = [{"set": {"model": "model-01"}}]
    with scripted_session(tmp_path, steps, options=[many_models(2)]) as (client, _, session):
        client.answer_to(client.prompt(session))
        assert current(client.updates("config_option_update")[0]["configOptions"]) == {"model": "model-01"}
    plan: list[Step] = [{"set": {"mode": "plan"}}]
    with scripted_session(tmp_path, plan, modes=modes("ask", "plan"), models=models("a", "b")) as (client, _, session):
        client.answer_to(client.prompt(session))
        assert client.updates("current_mode_update")[0]["currentModeId"] == "plan"
        for mode, code in (("ask", None), ("none", INVALID)):
            assert code_of(client.call("session/set_mode", sessionId=session, modeId=mode)) == code
        assert code_of(client.call("session/set_model", sessionId=session, modelId="c")) == INVALID


def test_a_prompt_that_begins_with_a_command_runs_it(tmp_path: Path) -> None:
    """K3"""
    keys = {"commands": commands(44, 12_000), "slash": {"compact": [{"text": "compacted {rest}"}]}}
    with scripted_session(tmp_path, [{"text": "a turn"}], **keys) as (client, _, session):
        told = client.updated("available_commands_update")["availableCommands"]
        answers = []
        for text in ('/compact "all"', "/review the diff", "/unknown", "please /review"):
            before = client.text()
            client.answer_to(client.prompt(session, text))
            answers.append(client.text().removeprefix(before))
    assert answers == ['compacted "all"', "/review: the diff", "a turn", "a turn"]
    assert (len(told), told[1]["input"]) == (44, {"hint": "what to review"})
    assert 11_000 < len(json.dumps(told)) < 13_000


def test_sessions_survive_in_a_directory_for_the_next_process(tmp_path: Path) -> None:
    """S1, S2, P8: listed by pages, loaded with what was said, copied, deleted; an unknown one is refused."""
    old = {"sessionId": "old", "cwd": "/elsewhere", "updatedAt": "2026-01-01T00:00:00Z", "title": "Old"}
    keys = {**offers("claude", tmp_path / "store"), "list": 2, "listed": [old]}
    agent = scenario(tmp_path, [{"text": "answer"}, {"spend": {"cost": 1.0}}], [{"text": "lost"}, {"exit": 1}], **keys)
    with talking_to(agent.argv, tmp_path) as client:
        made = [client.open(tmp_path) for _ in range(3)]
        client.answer_to(client.prompt(made[0], "first prompt"))
        client.prompt(made[0], "cut off")
        with pytest.raises(EOFError):
            client.until(lambda _: False)
    with talking_to(agent.argv, tmp_path) as client:
        client.call("initialize", protocolVersion=1)
        pages = [client.call("session/list")["result"]]
        pages.append(client.call("session/list", cursor=pages[0]["nextCursor"])["result"])
        here = client.call("session/list", cwd=str(tmp_path))["result"]["sessions"]
        assert code_of(client.call("session/load", sessionId="never", cwd="/", mcpServers=[])) == -32002
        loaded = client.call("session/load", sessionId=made[0], cwd=str(tmp_path), mcpServers=[])["result"]
        replay = [update["content"]["text"] for update in client.updates() if "content" in update]
        copied = client.call("session/fork", sessionId=made[0], cwd=str(tmp_path), mcpServers=[])["result"]
        client.answer_to(client.prompt(copied["sessionId"], "go on"))
        assert client.updates("usage_update")[0]["cost"]["amount"] == pytest.approx(2.02)
        client.call("session/delete", sessionId=made[0])
        assert code_of(client.call("session/resume", sessionId=made[0], cwd="/")) == -32002
    listed = [info["sessionId"] for page in pages for info in page["sessions"]]
    assert listed == [made[0], made[2], made[1], "old"]
    assert (pages[0]["sessions"][0]["title"], "nextCursor" in pages[1]) == ("first prompt", False)
    assert [info["sessionId"] for info in here] == [made[0], made[2]]
    assert replay == ["first prompt", "answer", "cut off"]
    assert current(loaded["configOptions"])["mode"] == current(copied["configOptions"])["mode"] == "default"


def test_a_title_comes_in_the_turn_or_late_and_null_takes_it_away(tmp_path: Path) -> None:
    """S5"""
    steps: list[Step] = [{"title": "At once"}, {"title": None}, {"title": "Late", "late": 0.003}]
    with scripted_session(tmp_path, steps) as (client, _, session):
        client.answer_to(client.prompt(session))
        assert [update["title"] for update in client.updates("session_info_update")] == ["At once", None]
        assert client.updated("session_info_update")["title"] == "Late"


def test_nothing_goes_without_a_login_until_the_method_was_carried_out(tmp_path: Path) -> None:
    """K4"""
    methods = (method("browser", "opens a browser"), terminal_method("console", "login"))
    gate = Gate(tmp_path / "gate")
    keys: dict[str, Any] = {"auth": auth(*methods, logout=True, file=str(tmp_path / "login")), "list": True}
    agent = scenario(tmp_path, gates={"authenticate": str(gate.path)}, **keys)
    with talking_to(agent.argv, tmp_path) as client:
        shown = client.call("initialize", protocolVersion=1)["result"]
        again = client.call("initialize", protocolVersion=1, clientCapabilities={"auth": {"terminal": True}})["result"]
        assert [one["id"] for one in shown["authMethods"]] == ["browser"]
        assert [one["id"] for one in again["authMethods"]] == ["browser", "console"]
        assert shown["agentCapabilities"]["auth"] == {"logout": {}}
        slow = client.request("authenticate", methodId="browser")
        # Answered meanwhile: a person may take minutes.
        assert code_of(client.call("session/new", cwd="/", mcpServers=[])) == LOG_IN
        gate.open()
        assert client.answer_to(slow)["result"] == {}
        assert code_of(client.call("authenticate", methodId="console")) == INVALID
        assert "result" in client.call("session/new", cwd="/", mcpServers=[])
    with talking_to(agent.argv, tmp_path) as client:
        assert "result" in client.call("session/new", cwd="/", mcpServers=[])
        assert client.call("logout")["result"] == {}
        assert code_of(client.call("session/list")) == LOG_IN
    refusing = scenario(tmp_path, auth=auth(method("key"), answer=REFUSED))
    with talking_to(refusing.argv, tmp_path) as client:
        assert code_of(client.call("authenticate", methodId="key")) == REFUSED["code"]
        assert code_of(client.call("logout")) == NO_METHOD


def test_plans_costs_and_tools_with_diffs_are_shown(tmp_path: Path) -> None:
    """V1, V2, A4"""
    diff = {"path": "/a.py", "oldText": "1\n", "newText": "2\n"}
    steps: list[Step] = [
        {"plan": [["Look", "completed"], ["Write", "in_progress"]]},
        {"tool": {"id": "t", "input": {"command": "ls"}, "locations": [{"path": "/a.py"}], "diff": diff}},
        {"tool": {"id": "u", "output": "no such file", "status": "failed"}},
        {"spend": {"used": 10, "cost": 0.5, "currency": "EUR"}},
        {"spend": {"used": 20}},
        {"spend": {"response": USAGE}},
    ]
    with scripted_session(tmp_path, steps) as (client, _, session):
        response = client.answer_to(client.prompt(session))
    first, _, done, *_, failed = [update for update in client.updates() if "toolCallId" in update]
    assert [entry["status"] for entry in client.updates("plan")[0]["entries"]] == ["completed", "in_progress"]
    assert (first["rawInput"], first["locations"]) == ({"command": "ls"}, [{"path": "/a.py"}])
    assert done["content"] == [{"type": "diff", **diff}]
    assert (failed["status"], failed["content"][0]["content"]["text"]) == ("failed", "no such file")
    costs = [(update["used"], update.get("cost")) for update in client.updates("usage_update")]
    assert costs == [(10, {"amount": 0.5, "currency": "EUR"}), (20, None)]
    assert response["result"] == {"stopReason": "end_turn", "usage": USAGE}
