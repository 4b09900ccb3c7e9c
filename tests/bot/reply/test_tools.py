"""Tool calls as text."""

from __future__ import annotations

from typing import Any

import pytest

from acp.snapshot import Diff, ToolState
from bot.reply.sanitise import units
from bot.reply.tools import (
    changed_lines,
    output_block,
    tool_line,
    tools_in_short,
)
from tests.bot.reply.samples import tool


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


def done(title: str, kind: str = "other", **fields: Any) -> ToolState:
    return tool(**{"title": title, "kind": kind, "status": "completed", **fields})


EDIT = done("Edit", "edit", diffs=(Diff("/w/README.md", "a\nb\n", "a\nc\nd\n"),))


def test_tools_are_told_by_kind_and_files_by_name() -> None:
    """D5"""
    tools = (
        *(done(f"Read {number}", "read") for number in range(3)),
        EDIT,
        done("Edit again", "edit", diffs=(Diff("/w/README.md", "x\n", "x\ny\n"),)),
        done("npm test", "execute", status="failed"),
        done("rm -r build", "execute", status="failed", rejected=True),
        done("ls", "execute"),
        tool(title="sleep 9", status="in_progress"),
    )
    told = ["✓ 3 reads", "✓ edit `README.md` +3 −1", "✗ `npm test`", "⛔ `rm -r build` not allowed", "✓ `ls`"]
    assert tools_in_short(tools) == "-# " + " · ".join([*told, "▸ `sleep 9` unfinished"])
    assert tools_in_short(tools[-2:]) == "-# ✓ `ls` · ▸ `sleep 9` unfinished"
    assert tools_in_short(()) == ""


def test_what_there_is_no_room_for_is_counted_and_what_matters_goes_first() -> None:
    """D5, T10: within a line of a phone, whatever an agent calls its tools."""
    reads = [done(f"Read {number}", "read") for number in range(40)]
    commands = [done("x" * 500, "execute", status="failed") for _ in range(30)]
    line = tools_in_short([*reads, *commands, EDIT], cut=5)
    assert units(line) <= 120
    assert line == f"-# ✗ `{'x' * 39}…` · ✗ `{'x' * 39}…` · and 74 more"
    assert tools_in_short([EDIT], cut=5) == "-# ✓ edit `README.md` +2 −1 · and 5 more"


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (None, "a\nb\n", (2, 0)),
        ("a\nb\n", "", (0, 2)),
        ("a\nb\nc\n", "a\nx\nc\n", (1, 1)),
        ("a\na\n", "a\na\na\n", (1, 0)),
        ("same\n", "same\n", (0, 0)),
    ],
)
def test_the_lines_of_a_change_are_counted(old: str | None, new: str, lines: tuple[int, int]) -> None:
    """D5"""
    assert changed_lines(Diff("f", old, new))[:2] == lines


def test_a_change_that_is_too_large_to_compare_is_counted_whole() -> None:
    """D5"""
    old, new = ("\n".join(f"{word} {number}" for number in range(50)) for word in ("old", "new"))
    assert changed_lines(Diff("f", old, new), most=100) == (50, 50, 0)


def test_files_of_one_name_are_told_apart_by_their_directories() -> None:
    """D5"""
    edits = [done("Edit", "edit", diffs=(Diff(path, None, "a\n"),)) for path in ("/w/a/x.py", "/w/b/x.py", "/w/y.py")]
    assert tools_in_short(edits) == "-# ✓ edit `a/x.py` +1 −0 · ✓ edit `b/x.py` +1 −0 · ✓ edit `y.py` +1 −0"
