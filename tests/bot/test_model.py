"""What an id alone says of a message, and how a message reads in a list."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.model import Attachment, Quote, posted_at
from tests.bot.work.samples import inbound


def test_the_id_of_a_message_tells_when_it_was_posted() -> None:
    """R2, O1: the example of Discord's API reference, 2016-04-30 11:18:25.796 UTC."""
    assert posted_at(175928847299117063) == pytest.approx(1_462_015_105.796, abs=1e-4)


def test_a_message_without_words_is_listed_by_what_it_brings_along() -> None:
    """Q5, F1"""
    files = tuple(Attachment(number, name, 1, "", "", 2, 3) for number, name in enumerate(("a.png", "b.txt")))
    alone = replace(inbound(1, text=""), attachments=files)
    assert alone.gist == "a.png, b.txt"
    assert replace(alone, quotes=(Quote("Poll", "yes?"),)).gist == "[Poll] yes?"
    assert replace(alone, text="look").gist == "look"
