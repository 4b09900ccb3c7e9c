"""What the rules in force make of a permission request, and the lines that tell a thread what they decided (C2, C3).

What a rule says is decided in `bot.work.permissions.rules`, who answers the agent in `bot.work.turns`. The mutable
state is the lines of one turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import structlog

from acp.permission_request import PermissionRequest
from acp.schema import PermissionOption
from bot.model import Inbound
from bot.reply import cards
from bot.reply.live_reply import LiveReply
from bot.reply.port import Body
from bot.reply.sanitise import units
from bot.work.permissions.asks import ask_of
from bot.work.permissions.decisions import DecidedBy, Decisions, decision_on, what_of
from bot.work.permissions.rules import Mode, Rules, Ruling, Verdict, option_for, verdict

InForce = Callable[[int, str], tuple[Rules, Mode]]
"""Returns the rules and the mode for a thread's agent, in the directory where its session works."""

MOST_RULED = 2_000
"""Requests of one turn that rules decide: an agent that asks without end must not run on for ever."""

MOST_TOLD = 200
"""Of these, how many are told in the thread; all are in the audit."""

_NO_MORE = "-# From here on, `/audit` alone shows what rules decide in this turn."
_LINES, _UNITS = 10, 1_800
_ASK = Verdict(Ruling.ASK)

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class RuledLines:
    """What rules have decided in one turn, as its thread shows it: lines below each other share a message.

    Attributes:
        count: how many requests were decided.
        told: how many of them have a line.
        place: what stood above the last line, as the caller counts it.
        messages: how many there are; the last one has the ``lines``.
    """

    count: int = 0
    told: int = 0
    place: object = None
    messages: int = 0
    lines: list[str] = field(default_factory=list)

    def tell(self, reply: LiveReply, line: str, place: object) -> None:
        """Show a line; in the message of the one before if nothing came in between."""
        self.told += 1
        if self.told > MOST_TOLD:
            return
        if self.told == MOST_TOLD:
            line = f"{line}\n{_NO_MORE}"
        full = len(self.lines) >= _LINES or units("\n".join([*self.lines, line])) > _UNITS
        if place != self.place or full or not self.lines:
            self.messages, self.lines = self.messages + 1, []
        self.place = place
        self.lines.append(line)
        reply.card(f"ruled {self.messages}", Body("\n".join(self.lines)))


@dataclass(frozen=True, slots=True)
class Rulings:
    """Answers requests in people's place.

    Args:
        decisions: records each, before it is told.
    """

    in_force: InForce
    decisions: Decisions

    def settle(
        self,
        request: PermissionRequest,
        first: Inbound,
        workspace: str,
        ruled: RuledLines,
        tell: Callable[[str], None],
        may_take: Callable[[PermissionOption], bool],
    ) -> Verdict:
        """Answer a request if the rules decide it; return the verdict, `Ruling.ASK` if people have to answer.

        Args:
            first: the message that the turn answers.
            workspace: where the session works, as the agent sees it.
            tell: shows a line in the thread.
            may_take: whether people could take an option: what they would not see in full no rule allows.
        """
        # 1. What the rules say.
        rules, mode = self.in_force(first.thread_id, workspace)
        if rules == Rules() and mode is Mode.ASK:
            return _ASK  # as by default: nobody has to read the command for that
        try:
            judged = verdict(ask_of(request.tool_call, workspace, complete=request.complete), rules, mode)
        except Exception:
            # A fault here must neither allow anything nor keep people from deciding; it may have been a deny rule.
            log.exception("ruling.failed", thread=first.thread_id)
            return Verdict(Ruling.ASK, two_person=bool(rules.two_person))
        # 2. People have to answer.
        option = option_for(judged.ruling, request.options)
        allows = judged.ruling is Ruling.ALLOW
        if judged.ruling is Ruling.ASK or (allows and (option is None or not may_take(option))):
            return Verdict(Ruling.ASK, judged.rule, judged.two_person)
        # 3. Answered in their place. Counted although the agent may have been first: it is the asking that is bounded.
        ruled.count += 1
        by: DecidedBy = "rule" if judged.rule is not None else "mode"
        name = str(judged.rule) if judged.rule is not None else str(mode)
        decision = decision_on(
            request.tool_call,
            first,
            by,
            "allowed" if allows else "rejected" if option is not None else "cancelled",
            rule=name,
            option=option,
        )
        # The connection decides who was first: the agent may have taken it back.
        if request.select(option.option_id) if option is not None else request.cancel():
            # Redacted before it is cut: the rest of a cut secret would not be recognised for certain.
            what = self.decisions.redact(what_of(request.tool_call))
            line = cards.ruled(by, name, what, allowed=allows)
            # Record before show, as of people's decisions (C5).
            self.decisions.record(decision, partial(tell, line))
        return judged
