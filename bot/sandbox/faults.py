"""Faults that a test asks for on the REST side: which request they hit and what the client sees.

The mutable state is the list of armed faults. The pipeline in `rest` carries them out.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar


class FaultKind(Enum):
    """How a fault is carried out."""

    RESET_BEFORE = "reset before the change"
    RESET_AFTER = "reset after the change"
    STATUS = "status"
    RATE_LIMITED = "rate limited"
    HTML = "html"
    DELAY = "delay"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; the two constants reset the connection before or after the request took effect.

    aiohttp's client repeats a reset GET, PUT or DELETE once by itself, so a caller only sees the second reset of these.
    """

    RESET_BEFORE: ClassVar["Fault"]
    RESET_AFTER: ClassVar["Fault"]

    kind: FaultKind
    http_status: int = 0
    code: int = 0
    seconds: float = 0.0
    via: bool = True
    is_global: bool = False
    shared: bool = False

    @staticmethod
    def status(http_status: int, code: int = 0) -> "Fault":
        """An error answer with Discord's JSON body."""
        return Fault(FaultKind.STATUS, http_status=http_status, code=code)

    @staticmethod
    def rate_limited(retry_after: float, *, via: bool = True, global_: bool = False, shared: bool = False) -> "Fault":
        """A 429; without `via` it looks like a ban by the proxy in front of Discord; `shared` is nobody's fault."""
        return Fault(
            FaultKind.RATE_LIMITED, http_status=429, seconds=retry_after, via=via, is_global=global_, shared=shared
        )

    @staticmethod
    def html(http_status: int) -> "Fault":
        """An error page of the proxy in front of Discord."""
        return Fault(FaultKind.HTML, http_status=http_status)

    @staticmethod
    def delay(seconds: float) -> "Fault":
        """The request waits this long before it takes effect."""
        return Fault(FaultKind.DELAY, seconds=seconds)


Fault.RESET_BEFORE = Fault(FaultKind.RESET_BEFORE)
Fault.RESET_AFTER = Fault(FaultKind.RESET_AFTER)

status = Fault.status
rate_limited = Fault.rate_limited
html = Fault.html
delay = Fault.delay


@dataclass(slots=True)
class _Armed:
    method: str
    path: re.Pattern[str]
    fault: Fault
    left: int


class Faults:
    """The armed faults, oldest first.

    Attributes:
        slow_seconds: how much longer every request takes that no armed fault hits.
    """

    def __init__(self) -> None:
        self._armed: list[_Armed] = []
        self.slow_seconds = 0.0

    def next(self, method: str, path_regex: str, fault: Fault, times: int = 1) -> None:
        """Arm `fault` for the next `times` requests whose method and path (searched, not anchored) match."""
        self._armed.append(_Armed(method.upper(), re.compile(path_regex), fault, times))

    def clear(self) -> None:
        self._armed.clear()

    @property
    def pending(self) -> int:
        """How many requests armed faults are still waiting for."""
        return sum(armed.left for armed in self._armed)

    def take(self, method: str, path: str) -> Fault | None:
        """The fault for this request, which it uses up, or None."""
        for armed in self._armed:
            if armed.method == method and armed.path.search(path):
                armed.left -= 1
                # Used up in the moment it is taken: two requests at once must not share the last one.
                self._armed = [one for one in self._armed if one.left > 0]
                return armed.fault
        # Last, so that what a test has armed is not slowed down as well.
        return Fault.delay(self.slow_seconds) if self.slow_seconds else None
