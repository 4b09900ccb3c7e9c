"""From a message that was handed over to a prompt that may start: written down, acknowledged, its thread open (O2).

A prompt that can't get that far has its one outcome here, told where the message was posted. That is so, too, for one
that was withdrawn before its thread was there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from anyio.abc import TaskGroup

from bot.outcome import Outcome
from bot.reply.port import PortError
from bot.work.ending import TurnEnd, busy, crashed, interrupted, lines, not_opened
from bot.work.model import Inbound
from bot.work.ports import Chat
from bot.work.queue import Prompt
from bot.work.record import accepted_prompt
from pool.store import SessionStore, StoreBusy

log = structlog.get_logger(__name__)

ACCEPTED = "👀"


class Intake:
    """Accepts prompts.

    Attributes:
        closed: the bot is stopping: what comes now is told so, and not accepted (R1).

    Args:
        tasks: owns the acknowledgements: a prompt does not wait for its reaction.
        accepted: told that a prompt may start.
        dropped: told that a prompt will not: a duplicate, or one that got its outcome here.
        record: writes an outcome down.
    """

    def __init__(
        self,
        tasks: TaskGroup,
        chat: Chat,
        store: SessionStore,
        *,
        accepted: Callable[[Prompt], None],
        dropped: Callable[[Prompt], None],
        record: Callable[[Inbound, Outcome], Awaitable[None]],
        redact: Callable[[str], str],
    ) -> None:
        self._tasks = tasks
        self._chat = chat
        self._store = store
        self._accepted = accepted
        self._dropped = dropped
        self._record = record
        self._redact = redact
        self.closed = False

    async def accept(self, prompt: Prompt) -> None:
        """Take a prompt to where it may start; whatever goes wrong, it has one outcome."""
        if self.closed:
            await self._refuse(prompt, interrupted())
            return
        try:
            if not await self._store.accept(accepted_prompt(prompt.inbound)):
                self._dropped(prompt)
                return
        except StoreBusy:
            await self._refuse(prompt, busy())
            return
        except Exception:
            log.exception("prompt.failed", prompt=prompt.id)
            await self._refuse(prompt, prompt.withdrawn or crashed())
            return
        await self.take_up(prompt)

    async def take_up(self, prompt: Prompt) -> None:
        """Take a prompt that is written down to where it may start."""
        self._tasks.start_soon(self._acknowledge, prompt.inbound)
        try:
            refusal = await self._open_thread(prompt)
        except Exception:
            log.exception("prompt.failed", prompt=prompt.id)
            refusal = crashed()
        if refusal is None:
            self._accepted(prompt)
        else:
            await self._refuse(prompt, prompt.withdrawn or refusal)

    async def _acknowledge(self, inbound: Inbound) -> None:
        try:
            await self._chat.acknowledge(inbound, ACCEPTED)
        except PortError as exc:
            log.warning("reaction.failed", message=inbound.message_id, error=str(exc))
        except Exception:
            # A reaction that can't be set is no reason to lose the prompt, whatever the cause.
            log.exception("reaction.failed", message=inbound.message_id)

    async def _open_thread(self, prompt: Prompt) -> TurnEnd | None:
        if not prompt.inbound.opens_thread:
            return None
        if prompt.withdrawn is not None:
            return prompt.withdrawn
        try:
            await self._chat.open_thread(prompt.inbound)
        except PortError as exc:
            return not_opened(str(exc))
        await self._store.bind(prompt.inbound.thread_id, title=prompt.inbound.title)
        return None

    async def _refuse(self, prompt: Prompt, end: TurnEnd) -> None:
        self._dropped(prompt)
        try:
            await self._chat.refuse(prompt.inbound, "\n".join(lines(end, self._redact)))
        except PortError as exc:
            log.warning("refusal.failed", message=prompt.id, error=str(exc))
        except Exception:
            # Nothing more can be shown; the outcome still has to be written down.
            log.exception("refusal.failed", message=prompt.id)
        await self._record(prompt.inbound, end.outcome)
