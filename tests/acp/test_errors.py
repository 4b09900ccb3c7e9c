"""What is said of an agent's end, and the errors that come out of a task group."""

from __future__ import annotations

from typing import cast

import pytest

from acp.errors import AgentExit, leaves


def test_errors_are_found_however_deep_they_lie() -> None:
    """R3."""
    one, two, three = (ValueError(str(number)) for number in range(3))
    nested = ExceptionGroup("a", [one, ExceptionGroup("b", [ExceptionGroup("c", [two]), three])])
    assert leaves(cast("ExceptionGroup[ValueError]", nested)) == [one, two, three]


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (AgentExit(3), "exit status 3"),
        (AgentExit(137, reason="OOMKilled"), "exit status 137 (OOMKilled)"),
        (AgentExit(-9), "signal 9 (SIGKILL)"),
        (AgentExit(-9, reason="Evicted"), "signal 9 (SIGKILL, Evicted)"),
        (AgentExit(-99), "signal 99"),
        (AgentExit(None), "ended"),
        (AgentExit(None, reason="deleted"), "ended: deleted"),
        (AgentExit(None, unreachable=True), "connection lost"),
        (AgentExit(None, reason="node-2 is gone", unreachable=True), "connection lost: node-2 is gone"),
    ],
)
def test_an_exit_says_what_is_known_of_it(end: AgentExit, text: str) -> None:
    """O1: a lost connection is told from an end."""
    assert end.describe() == text
