"""The canned turns show what they promise: each oddity of the four real agents reaches the wire."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agents import Step, manners, scenario
from tests.agents.client import Message, PipeClient, talking_to
from tests.agents.scenario import prompt_text

TURNS = {
    "opencode": (manners.opencode_turn(), "once", "Looking.Two entries."),
    "claude": (manners.claude_turn(), "allow-once", "Two entries."),
    "codex": (manners.codex_turn(), "allow_once", "Two entries."),
    "gemini": (manners.gemini_turn(), "proceed_once", "Two entries."),
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


def played(directory: Path, steps: list[Step], manner: str, option: str | None = None) -> tuple[PipeClient, Message]:
    with talking_to(scenario(directory, steps, manner=manner).argv, directory) as client:
        return client, play(client, directory, option)


@pytest.mark.parametrize("manner", TURNS)
def test_an_allowed_turn_ends_with_its_text(tmp_path: Path, manner: str) -> None:
    steps, option, text = TURNS[manner]
    client, response = played(tmp_path, steps, manner, option)
    assert (client.text(), response["result"]["stopReason"]) == (text, "end_turn")
    assert client.updates("tool_call_update")[-1]["status"] == "completed"


@pytest.mark.parametrize(
    ("manner", "option", "stop", "text"),
    [
        ("opencode", "reject", "end_turn", "Looking."),
        ("claude", "reject", "end_turn", "I was not allowed to."),
        ("codex", "cancel", "cancelled", ""),
        ("gemini", "cancel", "end_turn", "Not run."),
    ],
)
def test_a_refused_turn_ends_as_its_agent_ends_it(
    tmp_path: Path, manner: str, option: str, stop: str, text: str
) -> None:
    client, response = played(tmp_path, TURNS[manner][0], manner, option)
    assert (response["result"]["stopReason"], client.text()) == (stop, text)


def test_claude_tells_title_and_cost_after_the_response(tmp_path: Path) -> None:
    """T3"""
    with talking_to(scenario(tmp_path, manners.claude_turn(), manner="claude").argv, tmp_path) as client:
        play(client, tmp_path, "allow-once")
        assert client.updates("usage_update") == []
        assert client.updated("session_info_update")["title"] == "Listing"
        assert client.updated("usage_update")["cost"]["currency"] == "USD"


def test_codex_has_its_output_in_meta_only(tmp_path: Path) -> None:
    """T4"""
    client, _ = played(tmp_path, manners.codex_turn(None, "42\n"), "codex", "allow_once")
    deltas = [update["_meta"]["terminal_output_delta"]["data"] for update in client.updates() if "delta" in str(update)]
    assert (client.text(), deltas) == ("", ["42\n"])


def test_gemini_asks_for_a_tool_call_it_never_announces_and_names_no_message(tmp_path: Path) -> None:
    """T8"""
    client, response = played(tmp_path, manners.gemini_turn(), "gemini", "proceed_once")
    assert client.updates("tool_call") == []
    assert not any("messageId" in update for update in client.updates())
    assert "quota" in response["result"]["_meta"]


def test_opencode_writes_a_file_through_the_client_unasked(tmp_path: Path) -> None:
    """T5"""
    client, _ = played(tmp_path, manners.opencode_turn(), "opencode", "once")
    assert "fs/write_text_file" in [message.get("method") for message in client.seen]


def test_a_retried_stream_repeats_its_text_under_a_new_message_id(tmp_path: Path) -> None:
    """T8"""
    client, _ = played(tmp_path, manners.retried_text(), "codex")
    said = [(update["messageId"], update["content"]["text"]) for update in client.updates("agent_message_chunk")]
    assert said == [("msg_1", "d0 d1"), ("msg_2", "d0 d1"), ("msg_2", " d2")]


@pytest.mark.parametrize(
    ("steps", "manner", "text", "code"),
    [
        (manners.opencode_error(), "opencode", "", -32603),
        (manners.claude_error("API Error: 400"), "claude", "API Error: 400", -32603),
        (manners.codex_error("stream disconnected"), "codex", "stream disconnected", None),
        (manners.gemini_error(401), "gemini", "", 401),
        (manners.auth_error(), "codex", "", -32000),
    ],
)
def test_a_failing_model_looks_different_in_each(
    tmp_path: Path, steps: list[Step], manner: str, text: str, code: int | None
) -> None:
    client, response = played(tmp_path, steps, manner)
    assert (client.text(), response.get("error", {}).get("code")) == (text, code)


@pytest.mark.parametrize(("manner", "greeted"), [("claude", True), ("codex", True), ("opencode", False)])
def test_some_agents_send_a_notification_of_their_own_before_the_session(
    tmp_path: Path, manner: str, greeted: bool
) -> None:
    with talking_to(scenario(tmp_path, manner=manner).argv, tmp_path) as client:
        client.open(tmp_path)
        assert (client.seen[-2].get("method") == "_auth/status_update") == greeted
        assert client.updated("available_commands_update")["availableCommands"]


def test_the_text_of_a_prompt_is_that_of_its_text_blocks() -> None:
    blocks = [{"type": "text", "text": "a"}, {"type": "image", "data": ""}, {"type": "text", "text": "b"}]
    assert prompt_text({"params": {"prompt": blocks}}) == "ab"
