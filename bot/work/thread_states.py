"""The state of each thread as people see it from outside: it works, it needs somebody, it is done, it failed.

Made from what happens to turns and from what waits in the queues. Who shows it (a board, a post's tags, a list) decides
how; nothing is shown here. The mutable state is what is remembered of the threads that had a turn; the end of the last
one is kept over restarts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import anyio

from bot.model import Inbound, Outcome, ThreadPlace, posted_at
from bot.recent import RecentMap
from bot.work.ending import TurnEnd
from bot.work.queue.entry import EntryState
from bot.work.queue.scheduler import Scheduler
from bot.work.running_turn import RunningTurn
from bot.work.thread_settings import ThreadSettings
from bot.work.turn_events import TurnListener

MOST_THREADS = 1000
RECALLED = 24 * 3600.0
"""Seconds after which a restart no longer recalls an end."""
_KEY = "ended"


class State(StrEnum):
    """What is going on in a thread; the word is for people."""

    NEEDS_YOU = "needs you"
    """The agent waits for an answer from a person."""
    FAILED = "failed"
    WORKING = "working"
    WAITING = "waiting"
    """A message waits for its turn, and nothing runs."""
    DONE = "done"


_FAILED = frozenset(
    {
        Outcome.FAILED,
        Outcome.TIMED_OUT,
        Outcome.AGENT_DIED,
        Outcome.AGENT_UNREACHABLE,
        Outcome.COULD_NOT_START,
        Outcome.INTERRUPTED,
    }
)
"""What somebody has to look at; what people ended themselves is done."""


@dataclass(frozen=True, slots=True)
class ThreadState:
    """A thread at one moment.

    Attributes:
        since: when it came into this state, in seconds of the wall clock.
        agent: who works there, as `RunningTurn.agent` has it; None while nobody knows.
        prompt: the id of the message that the latest turn answers or, of one that waits, of the next.
        asked_by: the ids of those who wrote that turn's messages.
        outcome: how the latest turn ended; None before its end.
    """

    place: ThreadPlace
    state: State
    since: float
    agent: str | None = None
    prompt: int = 0
    asked_by: tuple[int, ...] = ()
    outcome: Outcome | None = None


@dataclass(slots=True)
class _Thread:
    """What is remembered of a thread: how it looks but for its queue, and the turns that run there."""

    shown: ThreadState
    running: list[RunningTurn] = field(default_factory=list)

    def now(self) -> ThreadState:
        """Return how it looks; a turn's agent may tell its name at any time."""
        agent = self.running[-1].agent if self.running else None
        return self.shown if agent in (None, self.shown.agent) else replace(self.shown, agent=agent)


class ThreadStates(TurnListener):
    """Knows the states; it has to hear of turns before those who ask it when they hear of them.

    Attributes:
        changed: set, and replaced, when a state has changed; a message that only waits does not set it.

    Args:
        scheduler: knows what waits.
        settings: keeps ends over restarts.
        clock: the wall clock, in seconds.
    """

    def __init__(
        self, scheduler: Scheduler[Any], settings: ThreadSettings, clock: Callable[[], float] = time.time
    ) -> None:
        self._scheduler = scheduler
        self._settings = settings
        self._clock = clock
        self._threads: RecentMap[int, _Thread] = RecentMap(MOST_THREADS)
        self.changed = anyio.Event()

    def load(self) -> None:
        """Recall how the latest turns of earlier runs ended; call once the settings of places are read."""
        since = self._clock() - RECALLED
        found = (_read(thread_id, kept) for thread_id, kept in self._settings.all_kept(_KEY).items())
        recent = [state for state in found if state is not None and state.since > since]
        for state in sorted(recent, key=lambda one: one.since):
            self._threads.put(state.place.thread_id, _Thread(state))

    def of(self, thread_id: int) -> ThreadState | None:
        """Return the state of a thread, but for what waits there; None: it had no turn that is remembered."""
        thread = self._threads.get(thread_id)
        return thread.now() if thread is not None else None

    def all(self) -> list[ThreadState]:
        """Return the states of all threads, in no order; those that ended are remembered up to a bound."""
        found = {thread_id: thread.now() for thread_id, thread in self._threads.items()}
        for entry in self._scheduler.waiting():
            known, first = found.get(entry.thread_id), entry.messages[0]
            if known is not None and known.state in (State.WORKING, State.NEEDS_YOU, State.WAITING):
                continue  # a turn runs there, or an older message waits
            found[entry.thread_id] = ThreadState(
                first.thread,
                State.WAITING,
                posted_at(first.message_id),
                known.agent if known is not None else None,
                first.message_id,
                tuple(author.id for author in entry.authors),
            )
        return list(found.values())

    def forget(self, thread_id: int) -> None:
        """Drop a thread that is gone."""
        if self._threads.pop(thread_id, None) is not None:
            self._note()

    # --- what happens to turns -----------------------------------------------------------------------------------

    def started(self, running: RunningTurn) -> None:
        thread = self._threads.get(running.thread_id)
        # An entry that was put back may be begun again: its attempt before would count as running, too.
        others = [turn for turn in thread.running if turn.entry is not running.entry] if thread is not None else []
        first = running.first
        asked_by = tuple(author.id for author in running.entry.authors)
        shown = ThreadState(first.thread, State.WORKING, self._clock(), running.agent, first.message_id, asked_by)
        # Put anew, so that the threads at work are not those that are forgotten first.
        self._threads.put(running.thread_id, _Thread(shown, [*others, running]))
        self._look(running.thread_id)

    def asking(self, running: RunningTurn) -> None:
        self._look(running.thread_id)

    def ended(self, running: RunningTurn, end: TurnEnd) -> None:
        thread = self._threads.get(running.thread_id)
        if thread is None:
            return
        thread.running = [turn for turn in thread.running if turn is not running]
        asked_by = tuple(author.id for author in running.entry.authors)
        state = State.FAILED if end.outcome in _FAILED else State.DONE
        thread.shown = replace(
            thread.shown,
            state=state,
            since=self._clock(),
            agent=running.agent or thread.shown.agent,
            prompt=running.first.message_id,
            asked_by=asked_by,
            outcome=end.outcome,
        )
        self._keep(thread.shown)
        self._look(running.thread_id)

    def recorded(self, message: Inbound, outcome: Outcome) -> None:
        """Take note of a message whose turn a kill has cut off, or that came too long ago to be run."""
        thread = self._threads.get(message.thread_id)
        # What runs there now says more than what a kill has cut off.
        if outcome is not Outcome.INTERRUPTED or (thread is not None and thread.running):
            return
        asked_by = (message.author.id,)
        shown = ThreadState(
            message.thread, State.FAILED, self._clock(), None, message.message_id, asked_by, Outcome.INTERRUPTED
        )
        self._threads.put(message.thread_id, _Thread(shown))
        self._keep(shown)
        self._note()

    def _keep(self, ended: ThreadState) -> None:
        place = ended.place
        kept = {
            "state": str(ended.state),
            "since": ended.since,
            "agent": ended.agent,
            "prompt": ended.prompt,
            "by": ended.asked_by,
            "outcome": str(ended.outcome),
            "guild": place.guild_id,
            "parent": place.parent_id,
        }
        self._settings.keep(place.thread_id, {_KEY: kept})

    def _look(self, thread_id: int) -> None:
        """Bring a thread up to date whose turns have changed: with one that asks it needs somebody, else it works."""
        thread = self._threads.get(thread_id)
        if thread is None:
            return
        # One that could not run beside another was put back, and nobody is told if it ends in the queue then.
        thread.running = [turn for turn in thread.running if turn.entry.state is EntryState.RUNNING]
        if thread.running:
            asking = any(turn.waiting_for_people for turn in thread.running)
            state = State.NEEDS_YOU if asking else State.WORKING
            if state is not thread.shown.state:
                thread.shown = replace(thread.shown, state=state, since=self._clock(), outcome=None)
        self._note()

    def _note(self) -> None:
        # A new event for the next wait: one that stays set would wake everybody all the time.
        self.changed.set()
        self.changed = anyio.Event()


def _read(thread_id: int, kept: Any) -> ThreadState | None:
    """Return an end as it was kept; None if it can't be understood: another version may have written it."""
    try:
        return ThreadState(
            ThreadPlace(kept["guild"], thread_id, kept["parent"]),
            State(kept["state"]),
            float(kept["since"]),
            None if kept["agent"] is None else str(kept["agent"]),
            int(kept["prompt"]),
            tuple(int(one) for one in kept["by"]),
            Outcome(kept["outcome"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
