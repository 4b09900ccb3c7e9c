"""Which message of a thread is which part of a reply."""

from __future__ import annotations

import pytest

from acp.schema import PlanEntry
from acp.snapshot import Phase
from bot.reply.final import below
from bot.reply.pages import Page
from bot.reply.rejoin import Found, Places, Wanted, covered, places, told_in_file, without_status
from bot.reply.render import status_line
from bot.reply.split import take
from tests.bot.reply.samples import snapshot, tool

ONE, TWO = Wanted("one\n-# f", "one", "one two"), Wanted("two", "two", "two")
FILE = Wanted("-# rest\n-# f", file=True)


def found(*texts: str, first: int = 1, unknown: tuple[int, ...] = ()) -> Found:
    return Found({first + number: text for number, text in enumerate(texts)}, unknown)


@pytest.mark.parametrize(
    ("fields", "now"),
    [
        ({}, 1000.0),
        ({"phase": Phase.CANCELLING}, 1100.0),
        ({"permissions": ("t1",)}, 1061.0),
        ({"tools": (tool(title="npm test " * 30, status="in_progress"),)}, 5000.0),
        ({"plan": (PlanEntry(content="x", status="completed"),)}, 9000.0),
        ({}, 90000.0),
    ],
)
def test_every_status_line_is_known_as_one(fields: dict[str, object], now: float) -> None:
    """R2, T7"""
    status = status_line(snapshot(**fields), now)
    assert without_status(status) == ""
    assert without_status(below("Some text.\n\n", status)) == "Some text."


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text",
        "text\n-# 5 s",
        "-# ⏳ Waiting for a free agent",
        "-# ⏳ 5 s\nmore",
        "a -# ⏳ 5 s",
        "-# ⏳ 5 s and so on",
    ],
)
def test_other_lines_are_no_status(text: str) -> None:
    """R2"""
    assert without_status(text) is None


@pytest.mark.parametrize(
    ("shown", "there", "expected"),
    [
        ((), found(), Places((None, None))),
        ((1,), found("x"), Places((1, None))),
        ((1, 2, 3), found("x"), Places((1, 2), (3,))),
        ((1,), found("x", "two", unknown=(2,)), Places((1, 2))),
        ((1,), found("x", "other", unknown=(2,)), Places((1, None))),
        ((), found("one\n-# ⏳ 5 s", unknown=(1,)), Places((1, None))),
        ((), found("one tw\n-# ⏳ 5 s", unknown=(1,)), Places((1, None))),
        ((), found("one too\n-# ⏳ 5 s", unknown=(1,)), Places((None, None))),
        ((), found("one", unknown=(1,)), Places((1, None))),
        ((1,), found("one", "-# ⏳ 5 s", unknown=(2,)), Places((1, 2))),
        ((1, 2), found("one\n-# f", "two", "one\n-# f", unknown=(3,)), Places((3, 1), (2,))),
    ],
)
def test_messages_become_those_that_are_wanted(shown: tuple[int, ...], there: Found, expected: Places) -> None:
    """D3"""
    assert expected == places([ONE, TWO], shown, there)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("-# rest\n-# f", Places((1, 2))), ("other", Places((1, None), (2,)))],
)
def test_a_message_becomes_one_with_a_file_only_if_it_is_that(text: str, expected: Places) -> None:
    """D4: an edit adds no file."""
    assert expected == places([ONE, FILE], (1, 2), found("x", text))


def test_a_message_that_could_not_be_read_is_taken_for_the_one_with_the_file() -> None:
    """D4"""
    assert Places((1, 2)) == places([ONE, FILE], (1, 2), found())


@pytest.mark.parametrize(
    ("shown", "expected"),
    [("", 10), ("x", 10), ("abc\n-# ⏳ 5 s", 13), ("abc def", 17), ("abc def\n-# footer", 17), ("abc def ghi", 17)],
)
def test_how_far_a_message_goes_is_read_off_it(shown: str, expected: int) -> None:
    """D10"""
    page = Page(10, part=take("abc def"))
    assert expected == covered(page, shown)


def test_a_closed_code_block_goes_as_far_as_its_lines() -> None:
    """D10, D4"""
    page = Page(0, part=take("```py\none\ntwo\n```\n"))
    assert len("```py\none") == covered(page, "```py\none\n```\n-# ⏳ 5 s")


def test_what_the_page_shows_otherwise_than_it_was_written_is_not_known() -> None:
    """D10"""
    assert covered(Page(0, part=take("\x1b[1mabc def")), "abc") == 0


def test_only_messages_between_the_reply_and_this_run_are_unknown() -> None:
    """D3"""
    there = found("a", "b", "c", "d", "e").unrecorded(1, 5, frozenset({3}))
    assert there.unknown == (2, 4)
    assert found("a", "b").unrecorded(1, 0, frozenset()).unknown == (2,)


def test_a_file_for_an_archived_thread_is_known_by_its_note_and_the_end() -> None:
    """D10"""
    note = "-# What the agent wrote while this thread was archived (9 characters) is in the file.\n-# f"
    assert told_in_file(found(note), (1,), "-# f")
    assert told_in_file(found(note, unknown=(1,)), (), "-# f")
    assert not told_in_file(found(note), (1,), "-# g")
    assert not told_in_file(found(note), (), "-# f")
    assert not told_in_file(found(note), (1,), "")
