"""What is kept of a turn: who asked what, what the agent said and did, how it ended; bounded, without secrets (pure).

Long texts lose their middle and say how much; what was cut in the turn itself is counted, too. What people decided
about requests is not in here: the store has that already, see `bot.work.permissions.decisions`. Packing may take a
second of work, so it belongs into a worker thread.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from acp.snapshot import ToolState, TurnSnapshot
from bot.model import Inbound, Outcome, posted_at
from bot.reply.fallback import diff_texts
from bot.reply.request_detail import command_in
from bot.reply.sanitise import clean, one_line
from bot.work.ending import TurnEnd
from bot.work.queue.entry import Entry

VERSION: Final = 1

MOST_BYTES = 256 * 1024
"""Of a record as JSON."""

_NAME, _LINE, _SHORTEST = 200, 400, 64
"""Characters of a name, of a title or a reason, and of a text of which hardly anything can be kept."""

_MARGIN = 4_096
"""Characters that are looked at beyond a cut: of a secret that it divides, the rest would not be recognised."""

_DIFFS = 1_000_000
"""Characters of diffs that are made of a turn's changes, before they are cut: a thousand tools may bring 256 MiB."""

_SAMPLE = 1_000
_LIGHT = 8_000
_MOST_TOOLS, _AROUND = 500, 220
"""Tool calls, and the bytes that each has beside its output: half of the room is left for what was said and printed."""

_LEFT_OUT = "\n… {count:,} characters left out …\n"


class _Kept(BaseModel):
    # What a later version adds is no reason not to show the rest.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Asked(_Kept):
    """A message of the turn; ids are text, since JSON's numbers end before snowflakes do.

    ``meanwhile``: the agent got it while it worked. ``files`` are names.
    """

    id: str
    author: str
    author_id: str
    at: float
    text: str
    quotes: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()
    meanwhile: bool = False


class Change(_Kept):
    """A file that a tool changed, and how; no ``diff``: there was no room for it."""

    path: str
    diff: str


class ToolUse(_Kept):
    """A tool call; ``output_cut`` counts bytes, ``changes_cut`` changes that the turn did not keep."""

    title: str
    kind: str
    status: str
    rejected: bool = False
    command: str = ""
    output: str = ""
    output_cut: int = 0
    changes: tuple[Change, ...] = ()
    changes_cut: int = 0


class Step(_Kept):
    """An entry of the agent's plan."""

    content: str
    status: str


class Figures(_Kept):
    """What the footer says: seconds, tokens in the context and its size, and what the session has cost so far."""

    seconds: float
    context: tuple[int, int] | None = None
    cost: float | None = None
    currency: str | None = None


class TurnRecord(_Kept):
    """A turn.

    Attributes:
        turn: its first message.
        ended: seconds since the epoch.
        outcome, reason, by: as in `bot.work.ending.TurnEnd`.
        answer_cut: bytes of the answer that the turn did not keep; ``tools_cut``: tool calls that are not here.
        files: names of those that the agent handed out.
    """

    version: Literal[1] = VERSION
    turn: str
    thread: str
    agent: str | None = None
    model: str | None = None
    ended: float
    outcome: Outcome
    stop_reason: str | None = None
    reason: str = ""
    by: str = ""
    asked: tuple[Asked, ...]
    answer: str = ""
    answer_cut: int = 0
    thoughts: str = ""
    plan: tuple[Step, ...] = ()
    tools: tuple[ToolUse, ...] = ()
    tools_cut: int = 0
    files: tuple[str, ...] = ()
    figures: Figures


@dataclass(frozen=True, slots=True)
class FinishedTurn:
    """A turn whose end is known. It holds the turn's own texts and no copies: it costs nothing while nobody packs it.

    Attributes:
        messages: those that it answers, the first of them first.
        meanwhile: the ids of those that the agent got while it worked.
        seconds: from the admission to the end.
        ended: seconds since the epoch.
    """

    messages: Sequence[Inbound]
    end: TurnEnd
    seconds: float
    agent: str | None = None
    meanwhile: frozenset[int] = frozenset()
    ended: float = field(default_factory=time.time)

    @classmethod
    def of(cls, entry: Entry, end: TurnEnd, seconds: float, agent: str | None) -> FinishedTurn:
        """Return the turn of an entry."""
        return cls(entry.owed, end, seconds, agent, frozenset(one.message_id for one in entry.injected))


def is_light(turn: FinishedTurn) -> bool:
    """Return whether a turn is packed in less than a millisecond or two, so that another thread is not worth it."""
    snapshot = turn.end.snapshot or TurnSnapshot()
    said = len(snapshot.text) + len(snapshot.thoughts) + sum(len(one.text) for one in turn.messages)
    done = sum(_AROUND + len(one.output) for one in snapshot.tools)
    return said + done < _LIGHT and not any(one.diffs for one in snapshot.tools)


def worth_details(snapshot: TurnSnapshot | None) -> bool:
    """Return whether an agent did more in a turn than its answer shows."""
    return snapshot is not None and bool(snapshot.tools or snapshot.thoughts.strip())


def packed(turn: FinishedTurn, redact: Callable[[str], str]) -> bytes:
    """Return the record of a turn for the store, of at most `MOST_BYTES` before it is compressed."""
    changes = _diffs(turn.end.snapshot)
    texts = list(_texts(turn, changes))
    # What JSON makes of characters is known before they are all looked at: each round below redacts them anew.
    sample = clean("".join(text[:_SAMPLE] for text in texts))
    swollen = max(1.0, len(orjson.dumps(sample)) / max(1, len(sample)))
    most = min(_MOST_TOOLS, len(changes)) or 1
    room = _level(map(len, texts), int((MOST_BYTES - _AROUND * most) / swollen))
    while True:
        # It ends: the texts get shorter down to their least, and then the tool calls fewer down to none.
        data = orjson.dumps(_record(turn, changes, room, most, redact).model_dump(mode="json"))
        if len(data) <= MOST_BYTES or not most:
            return zlib.compress(data)
        # JSON takes more than the characters, and hundreds of tools something even without their outputs.
        most = most if room > _SHORTEST else min(most, len(changes)) // 2
        room = max(_SHORTEST, int(room * min(0.95, MOST_BYTES / len(data))))


def unpacked(payload: bytes) -> TurnRecord:
    """Return the record that was packed.

    Raises:
        ValueError: it is none, or a later version wrote it otherwise.
    """
    try:
        # Bounded: a damaged row must not become gigabytes.
        data = zlib.decompressobj().decompress(payload, 4 * MOST_BYTES)
        return TurnRecord.model_validate_json(data)
    except (zlib.error, ValidationError) as exc:
        raise ValueError("not a record of a turn") from exc


def shortened(text: str, limit: int, redact: Callable[[str], str]) -> str:
    """Return a text without secrets and controls, and of a long one the first third and the end of ``limit``."""
    if len(text) <= limit:
        return redact(clean(text))
    head, tail = limit // 3, limit - limit // 3
    # Cleaned first, as an escape in a secret would hide it; only near what is kept, as the text may have megabytes.
    first = redact(clean(text[: head + _MARGIN]))[:head]
    last = redact(clean(text[-(tail + _MARGIN) :]))[-tail:]
    return f"{first}{_LEFT_OUT.format(count=len(text) - head - tail)}{last}"


def _level(lengths: Iterable[int], room: int) -> int:
    """Return how long each text may be so that all of them have room: short ones stay whole, long ones share."""
    waiting = sorted(lengths)
    for number, length in enumerate(waiting):
        share = room // (len(waiting) - number)
        if length > share:
            return max(_SHORTEST, share)
        room -= length
    return max([_SHORTEST, *waiting[-1:]])


def _texts(turn: FinishedTurn, changes: Sequence[Sequence[Change]]) -> Iterator[str]:
    """Yield what has no bound of its own."""
    snapshot = turn.end.snapshot or TurnSnapshot()
    yield from (one.text for one in turn.messages)
    yield from (quote.text for one in turn.messages for quote in one.quotes)
    yield from (step.content for step in snapshot.plan)
    yield from (tool.output for tool in snapshot.tools)
    yield from (change.diff for some in changes for change in some)
    yield from (snapshot.text, snapshot.thoughts)


def _diffs(snapshot: TurnSnapshot | None) -> list[list[Change]]:
    """Return the changes of each tool."""
    tools = snapshot.tools if snapshot is not None else ()
    room, found = _DIFFS, list[list[Change]]()
    texts = diff_texts((diff.path, diff.old, diff.new) for tool in tools for diff in tool.diffs)
    for tool in tools:
        found.append([])
        for diff in tool.diffs:
            text = next(texts) if room > 0 else ""  # made only where there is room: each may have a quarter of a MiB
            room -= len(text)
            found[-1].append(Change(path=diff.path, diff=text))
    return found


def _record(
    turn: FinishedTurn, changes: Sequence[Sequence[Change]], room: int, most: int, redact: Callable[[str], str]
) -> TurnRecord:
    """Return the record with texts of at most ``room`` characters and at most ``most`` tools."""

    def text(value: str) -> str:
        return shortened(value, room, redact)

    def line(value: str, limit: int = _LINE) -> str:
        return one_line(redact(clean(value[: limit + _MARGIN])))[:limit]

    def tool_use(tool: ToolState, changed: Sequence[Change]) -> ToolUse:
        command = command_in(tool.raw_input)
        return ToolUse(
            title=line(tool.title or tool.kind),
            kind=line(tool.kind, _NAME),
            status=line(tool.status, _NAME),
            rejected=tool.rejected,
            command=shortened(command[1], min(room, 4 * _LINE), redact) if command else "",
            output=text(tool.output),
            output_cut=tool.output_cut,
            changes=tuple(Change(path=line(one.path), diff=text(one.diff)) for one in changed),
            changes_cut=tool.diffs_cut,
        )

    end, first = turn.end, turn.messages[0]
    snapshot = end.snapshot or TurnSnapshot()
    uses = list(zip(snapshot.tools, changes, strict=True))
    # How it began and how it ended: of many tools, the middle goes.
    kept = uses if len(uses) <= most else [*uses[: most // 2], *uses[len(uses) - (most - most // 2) :]]
    handed = [name for message in end.handout.messages for name in message.names] if end.handout else []
    return TurnRecord(
        turn=str(first.message_id),
        thread=str(first.thread_id),
        agent=line(turn.agent, _NAME) if turn.agent else None,
        model=line(snapshot.model, _NAME) if snapshot.model else None,
        ended=round(turn.ended, 3),
        outcome=end.outcome,
        stop_reason=line(snapshot.stop_reason, _NAME) if snapshot.stop_reason else None,
        reason=line(end.reason),
        by=line(end.by, _NAME),
        asked=tuple(_asked(one, one.message_id in turn.meanwhile, text, line) for one in turn.messages),
        answer=text(snapshot.text),
        answer_cut=snapshot.text_cut,
        thoughts=text(snapshot.thoughts),
        plan=tuple(Step(content=text(one.content), status=line(one.status, _NAME)) for one in snapshot.plan),
        tools=tuple(tool_use(tool, changed) for tool, changed in kept),
        tools_cut=snapshot.tools_cut + len(uses) - len(kept),
        files=tuple(line(name, _NAME) for name in handed),
        figures=_figures(turn, snapshot, line),
    )


def _asked(one: Inbound, meanwhile: bool, text: Callable[[str], str], line: Callable[..., str]) -> Asked:
    # Neither what it links to nor what was said before it: whoever asks for the record need not see those places.
    return Asked(
        id=str(one.message_id),
        author=line(one.author.name, _NAME),
        author_id=str(one.author.id),
        at=posted_at(one.message_id),
        text=text(one.text),
        quotes=tuple((line(quote.headline), text(quote.text)) for quote in one.quotes),
        files=tuple(line(name, _NAME) for name in (*(file.name for file in one.attachments), *one.left_out)),
        meanwhile=meanwhile,
    )


def _figures(turn: FinishedTurn, snapshot: TurnSnapshot, line: Callable[..., str]) -> Figures:
    context, cost = snapshot.context, snapshot.cost
    return Figures(
        seconds=round(turn.seconds, 3),
        context=(context.used, context.size) if context is not None else None,
        cost=cost.amount if cost is not None else None,
        currency=line(cost.currency, _NAME) if cost is not None else None,
    )
