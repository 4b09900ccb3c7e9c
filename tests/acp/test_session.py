"""Prompt turns of a session, with a real child process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from acp import connection as connection_module
from acp.errors import ProtocolError
from acp.schema import SessionUpdate, decode_update
from acp.session import LATE, AgentSession, Route, TurnRouter
from acp.snapshot import Lost, Phase
from acp.turn import Turn
from acp.turn_deadlines import TurnLimits
from tests.acp.children import lines_of
from tests.acp.connections import (
    HELLO,
    LOAD,
    Sink,
    connected,
    heard,
    in_session,
    said,
)


@pytest.mark.asyncio
async def test_a_prompt_is_answered_with_text_and_a_stop_reason(tmp_path: Path) -> None:
    """T5."""
    source = (
        "prompt = hear('session/prompt')\nsay(text('one '), text('two'))\nanswer(prompt, {'stopReason': 'end_turn'})"
    )
    async with in_session(source, tmp_path) as (_, session, turn, sink):
        pending = session.begin_turn(turn, sink, HELLO)
        await pending.wait(30)
        assert (said(turn), turn.phase, turn.snapshot().stop_reason) == ("one two", Phase.DRAINING, "end_turn")
    assert heard(tmp_path)[2]["params"] == {"sessionId": "s1", "prompt": [{"type": "text", "text": "hello"}]}


@pytest.mark.asyncio
async def test_an_update_in_the_same_write_as_the_new_sessions_answer_finds_its_session(tmp_path: Path) -> None:
    """O3."""
    source = (
        "greet()\nnew = hear('session/new')\n"
        "say({'id': new['id'], 'result': {'sessionId': 's1'}}, text('early'), {'id': 9, 'method': 'x'})\nhear()"
    )
    taken: list[Any] = []

    class Noting(AgentSession):
        def on_update(self, raw: Any) -> None:
            taken.append(raw["content"]["text"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection_module, "AgentSession", Noting)
        async with connected(source, tmp_path) as connection:
            await connection.open_session(str(tmp_path), None)
            await lines_of(tmp_path / "heard", 3)
    assert taken == ["early"]


@pytest.mark.asyncio
async def test_text_after_the_response_is_handed_on_after_it(tmp_path: Path) -> None:
    """T3."""
    source = (
        "p = hear('session/prompt')\nsay(text('a'), {'id': p['id'], 'result': {'stopReason': 'end_turn'}}, text('b'))"
    )
    async with in_session(source, tmp_path) as (_, session, turn, sink):
        session.begin_turn(turn, sink, HELLO)
        while said(turn) != "ab":
            await sink.changes.wait()
        assert turn.phase is Phase.DRAINING


@pytest.mark.asyncio
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_replay_is_muted_until_our_next_prompt_even_after_the_response(when: str, tmp_path: Path) -> None:
    """O3, P8."""
    replay = "say(text('history', 'old'), update('old', sessionUpdate='tool_call', toolCallId='t', title='x'))"
    steps = [replay, "answer(load, {})"]
    source = f"{LOAD}\nload = hear('session/load')\n" + "\n".join(steps if when == "before" else steps[::-1])
    source += "\nsay({'id': 1, 'method': 'fs/x'})\nhear()\np = hear('session/prompt')\nsay(text('now', 'old'))"
    source += "\nanswer(p, {'stopReason': 'end_turn'})"
    late: list[SessionUpdate] = []
    async with connected(source, tmp_path) as connection:
        session = (await connection.open_session(str(tmp_path), "old")).session
        session.on_late = late.append
        await lines_of(tmp_path / "heard", 3)
        turn = Turn(TurnLimits(), anyio.current_time())
        await session.begin_turn(turn, Sink(), HELLO).wait(30)
        assert (said(turn), turn.snapshot().tools, late) == ("now", (), [])


@pytest.mark.asyncio
async def test_two_sessions_in_one_process_do_not_mix(tmp_path: Path) -> None:
    """O4."""
    source = """
        greet()
        open_session("s1")
        open_session("s2")
        one, two = hear("session/prompt"), hear("session/prompt")
        for number in range(3):
            say(text(f"a{number}", "s1"), text(f"b{number}", "s2"), text("?", "s3"))
        answer(two, {"stopReason": "end_turn"})
        answer(one, {"stopReason": "refusal"})
    """
    async with connected(source, tmp_path) as connection:
        sessions = [(await connection.open_session(str(tmp_path), None)).session for _ in range(2)]
        turns = [Turn(TurnLimits(), anyio.current_time()) for _ in sessions]
        pending = [session.begin_turn(turn, Sink(), HELLO) for session, turn in zip(sessions, turns, strict=True)]
        for item in pending:
            await item.wait(30)
        assert [said(turn) for turn in turns] == ["a0a1a2", "b0b1b2"]
        assert [turn.snapshot().stop_reason for turn in turns] == ["refusal", "end_turn"]


@pytest.mark.asyncio
@pytest.mark.parametrize("result", [{}, None, [], "end_turn"])
async def test_an_answer_without_a_stop_reason_fails_the_turn(result: Any, tmp_path: Path) -> None:
    """T5."""
    async with in_session(f"answer(hear('session/prompt'), {result!r})", tmp_path) as (_, session, turn, sink):
        await session.begin_turn(turn, sink, HELLO).wait(30)
        error = turn.snapshot().error
        assert error is not None
        assert "stop reason" in error.message


@pytest.mark.asyncio
async def test_an_unknown_request_is_refused_at_once_and_an_unknown_notification_ignored(tmp_path: Path) -> None:
    """T5."""
    source = """
say({"method": "_vendor/news"}, {"method": "session/update"}, {"method": "session/update", "params": {"sessionId": []}})
say({"id": 0, "method": "fs/write_text_file", "params": {"sessionId": "s1"}}, {"id": "1", "method": "terminal/create"})
"""
    async with in_session(source, tmp_path):
        await lines_of(tmp_path / "heard", 4)
    answers = heard(tmp_path)[2:4]
    assert [(answer["id"], answer["error"]["code"]) for answer in answers] == [(0, -32601), ("1", -32601)]


@pytest.mark.asyncio
async def test_a_second_prompt_waits_for_the_end_of_the_first(tmp_path: Path) -> None:
    """T6."""
    source = "p = hear('session/prompt')\nhear('session/cancel')\nanswer(p, {'stopReason': 'cancelled'})"
    async with in_session(source, tmp_path) as (_, session, turn, sink):
        pending = session.begin_turn(turn, sink, HELLO)
        with pytest.raises(ProtocolError, match="still open"):
            session.begin_turn(Turn(TurnLimits(), 0.0), sink, HELLO)
        session.cancel()
        await pending.wait(30)
        assert not session.is_prompting


@pytest.mark.asyncio
async def test_an_update_that_can_not_be_understood_leaves_a_gap_that_is_counted(tmp_path: Path) -> None:
    """T9: a message of a kind that nobody knows does not."""
    source = (
        "def update(**fields):\n"
        "    say({'method': 'session/update', 'params': {'sessionId': 's1', 'update': fields}})\n"
        "update(sessionUpdate='agent_message_chunk')\n"  # before the prompt: in no turn
        "say({'id': 1, 'method': 'fs/x'})\nhear()\n"  # whose answer says that it was read
        "p = hear('session/prompt')\n"
        "update(sessionUpdate='agent_message_chunk', content=5)\n"
        "update(sessionUpdate='of_tomorrow')\n"
        "answer(p, {'stopReason': 'end_turn'})"
    )
    async with in_session(source, tmp_path) as (_, session, turn, sink):
        await lines_of(tmp_path / "heard", 3)
        await session.begin_turn(turn, sink, HELLO).wait(30)
        assert turn.snapshot().lost == Lost(unreadable=1)


# --- which turn an update belongs to ----------------------------------------------------------------------------------


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
