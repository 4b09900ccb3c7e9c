"""The file of a conversation: as large as a server takes, and never silently less."""

from __future__ import annotations

import json

import pytest

from bot.work.transcripts.export import Exports
from bot.work.transcripts.service import OFF, Transcripts
from pool.store import KeptTranscript
from tests.bot.work.transcripts.turns import THREAD, kept
from tests.pool.memory import MemoryStore

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("wanted", ["markdown", "json"])
async def test_of_a_long_conversation_the_newest_turns_are_exported(wanted: str) -> None:
    """S3: the file and the answer say how many are left out."""
    transcripts = await kept(30, 5_000)
    limit = 60_000
    answer = await Exports(transcripts, lambda _guild: limit).export(
        THREAD, 1, "json" if wanted == "json" else "markdown"
    )
    assert answer.file is not None
    text = answer.file.data.decode()
    assert limit // 2 < len(answer.file.data) <= limit
    present = [number for number in range(1, 31) if f"answer {number}.x" in text]
    assert present == list(range(31 - len(present), 31)), "the newest, without a gap"
    assert f"the {30 - len(present)} oldest turns" in answer.text
    if wanted == "json":
        assert json.loads(text)["left_out"] == 30 - len(present)
    else:
        assert f"the {30 - len(present)} oldest turns" in text


async def test_a_damaged_row_keeps_no_other_turn_from_being_read() -> None:
    """S3, O4"""
    transcripts = await kept(3, 10)
    transcripts.store.transcribed(KeptTranscript(2, THREAD, 1, b"damaged"))
    answer = await Exports(transcripts, lambda _guild: 10**7).export(THREAD, 1)
    assert answer.file is not None
    text = answer.file.data.decode()
    assert [f"answer {number}." in text for number in (1, 2, 3)] == [True, False, True]
    assert (await transcripts.details(THREAD, 2)).accepted is False


async def test_where_nothing_is_kept_that_is_said() -> None:
    """S3"""
    nothing = Transcripts(MemoryStore(), str, 0)
    assert await Exports(nothing, lambda _guild: 1).export(THREAD, 1) == OFF
    assert await nothing.details(THREAD, 1) == OFF, "the button is from a time before"
