"""An observer that keeps what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from bot.model import Lane, Outcome
from bot.work.observer import Observer, TurnReport


@dataclass
class Noted(Observer):
    accepted: list[Lane] = field(default_factory=list)
    ended: list[tuple[Lane, Outcome]] = field(default_factory=list)
    turns: list[TurnReport] = field(default_factory=list)
    visible: list[float] = field(default_factory=list)
    answers: list[tuple[str, str, int]] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    opened: list[bool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def prompt_accepted(self, lane: Lane) -> None:
        self.accepted.append(lane)

    def prompt_ended(self, lane: Lane, outcome: Outcome) -> None:
        self.ended.append((lane, outcome))

    def turn_finished(self, report: TurnReport) -> None:
        self.turns.append(report)

    def reply_visible(self, lane: Lane, after: float) -> None:
        self.visible.append(after)

    def discord_answered(self, method: str, route: str, status: int, seconds: float) -> None:
        self.answers.append((method, route, status))
        self.seconds.append(seconds)

    def discord_limited(self, scope: str) -> None:
        self.limits.append(scope)

    def gateway_opened(self, *, resumed: bool) -> None:
        self.opened.append(resumed)

    def stored(self, seconds: float) -> None:
        self.seconds.append(seconds)
