"""The parts that show threads elsewhere, put together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from anyio.abc import TaskGroup

from bot.work.budget.budgets import Budgets
from bot.work.outside.boards import Boards
from bot.work.outside.headers import ThreadHeaders
from bot.work.outside.posts import Posts
from bot.work.outside.titles import Titles
from bot.work.ports import Chat
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from bot.work.thread_states import ThreadStates
from bot.work.turn_events import TurnListener
from pool.storage.durable import SessionStore


class Outside:
    """What threads look like from outside.

    Attributes:
        listeners: have to hear of turns after the states of threads.
        titles: the names of threads.
        posts: the posts of forums that are sessions.
        boards: lists of threads in channels.
    """

    def __init__(
        self,
        tasks: TaskGroup,
        tracker: TaskTracker,
        chat: Chat,
        store: SessionStore,
        settings: ThreadSettings,
        states: ThreadStates,
        budgets: Budgets,
        nonces: Callable[[], str],
        redact: Callable[[str], str],
    ) -> None:
        self._tracker, self._store = tracker, store
        self._headers = ThreadHeaders(tasks, chat.channels)
        self.boards = Boards(tasks, tracker, chat, store, settings, states, budgets, nonces)
        self.posts = Posts(settings, states, self._headers)
        self.titles = Titles(tracker, store, settings, self._headers, redact, chat.channels)
        self.listeners: list[TurnListener] = [self.titles, self.posts]

    def opened(self, thread_id: int, title: str) -> None:
        """Take note of the name under which a thread was opened that has no prompt yet."""
        self._tracker.begin(partial(self._store.bind, thread_id, title=title), name=f"opened {thread_id}")

    def load(self) -> None:
        """Go on with what earlier runs have shown; call once the settings of places are read."""
        self.posts.load()
        self.boards.load()

    def forget(self, place_id: int) -> None:
        """Drop what is shown of a thread, a channel or a server that is gone."""
        self._headers.forget(place_id)
        self.boards.forget(place_id)
