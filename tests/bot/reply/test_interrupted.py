"""A reply that was broken off by the end of the process: what is left of it, and what is said."""

from __future__ import annotations

import pytest

from bot.reply.port import Body, MessageGone, PortError, ThreadArchived, Unavailable
from tests.bot.reply.fakes import STOP, in_virtual_time, scene
from tests.bot.reply.replies import INTERRUPTED, KEY, show


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
        assert at.thread.texts == ["Half", "-# The reply goes on below.", "-# a card", INTERRUPTED.text]


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
        assert (delivery.message_id, len(at.thread.of("send"))) == (102, 0)


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
