"""What a prompt turn looks like at one moment: the values a turn hands out (pure).

`acp.turn`, `acp.answer_text` and `acp.tool_calls` make them; what they look like in Discord is not decided here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto
from typing import Any

from acp.errors import AUTH_REQUIRED, AgentExit
from acp.handed import HandedFile, HandedLink
from acp.schema import Cost, PlanEntry, Usage

BY_AGENT = "the agent"
"""Who stopped a turn that answered ``cancelled`` although nobody had asked for it."""


class Phase(Enum):
    """Where a turn stands; it only ever moves forward."""

    RUNNING = auto()
    CANCELLING = auto()
    DRAINING = auto()
    ENDED = auto()


class Ending(StrEnum):
    """How a turn ended; exactly one each."""

    ANSWERED = "answered"
    FAILED = "failed"
    STOPPED = "stopped"
    TIMED_OUT = "timed_out"
    AGENT_DIED = "agent_died"


@dataclass(frozen=True, slots=True)
class Diff:
    """A change to a file; ``old`` is None for a new file."""

    path: str
    old: str | None
    new: str


@dataclass(frozen=True, slots=True)
class Location:
    """A file that a tool call touches."""

    path: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class ToolState:
    """A tool call as far as it is known.

    Attributes:
        kind: ``read``, ``edit``, ``execute``, … or an unknown word.
        status: ``pending``, ``in_progress``, ``completed``, ``failed`` or an unknown word.
        output: what it printed; the middle of a long output is replaced by a line that says so.
        output_cut: bytes of output that were left out.
        diffs: the changes it makes; those too large to keep are counted in ``diffs_cut``.
        raw_input: the tool's arguments, with long strings and deep nesting cut.
        from_permission: a permission request asked about it.
        rejected: the last answer to one was no, or that nobody decides it.
    """

    id: str
    title: str = ""
    kind: str = "other"
    status: str = "pending"
    output: str = ""
    output_cut: int = 0
    diffs: tuple[Diff, ...] = ()
    diffs_cut: int = 0
    locations: tuple[Location, ...] = ()
    raw_input: Any = None
    from_permission: bool = False
    rejected: bool = False

    @property
    def unfinished(self) -> bool:
        """Whether it waits or works."""
        # An agent may leave a rejected call pending for good.
        return not self.rejected and self.status in ("pending", "in_progress")


@dataclass(frozen=True, slots=True)
class ContextUse:
    """Tokens in the context window and its size."""

    used: int
    size: int


@dataclass(frozen=True, slots=True)
class PromptError:
    """Why the prompt failed; ``code`` is None when no JSON-RPC error said so, ``data`` is what that error had more."""

    message: str
    code: int | None = None
    data: Any = None

    @property
    def auth_required(self) -> bool:
        """Whether the agent wants a login first."""
        return self.code == AUTH_REQUIRED


@dataclass(frozen=True, slots=True)
class Lost:
    """Messages of the agent that were dropped: how many were too long, their bytes, and how many not to be read."""

    too_long: int = 0
    size: int = 0
    unreadable: int = 0

    def one_more(self, size: int | None) -> Lost:
        """Return the same and one more; ``size``: it was too long."""
        if size is None:
            return replace(self, unreadable=self.unreadable + 1)
        return replace(self, too_long=self.too_long + 1, size=self.size + size)


@dataclass(frozen=True, slots=True)
class TurnSnapshot:
    """A turn at one moment; times are those of the clock that fed the turn.

    Attributes:
        text: the answer from the offset ``text_from`` (in characters) on; what an offset stands for never changes.
        text_length: characters of the whole answer so far.
        text_cut: bytes of the answer beyond what is kept.
        tools: in the order in which they were first named; ``tools_cut`` counts those beyond what is kept.
        files, links: what content blocks held besides text; ``files_cut`` counts the files beyond what is kept.
        thoughts: the agent's reasoning; the middle of a long one is replaced by a line that says so.
        usage: tokens of this turn; ``context`` and ``cost`` are the session's so far.
        first_cost: the session's cost as it was first said in this turn.
        model, mode: None where neither the agent nor whoever made the turn has said; the mode also where it is the one
            in which the session was opened.
        stop_reason: the agent's own word, None without a response.
        cancelled_by: who stopped it, `BY_AGENT` if the agent did unasked.
        lost: what was dropped on its way here.
        exit: how the agent's process ended, if it did within the turn.
        killed: the agent did not react to the cancel within the grace and has to be ended.
        permissions: tool call ids of the open permission requests and questions; "" for a question about none.
        started: when the prompt was written; ``ended`` is None before the end.
        version: grows with each visible change.
        last_words: the last line of the agent's stderr in this turn, where whoever made the snapshot looked for it.
        starting: whoever made the snapshot knows that the prompt is still to be sent.
        step: what is being done before the agent can start, in words.
    """

    text: str = ""
    text_from: int = 0
    text_length: int = 0
    text_cut: int = 0
    tools: tuple[ToolState, ...] = ()
    tools_cut: int = 0
    files: tuple[HandedFile, ...] = ()
    links: tuple[HandedLink, ...] = ()
    files_cut: int = 0
    plan: tuple[PlanEntry, ...] = ()
    thoughts: str = ""
    usage: Usage | None = None
    context: ContextUse | None = None
    cost: Cost | None = None
    first_cost: Cost | None = None
    model: str | None = None
    mode: str | None = None
    title: str | None = None
    phase: Phase = Phase.RUNNING
    ending: Ending | None = None
    stop_reason: str | None = None
    error: PromptError | None = None
    cancelled_by: str | None = None
    exit: AgentExit | None = None
    killed: bool = False
    lost: Lost = Lost()
    permissions: tuple[str, ...] = ()
    started: float = 0.0
    last_event: float = 0.0
    ended: float | None = None
    version: int = 0
    last_words: str = ""
    starting: bool = False
    step: str = ""

    @property
    def auth_required(self) -> bool:
        """Whether the agent refused the prompt until somebody logs in; a turn that was stopped anyway is no refusal."""
        return self.ending in (None, Ending.FAILED) and self.error is not None and self.error.auth_required

    def silent_for(self, now: float) -> float:
        """Return for how many seconds nothing was heard of the agent; 0 while it waits for a person or is done."""
        # A person who thinks is no silence of the agent's.
        if self.permissions or self.phase in (Phase.DRAINING, Phase.ENDED):
            return 0.0
        return max(0.0, now - self.last_event)

    @property
    def current_tool(self) -> ToolState | None:
        """The tool call at work: the latest in progress, else the latest that waits; None once the turn is over."""
        if self.phase in (Phase.DRAINING, Phase.ENDED):
            return None
        # Agents announce calls ahead: what waits counts only while nothing is in progress.
        unfinished = [tool for tool in self.tools if tool.unfinished]
        working = [tool for tool in unfinished if tool.status == "in_progress"]
        candidates = working or unfinished
        return candidates[-1] if candidates else None
