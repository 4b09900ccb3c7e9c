"""Answers as agents write them, and the messages that Discord gets for them.

`golden/NAME.md` is an answer, `golden/NAME.messages.md` what is shown of it. With ``WEFT_GOLDEN=1`` in the environment
the messages are written anew: read the difference before you commit it.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from bot.reply.outbox import Outbox
from bot.reply.pacing import Pacer, Pacing
from bot.reply.pages import MAX_PAGES, Pages
from bot.reply.port import Body
from bot.reply.reply_messages import ReplyMessages
from bot.reply.sanitise import units
from bot.reply.split import PAGE
from tests.bot.reply.discord_reader import read
from tests.bot.reply.fakes import FakeTurn, final_reply

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.md") if not path.stem.endswith(".messages"))
LONGEST = "report-of-100-kB"
BORDER = "\n═══════════ {} ═══════════\n"


def answer(name: str) -> str:
    """The answer of a sample; `report-of-100-kB` is the report again and again."""
    if name == LONGEST:
        report = answer("report")
        return report * (100_000 // len(report) + 1)
    return (GOLDEN / f"{name}.md").read_text()


def bodies_of(text: str) -> list[Body]:
    """All messages of a finished reply, in order."""
    turn = FakeTurn()
    turn.text = text
    messages = ReplyMessages(turn.snapshot, Outbox(Pacer(Pacing()), lambda: "n"))
    messages.compose_end(final_reply())
    return [message.desired for message in messages.outgoing if message.desired is not None]


def written(bodies: list[Body]) -> str:
    """All bodies as one text to compare and to read."""
    pieces = []
    for number, body in enumerate(bodies, 1):
        file = f", with {body.file.name} ({len(body.file.data):,} bytes)" if body.file else ""
        pieces += [BORDER.format(f"message {number}{file}"), body.text]
    return "".join(pieces).lstrip("\n") + "\n"


@pytest.mark.parametrize("name", [*NAMES, LONGEST])
def test_discord_gets_these_messages(name: str) -> None:
    """V4, D4"""
    bodies, path = bodies_of(answer(name)), GOLDEN / f"{name}.messages.md"
    if os.environ.get("WEFT_GOLDEN"):
        path.write_text(written(bodies))
    assert written(bodies) == path.read_text()


@pytest.mark.parametrize("name", [*NAMES, LONGEST])
def test_each_message_is_one_that_discord_takes_and_that_is_whole_by_itself(name: str) -> None:
    """D4, D9, V4: while the answer grows, too."""
    text = answer(name)
    grows = min(len(text), (MAX_PAGES + 1) * PAGE)  # beyond that, only the file does
    step = max(7, grows // (8 if name == LONGEST else 40))
    ends = [*range(step, grows, step), len(text)]
    texts = [body.text for end in ends for body in bodies_of(text[:end])]
    assert texts
    for shown in texts:
        reading = read(shown)
        assert 0 < units(shown) <= 2000
        assert "```" not in reading.rest.replace("\\`", "")
        assert reading.masked == []
        assert reading.spoilers == []
    # An agent's text names nobody who may be notified: the port allows no one but this.
    assert all(body.ping is None for body in bodies_of(text))


@pytest.mark.parametrize("name", [*NAMES, LONGEST])
def test_of_an_answer_that_grew_nothing_is_lost_between_its_pages(name: str) -> None:
    """D4"""
    text, dice, pages = answer(name), random.Random(name), Pages()
    end = 0
    while end < len(text):
        end = min(len(text), end + dice.randrange(1, 200))
        pages.grow(text[pages.start : end])
    sources = [page.part.source for page in pages.all if page.part]
    assert "".join(sources) == text[: pages.overflow]
    assert all(units(page.text) <= PAGE for page in pages.all)


def test_there_are_enough_samples() -> None:
    assert len(NAMES) >= 40
    assert all((GOLDEN / f"{name}.messages.md").exists() for name in NAMES)
