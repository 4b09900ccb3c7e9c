"""What an id alone says of a message."""

from __future__ import annotations

import pytest

from bot.model import posted_at


def test_the_id_of_a_message_tells_when_it_was_posted() -> None:
    """R2, O1: the example of Discord's API reference, 2016-04-30 11:18:25.796 UTC."""
    assert posted_at(175928847299117063) == pytest.approx(1_462_015_105.796, abs=1e-4)
