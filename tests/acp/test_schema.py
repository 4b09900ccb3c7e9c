"""Tolerant decoding of what agents send."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from acp.schema import (
    AgentMessageChunk,
    InitializeResult,
    PermissionParams,
    Plan,
    PromptResult,
    ToolCall,
    ToolCallUpdate,
    UnknownUpdate,
    UsageUpdate,
    audio_block,
    decode_update,
    embedded_text,
    image_block,
    resource_link,
    text_block,
)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_a_chunk_keeps_its_text_message_id_and_meta() -> None:
    """T8."""
    raw = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "hi"}, "messageId": "m"}
    update = decode_update(raw | {"_meta": {"a": 1}})
    assert isinstance(update, AgentMessageChunk)
    assert (update.content.text, update.message_id, update.meta) == ("hi", "m", {"a": 1})


@pytest.mark.parametrize("raw", [None, 5, [], {}, {"sessionUpdate": 5}, {"sessionUpdate": "zzz", "a": 1}])
def test_what_is_not_known_survives_as_unknown(raw: Any) -> None:
    """T5, T9."""
    update = decode_update(raw)
    assert isinstance(update, UnknownUpdate)
    assert update.raw == raw


def test_an_update_without_what_it_requires_is_unknown() -> None:
    """T9."""
    assert isinstance(decode_update({"sessionUpdate": "tool_call", "title": "x"}), UnknownUpdate)


def test_a_malformed_optional_field_costs_only_itself() -> None:
    """T9."""
    raw = {"sessionUpdate": "tool_call", "toolCallId": "t", "title": "x", "kind": 5, "status": "no such word"}
    update = decode_update(raw)
    assert isinstance(update, ToolCall)
    assert (update.title, update.kind, update.status) == ("x", None, "no such word")


def test_a_malformed_item_costs_only_itself() -> None:
    """T9."""
    entries = [{"content": "a"}, {"content": 5}, 7, {"content": "b", "status": "later"}]
    update = decode_update({"sessionUpdate": "plan", "entries": entries})
    assert isinstance(update, Plan)
    assert [(entry.content, entry.status) for entry in update.entries] == [("a", "pending"), ("b", "later")]


def test_a_malformed_cost_leaves_the_tokens() -> None:
    """T9."""
    update = decode_update({"sessionUpdate": "usage_update", "used": 1, "size": 2, "cost": {"currency": "EUR"}})
    assert isinstance(update, UsageUpdate)
    assert (update.used, update.cost) == (1, None)


def test_very_long_lists_are_cut() -> None:
    """T9."""
    raw = {"sessionUpdate": "plan", "entries": [{"content": str(number)} for number in range(10_000)]}
    update = decode_update(raw)
    assert isinstance(update, Plan)
    assert len(update.entries) == 4096


def test_deep_nesting_beside_a_malformed_field_does_not_raise() -> None:
    """T9."""
    raw = {"sessionUpdate": "tool_call_update", "toolCallId": "t", "kind": 5, "rawOutput": nested(1000)}
    assert isinstance(decode_update(raw), UnknownUpdate | ToolCallUpdate)


def test_absent_and_null_are_told_apart() -> None:
    """T4."""
    update = decode_update({"sessionUpdate": "tool_call_update", "toolCallId": "t", "content": None})
    assert update.model_fields_set == {"tool_call_id", "content"}


def test_a_stop_reason_of_the_future_survives() -> None:
    assert PromptResult.parse({"stopReason": "out_of_coffee", "usage": "much"}).stop_reason == "out_of_coffee"
    with pytest.raises(ValidationError):
        PromptResult.parse({})


def test_what_an_agent_says_of_itself_may_be_sparse_or_odd() -> None:
    sparse = InitializeResult.parse({"protocolVersion": 1})
    assert not sparse.agent_capabilities.load_session
    assert sparse.agent_capabilities.session_capabilities.resume is None
    odd = InitializeResult.parse(
        {
            "protocolVersion": 1,
            "agentCapabilities": {"loadSession": True, "sessionCapabilities": {"resume": {}, "list": True}},
            "authMethods": [{"id": "a", "name": "A"}, {"name": "without id"}],
        }
    )
    assert odd.agent_capabilities.load_session
    assert odd.agent_capabilities.session_capabilities.resume == {}
    assert [method.id for method in odd.auth_methods] == ["a"]


def test_permission_options_without_an_id_are_left_out() -> None:
    params = {"sessionId": "s", "toolCall": {"toolCallId": "t"}, "options": [{"optionId": "y"}, {"name": "n"}]}
    assert [option.option_id for option in PermissionParams.parse(params).options] == ["y"]


def test_what_is_sent_has_only_what_was_set() -> None:
    assert text_block("hi").to_wire() == {"type": "text", "text": "hi"}


def test_the_blocks_of_a_prompt_have_the_fields_that_the_schema_gives_them_and_no_others() -> None:
    """F1."""
    assert image_block("aGk=", "image/png", "file:///a.png").to_wire() == {
        "type": "image",
        "data": "aGk=",
        "mimeType": "image/png",
        "uri": "file:///a.png",
    }
    assert audio_block("aGk=", "audio/ogg").to_wire() == {"type": "audio", "data": "aGk=", "mimeType": "audio/ogg"}
    assert embedded_text("file:///a.txt", "hi", "text/plain").to_wire() == {
        "type": "resource",
        "resource": {"uri": "file:///a.txt", "text": "hi", "mimeType": "text/plain"},
    }
    assert resource_link("file:///a.zip", "a.zip", "application/zip", 7).to_wire() == {
        "type": "resource_link",
        "uri": "file:///a.zip",
        "name": "a.zip",
        "mimeType": "application/zip",
        "size": 7,
    }


@pytest.mark.parametrize(
    ("extra", "tokens"),
    [
        ({"usage": {"inputTokens": 5}, "_meta": {"quota": {"token_count": {"input_tokens": 9}}}}, (5, None)),
        ({"_meta": {"quota": {"token_count": {"input_tokens": 9, "output_tokens": 2}}}}, (9, 2)),
        ({"_meta": {"quota": {"token_count": {"input_tokens": "9", "output_tokens": True}}}}, None),
        ({"usage": None, "_meta": {"quota": {"token_count": None}}}, None),
        ({"_meta": []}, None),
    ],
)
def test_the_tokens_of_a_turn_are_found_where_agents_put_them(extra: dict[str, Any], tokens: object) -> None:
    """A4"""
    spent = PromptResult.parse({"stopReason": "end_turn", **extra}).spent
    assert (spent and (spent.input_tokens, spent.output_tokens)) == tokens
