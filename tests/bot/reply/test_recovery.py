"""A reply that an earlier run owes: what is there is made use of, and what is missing is sent."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import pytest

from acp.schema import PlanEntry
from acp.snapshot import Phase
from bot.reply.cards import ended, is_card
from bot.reply.editor import Delivery, ThreadEditor
from bot.reply.live_status import status_line, without_block
from bot.reply.pacing import Pacing
from bot.reply.pages import Page
from bot.reply.pending_reply import SavedPage, SavedReply, below
from bot.reply.port import Body, Button, MessageGone, PortError, ThreadArchived, ThreadGone, Unavailable
from bot.reply.recovery import Found, Places, Wanted, covered, places, told_in_file
from bot.reply.split import take
from tests.bot.reply.fakes import ALLOW, PROSE, STOP, FakeThread, final_reply, in_virtual_time, scene, spoken
from tests.bot.reply.replies import DONE, INTERRUPTED, KEY, RestartedReply, long_owed, show
from tests.bot.reply.samples import snapshot, tool


@in_virtual_time
async def test_what_is_shown_is_edited_and_what_is_missing_is_posted() -> None:
    """D3: page i becomes message i."""
    async with scene() as at:
        shown = show(at.thread, Body("Sentence number 0\n-# ⏳ 5 s", (STOP,)), "-# a card")[:1]
        assert await at.editor.restore(KEY, long_owed(), shown).delivered()
        assert [(call.kind, call.message_id) for call in at.thread.calls] == [
            ("send", 103),
            ("edit", 101),
            ("send", 104),
        ]
        assert spoken(at.thread.texts).removesuffix("\n") == PROSE[:4000]
        assert [body.buttons for body in at.thread.messages.values()] == [(), (), (), ()]
        assert [call.nonce for call in at.thread.of("send")] == ["r2-1", "r2-2"]


@in_virtual_time
async def test_a_reply_that_nobody_saw_answers_its_prompt() -> None:
    """O1"""
    async with scene() as at:
        assert await at.editor.restore(KEY, DONE, ()).delivered()
        (call,) = at.thread.calls
        assert (call.body.text, call.reply_to, call.nonce) == ("Done.\n-# footer", KEY, "r2-0")


@in_virtual_time
async def test_messages_without_a_page_say_that_the_reply_is_above() -> None:
    """D3"""
    async with scene() as at:
        shown = show(at.thread, "Do", Body("more\n-# ⏳ 5 s", (STOP,)))
        assert await at.editor.restore(KEY, DONE, shown).delivered()
        assert at.thread.shown == [(101, "Done.\n-# footer"), (102, "-# The full reply is above.")]
        assert at.thread.messages[102].buttons == ()


@in_virtual_time
async def test_what_is_there_already_is_left_alone() -> None:
    """D3: also where nobody recorded it."""
    for recorded in (True, False):
        async with scene() as at:
            shown = show(at.thread, "Done.\n-# footer")
            assert await at.editor.restore(KEY, DONE, shown if recorded else ()).delivered()
            assert at.thread.calls == []


@in_virtual_time
async def test_nothing_is_sent_before_it_is_known_what_is_there() -> None:
    """D3"""
    order = []

    async def watch(kind: str) -> None:
        order.append(kind)

    async with scene(before=watch) as at:
        notice = at.editor.say(Body("notice"))
        reply = at.editor.restore(KEY, DONE, ())
        assert await reply.delivered()
        assert await notice.delivered()
        assert order == ["read", "send", "send"]


@in_virtual_time
async def test_when_the_thread_cannot_be_read_the_nonces_keep_a_reply_from_coming_twice() -> None:
    """D3"""
    thread = FakeThread(crash_applied=True)
    reply = RestartedReply(thread, lag=1, payload=DONE.to_json())
    thread.fail["read"] = [Unavailable("503")]
    for crash_at in (2, 0):
        await reply.run(reply.restore, crash_at)
    assert thread.texts == ["Done.\n-# footer"]

    async with scene(fail={"read": [PortError("no")]}) as at:
        at.thread.by_nonce["r2-0"] = 101
        show(at.thread, "Done.\n-# footer")
        assert await at.editor.restore(KEY, DONE, ()).delivered()
        assert at.thread.texts == ["Done.\n-# footer"]


@in_virtual_time
async def test_a_reading_that_fails_for_an_unknown_reason_costs_nothing() -> None:
    """O4"""
    async with scene(fail={"read": [ValueError("a bug")]}) as at:
        assert await at.editor.restore(KEY, DONE, ()).delivered()
        assert at.thread.texts == ["Done.\n-# footer"]


@in_virtual_time
async def test_a_thread_that_is_gone_at_the_reading_gives_the_reply_up() -> None:
    """D10"""
    async with scene(fail={"read": [ThreadGone("deleted")]}) as at:
        reply = at.editor.restore(KEY, DONE, ())
        notice = at.editor.mark_interrupted(3, (), INTERRUPTED)
        assert not await reply.delivered()
        assert not await notice.delivered()
        assert (at.gone, at.thread.calls) == (["deleted"], [])


@in_virtual_time
async def test_messages_of_others_are_not_taken() -> None:
    """D3, O4: what was there before the reply, what another reply shows, what only looks alike."""
    async with scene() as at:
        before = show(at.thread, "Done.\n-# footer")
        others = show(
            at.thread, Body("Do\n-# ⏳ 5 s", (STOP,)), "Done. But more.\n-# footer", "-# ⏳ Waiting for an agent"
        )
        owed = SavedReply("Done.", final_reply(), after=before[0])
        reply = at.editor.restore(KEY, owed, ())
        notice = at.editor.mark_interrupted(3, others[:1], INTERRUPTED)
        assert await reply.delivered()
        assert await notice.delivered()
        assert [text for _, text in at.thread.shown] == [
            "Done.\n-# footer",
            "Do",
            "Done. But more.\n-# footer",
            "-# ⏳ Waiting for an agent",
            "Done.\n-# footer",
            INTERRUPTED.text,
        ]


@in_virtual_time
async def test_what_the_way_to_discord_takes_out_is_taken_out_before_it_is_compared() -> None:
    """R5, D3"""
    thread = FakeThread()
    show(thread, "The key is [redacted].\n-# footer")
    editor = ThreadEditor(thread, Pacing(), nonces=lambda: "n", as_shown=lambda text: text.replace("abc", "[redacted]"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(editor.run)
        reply = editor.restore(KEY, SavedReply("The key is abc.", final_reply(), after=KEY), ())
        assert await reply.delivered()
        editor.close()
    assert thread.calls == []


@in_virtual_time
async def test_in_an_archived_thread_what_is_not_visible_is_one_new_message() -> None:
    """D10"""
    async with scene() as at:
        at.thread.archived = True
        shown = show(at.thread, Body("Half of\n-# ⏳ 5 s", (STOP,)))
        owed = SavedReply("Half of it, and the rest.", final_reply(), after=KEY)
        assert await at.editor.restore(KEY, owed, shown).delivered()
        await anyio.sleep(5)
        assert [text for _, text in at.thread.shown] == ["Half of", " it, and the rest.\n-# footer"]
        assert at.thread.of("send")[0].nonce.startswith("r2-")


@in_virtual_time
async def test_what_an_archived_thread_was_sent_in_a_file_is_not_sent_again() -> None:
    """D10"""
    async with scene() as at:
        note = "-# What the agent wrote while this thread was archived (9,000 characters) is in the file.\n-# footer"
        shown = show(at.thread, "Sentence", note)
        assert await at.editor.restore(KEY, long_owed(9000), shown).delivered()
        assert at.thread.calls == []


@in_virtual_time
async def test_a_shown_message_that_was_deleted_is_posted_anew_once() -> None:
    """D10"""
    async with scene() as at:
        assert await at.editor.restore(KEY, DONE, (55,)).delivered()
        assert [(call.kind, call.nonce) for call in at.thread.calls] == [("edit", ""), ("send", "r2-a0")]
        assert at.thread.texts == ["Done.\n-# footer"]


@in_virtual_time
async def test_a_restored_reply_is_tried_again_while_discord_is_unavailable() -> None:
    """D3"""
    failing: list[Exception | None] = [Unavailable("503")] * 4
    async with scene(fail={"edit": list(failing), "send": list(failing)}) as at:
        shown = show(at.thread, "Sentence")
        assert await at.editor.restore(KEY, long_owed(), shown).delivered()
        assert spoken(at.thread.texts).removesuffix("\n") == PROSE[:4000]


@in_virtual_time
async def test_a_restored_text_that_discord_refuses_is_a_file() -> None:
    """O1: as far as it is not visible."""
    async with scene(fail={"edit": [PortError("AutoMod")] * 3}) as at:
        shown = show(at.thread, "A")
        assert await at.editor.restore(KEY, SavedReply("A bad word.", final_reply(), after=KEY), shown).delivered()
        body = at.thread.messages[102]
        assert body.file is not None
        assert (body.file.data, body.text.splitlines()[-1]) == (b" bad word.", "-# footer")


@in_virtual_time
async def test_a_closed_editor_ends_once_what_was_owed_is_delivered() -> None:
    """R1, D3"""
    async with scene() as at:
        at.editor.restore(KEY, DONE, ())
        assert not at.editor.idle
        at.editor.close()
    assert at.thread.texts == ["Done.\n-# footer"]


@in_virtual_time
async def test_a_restored_answer_of_tools_is_the_one_that_was_owed() -> None:
    """T4"""
    async with scene() as at:
        at.turn.fields["tools"] = (tool(title="ls", status="completed", output="a.txt"),)
        reply = at.open()
        payload = reply.owed(final_reply())
    assert payload is not None
    async with scene() as later:
        assert await later.editor.restore(KEY, SavedReply.from_json(payload), ()).delivered()
        assert later.thread.texts == ["✓ `ls`\n```\na.txt\n```\n-# footer"]


@in_virtual_time
async def test_a_message_without_text_keeps_its_note() -> None:
    """D6"""
    async with scene() as at:
        shown = show(at.thread, "-# ⏳ 5 s", "-# card", "Rem")
        owed = SavedReply("Removed.", final_reply(), (SavedPage(0, "-# · `rm`"), SavedPage(0)), after=KEY)
        assert await at.editor.restore(KEY, owed, (shown[0], shown[2])).delivered()
        assert at.thread.texts == ["-# · `rm`", "-# card", "Removed.\n-# footer"]


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
    assert without_block(status) == ""
    assert without_block(below("Some text.\n\n", status)) == "Some text."


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
    assert without_block(text) is None


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


def test_of_a_converted_page_it_is_known_whether_all_of_it_is_there() -> None:
    """D10, V4"""
    page = Page(0, part=take("See [the docs](https://a.org) and more."))
    assert covered(page, f"{page.text}\n-# ⏳ 5 s") == page.end
    assert covered(page, "See the docs") == 0


def test_a_message_that_nobody_recorded_is_known_by_its_words() -> None:
    """D3, V4: its table had fewer rows and narrower columns."""
    text = "| a | b |\n|---|---|\n| 1 | 2 |\n| wide word | 4 |\n"
    want = Wanted(take(text).shown, bare=take(text).shown, ahead=text)
    live = take(text[: text.index("| wide")]).shown + "\n-# ⏳ 5 s"
    assert not want.text.startswith(without_block(live) or "-")
    assert Places((5,)) == places([want], (), Found({5: live}, (5,)))
    assert Places((None,)) == places([want], (), Found({5: "other words\n-# ⏳ 5 s"}, (5,)))


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


@in_virtual_time
async def test_an_interrupted_reply_keeps_its_text_and_loses_button_and_status() -> None:
    """R2"""
    async with scene() as at:
        shown = show(at.thread, "First.", Body("Second\n-# ⏳ 25 s · `npm test` · plan 2/5", (STOP,)))
        assert await at.editor.mark_interrupted(KEY, shown, INTERRUPTED).delivered()
        assert at.thread.texts == ["First.", "Second", INTERRUPTED.text]
        assert at.thread.messages[102].buttons == ()
        (call,) = at.thread.of("send")
        assert (call.nonce, call.reply_to) == ("i2", KEY)
        assert [call.message_id for call in at.thread.of("edit")] == [102]


@in_virtual_time
async def test_an_interrupted_reply_that_nobody_recorded_is_found_by_its_status() -> None:
    """R2"""
    async with scene() as at:
        show(at.thread, Body("Half\n-# ⏳ 5 s", (STOP,)), Body("-# ⏳ 1 h 05 min", (STOP,)), "-# a card")
        assert await at.editor.mark_interrupted(KEY, (), INTERRUPTED).delivered()
        assert at.thread.texts == ["Half", "-# Continued below.", "-# a card", INTERRUPTED.text]


@in_virtual_time
async def test_an_interrupted_reply_whose_text_is_not_found_is_left() -> None:
    """R2"""
    async with scene(fail={"read": [PortError("400")]}) as at:
        shown = show(at.thread, Body("Half\n-# ⏳ 5 s", (STOP,)))
        assert await at.editor.mark_interrupted(KEY, shown, INTERRUPTED).delivered()
        assert at.thread.texts == ["Half\n-# ⏳ 5 s", INTERRUPTED.text]


@in_virtual_time
async def test_the_interruption_is_told_once() -> None:
    """O1, R2"""
    async with scene() as at:
        shown = show(at.thread, "Half", INTERRUPTED)[:1]
        delivery = at.editor.mark_interrupted(KEY, shown, INTERRUPTED)
        assert await delivery.delivered()
        assert (delivery.message.message_id, len(at.thread.of("send"))) == (102, 0)


@in_virtual_time
async def test_an_interruption_is_not_over_before_the_button_is_gone() -> None:
    """R2"""
    async with scene(fail={"edit": [Unavailable("503")] * 3}) as at:
        shown = show(at.thread, Body("Half\n-# ⏳ 5 s", (STOP,)))
        assert await at.editor.mark_interrupted(KEY, shown, INTERRUPTED).delivered()
        assert at.thread.texts[0] == "Half"


@pytest.mark.parametrize("error", [ThreadArchived(), MessageGone()])
@in_virtual_time
async def test_a_message_that_takes_no_edit_does_not_hold_the_interruption_up(error: Exception) -> None:
    """D10, O1"""
    async with scene(fail={"edit": [error]}) as at:
        shown = show(at.thread, "Half\n-# ⏳ 5 s")
        assert await at.editor.mark_interrupted(KEY, shown, INTERRUPTED).delivered()
        assert at.thread.texts == ["Half\n-# ⏳ 5 s", INTERRUPTED.text]


CARD = Body("🔐 `rm`\n-# ☑️ `alice` agreed to `Allow`.\n-# <@1> may answer.", (ALLOW,))
CLOSED = "🔐 `rm`\n-# ☑️ `alice` agreed to `Allow`.\n⏹ over"


def end_card(at: Any, since: int, token: str = "x") -> Delivery:
    delivery: Delivery = at.editor.end_card(since, partial(is_card, token), partial(ended, end="⏹ over"))
    return delivery


@in_virtual_time
async def test_a_card_of_an_earlier_run_loses_its_buttons_and_keeps_its_text() -> None:
    """C4: whether its message was recorded, or only that there is one; no other is touched."""
    for since in (101, 102):
        async with scene() as at:
            show(at.thread, Body("Half\n-# ⏳ 5 s", (STOP,)), CARD, CARD, "later")
            others = replace(CARD, buttons=(Button("weft:perm:xy:0", "Allow"),))
            at.thread.messages[103] = others
            notice = at.editor.mark_interrupted(KEY, (101,), INTERRUPTED)
            assert await end_card(at, since).delivered()
            assert await notice.delivered()
            assert at.thread.texts == ["Half", CLOSED, CARD.text, "later", INTERRUPTED.text]
            assert [bool(at.thread.messages[key].buttons) for key in (102, 103)] == [False, True]


@in_virtual_time
async def test_a_card_that_is_not_there_is_given_up() -> None:
    """C4: it was deleted, never posted, or shows its end; nothing is posted in its place."""
    for bodies in ([], [replace(CARD, buttons=())], [CARD]):
        async with scene(fail={"edit": [MessageGone()]}) as at:
            show(at.thread, *bodies)
            delivery = end_card(at, 101)
            await delivery.delivered()
            assert at.thread.of("send") == []
            assert delivery.message.given_up


@in_virtual_time
async def test_a_card_in_an_archived_thread_shows_its_end_once_that_is_open() -> None:
    """C4, D10: what is posted there opens it."""
    async with scene(fail={"edit": [ThreadArchived()]}) as at:
        show(at.thread, CARD)
        delivery = end_card(at, 101)
        await delivery.delivered()
        assert delivery.message.given_up
        assert await at.editor.say(Body("next")).delivered()
        await anyio.sleep(5)
        assert at.thread.texts == [CLOSED, "next"]
