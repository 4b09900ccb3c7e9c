"""The end of messages that never ran: dropped, superseded, removed, stale or stopped before their turn (O1, Q3).

Whoever is told is told once in a while: the messages of one author that ended alike within a moment share one notice.
The mutable state is the notices that are being gathered, and in which threads one is on its way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
import structlog

from bot.model import Inbound, Outcome
from bot.reply.pending_reply import FinalReply, SavedReply
from bot.reply.port import Body
from bot.reply.sanitise import inline_code
from bot.work.delivery import SHARED
from bot.work.editors import Editors
from bot.work.ending import TurnEnd, lines
from bot.work.task_tracker import TaskTracker

log = structlog.get_logger(__name__)

BURST = 1.0
"""Seconds in which ends of one author are gathered for one notice."""


Owe = Callable[[int, str, str], Awaitable[None]]


async def owe_nothing(_message_id: int, _outcome: str, _payload: str) -> None:
    """Write nothing down."""


@dataclass(slots=True)
class _Notice:
    end: TurnEnd
    messages: list[Inbound] = field(default_factory=list)


class SkippedMessages:
    """Tells the ends of messages that never ran.

    Args:
        record: writes an outcome down, once it is visible or given up.
        let_go: told of a thread in which something was delivered.
        owe: writes down which end is still to be told.
    """

    def __init__(
        self,
        steps: TaskTracker,
        editors: Editors,
        redact: Callable[[str], str],
        record: Callable[[Inbound, Outcome], Awaitable[None]],
        let_go: Callable[[int], None],
        burst: float = BURST,
        *,
        owe: Owe = owe_nothing,
    ) -> None:
        self._steps = steps
        self._editors = editors
        self._redact = redact
        self._record = record
        self._let_go = let_go
        self._burst = burst
        self._owe = owe
        self._gathering: dict[tuple[int, int, Outcome], _Notice] = {}
        self._speaking: dict[int, anyio.Lock] = {}
        self._hurry = anyio.Event()

    def end(self, message: Inbound, end: TurnEnd) -> None:
        """Tell the end of a message, together with others of its author."""
        key = message.thread_id, message.author.id, end.outcome
        notice = self._gathering.get(key)
        if notice is None:
            self._gathering[key] = notice = _Notice(end)
            self._steps.begin(self._tell, key, name=f"unrun {message.message_id}")
        notice.messages.append(message)
        # At once, and not when it is told: what a person took out must not be run by the next run after a kill.
        payload = SHARED if len(notice.messages) > 1 else self._owed(message, notice.end)
        self._steps.begin(self._owe, message.message_id, end.outcome, payload, name=f"owe {message.message_id}")

    def _owed(self, message: Inbound, end: TurnEnd) -> str:
        final = FinalReply(end.outcome, lines(end, self._redact))
        return SavedReply("", final, reply_to=message.message_id, after=message.message_id).to_json()

    def hurry(self) -> None:
        """Gather no more: the bot stops."""
        self._hurry.set()

    async def _tell(self, key: tuple[int, int, Outcome]) -> None:
        with anyio.move_on_after(self._burst):
            await self._hurry.wait()
        thread_id, _, outcome = key
        # One at a time: while Discord keeps a thread's notices waiting, more are gathered and not more notices made.
        async with self._speaking.setdefault(thread_id, anyio.Lock()):
            notice = self._gathering.pop(key)
            first = notice.messages[0]
            editor = self._editors.of(thread_id)
            delivery = editor.say(Body(text_of(notice.end, notice.messages, self._redact)), reply_to=first.message_id)
            delivered = await delivery.delivered()
        if all(other != thread_id for other, _, _ in self._gathering):
            self._speaking.pop(thread_id, None)
        for message in notice.messages:
            log.info(
                "turn.finished",
                outcome=str(outcome),
                thread=thread_id,
                prompt=message.message_id,
                lane=str(message.lane),
                attempts=0,
                delivered=delivered,
            )
            await self._record(message, outcome)
        self._let_go(thread_id)


def text_of(end: TurnEnd, messages: list[Inbound], redact: Callable[[str], str]) -> str:
    """Return what is said of messages that ended alike."""
    text = "\n".join(lines(end, redact))
    if len(messages) == 1:
        return text
    return f"{text}\n-# {len(messages)} messages of {inline_code(messages[0].author.name)}"
