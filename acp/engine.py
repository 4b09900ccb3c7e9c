"""What runs an agent, as a connection sees it: the process of this machine, or one that an engine runs elsewhere.

`acp.process` has the local one; those of other machines are in `pool.engines`. There is no state here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.abc

from acp.errors import AgentExit
from acp.shutdown import Members, StopLimits, StopReport

if TYPE_CHECKING:
    from collections.abc import Callable


class RunningAgent(Protocol):
    """A started agent. Its owner runs `drain_stderr` in a task group, and `stop` in the end.

    Attributes:
        stdin: its ``send`` waits while the agent takes nothing.
        stdout: read only as fast as somebody asks; little is held in between.
        pid: of its process; None: it is not on this machine.
        place: where it is, for logs and people: ``pid 17``, ``pod weft-3f on node-2``.
        stderr_bytes: how much it has said on its stderr so far.
        drained: set once its stderr was read to the end.
    """

    stdin: anyio.abc.ByteSendStream
    stdout: anyio.abc.ByteReceiveStream
    drained: anyio.Event

    @property
    def pid(self) -> int | None: ...

    @property
    def place(self) -> str: ...

    @property
    def stderr_bytes(self) -> int: ...

    def exit(self) -> AgentExit | None:
        """Return how it ended, or that it was lost; None while it runs, as far as is known. Never waits."""

    def stderr_since(self, mark: int) -> str:
        """Return what was said on stderr since it had ``mark`` bytes, as far as it is kept."""

    async def wait(self) -> AgentExit:
        """Return how it ended, soon after it did, or soon after it was lost."""

    async def drain_stderr(self) -> None:
        """Read stderr to its end and keep the last of it."""

    async def members(self, *, everywhere: bool) -> Members:
        """Return its processes as far as they are on this machine; see `acp.process.AgentProcess.members`."""

    async def stop(self, limits: StopLimits = StopLimits()) -> StopReport:  # noqa: B008
        """End it and all it has started, shielded and bounded; a second call returns the same report."""


class Engine(Protocol):
    """What starts agents on other machines.

    Attributes:
        name: as people know it.
    """

    name: str

    async def start(self, spec: LaunchSpec) -> RunningAgent:
        """Start an agent, within the engine's own bound; cancelled meanwhile, it leaves nothing running.

        Raises:
            AgentSpawnError: it could not be started; ``failure`` says why.
        """


def tell_nobody(text: str) -> None:
    """Take what a start waits for, where nobody wants to know."""


def ask_nobody() -> None:
    """Take that a start needs room, where nobody can make any."""


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """Where and how an agent starts.

    Attributes:
        cwd: where the process starts, on the machine that runs it.
        env: the complete environment, with the allow-list already applied.
        session_cwd: where its sessions work, as the agent sees it; None: where the process starts.
        start_timeout: seconds for the handshake, and again for opening a session; None: as the connection's limits say.
        engine: what runs it; None: this machine does.
        labels: whose it is, for an engine to note: ``state``, ``agent`` and ``thread``.
        tell: called with what the start waits for, in a few words for people; must not wait.
        ask_for_room: called while the start waits for room that the end of another agent would make, and again every
            few seconds for as long as that lasts; must not wait.
    """

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    session_cwd: str | None = None
    start_timeout: float | None = None
    engine: Engine | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    tell: Callable[[str], None] = tell_nobody
    ask_for_room: Callable[[], None] = ask_nobody

    @property
    def directory(self) -> str:
        """The working directory of its sessions."""
        return self.session_cwd or self.cwd
