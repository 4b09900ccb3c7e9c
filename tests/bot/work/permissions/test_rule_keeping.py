"""Rules from a card: what is offered, who may keep it, and what a kept rule does until it is revoked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from acp.permission_request import PermissionRequest
from acp.schema import PermissionParams
from bot.agents.model import AgentProfile, Agents, Project
from bot.model import QueueMode
from bot.redaction import Redactor
from bot.reply.sanitise import units
from bot.work.permissions import kept_rules
from bot.work.permissions.asks import ask_of
from bot.work.permissions.cards import EXPIRED, RESTARTED, Card, CardState, PermissionRegistry
from bot.work.permissions.decisions import Decisions
from bot.work.permissions.kept_rules import KeptRules
from bot.work.permissions.rule_keeping import (
    CHANGED,
    FIELD,
    FULL,
    IN_THE_FILE,
    LONGEST,
    NO_RULES,
    NOT_KEPT,
    NOT_YOURS,
    RuleKeeping,
)
from bot.work.permissions.rules import Mode, Rule, Rules, Ruling, verdict
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from tests.bot.work.samples import ALICE, BOB, inbound
from tests.pool.memory import MemoryStore
from tests.pool.samples import rule

pytestmark = pytest.mark.asyncio

APPROVER, OWNER = replace(BOB, approver=True), replace(BOB, owner=True)
SECRET = "sk-123456789012"
ALLOW = {"optionId": "yes", "name": "Allow once", "kind": "allow_once"}
ALWAYS = {"optionId": "always", "name": "Always", "kind": "allow_always"}
REJECT = {"optionId": "no", "name": "Reject", "kind": "reject_once"}
TEST = {"title": "Run", "kind": "execute", "rawInput": {"command": "npm test"}}
DENIED = Rule(command="rm *")


@dataclass
class Scene:
    rules: RuleKeeping
    registry: PermissionRegistry
    store: MemoryStore
    answers: list[Any]

    def card(
        self,
        call: dict[str, Any] = TEST,
        options: tuple[dict[str, str], ...] = (ALWAYS, ALLOW, REJECT),
        **fields: Any,
    ) -> Card:
        """A card that offers what it may."""
        params = PermissionParams.parse({"sessionId": "s", "toolCall": {"toolCallId": "t", **call}, "options": options})
        complete = fields.pop("complete", True)
        request = PermissionRequest(
            1, params, lambda _request, answer: self.answers.append(answer.result), complete=complete
        )
        asked_by = inbound(7)
        card = self.registry.open(
            asked_by.thread, request, ALICE, lambda _card: None, two_person=fields.get("two", False)
        )
        card.offer = self.rules.offer(card, asked_by, "/work", fields.get("offered", card.offered))
        return card

    def judged(self, command: str = "npm test") -> Ruling:
        call = PermissionParams.parse(
            {"sessionId": "s", "toolCall": {"toolCallId": "t", "rawInput": {"command": command}}, "options": []}
        ).tool_call
        return verdict(ask_of(call, "/work"), *self.rules.in_force(100, "/work")).ruling


@asynccontextmanager
async def keeping(**file: Any) -> AsyncIterator[Scene]:
    store, registry, profile = MemoryStore(), PermissionRegistry(), AgentProfile("claude", (), "/work", **file)
    agents = Agents({"claude": profile, "codex": replace(profile, name="codex", rules=Rules())}, "claude")
    async with anyio.create_task_group() as tasks:
        tracker = TaskTracker(tasks)
        decisions = Decisions(tracker, store, Redactor([SECRET]).text)
        rules = RuleKeeping(
            registry, KeptRules(tracker, store), decisions, ThreadSettings(tracker, store, agents, QueueMode.QUEUE)
        )
        yield Scene(rules, registry, store, [])
        await anyio.lowlevel.checkpoint()


def offered(card: Card) -> str | None:
    return None if card.offer is None else str(card.offer.rule)


async def test_a_card_offers_the_rule_for_just_what_it_asks() -> None:
    """C2: what two people must agree to, or nobody can see in full, or no rule could tell again, is not offered."""
    async with keeping() as scene:
        edit = {"title": "Edit", "kind": "edit", "content": [{"type": "diff", "path": "/work/a.py", "newText": "x"}]}
        piped = {"kind": "execute", "rawInput": {"command": "npm test | tee log"}}
        secret = {"kind": "execute", "rawInput": {"command": f"curl {SECRET}"}}
        long = {"kind": "execute", "rawInput": {"command": "echo " + "x" * LONGEST}}
        assert [offered(scene.card(call)) for call in (TEST, edit, piped, secret, long)] == [
            "npm test", "edit a.py", None, None, None
        ]  # fmt: skip
        assert scene.card(two=True).offer is None
        assert scene.card(complete=False).offer is None
        assert scene.card(options=(ALWAYS, REJECT)).offer is None
        assert scene.card(offered=frozenset({2})).offer is None
    sure, unsure = Rule(command="npm test"), Rule(command="rm *")
    async with keeping(rules=Rules(deny=(unsure,), two_person=(sure,))) as scene:
        code = {"kind": "execute", "rawInput": {"command": "python -c 'rm x'"}}
        assert [offered(scene.card(call)) for call in (TEST, code)] == [None, None], "it would be asked all the same"


async def test_an_approver_keeps_exactly_the_rule_that_was_shown_and_that_answers_the_card() -> None:
    """C2, C5: for once, whatever else the agent offers; from then on nobody is asked for the same."""
    async with keeping() as scene:
        card = scene.card()
        modal = scene.rules.open(card.token, APPROVER).modal
        assert modal is not None
        (field,) = modal.fields
        assert (field.custom_id, field.value) == (FIELD, ("npm test",))
        assert "claude may do this without asking, in /work" in field.about
        assert scene.judged() is Ruling.ASK
        answer = scene.rules.keep(card.token, " npm test\n", APPROVER)
        assert (answer.accepted, answer.lasting) == (True, True)
        assert answer.text.split("\n") == [
            "Answered: `Allow once`",
            "Allowed here without asking from now on: `npm test`",
            "-# To take a rule back: `/permissions revoke`",
        ]
        assert scene.answers == [{"outcome": {"outcome": "selected", "optionId": "yes"}}]
        assert (scene.judged(), scene.judged("npm test -- x")) == (Ruling.ALLOW, Ruling.ASK)
        (decision,) = await scene.store.decisions(9)
        assert (decision.kind, decision.outcome, decision.rule, decision.person_name) == (
            "rule",
            "kept",
            "npm test",
            "bob",
        )
    (kept,) = await scene.store.rules()
    assert (kept.agent, kept.workspace, kept.command, kept.allow, kept.request) == (
        "claude", "/work", "npm test", True, "npm test"
    )  # fmt: skip
    assert (kept.added_by_id, kept.thread_id, kept.prompt_id) == (BOB.id, 100, 7)


async def test_nobody_else_and_nothing_else_is_taken() -> None:
    """C2: a requester may allow once, not for good; a forged or broader text, a late press, and one too many rules."""
    async with keeping() as scene:
        card = scene.card()
        for by in (ALICE, BOB):
            assert scene.rules.open(card.token, by) == scene.rules.keep(card.token, "npm test", by) == NOT_YOURS
        for typed in ("npm *", "npm test x", "", "npm"):
            assert scene.rules.keep(card.token, typed, APPROVER) == CHANGED
        assert (scene.answers, scene.rules.kept.all()) == ([], [])
        without = scene.card({"kind": "execute", "rawInput": {"command": "a | b"}})
        assert not scene.rules.keep(without.token, "a | b", APPROVER).accepted
        assert not scene.rules.keep("unknown", "npm test", APPROVER).accepted
        taken_back = scene.card()
        taken_back.request.cancel()
        assert not scene.rules.keep(taken_back.token, "npm test", APPROVER).accepted
        assert (scene.rules.kept.all(), taken_back.state) == ([], CardState.CANCELLED)
        assert scene.registry.decide(card.token, 2, ALICE).accepted
        assert scene.rules.keep(card.token, "npm test", OWNER).text == "Already answered by `alice`."


async def test_a_card_of_an_earlier_run_offers_no_rule_and_says_why() -> None:
    """C4: by the age of the message, as on its other buttons; a form may be sent after the restart."""
    async with keeping() as scene:
        assert scene.rules.open("unknown", APPROVER, 1 << 22).text == RESTARTED
        assert scene.rules.keep("unknown", "npm test", APPROVER, 1 << 22).text == RESTARTED
        assert scene.rules.keep("unknown", "npm test", APPROVER).text == EXPIRED


async def test_when_there_are_too_many_rules_no_more_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """C2"""
    monkeypatch.setattr(kept_rules, "MOST_KEPT", 1)
    async with keeping() as scene:
        assert scene.rules.keep(scene.card().token, "npm test", OWNER).accepted
        other = scene.card({"kind": "execute", "rawInput": {"command": "npm run lint"}})
        assert scene.rules.open(other.token, OWNER) == scene.rules.keep(other.token, "npm run lint", OWNER) == FULL
        assert other.state is CardState.OPEN


async def test_a_rule_that_was_revoked_is_asked_again() -> None:
    """C2, C5"""
    async with keeping(rules=Rules(deny=(DENIED,))) as scene:
        scene.rules.keep(scene.card().token, "npm test", APPROVER)
        assert scene.rules.choices(ALICE) == []
        ((name, value),) = scene.rules.choices(OWNER)
        assert name == "npm test (claude)"
        assert scene.rules.revoke(value, ALICE, 1, 5) == NOT_YOURS
        assert scene.rules.revoke("rm *", OWNER, 1, 5) == IN_THE_FILE
        assert scene.rules.revoke("cargo", OWNER, 1, 5) == NOT_KEPT
        answer = scene.rules.revoke(value, OWNER, 1, 5)
        assert (answer.text, answer.lasting) == ("Taken back: `npm test`. From now on people are asked again.", True)
        assert scene.judged() is Ruling.ASK
        (decision, _) = await scene.store.decisions(9)
        assert (decision.outcome, decision.thread_id, decision.guild_id, decision.what) == ("revoked", 5, 1, "npm test")
    assert await scene.store.rules() == []


async def test_all_rules_are_listed_with_where_they_come_from() -> None:
    """C2"""
    async with keeping() as scene:
        assert scene.rules.describe(ALICE) == NOT_YOURS
        assert scene.rules.describe(APPROVER).text == f"{NO_RULES}\n-# People answer what no rule decides."
    async with keeping(rules=Rules(allow=(Rule(kind="read"),), deny=(DENIED,)), mode=Mode.DENY) as scene:
        scene.rules.keep(scene.card().token, "npm test", APPROVER)
        listed = scene.rules.describe(OWNER).text.split("\n")
        assert listed[0] == "**Added from cards**"
        assert listed[1].startswith("allow `npm test` for `claude` in `/work`, by `bob` <t:")
        assert listed[2:] == [
            "**In weft.toml**",
            "allow `read` for `claude`",
            "deny `rm *` for `claude`",
            "-# What no rule allows is denied.",
            "-# To take a rule back: `/permissions revoke`",
        ]


async def test_the_list_says_what_becomes_of_all_else_where_agents_differ() -> None:
    """C2, C3: without rules a mode of deny denies everything, and nobody is asked."""
    async with keeping(mode=Mode.DENY) as scene:
        profiles = scene.rules.settings.agents.profiles
        scene.rules.settings.agents = Agents({**profiles, "codex": replace(profiles["codex"], mode=Mode.ASK)}, "claude")
        assert scene.rules.describe(OWNER).text.split("\n") == [
            NO_RULES,
            "-# What no rule allows is denied (claude).",
            "-# People answer what no rule decides (codex).",
        ]


async def test_a_list_of_many_rules_fits_a_message_and_says_what_is_left_out() -> None:
    """C2"""
    many = tuple(Rule(command=f"cmd{number} " + "x" * 70) for number in range(50))
    async with keeping(rules=Rules(allow=many)) as scene:
        for number in range(50):
            await scene.store.keep_rule(rule(number + 1, command=f"npm run {number} " + "y" * 60))
        await scene.rules.kept.load()
        text = scene.rules.describe(OWNER).text
        assert units(text) <= 2000
        assert "npm run 49" in text
        assert "older: `/permissions revoke` finds each." in text
        assert "cmd0" in text
        assert "more in the file" in text


async def test_what_is_kept_in_a_directory_of_one_thread_holds_in_no_other() -> None:
    """C2: another thread has other files, and what a command runs of them nobody has looked at."""
    async with keeping() as scene:
        settings = scene.rules.settings
        agents = {name: replace(one, workspace="/srv/{thread_id}") for name, one in settings.agents.profiles.items()}
        settings.agents = Agents(agents, "claude")
        card = scene.card()
        assert scene.rules.keep(card.token, "npm test", APPROVER).accepted
        assert scene.rules.in_force(100, "/srv/100")[0].allow == (Rule(command="npm test"),)
        assert scene.rules.in_force(101, "/srv/101")[0].allow == ()


async def test_what_is_kept_in_a_project_holds_in_all_its_threads_and_nowhere_else() -> None:
    """C2, W1: their work trees are of one repository; beside them there are the rules of the project itself."""
    async with keeping() as scene:
        settings = scene.rules.settings
        own = Rules(deny=(Rule(kind="fetch"),))
        web = Project("web", Path("/srv/web"), Path("/state/worktrees/web"), rules=own, mode=Mode.DENY)
        settings.agents = replace(settings.agents, projects={"web": web})
        for thread_id in (100, 101):
            settings.keep(thread_id, {"project": "web"})
        card = scene.card()
        assert card.offer is not None
        assert card.offer.workspace == "/srv/web"
        assert scene.rules.keep(card.token, "npm test", APPROVER).accepted
        for thread_id in (100, 101):
            assert scene.rules.in_force(thread_id, "") == (replace(own, allow=(Rule(command="npm test"),)), Mode.DENY)
        assert scene.rules.in_force(102, "") == (Rules(), Mode.ASK)
        text = scene.rules.describe(OWNER).text
        assert "deny `fetch` in `web`" in text
        assert text.splitlines()[-2] == "-# What no rule allows is denied in web."
