"""Which turn an update belongs to (O3)."""

from __future__ import annotations

from typing import Any

from acp.router import LATE, Route, TurnRouter
from acp.schema import SessionUpdate, decode_update
from acp.turn import Turn, TurnLimits


def update(name: str, **fields: Any) -> SessionUpdate:
    return decode_update({"sessionUpdate": name, **fields})


def text(words: str, message_id: str | None = None) -> SessionUpdate:
    return update("agent_message_chunk", content={"type": "text", "text": words}, messageId=message_id)


def tool(call_id: str, status: str = "completed") -> SessionUpdate:
    return update("tool_call_update", toolCallId=call_id, status=status)


def turn() -> Turn:
    return Turn(TurnLimits(), 0.0)


def ended(one: Turn) -> Turn:
    one.respond("end_turn", None, 1.0)
    one.tick(10.0)
    return one


def routed(router: TurnRouter, *updates: SessionUpdate) -> list[Turn | Route | None]:
    return [router.route(one) for one in updates]


def test_a_running_turn_takes_all_that_has_no_earlier_owner() -> None:
    """O3: all else is the present turn's."""
    router, first = TurnRouter(), turn()
    router.begin(first)
    updates = [text("x"), text("y", "m1"), tool("t1"), update("usage_update", used=1, size=2)]
    assert routed(router, *updates) == [first] * 4


def test_a_draining_turn_takes_late_chunks() -> None:
    """O3, T3: what comes before the next prompt is written belongs to the turn."""
    router, first = TurnRouter(), turn()
    router.begin(first)
    first.respond("end_turn", None, 1.0)
    assert router.route(text("late")) is first


def test_a_cancelled_turn_takes_late_chunks() -> None:
    """O3: cancelled turns drain too."""
    router, first = TurnRouter(), turn()
    router.begin(first)
    first.cancel(1.0, "ada")
    first.respond("cancelled", None, 1.5)
    assert router.route(text("late")) is first


def test_output_after_the_end_of_a_turn_is_output_outside_a_turn() -> None:
    """O3: it belongs to the turn before, which is over."""
    router = TurnRouter()
    router.begin(ended(turn()))
    assert routed(router, text("late"), text("later", "m"), tool("t")) == [LATE, LATE, LATE]


def test_output_before_the_first_turn_is_output_outside_a_turn() -> None:
    """O3: an agent may speak first."""
    assert TurnRouter().route(text("hello")) is LATE


def test_an_id_of_the_turn_before_keeps_its_turn() -> None:
    """O3: a messageId or toolCallId first seen in turn n belongs to n, also within turn n+1."""
    router, first, second = TurnRouter(), turn(), turn()
    router.begin(first)
    routed(router, text("a", "m1"), tool("t1", "in_progress"))
    ended(first)
    router.begin(second)
    assert routed(router, text("b", "m1"), tool("t1"), text("c", "m2"), tool("t2")) == [LATE, LATE, second, second]


def test_an_id_seen_after_the_end_of_a_turn_is_not_the_next_ones() -> None:
    """O3: an update belongs to turn n if it arrives before the prompt of turn n+1 is written."""
    router = TurnRouter()
    router.begin(ended(turn()))
    router.route(text("late", "m9"))
    router.begin(turn())
    assert router.route(text("later", "m9")) is LATE


def test_without_ids_an_update_is_the_present_turns() -> None:
    """O3: agents that give no ids can't be told apart after that point."""
    router, second = TurnRouter(), turn()
    router.begin(ended(turn()))
    router.begin(second)
    assert router.route(text("whose?")) is second


def test_message_ids_and_tool_call_ids_are_apart() -> None:
    """O3: the same word may name a message and a tool call."""
    router, second = TurnRouter(), turn()
    router.begin(turn())
    router.route(text("a", "same"))
    router.begin(second)
    assert router.route(tool("same")) is second


def test_metadata_never_makes_a_message() -> None:
    """O3: text and tool results only."""
    router = TurnRouter()
    router.begin(ended(turn()))
    quiet = [
        update("session_info_update", title="t"),
        update("usage_update", used=1, size=2),
        update("available_commands_update", availableCommands=[]),
        update("plan", entries=[]),
        update("agent_thought_chunk", content={"type": "text", "text": "hm"}),
        update("user_message_chunk", content={"type": "text", "text": "hi"}),
        update("from_the_future"),
        tool("t", "in_progress"),
        text(""),
    ]
    assert routed(router, *quiet) == [None] * len(quiet)


def test_a_thought_of_an_earlier_turn_is_shown_nowhere() -> None:
    """O3: an earlier turn's id keeps even a thought out of the present turn."""
    router = TurnRouter()
    thought = update("agent_thought_chunk", content={"type": "text", "text": "hm"}, messageId="m1")
    router.begin(turn())
    router.route(thought)
    router.begin(turn())
    assert router.route(thought) is None


def test_a_replay_is_mute_until_the_next_prompt() -> None:
    """P8: replay is muted until our next prompt, whenever it ends."""
    router, first = TurnRouter(muted=True), turn()
    assert routed(router, text("old", "m1"), tool("t1"), text("old")) == [None] * 3
    router.begin(first)
    assert router.route(text("new")) is first


def test_what_goes_on_with_a_replayed_message_is_not_shown() -> None:
    """P8, O3: a replay that outlasts our prompt is known by its ids."""
    router = TurnRouter(muted=True)
    router.route(text("old", "m1"))
    router.begin(turn())
    assert routed(router, text(" more", "m1")) == [None]


def test_the_ids_that_are_remembered_are_bounded() -> None:
    """T10: a session lives for weeks; the oldest ids go first."""
    router, second = TurnRouter(), turn()
    router.begin(turn())
    for number in range(20_001):
        router.route(text("x", f"m{number}"))
    router.begin(second)
    assert routed(router, text("x", "m20000"), text("x", "m0")) == [LATE, second]
