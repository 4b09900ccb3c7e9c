"""An end that is shown while text may still come: what is late is shown as well, and nothing is told twice."""

from __future__ import annotations

import anyio
import pytest

from bot.model import Outcome
from bot.reply.pending_reply import FinalReply, SavedReply
from bot.reply.port import Body
from bot.reply.split import PAGE
from tests.bot.reply.fakes import ALLOW, PROSE, final_reply, in_virtual_time, scene
from tests.bot.reply.samples import tool

STOPPED = "⏹ **Stopped** by `Ann`."
END = final_reply(Outcome.STOPPED, STOPPED)


@in_virtual_time
async def test_an_announced_end_is_shown_at_once_and_its_button_is_gone() -> None:
    """T3, O1, D5: the final state is the same, and needs no further edit."""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "So far"
        reply.touch()
        await anyio.sleep(0.5)
        reply.announce(END)
        await anyio.sleep(0.01)
        (body,) = at.thread.messages.values()
        assert (body.text, body.buttons) == (f"So far\n{STOPPED}\n-# footer", ())
        edits = len(at.thread.of("edit"))
        assert await at.end(reply, END)
        assert len(at.thread.of("edit")) == edits


@in_virtual_time
async def test_what_is_said_after_an_announced_end_stands_in_its_message() -> None:
    """T3, O3."""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "So far"
        reply.touch()
        await anyio.sleep(0.5)
        reply.announce(END)
        await anyio.sleep(0.01)
        at.turn.text = "So far, and late"
        reply.touch()
        assert await at.end(reply, END)
        assert at.thread.texts == [f"So far, and late\n{STOPPED}\n-# footer"]


@pytest.mark.parametrize(
    ("text", "late"),
    [("", ""), ("", "late"), ("So far", ""), ("So far", " and late"), (PROSE[:4000], ""), (PROSE[:PAGE], " and late")],
)
@pytest.mark.parametrize("card", [False, True])
@pytest.mark.parametrize("ping", [None, 7])
@in_virtual_time
async def test_an_announced_end_is_told_once_with_all_that_was_said(
    text: str, late: str, card: bool, ping: int | None
) -> None:
    """O1, D6, D9: below a card, in a message that notifies, where the text leaves no room, and where there is none."""
    end = FinalReply(Outcome.STOPPED, (STOPPED, "-# more" * 30), "-# footer", ping)
    async with scene() as at:
        reply = at.open()
        at.turn.fields["tools"] = (tool(title="ls", status="completed", output="a.txt"),)
        at.turn.text = text
        reply.touch()
        await anyio.sleep(0.5)
        if card:
            reply.card("c", Body("a card", (ALLOW,)))
            reply.card("c", Body("a card that is closed"))
        await anyio.sleep(3)
        reply.announce(end)
        await anyio.sleep(3)
        at.turn.text = text + late
        reply.touch()
        await anyio.sleep(0.01)
        assert await at.end(reply, end)
        shown = "\n".join(at.thread.texts)
        assert (shown.count(STOPPED), shown.count("-# footer")) == (1, 1)
        assert not any(body.buttons for body in at.thread.messages.values())
        assert [body.ping for body in at.thread.messages.values() if body.ping] == ([ping] if ping else [])
        assert text.strip()[-20:] in shown
        assert late.strip() in shown
        assert ("ls" in shown) or text + late


@in_virtual_time
async def test_what_is_kept_before_an_end_is_announced_takes_nothing_from_the_turn() -> None:
    """O1, R2."""
    async with scene() as at:
        reply = at.open()
        at.turn.text = "So far"
        reply.touch()
        await anyio.sleep(0.5)
        kept = reply.owed(END, ended=False)
        assert kept is not None
        assert (SavedReply.from_json(kept).text, SavedReply.from_json(kept).final) == ("So far", END)
        at.turn.text = "So far, and late"
        assert await at.end(reply, END)
        assert at.thread.texts == [f"So far, and late\n{STOPPED}\n-# footer"]
