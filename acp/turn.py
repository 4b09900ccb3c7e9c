"""One prompt turn as a state machine: what was said, and how it ends (pure).

Phases only move forward: running, cancelling, draining, ended. A turn takes what the agent sends and the present time,
and says what has to be done (`tick`) and when to look again (`next_wakeup`): `acp.turn_deadlines` has the deadlines,
`acp.turn_runner` moves bytes, probes and kills. Nothing that comes after the end changes anything.
"""

from __future__ import annotations

from acp.errors import AcpError, AgentExit, AgentExited, RequestFailed
from acp.handed import HandedFiles
from acp.schema import SessionUpdate, ToolCallUpdate, Usage
from acp.snapshot import BY_AGENT, Ending, Lost, Phase, PromptError, TurnSnapshot
from acp.transcript import Transcript
from acp.turn_deadlines import Action, TurnDeadlines, TurnLimits

CANCELLED = "cancelled"
"""The stop reason of a turn that was cancelled."""


class Turn:
    """One prompt turn.

    Attributes:
        version: grows with each visible change.
        schedule: grows whenever a deadline may have come nearer; see `next_wakeup`.
        phase: where the turn stands.
        decided: how the turn ends; known from the agent's answer on.
    """

    def __init__(self, limits: TurnLimits, now: float, *, model: str | None = None, mode: str | None = None) -> None:
        self.version = 0
        self.schedule = 0
        self.phase = Phase.RUNNING
        self.decided: Ending | None = None
        self._limits = limits
        self._deadlines = TurnDeadlines(limits, now)
        handed = HandedFiles(limits.files, limits.file_bytes)
        self._said = Transcript(
            limits.text_bytes, limits.tool_calls, limits.tool_head, limits.tool_tail, model, mode, handed
        )
        self._asked: dict[str, str] = {}
        self._overdue = False
        self._ended: float | None = None
        self._stop_reason: str | None = None
        self._error: PromptError | None = None
        self._cancelled_by: str | None = None
        self._exit: AgentExit | None = None
        self._killed = False
        self._lost = Lost()
        self._usage: Usage | None = None

    # --- what happens to it --------------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Take the moment in which the prompt is written for the start; time spent on the way to it does not count."""
        # A turn that was withdrawn on its way stays as it ended.
        if self.phase is Phase.RUNNING:
            self._deadlines = TurnDeadlines(self._limits, now)

    def feed(self, update: SessionUpdate, now: float) -> None:
        """Take an update; constant work for a chunk."""
        if self.phase is Phase.ENDED:
            return
        self._deadlines.last_event = now
        if self._said.feed(update):
            self.version += 1

    def note_options(self, model: str | None, mode: str | None) -> None:
        """Take the names of the session's model and mode, as they are now; None: not known, or not worth telling."""
        before = self._said.model, self._said.mode
        # A model that was once named stays: an agent may offer no choice of models and still have said which it is.
        self._said.model, self._said.mode = model or self._said.model, mode
        if self.phase is not Phase.ENDED and before != (self._said.model, mode):
            self.version += 1

    def begin_own_call(self, tool: str, title: str, now: float) -> str | None:
        """Show that the agent calls a tool of ours; return the id of the call, None if nothing more is shown."""
        if self.phase is Phase.ENDED:
            return None
        # It does not part the answer: a call comes by another way than the text, and may fall into a word.
        self._deadlines.last_event = now
        self.version += 1
        return self._said.tools.begin_own(tool, title)

    def end_own_call(self, call_id: str, *, failed: bool) -> None:
        """Show that a call of a tool of ours is over."""
        if self.phase is not Phase.ENDED:
            self._said.tools.end_own(call_id, failed=failed)
            self.version += 1

    def lose(self, too_long: int | None) -> None:
        """Note that a message of the agent was dropped: for its size (in bytes), or since it could not be read."""
        if self.phase is not Phase.ENDED:
            self._lost = self._lost.one_more(too_long)
            self.version += 1

    def respond(self, stop_reason: str, usage: Usage | None, now: float) -> None:
        """Take the response to the prompt: what is still on its way is waited for."""
        if self.phase in (Phase.DRAINING, Phase.ENDED):
            return  # it was withdrawn or killed meanwhile, and was shown as that
        self._stop_reason = stop_reason
        self._usage = usage
        # Nobody here had asked for it: that is no answer, and says so.
        if stop_reason == CANCELLED and not self._overdue:
            self._cancelled_by = self._cancelled_by or BY_AGENT
        self._drain(Ending.ANSWERED, now)

    def fail(self, error: AcpError, now: float) -> None:
        """Take an error in the place of the response; the end of the process counts as `died`."""
        if isinstance(error, AgentExited):
            self.died(error.exit, now)
        elif self.phase in (Phase.RUNNING, Phase.CANCELLING):
            # Only an answer has a code and data; a pipe that broke has neither.
            self._error = PromptError(str(error))
            if isinstance(error, RequestFailed):
                self._error = PromptError(error.message, error.code, error.data)
            self._drain(Ending.FAILED, now)

    def died(self, exit: AgentExit | None, now: float) -> None:  # noqa: A002
        """The process is gone: the turn is over at once, with what was said so far."""
        if self.phase is not Phase.ENDED:
            self._exit = exit
            self._end(Ending.AGENT_DIED, now)

    def cancel(self, now: float, by: str) -> bool:
        """Decide to stop the turn; True: the cancel has to be sent now. False: it is too late, or decided already."""
        if self.phase is not Phase.RUNNING:
            return False
        self._cancelled_by = by
        self._deadlines.cancelled(now)
        self._enter(Phase.CANCELLING)
        return True

    def withdraw(self, now: float, by: str) -> None:
        """End a turn whose prompt was never sent, or that nobody looks after any more."""
        if self.phase is not Phase.ENDED:
            self._cancelled_by = self._cancelled_by or by
            self._end(Ending.STOPPED, now)

    def permission_opened(self, key: str, tool_call: ToolCallUpdate, now: float) -> None:
        """The agent waits for a person: silence means nothing now, and the hard timeout moves."""
        if self.phase is Phase.ENDED:
            return
        self._said.take_tool_call(tool_call, asked=True)
        self._asked[key] = tool_call.tool_call_id
        self._deadlines.permission_opened(key, tool_call.tool_call_id, now)
        self.version += 1

    def question_opened(self, key: str, tool_call_id: str, now: float) -> None:
        """The agent waits for a person's answer to a question, to be closed as a permission request is."""
        if self.phase is not Phase.ENDED:
            self._deadlines.permission_opened(key, tool_call_id, now)
            self.version += 1

    def permission_closed(self, key: str, now: float, *, rejected: bool = False) -> None:
        """A request was answered or taken back; ``rejected``: the answer was no."""
        if self.phase is Phase.ENDED:
            return
        # Two books: every request is shown and decided, but only those that opened in time move the deadline.
        tool_call_id = self._asked.pop(key, None)
        if tool_call_id is not None:
            self._said.tools.decide(tool_call_id, rejected=rejected)
        if self._deadlines.permission_closed(key, now):
            self.version += 1
            self.schedule += 1

    def tick(self, now: float) -> tuple[Action, ...]:
        """Move on with the time; return what the loop around the turn has to do."""
        actions = self._deadlines.due(self.phase, now)
        for action in actions:
            if action is Action.END:
                self._end(Ending.ANSWERED, now)
                return ()
            if action is Action.KILL:
                self._killed = True
                self._end(Ending.STOPPED, now)
            elif action is Action.CANCEL:
                # Decided here, so that a late answer to the cancel does not make it a success.
                self._overdue = True
                self._deadlines.cancelled(now)
                self._enter(Phase.CANCELLING)
        return tuple(actions)

    def next_wakeup(self) -> float:
        """Return when `tick` has something to do, if nothing happens before; infinity after the end."""
        return self._deadlines.next_wakeup(self.phase)

    # --- phases --------------------------------------------------------------------------------------------------

    def _drain(self, ending: Ending, now: float) -> None:
        self._decide(ending)
        self._deadlines.answered(now)
        self._enter(Phase.DRAINING)

    def _end(self, ending: Ending, now: float) -> None:
        self._decide(ending)
        self._ended = now
        self._enter(Phase.ENDED)

    def _decide(self, ending: Ending) -> None:
        """Settle how the turn ends, once: what we decided ourselves counts more than what came of it."""
        # No more text is expected: what was held back as a possible retry is part of the answer.
        self._said.answer.settle()
        if self.decided is None and self._overdue:
            self.decided = Ending.TIMED_OUT
        elif self.decided is None:
            self.decided = ending if self._cancelled_by is None else Ending.STOPPED

    def _enter(self, phase: Phase) -> None:
        assert phase.value > self.phase.value, f"a turn never goes from {self.phase} to {phase}"
        self.phase = phase
        self.version += 1
        self.schedule += 1

    # --- what it looks like --------------------------------------------------------------------------------------

    def snapshot(self, text_from: int = 0) -> TurnSnapshot:
        """Return the turn as it is now, with the answer from an offset on; it costs about what it returns."""
        said = self._said
        return TurnSnapshot(
            text=said.answer.read(text_from),
            text_from=text_from,
            text_length=said.answer.length,
            text_cut=said.answer.cut,
            tools=said.tools.states(),
            tools_cut=said.tools.cut,
            files=said.handed.files,
            links=said.handed.links,
            files_cut=said.handed.cut,
            plan=said.plan,
            thoughts=said.thoughts.read(),
            usage=self._usage,
            context=said.context,
            cost=said.cost,
            first_cost=said.first_cost,
            model=said.model,
            mode=said.mode,
            title=said.title,
            phase=self.phase,
            ending=self.decided if self.phase is Phase.ENDED else None,
            stop_reason=self._stop_reason,
            error=self._error,
            cancelled_by=self._cancelled_by,
            exit=self._exit,
            killed=self._killed,
            lost=self._lost,
            permissions=() if self.phase is Phase.ENDED else self._deadlines.waiting(),
            started=self._deadlines.started,
            last_event=self._deadlines.last_event,
            ended=self._ended,
            version=self.version,
        )
