"""Splitting and joining: the pure part of long answers."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import SupportsIndex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.reply import split as split_module
from bot.reply.markdown import for_discord
from bot.reply.sanitise import units
from bot.reply.split import PAGE, Fence, Part, Table, fence_after, open_after, reopened, take

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
FLAG = "\U0001f1f3\U0001f1f4"
WAVE = "\U0001f44b\U0001f3fd"

NASTY = st.sampled_from(
    [
        "```\n", "```py\n", "```", "~~~\n", "~~~ruby startline=3\n", "   ```sh\n", "\t```\n", "````md\n", "````\n",
        "``", "`", "~", "\n", "\n\n", "\r\n", "\r", " ", "    ", "| a | b |\n", "|---|---|\n", "word ",
        "x" * 150, "`" * 40,
        "\u6f22\u5b57" * 40, FAMILY, FLAG, WAVE, FLAG * 30, "e\u0301", "\ud83d", "\ude00", "\u2028", "\x0b",
        "- list item\n", "# title\n\n",
        "```" + "i" * 300 + "\n", " " * 220, "\n" * 210, "code();\n" * 30, "line of prose that says little.\n" * 8,
    ]
)  # fmt: skip
ESCAPES = st.sampled_from(["\x1b[0m", "\x1b[1;32m", "\x1b]0;", "\x1bP", "\x07", "\x00", "\x1b"])
TEXTS = st.lists(NASTY | st.text(max_size=60), max_size=40).map("".join)


def split(text: str, limit: int = PAGE) -> list[Part]:
    """Take part after part, as the pages of a reply do."""
    parts: list[Part] = []
    start, fence = 0, None
    while start < len(text):
        parts.append(take(text, start, limit, fence))
        fence = parts[-1].fence
        start += len(parts[-1].source)
    return parts


def join(parts: list[Part]) -> str:
    """Return what the parts show, without the fence lines that were added."""
    return "".join(part.source for part in parts)


def open_fence_by_a_second_reading(shown: str) -> str | None:
    """An independent, deliberately simple reading of the fences in a message."""
    marker: str | None = None
    for line in shown.split("\n"):
        found = re.fullmatch(r"[ \t]{0,12}(`{3,}|~{3,})(.*)", line, re.DOTALL)
        if found is None or len(found[1]) > 12:
            continue
        run, rest = found[1], found[2].strip()
        if marker is None:
            marker = None if run[0] == "`" and "`" in rest else run
        elif not rest and run[0] == marker[0] and len(run) >= len(marker):
            marker = None
    return marker


@settings(derandomize=True, deadline=None, max_examples=200)
@given(TEXTS)
def test_parts_fit_close_what_they_open_and_give_the_text_back(text: str) -> None:
    """D4, T10: none is empty, and a reply goes on with the tail of its text exactly where the frozen parts ended."""
    parts = split(text, 200)
    assert text == join(parts)
    assert [part for part in parts if max(units(part.text), units(part.shown)) > 200 or not part.source] == []
    assert [part.shown for part in parts if open_fence_by_a_second_reading(part.shown)] == []
    done = 0
    for part, following in pairwise(parts):
        done += len(part.source)
        assert take(text[done:], 0, 200, part.fence) == following


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.lists(NASTY | ESCAPES, max_size=40).map("".join))
def test_no_escape_or_control_character_hides_a_fence_from_the_reader(text: str) -> None:
    """D4: what ends a message's code block is decided by what is shown."""
    parts = split(text, 300)
    assert join(parts) == text
    for part in parts:
        assert open_fence_by_a_second_reading(part.shown) is None, part.shown


@settings(derandomize=True, deadline=None, max_examples=80)
@given(TEXTS, st.text(max_size=300))
def test_a_frozen_part_does_not_change_when_text_is_added(text: str, more: str) -> None:
    """D4: what has two whole windows after it is decided."""
    parts = split(text, 200)
    grown = split(text + more, 200)
    decided = [part for index, part in enumerate(parts) if len(join(parts[index:])) > 400]
    assert decided == grown[: len(decided)]


def test_a_short_text_is_one_part_as_it_is() -> None:
    assert [part.text for part in split("hello\n\nworld")] == ["hello\n\nworld"]


def test_a_limit_without_room_for_fences_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        split("x", 100)


def test_a_cut_prefers_the_border_of_a_paragraph() -> None:
    """D4"""
    first = "a" * 80 + "\n" + "b" * 60 + "\n\n"
    assert [first, "c" * 100] == [part.text for part in split(first + "c" * 100, 200)]


@pytest.mark.parametrize("below", ["text " * 30, "```py\n" + "x = 1\n" * 15 + "```\n", "| a | b |\n| - | - |\n" * 8])
@pytest.mark.parametrize("heading", ["## Next\n\n", "## Next\n", "# Next\n## First of it\n\n"])
def test_a_heading_stays_with_what_is_below_it(heading: str, below: str) -> None:
    """D4"""
    prose = "prose " * 20 + "\n\n"
    assert [prose, heading + below] == [part.text for part in split(prose + heading + below, 200)]


def test_headings_that_fill_a_part_are_cut_between_lines() -> None:
    """D4"""
    headings = "## One of many\n" * 40
    assert all(part.text.endswith("many\n") for part in split(headings, 200))


def test_a_code_block_that_fits_is_moved_whole_to_the_next_part() -> None:
    """D4"""
    prose, block = "prose " * 20 + "\n", "```py\n" + "x = 1\n" * 15 + "```\n"
    assert [prose, block] == [part.text for part in split(prose + block, 200)]


def test_a_long_code_block_is_closed_and_opened_again_with_its_language() -> None:
    """D4"""
    parts = split("```python\n" + "print(1)\n" * 60 + "```\nend", 200)
    assert all(part.text.endswith("```") for part in parts[:-1])
    assert all(part.text.startswith("```python\n") for part in parts)


def test_an_indented_tilde_block_is_opened_again_as_it_was() -> None:
    """D4"""
    parts = split("  ~~~sh\n" + "echo hello\n" * 40, 200)
    assert all(part.text.startswith("  ~~~sh\n") and part.text.endswith("  ~~~") for part in parts)


def test_a_longer_fence_is_not_ended_by_a_shorter_one_inside() -> None:
    """D4"""
    parts = split("````md\n```py\n" + "x\n" * 150 + "```\n````\n", 200)
    assert all(part.text.startswith("````md\n") for part in parts)


def test_an_open_block_at_the_end_of_the_text_is_closed_in_what_is_shown() -> None:
    """D4: a reply that is still growing."""
    (part,) = split("```js\nlet a")
    assert (part.text, part.source) == ("```js\nlet a\n```", "```js\nlet a")


def test_a_table_that_fits_is_kept_whole() -> None:
    """D4"""
    table = "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 8
    parts = split("x" * 120 + "\n" + table, 200)
    assert ["x" * 120 + "\n", table] == [part.text for part in parts]


def test_a_table_that_fits_nowhere_is_cut_between_rows() -> None:
    """D4"""
    parts = split("| 1 | 2 |\n" * 60, 200)
    assert all(part.text.startswith("| 1") and part.text.endswith("|\n") for part in parts)


def test_a_table_that_goes_over_the_border_has_its_head_in_both_parts() -> None:
    """D4, V4"""
    head, rows = "| Name | Price |\n|---|---|\n", [f"| tea {number} | {number} |\n" for number in range(60)]
    parts = split(head + "".join(rows) + "\nThe end.", 400)
    assert len(parts) == 3
    assert all(part.shown.startswith("```\nName") and "```" in part.shown[3:] for part in parts)
    assert join(parts) == head + "".join(rows) + "\nThe end."
    assert parts[-1].shown.endswith("\n```\n\nThe end.")


def test_a_table_that_ended_at_the_border_is_not_opened_again() -> None:
    """D4"""
    table = open_after("words\n| a | b |\n|---|---|\n| 1 | 2 |\n")
    assert table == Table("| a | b |\n|---|---|\n")
    assert reopened(table, "\nwords") == ""
    assert reopened(table, "| 3 | 4 |") == "| a | b |\n|---|---|\n"
    assert open_after("| a | b |\n|---|---|\n| 1 |") is None


def test_a_table_that_grows_when_it_is_aligned_still_fits() -> None:
    """V4"""
    text = "|a|b|\n|-|-|\n" + f"|{'x' * 50}|1|\n" + "|1|2|\n" * 200
    parts = split(text)
    assert join(parts) == text
    assert all(units(part.shown) <= PAGE and part.shown.startswith("```\na ") for part in parts)


def test_a_table_that_grows_is_not_converted_again_and_again_at_the_same_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """T10: a conversion is what an edit costs."""
    converted = []

    def convert(text: str) -> str:
        converted.append(text)
        return for_discord(text)

    monkeypatch.setattr(split_module, "for_discord", convert)
    rows = "".join(f"| {number} | {number**2} | {number**3} |\n" for number in range(1, 120))
    take("| Number | Square | Cube |\n|--:|--:|--:|\n" + rows)
    assert len(converted) == len(set(converted)) <= 4


@pytest.mark.parametrize("character", [FAMILY, FLAG, WAVE, "e\u0301", "\u6f22", "\U0001f600", "1\ufe0f\u20e3"])
def test_a_character_is_never_cut(character: str) -> None:
    """D4: emoji with joiners, flags, skin tones, CJK, combining marks."""
    for shift in range(3):
        parts = split("x" * shift + character * 150, 200)
        assert all(part.text.lstrip("x").replace(character, "") == "" for part in parts)


def test_a_pair_of_lone_surrogates_stays_together() -> None:
    """D4, T9"""
    parts = split("\ud83d\ude00" * 300, 200)
    assert all(len(part.text) % 2 == 0 for part in parts)


def test_characters_beyond_the_basic_plane_count_twice() -> None:
    assert units("a\U0001f600") == 3


def test_a_long_line_is_cut_at_a_space() -> None:
    parts = split("word " * 100, 200)
    assert all(part.text.endswith("word ") for part in parts)


def test_the_state_after_a_text_is_the_open_block() -> None:
    assert Fence("", "```", "py") == fence_after("a\n```py x=1\nb")
    assert fence_after("```\n```\n") is None


def test_the_first_part_costs_a_window_and_not_the_text() -> None:
    """T10: an edit costs what its message costs."""

    class Watched(str):
        __slots__ = ()
        asked = 0

        def __getitem__(self, key: SupportsIndex | slice) -> str:
            found = super().__getitem__(key)
            Watched.asked += len(found)
            return found

    take(Watched("word " * 100_000), 1_000)
    assert Watched.asked <= 4 * PAGE


@pytest.mark.parametrize(
    "item", ["- ```py\n  code\n  ```\n", "1. ```sh\n   ls\n```\n", "- a\n  * ~~~\n    ```\n    ~~~\n"]
)
def test_a_code_block_that_begins_an_item_ends_where_it_does(item: str) -> None:
    """D4: what follows is no code, and no fence is added."""
    assert fence_after(item) is None
    assert take(f"{item}after").text == f"{item}after"
    long = take(item.replace("code", "code " * 500).replace("ls", "ls " * 500) + "after", 0, 500)
    assert len(long.text) < 510
    assert fence_after(long.text) is None
