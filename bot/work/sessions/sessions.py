"""What people ask of sessions, put together: which there are, going on with one, a copy of one (S1, S2)."""

from __future__ import annotations

from collections.abc import Callable

from bot.work.budget.budgets import Budgets
from bot.work.editors import Editors
from bot.work.intake import Intake
from bot.work.options.service import SessionChoices
from bot.work.ports import Chat
from bot.work.projects.service import Projects
from bot.work.sessions.catalogue import Catalogues
from bot.work.sessions.opening import Openings
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from pool.pool import ConnectionPool
from pool.storage.durable import SessionStore


class Sessions:
    """The two halves.

    Attributes:
        catalogues: which sessions there are.
        openings: opens threads with sessions.
    """

    def __init__(
        self,
        tracker: TaskTracker,
        chat: Chat,
        pool: ConnectionPool,
        store: SessionStore,
        settings: ThreadSettings,
        editors: Editors,
        intake: Intake,
        budgets: Budgets,
        options: SessionChoices,
        projects: Projects,
        redact: Callable[[str], str],
    ) -> None:
        self.catalogues = Catalogues(pool, store, settings, redact)
        self.openings = Openings(
            tracker, chat, pool, store, settings, editors, intake, budgets, options, projects, redact
        )
