"""A finding's line."""

from __future__ import annotations

import json

from bot.ops.doctor.finding import fail, ok, several


def test_a_line_has_verdict_subject_and_text_in_columns() -> None:
    assert ok("token", "set").line() == "ok    token       set"
    assert fail("token", "not set").line() == "FAIL  token       not set"


def test_what_others_say_can_neither_break_the_line_nor_move_the_cursor() -> None:
    finding = ok("session", "a\nFAIL  token\x1b[2J\r\u202e\u2028b")
    assert finding.line() == "ok    session     a FAIL  token [2J   b"
    assert json.loads(finding.json())["text"] == "a FAIL  token [2J   b"


def test_a_line_has_an_end() -> None:
    assert len(ok("session", "x" * 100_000).line()) < 700


def test_a_long_row_is_cut() -> None:
    assert several(["a", "b", "c"], shown=2) == "a, b and 1 more"
    assert several(["a", "b"], shown=2) == "a, b"
