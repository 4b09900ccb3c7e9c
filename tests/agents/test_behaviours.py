"""The canned turns show what they promise: each oddity of the four real agents reaches the wire."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agents import Step, behaviours, scenario
from tests.agents.client import Message, PipeClient, talking_to
from tests.agents.scenario import prompt_text

TURNS = {
    "opencode": (behaviours.opencode_turn(), "once", "Looking.Two entries."),
    "claude": (behaviours.claude_turn(), "allow-once", "Two entries."),
    "codex": (behaviours.codex_turn(), "allow_once", "Two entries."),
    "gemini": (behaviours.gemini_turn(), "proceed_once", "Two entries."),
}


def play(client: PipeClient, directory: Path, option: str | None = None) -> Message:
    """Play one turn, choosing this option when asked and offering no files; return the response."""
    number = client.prompt(client.open(directory))
    while True:
        message = client.read()
        if message.get("method") == "session/request_permission":
            client.choose(message, option)
        elif message.get("method") == "fs/write_text_file":
            client.send(id=message["id"], error={"code": -32601, "message": "no files here"})
        elif message.get("id") == number:
            return message


def played(directory: Path, steps: list[Step], behaviour: str, option: str | None = None) -> tuple[PipeClient, Message]:
    with talking_to(scenario(directory, steps, behaviour=behaviour).argv, directory) as client:
        return client, play(client, directory, option)


@pytest.mark.parametrize("behaviour", TURNS)
def test_an_allowed_turn_ends_with_its_text(tmp_path: Path, behaviour: str) -> None:
    steps, option, text = TURNS[behaviour]
    client, response = played(tmp_path, steps, behaviour, option)
    assert (client.text(), response["result"]["stopReason"]) == (text, "end_turn")
    assert client.updates("tool_call_update")[-1]["status"] == "completed"


@pytest.mark.parametrize(
    ("behaviour", "option", "stop", "text"),
    [
        ("opencode", "reject", "end_turn", "Looking."),
        ("claude", "reject", "end_turn", "I was not allowed to."),
        ("codex", "cancel", "cancelled", ""),
        ("gemini", "cancel", "end_turn", "Not run."),
    ],
)
def test_a_refused_turn_ends_as_its_agent_ends_it(
    tmp_path: Path, behaviour: str, option: str, stop: str, text: str
) -> None:
    client, response = played(tmp_path, TURNS[behaviour][0], behaviour, option)
    assert (response["result"]["stopReason"], client.text()) == (stop, text)


def test_claude_tells_title_and_cost_after_the_response(tmp_path: Path) -> None:
    """T3"""
    with talking_to(scenario(tmp_path, behaviours.claude_turn(), behaviour="claude").argv, tmp_path) as client:
        play(client, tmp_path, "allow-once")
        assert client.updates("usage_update") == []
        assert client.updated("session_info_update")["title"] == "Listing"
        assert client.updated("usage_update")["cost"]["currency"] == "USD"


def test_codex_has_its_output_in_meta_only(tmp_path: Path) -> None:
    """T4"""
    client, _ = played(tmp_path, behaviours.codex_turn(None, "42\n"), "codex", "allow_once")
    deltas = [update["_meta"]["terminal_output_delta"]["data"] for update in client.updates() if "delta" in str(update)]
    assert (client.text(), deltas) == ("", ["42\n"])


def test_gemini_asks_for_a_tool_call_it_never_announces_and_names_no_message(tmp_path: Path) -> None:
    """T8"""
    client, response = played(tmp_path, behaviours.gemini_turn(), "gemini", "proceed_once")
    assert client.updates("tool_call") == []
    assert not any("messageId" in update for update in client.updates())
    assert "quota" in response["result"]["_meta"]


def test_opencode_writes_a_file_through_the_client_unasked(tmp_path: Path) -> None:
    """T5"""
    client, _ = played(tmp_path, behaviours.opencode_turn(), "opencode", "once")
    assert "fs/write_text_file" in [message.get("method") for message in client.seen]


def test_a_retried_stream_repeats_its_text_under_a_new_message_id(tmp_path: Path) -> None:
    """T8"""
    client, _ = played(tmp_path, behaviours.retried_text(), "codex")
    said = [(update["messageId"], update["content"]["text"]) for update in client.updates("agent_message_chunk")]
    assert said == [("msg_1", "d0 d1"), ("msg_2", "d0 d1"), ("msg_2", " d2")]


@pytest.mark.parametrize(
    ("steps", "behaviour", "text", "code"),
    [
        (behaviours.opencode_error(), "opencode", "", -32603),
        (behaviours.claude_error("API Error: 400"), "claude", "API Error: 400", -32603),
        (behaviours.codex_error("stream disconnected"), "codex", "stream disconnected", None),
        (behaviours.gemini_error(401), "gemini", "", 401),
        (behaviours.auth_error(), "codex", "", -32000),
    ],
)
def test_a_failing_model_looks_different_in_each(
    tmp_path: Path, steps: list[Step], behaviour: str, text: str, code: int | None
) -> None:
    client, response = played(tmp_path, steps, behaviour)
    assert (client.text(), response.get("error", {}).get("code")) == (text, code)


@pytest.mark.parametrize(("behaviour", "greeted"), [("claude", True), ("codex", True), ("opencode", False)])
def test_some_agents_send_a_notification_of_their_own_before_the_session(
    tmp_path: Path, behaviour: str, greeted: bool
) -> None:
    with talking_to(scenario(tmp_path, behaviour=behaviour).argv, tmp_path) as client:
        client.open(tmp_path)
        assert (client.seen[-2].get("method") == "_auth/status_update") == greeted
        assert client.updated("available_commands_update")["availableCommands"]


def test_the_text_of_a_prompt_is_that_of_its_text_blocks() -> None:
    blocks = [{"type": "text", "text": "a"}, {"type": "image", "data": ""}, {"type": "text", "text": "b"}]
    assert prompt_text({"params": {"prompt": blocks}}) == "ab"
