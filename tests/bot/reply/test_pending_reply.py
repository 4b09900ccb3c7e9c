"""What is kept of a finished reply."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from bot.model import Outcome
from bot.reply.outbox import Outbox
from bot.reply.pacing import Pacer, Pacing
from bot.reply.pages import MAX_PAGES
from bot.reply.pending_reply import FileMessage, FinalReply, Handout, SavedPage, SavedReply
from bot.reply.port import Button
from bot.reply.reply_messages import ReplyMessages
from tests.bot.reply.fakes import PROSE, FakeTurn, final_reply

GO_ON = Button("weft:go:1:2", "Continue", "primary")
FULL = SavedReply(
    "Text with ünïcode 🙂\nand lines",
    FinalReply(
        Outcome.TIMED_OUT, ("⚠️ **Timed out.**", "-# cut"), "-# 12 s", 7, (Button("weft:go:1:2", "Continue", "primary"),)
    ),
    (SavedPage(0), SavedPage(5, "-# ✓ `ls`")),
    overflow=9,
    apart=True,
    reply_to=3,
    after=2**62,
)


def row(text: str) -> ReplyMessages:
    turn = FakeTurn()
    turn.text = text
    return ReplyMessages(turn.snapshot, Outbox(Pacer(Pacing()), lambda: "n"))


HANDOUT = Handout("/work", (FileMessage("-# `a.txt`", ("a.txt",)), FileMessage("-# `b` is empty.")))


@pytest.mark.parametrize(
    "owed", [FULL, SavedReply("", final_reply()), SavedReply("", replace(final_reply(), handout=HANDOUT))]
)
def test_what_was_written_down_is_read_again(owed: SavedReply) -> None:
    """R2"""
    assert owed == SavedReply.from_json(owed.to_json())


def test_fields_of_a_later_version_are_ignored() -> None:
    """R2"""
    fields = {**orjson.loads(FULL.to_json()), "colour": "green"}
    assert SavedReply.from_json(orjson.dumps(fields).decode()) == FULL


def test_text_and_outcome_are_enough() -> None:
    """R2"""
    owed = SavedReply.from_json('{"text": "Done.", "outcome": "answered"}')
    assert SavedReply("Done.", FinalReply(Outcome.ANSWERED)) == owed


@pytest.mark.parametrize(
    "payload",
    ["", "[]", "{", '{"text": "x"}', '{"text": "x", "outcome": "x"}', '{"text":"","outcome":"failed","pages":[5]}'],
)
def test_what_is_no_owed_reply_is_refused(payload: str) -> None:
    with pytest.raises(ValueError, match="not an owed reply"):
        SavedReply.from_json(payload)


def test_lone_surrogates_are_replaced_and_offsets_follow() -> None:
    """T9"""
    text = "a\ud83d\ude42b\ud800c"
    owed = SavedReply(text, final_reply(), (SavedPage(0), SavedPage(3)), overflow=5)
    read = SavedReply.from_json(owed.to_json())
    assert (read.text, read.text[read.pages[1].start :], read.text[read.overflow :]) == ("a🙂b\ufffdc", "b\ufffdc", "c")


def test_the_messages_of_an_owed_reply_are_those_that_were_on_their_way() -> None:
    """D3, D4: wherever they were cut, and however much is in the file."""
    for cuts in ([], [100], [100, 1000, 2000], list(range(100, 3000, 250))):
        live = row("")
        live.pages.grow("")
        start = 0
        for cut in cuts:
            live.pages.grow((PROSE * 2)[live.pages.start : cut])
            live.pages.go_on_below()
            start = cut
        turn = row(PROSE * 2)
        turn.pages = live.pages
        turn.freeze(final_reply())
        owed = turn.saved(final_reply(), after=5)
        again = row(owed.text)
        again.lay_out(SavedReply.from_json(owed.to_json()))
        assert start < len(PROSE)
        assert len(again.pages.all) == MAX_PAGES
        assert [page.text for page in turn.pages.all] == [page.text for page in again.pages.all]
        assert turn.pages.overflow == again.pages.overflow


def test_a_long_answer_is_no_matter() -> None:
    """T10"""
    owed = SavedReply("ü🙂" * 2**20, final_reply())
    assert owed == SavedReply.from_json(owed.to_json())


def test_a_snapshot_of_an_owed_reply_gives_its_text_from_an_offset_on() -> None:
    """T10"""
    snapshot = FULL.snapshot(5)
    assert (snapshot.text, snapshot.text_from, snapshot.text_length) == (FULL.text[5:], 5, len(FULL.text))
