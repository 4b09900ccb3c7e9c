"""From a message that was handed over to a prompt that may start: written down, acknowledged, its thread open (O2).

A prompt that can't get that far has its one outcome here, told where the message was posted. That is so, too, for one
that was withdrawn before its thread was there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import structlog

from bot.model import Inbound, Outcome
from bot.reply.port import PortError, Unavailable
from bot.work.ending import TurnEnd, busy, crashed, interrupted, lines, not_opened
from bot.work.ports import Chat
from bot.work.serialization import accepted_prompt
from pool.store import SessionStore, StoreBusy

log = structlog.get_logger(__name__)

OPEN_AGAIN, OPEN_AGAIN_LONGEST = 5.0, 60.0
"""Seconds until the opening of a thread is tried again that Discord did not take; doubled each time."""


class Intake:
    """Accepts prompts.

    Attributes:
        closed: the bot is stopping: what comes now is told so, and not accepted (R1).

    Args:
        accepted: told that a message is accepted.
        dropped: told that it is not: a duplicate, or one that got its outcome here.
        withdrawn: says which end a message was given while it was being accepted.
        record: writes an outcome down.
        acknowledge: lets a message show that it was accepted; a prompt does not wait for its reaction.
    """

    def __init__(
        self,
        chat: Chat,
        store: SessionStore,
        *,
        accepted: Callable[[Inbound], None],
        dropped: Callable[[Inbound], None],
        withdrawn: Callable[[Inbound], TurnEnd | None],
        record: Callable[[Inbound, Outcome], Awaitable[None]],
        redact: Callable[[str], str],
        acknowledge: Callable[[Inbound], None],
    ) -> None:
        self._chat = chat
        self._store = store
        self._accepted = accepted
        self._dropped = dropped
        self._withdrawn = withdrawn
        self._record = record
        self._redact = redact
        self._acknowledge = acknowledge
        self.closed = False

    async def accept(self, inbound: Inbound) -> bool:
        """Take a message to where it may start, and return whether it got there; if not, it has its one outcome."""
        if self.closed:
            await self.refuse(inbound, interrupted())
            return False
        try:
            if not await self._store.accept(accepted_prompt(inbound)):
                self._dropped(inbound)
                return False
        except StoreBusy:
            await self.refuse(inbound, busy())
            return False
        except Exception:
            log.exception("prompt.failed", prompt=inbound.message_id)
            await self.refuse(inbound, self._withdrawn(inbound) or crashed())
            return False
        return await self.take_up(inbound)

    async def take_up(self, inbound: Inbound) -> bool:
        """Take a message that is written down to where it may start; return whether it got there."""
        self._acknowledge(inbound)
        try:
            refusal = await self._open_thread(inbound)
        except Exception:
            log.exception("prompt.failed", prompt=inbound.message_id)
            refusal = crashed()
        if refusal is None:
            self._accepted(inbound)
            return True
        await self.refuse(inbound, self._withdrawn(inbound) or refusal)
        return False

    async def _open_thread(self, inbound: Inbound) -> TurnEnd | None:
        if not inbound.opens_thread:
            return None
        pause = OPEN_AGAIN
        while (withdrawn := self._withdrawn(inbound)) is None:
            try:
                await self._chat.open_thread(inbound)
            except Unavailable as exc:
                # Nothing could be told now, either; and what was accepted is not lost by Discord's connection (O2).
                log.warning("thread.not_opened", prompt=inbound.message_id, error=str(exc))
                await anyio.sleep(max(pause, exc.retry_after))
                pause = min(2 * pause, OPEN_AGAIN_LONGEST)
            except PortError as exc:
                return not_opened(str(exc))
            else:
                await self._store.bind(inbound.thread_id, title=inbound.title)
                return None
        return withdrawn

    async def refuse(self, inbound: Inbound, end: TurnEnd) -> None:
        """Tell the end of a message where it was posted: it has no thread, or is not accepted."""
        self._dropped(inbound)
        try:
            await self._chat.refuse(inbound, "\n".join(lines(end, self._redact)))
        except PortError as exc:
            log.warning("refusal.failed", message=inbound.message_id, error=str(exc))
        except Exception:
            # Nothing more can be shown; the outcome still has to be written down.
            log.exception("refusal.failed", message=inbound.message_id)
        await self._record(inbound, end.outcome)
