"""What a snapshot says of itself."""

from __future__ import annotations

import pytest

from acp.snapshot import Ending, Phase, PromptError, ToolState, TurnSnapshot

LOGIN = PromptError("log in", -32000)


def test_only_the_code_for_it_asks_for_a_login() -> None:
    """O1: -32000."""
    assert TurnSnapshot(error=LOGIN).auth_required
    assert not TurnSnapshot(error=PromptError("log in", 401)).auth_required
    assert not TurnSnapshot().auth_required


@pytest.mark.parametrize("ending", [Ending.STOPPED, Ending.TIMED_OUT])
def test_a_login_asked_for_after_a_stop_is_still_a_stop(ending: Ending) -> None:
    """T6: what we decided counts more than the error that came of it."""
    assert not TurnSnapshot(error=LOGIN, ending=ending).auth_required
    assert TurnSnapshot(error=LOGIN, ending=Ending.FAILED).auth_required


def test_a_tool_at_work_counts_more_than_a_later_one_that_waits() -> None:
    """Q11: the current tool."""
    tools = (ToolState("a", status="in_progress"), ToolState("b"), ToolState("c", status="completed"))
    assert TurnSnapshot(tools=tools).current_tool == tools[0]
    assert TurnSnapshot(tools=tools[1:]).current_tool == tools[1]
    assert TurnSnapshot(tools=tools[2:]).current_tool is None


def test_a_tool_that_never_finished_is_not_at_work_after_the_turn() -> None:
    """Q11: codex never finishes the tool of a cancelled turn."""
    tools = (ToolState("a", status="in_progress"),)
    assert TurnSnapshot(tools=tools, phase=Phase.ENDED).current_tool is None
