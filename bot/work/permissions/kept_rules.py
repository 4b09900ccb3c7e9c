"""Rules that people have added from a card, and took back: in force at once, and kept over restarts (C2).

What a rule says is decided by `bot.work.permissions.rules`, who may add one by the callers. The mutable state is the
rules by their ids.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import structlog

from bot.model import Actor, Inbound
from bot.work.permissions.rules import Rule, Rules, problem_of
from bot.work.task_tracker import TaskTracker
from pool.storage.durable import SessionStore
from pool.store import KeptRule

log = structlog.get_logger(__name__)

MOST_KEPT = 500
"""Rules of all agents together: each request is held against those of its own."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A rule that may be kept for an agent where it works.

    Attributes:
        asked_by: the message whose turn asks for what the rule would allow.
        request: what it asks for, in a line.
    """

    rule: Rule
    agent: str
    workspace: str
    asked_by: Inbound
    request: str


class KeptRules:
    """The rules that people have added, by where they hold."""

    def __init__(self, tracker: TaskTracker, store: SessionStore) -> None:
        self._tracker = tracker
        self._store = store
        self._rules: dict[int, KeptRule] = {}

    async def load(self) -> None:
        """Read what was kept; a rule that this version would not take holds no more, and can be revoked."""
        for kept in await self._store.rules():
            self._rules[kept.rule_id] = kept
            if problem := problem_of(rule_of(kept), allow=kept.allow):
                log.warning("rule.ignored", rule=kept.rule_id, problem=problem)

    def current(self, agent: str, workspace: str) -> Rules:
        """Return the rules that hold for an agent where it works."""
        here = [kept for kept in self._rules.values() if (kept.agent, kept.workspace) == (agent, workspace)]
        sound = [kept for kept in here if not problem_of(rule_of(kept), allow=kept.allow)]
        allow, deny = (tuple(rule_of(kept) for kept in sound if kept.allow is allowed) for allowed in (True, False))
        return Rules(allow=allow, deny=deny)

    def all(self) -> list[KeptRule]:
        """Return all rules, the oldest first."""
        return [self._rules[rule_id] for rule_id in sorted(self._rules)]

    @property
    def full(self) -> bool:
        """Whether one has to be revoked before another may be kept."""
        return len(self._rules) >= MOST_KEPT

    def keep(self, offer: Offer, by: Actor) -> KeptRule:
        """Allow what a rule covers from now on; one that is kept already stays as it is."""
        rule = offer.rule
        for kept in self._rules.values():
            if (kept.agent, kept.workspace, kept.allow, rule_of(kept)) == (offer.agent, offer.workspace, True, rule):
                return kept
        kept = KeptRule(
            rule_id=self._store.new_id(),
            agent=offer.agent,
            workspace=offer.workspace,
            allow=True,
            kind=rule.kind,
            command=rule.command,
            path=rule.path,
            added_by_id=by.id,
            added_by_name=by.name,
            added_at=time.time(),
            thread_id=offer.asked_by.thread_id,
            prompt_id=offer.asked_by.message_id,
            request=offer.request,
        )
        # In memory first: it holds for what is asked in the same moment.
        self._rules[kept.rule_id] = kept
        self._tracker.begin(partial(self._store.keep_rule, kept), name=f"keep rule {kept.rule_id}")
        return kept

    def revoke(self, rule_id: int) -> KeptRule | None:
        """Take a rule back, from the next request on; None: it is not kept."""
        # In memory first, here too: the next request is asked, whatever the disk does.
        kept = self._rules.pop(rule_id, None)
        if kept is not None:
            self._tracker.begin(partial(self._store.revoke_rule, rule_id), name=f"revoke rule {rule_id}")
        return kept


def rule_of(kept: KeptRule) -> Rule:
    """Return what a rule says, without where and by whom."""
    return Rule(kept.kind, kept.command, kept.path)
