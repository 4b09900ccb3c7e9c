"""A thread as plain text: whole, and piece by piece while it grows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bot.demo.transcript import CardButton, LivePrinter, card_buttons, plain_text, split_small_print
from bot.sandbox import Message
from bot.sandbox.model import Attachment, MessageFlags

BOT, OWNER = 10, 20
NAMES = {BOT: "Weft", OWNER: "owner"}


def posted(content: str, number: int = 1, author: int = BOT, **fields: Any) -> Message:
    return Message(number, 5, author, content, **fields)


def row(*buttons: tuple[str, str]) -> dict[str, Any]:
    return {
        "type": 1,
        "components": [{"type": 2, "label": label, "custom_id": custom_id} for label, custom_id in buttons],
    }


CARD = row(("Allow", "weft:perm:r1:0"), ("Reject", "weft:perm:r1:1"))
STOP = row(("Stop", "weft:stop:5:1"))


def test_the_buttons_of_a_card_are_found_in_their_order() -> None:
    """D6."""
    assert card_buttons(posted("?", components=[STOP, CARD])) == [
        CardButton("weft:perm:r1:0", "Allow", "r1", 0),
        CardButton("weft:perm:r1:1", "Reject", "r1", 1),
    ]


def test_a_button_that_can_not_be_pressed_is_no_answer() -> None:
    closed = {"type": 1, "components": [{"type": 2, "custom_id": "weft:perm:r1:0", "disabled": True}]}
    assert card_buttons(posted("?", components=[closed])) == []


def test_a_message_is_one_line_with_names_for_mentions() -> None:
    message = posted(f"<@{BOT}> hello <@!{OWNER}> and <@99>", author=OWNER)
    assert plain_text(message, NAMES, {}) == "owner: @Weft hello @owner and @99"


def test_files_buttons_and_what_was_pressed_are_shown() -> None:
    message = posted("?", components=[CARD], attachments=(Attachment(7, "answer.md", b"1234", "text/markdown"),))
    assert plain_text(message, NAMES, {message.id: "Reject"}).splitlines() == [
        "Weft: ?",
        "[file answer.md, 4 bytes]",
        "[Allow] [Reject]",
        "(owner pressed “Reject”)",
    ]


def test_only_what_was_added_is_printed() -> None:
    printer = LivePrinter(BOT)
    first = posted("one")
    assert [printer.show(first), printer.show(replace(first, content="one two"))] == ["\nWeft: one", " two"]


def test_a_text_that_became_another_is_printed_anew() -> None:
    printer = LivePrinter(BOT)
    first = posted("one")
    printer.show(first)
    assert printer.show(replace(first, content="two")) == "\nWeft (changed): two"


def test_two_messages_grow_side_by_side() -> None:
    printer = LivePrinter(BOT)
    for number in (1, 2):
        printer.show(posted("a", number))
    assert [printer.show(posted("ab", number)) for number in (1, 2)] == ["b", "b"]


def test_small_print_is_shown_once_the_turn_is_over() -> None:
    """D5: the status line changes all the time; the footer does not."""
    printer = LivePrinter(BOT)
    first = posted("text\n-# ⏳ 1 s", components=[STOP])
    shown = [printer.show(first), printer.show(replace(first, content="text\n-# ⏳ 2 s"))]
    shown += [printer.show(replace(first, content="text\n-# 3 s", components=[])) for _ in range(2)]
    assert shown == ["\nWeft: text", "", "\n  3 s", ""]


def test_a_question_is_numbered_once() -> None:
    printer = LivePrinter(BOT)
    card = posted("may I?", components=[CARD])
    assert printer.show(card) == "\nWeft: may I?\n  1) Allow\n  2) Reject"
    assert printer.show(card) == ""


def test_what_people_wrote_and_what_is_still_loading_is_not_printed() -> None:
    printer = LivePrinter(BOT)
    assert printer.show(posted("mine", author=OWNER)) == ""
    assert printer.show(posted("", flags=int(MessageFlags.LOADING))) == ""


def test_small_print_ends_a_text_and_does_not_stand_within() -> None:
    assert split_small_print("a\n-# quoted\nb\n\n-# one\n-# two") == ("a\n-# quoted\nb", ["one", "two"])
    assert split_small_print("-# only") == ("", ["only"])
    assert split_small_print("plain") == ("plain", [])
