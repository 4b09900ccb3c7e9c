"""The scripted agent itself, over plain pipes: each step does what `scenario.py` says, the log tells what was heard."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.agents import Gate, Step, alive, scenario
from tests.agents.client import Message, PipeClient, scripted_session, talking_to, update_of
from tests.agents.scenario import text_update

CANCELLED = {"stopReason": "cancelled"}
END_TURN = {"stopReason": "end_turn"}


def turn(directory: Path, *steps: Step, **keys: Any) -> tuple[PipeClient, Message]:
    """Play one turn; return the client, with what it has seen, and the response."""
    with scripted_session(directory, list(steps), **keys) as (client, _, session):
        return client, client.answer_to(client.prompt(session))


def test_a_text_in_chunks_arrives_whole_in_order_under_one_message_id(tmp_path: Path) -> None:
    client, response = turn(tmp_path, {"text": "one two three", "chunks": 5})
    assert client.text() == "one two three"
    assert len(client.updates("agent_message_chunk")) == 5
    assert len({update["messageId"] for update in client.updates()}) == 1
    assert response["result"] == END_TURN


def test_a_step_chooses_the_message_id_or_none(tmp_path: Path) -> None:
    client, _ = turn(tmp_path, {"text": "a", "id": "m1"}, {"text": "b", "id": None})
    assert [update.get("messageId") for update in client.updates()] == ["m1", None]


def test_a_text_is_repeated_as_often_as_asked(tmp_path: Path) -> None:
    client, _ = turn(tmp_path, {"text": "ab", "repeat": 500})
    assert client.text() == "ab" * 500


def test_thoughts_tools_and_raw_updates_arrive_in_order(tmp_path: Path) -> None:
    plan: Step = {"sessionUpdate": "plan", "entries": []}
    tool = {"id": "t1", "title": "ls", "output": "x"}
    client, _ = turn(tmp_path, {"thought": "hm"}, {"tool": tool}, {"update": plan})
    kinds = [update["sessionUpdate"] for update in client.updates()]
    assert kinds == ["agent_thought_chunk", "tool_call", "tool_call_update", "tool_call_update", "plan"]
    assert client.updates("tool_call_update")[-1]["content"][0]["content"]["text"] == "x"


def test_a_raw_line_can_name_the_session(tmp_path: Path) -> None:
    update = '{"sessionId":"$SESSION","update":{"sessionUpdate":"zzz"}}'
    line = f'{{"jsonrpc":"2.0","method":"session/update","params":{update}}}'
    with scripted_session(tmp_path, [{"raw": line}]) as (client, _, session):
        client.answer_to(client.prompt(session))
        (raw,) = (message for message in client.seen if update_of(message) == {"sessionUpdate": "zzz"})
        assert raw["params"]["sessionId"] == session


def test_a_start_has_answers_of_its_own(tmp_path: Path) -> None:
    error = {"code": 1, "message": "no"}
    agent = scenario(tmp_path, start={"answers": {"session/new": {"error": error}}, "first": 1})
    for expected in (error, None):
        with talking_to(agent.argv, tmp_path) as client:
            assert client.call("session/new", cwd=str(tmp_path), mcpServers=[]).get("error") == expected


def test_an_echo_answers_with_the_prompt(tmp_path: Path) -> None:
    with scripted_session(tmp_path) as (client, agent, session):
        client.answer_to(client.prompt(session, "round trip ✓"))
        assert client.text() == "round trip ✓"
        assert agent.prompts() == ["round trip ✓"]


def test_each_prompt_plays_the_next_turn_and_the_last_repeats(tmp_path: Path) -> None:
    with scripted_session(tmp_path, [{"text": "1"}], [{"text": "2"}]) as (client, _, session):
        for _ in range(3):
            client.answer_to(client.prompt(session))
        assert client.text() == "122"


def test_a_word_of_the_prompt_chooses_its_steps_before_the_turns(tmp_path: Path) -> None:
    with scripted_session(tmp_path, [{"text": "1"}], words={"ping": [{"text": "pong"}]}) as (client, _, session):
        for text in ("please ping", "next"):
            client.answer_to(client.prompt(session, text))
        assert client.text() == "pong1"


def test_turns_counted_in_the_log_go_on_in_the_next_process(tmp_path: Path) -> None:
    agent = scenario(tmp_path, [{"text": "1"}], [{"text": "2"}], counter="log")
    for expected in ("1", "2"):
        with talking_to(agent.argv, tmp_path) as client:
            client.answer_to(client.prompt(client.open(tmp_path)))
            assert client.text() == expected
    assert len(set(agent.pids())) == 2


@pytest.mark.parametrize(("option", "said"), [("allow", "did it"), ("reject", "refused"), (None, "refused")])
def test_the_answer_to_a_permission_request_chooses_the_steps(tmp_path: Path, option: str | None, said: str) -> None:
    ask: Step = {"permission": {}, "then": {"allow": {"text": "did it"}, "*": [{"text": "refused"}]}}
    with scripted_session(tmp_path, [ask]) as (client, agent, session):
        number = client.prompt(session)
        client.choose(client.asked("session/request_permission"), option)
        client.answer_to(number)
        assert client.text() == said
        assert [entry["method"] for entry in agent.events("answer")] == ["session/request_permission"]


def test_the_answer_to_a_question_is_said_or_chooses_the_steps(tmp_path: Path) -> None:
    steps: list[Step] = [
        {"elicit": {"requestedSchema": {}}},
        {"elicit": {"mode": "url", "url": "u", "elicitationId": "e"}, "then": {"decline": [{"text": "no"}]}},
        {"complete": "e"},
    ]
    with scripted_session(tmp_path, steps) as (client, _, session):
        number = client.prompt(session, "x")
        first = client.asked("elicitation/create")
        client.respond(first, {"action": "accept", "content": {"a": 'say "hi"'}})
        client.respond(client.asked("elicitation/create"), {"action": "decline"})
        client.answer_to(number)
    assert first["params"]["mode"] == "form"
    assert client.text() == '{"action": "accept", "content": {"a": "say \\"hi\\""}}no'
    assert [message["params"] for message in client.seen if message.get("method") == "elicitation/complete"] == [
        {"elicitationId": "e"}
    ]


def test_a_permission_request_that_is_not_waited_for_leaves_the_turn_to_end(tmp_path: Path) -> None:
    client, response = turn(tmp_path, {"permission": {"tool": {"toolCallId": "x"}}, "wait": False}, {"text": "on"})
    assert response["result"] == END_TURN
    assert [message["method"] for message in client.seen if "method" in message][-2] == "session/request_permission"


def test_a_plain_agent_waits_for_the_open_permission_before_it_is_cancelled(tmp_path: Path) -> None:
    """T6: it ends the turn only after our `cancelled` answer."""
    with scripted_session(tmp_path, [{"permission": {}}]) as (client, _, session):
        number = client.prompt(session)
        request = client.asked("session/request_permission")
        client.notify("session/cancel", sessionId=session)
        client.call("session/new", cwd="/", mcpServers=[])  # answered after the cancel was read
        assert number not in [message.get("id") for message in client.seen]
        client.choose(request, None)
        assert client.answer_to(number)["result"] == CANCELLED


@pytest.mark.parametrize("behaviour", ["opencode", "claude", "codex"])
def test_other_agents_are_cancelled_without_an_answer_to_the_permission(tmp_path: Path, behaviour: str) -> None:
    with scripted_session(tmp_path, [{"permission": {}}], behaviour=behaviour) as (client, _, session):
        number = client.prompt(session)
        request = client.asked("session/request_permission")
        client.notify("session/cancel", sessionId=session)
        assert client.answer_to(number)["result"] == CANCELLED
        withdrawn = [message["params"] for message in client.seen if message.get("method") == "$/cancel_request"]
        assert withdrawn == ([] if behaviour == "opencode" else [{"requestId": request["id"]}])


def test_a_request_to_the_client_is_waited_for_and_its_answer_logged(tmp_path: Path) -> None:
    """T5"""
    ask: Step = {"request": {"method": "fs/write_text_file", "params": {"path": "/x", "content": "y"}}}
    with scripted_session(tmp_path, [ask, {"text": "on"}]) as (client, agent, session):
        number = client.prompt(session)
        request = client.asked("fs/write_text_file")
        assert request["params"] == {"sessionId": session, "path": "/x", "content": "y"}
        client.send(id=request["id"], error={"code": -32601, "message": "no"})
        client.answer_to(number)
        assert agent.events("answer")[0]["error"]["code"] == -32601


def test_a_hanging_turn_ends_cancelled_and_the_next_turn_works(tmp_path: Path) -> None:
    """T6"""
    with scripted_session(tmp_path, [{"hang": True}], [{"text": "again"}]) as (client, _, session):
        number = client.prompt(session)
        client.notify("session/cancel", sessionId=session)
        assert client.answer_to(number)["result"] == CANCELLED
        client.answer_to(client.prompt(session))
        assert client.text() == "again"


def test_an_endless_text_ends_with_a_cancel(tmp_path: Path) -> None:
    """T2: the agent that chats for ever."""
    with scripted_session(tmp_path, [{"text": ".", "repeat": -1, "delay": 0.001}]) as (client, _, session):
        number = client.prompt(session)
        client.updated("agent_message_chunk")
        client.notify("session/cancel", sessionId=session)
        assert client.answer_to(number)["result"] == CANCELLED


def test_an_agent_that_ignores_cancels_goes_on(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    steps: list[Step] = [{"ignore_cancel": True}, {"text": "a"}, gate.step, {"text": "b"}]
    with scripted_session(tmp_path, steps) as (client, agent, session):
        number = client.prompt(session)
        client.updated("agent_message_chunk")
        client.notify("session/cancel", sessionId=session)
        client.call("session/new", cwd="/", mcpServers=[])  # answered after the cancel was read
        gate.open()
        assert client.answer_to(number)["result"] == END_TURN
        assert client.text() == "ab"
        assert len(agent.received("session/cancel")) == 1


def test_the_answer_to_a_cancel_can_be_another_one(tmp_path: Path) -> None:
    """T6: cancelled, but the agent says end_turn."""
    with scripted_session(tmp_path, [{"on_cancel": END_TURN}, {"hang": True}]) as (client, _, session):
        number = client.prompt(session)
        client.notify("session/cancel", sessionId=session)
        assert client.answer_to(number)["result"] == END_TURN


def test_a_cancel_ends_only_the_turn_of_its_session(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    with scripted_session(tmp_path, [{"hang": True}], [gate.step, {"text": "mine"}]) as (client, _, first):
        second = client.call("session/new", cwd="/", mcpServers=[])["result"]["sessionId"]
        one, two = client.prompt(first), client.prompt(second)
        client.notify("session/cancel", sessionId=first)
        assert client.answer_to(one)["result"] == CANCELLED
        gate.open()
        assert client.answer_to(two)["result"] == END_TURN


def test_a_gate_holds_the_turn_until_it_is_opened(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    with scripted_session(tmp_path, [{"text": "a"}, gate.step, {"mark": "past"}, {"text": "b"}]) as (
        client,
        agent,
        session,
    ):
        number = client.prompt(session)
        client.updated("agent_message_chunk")
        assert agent.marks() == []
        gate.open()
        client.answer_to(number)
        assert agent.marks() == ["past"]


def test_errors_and_results_are_given_as_written(tmp_path: Path) -> None:
    _, failed = turn(tmp_path, {"error": {"code": 500, "message": "terminated"}})
    _, refused = turn(tmp_path, {"respond": {"stopReason": "refusal"}})
    assert (failed["error"]["code"], refused["result"]) == (500, {"stopReason": "refusal"})


def test_updates_can_follow_the_response(tmp_path: Path) -> None:
    """T3"""
    late: Step = {"late": [[0, text_update("d1")], [0.01, text_update("d2")]]}
    with scripted_session(tmp_path, [late, {"text": "d0"}]) as (client, _, session):
        client.answer_to(client.prompt(session))
        assert client.text() == "d0"
        client.updated("agent_message_chunk")
        client.updated("agent_message_chunk")
        assert client.text() == "d0d1d2"


def test_a_response_can_carry_another_id_and_come_twice(tmp_path: Path) -> None:
    """T5"""
    steps: list[Step] = [{"respond": END_TURN, "id": True}, {"respond": END_TURN}, {"respond": CANCELLED}]
    with scripted_session(tmp_path, steps) as (client, _, session):
        number = client.prompt(session)
        assert [client.read()["id"] for _ in range(3)] == [True, number, number]


@pytest.mark.parametrize(("step", "code"), [({"exit": 3}, 3), ({"kill": int(signal.SIGKILL)}, -9)])
def test_the_agent_dies_in_the_middle_of_a_turn(tmp_path: Path, step: Step, code: int) -> None:
    """T1"""
    with scripted_session(tmp_path, [{"text": "so far"}, step]) as (client, _, session):
        client.prompt(session)
        with pytest.raises(EOFError):
            client.until(lambda _: False)
        assert client.text() == "so far"
        assert client.process.wait() == code


def test_raw_lines_reach_stdout_as_they_are(tmp_path: Path) -> None:
    """T9"""
    steps: list[Step] = [{"raw": "not json"}, {"raw": "//4=", "base64": True}, {"raw": "x", "times": 3, "end": "!\n"}]
    with scripted_session(tmp_path, steps) as (client, _, session):
        client.prompt(session)
        assert [client.stdout.readline() for _ in range(3)] == [b"not json\n", b"\xff\xfe\n", b"xxx!\n"]


def test_a_spawned_shell_has_a_session_of_its_own_and_its_pid_is_logged(tmp_path: Path) -> None:
    """P9"""
    with scripted_session(tmp_path, [{"spawn_shell": "exec sleep 1000"}]) as (client, agent, session):
        client.answer_to(client.prompt(session))
        child = agent.events("spawned")[0]["child"]
        try:
            assert alive(child)
            # Field 4 after the name in stat is the session.
            assert int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[3]) == child
        finally:
            subprocess.run(["kill", "-KILL", str(child)], check=True)


def test_stderr_is_written_as_often_as_asked(tmp_path: Path) -> None:
    agent = scenario(tmp_path, [{"stderr": "oops\n", "times": 3}], start={"stderr": "hello\n"})
    with talking_to(agent.argv, tmp_path, stderr=subprocess.PIPE) as client:
        client.answer_to(client.prompt(client.open(tmp_path)))
        client.close()
        assert client.process.stderr
        assert client.process.stderr.read() == b"hello\noops\noops\noops\n"


def test_an_unknown_step_is_loud(tmp_path: Path) -> None:
    agent = scenario(tmp_path, [{"dance": True}])
    with talking_to(agent.argv, tmp_path, stderr=subprocess.PIPE) as client:
        client.prompt(client.open(tmp_path))
        assert client.process.wait() == 70
        assert client.process.stderr
        assert b"do_dance" in client.process.stderr.read()


def test_the_end_of_stdin_ends_the_agent_and_is_logged(tmp_path: Path) -> None:
    with scripted_session(tmp_path, [{"hang": True}]) as (client, agent, session):
        client.prompt(session)
        assert client.close() == 0
        assert len(agent.events("eof")) == 1


def test_an_agent_that_ignores_the_end_of_stdin_and_term_needs_a_kill(tmp_path: Path) -> None:
    """P9"""
    with scripted_session(tmp_path, start={"ignore_eof": True, "ignore_term": True}) as (client, _, _session):
        client.process.terminate()
        client.call("session/new", cwd="/", mcpServers=[])
        client.process.kill()
        assert client.process.wait() == -9


def test_a_start_can_fail_for_the_first_processes_only(tmp_path: Path) -> None:
    """P7"""
    agent = scenario(tmp_path, start={"exit": 4, "first": 1})
    with talking_to(agent.argv, tmp_path) as client:
        assert client.process.wait() == 4
    with talking_to(agent.argv, tmp_path) as client:
        assert client.open(tmp_path)


def test_noise_comes_before_the_first_answer(tmp_path: Path) -> None:
    """T9"""
    agent = scenario(tmp_path, start={"noise": ["\x1b[1mWelcome", "5"]})
    with talking_to(agent.argv, tmp_path) as client:
        assert [client.stdout.readline() for _ in range(2)] == [b"\x1b[1mWelcome\n", b"5\n"]
        assert client.call("initialize", protocolVersion=1)["result"]["protocolVersion"] == 1


@pytest.mark.parametrize("method", ["initialize", "session/new"])
def test_a_method_can_stay_without_an_answer(tmp_path: Path, method: str) -> None:
    agent = scenario(tmp_path, start={"hang": method})
    with talking_to(agent.argv, tmp_path) as client:
        client.request(method, cwd="/", mcpServers=[])
        assert client.call("unknown/method")["error"]["code"] == -32601
        assert [message.get("id") for message in client.seen] == [101]


def test_a_start_can_want_a_login_or_speak_another_version(tmp_path: Path) -> None:
    agent = scenario(tmp_path, start={"auth_required": True, "protocolVersion": 2})
    with talking_to(agent.argv, tmp_path) as client:
        assert client.call("initialize", protocolVersion=1)["result"]["protocolVersion"] == 2
        assert client.call("session/new", cwd="/", mcpServers=[])["error"]["code"] == -32000


def test_load_replays_before_the_response_and_the_session_works(tmp_path: Path) -> None:
    """P8"""
    with scripted_session(tmp_path, load="ok", history=[["user", "q"], ["agent", "a"]]) as (client, _, _session):
        assert "result" in client.call("session/load", sessionId="old", cwd="/", mcpServers=[])
        kinds = [update["sessionUpdate"] for update in client.updates()]
        assert kinds == ["user_message_chunk", "agent_message_chunk"]
        assert client.answer_to(client.prompt("old"))["result"] == END_TURN


def test_a_replay_can_follow_the_response(tmp_path: Path) -> None:
    """P8"""
    with scripted_session(tmp_path, load="replay_after") as (client, _, _session):
        client.call("session/load", sessionId="old", cwd="/", mcpServers=[])
        assert client.updates() == []
        client.updated("agent_message_chunk")


@pytest.mark.parametrize(("behaviour", "code"), [("plain", -32002), ("opencode", -32603)])
def test_an_unknown_session_fails_in_the_manner_of_the_agent(tmp_path: Path, behaviour: str, code: int) -> None:
    """P8"""
    with scripted_session(tmp_path, load="unknown", resume="unknown", behaviour=behaviour) as (client, _, _session):
        for method in ("session/load", "session/resume"):
            assert client.call(method, sessionId="old", cwd="/", mcpServers=[])["error"]["code"] == code


def test_resume_is_offered_and_does_not_replay(tmp_path: Path) -> None:
    agent = scenario(tmp_path, resume=True)
    with talking_to(agent.argv, tmp_path) as client:
        capabilities = client.call("initialize", protocolVersion=1)["result"]["agentCapabilities"]
        assert (capabilities["loadSession"], capabilities["sessionCapabilities"]) == (False, {"resume": {}})
        assert client.call("session/resume", sessionId="old", cwd="/")["result"] == {}
        assert client.updates() == []


def test_what_is_not_offered_is_an_unknown_method(tmp_path: Path) -> None:
    with scripted_session(tmp_path) as (client, _, _session):
        for method in ("session/load", "session/resume", "session/fork"):
            assert client.call(method, sessionId="old", cwd="/")["error"]["code"] == -32601


def test_other_requests_are_answered_as_the_scenario_says(tmp_path: Path) -> None:
    answers = {
        "session/fork": {"result": {"sessionId": "f"}},
        "session/set_mode": {"error": {"code": 1, "message": ""}},
    }
    with scripted_session(tmp_path, answers=answers, agent={"sessionCapabilities": {"fork": {}}}) as (
        client,
        _,
        _session,
    ):
        assert client.call("session/fork", sessionId="x")["result"] == {"sessionId": "f"}
        assert client.call("session/set_mode", sessionId="x")["error"]["code"] == 1


def test_the_log_tells_where_and_how_the_agent_was_started(tmp_path: Path) -> None:
    agent = scenario(tmp_path)
    with talking_to(agent.argv, tmp_path, env={"WEFT_AGENT": "marker"}) as client:
        client.call("initialize", protocolVersion=1)
        entry = agent.events("start")[0]
        assert (entry["cwd"], entry["environment"]["marker"]) == (str(tmp_path), "marker")
        assert agent.pids() == [client.process.pid]


def test_a_scenario_can_be_given_inline_or_in_the_environment(tmp_path: Path) -> None:
    agent = scenario(tmp_path)
    for argv, env in (([*agent.argv[:-1], '{"turns": []}'], {}), (agent.argv[:-1], {"AGENT_SCENARIO": agent.argv[-1]})):
        with talking_to(argv, tmp_path, env=env) as client:
            assert client.answer_to(client.prompt(client.open(tmp_path)))["result"] == END_TURN
