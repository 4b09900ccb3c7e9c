"""How a call reads in its line and its row, and how many rows a turn gets."""

from __future__ import annotations

import pytest

from bot.mcp.tools import Ask, ReadThread, Schedule, SendFile, SetTitle, StartThread, ToolArguments
from bot.work.agent_tools.use import MOST_RECORDED, ToolUse, in_words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (SendFile(path="a\nb.txt"), "Send a file: a b.txt"),
        (Ask(question="Which\none?"), "Ask: Which one?"),
        (ReadThread(limit=3, before="17"), "Read the thread: 3 messages before 17"),
        (StartThread(prompt="do it", agent="b"), "Start a thread, agent b: do it"),
        (Schedule(when="* * * * *", prompt="x"), "Schedule * * * * *: x"),
        (SetTitle(title="A title"), "Set the title: A title"),
    ],
)
def test_a_call_is_named_in_one_line(arguments: ToolArguments, words: str) -> None:
    """M2"""
    assert in_words(arguments) == words


def test_a_long_prompt_is_cut_in_its_line() -> None:
    """M2"""
    assert len(in_words(StartThread(prompt="x" * 16_000))) < 120


def test_a_turn_has_so_many_rows() -> None:
    """M2, C5: it does not push the decisions of people out of the audit."""
    use = ToolUse()
    assert [use.records() for _ in range(MOST_RECORDED + 2)][-3:] == [True, False, False]
