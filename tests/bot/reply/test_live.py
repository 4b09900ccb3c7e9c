"""What stands in the messages of a reply besides its text: status, end, cards, notices."""

from __future__ import annotations

import anyio

from acp.schema import PlanEntry
from bot.model import Outcome, Verbosity
from bot.reply.pending_reply import FinalReply, SavedReply
from bot.reply.port import Attachment, Body, MessageGone
from bot.reply.sanitise import units
from tests.bot.reply.fakes import ALLOW, PROSE, STOP, FakeTurn, final_reply, in_virtual_time, scene
from tests.bot.reply.replies import DONE, KEY
from tests.bot.reply.samples import tool


@in_virtual_time
async def test_typing_is_shown_once_until_there_is_text() -> None:
    """D3"""
    async with scene() as at:
        at.open()
        await anyio.sleep(5)
        assert (at.thread.typed, at.thread.calls) == (1, [])


@in_virtual_time
async def test_a_tool_call_is_worth_a_message_before_there_is_text() -> None:
    """D5"""
    async with scene() as at:
        reply = at.open()
        at.turn.fields["tools"] = (tool(title="npm test", status="in_progress"),)
        reply.touch()
        await anyio.sleep(0.3)
        assert at.thread.texts == ["-# ⏳ 0 s · `npm test`"]
        at.turn.text = "All green."
        assert await at.end(reply)
        assert at.thread.texts == ["All green.\n-# footer"]


@in_virtual_time
async def test_tools_and_a_plan_are_worth_a_message_and_thoughts_are_not() -> None:
    """D3, D5"""
    plan = (PlanEntry(content="read", status="completed"), PlanEntry(content="write", status="in_progress"))
    for fields, messages in (({"plan": plan}, 1), ({"tools": (tool(),)}, 1), ({"thoughts": "hm"}, 0)):
        async with scene() as at:
            at.turn.fields |= fields
            reply = at.open()
            reply.touch()
            await anyio.sleep(1)
            assert len(at.thread.texts) == messages
            assert await at.end(reply)


@in_virtual_time
async def test_a_silent_turn_shows_a_stop_button_after_some_seconds_and_says_how_long_it_is_silent() -> None:
    """T7"""
    async with scene() as at:
        at.open()
        await anyio.sleep(130)
        (body,) = at.thread.messages.values()
        why = "the model provider may be overloaded or refusing. Wait or press Stop"
        told = f"no sign of life for 2 min: {why}"
        assert (body.text, body.buttons) == (f"-# ⏳ 2 min · {told}", (STOP,))
        assert len(at.thread.of("edit")) <= 15


@in_virtual_time
async def test_a_turn_without_text_ends_in_one_message_with_lines_and_footer() -> None:
    """O1"""
    async with scene() as at:
        reply = at.open()
        assert await at.end(reply, final_reply(Outcome.STOPPED, "⏹ **Stopped** by `Ann`."))
        assert at.thread.texts == ["⏹ **Stopped** by `Ann`.\n-# footer"]


@in_virtual_time
async def test_without_text_the_answer_is_made_of_the_tools() -> None:
    """T4"""
    async with scene() as at:
        at.turn.fields["tools"] = (tool(title="ls", status="completed", output="a.txt\nb.txt"),)
        reply = at.open()
        await anyio.sleep(1)
        assert await at.end(reply)
        assert at.thread.texts == ["✓ `ls`\n```\na.txt\nb.txt\n```\n-# footer"]


@in_virtual_time
async def test_a_long_answer_made_of_tools_is_split_as_well() -> None:
    """T4, D4"""
    async with scene() as at:
        at.turn.fields["tools"] = tuple(
            tool(id=f"t{n}", title=f"run {n}", output=f"line {n}\n" * 100) for n in range(60)
        )
        reply = at.open()
        assert await at.end(reply)
        assert len(at.thread.texts) == 9
        assert all(units(text) <= 2000 for text in at.thread.texts)


@in_virtual_time
async def test_neither_text_nor_tools_is_a_plain_sentence_with_the_stop_reason() -> None:
    """T4"""
    async with scene() as at:
        at.turn.text, at.turn.fields["stop_reason"] = " \n", "end_turn"
        reply = at.open()
        assert await at.end(reply)
        assert "stop reason `end_turn`" in at.thread.texts[0]


@in_virtual_time
async def test_a_reply_with_nothing_to_say_still_ends_visibly() -> None:
    """O1"""
    async with scene() as at:
        reply = at.open()
        reply.finish(FinalReply(Outcome.REMOVED))
        assert await reply.delivered()
        assert at.thread.texts == ["-# Removed."]


@in_virtual_time
async def test_lines_that_do_not_fit_below_the_text_get_a_message_of_their_own() -> None:
    """O1"""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "x" * 1800
        assert await at.end(reply, final_reply(Outcome.FAILED, "y" * 900))
        assert at.thread.texts == ["x" * 1800, "y" * 900 + "\n-# footer"]


@in_virtual_time
async def test_a_ping_comes_in_a_new_message_since_an_edit_notifies_nobody() -> None:
    """D9"""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "Done."
        reply.touch()
        await anyio.sleep(1)
        assert await at.end(reply, final_reply(ping=7))
        assert [call.body.ping for call in at.thread.of("send")] == [None, 7]
        assert at.thread.texts == ["Done.", "<@7>\n-# footer"]


@in_virtual_time
async def test_no_message_but_the_pinging_one_may_notify_anybody() -> None:
    """D9"""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "<@7> and @everyone"
        reply.touch()
        await anyio.sleep(3)
        await at.end(reply)
        assert {None} == {call.body.ping for call in at.thread.calls}


@in_virtual_time
async def test_a_card_stands_below_the_text_and_later_text_below_the_card() -> None:
    """D6"""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "I will delete it."
        reply.touch()
        await anyio.sleep(2)
        reply.card("p1", Body("May I?", (ALLOW,)))
        await anyio.sleep(2)
        reply.card("p1", Body("Allowed by Ann"))
        at.turn.text += " Deleted."
        assert await at.end(reply)
        assert at.thread.texts == ["I will delete it.", "Allowed by Ann", " Deleted.\n-# footer"]


@in_virtual_time
async def test_text_that_was_not_posted_yet_is_posted_before_the_card() -> None:
    """D6"""
    async with scene() as at:
        reply = at.open()
        await anyio.sleep(1)
        at.turn.text = "Before."
        reply.touch()
        reply.card("p1", Body("May I?", (ALLOW,)))
        await anyio.sleep(1)
        assert [call.body.text.split("\n")[0] for call in at.thread.of("send")] == ["Before.", "May I?"]


@in_virtual_time
async def test_while_a_card_is_open_no_status_is_posted_below_it() -> None:
    """T7: quiet while a card is open."""
    async with scene() as at:
        at.turn.fields["tools"] = (tool(title="rm"),)
        at.turn.fields["permissions"] = ("t1",)
        reply = at.open()
        reply.card("p1", Body("May I?", (ALLOW,)))
        await anyio.sleep(0.5)
        sent = len(at.thread.texts)
        await anyio.sleep(100)
        assert sent == len(at.thread.texts)
        assert at.thread.texts[-1] == "May I?"


@in_virtual_time
async def test_a_status_without_text_above_a_card_becomes_a_line_on_the_tools() -> None:
    """D6"""
    async with scene() as at:
        at.turn.fields["tools"] = (tool(title="rm", status="pending"),)
        reply = at.open()
        await anyio.sleep(1)
        reply.card("p1", Body("May I?", (ALLOW,)))
        reply.card("p1", Body("Allowed"))
        at.turn.text = "Removed."
        assert await at.end(reply)
        assert at.thread.texts == ["-# · `rm`", "Allowed", "Removed.\n-# footer"]


@in_virtual_time
async def test_a_plan_that_waits_for_approval_gets_no_line_on_its_tool_above_its_card() -> None:
    """C7: the card says more than that line; what was done before is told."""
    for before, above in (((), []), ((tool(title="Read", status="completed"),), ["-# ✓ `Read`"])):
        async with scene() as at:
            at.turn.fields["tools"] = (*before, tool(id="t2", title="Ready to code?", kind="switch_mode"))
            reply = at.open()
            await anyio.sleep(1)
            reply.card("p1", Body("The plan", (ALLOW,)))
            reply.card("p1", Body("Approved"))
            at.turn.text = "Done."
            assert await at.end(reply)
            assert at.thread.texts == [*above, "Approved", "Done.\n-# footer"]


@in_virtual_time
async def test_how_much_a_turn_shows_can_be_changed_while_it_runs() -> None:
    """V1, D3: quietly nothing is posted before there is text, or for a while; then each level holds at once."""
    async with scene() as at:
        at.turn.fields["tools"] = (
            tool(title="npm test", status="in_progress", output="ok 1"),
            tool(id="t2", title="Read", status="completed"),
        )
        at.turn.fields["plan"] = (PlanEntry(content="write"),)
        reply = at.open()
        reply.verbosity = Verbosity.QUIET
        await anyio.sleep(1)
        assert at.thread.texts == []
        reply.verbosity = Verbosity.NORMAL
        await anyio.sleep(2)
        folded = "-# ⏳ 0 s · `npm test` · plan 0/1\n-# ☐ write\n-# ✓ `Read`"
        assert at.thread.texts == [folded]
        reply.verbosity = Verbosity.VERBOSE
        await anyio.sleep(2)
        assert "-# ▸ `npm test`\n```\nok 1\n```" in at.thread.texts[0]
        reply.verbosity = Verbosity.QUIET
        await anyio.sleep(4)
        assert (at.thread.texts, len(at.thread.of("edit"))) == (["-# ⏳ 5 s"], 2)
        at.turn.text = "Green."
        assert await at.end(reply)
        assert at.thread.texts == ["Green.\n-# footer"]


@in_virtual_time
async def test_the_footer_is_in_the_last_message_also_when_that_was_a_card() -> None:
    """D5, D6"""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "I ask."
        reply.touch()
        await anyio.sleep(1)
        reply.card("p1", Body("May I?", (ALLOW,)))
        reply.card("p1", Body("Denied"))
        assert await at.end(reply)
        assert at.thread.texts == ["I ask.", "Denied", "-# footer"]


@in_virtual_time
async def test_a_code_block_that_a_card_interrupts_goes_on_below_it() -> None:
    """D4, D6"""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "```py\na = 1\n"
        reply.touch()
        await anyio.sleep(1)
        reply.card("p1", Body("May I?"))
        at.turn.text += "b = 2\n```\n"
        assert await at.end(reply)
        assert at.thread.texts == ["```py\na = 1\n```", "May I?", "```py\nb = 2\n```\n-# footer"]


@in_virtual_time
async def test_two_cards_are_two_messages_and_each_is_edited_by_its_key() -> None:
    """D6"""
    async with scene() as at:
        reply = at.open()
        reply.card("a", Body("A?", (ALLOW,)))
        reply.card("b", Body("B?", (ALLOW,)))
        await anyio.sleep(1)
        reply.card("a", Body("A!"))
        await anyio.sleep(1)
        assert at.thread.texts == ["A!", "B?"]


@in_virtual_time
async def test_a_card_that_ended_before_it_was_posted_is_posted_in_its_end_state() -> None:
    """D6"""
    async with scene() as at:
        reply = at.open()
        reply.card("a", Body("A?", (ALLOW,)))
        reply.card("a", Body("A!"))
        await anyio.sleep(1)
        assert [(call.kind, call.body.text) for call in at.thread.calls] == [("send", "A!")]


@in_virtual_time
async def test_a_card_can_still_be_closed_after_the_reply_was_delivered() -> None:
    """D6"""
    async with scene() as at:
        reply = at.open()
        reply.card("a", Body("A?", (ALLOW,)))
        await at.end(reply)
        reply.card("a", Body("cancelled"))
        await anyio.sleep(3)
        assert at.thread.texts[0] == "cancelled"


@in_virtual_time
async def test_a_notice_comes_after_the_text_that_was_said_before_it() -> None:
    async with scene() as at:
        reply = at.open()
        await anyio.sleep(1)
        at.turn.text = "text"
        reply.touch()
        notice = at.editor.say(Body("notice", file=Attachment("a.txt", b"a")), reply_to=9)
        assert await notice.delivered()
        first, second = at.thread.of("send")
        assert (first.body.text.split("\n")[0], second.body.text, second.reply_to) == ("text", "notice", 9)
        assert second.message_id == notice.message.message_id


@in_virtual_time
async def test_the_next_reply_does_not_wait_for_the_footer_of_the_one_before() -> None:
    """O4, T3"""
    async with scene(stall=4.5) as at:
        first = at.open(2)
        at.turn.text = "one"
        first.touch()
        await anyio.sleep(2)
        first.finish(final_reply())
        other = FakeTurn()
        second = at.open(3, turn=other)
        other.text = "two"
        second.touch()
        began = anyio.current_time()
        await anyio.sleep(0.3)
        assert at.thread.of("send")[-1].body.text.startswith("two")
        assert at.thread.of("send")[-1].at - began <= 0.2


@in_virtual_time
async def test_a_very_long_turn_goes_on_in_a_new_message_before_the_old_one_can_no_longer_be_edited() -> None:
    """T7, D3: Discord allows few edits of a message older than an hour."""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "Begun."
        reply.touch()
        await anyio.sleep(4000)
        assert at.thread.texts[0] == "Begun."
        assert at.thread.texts[1].startswith("-# ⏳ 1 h 06 min")
        first = min(at.thread.messages)
        assert max(call.at for call in at.thread.of("edit") if call.message_id == first) < 1000 + 3300
        at.turn.text += " Done."
        assert await at.end(reply)
        assert at.thread.texts == ["Begun.", " Done.\n-# footer"]


@in_virtual_time
async def test_a_status_that_comes_up_while_a_card_is_open_waits_for_its_answer() -> None:
    """T7, D6"""
    async with scene() as at:
        reply = at.open()
        reply.card("p1", Body("May I?", (ALLOW,)))
        at.turn.fields["tools"] = (tool(title="rm", status="in_progress"),)
        reply.touch()
        await anyio.sleep(100)
        assert at.thread.texts == ["May I?"]
        reply.card("p1", Body("Allowed"))
        await anyio.sleep(1)
        told = "no sign of life for 1 min: the tool may be slow. Wait or press Stop"
        assert at.thread.texts == ["Allowed", f"-# ⏳ 1 min · `rm` · {told}"]


@in_virtual_time
async def test_a_card_that_is_open_for_an_hour_gets_no_message_below() -> None:
    """T7, D6: quiet while a card is open."""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "I ask."
        reply.touch()
        await anyio.sleep(1)
        at.turn.fields["permissions"] = ("t1",)
        reply.card("p1", Body("May I?", (ALLOW,)))
        await anyio.sleep(4000)
        assert at.thread.texts[1:] == ["May I?"]
        at.turn.fields["permissions"] = ()
        reply.card("p1", Body("Allowed"))
        at.turn.text += " Done."
        assert await at.end(reply)
        assert at.thread.texts == ["I ask.", "Allowed", " Done.\n-# footer"]


@in_virtual_time
async def test_the_messages_of_a_reply_are_told_as_they_come_and_cards_and_notices_are_not() -> None:
    """R2"""
    told: list[tuple[int, ...]] = []
    async with scene() as at:
        reply = at.editor.open(KEY, at.turn.snapshot, on_shown=told.append)
        await at.stream(reply, PROSE[:500], 3)
        reply.card("a", Body("-# card"))
        await at.editor.say(Body("-# notice")).delivered()
        await at.stream(reply, PROSE[500:3000], 8)
        assert await at.end(reply, final_reply(ping=7))
        own = [key for key, text in at.thread.shown if text not in ("-# card", "-# notice")]
    assert told == [tuple(own[:length]) for length in range(1, len(own) + 1)]
    assert len(own) >= 4


@in_virtual_time
async def test_a_message_that_was_replaced_is_told_in_its_place() -> None:
    """D10, R2"""
    told: list[tuple[int, ...]] = []
    async with scene() as at:
        reply = at.editor.open(KEY, at.turn.snapshot, on_shown=told.append)
        await at.stream(reply, PROSE[:2200], 8)
        at.thread.fail["edit"] = [MessageGone()]
        assert await at.end(reply)
    first, second = told[1]
    assert told[-1] in [(first, 103), (103, second)]


@in_virtual_time
async def test_a_listener_that_fails_does_not_hurt_the_reply() -> None:
    """O4"""

    def broken(ids: tuple[int, ...]) -> None:
        raise RuntimeError("a bug")

    async with scene() as at:
        reply = at.editor.open(KEY, at.turn.snapshot, on_shown=broken)
        at.turn.text = "fine"
        assert await at.end(reply)
        assert at.thread.texts == ["fine\n-# footer"]


@in_virtual_time
async def test_between_the_payload_and_the_end_nothing_of_the_end_is_shown() -> None:
    """O1, D3: what is owed can be written down before anybody sees it."""
    async with scene() as at:
        reply = at.open()
        await at.stream(reply, "Half", 2)
        at.turn.text += " and half."
        final = final_reply()
        payload = reply.owed(final)
        requests = at.thread.requests
        reply.touch(urgent=True)
        await anyio.sleep(60)
        assert requests == at.thread.requests
        assert SavedReply.from_json(payload).text == "Half and half."
        reply.finish(final)
        assert await reply.delivered()
        assert (payload, reply.owed()) == (payload, None)
        assert at.thread.texts == ["Half and half.\n-# footer"]


@in_virtual_time
async def test_only_a_finished_reply_owes_something() -> None:
    async with scene() as at:
        reply = at.open()
        at.turn.text = "Done."
        assert reply.owed() is None
        reply.finish(final_reply())
        payload = reply.owed()
        assert payload is not None
        assert SavedReply.from_json(payload) == DONE
        assert await reply.delivered()


@in_virtual_time
async def test_a_turn_that_cannot_be_rendered_owes_nothing_and_is_given_up() -> None:
    """O4"""

    def broken(offset: int) -> None:
        raise RuntimeError("a bug")

    async with scene() as at:
        reply = at.editor.open(1, broken)
        assert reply.owed(FinalReply(Outcome.ANSWERED)) is None
        assert not await reply.delivered()
