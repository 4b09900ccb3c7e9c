"""Tool calls as text."""

from __future__ import annotations

from typing import Any

import pytest

from bot.reply.sanitise import code_block
from bot.reply.tools import command_of, diff_text, diff_texts, input_text, json_text, output_block, places, tool_line


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ("completed", "✓ `npm test`"),
        ("failed", "✗ `npm test` (failed)"),
        ("in_progress", "▸ `npm test`"),
        ("pending", "· `npm test`"),
        ("a word of the future", "· `npm test`"),
    ],
)
def test_a_tool_call_is_one_line_with_its_state(status: str, line: str) -> None:
    """T4"""
    assert tool_line("npm test", status) == line


def test_a_title_with_hidden_characters_shows_them() -> None:
    assert tool_line("rm \u202efdp.x", "pending") == "· `rm <U+202E>fdp.x`"


def test_a_link_or_mention_in_a_title_has_no_effect() -> None:
    assert tool_line("[a](http://b) @everyone\n```x", "pending") == "· `[a](http://b) @everyone ˋˋˋx`"


def test_a_tool_call_without_a_title_is_named_by_its_kind() -> None:
    assert tool_line("", "pending", "read") == "· `read`"


def test_output_is_a_code_block_that_it_cannot_end() -> None:
    """T4"""
    assert output_block("\x1b[32mok\x1b[0m ``` out") == "```\nok `\u200b`` out\n```"


def test_output_that_the_agent_fenced_is_not_fenced_twice() -> None:
    """T4"""
    assert output_block("```console\nok\n```") == "```\nok\n```"


def test_long_output_keeps_its_beginning_and_its_end() -> None:
    """T4, T10"""
    block = output_block("first\n" + "x" * 50_000 + "\nlast")
    assert len(block) < 6_200
    assert block.startswith("```\nfirst\n")
    assert block.endswith("\nlast\n```")
    assert "characters left out" in block


def test_a_change_is_shown_as_a_diff() -> None:
    """T4"""
    assert (
        code_block(diff_text("a.py", "one\ntwo\n", "one\n2\n"), "diff")
        == "```diff\n--- a.py\n+++ a.py\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n```"
    )


def test_a_new_file_is_all_additions() -> None:
    assert diff_text("a.py", None, "one\n").splitlines() == ["--- /dev/null", "+++ a.py", "@@ -0,0 +1 @@", "+one"]


def test_a_change_too_large_to_compare_is_told_in_one_line() -> None:
    assert diff_text("a.py", "x\n" * 1500, "y\n" * 1500) == "a.py: 1,500 lines become 1,500"


@pytest.mark.parametrize(
    ("raw_input", "command"),
    [
        ({"command": "ls -l"}, "ls -l"),
        ({"command": ["bash", "-lc", "echo 'a b'"]}, """bash -lc 'echo '"'"'a b'"'"''"""),
        ({"cmd": "make"}, "make"),
        ({"command": ""}, None),
        ({"command": 5}, None),
        ("ls", None),
        (None, None),
    ],
)
def test_the_command_is_found_in_what_agents_send(raw_input: Any, command: str | None) -> None:
    """D6"""
    assert command_of(raw_input) == command


def test_an_input_without_a_command_is_shown_as_json() -> None:
    assert input_text({"url": "http://é"}) == '{\n  "url": "http://é"\n}'
    assert input_text({}) == input_text(None) == ""


def test_places_are_listed_once_and_counted_beyond() -> None:
    paths: list[tuple[str, int | None]] = [("a", 3), ("a", 3), ("b", None), ("c", None)]
    assert places(paths, most=2) == "`a:3`, `b` and 1 more"


def test_beyond_what_may_be_compared_changes_are_shown_uncompared(monkeypatch: pytest.MonkeyPatch) -> None:
    """O4, T10: an agent with a thousand cunning changes must not keep the other threads waiting."""
    monkeypatch.setattr("bot.reply.tools._COMPARISONS", 4)
    first, second, third = diff_texts([("a", "1\n2\n", "1\n3\n"), ("b", "1\n2\n", "1\n3\n"), ("c", None, "new\n")])
    assert first == "--- a\n+++ a\n@@ -1,2 +1,2 @@\n 1\n-2\n+3"
    assert second == "--- b\n+++ b\n-1\n-2\n+1\n+3"
    assert third.endswith("+new")


def test_json_says_which_control_characters_a_text_holds_and_which_escapes_it_spells() -> None:
    """D6"""
    assert json_text(["\x1b\r\b", "\\u001b\\r"]) == '[\n  "<U+001B><U+000D><U+0008>",\n  "\\\\u001b\\\\r"\n]'
    assert json_text([10**30, "\ud83d", "\x1b", {5: None}]) == f'[{10**30}, "\ud83d", "<U+001B>", {{"5": null}}]'
