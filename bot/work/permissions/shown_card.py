"""A card in its thread: what asks people something is written down, posted, and seen to its end.

Permission requests and questions share this; what they decide, and how it looks, is theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

from bot.reply.port import Body
from bot.work.permissions.card_records import CardRecords
from bot.work.permissions.cards import Card
from bot.work.questions.registry import Question
from bot.work.running_turn import RunningTurn
from pool.store import KeptCard

NOT_TAKEN = "Discord did not take the card"


@dataclass(eq=False)
class ShownCard:
    """The card of a request or a question of a turn; subclasses say how that one ends."""

    running: RunningTurn
    records: CardRecords

    @property
    def asked(self) -> Card | Question:
        """What the card asks."""
        raise NotImplementedError

    @property
    def kept(self) -> KeptCard:
        """What is written down of the card, so that the next start finds it (C4)."""
        return KeptCard(self.asked.token, self.running.thread_id, self.running.first.message_id)

    def not_taken(self) -> None:
        """Called when Discord refused the card, so that nobody will ever see it."""
        raise NotImplementedError

    def post(self, body: Body) -> None:
        """Show the card while it waits for people."""
        # Held until it is written down: after a kill the next start has to find it (C4).
        self.running.reply.card(self.asked.token, body, self.not_taken, self._shown, held=True)

    def post_end(self, body: Body, instead: str) -> None:
        """Show how it ended; ``instead`` is said where Discord does not take the card."""
        self.running.reply.card(self.asked.token, body, self.not_taken, self._shown)
        if self.asked.reason == NOT_TAKEN:
            self.records.over(self.kept)
            # Without the agent's words: one of them may be what the server's rules don't let through.
            self.running.reply.card(f"{self.asked.token} not taken", Body(instead))

    def _shown(self, message_id: int, body: Body) -> None:
        if not body.buttons:
            self.records.over(self.kept)
        elif self.asked.message_id != message_id:
            self.asked.message_id = message_id
            self.records.shown(self.kept, message_id)
