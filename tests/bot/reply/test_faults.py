"""The editor in a thread that refuses, loses, or is gone."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import anyio
import pytest

from bot.reply.port import Attachment, Body, MessageGone, PortError, ThreadArchived, ThreadGone, Unavailable
from tests.bot.reply.fakes import ALLOW, PROSE, final_reply, gaps, in_virtual_time, scene, spoken


@in_virtual_time
async def test_a_gone_thread_gives_everything_up_and_is_told_once() -> None:
    """D10"""
    async with scene(fail={"edit": [ThreadGone("deleted")]}) as at:
        reply = at.open()
        await at.stream(reply, PROSE[:400], 5)
        assert not await at.end(reply)
        assert not await at.editor.say(Body("notice")).delivered()
        assert not await at.open(3).delivered()
        assert (at.gone, at.editor.gone, len(at.thread.calls)) == (["deleted"], True, 2)


@in_virtual_time
async def test_a_thread_that_is_gone_when_the_typing_sign_is_sent_is_noticed() -> None:
    """D10"""
    async with scene(fail={"typing": [ThreadGone("kicked")]}) as at:
        assert not await at.open().delivered()
        assert at.gone == ["kicked"]


@in_virtual_time
async def test_a_typing_sign_that_fails_is_no_matter() -> None:
    async with scene(fail={"typing": [Unavailable("503")]}) as at:
        reply = at.open()
        at.turn.text = "ok"
        assert await at.end(reply)


@in_virtual_time
async def test_in_an_archived_thread_nothing_is_edited_and_the_rest_is_one_new_message() -> None:
    """D10: the new message opens the thread, and what stands above it loses its Stop button then."""
    async with scene() as at:
        reply = at.open()
        await at.stream(reply, "Seen. ", 3)
        at.thread.fail["edit"] = [ThreadArchived()] * 20
        await at.stream(reply, "Not seen, but not lost.", 20)
        calls = len(at.thread.calls)
        at.thread.fail.clear()
        assert await at.end(reply)
        await anyio.sleep(5)
        assert [(call.kind, call.body.text, call.body.buttons) for call in at.thread.calls[calls:]] == [
            ("send", "Not seen, but not lost.\n-# footer", ()),
            ("edit", "Seen. ", ()),
        ]
        assert at.thread.of("edit")[1].at > at.thread.of("send")[-1].at
        assert len(at.thread.of("edit")) == 2


@in_virtual_time
async def test_much_text_for_an_archived_thread_is_a_file_and_exactly_the_rest() -> None:
    """D10, D4"""
    async with scene() as at:
        reply = at.open()
        await at.stream(reply, PROSE[:3000], 10)
        await anyio.sleep(3)
        seen = PROSE[:3000]
        at.thread.fail["edit"] = [ThreadArchived()] * 20
        await at.stream(reply, PROSE[3000:9000], 20)
        assert await at.end(reply)
        body = at.thread.messages[max(at.thread.messages)]
        assert body.file is not None
        assert PROSE[:9000] == seen + body.file.data.decode()
        assert [call for call in at.thread.of("send")[2:-1] if call.at > at.thread.of("edit")[-1].at] == []


@in_virtual_time
async def test_a_thread_archived_before_the_last_edit_gets_the_end_in_a_new_message() -> None:
    """D10, O1"""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "All said."
        reply.touch()
        await anyio.sleep(2)
        at.thread.fail["edit"] = [ThreadArchived()]
        assert await at.end(reply)
        assert at.thread.texts[-1] == "-# footer"


@in_virtual_time
async def test_a_thread_that_stays_archived_is_given_up_after_three_tries() -> None:
    """D10"""
    async with scene(fail={"send": [ThreadArchived()] * 9}) as at:
        reply = at.open()
        at.turn.text = "text"
        assert not await at.end(reply)
        assert (len(at.thread.of("send")), len(at.gone)) == (3, 1)


@in_virtual_time
async def test_a_deleted_message_is_posted_anew_once() -> None:
    """D10"""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "one"
        reply.touch()
        await anyio.sleep(2)
        at.thread.fail["edit"] = [MessageGone()]
        at.turn.text += " two"
        assert await at.end(reply)
        assert (len(at.thread.of("send")), at.thread.texts[-1]) == (2, "one two\n-# footer")
        assert at.thread.of("send")[0].nonce != at.thread.of("send")[1].nonce


@in_virtual_time
async def test_a_message_that_is_deleted_again_and_again_is_given_up() -> None:
    """D10: at most three tries of anything that is gone."""
    async with scene(fail={"edit": [MessageGone()] * 50}) as at:
        reply = at.open()
        await at.stream(reply, PROSE[:1000], 30)
        assert not await at.end(reply)
        assert len(at.thread.calls) <= 4


@in_virtual_time
async def test_an_open_card_that_was_deleted_is_posted_anew_and_a_closed_one_is_not() -> None:
    """D6, D10"""
    async with scene(fail={"edit": [MessageGone()]}) as at:
        reply = at.open()
        reply.card("a", Body("A?", (ALLOW,)))
        await anyio.sleep(1)
        reply.card("a", Body("A? (5 min left)", (ALLOW,)))
        await anyio.sleep(2)
        assert at.thread.texts[-1] == "A? (5 min left)"
        reply.card("b", Body("B?", (ALLOW,)))
        await anyio.sleep(2)
        at.thread.fail["edit"] = [MessageGone()]
        reply.card("b", Body("B!"))
        await anyio.sleep(5)
        assert [call.body.text for call in at.thread.of("send")] == ["A?", "A? (5 min left)", "B?"]


@in_virtual_time
async def test_when_discord_is_unavailable_the_final_text_arrives_later() -> None:
    """D3, O1: the final text always arrives."""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "one"
        reply.touch()
        await anyio.sleep(2)
        at.thread.fail["edit"] = [Unavailable("503")] * 6
        at.turn.text += " two"
        assert await at.end(reply)
        assert at.thread.texts == ["one two\n-# footer"]
        waits = gaps(at.thread.of("edit")[:6])
        assert all(later >= earlier for earlier, later in pairwise(waits[1:]))


@in_virtual_time
async def test_a_refusal_slows_the_pace_down_and_success_brings_it_back() -> None:
    """D3"""
    async with scene() as at:
        reply = at.open()
        at.thread.fail["edit"] = [None, None, Unavailable("429")]
        await at.stream(reply, PROSE[:1800], 40)
        edits = gaps(at.thread.of("edit"))
        assert edits[3] >= 1.3
        assert edits[-1] <= 1.4


@in_virtual_time
async def test_a_message_whose_answer_was_lost_is_not_posted_twice() -> None:
    """D3: the final text arrives exactly once."""
    async with scene(lose_answers=True, fail={"send": [Unavailable("reset"), Unavailable("reset")]}) as at:
        reply = at.open()
        at.turn.text = "one"
        reply.touch()
        await anyio.sleep(0.5)
        at.turn.text += " two"
        assert await at.end(reply)
        assert at.thread.texts == ["one two\n-# footer"]
        assert {"n1"} == {call.nonce for call in at.thread.of("send")}


@in_virtual_time
async def test_an_unknown_error_is_tried_three_times_and_spares_the_rest() -> None:
    """Q10, O4"""
    async with scene(fail={"send": [ValueError("a bug")] * 3}) as at:
        assert not await at.editor.say(Body("bad")).delivered()
        assert await at.editor.say(Body("good")).delivered()
        assert len(at.thread.of("send")) == 4


@in_virtual_time
async def test_a_turn_that_cannot_be_rendered_spares_the_other_replies() -> None:
    """O4"""

    def broken(offset: int) -> None:
        raise RuntimeError("a bug")

    async with scene() as at:
        bad = at.editor.open(1, broken)
        assert not await bad.delivered()
        reply = at.open()
        at.turn.text = "fine"
        assert await at.end(reply)


@in_virtual_time
async def test_order_is_kept_while_a_message_has_to_wait() -> None:
    async with scene(fail={"send": [Unavailable("503")] * 3}) as at:
        first, second = at.editor.say(Body("first")), at.editor.say(Body("second"))
        assert await second.delivered()
        assert await first.delivered()
        assert at.thread.texts == ["first", "second"]


@pytest.mark.parametrize("seed", range(25))
def test_whenever_the_thread_is_archived_no_text_is_lost_or_shown_twice(seed: int) -> None:
    """D10"""
    dice = random.Random(seed)
    text = PROSE[: dice.randrange(500, 9000)]
    archived_at = dice.randrange(len(text))

    @in_virtual_time
    async def play() -> None:
        async with scene(delay=dice.uniform(0.01, 0.4), stall=dice.choice([0.0, 2.0])) as at:
            reply = at.open()
            start, number = 0, 0
            while start < len(text):
                end = start + dice.randrange(1, 900)
                at.thread.archived = at.thread.archived or start <= archived_at < end
                await at.stream(reply, text[start:end], dice.uniform(0.1, 4))
                start = end
                if dice.random() < 0.2:
                    number += 1
                    reply.card(f"c{number}", Body(f"-# card {number}", (ALLOW,)))
            at.thread.archived = at.thread.archived or dice.random() < 0.3
            assert await at.end(reply)
            files = [body.file.data.decode() for body in at.thread.messages.values() if body.file]
            # A piece that missed its message comes last, so the order may differ; what is there may not.
            shown = "".join((spoken(at.thread.texts) + "".join(files)).split())
            assert Counter("".join(text.split())) == Counter(shown)
            assert at.thread.texts[-1].endswith("-# footer")

    play()


@in_virtual_time
async def test_what_an_archived_thread_is_sent_at_the_end_is_as_clean_as_any_message() -> None:
    """D10, D4: a code block is closed above the footer, and no escape is posted."""
    async with scene() as at:
        reply = at.open()
        await at.stream(reply, "Seen. ", 3)
        at.thread.fail["edit"] = [ThreadArchived()] * 20
        await at.stream(reply, "\n```sh\n\x1b[32mmake", 20)
        assert await at.end(reply)
        assert at.thread.texts[-1] == "\n```sh\nmake\n```\n-# footer"


@in_virtual_time
async def test_an_answer_whose_text_discord_refuses_still_ends_visibly() -> None:
    """O1, D3: the text goes into a file, which no filter for words reads."""
    async with scene(fail={"send": [PortError("blocked by AutoMod")] * 3}) as at:
        reply = at.open()
        at.turn.text = "a forbidden word"
        assert await at.end(reply)
        (body,) = at.thread.messages.values()
        assert "forbidden" not in body.text
        assert body.text.endswith("-# footer")
        assert body.file is not None
        assert body.file.data == b"a forbidden word"


@in_virtual_time
async def test_when_even_the_file_is_refused_the_outcome_is_told_without_it() -> None:
    """O1"""
    async with scene(fail={"send": [PortError("no")] * 6}) as at:
        reply = at.open()
        at.turn.text = "a forbidden word"
        assert await at.end(reply)
        assert at.thread.texts[-1].endswith("\n-# Answered.")


@in_virtual_time
async def test_a_thread_that_takes_nothing_at_all_is_not_asked_for_ever() -> None:
    """D10"""
    async with scene(fail={"send": [PortError("no")] * 20}) as at:
        reply = at.open()
        at.turn.text = "a forbidden word"
        assert not await at.end(reply)
        assert len(at.thread.of("send")) == 9


@in_virtual_time
async def test_a_refused_message_in_the_middle_of_an_answer_is_a_file_below_it() -> None:
    """O1, D3: and the end is told once."""
    async with scene(fail={"send": [PortError("no")] * 3}) as at:
        reply = at.open()
        at.turn.text = PROSE[:3000]
        assert await at.end(reply)
        first, second = at.thread.messages.values()
        assert second.file is not None
        assert spoken([second.file.data.decode(), first.text]).removesuffix("\n") == PROSE[:3000]
        assert [text.count("-# footer") for text in at.thread.texts] == [1, 0]


@in_virtual_time
async def test_a_thread_that_is_archived_after_the_end_was_told_is_not_told_it_again() -> None:
    """O1, D10: the end came in a message of its own, before the last edit of the text."""
    async with scene() as at:
        reply = at.open()
        await at.stream(reply, "All said.", 3)
        at.thread.fail["edit"] = [Unavailable("503"), ThreadArchived()]
        assert await at.end(reply, final_reply(ping=7))
        assert [text.count("-# footer") for text in at.thread.texts] == [0, 1]


@in_virtual_time
async def test_whoever_waits_for_a_card_of_a_reply_that_was_given_up_is_told_at_once() -> None:
    """D6, O4"""
    async with scene() as at:
        reply, refused = at.open(), anyio.Event()
        reply.end(delivered=False)
        reply.card("c", Body("-# card", (ALLOW,)), refused.set)
        assert refused.is_set()


@in_virtual_time
async def test_whoever_waits_for_a_card_that_discord_refuses_is_told_at_once() -> None:
    """D6, D10"""
    async with scene(fail={"send": [PortError("blocked by AutoMod"), None]}) as at:
        reply = at.open()
        refused = anyio.Event()
        reply.card("c", Body("-# card", (ALLOW,)), refused.set)
        await refused.wait()
        assert len(at.thread.of("send")) == 1
        reply.card("c", Body("-# over"))
        reply.card("instead", Body("-# said so"))
        assert await at.end(reply)
        assert at.thread.texts[0] == "-# said so"


@in_virtual_time
async def test_a_card_that_is_posted_holds_its_file_no_more_once_it_is_over() -> None:
    """T10: a turn may have hundreds of cards."""
    async with scene() as at:
        reply, file = at.open(), Attachment("command.txt", b"all of it")
        reply.card("c", Body("-# card", (ALLOW,), file))
        await anyio.sleep(5)
        reply.card("c", Body("-# over", file=file))
        assert await at.end(reply)
        assert [call.body.file for call in at.thread.calls if "card" in call.body.text] == [file]
        assert [call.body.file for call in at.thread.calls if "over" in call.body.text] == [None]


LONG = 180.0


def limited(seconds: float = LONG) -> Unavailable:
    return Unavailable("429", seconds)


@in_virtual_time
async def test_the_end_is_a_new_message_while_edits_are_not_taken() -> None:
    """D3: what stood there keeps its text, and loses status and button when that can be done."""
    async with scene() as at:
        reply = at.open()
        await at.stream(reply, "Seen. ", 3)
        at.thread.fail["edit"] = [limited()]
        await at.stream(reply, "Not seen, but not lost.", 20)
        ended = anyio.current_time()
        assert await at.end(reply)
        assert anyio.current_time() - ended < 1
        assert at.thread.texts[-1] == "Not seen, but not lost.\n-# footer"
        assert len(at.thread.of("edit")) == 1
        await anyio.sleep(LONG)
        assert at.thread.texts == ["Seen. ", "Not seen, but not lost.\n-# footer"]
        assert not any(body.buttons for body in at.thread.messages.values())
        assert len(at.thread.of("edit")) == 2


@in_virtual_time
async def test_an_end_whose_own_edit_is_not_taken_becomes_a_new_message() -> None:
    """D3, O1"""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "All said."
        reply.touch()
        await anyio.sleep(2)
        at.thread.fail["edit"] = [limited()]
        ended = anyio.current_time()
        assert await at.end(reply)
        assert anyio.current_time() - ended < 1
        await anyio.sleep(LONG)
        assert at.thread.texts == ["All said.", "-# footer"]


@in_virtual_time
async def test_a_limit_that_is_over_in_a_moment_is_waited_for() -> None:
    """D3: one message is better than two."""
    async with scene() as at:
        reply = at.open()
        await at.stream(reply, "Seen. ", 3)
        at.thread.fail["edit"] = [limited(40)]
        await at.stream(reply, "And this.", 38)
        assert await at.end(reply)
        assert at.thread.texts == ["Seen. And this.\n-# footer"]


@in_virtual_time
async def test_a_message_is_not_posted_again_before_the_limit_is_over() -> None:
    """D3"""
    async with scene(fail={"send": [limited()]}) as at:
        reply = at.open()
        at.turn.text = "late"
        assert await at.end(reply)
        first, second = at.thread.of("send")
        assert second.at - first.at >= LONG
        assert first.nonce == second.nonce


@pytest.mark.parametrize("seed", range(15))
def test_whenever_edits_are_not_taken_no_text_is_lost_or_shown_twice(seed: int) -> None:
    """D3, D4"""
    dice = random.Random(seed)
    text = PROSE[: dice.randrange(500, 9000)]

    @in_virtual_time
    async def play() -> None:
        async with scene(delay=dice.uniform(0.01, 0.4), stall=dice.choice([0.0, 2.0])) as at:
            refusal = dice.choice([limited(), limited(31), Unavailable("503")])
            at.thread.fail["edit"] = [*[None] * dice.randrange(6), *[refusal] * dice.randrange(1, 3)]
            reply = at.open()
            start = 0
            while start < len(text):
                end = start + dice.randrange(1, 900)
                await at.stream(reply, text[start:end], dice.uniform(0.1, 4))
                start = end
                if dice.random() < 0.1:
                    reply.card(f"c{start}", Body("-# card", (ALLOW,)))
            assert await at.end(reply, final_reply())
            await anyio.sleep(3 * LONG)
            files = [body.file.data.decode() for body in at.thread.messages.values() if body.file]
            shown = "".join((spoken(at.thread.texts) + "".join(files)).split())
            assert Counter("".join(text.split())) == Counter(shown)
            assert "".join(at.thread.texts).count("-# footer") == 1
            assert not any("⏳" in one for one in at.thread.texts)

    play()
