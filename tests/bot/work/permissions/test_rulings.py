"""What rules in force do to a request: the agent's answer, the decision that is recorded, the lines in the thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from acp.permission_request import PermissionRequest
from acp.schema import PermissionParams
from bot.reply.live_reply import LiveReply
from bot.reply.port import Body
from bot.work.permissions.decisions import Decision
from bot.work.permissions.rules import Mode, Rule, Rules, Ruling, Verdict
from bot.work.permissions.rulings import MOST_TOLD, RuledLines, Rulings
from tests.bot.work.samples import inbound

ALLOW = {"optionId": "yes", "name": "Allow", "kind": "allow_once"}
ALWAYS = {"optionId": "always", "name": "Always", "kind": "allow_always"}
REJECT = {"optionId": "no", "name": "Reject", "kind": "reject_once"}
STATUS, PUSH = Rule(command="git status *"), Rule(command="git push*")
SECRET = "sk-0123456789abcdef"
CANCELLED = {"outcome": {"outcome": "cancelled"}}


def selected(option: str) -> dict[str, dict[str, str]]:
    return {"outcome": {"outcome": "selected", "optionId": option}}


@dataclass
class Bench:
    rules: Rules
    mode: Mode = Mode.ASK
    seen: bool = True
    answers: list[Any] = field(default_factory=list)
    made: list[Decision] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    held: list[Callable[[], None]] = field(default_factory=list)
    places: list[tuple[int, str]] = field(default_factory=list)
    ruled: RuledLines = field(default_factory=RuledLines)

    def in_force(self, thread_id: int, workspace: str) -> tuple[Rules, Mode]:
        self.places.append((thread_id, workspace))
        return self.rules, self.mode

    def redact(self, text: str) -> str:
        return text.replace(SECRET, "█")

    def record(self, decision: Decision, then: Callable[[], None]) -> None:
        self.made.append(decision)
        self.held.append(then)

    def request(self, command: str, *options: dict[str, str]) -> PermissionRequest:
        call = {"toolCallId": "c", "kind": "execute", "title": command, "rawInput": {"command": command}}
        params = PermissionParams.parse(
            {"sessionId": "s", "toolCall": call, "options": list(options or (ALLOW, ALWAYS, REJECT))}
        )
        return PermissionRequest(1, params, lambda _request, answer: self.answers.append(answer.result))

    def settle(self, request: PermissionRequest) -> Verdict:
        rulings = Rulings(self.in_force, cast("Any", self))
        return rulings.settle(request, inbound(1), "/work", self.ruled, self.lines.append, lambda _option: self.seen)

    def ask(self, command: str, *options: dict[str, str]) -> Verdict:
        return self.settle(self.request(command, *options))


def test_an_allowed_request_takes_what_holds_once_and_is_told_when_it_is_recorded() -> None:
    """C2, C5"""
    bench = Bench(Rules(allow=(STATUS,)))
    assert bench.ask("git status -s") == Verdict(Ruling.ALLOW, STATUS)
    assert bench.answers == [selected("yes")]
    assert bench.places == [(100, "/work")]
    (decision,) = bench.made
    assert (decision.decided_by, decision.outcome, decision.rule, decision.option, decision.what) == (
        "rule",
        "allowed",
        "git status *",
        "Allow",
        "git status -s",
    )
    assert bench.lines == []
    bench.held[0]()
    assert bench.lines == ["-# ✓ allowed by rule `git status *`: `git status -s`"]


@pytest.mark.parametrize(
    ("options", "answer", "outcome"),
    [((ALLOW, REJECT), selected("no"), "rejected"), ((ALLOW,), CANCELLED, "cancelled")],
    ids=["reject", "no reject"],
)
def test_a_denied_request_is_rejected_once_or_cancelled(
    options: tuple[dict[str, str], ...], answer: dict[str, Any], outcome: str
) -> None:
    """C2"""
    bench = Bench(Rules(deny=(PUSH,)), Mode.ALLOW)
    assert bench.ask("ls; git push", *options).ruling is Ruling.DENY
    assert bench.answers == [answer]
    assert (bench.made[0].decided_by, bench.made[0].outcome, bench.made[0].rule) == ("rule", outcome, "git push*")
    bench.held[0]()
    assert bench.lines == ["-# ⛔ denied by rule `git push*`: `ls; git push`"]


def test_the_mode_is_named_where_no_rule_decided() -> None:
    """C3"""
    for mode, line in (
        (Mode.ALLOW, "-# ✓ allowed by mode `allow`: `ls`"),
        (Mode.DENY, "-# ⛔ denied by mode `deny`: `ls`"),
    ):
        bench = Bench(Rules(), mode)
        bench.ask("ls")
        bench.held[0]()
        assert (bench.lines, bench.made[0].decided_by, bench.made[0].rule) == ([line], "mode", str(mode))


def test_nothing_is_allowed_by_itself() -> None:
    """C3"""
    bench = Bench(Rules())
    assert bench.ask("ls").ruling is Ruling.ASK
    assert (bench.answers, bench.made) == ([], [])


@pytest.mark.parametrize("mode", [Mode.ASK, Mode.ALLOW])
def test_what_people_could_not_allow_no_rule_allows(mode: Mode) -> None:
    """C2, C3, D6: what is missing, can't be shown, or has no option for this once."""
    bench = Bench(Rules(allow=(STATUS,)), mode)
    half = bench.request("git status")
    half.complete = False
    verdicts = [bench.settle(half), bench.ask("git status", ALWAYS, REJECT), bench.ask("git status", ALLOW, ALLOW)]
    bench.seen = False
    verdicts.append(bench.ask("git status"))
    assert [one.ruling for one in verdicts] == [Ruling.ASK] * 4
    assert (bench.answers, bench.made) == ([], [])


def test_two_people_are_asked_for_whatever_else_allows_it() -> None:
    """C1"""
    bench = Bench(Rules(allow=(Rule(command="git *"),), two_person=(PUSH,)), Mode.ALLOW)
    assert bench.ask("git push") == Verdict(Ruling.ASK, PUSH, two_person=True)


def test_a_fault_in_a_rule_leaves_the_decision_to_people() -> None:
    """C2: a deny rule may have been the one."""
    bench = Bench(Rules(two_person=(Rule(command="git 'x"),)), Mode.ALLOW)
    assert bench.ask("ls") == Verdict(Ruling.ASK, two_person=True)
    assert bench.answers == []


def test_a_request_that_was_taken_back_is_not_decided() -> None:
    """C5"""
    bench = Bench(Rules(allow=(STATUS,)))
    request = bench.request("git status")
    request.answered = True
    assert bench.settle(request).ruling is Ruling.ALLOW
    assert (bench.answers, bench.made) == ([], [])


@dataclass
class FakeReply:
    cards: dict[str, str] = field(default_factory=dict)

    def card(self, key: str, body: Body) -> None:
        self.cards[key] = body.text


def test_lines_share_a_message_until_something_else_comes() -> None:
    """C2: an agent may ask for a hundred small things."""
    reply, ruled = FakeReply(), RuledLines()
    for number in range(12):
        ruled.tell(cast("LiveReply", reply), f"line {number}", 0)
    ruled.tell(cast("LiveReply", reply), "after text", 5)
    ruled.tell(cast("LiveReply", reply), "x" * 1_795, 5)
    assert [len(text.split("\n")) for text in reply.cards.values()] == [10, 2, 1, 1]
    for _ in range(MOST_TOLD):
        ruled.tell(cast("LiveReply", reply), "line", 5)
    told = "\n".join(reply.cards.values()).split("\n")
    assert len(told) == MOST_TOLD + 1
    assert "`/audit` alone shows" in told[-1]


def test_a_line_that_is_cut_shows_no_part_of_a_secret() -> None:
    """R5, C2: what is cut off a secret would leave a rest that nothing recognises."""
    rule = Rule(command="echo *")
    for room in range(100):
        bench = Bench(Rules(allow=(rule,)))
        bench.ask(f"echo {'x' * room} {SECRET}")
        bench.held[0]()
        assert "sk-" not in bench.lines[0]
