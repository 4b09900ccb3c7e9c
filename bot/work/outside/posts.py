"""Posts of forums that are sessions: everything in them is for Weft, and their tags show what is going on (S6).

The mutable state is the mark in the settings of each such post: the state that its tags were to show last.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from bot.work.ending import TurnEnd
from bot.work.outside.headers import ThreadHeaders
from bot.work.running_turn import RunningTurn
from bot.work.thread_settings import ThreadSettings
from bot.work.thread_states import State, ThreadStates
from bot.work.turn_events import TurnListener

log = structlog.get_logger(__name__)

MOST_RESTORED = 100
"""Posts whose tags are looked at after a restart, the newest; of older ones only those that seem to be at work."""

_KEY, _NEW = "post", ""


@dataclass(eq=False)
class Posts(TurnListener):
    """Knows these posts: ``thread_id in posts``."""

    settings: ThreadSettings
    states: ThreadStates
    headers: ThreadHeaders

    def __contains__(self, thread_id: object) -> bool:
        return isinstance(thread_id, int) and self.settings.kept(thread_id, _KEY) is not None

    def claim(self, thread_id: int) -> None:
        """Make a post a session whose first message was taken as a prompt."""
        if thread_id not in self:
            self.settings.keep(thread_id, {_KEY: _NEW})
            log.info("post.claimed", thread=thread_id)

    def load(self) -> None:
        """Have tags corrected that the last run has left; call once the settings of places are read."""
        kept = sorted(self.settings.all_kept(_KEY).items(), reverse=True)
        for number, (thread_id, state) in enumerate(kept):
            if state in (State.WORKING, State.NEEDS_YOU):
                # Its turn was cut off: a notice in the thread offers to go on.
                self._show(thread_id, State.FAILED)
            elif number < MOST_RESTORED and state in tuple(State):
                # The last run may have ended before Discord heard of it.
                self.headers.show(thread_id, State(state))

    def started(self, running: RunningTurn) -> None:
        self._look(running.thread_id)

    def asking(self, running: RunningTurn) -> None:
        self._look(running.thread_id)

    def ended(self, running: RunningTurn, end: TurnEnd) -> None:
        del end
        self._look(running.thread_id)

    def _look(self, thread_id: int) -> None:
        now = self.states.of(thread_id) if thread_id in self else None
        if now is not None:
            self._show(thread_id, now.state)

    def _show(self, thread_id: int, state: State) -> None:
        # Kept first: after a kill the next run has to know what the tags may say.
        if self.settings.kept(thread_id, _KEY) != state:
            self.settings.keep(thread_id, {_KEY: str(state)})
        self.headers.show(thread_id, state)
