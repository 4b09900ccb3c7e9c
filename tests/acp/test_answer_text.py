"""The text of a turn: messages apart, retries once, bounds, and offsets that stay true."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acp.answer_text import AnswerText, BlockText, Thoughts

PLENTY = 1_000_000


def answer(*chunks: tuple[str | None, str], limit: int = PLENTY) -> AnswerText:
    text = AnswerText(limit)
    for message_id, chunk in chunks:
        text.append(message_id, chunk)
    return text


def shown(*chunks: tuple[str | None, str]) -> str:
    text = answer(*chunks)
    text.settle()
    return text.read()


def test_chunks_of_one_message_are_joined() -> None:
    """T8: the chunks of a message make one text."""
    assert shown(("a", "Hel"), ("a", "lo")) == "Hello"


def test_a_new_message_id_begins_after_a_blank_line() -> None:
    """T8: messageId separates messages."""
    assert shown(("a", "One."), ("b", "Two.")) == "One.\n\nTwo."


def test_line_feeds_that_are_there_count_for_the_blank_line() -> None:
    """T8: a message that ends with a line feed gets one more, one that ends with two gets none."""
    assert shown(("a", "One.\n"), ("b", "Two.\n\n"), ("c", "Three.")) == "One.\n\nTwo.\n\nThree."


def test_text_without_an_id_after_text_with_one_is_a_message_of_its_own() -> None:
    """T8: an agent's own error text comes without a messageId."""
    assert shown(("a", "d0 d1"), (None, "stream error")) == "d0 d1\n\nstream error"


def test_chunks_without_ids_are_one_message() -> None:
    """T8: agents that give no ids are not cut into pieces."""
    assert shown((None, "a"), (None, "b"), (None, "c")) == "abc"


def test_a_tool_call_separates_messages_that_have_no_ids() -> None:
    """T8: what was said before a tool call and after it is not run together."""
    text = answer((None, "I look."))
    text.interrupt()
    text.append(None, "Found ")
    text.append(None, "it.")
    assert text.read() == "I look.\n\nFound it."


def test_a_tool_call_does_not_cut_a_message_that_has_an_id() -> None:
    """T8: only the id says where such a message ends."""
    text = answer(("a", "one "))
    text.interrupt()
    text.append("a", "sentence")
    assert text.read() == "one sentence"


def test_empty_chunks_separate_nothing() -> None:
    """T8: a chunk without text is no message."""
    assert shown(("a", "x"), ("b", ""), ("a", "y")) == "xy"


def test_an_exact_repetition_under_a_new_id_is_shown_once() -> None:
    """T8: a retry that says the same again adds nothing."""
    assert shown(("a", "d0 "), ("a", "d1"), ("b", "d0 "), ("b", "d1")) == "d0 d1"


def test_a_retry_that_goes_on_continues_the_shown_message() -> None:
    """T8: the repeated part is not shown twice."""
    assert shown(("a", "d0 d1"), ("b", "d0"), ("b", " d1 d2"), ("b", " d3")) == "d0 d1 d2 d3"


def test_a_retry_in_one_chunk_continues_the_shown_message() -> None:
    """T8: chunk borders do not matter."""
    assert shown(("a", "d0 d1"), ("b", "d0 d1 d2")) == "d0 d1 d2"


def test_a_second_retry_repeats_what_the_first_one_completed() -> None:
    """T8: a retry of a retry is compared with the whole message."""
    assert shown(("a", "d0"), ("b", "d0 d1"), ("c", "d0 d1 d2")) == "d0 d1 d2"


def test_a_possible_retry_is_held_back_while_it_repeats() -> None:
    """T8: nothing that may be a repetition is shown."""
    assert answer(("a", "d0 d1"), ("b", "d0")).read() == "d0 d1"


def test_what_turns_out_different_becomes_a_message_of_its_own() -> None:
    """T8: nothing that was held back is lost."""
    assert shown(("a", "d0 d1"), ("b", "d0 "), ("b", "x1")) == "d0 d1\n\nd0 x1"


def test_a_partial_repetition_is_shown_at_the_end() -> None:
    """T8: a strict prefix is flushed, never lost."""
    assert shown(("a", "Yes, done."), ("b", "Yes")) == "Yes, done.\n\nYes"


def test_a_partial_repetition_is_shown_when_another_message_begins() -> None:
    """T8: messages stay in order."""
    assert shown(("a", "abc"), ("b", "ab"), ("c", "xyz")) == "abc\n\nab\n\nxyz"


def test_a_tool_call_shows_what_was_held_back() -> None:
    """T8: text before a tool call stands before it."""
    text = answer(("a", "d0 d1"), ("b", "d0"))
    text.interrupt()
    assert text.read() == "d0 d1\n\nd0"


def test_a_repetition_after_a_tool_call_is_no_retry() -> None:
    """T8: with a tool call between them, two equal messages are two messages."""
    text = answer(("a", "Working."))
    text.interrupt()
    text.append("b", "Working.")
    assert text.read() == "Working.\n\nWorking."


def test_a_message_id_that_comes_back_is_no_retry() -> None:
    """T8: only a new id can be a retry."""
    assert shown(("a", "x"), ("b", "yy"), ("a", "yy")) == "x\n\nyy\n\nyy"


@pytest.mark.parametrize(
    ("first", "second"),
    [((None, None), ("msg_1",)), (("msg_1",), (None, None)), (("msg_1",), (None,)), ((None,), ("msg_1",) * 2)],
)
def test_a_repetition_of_which_only_one_has_an_id_is_shown_once(
    first: tuple[str | None, ...], second: tuple[str | None, ...]
) -> None:
    """T8: some agents stream a text without ids and send it whole with one."""
    parts = {1: ["The answer is 42."], 2: ["The answer ", "is 42."]}
    chunks = [*zip(first, parts[len(first)], strict=True), *zip(second, parts[len(second)], strict=True)]
    assert shown(*chunks) == "The answer is 42."


def test_a_message_that_only_begins_like_the_one_before_is_kept_where_only_one_has_an_id() -> None:
    """T8: nothing that differs is swallowed."""
    assert shown((None, "Yes, done."), ("a", "Yes, but")) == "Yes, done.\n\nYes, but"
    assert shown(("a", "Yes, done."), (None, "Yes, but")) == "Yes, done.\n\nYes, but"
    assert shown((None, "Yes, done."), ("a", "Yes")) == "Yes, done.\n\nYes"


SAID = st.text("ab \n", min_size=1, max_size=12)
SPEAKER = st.sampled_from([(None, "b"), ("a", None), ("a", "b")])


@given(SAID, SPEAKER, st.data())
def test_what_is_said_twice_is_shown_once_however_it_is_cut(
    said: str, ids: tuple[str | None, str | None], data: st.DataObject
) -> None:
    """T8: and wherever ids are missing."""
    chunks = [(one, part) for one in ids for part in data.draw(cut_up(said))]
    assert shown(*chunks) == said


@given(SAID, SAID, SPEAKER, st.data())
def test_a_second_message_that_is_no_repetition_is_shown_whole(
    said: str, other: str, ids: tuple[str | None, str | None], data: st.DataObject
) -> None:
    """T8: in full behind the first, or as what completes it."""
    chunks = [(one, part) for one, text in zip(ids, (said, other), strict=True) for part in data.draw(cut_up(text))]
    text = shown(*chunks)
    if other.startswith(said):
        assert text == other
    else:
        assert text.startswith(said)
        assert text.endswith(other)
        assert text[len(said) : len(text) - len(other)].strip("\n") == ""
        assert len(text) >= len(said) + len(other)


@st.composite
def cut_up(draw: st.DrawFn, text: str) -> list[str]:
    """Return the text in parts."""
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=4)) | {0, len(text)})
    return [text[start:end] for start, end in itertools.pairwise(places)]


def test_a_repetition_without_ids_is_text() -> None:
    """T8: agents without ids may repeat themselves."""
    assert shown((None, "ha"), (None, "ha")) == "haha"


def test_text_beyond_the_limit_is_counted() -> None:
    """T10: the beginning is kept, the rest counted in bytes."""
    text = answer(("a", "12345"), ("a", "67890"), ("a", "x"), limit=8)
    assert (text.read(), text.cut) == ("12345678", 3)


def test_text_that_just_fits_is_not_cut() -> None:
    """T10: the limit itself is within the limit."""
    text = answer(("a", "12345678"), limit=8)
    assert (text.read(), text.cut) == ("12345678", 0)


def test_the_limit_counts_bytes_and_cuts_no_character() -> None:
    """T10: a character that does not fit is left out whole."""
    text = answer(("a", "ääää"), limit=5)
    assert (text.read(), text.cut) == ("ää", 3)


def test_nothing_gets_in_after_the_cut() -> None:
    """T10: what is kept is a beginning, without holes."""
    text = answer(("a", "ääää"), ("a", "x"), ("b", "y"), limit=5)
    assert (text.read(), text.cut) == ("ää", 5)


def test_a_lone_surrogate_does_no_harm() -> None:
    """T9: what a broken agent sends ends nothing."""
    assert answer(("a", "x\ud800y")).length == 3


def test_text_is_read_from_any_offset_across_blocks() -> None:
    """T10: a snapshot hands out text from an offset on."""
    rng = random.Random(7)
    text, whole = BlockText(), ""
    for _ in range(200):
        chunk = "".join(rng.choices("abcdefgh", k=rng.choice((1, 10, 4_000))))
        text.append(chunk)
        whole += chunk
        start = rng.randrange(len(whole) + 1)
        assert text.read(start) == whole[start:]
    assert text.length == len(whole) > 3 * 65_536


def test_reading_the_end_does_not_touch_what_is_joined() -> None:
    """T10: reading costs what is read: whole blocks before the offset stay the same objects and are not joined."""
    text = BlockText()
    for _ in range(10):
        text.append("x" * 65_536)
    text.append("end")
    before = [id(block) for block in text._blocks]
    assert text.read(655_360) == "end"
    assert [id(block) for block in text._blocks] == before
    assert text._recent == ["end"]


def test_long_reasoning_keeps_its_beginning_and_its_end() -> None:
    """T10, V2: thoughts are bounded, and say what is left out."""
    thoughts = Thoughts(6, 8)
    for number in range(1_000):
        thoughts.append("a", f"{number} ")
    assert thoughts.read() == "0 1 2 \n[… 3876 bytes left out …]\n998 999 "


def test_reasoning_under_a_new_id_begins_after_a_blank_line() -> None:
    """T8: messageId separates thoughts, too."""
    thoughts = Thoughts(100, 100)
    for message_id, text in (("a", "one"), ("b", ""), ("b", "two")):
        thoughts.append(message_id, text)
    assert thoughts.read() == "one\n\ntwo"


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([None, "a", "b", "c"]), st.text("xy\n", max_size=4))))
def test_text_only_grows_and_each_message_is_in_it(chunks: list[tuple[str | None, str]]) -> None:
    """T8, T10: an offset stands for the same text for ever, and the last message's text is there at the end."""
    text, before = AnswerText(PLENTY), ""
    for message_id, chunk in chunks:
        text.append(message_id, chunk)
        assert text.read().startswith(before)
        before = text.read()
    text.settle()
    assert text.read().startswith(before)
    last = next((chunk for _, chunk in reversed(chunks) if chunk), "")
    assert last in text.read()
