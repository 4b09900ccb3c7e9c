"""Kept turns as Markdown: a file for people, and what another agent reads (pure).

What people and agents wrote stands in fences that it can't end, or in inline code: no heading, name or answer in there
can pass for one of Weft's own lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from acp.schema import Cost
from acp.snapshot import ContextUse, TurnSnapshot
from bot.reply.port import MESSAGE_LIMIT, Attachment
from bot.reply.render import HEADLINES, footer
from bot.reply.sanitise import clean, clip_middle, code_block, inline_code, units
from bot.reply.tools import output_block, tool_line
from bot.work.permissions.audit import SIGNS, told
from bot.work.transcripts.record import Asked, ToolUse, TurnRecord
from pool.store import Decision

_FENCE = re.compile(r"`{3,}|~{3,}")
_BRIEF = 400
"""Characters of each text of a tool in the short form."""

_SHORTER = ((8_000, 20), (2_000, 5), (400, 0))
"""Of a turn that is too long in short, too: characters of each text, and tool calls."""
_CHANGES = 3

DETAILS = "details.md"
NOTHING_BESIDE = "The agent reported nothing beyond its answer."
_SHOWN = 4
_NAME, _TITLE, _REASON = 80, 200, 400


@dataclass(frozen=True, slots=True)
class KeptTurn:
    """A turn, and what was decided about the requests of its agent, in order."""

    record: TurnRecord
    decisions: Sequence[Decision] = ()


def fenced(text: str, language: str = "") -> str:
    """Return a text in a fence longer than any that is in it."""
    text = clean(text).strip("\n")
    # The second 3 is for a text without fences: `max` takes no single number.
    fence = "`" * max(3, *(len(run) + 1 for run in _FENCE.findall(text)), 3)
    return f"{fence}{language}\n{text}\n{fence}"


def when(at: float) -> str:
    """Return a time of the wall clock (seconds since the epoch)."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def turn_text(turn: KeptTurn, *, brief: bool = False) -> str:
    """Return a turn with its prompts, answer, tools and decisions; ``brief``: without thoughts and long outputs."""
    record = turn.record
    agent = inline_code(record.agent or "the agent", _NAME)
    model = f" ({inline_code(record.model, _NAME)})" if record.model else ""
    parts = [f"## {when(record.ended)}, {agent}{model}", *(_asked(one) for one in record.asked)]
    answer = "**Answer**" if record.answer.strip() else "**No answer in words**"
    parts.append(f"{answer}: {_end(record)}")
    parts += [fenced(record.answer, "markdown")] if record.answer.strip() else []
    parts += [f"(Not kept: {record.answer_cut:,} more bytes of the answer.)"] if record.answer_cut else []
    parts += [f"Files: {_names(record.files)}"] if record.files else []
    parts += [*_work(turn, brief=brief)]
    return "\n\n".join(parts)


def brief_text(turn: KeptTurn, room: int) -> str:
    """Return a turn in short, with less of it where it would take more than ``room`` bytes: its end rather than none.

    One with hundreds of prompts may still take more.
    """
    text = turn_text(turn, brief=True)
    for characters, tools in _SHORTER:
        if len(text.encode(errors="replace")) <= room:
            break
        text = turn_text(_shorter(turn, characters, tools), brief=True)
    return text


def _shorter(turn: KeptTurn, characters: int, tools: int) -> KeptTurn:
    """Return a turn with so much of each text, its last so many tool calls, and what was decided last."""

    def cut(text: str) -> str:
        return clip_middle(text, characters // 4, characters - characters // 4)

    record = turn.record
    asked = [
        one.model_copy(
            update={"text": cut(one.text), "quotes": tuple((headline, cut(text)) for headline, text in one.quotes)}
        )
        for one in record.asked
    ]
    first = max(0, len(record.tools) - tools)
    kept = [
        tool.model_copy(
            update={
                "changes": tool.changes[:_CHANGES],
                "changes_cut": tool.changes_cut + max(0, len(tool.changes) - _CHANGES),
            }
        )
        for tool in record.tools[first:]
    ]
    less = {
        "asked": tuple(asked),
        "answer": cut(record.answer),
        "plan": record.plan[:tools],
        "tools": tuple(kept),
        "tools_cut": record.tools_cut + first,
    }
    return KeptTurn(record.model_copy(update=less), turn.decisions[max(0, len(turn.decisions) - tools) :])


def details_text(turn: KeptTurn) -> str:
    """Return what an agent thought and did in a turn, beside its answer."""
    return "\n\n".join([f"# What the agent did, {when(turn.record.ended)}", _end(turn.record), *_work(turn)])


def details_message(turn: KeptTurn) -> tuple[str, Attachment | None]:
    """Return what an agent thought and did in a turn as a message, with a file where that is too long for one."""
    record = turn.record
    lines = [f"-# What the agent thought:\n{code_block(record.thoughts)}"] if record.thoughts.strip() else []
    for tool in record.tools:
        lines.append(_line(tool))
        lines += [f"{inline_code(one.path, _NAME)}\n{code_block(one.diff, 'diff')}" for one in tool.changes]
        lines += [output_block(tool.output)] if tool.output.strip() else []
    whole = "\n".join(lines)
    if not whole:
        return NOTHING_BESIDE, None
    cut = record.tools_cut or any(tool.output_cut or tool.changes_cut for tool in record.tools)
    if not cut and units(whole) <= MESSAGE_LIMIT:
        return whole, None
    # A phone shows five lines: what ran, and where the rest is.
    shown = [_line(tool) for tool in record.tools[:_SHOWN]]
    more = len(record.tools) + record.tools_cut - len(shown)
    shown += [f"-# and {more:,} more"] if more else []
    text = "\n".join([*shown, f"-# All of it, with thoughts, outputs and changes, is in `{DETAILS}`."])
    return text, Attachment(DETAILS, details_text(turn).encode(errors="replace"))


def _line(tool: ToolUse) -> str:
    return tool_line(tool.title, tool.status, tool.kind, rejected=tool.rejected)


def _asked(one: Asked) -> str:
    said = "wrote while the agent worked" if one.meanwhile else "wrote"
    parts = [f"**{inline_code(one.author, _NAME)}** {said} at {when(one.at)}:"]
    parts += [fenced(one.text, "text")] if one.text.strip() else []
    for headline, text in one.quotes:
        parts += [f"It quotes {inline_code(headline, _TITLE)}:", fenced(text, "text")]
    parts += [f"Files: {_names(one.files)}"] if one.files else []
    return "\n\n".join(parts)


def _end(record: TurnRecord) -> str:
    """Return how a turn ended, with what its footer says (D5)."""
    facts = [HEADLINES[record.outcome].lower()]
    facts += [f"by {inline_code(record.by, _NAME)}"] if record.by else []
    facts += [inline_code(record.reason, _REASON)] if record.reason else []
    figures, ran = record.figures, sum(not tool.rejected for tool in record.tools) + record.tools_cut
    # All tools as uncounted ones: the footer says only how many they were.
    seen = TurnSnapshot(
        tools_cut=ran,
        context=ContextUse(*figures.context) if figures.context is not None else None,
        cost=Cost(amount=figures.cost, currency=figures.currency or "USD") if figures.cost is not None else None,
    )
    return " · ".join([*facts, footer(seen, figures.seconds).removeprefix("-# ")])


def _work(turn: KeptTurn, *, brief: bool = False) -> Iterator[str]:
    record = turn.record
    if record.thoughts.strip() and not brief:
        yield "**Thoughts**"
        yield fenced(record.thoughts, "text")
    if record.plan:
        marks = {"completed": "x"}
        yield "**Plan**"
        yield "\n".join(f"- [{marks.get(one.status, ' ')}] {inline_code(one.content, _REASON)}" for one in record.plan)
    if record.tools or record.tools_cut:
        yield "**Tools**"
        for tool in record.tools:
            yield from _tool(tool, brief=brief)
        if record.tools_cut:
            yield f"(Left out: {record.tools_cut:,} more tool calls.)"
    if turn.decisions:
        yield "**Decisions**"
        yield "\n".join(
            f"- {SIGNS[one.outcome]} {when(one.at)}: {inline_code(one.what, _TITLE)}, {told(one)}"
            for one in turn.decisions
        )


def _tool(tool: ToolUse, *, brief: bool) -> Iterator[str]:
    def block(text: str, language: str) -> str:
        return fenced(clip_middle(text, _BRIEF // 4, _BRIEF - _BRIEF // 4) if brief else text, language)

    yield _line(tool)
    if tool.command and tool.command != tool.title:
        yield block(tool.command, "sh")
    for change in tool.changes:
        yield f"Changed {inline_code(change.path, _TITLE)}" + ("" if change.diff else " (the change was not kept)")
        if change.diff:
            yield block(change.diff, "diff")
    if tool.changes_cut:
        yield f"(Too large to keep: {tool.changes_cut:,} more of its changes.)"
    if tool.output.strip():
        yield block(tool.output, "text")
    if tool.output_cut:
        yield f"(Not kept: {tool.output_cut:,} bytes of its output.)"


def _names(names: Sequence[str]) -> str:
    return ", ".join(inline_code(name, _NAME) for name in names)
