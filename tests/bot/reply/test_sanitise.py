"""What agents print, made safe to show."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.reply import sanitise
from bot.reply.sanitise import clean, clip, clip_middle, code_block, inline_code, plain_line, reveal, units, visible

TEXT = st.text(st.characters() | st.sampled_from("`\u200b\u202e\n\x1b[]"), max_size=80)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://evil\x07link\x1b]8;;\x1b\\", "link"),
        ("\x1b(Bplain\x1b=", "plain"),
        ("a\tb\nc", "a\tb\nc"),
        ("50%\r100%\r\n", "50%\n100%\n"),
        ("nul\x00 bell\x07 c1\x9b del\x7f", "nul bell c1 del"),
        ("lone \ud83d end", "lone \ufffd end"),
        ("whole \U0001f600", "whole \U0001f600"),
    ],
)
def test_terminal_escapes_and_control_characters_are_removed(raw: str, shown: str) -> None:
    assert clean(raw) == shown


def test_a_text_without_anything_suspect_is_the_same_object() -> None:
    text = "plain ünïcode \U0001f600"
    assert clean(text) is text


def test_characters_that_hide_or_reorder_are_written_out() -> None:
    assert reveal("rm\u202e txt.\u200bexe\ufeff") == "rm<U+202E> txt.<U+200B>exe<U+FEFF>"


@pytest.mark.parametrize(
    ("text", "expected"), [("", False), (" \n\t", False), ("\u200b\u2060", False), ("\x1b[0m", False), ("a", True)]
)
def test_text_is_visible_if_a_reader_would_see_something(text: str, expected: bool) -> None:
    assert visible(text) is expected


@settings(derandomize=True, deadline=None)
@given(TEXT)
def test_nothing_gets_out_of_a_code_block(text: str) -> None:
    block = code_block(text)
    assert block.startswith("```\n")
    assert block.endswith("\n```")
    assert "```" not in block[4:-4]


@settings(derandomize=True, deadline=None)
@given(TEXT, st.integers(10, 60))
def test_nothing_gets_out_of_inline_code(text: str, limit: int) -> None:
    code = inline_code(text, limit)
    assert (code[0], code[-1], code.count("`")) == ("`", "`", 2)
    assert "\n" not in code
    assert 0 < units(code[1:-1]) <= limit


def test_a_title_that_the_agent_put_in_backticks_gets_no_second_pair() -> None:
    assert inline_code("`npm test`") == "`npm test`"


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=60), st.integers(3, 40))
def test_a_clipped_text_has_at_most_the_limit(text: str, limit: int) -> None:
    assert units(clip(text, limit)) <= limit


def test_an_emoji_is_not_cut_by_clipping() -> None:
    assert clip("ab\U0001f468\u200d\U0001f469\u200d\U0001f467cd", 6) == "ab…"


def test_the_middle_of_a_long_output_is_counted() -> None:
    assert (
        clip_middle("a" * 10 + "b" * 1000 + "c" * 10, 10, 10)
        == "a" * 10 + "\n… 1,000 characters left out …\n" + "c" * 10
    )


def test_an_output_that_fits_is_whole() -> None:
    assert clip_middle("abc", 2, 1) == "abc"


@pytest.mark.parametrize("opener", ["\x1b]", "\x1bP", "\x1b^"])
def test_a_terminal_string_that_never_ends_takes_its_line_and_no_more(opener: str) -> None:
    """D3: an answer is not lost because an agent began a terminal title."""
    assert clean(f"before {opener}0;title\nafter\n") == "before \nafter\n"


def test_text_far_beyond_the_limit_of_inline_code_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """T10: what is shown of a title costs what is shown."""
    looked_at: list[int] = []

    def recording(text: str) -> str:
        looked_at.append(len(text))
        return text

    monkeypatch.setattr(sanitise, "reveal", recording)
    assert inline_code("a b" * 100_000, 40).endswith("…`")
    assert max(looked_at) < 2000


def test_a_title_of_white_space_without_end_is_shown_as_cut() -> None:
    assert inline_code(" " * 10_000 + "end", 40) == "`…`"


@settings(derandomize=True, deadline=None)
@given(TEXT)
def test_in_full_each_character_is_there_or_written_out(text: str) -> None:
    """D6"""
    shown = sanitise.in_full(text)
    for character in set(text) - set(" \n\t"):
        assert character in shown or f"<U+{ord(character):04X}>" in shown
    assert sanitise.clean(shown) == shown == sanitise.reveal(shown)


def test_every_character_that_can_not_be_seen_is_written_out() -> None:
    """D6"""
    categories = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"}
    unseen = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in categories]
    assert set(unseen) & set(sanitise.spelled("".join(unseen))) == {"\t", "\n", " "}
    assert sanitise.spelled("a b") == "a b"


def test_accents_in_a_pile_are_written_out_from_the_third_on() -> None:
    """D6"""
    assert sanitise.spelled("e\u0302\u0301\u0300") == "e\u0302\u0301<U+0300>"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("🛠\ufe0f Build\n  it", "🛠 Build it"),
        (
            "**now** <@7> :x: [a](https://b.example)",
            "\\*\\*now\\*\\* \\<\\@7\\> \\:x\\: \\[a\\]\\(https\\:\\/\\/b.example\\)",
        ),
        ("hid\u202eden\x1b[31m", "hid\\<U+202E\\>den"),
        ("x" * 50, "x" * 19 + "…"),
        ("y " * 500, "y y y y y y y y y y…"),
        ("\x00", "…"),
    ],
)
def test_plain_text_stands_on_one_line_and_has_no_effect(said: str, shown: str) -> None:
    """V1: what it begins with is kept, as long as there is room."""
    assert plain_line(said, 20 if len(said) >= 50 else 80) == shown
