"""Keeps what was said and done in each turn, and shows it again.

Records are packed and written out in a worker thread. What is kept is in the store; the mutable state here is which
threads are gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread
import structlog

from bot.model import Inbound
from bot.work.ending import interrupted
from bot.work.gone_places import GonePlaces
from bot.work.ports import Answer
from bot.work.transcripts.markdown import KeptTurn, details_message
from bot.work.transcripts.record import FinishedTurn, is_light, packed, unpacked, worth_details
from pool.storage.durable import SessionStore
from pool.store import Decision, KeptTranscript

log = structlog.get_logger(__name__)

T = TypeVar("T")

PACK_LIMIT = 5.0
"""Seconds that the end of a turn waits for its record to be packed before it is shown."""

READ_LIMIT = 20.0
"""Seconds that an answer may take that is read from the state file."""

_PAGE = 8
_MOST_DECISIONS = 1_000

OFF = Answer("Weft keeps no turns here: its owner has set `WEFT_TRANSCRIPT_DAYS` to 0.", accepted=False)
TOO_SLOW = Answer("I could not read my records in time. Try again in a minute.", accepted=False)
DAMAGED = Answer("This version of Weft can't read what was kept of this turn.", accepted=False)
GONE = "The details of this turn are gone: they are kept for {days:,} days at most."


@dataclass(frozen=True, slots=True)
class Border:
    """Where a conversation of a thread begins: with turns that end after ``at``, in seconds since the epoch.

    ``but``: turns that ran when it began, and so belong to the one before.
    """

    at: float = 0.0
    but: frozenset[int] = frozenset()


ALL = Border()


@dataclass(eq=False)
class Transcripts:
    """Keeps turns, and answers what people ask about them.

    Args:
        redact: takes secrets out of a text.
        days: for how long turns are kept; 0: not at all.
        gone: threads of which nothing is kept any more.
    """

    store: SessionStore
    redact: Callable[[str], str]
    days: int
    gone: GonePlaces = field(default_factory=GonePlaces)
    # Apart from the threads of others: what is packed here must not wait for files or images.
    _packing: anyio.CapacityLimiter = field(init=False, default_factory=lambda: anyio.CapacityLimiter(2))
    _reading: anyio.CapacityLimiter = field(init=False, default_factory=lambda: anyio.CapacityLimiter(1))

    def worth(self, turn: FinishedTurn) -> bool:
        """Return whether a turn that is kept has more to show than its reply does."""
        return bool(self.days) and worth_details(turn.end.snapshot)

    # --- keeping -----------------------------------------------------------------------------------------------------

    async def keep(self, turn: FinishedTurn) -> None:
        """Hand a turn in to the store: what is handed in after this is not written before it."""
        if not self.days:
            return
        first = turn.messages[0]
        try:
            # The turn's end waits for it: a press on Details has to find it, even after a kill.
            payload = packed(turn, self.redact) if is_light(turn) else await self._packed_apart(turn)
            # Looked at last: what is handed in before a thread is forgotten goes with it.
            if first.thread_id in self.gone:
                return
            kept = KeptTranscript(first.message_id, first.thread_id, int(turn.ended), payload)
            self.store.transcribed(kept)
        except Exception:
            # The end is owed, whatever happens here.
            log.exception("transcript.not_kept", prompt=first.message_id)

    async def _packed_apart(self, turn: FinishedTurn) -> bytes:
        with anyio.fail_after(PACK_LIMIT):
            return await anyio.to_thread.run_sync(
                packed, turn, self.redact, abandon_on_cancel=True, limiter=self._packing
            )

    async def keep_cut_off(self, messages: Sequence[Inbound]) -> None:
        """Keep what is known of a turn in which an earlier run was killed: who asked what."""
        # A record that was written before the kill says more.
        if await self.store.transcript(messages[0].message_id) is None:
            await self.keep(FinishedTurn(messages, interrupted(), 0.0))

    # --- showing -----------------------------------------------------------------------------------------------------

    async def details(self, thread_id: int, turn_id: int) -> Answer:
        """Return what the agent thought and did in a turn of the thread (V2)."""
        if not self.days:  # the button is from a time when turns were kept
            return OFF
        with anyio.move_on_after(READ_LIMIT):
            kept, decided = await self.store.transcript(turn_id), await self._decided(thread_id)
            # A forged button may name the turn of another thread.
            if kept is None or kept.thread_id != thread_id:
                return Answer(GONE.format(days=self.days), accepted=False)
            try:
                text, file = await self.apart(lambda: details_message(_turn(kept, decided)))
            except ValueError:
                log.warning("transcript.ignored", prompt=turn_id)
                return DAMAGED
            return Answer(text, accepted=True, file=file)
        return TOO_SLOW

    async def last_turns(
        self, thread_id: int, room: int, write: Callable[[KeptTurn], str], since: Border = ALL
    ) -> tuple[list[str], int]:
        """Return the newest turns of a thread as ``write`` puts them, the oldest of them first.

        Args:
            room: bytes for all of them, and for two between each.
            since: the beginning of the conversation that is meant.

        Returns also how many older ones have no room.
        """
        count, decided = await self.store.count_transcripts(thread_id, int(since.at)), await self._decided(thread_id)
        texts: list[str] = []
        before: int | None = None
        # By pages: the store's one writer must not read all of a thread in one go, nor memory hold it.
        while page := await self.store.transcripts(thread_id, _PAGE, before):
            # By their ends, as what waited at the border was written before it and ran after it.
            rows = [row for row in page if row.at >= int(since.at) and row.turn_id not in since.but]
            for text in await self.apart(partial(_written, rows, decided, write, since.at)):
                room -= len(text.encode(errors="replace")) + 2
                if room < 0:
                    return texts[::-1], count - len(texts)
                # From the newest down, so that the room goes to what was said last.
                texts.append(text)
            before = page[-1].turn_id
        return texts[::-1], 0

    async def _decided(self, thread_id: int) -> dict[int, list[Decision]]:
        """Return what was decided in a thread, by the first message of the turn, in order."""
        found: dict[int, list[Decision]] = defaultdict(list)
        for one in reversed(await self.store.decisions(_MOST_DECISIONS, thread_id=thread_id)):
            found[one.prompt_id].append(one)
        return found

    async def apart(self, work: Callable[[], T]) -> T:
        """Do in a worker thread what may take a while, one thing after the other."""
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._reading)


def _turn(kept: KeptTranscript, decided: dict[int, list[Decision]]) -> KeptTurn:
    return KeptTurn(unpacked(kept.payload), decided.get(kept.turn_id, ()))


def _written(
    rows: Sequence[KeptTranscript], decided: dict[int, list[Decision]], write: Callable[[KeptTurn], str], since: float
) -> list[str]:
    texts = []
    for row in rows:
        try:
            turn = _turn(row, decided)
            texts += [write(turn)] if turn.record.ended >= since else []
        except ValueError:
            # One that is damaged, or of a later version, must not keep the others from being read.
            log.warning("transcript.ignored", prompt=row.turn_id)
    return texts
