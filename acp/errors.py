"""What can go wrong on the agent side, sorted by what the caller can do about it.

AcpError
├── AgentSpawnError    the process could not be started: tell the user; `transient` says whether a retry can help
├── AgentExited        the process is gone: `exit` says how; the session can be resumed in a new process
├── ProtocolError      the peer broke the protocol in a way that leaves no safe way on
├── RequestFailed      the peer answered a request with a JSON-RPC error: `code`, `message`, `data`
├── RequestTimeout     the peer did not answer a request in time
└── ForkFailed         the session could not be copied: prompt the session itself, when it is free
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from signal import Signals
from typing import Any, TypeVar

AUTH_REQUIRED = -32000
RESOURCE_NOT_FOUND = -32002
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
REQUEST_CANCELLED = -32800

ErrorT = TypeVar("ErrorT", bound=BaseException)


@dataclass(frozen=True, slots=True)
class AgentExit:
    """How an agent process ended, or that the connection to it was lost.

    Attributes:
        returncode: of the process; negative: the signal; None: nobody knows.
        stderr_tail: the last lines of its stderr.
        reason: what the engine that ran it says, such as ``OOMKilled`` or ``node lost``; "" if there is nothing to say.
        unreachable: it may still run; only the way to it is gone.
    """

    returncode: int | None
    stderr_tail: str = ""
    reason: str = ""
    unreachable: bool = False

    def describe(self) -> str:
        """Return ``exit status 3``, ``signal 9 (SIGKILL, OOMKilled)`` or ``connection lost: node-2 is gone``."""
        if self.unreachable or self.returncode is None:
            what = "connection lost" if self.unreachable else "ended"
            return f"{what}: {self.reason}" if self.reason else what
        if self.returncode >= 0:
            return f"exit status {self.returncode} ({self.reason})" if self.reason else f"exit status {self.returncode}"
        number = -self.returncode
        try:
            words = [Signals(number).name]
        except ValueError:
            words = []
        words += [self.reason] if self.reason else []
        return f"signal {number} ({', '.join(words)})" if words else f"signal {number}"


class SpawnFailure(StrEnum):
    """Why a process could not be started."""

    NOT_FOUND = "not found"
    NOT_EXECUTABLE = "not executable"
    BAD_FORMAT = "not a program this machine can run"
    BAD_DIRECTORY = "the working directory does not exist"
    EXITED = "exited during start"
    TIMEOUT = "did not answer in time"
    PROTOCOL = "does not speak a protocol version we know"
    AUTH_REQUIRED = "log in first"
    UNREACHABLE = "the machine or the engine that runs it can't be reached"
    NO_ROOM = "no machine has room for it"
    IMAGE = "its container image can't be had"
    RIGHTS = "the engine that runs it does not let Weft"
    OTHER = "could not be started"


_PASSING = frozenset(
    {
        SpawnFailure.EXITED,
        SpawnFailure.TIMEOUT,
        SpawnFailure.OTHER,
        SpawnFailure.UNREACHABLE,
        SpawnFailure.NO_ROOM,
    }
)


class AcpError(Exception):
    """Base of everything the agent side raises."""


class AgentSpawnError(AcpError):
    """The agent process could not be started or did not get through its start.

    Attributes:
        failure: why; what is wrong with a program, a directory, an image or rights is not healed by a retry.
        exit: how the process ended, when it did.
        room_on: the machines on which the end of another agent would make room for it; empty: on any of its engine;
            None: nobody's end would help.
    """

    def __init__(
        self,
        message: str,
        *,
        failure: SpawnFailure,
        exit: AgentExit | None = None,  # noqa: A002
        room_on: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(message)
        self.failure = failure
        self.exit = exit
        self.room_on = room_on

    @property
    def transient(self) -> bool:
        """Whether another try may succeed without anybody changing anything."""
        return self.failure in _PASSING


class AgentExited(AcpError):
    """The agent process is gone."""

    def __init__(self, exit: AgentExit) -> None:  # noqa: A002
        super().__init__(f"the agent ended ({exit.describe()})")
        self.exit = exit


class ProtocolError(AcpError):
    """The agent broke the protocol in a way that leaves no safe way on."""


class RequestFailed(AcpError):
    """The agent answered a request with a JSON-RPC error."""

    def __init__(self, method: str, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"{method} failed: {message} ({code})")
        self.method = method
        self.code = code
        self.message = message
        self.data = data


class RequestTimeout(AcpError):
    """The agent did not answer a request in time."""

    def __init__(self, method: str, seconds: float) -> None:
        super().__init__(f"{method} was not answered within {seconds:g} s")
        self.method = method
        self.seconds = seconds


class ForkFailed(AcpError):
    """The session could not be forked, for whatever reason; nothing of the session itself has changed."""


def leaves(group: BaseExceptionGroup[ErrorT]) -> list[ErrorT]:
    """Return the errors of a group, however deep they lie."""
    found: list[ErrorT] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
