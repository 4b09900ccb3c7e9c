"""Bounds on tool output and tool arguments."""

from __future__ import annotations

from typing import Any

from acp.truncation import BoundedOutput, bounded, bounded_value


def test_short_output_is_kept_as_it_is() -> None:
    """T10: nothing is cut within the bounds."""
    output = BoundedOutput(4, 6)
    output.append("01234")
    output.append("56789")
    assert (output.text(), output.cut) == ("0123456789", 0)


def test_long_output_keeps_its_head_and_its_tail() -> None:
    """T10: the middle is counted and replaced by a line that says so."""
    output = BoundedOutput(4, 6)
    for number in range(10):
        output.append(str(number) * 3)
    assert (output.text(), output.cut) == ("0001\n[… 20 bytes left out …]\n888999", 20)


def test_output_is_the_same_however_it_comes_in_pieces() -> None:
    """T10: chunk borders do not matter."""
    text = "".join(chr(ord("a") + number % 26) for number in range(1_000))
    whole, pieces = BoundedOutput(64, 192), BoundedOutput(64, 192)
    whole.append(text)
    for character in text:
        pieces.append(character)
    assert whole.text() == pieces.text()
    assert whole.cut == pieces.cut == 1_000 - 256


def test_a_character_at_the_cut_is_left_out_whole() -> None:
    """T10: cut text is still text."""
    assert bounded("€" * 100, 4, 4) == ("€\n[… 292 bytes left out …]\n€", 292)


def test_kept_output_does_not_grow_with_what_is_cut() -> None:
    """T10: memory is bounded while output goes on."""
    output = BoundedOutput(100, 300)
    for _ in range(1_000):
        output.append("x" * 50)
    assert len(output._head) + len(output._tail) <= 100 + 2 * 300 + 50


def test_a_single_huge_piece_is_bounded() -> None:
    """T10: one line may have 16 MiB."""
    text, cut = bounded("x" * 1_000_000, 10, 20)
    assert cut == 999_970
    assert len(text) < 100


def test_arguments_keep_their_shape() -> None:
    """T4: a command is shown as the agent gave it."""
    value = {"command": ["ls", "-l"], "timeout": 5, "deep": {"flag": True, "none": None}}
    assert bounded_value(value) == value


def test_arguments_are_bounded_in_length_items_and_depth() -> None:
    """T10: arguments of any size and depth do no harm."""
    deep: Any = "end"
    for _ in range(500):
        deep = [deep]
    cut = bounded_value({"text": "x" * 100_000, "items": list(range(5_000)), "deep": deep})
    assert len(cut["text"]) == 65_537
    assert len(cut["items"]) == 1_000
    assert str(cut["deep"]).count("[") < 40


def test_arguments_are_bounded_in_all() -> None:
    """T10: a thousand long strings in a list are each short enough, and too much together."""
    cut = bounded_value({"edits": ["x" * 60_000] * 900, "after": {"key": "value"}})
    assert sum(len(text) for text in cut["edits"]) < 300_000
    wide: Any = {str(number): [{}] * 900 for number in range(900)}
    assert sum(len(items) for items in bounded_value(wide).values()) < 300_000
