"""What is kept of a turn: all that fits, the rest counted, and no secret."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import orjson
import pytest

from acp.schema import Cost
from acp.snapshot import Diff, ToolState
from bot.model import Actor, Outcome, Quote
from bot.redaction import Redactor
from bot.work.ending import stopped
from bot.work.transcripts.record import MOST_BYTES, FinishedTurn, TurnRecord, packed, shortened, unpacked
from tests.bot.work.samples import inbound
from tests.bot.work.transcripts.turns import asked, over, rich

SECRET = "hunter2-hunter2-hunter2"


def kept(turn: FinishedTurn) -> TurnRecord:
    return unpacked(packed(turn, Redactor([SECRET]).text))


def test_a_turn_is_kept_with_all_that_was_said_and_done() -> None:
    """S3: names of files, not their contents; whose words they are, and when they came."""
    record = kept(rich())
    first, second = record.asked
    assert (first.author, first.text, first.files, first.meanwhile) == ("alice", "build it", ("plan.txt",), False)
    assert first.quotes == (("Reply to bob (12)", "the old plan"),)
    assert (second.author, second.at - first.at, second.meanwhile) == ("bob", 60, True)
    assert (record.agent, record.model, record.outcome) == ("claude", "large", Outcome.ANSWERED)
    assert (record.answer, record.thoughts, record.files) == ("Done.", "Hm.", ("chart.png",))
    assert [(step.content, step.status) for step in record.plan] == [("edit", "completed")]
    edit, test, removal = record.tools
    assert [(one.path, one.diff.splitlines()[-2:]) for one in edit.changes] == [("a.py", ["-two", "+2"])]
    assert (edit.changes_cut, test.command, test.output, test.output_cut) == (1, "npm test", "1 failed", 7)
    assert (test.status, removal.rejected) == ("failed", True)
    assert (record.figures.seconds, record.figures.context, record.figures.cost) == (12.0, (41, 100), 0.02)


def test_a_prompt_that_never_ran_is_kept_with_its_end() -> None:
    """S3"""
    record = kept(FinishedTurn([asked()], stopped("bob"), 0.0))
    assert (record.outcome, record.by, record.answer, record.tools) == (Outcome.STOPPED, "bob", "", ())


LINE = 'say "x" \\ é 漢字 🧵\n'
TOOLS = tuple(ToolState(str(number), f"tool {number}", output="\t\n" * 10_000) for number in range(1_000))
CHANGES = tuple(Diff(f"{number}.txt", None, "new\n" * 1_900) for number in range(500))


@pytest.mark.parametrize(
    "fields",
    [
        {"text": LINE * 100_000, "thoughts": LINE * 3_000},
        {"text": "short", "tools": TOOLS},
        {"text": "short", "tools": (ToolState("1", "write", diffs=CHANGES),)},
        {"text": "short", "tools": tuple(ToolState(str(one), "t" * 400) for one in range(1_000))},
    ],
)
def test_of_a_turn_beyond_all_bounds_a_quarter_of_a_megabyte_is_kept(fields: dict[str, Any]) -> None:
    """S3, T10: what is short stays whole, and what is left out is counted, never silently."""
    payload = packed(over(**fields), str)
    data = zlib.decompress(payload)
    assert MOST_BYTES // 8 < len(data) <= MOST_BYTES
    record = unpacked(payload)
    assert record.asked[0].text == "build it"
    assert "left out …" in data.decode() or record.tools_cut
    assert len(record.tools) + record.tools_cut == len(fields.get("tools", ()))
    if "tools" in fields:
        assert record.answer == "short"
    else:
        assert (record.answer[: len(LINE)], record.answer[-len(LINE) :]) == (LINE, LINE)


def test_no_secret_is_kept_wherever_it_is_cut_and_however_it_is_coloured() -> None:
    """S3, R5: redacted before it is cut."""
    redact = Redactor([SECRET]).text
    for shift in range(60):
        text = "x" * shift + SECRET + "y" * 200 + SECRET + "z" * (60 - shift)
        assert not [size for size in range(8, len(SECRET)) if SECRET[:size] in shortened(text, 90, redact)], shift
    hostile = f"{SECRET} {SECRET[:9]}\x1b[1m{SECRET[9:]}"
    tool = ToolState("1", hostile, hostile, hostile, hostile, diffs=(Diff(hostile, None, hostile),), raw_input=None)
    prompt = replace(inbound(7, text=hostile), author=Actor(1, hostile), quotes=(Quote(hostile, hostile),))
    turn = over([prompt], text=hostile, thoughts=hostile, tools=(tool,), model=hostile)
    data = zlib.decompress(packed(replace(turn, agent=hostile), redact)).decode()
    assert ("hunter2" in data, "[secret]" in data) == (False, True)


def test_halves_of_characters_and_numbers_that_are_none_do_not_keep_a_turn_from_being_kept() -> None:
    """T9, S3"""
    turn = over([asked("\ud83e")], text="\udc00x", thoughts="\x00", cost=Cost(amount=float("nan")))
    record = kept(turn)
    assert (record.asked[0].text, record.answer, record.figures.cost) == ("\ufffd", "\ufffdx", None)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"no zlib",
        zlib.compress(b"{}"),
        zlib.compress(b"[" * 10**7),
        zlib.compress(orjson.dumps(kept(over()).model_dump(mode="json") | {"version": 2})),
    ],
)
def test_what_is_no_record_is_refused(payload: bytes) -> None:
    """S3: a damaged row, or one of a later version."""
    with pytest.raises(ValueError, match="not a record"):
        unpacked(payload)


def test_what_a_later_version_adds_does_not_matter() -> None:
    """S3"""
    more = kept(over(text="Hi.")).model_dump(mode="json") | {"colour": "red"}
    assert unpacked(zlib.compress(orjson.dumps(more))).answer == "Hi."
