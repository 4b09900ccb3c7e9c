"""Who may choose which value: everybody what is harmless or listed, approvers and owners the rest."""

from __future__ import annotations

from typing import Any

import pytest

from acp.session_options import read_modes, read_options
from bot.model import Actor
from bot.work.options.trust import anybody_may, may_choose
from tests.agents.offers import boolean, modes, select

PROMPTER, APPROVER, OWNER = Actor(1, "p"), Actor(2, "a", approver=True), Actor(3, "o", owner=True)


@pytest.mark.parametrize(
    ("raw", "value", "start", "listed", "anybody"),
    [
        (select("model", "a", "b"), "b", None, (), True),
        (select("x", "a", "b", category="model_config"), "b", None, (), True),
        (select("reasoning_effort", "a", "b"), "b", None, (), True),
        # Called a model, and yet said to be something else: it is not believed to be harmless.
        (select("model", "a", "b", category="sandbox"), "b", None, (), False),
        (select("mode", "default", "yolo", "plan"), "yolo", "default", (), False),
        (select("mode", "default", "yolo", "plan"), "default", "default", (), True),
        (select("mode", "default", "yolo", "plan"), "default", None, (), False),
        (select("mode", "default", "yolo", "plan"), "plan", "yolo", (), True),
        (select("mode", "default", "yolo"), "yolo", "default", ("yolo",), True),
        (select("approvals", "ask", "plan"), "plan", "ask", (), False),
        (select("approvals", "ask", "never"), "never", "ask", ("approvals",), True),
        (boolean("fast"), "true", "false", (), False),
    ],
)
def test_everybody_may_choose_what_is_harmless_begins_a_session_or_is_listed(
    raw: Any, value: str, start: str | None, listed: tuple[str, ...], anybody: bool
) -> None:
    """K1, C1"""
    (option,) = read_options([raw])
    assert anybody_may(option, value, start, listed) is anybody
    assert [may_choose(by, option, value, start, listed) for by in (PROMPTER, APPROVER, OWNER)] == [anybody, True, True]


def test_modes_that_are_no_options_count_as_modes() -> None:
    """K1"""
    option = read_modes(modes("default", "yolo", "read-only"))
    assert option is not None
    assert [anybody_may(option, mode, "default", ()) for mode in ("default", "yolo", "read-only")] == [
        True,
        False,
        True,
    ]
