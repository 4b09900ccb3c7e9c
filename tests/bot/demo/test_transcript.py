"""A thread as plain text: whole, and piece by piece while it grows."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from bot.demo.transcript import CardButton, LivePrinter, card_buttons, named, plain_text, split_small_print
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


def test_only_what_was_added_is_printed_and_the_end_of_an_answer_ends_its_line() -> None:
    printer = LivePrinter(BOT)
    first = posted("one", components=[STOP])
    states = [first, replace(first, content="one two"), replace(first, content="one two", components=[])]
    assert [printer.show(state, NAMES) for state in states] == ["Weft: one", " two", "\n"]


def test_what_was_printed_of_a_text_that_became_another_is_not_printed_again() -> None:
    printer = LivePrinter(BOT)
    first = posted("one\ntwo")
    printer.show(first, NAMES)
    assert printer.show(replace(first, content="one\n2 and more"), NAMES) == "Weft (changed): 2 and more\n"


def test_an_answer_that_begins_with_an_empty_line_is_printed_once() -> None:
    """What stands below text that grows is left out, and with it the empty lines around the text."""
    printer = LivePrinter(BOT)
    assert printer.show(posted("\nIt is\n-# ⏳ 5 s", components=[STOP]), NAMES) == "Weft: It is"
    assert printer.show(posted("\nIt is done.\n-# 6 s"), NAMES) == " done.\n  6 s\n"


def test_a_part_that_another_message_came_between_goes_on_in_a_block() -> None:
    printer = LivePrinter(BOT)
    pages = [posted("a", 1, components=[STOP]), posted("b", 2, components=[STOP])]
    grown = [replace(page, content=page.content * 2) for page in pages]
    shown = "".join(printer.show(page, NAMES) for page in (*pages, *grown))
    assert shown == "Weft: a\nWeft: b\nWeft (more): a\nWeft (more): b"


def test_the_end_that_a_full_page_passes_on_is_not_printed_again() -> None:
    printer = LivePrinter(BOT)
    page = posted("whole and begun", 1, components=[STOP])
    states = [page, posted("begun", 2, components=[STOP]), replace(page, content="whole", components=[])]
    assert [printer.show(state, NAMES) for state in states] == ["Weft: whole and begun", "\nWeft: begun", "\n"]


def test_what_the_terminal_says_itself_stands_on_lines_of_its_own() -> None:
    printer = LivePrinter(BOT)
    page = posted("one", components=[STOP])
    shown = [printer.show(page, NAMES), printer.interrupt("choose 1 to 3"), printer.interrupt("again")]
    assert shown == ["Weft: one", "\nchoose 1 to 3\n", "again\n"]
    assert printer.show(replace(page, content="one two"), NAMES) == "Weft (more): two"


def test_small_print_is_shown_once_the_turn_is_over() -> None:
    """D5: the status line changes all the time; the footer does not."""
    printer = LivePrinter(BOT)
    first = posted("text\n-# ⏳ 1 s", components=[STOP])
    states = [first, replace(first, content="text\n-# ⏳ 2 s\n-# ▸ `npm test`\n```\nok 1\n```")]
    states += [replace(first, content="text\n-# 3 s", components=[])] * 2
    assert [printer.show(state, NAMES) for state in states] == ["Weft: text", "", "\n  3 s\n", ""]


def test_what_a_footer_gains_after_it_was_shown_is_shown_below_it() -> None:
    """W3: git may tell the branch only when the footer is there already."""
    printer = LivePrinter(BOT)
    ended = posted("text\n-# 3 s · 1 tool")
    amended = replace(ended, content="text\n-# 3 s · 1 tool · `weft/greet-7c2` · 1 file +1 −1")
    states = [ended, posted("another\n-# 1 s", 2), amended, amended, replace(ended, content="text\n-# 4 s")]
    assert [printer.show(state, NAMES) for state in states] == [
        "Weft: text\n  3 s · 1 tool\n", "Weft: another\n  1 s\n", "  `weft/greet-7c2` · 1 file +1 −1\n", "", ""
    ]  # fmt: skip


def test_a_message_of_small_print_alone_is_shown() -> None:
    printer = LivePrinter(BOT)
    assert printer.show(posted("-# ⏳ 1 s", components=[STOP]), NAMES) == ""
    assert printer.show(posted("-# Not run.", 2), NAMES) == "Weft:\n  Not run.\n"


def test_a_question_is_numbered_once_and_names_whom_it_asks() -> None:
    printer = LivePrinter(BOT)
    card = posted(f"<@{OWNER}> may I?", components=[CARD])
    assert printer.show(card, NAMES) == "Weft: @owner may I?\n  1) Allow\n  2) Reject\n"
    assert printer.show(card, NAMES) == ""


def test_what_people_wrote_and_what_is_still_loading_is_not_printed() -> None:
    printer = LivePrinter(BOT)
    assert printer.show(posted("mine", author=OWNER), NAMES) == ""
    assert printer.show(posted("", flags=int(MessageFlags.LOADING)), NAMES) == ""


def test_times_are_shown_as_the_clocks_here_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert named("next <t:1796029200:R>, <t:0>, <t:x>", {}) == "next Mon 30 Nov 18:00, Thu 01 Jan 09:00, <t:x>"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_roles_and_channels_are_named_as_people_are() -> None:
    assert named("<@&7> in <#8>, <@!20>", {7: "devs", 8: "general", **NAMES}) == "@devs in #general, @owner"


def test_small_print_ends_a_text_and_does_not_stand_within() -> None:
    assert split_small_print("a\n-# quoted\nb\n\n-# one\n-# two") == ("a\n-# quoted\nb", ["one", "two"])
    assert split_small_print("-# only") == ("", ["only"])
    assert split_small_print("plain") == ("plain", [])
