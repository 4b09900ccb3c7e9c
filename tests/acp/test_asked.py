"""What is kept of tool calls for those who decide about them."""

from __future__ import annotations

from typing import Any

from acp.asked import AskedCalls
from acp.schema import ToolCallUpdate


def asked_for(call_id: str = "t", **fields: Any) -> ToolCallUpdate:
    return ToolCallUpdate.parse(call(call_id, **fields))


def call(call_id: str = "t", **fields: Any) -> dict[str, Any]:
    return {"toolCallId": call_id, **fields}


def test_a_request_has_all_that_was_said_of_its_tool_call() -> None:
    """D6, T8"""
    asked = AskedCalls()
    asked.news(call(title="Run", rawInput={"command": "x" * 300_000}, content=[{"type": "future", "url": "u"}]))
    asked.news(call(kind="execute", content=[], title=None))
    update, complete = asked.asked(asked_for())
    assert (update.title, update.kind, update.raw_input, complete) == (
        "Run",
        "execute",
        {"command": "x" * 300_000},
        True,
    )
    assert update.as_sent()["content"] == [{"type": "future", "url": "u"}]
    assert asked.asked(asked_for(title="Other"))[0].title == "Other"


def test_a_tool_call_that_is_over_is_let_go() -> None:
    """T10"""
    asked = AskedCalls(most=1500)
    for number in range(100):
        asked.news(call(f"t{number}", title="x" * 500))
        asked.news(call(f"t{number}", status="completed"))
    assert not asked.forgot
    assert asked.asked(asked_for("t0"))[0].title is None


def test_what_may_have_been_forgotten_is_not_complete() -> None:
    """D6, T10: until the next turn, when a tool call that nothing is known of is a new one again."""
    asked = AskedCalls(most=1500)
    asked.news(call("a", rawInput="x" * 600))
    asked.news(call("b", rawInput="x" * 600))
    assert asked.asked(asked_for("b"))[1]
    assert asked.asked(asked_for("a", title="harmless")) == (asked.asked(asked_for("a"))[0], False)
    asked.new_turn()
    assert asked.asked(asked_for("c", title="new"))[1]


def test_what_is_no_tool_call_is_passed_over() -> None:
    """T9"""
    asked = AskedCalls()
    odd: list[Any] = [None, [], {}, {"toolCallId": 5}, {"toolCallId": ["t"]}]
    for raw in odd:
        asked.news(raw)
    assert asked.asked(asked_for(status=["odd"]))[1]
