"""What agents ask people: their requests and questions, the rules that answer in people's place, what was decided.

Here the parts are put together; each decides its own. `bot.work.permissions` has the requests, `bot.work.questions` the
questions.
"""

from __future__ import annotations

from collections.abc import Callable

from anyio.abc import TaskGroup

from bot.model import ThreadPlace
from bot.work.attention.notifications import Notifications
from bot.work.editors import Editors
from bot.work.permissions.card_records import CardRecords
from bot.work.permissions.cards import PermissionRegistry
from bot.work.permissions.decisions import Decisions
from bot.work.permissions.kept_rules import KeptRules
from bot.work.permissions.rule_keeping import RuleKeeping
from bot.work.permissions.rulings import Rulings
from bot.work.permissions.turn_cards import TurnCards
from bot.work.ports import Chat
from bot.work.questions.registry import QuestionRegistry
from bot.work.questions.turn_questions import TurnQuestions
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from bot.work.turn_events import WaitsForPeople
from pool.storage.durable import SessionStore


class Asking:
    """The parts.

    Args:
        approver_in: returns a role whose members may answer in a server, if there is one (C1).
        timeout: seconds that a card waits for a person.
        redact: takes secrets out of what agents ask.

    Attributes:
        permissions: the permission requests that people may press.
        rules: what is allowed without a question.
        decisions: what was decided.
        questions: the questions that people may answer.
        cards, forms: show the requests and the questions of running turns.
        records: knows which cards threads show.
    """

    def __init__(
        self,
        tasks: TaskGroup,
        tracker: TaskTracker,
        store: SessionStore,
        chat: Chat,
        editors: Editors,
        settings: ThreadSettings,
        waits: WaitsForPeople,
        notifications: Notifications,
        *,
        approver_in: Callable[[int | None], int | None],
        timeout: float,
        redact: Callable[[str], str],
    ) -> None:
        self._kept_rules = KeptRules(tracker, store)
        self.permissions = PermissionRegistry()
        self.decisions = Decisions(tracker, store, redact)
        self.rules = RuleKeeping(self.permissions, self._kept_rules, self.decisions, settings)
        self.records = CardRecords(tracker, store, editors, chat.thread)
        self.cards = TurnCards(
            tasks,
            self.permissions,
            waits,
            timeout,
            self.decisions,
            Rulings(self.rules.in_force, self.decisions),
            self.rules,
            self.records,
            notifications,
            approver_in,
        )
        self.questions = QuestionRegistry()
        self.forms = TurnQuestions(
            tasks, self.questions, waits, timeout, self.decisions, self.records, notifications, approver_in
        )

    @property
    def open(self) -> int:
        """How many requests and questions wait for people."""
        return self.permissions.open_cards + self.questions.open_questions

    def place_of(self, token: str) -> ThreadPlace | None:
        """Return the thread in which a request or a question is shown, if it is remembered."""
        asked = self.permissions.find(token) or self.questions.find(token)
        return asked.place if asked is not None else None

    async def load(self) -> None:
        """Read the rules that people have added."""
        await self._kept_rules.load()

    def limit(self, timeout: float) -> None:
        """Let cards that are opened from now on wait so many seconds."""
        self.cards.timeout = self.forms.timeout = timeout

    def close(self) -> None:
        """Ask nothing more: the bot stops, and nobody would answer."""
        self.cards.closed = self.forms.closed = True
