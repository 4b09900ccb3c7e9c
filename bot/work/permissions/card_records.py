"""Which cards threads show, written down before they are shown: the next start closes what a kill leaves open (C4).

The request of a card dies with its agent, and so with the bot; nobody can answer it any more. Its text stays, read from
the thread itself, so that what was asked can be looked up. A thread is not archived under a card: where that could be
before the card's time is up, it may be silent for longer until then.

The mutable state is the rows of cards that wait, and the threads in which long ones do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

import anyio
import structlog

from bot.recent import RecentMap
from bot.reply import cards
from bot.reply.editor import Delivery, ThreadEditor
from bot.reply.port import PortError, ThreadPort
from bot.work.editors import Editors
from bot.work.task_tracker import TaskTracker
from pool.storage.durable import SessionStore
from pool.store import KeptCard

log = structlog.get_logger(__name__)

KEEP_LIMIT = 2.0
"""Seconds that a card waits until it is written down: a disk that hangs must not keep it from people."""


SHORTEST_SILENCE, LONGEST_SILENCE = 60, 10_080
"""Minutes after which Discord archives a thread, at least and at most."""

_MOST_ROWS = 2000


@dataclass(slots=True, eq=False)
class _Thread:
    """A thread with cards that wait for long; ``holder`` is the row that says what is to be given back."""

    waiting: set[str] = field(default_factory=set)
    holder: KeptCard | None = None
    lock: anyio.Lock = field(default_factory=anyio.Lock)


@dataclass(eq=False)
class CardRecords:
    """Keeps the cards that wait for people, and closes those of an earlier run."""

    tracker: TaskTracker
    store: SessionStore
    editors: Editors
    port: Callable[[int], ThreadPort]
    _rows: RecentMap[str, KeptCard] = field(init=False, default_factory=lambda: RecentMap(_MOST_ROWS))
    _threads: dict[int, _Thread] = field(init=False, default_factory=dict)

    def keep(self, card: KeptCard, then: Callable[[], None], timeout: float = 0.0) -> None:
        """Write down that a card is about to be shown for up to ``timeout`` seconds; ``then`` shows it."""
        self._rows.put(card.token, card)

        async def keep() -> None:
            try:
                with anyio.move_on_after(KEEP_LIMIT) as waited:
                    await self.store.keep_card(card)
                if waited.cancelled_caught:
                    log.warning("card.not_written", thread=card.thread_id)
            # A card that could not be written down is shown all the same: people wait for it.
            finally:
                then()

        self.tracker.begin(keep, name=f"keep card {card.thread_id}")
        # The card itself is no silence: by default its time is up long before a thread could be archived.
        if timeout >= SHORTEST_SILENCE * 60:
            self._threads.setdefault(card.thread_id, _Thread()).waiting.add(card.token)
            self.tracker.begin(self._hold_open, card.thread_id, card.token, timeout, name=f"hold {card.thread_id}")

    def shown(self, card: KeptCard, message_id: int) -> None:
        """Write down which message shows a card."""
        # On the row as it is by now: it may say since then what is to be given back.
        row = replace(self._rows.get(card.token) or card, message_id=message_id)
        self._rows.put(card.token, row)
        self.tracker.begin(self.store.keep_card, row, name=f"card shown {card.thread_id}")

    def over(self, card: KeptCard) -> None:
        """Forget a card: it shows its end, or will never be seen."""
        self.tracker.begin(self._over, card, name=f"card over {card.thread_id}")

    async def _over(self, card: KeptCard) -> None:
        self._rows.pop(card.token, None)
        thread = self._threads.get(card.thread_id)
        if thread is not None and card.token in thread.waiting:
            async with thread.lock:
                thread.waiting.discard(card.token)
                holder = thread.holder
                # Another card still waits: the thread stays open for it, and the row that says what to give back stays,
                # too.
                if thread.waiting:
                    if holder is not None and holder.token == card.token:
                        return  # its row stays as long as another card waits there
                elif holder is not None:
                    await self._give_back(holder)
                    await self.store.drop_card(holder.token)
                    thread.holder = None
                # Looked at only now: a card may have come while Discord was asked.
                if not thread.waiting:
                    self._threads.pop(card.thread_id, None)
        await self.store.drop_card(card.token)

    async def _hold_open(self, thread_id: int, token: str, timeout: float) -> None:
        """Let a thread be silent for as long as it may be, if it could be archived before the card's time is up."""
        thread = self._threads.get(thread_id)
        if thread is None:
            return
        async with thread.lock:
            row = self._rows.get(token)
            if row is None or token not in thread.waiting or thread.holder is not None:
                return
            try:
                minutes = await self.port(thread_id).archives_after()
                if minutes is None or minutes >= LONGEST_SILENCE or minutes * 60 > timeout:
                    return
                # What was is written down before it is changed: the next start gives it back.
                thread.holder = replace(self._rows.get(token) or row, archive=minutes)
                self._rows.put(token, thread.holder)
                await self.store.keep_card(thread.holder)
                await self.port(thread_id).archive_after(LONGEST_SILENCE)
            except PortError as exc:
                # Weft need not be allowed to manage a thread; the card says how it is answered in an archived one.
                log.debug("thread.not_held_open", thread=thread_id, error=str(exc))

    async def _give_back(self, card: KeptCard) -> None:
        """Let a thread be archived after as much silence as before."""
        if card.archive is not None:
            try:
                await self.port(card.thread_id).archive_after(card.archive)
            except PortError as exc:
                log.debug("thread.not_given_back", thread=card.thread_id, error=str(exc))

    def close_left(self, left: Iterable[KeptCard], cut_off: Collection[int]) -> None:
        """Let the cards of an earlier run show that they ended with it.

        Args:
            cut_off: the first messages of the turns that can be continued.
        """
        for card in left:
            end = cards.RESTARTED_GO_ON if card.prompt in cut_off else cards.RESTARTED
            editor = self.editors.of(card.thread_id)
            # Of a kill right after it was shown, only its place in the thread is known.
            since = card.message_id or card.prompt
            over = editor.end_card(since, partial(cards.is_card, card.token), partial(cards.ended, end=end))
            self.tracker.begin(self._forget, card, editor, over, name=f"close card {card.thread_id}")

    async def _forget(self, card: KeptCard, editor: ThreadEditor, over: Delivery) -> None:
        await over.delivered()
        message = over.message
        # It could not be changed, as its thread is archived, or the editor has failed: the next start tries again.
        if message.message_id is None or editor.gone or (message.settled and not message.given_up):
            await self._give_back(card)
            await self.store.drop_card(card.token)
        self.editors.let_go(card.thread_id)
