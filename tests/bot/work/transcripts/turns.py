"""Turns that have ended, to be kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from acp.schema import Cost, PlanEntry
from acp.snapshot import ContextUse, Diff, Ending, Phase, ToolState, TurnSnapshot
from bot.model import Attachment, Inbound, Outcome, Quote
from bot.reply.pending_reply import FileMessage, Handout
from bot.work.ending import TurnEnd
from bot.work.transcripts.record import FinishedTurn
from bot.work.transcripts.service import Transcripts
from tests.bot.work.samples import BOB, inbound
from tests.pool.memory import MemoryStore

FIRST, SECOND = (1_764_000_000_000 - 1_420_070_400_000) << 22, (1_764_000_060_000 - 1_420_070_400_000) << 22
"""Messages of two minutes in a row."""

THREAD = 100


def asked(text: str = "build it", **fields: Any) -> Inbound:
    return replace(inbound(FIRST, text=text), **fields)


def over(messages: list[Inbound] | None = None, **fields: Any) -> FinishedTurn:
    """A turn that was answered; the fields are those of its snapshot."""
    usual: dict[str, Any] = {"phase": Phase.ENDED, "ending": Ending.ANSWERED, "stop_reason": "end_turn"}
    snapshot = TurnSnapshot(**(usual | fields))
    return FinishedTurn(messages or [asked()], TurnEnd(Outcome.ANSWERED, snapshot=snapshot), 12.0, ended=1_764_000_100)


def rich() -> FinishedTurn:
    """A turn with something of everything."""
    file = Attachment(1, "plan.txt", 3, "text/plain", "", 1, FIRST)
    first = asked(quotes=(Quote("Reply to bob (12)", "the old plan"),), attachments=(file,))
    edit = ToolState(
        "1", "edit a.py", "edit", "completed", diffs=(Diff("a.py", "one\ntwo\n", "one\n2\n"),), diffs_cut=1
    )
    test = ToolState("2", "tests", "execute", "failed", "1 failed", 7, raw_input={"command": "npm test"})
    turn = over(
        [first, replace(inbound(SECOND, text="and test it"), author=BOB)],
        text="Done.",
        thoughts="Hm.",
        plan=(PlanEntry(content="edit", status="completed"),),
        tools=(edit, test, ToolState("3", "rm", "delete", rejected=True)),
        model="large",
        context=ContextUse(41, 100),
        cost=Cost(amount=0.02),
    )
    handout = Handout("/w", (FileMessage("", ("chart.png",)),))
    return replace(turn, agent="claude", meanwhile=frozenset({SECOND}), end=replace(turn.end, handout=handout))


async def kept(count: int, size: int) -> Transcripts:
    """Turns with so long answers, numbered from 1."""
    transcripts = Transcripts(MemoryStore(), str, 30)
    for number in range(1, count + 1):
        turn = over([inbound(number, text=f"prompt {number}.")], text=f"answer {number}." + "x" * size)
        await transcripts.keep(replace(turn, ended=1_764_000_000.0 + number))
    return transcripts
