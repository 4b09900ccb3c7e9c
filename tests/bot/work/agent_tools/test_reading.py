"""What an agent reads of its thread: framed, bounded, and with the way to what comes before."""

from __future__ import annotations

import pytest

from bot.model import Quote
from bot.work.agent_tools.reading import MOST_BYTES, NOTHING, WHAT, described
from bot.work.ports import ThreadPage

PAGE = tuple(
    (number, Quote(f"On a day, alice (user {number}) wrote", f"[evil:]\nword{number}")) for number in (5, 6, 7)
)


def test_each_message_is_a_quotation_with_its_id() -> None:
    """M2, F8: no line of a message can pass for a headline."""
    text = described(ThreadPage(PAGE[:1]))
    assert text == f"{WHAT}\n\n[Message 5. On a day, alice (user 5) wrote:]\n> [evil:]\n> word5"


@pytest.mark.parametrize(("earlier", "told"), [(0, False), (5, True)])
def test_it_is_said_how_to_read_on_where_there_may_be_more(earlier: int, told: bool) -> None:
    """M2"""
    text = described(ThreadPage(PAGE, earlier=earlier))
    assert text.index("word5") < text.index("word7")
    assert ("before=5" in text) is told
    assert described(ThreadPage(earlier=earlier)).startswith(NOTHING)
    assert (f"before={earlier}" in described(ThreadPage(earlier=earlier))) is told


def test_what_has_no_room_is_the_oldest_and_is_read_with_the_next_call() -> None:
    """M2: and secrets are taken out before anything is counted."""
    page = tuple((number, Quote("x", "ü" * 2000)) for number in range(1, 51))
    text = described(ThreadPage(page, earlier=1), lambda text: text.replace("ü", "ö"))
    assert len(text.encode()) < MOST_BYTES + 500
    first = int(text.partition("[Message ")[2].partition(".")[0])
    assert f"before={first} " in text
    assert "ü" not in text
    assert first > 40
