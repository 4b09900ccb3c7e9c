"""Which cards threads show, written down before they are shown: the next start closes what a kill leaves open (C4).

The request of a card dies with its agent, and so with the bot; nobody can answer it any more. Its text stays, read from
the thread itself, so that what was asked can be looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import partial

import anyio
import structlog

from bot.reply import cards
from bot.reply.editor import Delivery, ThreadEditor
from bot.work.editors import Editors
from bot.work.task_tracker import TaskTracker
from pool.storage.durable import SessionStore
from pool.store import KeptCard

log = structlog.get_logger(__name__)

KEEP_LIMIT = 2.0
"""Seconds that a card waits until it is written down: a disk that hangs must not keep it from people."""


@dataclass(eq=False)
class CardRecords:
    """Keeps the cards that wait for people, and closes those of an earlier run."""

    tracker: TaskTracker
    store: SessionStore
    editors: Editors

    def keep(self, card: KeptCard, then: Callable[[], None]) -> None:
        """Write down that a card is about to be shown; ``then`` shows it."""

        async def keep() -> None:
            try:
                with anyio.move_on_after(KEEP_LIMIT) as waited:
                    await self.store.keep_card(card)
                if waited.cancelled_caught:
                    log.warning("card.not_written", thread=card.thread_id)
            finally:
                then()

        self.tracker.begin(keep, name=f"keep card {card.thread_id}")

    def shown(self, card: KeptCard, message_id: int) -> None:
        """Write down which message shows a card."""
        self.tracker.begin(
            self.store.keep_card, replace(card, message_id=message_id), name=f"card shown {card.thread_id}"
        )

    def over(self, card: KeptCard) -> None:
        """Forget a card: it shows its end, or will never be seen."""
        self.tracker.begin(self.store.drop_card, card.token, name=f"card over {card.thread_id}")

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
            await self.store.drop_card(card.token)
        self.editors.let_go(card.thread_id)
