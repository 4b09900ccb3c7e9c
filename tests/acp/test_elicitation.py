"""Questions of a real child process: announced only by whoever shows them, each answered exactly once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from acp.elicitation import ElicitationParams, ElicitationRequest
from acp.errors import METHOD_NOT_FOUND
from acp.jsonrpc import Response
from acp.open_request import RequestEnd
from acp.turn import Turn
from acp.turn_deadlines import Action, TurnLimits
from tests.acp.children import lines_of
from tests.acp.connections import HELLO, QUICK, Writes, begun, heard, in_session

ASKING = replace(QUICK, elicitation=("form", "url"))
CANCEL = {"action": "cancel"}


def answers(cwd: Path) -> list[Any]:
    """Return what the agent heard in answer to its requests, in order."""
    said = [message for message in heard(cwd) if "method" not in message]
    return [message["result"] if "result" in message else message["error"]["code"] for message in said]


@pytest.mark.asyncio
@pytest.mark.parametrize(("limits", "announced"), [(QUICK, None), (ASKING, {"form": {}, "url": {}})])
async def test_questions_are_announced_only_where_they_are_shown(limits: Any, announced: Any, tmp_path: Path) -> None:
    """C6."""
    async with in_session("hear('session/prompt')\nsay(question(1))", tmp_path, limits) as (_, session, turn, sink):
        session.begin_turn(turn, sink, HELLO)
        if announced:
            (await sink.until_questioned()).accept({"name": "Ann"})
        await lines_of(tmp_path / "heard", 4)
    assert heard(tmp_path)[0]["params"]["clientCapabilities"].get("elicitation") == announced
    assert answers(tmp_path) == [{"action": "accept", "content": {"name": "Ann"}} if announced else METHOD_NOT_FOUND]


@pytest.mark.asyncio
async def test_the_first_answer_to_a_question_wins(tmp_path: Path) -> None:
    """C6."""
    source = "hear('session/prompt')\nsay(question(0))\nsay(question('0'))\nsay(page(1))\nsay(question(2))"
    async with in_session(source, tmp_path, ASKING) as (_, session, turn, sink):
        session.begin_turn(turn, sink, HELLO)
        await sink.until_questioned(4)
        first, second, third, fourth = sink.questions
        assert (first.params.message, turn.snapshot().permissions) == ("Who?", ("",) * 4)
        assert [first.accept({"name": "Ann"}), first.accept({}), first.decline(), first.cancel()] == [
            True,
            *[False] * 3,
        ]
        assert [second.decline(), second.accept({})] == [True, False]
        assert [third.accept(), fourth.refuse("no such field"), fourth.cancel()] == [True, True, False]
        assert turn.snapshot().permissions == ()
        await lines_of(tmp_path / "heard", 7)
    accepted = {"action": "accept", "content": {"name": "Ann"}}
    assert answers(tmp_path) == [accepted, {"action": "decline"}, {"action": "accept"}, -32602]
    assert sink.ends == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "asked",
    [
        "sessionId=None",
        "requestId=2",
        "message=None",
        "mode='voice'",
        "mode=3.5, requestedSchema=None",
        "requestedSchema='{}'",
        "mode='url', url='https://example.org'",
        "mode='url', elicitationId='e'",
    ],
)
async def test_a_malformed_question_is_refused(asked: str, tmp_path: Path) -> None:
    """C6, T5."""
    source = f"hear('session/prompt')\nsay(question(1, {asked}))"
    async with in_session(source, tmp_path, ASKING) as (_, session, turn, sink):
        session.begin_turn(turn, sink, HELLO)
        await lines_of(tmp_path / "heard", 4)
    assert (answers(tmp_path), sink.questions) == ([-32602], [])


@pytest.mark.asyncio
async def test_a_mode_that_was_not_announced_is_refused(tmp_path: Path) -> None:
    """C6."""
    limits = replace(QUICK, elicitation=("form",))
    async with in_session("hear('session/prompt')\nsay(page(1))", tmp_path, limits) as (_, session, turn, sink):
        session.begin_turn(turn, sink, HELLO)
        await lines_of(tmp_path / "heard", 4)
    assert (answers(tmp_path), sink.questions) == ([-32602], [])


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "scope", ["", "sessionId='s2'", "sessionId=None, requestId=1", "sessionId=None, requestId='x'"]
)
async def test_a_question_that_no_turn_waits_for_is_cancelled_at_once(scope: str, tmp_path: Path) -> None:
    """C6."""
    async with in_session(f"say(question(5, {scope}))", tmp_path, ASKING):
        await lines_of(tmp_path / "heard", 3)
    assert answers(tmp_path) == [CANCEL]


@pytest.mark.asyncio
async def test_a_question_about_our_prompt_is_one_of_its_session(tmp_path: Path) -> None:
    """C6."""
    source = "p = hear('session/prompt')\nsay(question(5, sessionId=None, requestId=p['id']))"
    async with in_session(source, tmp_path, ASKING) as (_, session, turn, sink):
        session.begin_turn(turn, sink, HELLO)
        (await sink.until_questioned()).decline()
        await lines_of(tmp_path / "heard", 4)
    assert answers(tmp_path) == [{"action": "decline"}]


@pytest.mark.asyncio
async def test_a_cancel_answers_questions_and_permission_requests_in_one_write(tmp_path: Path) -> None:
    """C6, T6."""
    source = "p = hear('session/prompt')\nsay(question(1, toolCallId='t1'))\nsay(permission(2))\n"
    source += "hear('session/cancel')\nsay(question(3))\nhear()\nanswer(p, {'stopReason': 'cancelled'})"
    async with in_session(source, tmp_path, ASKING) as (connection, session, turn, sink):
        pending = session.begin_turn(turn, sink, HELLO)
        await sink.until_asked()
        assert turn.snapshot().permissions == ("t1", "t")
        writes = Writes(connection)
        session.cancel("someone")
        await pending.wait(30)
    assert (sink.ends, len(sink.questions)) == ([RequestEnd.TURN_CANCELLED] * 2, 1)
    first, *_ = writes.seen
    assert [item.get("id", item.get("method")) for item in first] == [1, 2, "session/cancel"]
    assert [first[0]["result"], answers(tmp_path)[-1]] == [CANCEL, CANCEL]


@pytest.mark.asyncio
async def test_what_the_agent_withdraws_or_leaves_open_at_the_end_is_cancelled(tmp_path: Path) -> None:
    """C6, T6."""
    source = "p = hear('session/prompt')\nsay(question(1), question(2))\n"
    source += "say({'method': '$/cancel_request', 'params': {'requestId': 1}})\nhear()\n"
    source += "answer(p, {'stopReason': 'end_turn'})"
    async with in_session(source, tmp_path, ASKING) as (_, session, turn, sink):
        await session.begin_turn(turn, sink, HELLO).wait(30)
        assert sink.ends == [RequestEnd.WITHDRAWN, RequestEnd.TURN_ENDED]
        assert not any(request.accept({}) for request in sink.questions)
        await lines_of(tmp_path / "heard", 5)
    assert answers(tmp_path) == [CANCEL, CANCEL]


@pytest.mark.asyncio
async def test_the_end_of_the_agent_closes_its_questions(tmp_path: Path) -> None:
    """C6."""
    source = "hear('session/prompt')\nsay(question(1))\nhear('session/cancel')\nsys.exit(3)"
    async with in_session(source, tmp_path, ASKING) as (connection, session, turn, sink):
        session.begin_turn(turn, sink, HELLO)
        await sink.until_questioned()
        connection.request_stop()
        await connection.wait_exited()
    assert sink.ends == [RequestEnd.AGENT_DIED]


@pytest.mark.asyncio
async def test_a_page_is_completed_by_the_agent_whether_it_was_agreed_to_or_not(tmp_path: Path) -> None:
    """C6: of another turn's questions, or of unknown ones, nothing is completed."""
    done = "say({{'method': 'elicitation/complete', 'params': {{'elicitationId': {0}}}}})\n"
    source = "p = hear('session/prompt')\nsay(page(1), page(2, elicitationId='e2'))\nhear()\n"
    source += "".join(done.format(name) for name in ("'e1'", "'e1'", "'e2'", "'e3'", "['e2']", "None"))
    source += "answer(p, {'stopReason': 'end_turn'})\np = hear('session/prompt')\nsay(page(3))\nhear()\n"
    source += "answer(p, {'stopReason': 'end_turn'})\np = hear('session/prompt')\n"
    source += done.format("'e1'") + "answer(p, {'stopReason': 'end_turn'})"
    async with in_session(source, tmp_path, ASKING) as (_, session, turn, sink):
        pending = session.begin_turn(turn, sink, HELLO)
        completed: list[int | str | None] = []

        def note(request: ElicitationRequest) -> None:
            request.on_completed = lambda: completed.append(request.id)

        await sink.until_questioned(2)
        for request in sink.questions:
            note(request)
        sink.questions[0].accept()
        await pending.wait(30)
        assert (completed, [request.completed for request in sink.questions]) == ([1, 2], [True, True])
        pending = session.begin_turn(Turn(TurnLimits(), anyio.current_time()), sink, HELLO)
        note(third := await sink.until_questioned(3))
        third.accept()
        await pending.wait(30)
        begun(session, sink)
        await session.answered(5)
        assert completed == [1, 2]
    assert answers(tmp_path) == [{"action": "accept"}] * 3


def test_a_person_who_thinks_moves_the_hard_timeout() -> None:
    """C6, T2."""
    turn = Turn(TurnLimits(hard_timeout=100.0), 0.0)
    turn.question_opened("1", "", 10.0)
    assert Action.CANCEL not in turn.tick(150.0)
    assert turn.snapshot().silent_for(150.0) == 0
    turn.permission_closed("1", 160.0)
    assert [Action.CANCEL in turn.tick(now) for now in (249.0, 250.0)] == [False, True]


ASKED = ElicitationParams(message="Which?", requested_schema={"type": "object", "properties": {}})


@pytest.mark.asyncio
async def test_a_question_of_our_own_is_asked_in_the_turn_and_its_answer_is_not_the_agents(tmp_path: Path) -> None:
    """M2, C6: beside one of the agent's that has the same number."""
    source = "p = hear('session/prompt')\nsay(question(1))\nhear()\nanswer(p, {'stopReason': 'end_turn'})"
    async with in_session(source, tmp_path, ASKING) as (_, session, turn, sink):
        heard: list[Response] = []
        assert session.ask(ASKED, heard.append) is None, "no turn runs"
        pending = session.begin_turn(turn, sink, HELLO)
        await sink.until_questioned()
        own = session.ask(ASKED, heard.append)
        assert own is not None
        assert (sink.questions[-1], turn.snapshot().permissions) == (own, ("", ""))
        assert own.accept({"answer": "Red"})
        assert not own.cancel()
        assert ([one.result for one in heard], turn.snapshot().permissions) == (
            [{"action": "accept", "content": {"answer": "Red"}}],
            ("",),
        )
        sink.questions[0].decline()
        await pending.wait(30)
    assert answers(tmp_path) == [{"action": "decline"}]


@pytest.mark.asyncio
async def test_a_question_of_our_own_ends_with_its_turn_or_when_we_withdraw_it(tmp_path: Path) -> None:
    """M2, T6: nothing of it is written to the agent."""
    source = "p = hear('session/prompt')\nhear('session/cancel')\nanswer(p, {'stopReason': 'cancelled'})"
    async with in_session(source, tmp_path, ASKING) as (connection, session, turn, sink):
        heard: list[Response] = []
        pending = session.begin_turn(turn, sink, HELLO)
        withdrawn, left = session.ask(ASKED, heard.append), session.ask(ASKED, heard.append)
        assert withdrawn is not None
        assert left is not None
        session.close_requests(RequestEnd.WITHDRAWN, withdrawn.key)
        assert (sink.ends, [one.result for one in heard]) == ([RequestEnd.WITHDRAWN], [CANCEL])
        writes = Writes(connection)
        session.cancel("someone")
        await pending.wait(30)
        assert sink.ends == [RequestEnd.WITHDRAWN, RequestEnd.TURN_CANCELLED]
        assert ([one.result for one in heard], turn.snapshot().permissions) == ([CANCEL, CANCEL], ())
        assert [item.get("method") for write in writes.seen for item in write][-1:] == ["session/cancel"]
        assert not any("result" in item for write in writes.seen for item in write)
        assert session.ask(ASKED, heard.append) is None
