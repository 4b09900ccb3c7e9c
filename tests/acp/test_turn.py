"""One prompt turn: phases, endings, what it looks like."""

from __future__ import annotations

import pytest

from acp.errors import AgentExit, AgentExited, ProtocolError
from acp.schema import Usage
from acp.snapshot import BY_AGENT, Ending, Phase
from acp.turn_deadlines import Action, TurnLimits
from tests.acp.turns import call, failed, over, text, turn

HARD = TurnLimits().hard_timeout


# --- the plain way -----------------------------------------------------------------------------------------------


def test_a_turn_is_answered() -> None:
    """O1: text, response, drain, end."""
    one = turn()
    one.feed(text("Hello"), 1.0)
    one.respond("end_turn", Usage(total_tokens=7), 2.0)
    snapshot = over(one, 2.2)
    assert (snapshot.ending, snapshot.text, snapshot.stop_reason) == (Ending.ANSWERED, "Hello", "end_turn")
    assert (snapshot.usage, snapshot.started, snapshot.ended) == (Usage(total_tokens=7), 0.0, 2.2)


@pytest.mark.parametrize("reason", ["refusal", "max_tokens", "max_turn_requests", "from_the_future"])
def test_other_stop_reasons_are_answers_that_keep_the_word(reason: str) -> None:
    """O1: refusal, max_tokens and max_turn_requests are `answered`; an unknown word is no failure either."""
    one = turn()
    one.respond(reason, None, 1.0)
    snapshot = over(one, 2.0)
    assert (snapshot.ending, snapshot.stop_reason) == (Ending.ANSWERED, reason)


def test_there_is_no_ending_before_the_end() -> None:
    """O1: one end, and not before it has come."""
    one = turn()
    assert one.snapshot().ending is None
    one.respond("end_turn", None, 1.0)
    assert (one.snapshot().ending, one.snapshot().stop_reason) == (None, "end_turn")


def test_the_time_before_the_prompt_does_not_count() -> None:
    """T1, T2: a turn may be made long before its agent has started."""
    one = turn()
    one.begin(500.0)
    assert one.snapshot().started == 500.0
    assert one.next_wakeup() == 530.0
    assert one.tick(500.0 + HARD - 0.1) == (Action.PROBE,)
    assert Action.CANCEL in one.tick(500.0 + HARD)


# --- failures ----------------------------------------------------------------------------------------------------


def test_an_error_response_fails_the_turn_with_its_message() -> None:
    """O1: a JSON-RPC error to the prompt is `failed` with its message; what was said stays."""
    one = turn()
    one.feed(text("API Error: 400"), 0.5)
    one.fail(failed(400, "bad request"), 1.0)
    assert one.phase is Phase.DRAINING
    snapshot = over(one, 2.0)
    assert snapshot.ending is Ending.FAILED
    assert snapshot.text == "API Error: 400"
    assert snapshot.error is not None
    assert (snapshot.error.code, snapshot.error.message, snapshot.auth_required) == (400, "bad request", False)


def test_a_demand_to_log_in_is_flagged() -> None:
    """O1: -32000 is told apart."""
    one = turn()
    one.fail(failed(-32000, "Authentication required"), 1.0)
    snapshot = over(one, 2.0)
    assert (snapshot.ending, snapshot.auth_required) == (Ending.FAILED, True)


def test_an_error_that_is_no_response_fails_the_turn() -> None:
    """O1: whatever goes wrong has a message."""
    one = turn()
    one.fail(ProtocolError("out of step"), 1.0)
    snapshot = over(one, 2.0)
    assert snapshot.error is not None
    assert (snapshot.ending, snapshot.error.message, snapshot.error.code) == (Ending.FAILED, "out of step", None)


def test_the_end_of_the_process_ends_the_turn_at_once() -> None:
    """T1, O1: dead ends the turn at once with what was said so far and how it died."""
    one = turn()
    one.feed(text("half an ans"), 1.0)
    one.died(AgentExit(-9, "oom"), 1.5)
    snapshot = one.snapshot()
    assert (snapshot.phase, snapshot.ending, snapshot.text) == (Phase.ENDED, Ending.AGENT_DIED, "half an ans")
    assert (snapshot.exit, snapshot.ended) == (AgentExit(-9, "oom"), 1.5)


def test_a_request_that_failed_because_the_agent_ended_is_a_death() -> None:
    """O1: `agent_died`, not `failed`."""
    one = turn()
    one.fail(AgentExited(AgentExit(3)), 1.0)
    assert (one.snapshot().ending, one.snapshot().exit) == (Ending.AGENT_DIED, AgentExit(3))


def test_a_death_after_the_response_leaves_the_answer_an_answer() -> None:
    """O1: the response came first; the exit is still told."""
    one = turn()
    one.respond("end_turn", None, 1.0)
    one.died(AgentExit(0), 1.05)
    assert (one.snapshot().ending, one.snapshot().exit) == (Ending.ANSWERED, AgentExit(0))


# --- cancel ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["cancelled", "end_turn", "max_tokens"])
def test_a_cancelled_turn_is_stopped_whatever_stop_reason_comes(reason: str) -> None:
    """T6: we remember that we cancelled; text already said is kept."""
    one = turn()
    one.feed(text("so far"), 0.5)
    assert one.cancel(1.0, "ada")
    assert one.phase is Phase.CANCELLING
    one.respond(reason, None, 1.2)
    snapshot = over(one, 2.0)
    assert (snapshot.ending, snapshot.cancelled_by, snapshot.text) == (Ending.STOPPED, "ada", "so far")
    assert (snapshot.stop_reason, snapshot.killed) == (reason, False)


def test_an_error_after_our_cancel_is_a_stop() -> None:
    """T6: an agent that answers a cancel with an error was stopped."""
    one = turn()
    one.cancel(1.0, "ada")
    one.fail(failed(-32800, "cancelled"), 1.2)
    assert over(one, 2.0).ending is Ending.STOPPED


def test_a_death_after_our_cancel_is_a_stop() -> None:
    """T6: the person who stopped it got what was asked for; the exit is told."""
    one = turn()
    one.cancel(1.0, "ada")
    one.died(AgentExit(1), 1.2)
    assert (one.snapshot().ending, one.snapshot().exit) == (Ending.STOPPED, AgentExit(1))


def test_a_cancel_that_is_ignored_ends_in_a_kill() -> None:
    """T6: 10 s from the decision, else kill."""
    one = turn()
    one.cancel(100.0, "ada")
    one.feed(text("still talking"), 109.0)
    assert one.tick(109.9) == ()
    assert one.tick(110.0) == (Action.KILL,)
    snapshot = one.snapshot()
    assert (snapshot.ending, snapshot.cancelled_by, snapshot.killed) == (Ending.STOPPED, "ada", True)


def test_the_hard_timeout_does_not_overtake_a_cancel() -> None:
    """T6: whoever decided first."""
    one = turn()
    one.cancel(HARD - 1, "ada")
    assert Action.CANCEL not in one.tick(HARD)
    one.tick(HARD + 9)
    assert one.snapshot().ending is Ending.STOPPED


def test_only_the_first_cancel_is_sent() -> None:
    """T6: a second click changes neither who stopped it nor when it is killed."""
    one = turn()
    assert one.cancel(1.0, "ada")
    assert not one.cancel(5.0, "bob")
    assert one.tick(11.0) == (Action.KILL,)
    assert one.snapshot().cancelled_by == "ada"


def test_a_cancel_after_the_response_is_too_late() -> None:
    """T6: draining is `already finished`."""
    one = turn()
    one.respond("end_turn", None, 1.0)
    assert not one.cancel(1.1, "ada")
    snapshot = over(one, 2.0)
    assert (snapshot.ending, snapshot.cancelled_by) == (Ending.ANSWERED, None)
    assert not one.cancel(3.0, "ada")


def test_a_cancel_that_nobody_asked_for_is_the_agents() -> None:
    """O1: stopped by the agent."""
    one = turn()
    one.respond("cancelled", None, 1.0)
    snapshot = over(one, 2.0)
    assert (snapshot.ending, snapshot.cancelled_by) == (Ending.STOPPED, BY_AGENT)


def test_a_turn_whose_prompt_was_never_sent_is_withdrawn() -> None:
    """T6: stop works before the prompt is written."""
    one = turn()
    one.withdraw(1.0, "ada")
    assert (one.snapshot().ending, one.snapshot().cancelled_by) == (Ending.STOPPED, "ada")


def test_only_the_first_response_counts() -> None:
    """T5: one response, one end."""
    one = turn()
    one.respond("end_turn", None, 1.0)
    one.respond("cancelled", None, 1.1)
    one.fail(failed(-1), 1.1)
    snapshot = over(one, 2.0)
    assert (snapshot.ending, snapshot.stop_reason, snapshot.error) == (Ending.ANSWERED, "end_turn", None)


def test_nothing_changes_after_the_end() -> None:
    """O1: never two ends."""
    one = turn()
    one.died(AgentExit(1), 1.0)
    before = one.snapshot()
    one.feed(text("x"), 2.0)
    one.respond("end_turn", None, 2.0)
    one.fail(failed(-1), 2.0)
    one.died(AgentExit(2), 2.0)
    one.withdraw(2.0, "ada")
    one.begin(2.0)
    one.permission_opened("1", call(), 2.0)
    one.permission_closed("1", 2.0)
    assert not one.cancel(2.0, "ada")
    assert one.tick(9_999.0) == ()
    assert one.snapshot() == before


def test_a_tool_that_was_not_allowed_is_known_as_such_until_it_is() -> None:
    """D6: whatever state the agent gives it, it waits for nothing."""
    one = turn()
    for rejected in (True, False):
        one.permission_opened("1", call(), 1.0)
        one.permission_closed("1", 2.0, rejected=rejected)
        (tool,) = one.snapshot().tools
        assert (tool.rejected, tool.unfinished) == (rejected, not rejected)


# --- what it looks like ------------------------------------------------------------------------------------------


def test_a_snapshot_hands_out_text_from_an_offset_on() -> None:
    """T10: finished messages are frozen; the offset stays true."""
    one = turn()
    one.feed(text("Hello, "), 1.0)
    one.feed(text("world"), 2.0)
    snapshot = one.snapshot(7)
    assert (snapshot.text, snapshot.text_from, snapshot.text_length) == ("world", 7, 12)
    assert one.snapshot(12).text == ""


def test_a_permission_request_creates_its_tool_call() -> None:
    """T8: whichever of tool_call, tool_call_update, request_permission names it first."""
    one = turn()
    one.feed(text("d0", "a"), 0.5)
    one.permission_opened("1", call("c9", title="rm -r build"), 1.0)
    one.feed(text("d0", "b"), 1.5)
    snapshot = one.snapshot()
    (tool,) = snapshot.tools
    assert (tool.title, tool.from_permission, snapshot.permissions) == ("rm -r build", True, ("c9",))
    assert snapshot.text == "d0\n\nd0"


def test_no_request_is_open_after_the_end() -> None:
    """D6: nothing to press in a turn that is over."""
    one = turn()
    one.permission_opened("1", call(), 1.0)
    one.died(None, 2.0)
    assert one.snapshot().permissions == ()


def test_the_current_tool_is_the_one_at_work() -> None:
    """Q11: the latest in progress, else the latest that waits; none in a turn that is over."""
    one = turn()
    assert one.snapshot().current_tool is None
    for call_id, status in (("a", "in_progress"), ("b", "pending"), ("c", "completed")):
        one.feed(call(call_id, status=status), 1.0)
    tool = one.snapshot().current_tool
    assert tool is not None
    assert tool.id == "a"
    one.feed(call("a", status="failed"), 2.0)
    tool = one.snapshot().current_tool
    assert tool is not None
    assert tool.id == "b"
    one.died(None, 3.0)
    assert one.snapshot().current_tool is None


def test_the_version_grows_with_each_visible_change() -> None:
    """T10: who shows a turn sees whether anything changed."""
    one = turn()
    versions = [one.version]
    one.feed(text("x"), 1.0)
    versions.append(one.version)
    one.feed(call(), 1.0)
    versions.append(one.version)
    one.permission_opened("1", call(), 1.0)
    versions.append(one.version)
    one.permission_closed("1", 1.0)
    versions.append(one.version)
    one.cancel(1.0, "ada")
    versions.append(one.version)
    one.respond("cancelled", None, 1.0)
    versions.append(one.version)
    one.tick(5.0)
    versions.append(one.version)
    assert versions == sorted(set(versions))
    assert one.snapshot().version == versions[-1]


def test_text_and_tools_beyond_the_bounds_are_counted() -> None:
    """T10: the turn's limits are those of its text and its tools."""
    one = turn(text_bytes=4, tool_calls=1, tool_head=2, tool_tail=2)
    one.feed(text("123456"), 1.0)
    one.feed(call("a", rawOutput="abcdefgh"), 1.0)
    one.feed(call("b"), 1.0)
    snapshot = one.snapshot()
    assert (snapshot.text, snapshot.text_cut, snapshot.tools_cut) == ("1234", 2, 1)
    assert snapshot.tools[0].output_cut == 4
