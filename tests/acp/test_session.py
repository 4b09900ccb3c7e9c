"""Prompt turns of a session, with a real child process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from acp import sessions as sessions_module
from acp.errors import ProtocolError
from acp.schema import SessionUpdate
from acp.session import AgentSession
from acp.snapshot import Lost
from acp.turn import Phase, Turn, TurnLimits
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
        await pending.wait(5)
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
        patch.setattr(sessions_module, "AgentSession", Noting)
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
        await session.begin_turn(turn, Sink(), HELLO).wait(5)
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
            await item.wait(5)
        assert [said(turn) for turn in turns] == ["a0a1a2", "b0b1b2"]
        assert [turn.snapshot().stop_reason for turn in turns] == ["refusal", "end_turn"]


@pytest.mark.asyncio
@pytest.mark.parametrize("result", [{}, None, [], "end_turn"])
async def test_an_answer_without_a_stop_reason_fails_the_turn(result: Any, tmp_path: Path) -> None:
    """T5."""
    async with in_session(f"answer(hear('session/prompt'), {result!r})", tmp_path) as (_, session, turn, sink):
        await session.begin_turn(turn, sink, HELLO).wait(5)
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
        await pending.wait(5)
        assert not session.is_prompting


@pytest.mark.asyncio
async def test_an_update_that_can_not_be_understood_leaves_a_gap_that_is_counted(tmp_path: Path) -> None:
    """T9: a message of a kind that nobody knows does not."""
    source = (
        "def update(**fields):\n"
        "    say({'method': 'session/update', 'params': {'sessionId': 's1', 'update': fields}})\n"
        "update(sessionUpdate='agent_message_chunk')\n"  # before the prompt: in no turn
        "p = hear('session/prompt')\n"
        "update(sessionUpdate='agent_message_chunk', content=5)\n"
        "update(sessionUpdate='of_tomorrow')\n"
        "answer(p, {'stopReason': 'end_turn'})"
    )
    async with in_session(source, tmp_path) as (_, session, turn, sink):
        await session.begin_turn(turn, sink, HELLO).wait(5)
        assert turn.snapshot().lost == Lost(unreadable=1)
