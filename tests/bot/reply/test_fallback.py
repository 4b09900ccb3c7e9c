"""What a reply shows where its agent said nothing."""

from __future__ import annotations

import pytest

from acp.snapshot import Diff
from bot.model import Outcome
from bot.reply.fallback import diff_texts, fallback_text, tools_summary
from bot.reply.sanitise import code_block
from tests.bot.reply.samples import snapshot, tool


def diff_of(path: str, old: str | None, new: str) -> str:
    """Return the diff of one change by itself."""
    (text,) = diff_texts([(path, old, new)])
    return text


def test_the_answer_made_of_tools_has_titles_states_diffs_and_output() -> None:
    """T4"""
    tools = (
        tool(title="Edit a.py", status="completed", diffs=(Diff("a.py", "1\n", "2\n"),), diffs_cut=1),
        tool(title="make", status="failed", output="boom"),
    )
    assert fallback_text(snapshot(tools=tools), Outcome.ANSWERED) == (
        "✓ `Edit a.py`\n`a.py` +1 −1\n```diff\n--- a.py\n+++ a.py\n@@ -1 +1 @@\n-1\n+2\n```\n"
        "-# Changes too large to keep: 1\n\n"
        "✗ `make` (failed)\n```\nboom\n```"
    )


def test_a_change_of_more_than_thirty_lines_is_a_file() -> None:
    """V3, T4"""
    new = [Diff("new.py", None, "x\n" * lines) for lines in (27, 28)]
    files: list[str] = []
    text = fallback_text(snapshot(tools=(tool(title="Edit", diffs=tuple(new)),)), Outcome.ANSWERED, files)
    assert files == [diff_of("new.py", None, "x\n" * 28)]
    assert files[0].count("\n") + 1 == 31
    assert text.startswith("· `Edit`\n`new.py` +27 −0\n```diff\n")
    assert text.endswith("```\n`new.py` +28 −0 (31 lines, in the file)")


def test_an_answer_made_of_endless_tools_ends_in_their_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """T4, T10, O4: a thousand tools with all their output are no answer, and making one would hold up all threads."""
    monkeypatch.setattr("bot.reply.fallback._DETAIL_ROOM", 10_000)
    tools = tuple(tool(id=str(n), title=f"tool {n}", output="x" * 5_000, status="completed") for n in range(50))
    text = fallback_text(snapshot(tools=tools), Outcome.ANSWERED)
    assert text.endswith("✓ `tool 49`")
    assert text.count("xxx" * 1000) <= 3


def test_neither_text_nor_tools_is_said_with_the_stop_reason() -> None:
    """T4"""
    assert "stop reason `end_turn`" in fallback_text(snapshot(stop_reason="end_turn"), Outcome.ANSWERED)


def test_a_stopped_turn_without_text_or_tools_needs_no_such_sentence() -> None:
    """T4, O1"""
    assert fallback_text(snapshot(), Outcome.STOPPED) == ""


def test_a_change_is_shown_as_a_diff() -> None:
    """T4"""
    assert (
        code_block(diff_of("a.py", "one\ntwo\n", "one\n2\n"), "diff")
        == "```diff\n--- a.py\n+++ a.py\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n```"
    )


def test_a_new_file_is_all_additions() -> None:
    assert diff_of("a.py", None, "one\n").splitlines() == ["--- /dev/null", "+++ a.py", "@@ -0,0 +1 @@", "+one"]


def test_a_change_too_large_to_compare_is_told_in_one_line() -> None:
    assert diff_of("a.py", "x\n" * 1500, "y\n" * 1500) == "a.py: 1,500 lines replaced by 1,500"


def test_beyond_what_may_be_compared_changes_are_shown_uncompared(monkeypatch: pytest.MonkeyPatch) -> None:
    """O4, T10: an agent with a thousand cunning changes must not keep the other threads waiting."""
    monkeypatch.setattr("bot.reply.fallback.COMPARISONS", 4)
    first, second, third = diff_texts([("a", "1\n2\n", "1\n3\n"), ("b", "1\n2\n", "1\n3\n"), ("c", None, "new\n")])
    assert first == "--- a\n+++ a\n@@ -1,2 +1,2 @@\n 1\n-2\n+3"
    assert second == "--- b\n+++ b\n-1\n-2\n+1\n+3"
    assert third.endswith("+new")


def test_the_summary_names_the_last_tools() -> None:
    tools = tuple(tool(id=str(n), title=f"run {n}", status="completed") for n in range(5))
    assert tools_summary(snapshot(tools=tools)) == "-# 2 more · ✓ `run 2` · ✓ `run 3` · ✓ `run 4`"
    assert tools_summary(snapshot()) == ""
