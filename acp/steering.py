"""Text on its way into a running turn, and whether it got there.

An extension of the protocol: the agent says ``_meta.steering.supported`` and takes ``_session/steering``. The rule by
which a message is answered exactly once: the text counts as part of the turn if the agent's ``injected`` comes before
its response to the turn's prompt, in the order on the wire and within the time limit. In every other case it does not,
and whoever sent it has to prompt it. That is settled once, at the first of the agent's answer, the response, the end of
the process and the limit; what comes later changes nothing.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import anyio

METHOD = "_session/steering"

STEER_TIMEOUT = 5.0
"""Seconds for the agent's answer; real ones take milliseconds."""

INJECTED = "injected"
STARTED_TURN = "startedNewTurn"
"""The turn was over, and the agent has begun one that nobody prompted."""

# Asked for so that the text stays ours when the turn is over; without it real agents begin a turn by themselves.
STAY_IDLE = {"steering": {"idleBehavior": "promptRequired"}}


class Steering:
    """A message that was sent into a turn; awaiting it says whether it is part of the turn. Never raises.

    Attributes:
        reached: the same, None until it is settled.
    """

    def __init__(self, timeout: float = STEER_TIMEOUT, *, reached: bool | None = None) -> None:
        self.reached = reached
        self._timeout = timeout
        self._settled = anyio.Event()

    def settle(self, reached: bool) -> None:
        """Say whether the text got there; only the first call counts."""
        # Whichever comes first counts: the sender may have prompted the text already.
        if self.reached is None:
            self.reached = reached
            self._settled.set()

    async def wait(self) -> bool:
        """Return whether the text is part of the turn, after the time limit at the latest."""
        # Who was cancelled while waiting leaves it open: the answer may still come, and is asked for again.
        if self.reached is None:
            with anyio.move_on_after(self._timeout):
                await self._settled.wait()
            self.settle(False)
        return bool(self.reached)

    def __await__(self) -> Generator[Any, Any, bool]:
        return self.wait().__await__()
