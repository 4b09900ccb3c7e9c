"""`/export`: the conversation of a thread as a file, as Markdown or as it is kept (S3)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

import anyio
import orjson

from bot.reply.port import Attachment
from bot.work.ports import Answer
from bot.work.transcripts.markdown import KeptTurn, turn_text, when
from bot.work.transcripts.service import OFF, READ_LIMIT, TOO_SLOW, Transcripts

Format = Literal["markdown", "json"]

MOST_BYTES = 25 * 2**20
"""Of a file, whatever a server takes: it is made in memory."""

_HEAD = 1_024
"""Bytes that are left for what stands around the turns."""

NOTHING = Answer("No turns of this thread are kept. A turn is kept once it has ended.", accepted=False)
LEFT_OUT = "Left out, as the file would be too large for this server: the {count:,} oldest turns."
KEPT_FOR = "-# Turns are kept for {days:,} days. A turn that is still running is not in it yet."

_IDS = frozenset({"guild_id", "thread_id", "prompt_id", "asker_id", "person_id"})


@dataclass(frozen=True, slots=True)
class Exports:
    """Makes files of what is kept.

    Args:
        upload_limit: how many bytes a file may have in a server.
    """

    transcripts: Transcripts
    upload_limit: Callable[[int | None], int]

    async def export(self, thread_id: int, guild_id: int | None, wanted: Format = "markdown") -> Answer:
        """Return the conversation of a thread; the newest turns, where not all of them have room."""
        days = self.transcripts.days
        if not days:
            return OFF
        room = min(self.upload_limit(guild_id), MOST_BYTES) - _HEAD
        write = turn_text if wanted == "markdown" else _turn_json
        with anyio.move_on_after(READ_LIMIT):
            texts, left_out = await self.transcripts.last_turns(thread_id, room, write)
            if not texts:
                return NOTHING
            why = LEFT_OUT.format(count=left_out) if left_out else ""
            make = _markdown if wanted == "markdown" else _json
            file = await self.transcripts.apart(lambda: make(thread_id, texts, left_out, why))
            turns = f"{len(texts):,} turn{'s' * (len(texts) != 1)}"
            told = [f"{turns} of this thread, {max(1, len(file.data) // 1024):,} KiB.", f"-# {why}" if why else ""]
            return Answer("\n".join([*filter(None, told), KEPT_FOR.format(days=days)]), accepted=True, file=file)
        return TOO_SLOW


def _markdown(thread_id: int, texts: list[str], _left_out: int, why: str) -> Attachment:
    head = [f"# Conversation in the thread {thread_id}", f"Written by Weft, {when(time.time())}.", *filter(None, [why])]
    return Attachment("conversation.md", ("\n\n".join([*head, *texts]) + "\n").encode(errors="replace"))


def _json(thread_id: int, texts: list[str], left_out: int, _why: str) -> Attachment:
    head = {"version": 1, "thread": str(thread_id), "exported": round(time.time(), 3), "left_out": left_out}
    # The turns are JSON already: each has a line of its own.
    opened = orjson.dumps(head).decode().removesuffix("}")
    return Attachment("conversation.json", f'{opened},"turns":[\n{",".join(texts)}]}}\n'.encode())


def _turn_json(turn: KeptTurn) -> str:
    """Return a turn as it is kept, with what was decided; ids are text in both."""
    # Ids as text: JSON's numbers end before snowflakes do.
    decisions = [
        {name: str(value) if name in _IDS and value is not None else value for name, value in asdict(one).items()}
        for one in turn.decisions
    ]
    return orjson.dumps(turn.record.model_dump(mode="json") | {"decisions": decisions}).decode() + "\n"
