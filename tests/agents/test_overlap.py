"""What the scripted agent does with text that comes while it works: a second prompt, steering, a copied session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.agents import Gate, Step, scenario
from tests.agents.client import Message, PipeClient, scripted_session, talking_to

CANCELLED, END_TURN = "cancelled", "end_turn"
IDLE = {"steering": {"idleBehavior": "promptRequired"}}


def story(client: PipeClient, *numbers: int) -> list[str]:
    """Read until each of these requests is answered; return texts and stop reasons in wire order."""
    for number in numbers:
        if not any(message.get("id") == number and "method" not in message for message in client.seen):
            client.answer_to(number)
    return [said for message in client.seen if (said := _said(message, numbers))]


def _said(message: Message, numbers: tuple[int, ...]) -> str:
    if message.get("method") == "session/update":
        text: str = message["params"]["update"].get("content", {}).get("text", "")
        return text
    return f"{numbers.index(message['id'])}: {message['result']['stopReason']}" if message.get("id") in numbers else ""


def steer(client: PipeClient, session: str, text: str = "more", **params: Any) -> int:
    blocks = [{"type": "text", "text": text}]
    return client.request("_session/steering", sessionId=session, prompt=blocks, **params)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"behaviour": "claude"}, ["a", "b", "0: end_turn", "c", "1: end_turn"]),
        ({"behaviour": "codex"}, ["a", "b", "0: end_turn", "c", "1: end_turn"]),
        ({"behaviour": "opencode"}, ["a", "b", "c", "0: end_turn", "1: end_turn"]),
        ({"second": "merges"}, ["a", "b", "c", "0: end_turn", "1: end_turn"]),
        ({"behaviour": "gemini"}, ["a", "0: cancelled", "c", "1: end_turn"]),
    ],
)
def test_a_second_prompt_is_queued_merged_or_cancels_the_first(
    tmp_path: Path, how: dict[str, Any], expected: list[str]
) -> None:
    """Q1: no two agents do the same with it, so that the client has to keep them apart."""
    gate = Gate(tmp_path / "gate")
    with scripted_session(tmp_path, [{"text": "a"}, gate.step, {"text": "b"}], [{"text": "c"}], **how) as (
        client,
        _,
        session,
    ):
        one = client.prompt(session)
        client.updated("agent_message_chunk")
        two = client.prompt(session)
        if how.get("behaviour") == "gemini":
            client.answer_to(one)
        client.call("ping")
        gate.open()
        assert story(client, one, two) == expected


def test_a_cancel_ends_a_turn_and_what_was_merged_with_it(tmp_path: Path) -> None:
    """T6"""
    with scripted_session(tmp_path, [{"text": "a"}, {"hang": True}], second="merges") as (client, _, session):
        one, two = client.prompt(session), client.prompt(session)
        client.updated("agent_message_chunk")
        client.notify("session/cancel", sessionId=session)
        assert story(client, one, two) == ["a", "0: cancelled", "1: cancelled"]


def test_text_put_into_a_turn_is_played_instead_of_its_rest_and_answered_with_it(tmp_path: Path) -> None:
    """Q2: the answer to the steering comes first, the response once, at the end."""
    with scripted_session(tmp_path, [{"text": "a"}, {"hang": True}], [{"text": "b"}], steering=True) as (
        client,
        _,
        session,
    ):
        one = client.prompt(session)
        client.updated("agent_message_chunk")
        number = steer(client, session, _meta=IDLE)
        assert client.answer_to(number)["result"] == {"outcome": "injected"}
        assert story(client, one) == ["a", "b", "0: end_turn"]
        assert len({update["messageId"] for update in client.updates("agent_message_chunk")}) == 2


def test_text_put_into_a_turn_is_what_an_echo_says_next(tmp_path: Path) -> None:
    words: dict[str, list[Step]] = {"wait": [{"echo": True}, {"hang": True}]}
    with scripted_session(tmp_path, words=words, steering=True) as (client, _, session):
        one = client.prompt(session, "wait")
        client.updated("agent_message_chunk")
        steer(client, session, "one")
        assert story(client, one) == ["wait", "one", "0: end_turn"]


def test_a_permission_request_is_withdrawn_when_its_turn_is_steered(tmp_path: Path) -> None:
    """Q2, D6"""
    with scripted_session(tmp_path, [{"permission": {}}], [{"text": "b"}], steering=True) as (client, _, session):
        one = client.prompt(session)
        request = client.asked("session/request_permission")
        steer(client, session)
        assert client.asked("$/cancel_request")["params"] == {"requestId": request["id"]}
        assert client.answer_to(one)["result"]["stopReason"] == END_TURN


def test_without_a_turn_the_text_is_left_to_a_client_that_asks_for_it(tmp_path: Path) -> None:
    """Q2"""
    with scripted_session(tmp_path, steering=True) as (client, _, session):
        client.answer_to(client.prompt(session))
        result = client.answer_to(steer(client, session, _meta=IDLE))["result"]
        assert result == {"outcome": "promptRequired", "reason": "noRunningTurn"}


@pytest.mark.parametrize(("steering", "params"), [(True, {}), ("detached", {"_meta": IDLE})])
def test_an_agent_that_is_not_asked_or_does_not_care_begins_a_turn_without_a_response(
    tmp_path: Path, steering: Any, params: dict[str, Any]
) -> None:
    """Q2: a cancel ends it."""
    endless: list[Step] = [{"text": "b", "repeat": -1, "delay": 0.01}]
    with scripted_session(tmp_path, endless, [{"text": "c"}], steering=steering, behaviour="codex") as (
        client,
        _,
        session,
    ):
        number = steer(client, session, **params)
        assert client.answer_to(number)["result"] == {"outcome": "startedNewTurn"}
        client.updated("agent_message_chunk")
        client.notify("session/cancel", sessionId=session)
        one = client.prompt(session)
        assert client.answer_to(one)["result"]["stopReason"] == END_TURN  # queued behind the one that was cancelled
        assert client.updates("agent_message_chunk")[-1]["content"]["text"] == "c"


def test_steering_is_announced_or_an_unknown_method(tmp_path: Path) -> None:
    """Q2, T5"""
    with talking_to(scenario(tmp_path, steering=True).argv, tmp_path) as client:
        assert client.call("initialize", protocolVersion=1)["result"]["_meta"] == {"steering": {"supported": True}}
    with scripted_session(tmp_path) as (client, _, session):
        assert client.answer_to(steer(client, session))["error"]["code"] == -32601


def test_a_copy_of_a_session_is_prompted_while_the_original_is_busy(tmp_path: Path) -> None:
    """Q9"""
    words: dict[str, list[Step]] = {"wait": [{"hang": True}]}
    with scripted_session(tmp_path, words=words, fork=True, close=True) as (client, _, session):
        one = client.prompt(session, "wait")
        copy = client.call("session/fork", sessionId=session, cwd="/", mcpServers=[])["result"]["sessionId"]
        assert copy != session
        assert client.answer_to(client.prompt(copy, "hi"))["result"]["stopReason"] == END_TURN
        assert client.call("session/close", sessionId=copy)["result"] == {}
        assert client.answer_to(client.prompt(copy, "hi"))["error"]["code"] == -32002
        client.notify("session/cancel", sessionId=session)
        assert client.answer_to(one)["result"]["stopReason"] == CANCELLED


def test_a_copy_can_bring_its_history_before_the_answer(tmp_path: Path) -> None:
    """Q9, P8"""
    with scripted_session(tmp_path, fork="replay", history=[["agent", "then"]]) as (client, _, session):
        copy = client.call("session/fork", sessionId=session, cwd="/", mcpServers=[])["result"]["sessionId"]
        assert client.text() == "then"
        assert client.seen[-2]["params"]["sessionId"] == copy


@pytest.mark.parametrize(("fork", "code"), [("fails", -32002), (None, -32601)])
def test_a_fork_can_fail_or_be_unknown(tmp_path: Path, fork: str | None, code: int) -> None:
    """Q9"""
    with scripted_session(tmp_path, fork=fork) as (client, _, session):
        answer = client.call("session/fork", sessionId=session, cwd="/", mcpServers=[])
        assert answer["error"]["code"] == code


def test_what_a_scenario_offers_is_announced(tmp_path: Path) -> None:
    """Q9, P8"""
    with talking_to(scenario(tmp_path, fork=True, close=True, resume=True).argv, tmp_path) as client:
        told = client.call("initialize", protocolVersion=1)["result"]["agentCapabilities"]
        assert told["sessionCapabilities"] == {"resume": {}, "fork": {}, "close": {}}
