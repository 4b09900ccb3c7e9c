"""What an agent said and did, put together from its updates."""

from __future__ import annotations

from typing import Any

from acp.schema import decode_update
from acp.transcript import Transcript, chosen_option


def transcript(*updates: dict[str, Any], model: str | None = None, mode: str | None = None) -> Transcript:
    made = Transcript(10_000, 10, 100, 100, model, mode)
    for raw in updates:
        made.feed(decode_update(raw))
    return made


def chunk(text: str, kind: str = "agent_message_chunk") -> dict[str, Any]:
    return {"sessionUpdate": kind, "content": {"type": "text", "text": text}}


def test_each_plan_replaces_the_one_before() -> None:
    """T10: a plan is complete each time."""
    steps = [{"content": "a", "status": "completed"}, {"content": "b"}]
    made = transcript({"sessionUpdate": "plan", "entries": steps}, {"sessionUpdate": "plan", "entries": steps[:1]})
    assert [(step.content, step.status) for step in made.plan] == [("a", "completed")]


def test_thoughts_are_apart_from_the_answer() -> None:
    """T8: reasoning is no text of the answer."""
    made = transcript(chunk("hm", "agent_thought_chunk"), chunk("Yes"), chunk("my question", "user_message_chunk"))
    assert (made.thoughts.read(), made.answer.read()) == ("hm", "Yes")


def test_a_thought_between_two_messages_does_not_hide_a_retry() -> None:
    """T8: only a tool call says that a repetition is meant."""
    made = transcript(
        chunk("d0 d1") | {"messageId": "a"},
        chunk("again", "agent_thought_chunk"),
        chunk("d0 d1 d2") | {"messageId": "b"},
    )
    assert made.answer.read() == "d0 d1 d2"


def test_the_cost_stays_when_an_update_has_none() -> None:
    """D5: the footer shows what is known."""
    made = transcript(
        {"sessionUpdate": "usage_update", "used": 1, "size": 9, "cost": {"amount": 0.1, "currency": "USD"}},
        {"sessionUpdate": "usage_update", "used": 2, "size": 9},
    )
    assert made.context is not None
    assert made.context.used == 2
    assert made.cost is not None
    assert made.cost.amount == 0.1


def test_a_title_is_kept_when_absent_and_cleared_when_null() -> None:
    """T9: absent is unchanged, null is cleared."""
    named = {"sessionUpdate": "session_info_update", "title": "t"}
    assert transcript(named, {"sessionUpdate": "session_info_update", "updatedAt": "now"}).title == "t"
    assert transcript(named, {"sessionUpdate": "session_info_update", "title": None}).title is None


def test_model_and_mode_are_followed() -> None:
    """D5, D7: what the agent says counts more than what was known before."""
    options = [
        {"id": "mode", "category": "mode", "currentValue": "plan", "options": []},
        {"id": "m", "category": "model", "currentValue": "big-1", "options": [{"value": "big-1", "name": "Big"}]},
    ]
    made = transcript({"sessionUpdate": "config_option_update", "configOptions": options}, model="Small", mode="ask")
    assert (made.model, made.mode) == ("Big", "plan")
    made.feed(decode_update({"sessionUpdate": "current_mode_update", "currentModeId": "code"}))
    assert made.mode == "code"


def test_metadata_that_is_not_shown_is_no_change() -> None:
    """O3: commands and unknown updates can't be seen."""
    made = transcript()
    assert not made.feed(decode_update({"sessionUpdate": "available_commands_update", "availableCommands": []}))
    assert not made.feed(decode_update({"sessionUpdate": "from_the_future"}))
    assert made.feed(decode_update(chunk("x")))


def test_the_chosen_option_is_found_in_groups_and_without_names() -> None:
    """D7: option lists come in several shapes."""
    groups = [{"group": "g", "name": "G", "options": [{"value": "a", "name": "Alpha"}]}, "noise"]
    assert chosen_option([{"id": "model", "currentValue": "a", "options": groups}], "model") == "Alpha"
    assert chosen_option([{"id": "model", "currentValue": "b", "options": groups}], "model") == "b"
    assert chosen_option([{"id": "model", "currentValue": True}], "model") is None
    assert chosen_option([{"id": "fast", "currentValue": "x"}], "model") is None
