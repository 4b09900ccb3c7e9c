"""Permission requests of a real child process: every one is answered exactly once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from acp.errors import RequestTimeout
from acp.open_request import RequestEnd
from acp.permission_request import AskedCalls
from acp.schema import ToolCallUpdate
from tests.acp.children import lines_of
from tests.acp.connections import (
    CANCELLED,
    HELLO,
    QUICK,
    Sink,
    Writes,
    begun,
    connected,
    heard,
    in_session,
)


@pytest.mark.asyncio
@pytest.mark.parametrize("number", [0, "0"])
async def test_the_first_answer_to_a_permission_request_wins(number: int | str, tmp_path: Path) -> None:
    """D6, T6."""
    source = f"hear('session/prompt')\nsay(permission({number!r}))"
    async with in_session(source, tmp_path) as (_, session, turn, sink):
        session.begin_turn(turn, sink, HELLO)
        request = await sink.until_asked()
        assert [option.option_id for option in request.options] == ["yes"]
        assert request.tool_call.tool_call_id == "t"
        assert len(turn.snapshot().permissions) == 1
        assert not request.select("no such option")
        assert [request.select("yes"), request.select("yes"), request.cancel()] == [True, False, False]
        assert request.answered
        assert turn.snapshot().permissions == ()
        await lines_of(tmp_path / "heard", 4)
    answers = [message for message in heard(tmp_path) if "result" in message]
    selected = {"outcome": "selected", "optionId": "yes"}
    assert answers == [{"jsonrpc": "2.0", "id": number, "result": {"outcome": selected}}]
    assert sink.ends == []


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["s1", "s2"])
async def test_a_permission_request_outside_a_turn_is_cancelled_at_once(name: str, tmp_path: Path) -> None:
    """T6."""
    async with in_session(f"say(permission(5, {name!r}))", tmp_path):
        await lines_of(tmp_path / "heard", 3)
    assert heard(tmp_path)[2] == {"jsonrpc": "2.0", "id": 5, "result": CANCELLED}


@pytest.mark.asyncio
async def test_a_malformed_permission_request_is_refused(tmp_path: Path) -> None:
    """T5."""
    async with in_session("say({'id': 5, 'method': 'session/request_permission'})", tmp_path):
        await lines_of(tmp_path / "heard", 3)
    assert heard(tmp_path)[2]["error"]["code"] == -32602


@pytest.mark.asyncio
async def test_a_cancel_answers_open_permission_requests_in_the_same_write(tmp_path: Path) -> None:
    """T6."""
    source = "p = hear('session/prompt')\nsay(permission(1))\nsay(permission('1'))\nhear('session/cancel')\n"
    source += "say(permission(7))\nhear()\nanswer(p, {'stopReason': 'cancelled'})"
    async with in_session(source, tmp_path) as (connection, session, turn, sink):
        pending = session.begin_turn(turn, sink, HELLO)
        await sink.until_asked(2)
        writes = Writes(connection)
        assert turn.cancel(anyio.current_time(), "someone")
        session.cancel()
        await pending.wait(30)
        assert (sink.ends, len(sink.requests)) == ([RequestEnd.TURN_CANCELLED] * 2, 2)
    first, *later = writes.seen
    assert [(item.get("id"), item.get("result"), item.get("method")) for item in first] == [
        (1, CANCELLED, None),
        ("1", CANCELLED, None),
        (None, None, "session/cancel"),
    ]
    assert [(item["id"], item["result"]) for write in later for item in write] == [(7, CANCELLED)]


@pytest.mark.asyncio
async def test_a_cancel_without_an_open_prompt_sends_nothing(tmp_path: Path) -> None:
    """T6."""
    async with in_session("answer(hear('session/prompt'), {'stopReason': 'end_turn'})", tmp_path) as held:
        connection, session, turn, sink = held
        writes = Writes(connection)
        session.cancel()
        await session.begin_turn(turn, sink, HELLO).wait(30)
        session.cancel()
        with pytest.raises(RequestTimeout):
            await connection._peer.request("ping", {}, timeout=0.05)
    assert [item["method"] for write in writes.seen for item in write] == ["session/prompt", "ping"]


@pytest.mark.asyncio
async def test_a_request_that_the_agent_withdraws_is_closed_and_still_answered(tmp_path: Path) -> None:
    """D6, T6: the id is matched with its exact type."""
    source = "hear('session/prompt')\nsay(permission(1))\n"
    for number in ("'1'", "True", "1"):
        source += f"say({{'method': '$/cancel_request', 'params': {{'requestId': {number}}}}})\n"
    async with in_session(source, tmp_path) as (_, session, turn, sink):
        session.begin_turn(turn, sink, HELLO)
        request = await sink.until_asked()
        await lines_of(tmp_path / "heard", 4)
        assert sink.ends == [RequestEnd.WITHDRAWN]
        assert not request.select("yes")
    assert heard(tmp_path)[3] == {"jsonrpc": "2.0", "id": 1, "result": CANCELLED}


@pytest.mark.asyncio
async def test_the_end_of_a_turn_closes_what_is_open(tmp_path: Path) -> None:
    """T6."""
    source = "p = hear('session/prompt')\nsay(permission(1))\nanswer(p, {'stopReason': 'end_turn'})"
    async with in_session(source, tmp_path) as (_, session, turn, sink):
        await session.begin_turn(turn, sink, HELLO).wait(30)
        assert sink.ends == [RequestEnd.TURN_ENDED]
        assert turn.snapshot().permissions == ()
        await lines_of(tmp_path / "heard", 4)
    assert heard(tmp_path)[3]["result"] == CANCELLED


@pytest.mark.asyncio
async def test_a_request_brings_all_that_was_said_of_its_tool_call_before(tmp_path: Path) -> None:
    """D6, T8: some agents ask with the id alone."""
    source = (
        "hear('session/prompt')\n"
        "call = {'sessionUpdate': 'tool_call', 'toolCallId': 't', 'title': 'Bash'}\n"
        "call['rawInput'] = {'command': 'y' * 70000}\n"
        "say({'method': 'session/update', 'params': {'sessionId': 's1', 'update': call}})\n"
        "ask = permission(1)\nask['params']['toolCall'] = {'toolCallId': 't'}\nsay(ask)"
    )
    async with in_session(source, tmp_path) as (_, session, turn, sink):
        session.begin_turn(turn, sink, HELLO)
        request = await sink.until_asked()
        assert (request.tool_call.title, request.complete) == ("Bash", True)
        assert request.tool_call.raw_input == {"command": "y" * 70_000}
        request.cancel()


# --- what is asked for, in full ---------------------------------------------------------------------------------------


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


def test_a_tool_call_that_is_over_is_let_go_first() -> None:
    """D6, T10"""
    asked = AskedCalls(most=1500)
    asked.news(call("open", title="Run"))
    for number in range(100):
        asked.news(call(f"t{number}", title="x" * 500))
        asked.news(call(f"t{number}", status="completed"))
    assert not asked.forgot
    assert asked.asked(asked_for("open"))[1]
    gone, complete = asked.asked(asked_for("t0"))
    assert (gone.title, complete) == (None, False)


def test_what_has_failed_can_be_asked_for_again_by_its_id_alone() -> None:
    """D6: in the same turn; afterwards it is let go, as there are agents that use their ids again."""
    asked = AskedCalls()
    asked.news(call(title="Run", rawInput={"command": "rm -rf ~"}))
    asked.news(call(status="failed"))
    update, complete = asked.asked(asked_for())
    assert (update.title, update.raw_input, complete) == ("Run", {"command": "rm -rf ~"}, True)
    asked.new_turn()
    assert asked.asked(asked_for(title="Other"))[0].raw_input is None


def test_after_a_lost_message_nothing_is_complete_until_the_next_turn() -> None:
    """D6, T9: it may have said more of any tool call, also of one that seems new."""
    asked = AskedCalls()
    asked.news(call("a", title="Run"))
    asked.lost()
    assert [asked.asked(asked_for(one))[1] for one in ("a", "b")] == [False, False]
    asked.new_turn()
    assert asked.asked(asked_for("c"))[1]


def test_more_tool_calls_than_can_be_remembered_as_gone_make_all_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    """D6, T10"""
    monkeypatch.setattr("acp.permission_request.MOST_GONE", 2)
    asked = AskedCalls(most=500)
    for number in range(5):
        asked.news(call(f"t{number}", title="x" * 400))
    assert not asked.asked(asked_for("new"))[1]


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


@pytest.mark.asyncio
async def test_what_a_lost_line_may_have_said_is_missing_in_the_request_that_follows(tmp_path: Path) -> None:
    """D6, T9: nobody may approve a tool call of which the command was in a line that was too long."""
    lost = "update(sessionUpdate='tool_call', toolCallId='t', rawInput={'command': 'x' * 200_000})"
    source = f"greet()\nopen_session()\nhear('session/prompt')\nsay({lost})\nsay(permission(5))"
    async with connected(source, tmp_path, replace(QUICK, max_line=100_000)) as connection:
        session, sink = (await connection.open_session(str(tmp_path), None)).session, Sink()
        begun(session, sink)
        assert not (await sink.until_asked()).complete
