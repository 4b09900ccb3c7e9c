"""The store that outlives the process: each call is an operation in the writer's inbox.

Questions, too: they see everything that was handed in before them.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Unpack, cast

import anyio
import anyio.to_thread

from acp.errors import leaves
from pool.storage import decisions, operations, sessions, spending, transcripts, work
from pool.storage.database import Connect, connect
from pool.storage.ledger import DISCORD_EPOCH, FileLedger, Ledger
from pool.storage.model import StorageLimits
from pool.storage.writer import Submitted, Writer
from pool.store import (
    AcceptedPrompt,
    Decision,
    KeptCard,
    KeptNotice,
    KeptRule,
    KeptSchedule,
    KeptSpending,
    KeptTranscript,
    KeptWorkTree,
    KnownSession,
    OpenPrompt,
    PendingReply,
    SeenPlace,
    SessionClaim,
    Spent,
    ThreadChanges,
    ThreadRecord,
    ThreadSession,
)


class SessionStore(Writer):
    """Keeps threads, prompts and places. A call that returned has been written, or `trouble` says why not.

    No call raises for a fault of the storage. What a file can't take is kept in memory until it can; while a server is
    away, calls wait. What waits is carried out in batches, in the order in which it was handed in.
    """

    def __init__(
        self,
        ledger: Ledger,
        limits: StorageLimits,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(ledger, limits, now, clock)
        self._last_id = 0

    @property
    def durable(self) -> bool:
        """Whether what is kept outlives the process."""
        return True

    async def flush(self) -> bool:
        """Wait until all that was handed in before is written; False: it is kept in memory only, see `trouble`."""
        # The inbox is in order: once this is answered, all that came before is carried out.
        await self.submit(operations.Nothing())
        return self._ledger.backlog == 0

    async def identity(self) -> str | None:
        """Return the id of a state that several machines can work on; None: the state directory has its own."""
        return await self.submit(operations.Identity())

    async def accept(self, prompt: AcceptedPrompt) -> bool:
        """Remember a prompt; False if its message was accepted before, whatever the result.

        Raises:
            StoreBusy: too much waits to be written.
        """
        # Only a new prompt is refused: what happens to one that was accepted has to be kept, however much waits.
        return await self.submit(operations.Accept(prompt), refusable=True)

    async def amend(self, message_id: int, payload: str) -> None:
        """Replace what is kept of a prompt that waits; one that was started stays as it is."""
        await self.submit(operations.Amend(message_id, payload))

    async def started(self, first: int, others: Sequence[int] = ()) -> None:
        """Say that prompts are about to be sent to the agent, as one turn: of all of them or of none.

        ``first`` is the message that the turn answers; of one that runs already, ``others`` come in addition.
        """
        # One operation: a kill between two of them would leave a turn of which a part is run again.
        parts = operations.Started(first), *(operations.Started(other, first) for other in others)
        await self.submit(operations.StartedTogether(parts))

    async def shown(self, message_id: int, messages: tuple[int, ...]) -> None:
        """Say which messages show the reply to the prompt so far, all of them, in order."""
        await self.submit(operations.Shown(message_id, messages))

    async def save_pending_reply(self, message_id: int, outcome: str, payload: str) -> None:
        """Say that the prompt is over, how it ended, and what the reply on its way is.

        The first outcome stays; a reply with the same one takes the place of the one before.
        """
        await self.submit(operations.SavePendingReply(message_id, outcome, payload))

    async def finished(self, message_id: int, outcome: str, *, keep: bool = False, turn: int | None = None) -> None:
        """Say that the end of the prompt is visible, or given up; what was kept for its reply is dropped.

        The first outcome stays, be it from here or from `save_pending_reply`. A message that was never accepted is left
        alone. ``keep``: the prompt itself is kept, since somebody may ask for it again; see `turn`. ``turn``: another
        prompt with which it would be asked for again.
        """
        await self.submit(operations.Finish(message_id, outcome, int(self._now()), keep, turn))

    async def turn(self, message_id: int) -> list[OpenPrompt]:
        """Return the prompts that are one turn with this one, itself included, in order of arrival.

        Only those of which the payload is kept: not finished, or to be kept; none if this one's is not.
        """
        return await self.submit(operations.TurnOf(message_id))

    async def open_prompts(self) -> list[OpenPrompt]:
        """Return the accepted prompts that have no outcome, in order of arrival."""
        return await self.submit(operations.All(OpenPrompt))

    async def pending_replies(self) -> list[PendingReply]:
        """Return the replies on their way, in order of arrival of their prompts."""
        return await self.submit(operations.All(PendingReply))

    async def last_started(self, channel_id: int, until: int | None = None) -> int:
        """Return the newest message posted in a channel or thread that was sent to an agent, up to ``until``.

        0 if none is kept: finished prompts are forgotten after a month.
        """
        return await self.submit(operations.LastStarted(channel_id, until))

    async def thread(self, thread_id: int) -> ThreadRecord | None:
        """Return what is remembered of a thread."""
        return await self.submit(operations.Thread(thread_id))

    async def bind(self, thread_id: int, **changes: Unpack[ThreadChanges]) -> None:
        """Change what is remembered of a thread, in one write; what is not given stays as it is.

        A session that another one replaces, or none, becomes the ``previous_session_id``.
        """
        # A field that is not given is not in there; one that is None is to be emptied.
        given = cast("dict[str, str | None]", changes)
        await self.submit(operations.Bind(thread_id, tuple(given.items()), int(self._now())))

    async def claim_session(self, claim: SessionClaim, apart: Iterable[int] = ()) -> int | None:
        """Keep a session for a thread that is still to be opened; return None, or the thread that has it already.

        0 if another claim has it. ``apart``: threads with another agent, which may have one of that id. A claim that
        could not be written is none: see `flush` and `trouble`.
        """
        return await self.submit(sessions.ClaimSession(claim, tuple(apart)))

    async def set_claim(self, claim_id: int, thread_id: int | None) -> None:
        """Say which thread a claim is for, or, None, that it is over."""
        await self.submit(sessions.SetClaim(claim_id, thread_id))

    async def claims(self) -> list[SessionClaim]:
        """Return the claims that are not over, the oldest first."""
        return await self.submit(sessions.Claims())

    def copied(self, session_id: str, thread_id: int) -> Submitted[None]:
        """Hand in that a session was copied from a thread's own; nobody need wait for that.

        Raises:
            StoreClosed: the store was left.
        """
        return self.hand_in(sessions.NoteSession(session_id, thread_id, int(self._now()), copy=True))

    async def known_sessions(self, session_ids: Iterable[str]) -> list[KnownSession]:
        """Return whose some sessions are and were, one entry for each thread that has or had one."""
        return await self.submit(sessions.KnownSessions(tuple(session_ids)))

    async def session_threads(self, limit: int, session_id: str | None = None) -> list[ThreadSession]:
        """Return the threads that have a session, or this one, the ones used last first."""
        return await self.submit(sessions.SessionThreads(limit, session_id))

    async def forget(self, gone: Iterable[int]) -> None:
        """Forget threads, channels or servers that are gone, with all that stands in them; prompts stay."""
        await self.submit(operations.Forget(tuple(gone)))

    async def choices(self) -> dict[int, str]:
        """Return the ``options`` of all threads that have some."""
        return await self.submit(operations.Choices())

    async def keep_notice(self, notice: KeptNotice) -> None:
        """Remember that a thread may show notices, in place of what was remembered before."""
        await self.submit(operations.Notice(notice.thread_id, notice))

    async def drop_notice(self, thread_id: int) -> None:
        """Remember that a thread shows no notice."""
        await self.submit(operations.Notice(thread_id, None))

    async def notices(self) -> list[KeptNotice]:
        """Return all threads that may show notices."""
        return await self.submit(operations.All(KeptNotice))

    async def keep_card(self, card: KeptCard) -> None:
        """Remember that a thread may show a card, in place of what was remembered of it."""
        await self.submit(operations.KeepCard(card.token, card))

    async def drop_card(self, token: str) -> None:
        """Remember that a card waits no more, and shows that."""
        await self.submit(operations.KeepCard(token, None))

    async def cards(self) -> list[KeptCard]:
        """Return the cards that threads may show, those of the oldest turns first."""
        return await self.submit(operations.All(KeptCard))

    async def see(self, places: Iterable[SeenPlace]) -> None:
        """Remember places; ``seen`` only grows, and what is not known of a place takes nothing away."""
        if seen := tuple(places):
            await self.submit(operations.See(seen))

    async def places(self) -> list[SeenPlace]:
        """Return the places, the one with the newest message first."""
        return await self.submit(operations.All(SeenPlace))

    def decided(self, decision: Decision) -> Submitted[None]:
        """Hand in a decision at once, by whoever can't wait; what is returned tells when it is written.

        Raises:
            StoreClosed: the store was left.
        """
        return self.hand_in(decisions.Decide(self.new_id(), decision))

    async def decisions(
        self, limit: int, *, thread_id: int | None = None, guild_id: int | None = None
    ) -> list[Decision]:
        """Return the newest decisions first: of a thread, of a server or all."""
        return await self.submit(decisions.Decisions(limit, thread_id, guild_id))

    async def keep_rule(self, rule: KeptRule) -> None:
        """Keep a rule; one with its id stays as it is."""
        await self.submit(decisions.KeepRule(rule))

    async def revoke_rule(self, rule_id: int) -> None:
        """Forget a rule."""
        await self.submit(decisions.RevokeRule(rule_id))

    async def rules(self) -> list[KeptRule]:
        """Return all rules, the oldest first."""
        return await self.submit(operations.All(KeptRule))

    def spent(self, spent: Spent) -> None:
        """Hand in what a turn took at once; what was said of that turn before stays.

        Raises:
            StoreClosed: the store was left.
        """
        self.hand_in(spending.Spend(spent))

    async def spending(self, currency: str, since: str, most: int) -> KeptSpending:
        """Return what was spent in a currency; days from ``since`` on, and of ``most`` threads and sessions."""
        return await self.submit(spending.Spending(currency, since, most))

    def transcribed(self, transcript: KeptTranscript) -> Submitted[None]:
        """Hand in what was said and done in a turn, in place of what was kept of it; what follows is not written first.

        Raises:
            StoreClosed: the store was left.
        """
        return self.hand_in(transcripts.KeepTranscript(transcript))

    async def transcript(self, turn_id: int) -> KeptTranscript | None:
        """Return the transcript of a turn."""
        return await self.submit(transcripts.TranscriptOf(turn_id))

    async def transcripts(self, thread_id: int, limit: int, before: int | None = None) -> list[KeptTranscript]:
        """Return transcripts of a thread, the newest turns first; of turns that are older than ``before``."""
        return await self.submit(transcripts.TranscriptsOf(thread_id, limit, before))

    async def count_transcripts(self, thread_id: int, since: int = 0) -> int:
        """Return how many turns of a thread that ended at ``since`` or later have a transcript."""
        return await self.submit(transcripts.CountTranscripts(thread_id, since))

    async def keep_work_tree(self, tree: KeptWorkTree) -> None:
        """Remember the work tree of a thread, in place of what was remembered of it."""
        await self.submit(work.KeepWorkTree(tree.thread_id, tree))

    async def drop_work_tree(self, thread_id: int) -> None:
        """Remember that a thread has no work tree."""
        await self.submit(work.KeepWorkTree(thread_id, None))

    async def work_trees(self) -> list[KeptWorkTree]:
        """Return all work trees, those of the oldest threads first."""
        return await self.submit(operations.All(KeptWorkTree))

    async def keep_schedule(self, schedule: KeptSchedule) -> None:
        """Remember a schedule, in place of what was remembered of it."""
        await self.submit(work.KeepSchedule(schedule.schedule_id, schedule))

    async def drop_schedule(self, schedule_id: int) -> None:
        """Remember that a schedule is gone."""
        await self.submit(work.KeepSchedule(schedule_id, None))

    async def schedules(self) -> list[KeptSchedule]:
        """Return all schedules, the oldest first."""
        return await self.submit(operations.All(KeptSchedule))

    def new_id(self) -> int:
        """Return an id for a decision or a rule, greater than all before it in this process."""
        # Milliseconds and chance, as snowflakes have a worker there: a clock that was set back repeats no id.
        drawn = (max(0, int((self._now() - DISCORD_EPOCH) * 1000)) << 22) | secrets.randbits(22)
        # Greater than the last one also within a millisecond, where chance alone decides.
        self._last_id = max(self._last_id + 1, drawn)
        return self._last_id


@asynccontextmanager
async def open_store(
    path: Path,
    limits: StorageLimits | None = None,
    *,
    connect: Connect = connect,
    now: Callable[[], float] = time.time,
) -> AsyncIterator[SessionStore]:
    """Keep the store in the file at ``path``, whose directory exists; it is made if there is none.

    A file that can't be used is no error: see `SessionStore.trouble`. On leaving, all that was handed in is written.

    Raises:
        StateTooNew: the file was written by a newer version of the bot; it was not changed.
    """
    limits = limits or StorageLimits()
    async with opened(FileLedger(path, limits, connect, now=now), limits, now) as store:
        yield store


@asynccontextmanager
async def opened(
    ledger: Ledger, limits: StorageLimits, now: Callable[[], float] = time.time
) -> AsyncIterator[SessionStore]:
    """Keep the store in a ledger, which is opened here.

    Raises:
        StateRefused: it can't be used, and trying again can't help.
    """
    # A state that is too new is refused before anybody could hand something in. Cancelled meanwhile, it is open all
    # the same, since the thread is waited for.
    await anyio.to_thread.run_sync(ledger.open)
    store = SessionStore(ledger, limits, now)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.run)
            try:
                yield store
            finally:
                await store.close()
    except BaseExceptionGroup as group:
        causes = leaves(group)
        if len(causes) > 1:
            raise
        # The body's own error, and not the group that the writer's task makes of it.
        raise causes[0] from causes[0].__cause__
