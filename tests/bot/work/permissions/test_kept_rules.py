"""Rules that people add and take back: in force at once, and over restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from bot.work.permissions import kept_rules
from bot.work.permissions.kept_rules import KeptRules, Offer
from bot.work.permissions.rules import Rule, Rules
from bot.work.task_tracker import TaskTracker
from pool.store import KeptRule
from tests.bot.work.samples import ALICE, BOB, inbound
from tests.pool.memory import MemoryStore
from tests.pool.samples import rule

pytestmark = pytest.mark.asyncio

TEST, EDIT = Rule(command="npm test"), Rule(kind="edit", path="src/a.py")
TEST_HERE, EDIT_HERE = (Offer(one, "claude", "/work", inbound(7), "npm test -- login") for one in (TEST, EDIT))


@asynccontextmanager
async def kept(store: MemoryStore) -> AsyncIterator[KeptRules]:
    async with anyio.create_task_group() as tasks:
        rules = KeptRules(TaskTracker(tasks), store)
        await rules.load()
        yield rules
        await anyio.lowlevel.checkpoint()


async def test_a_rule_holds_at_once_where_it_was_added_and_over_restarts() -> None:
    """C2"""
    store = MemoryStore()
    async with kept(store) as rules:
        added = rules.keep(TEST_HERE, ALICE)
        assert rules.current("claude", "/work") == Rules(allow=(TEST,))
        assert rules.keep(TEST_HERE, BOB) is added, "it is kept already"
        rules.keep(EDIT_HERE, ALICE)
        assert rules.current("claude", "/other") == rules.current("codex", "/work") == Rules()
    async with kept(store) as rules:
        assert rules.current("claude", "/work") == Rules(allow=(TEST, EDIT))
        (first, _) = rules.all()
        assert (first.added_by_id, first.added_by_name, first.request) == (ALICE.id, "alice", "npm test -- login")
        assert (first.thread_id, first.prompt_id) == (100, 7)


async def test_a_rule_that_was_revoked_holds_no_more() -> None:
    """C2"""
    store = MemoryStore()
    async with kept(store) as rules:
        added = rules.keep(TEST_HERE, ALICE)
        assert rules.revoke(added.rule_id) == added
        assert rules.current("claude", "/work") == Rules()
        assert rules.revoke(added.rule_id) is None
    assert await store.rules() == []


@pytest.mark.parametrize("fields", [{"command": None}, {"kind": "edit"}, {"command": "*"}, {"path": "../x"}])
async def test_a_row_that_is_no_rule_of_ours_allows_nothing_and_can_be_revoked(fields: dict[str, Any]) -> None:
    """C2: whatever wrote it; a rule that says too little would allow too much."""
    store = MemoryStore()
    await store.keep_rule(rule(5, **fields))
    async with kept(store) as rules:
        assert rules.current("claude", "/work") == Rules()
        assert [one.rule_id for one in rules.all()] == [5]
        assert isinstance(rules.revoke(5), KeptRule)
    assert await store.rules() == []


async def test_there_is_a_bound_on_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """C2"""
    monkeypatch.setattr(kept_rules, "MOST_KEPT", 2)
    async with kept(MemoryStore()) as rules:
        rules.keep(TEST_HERE, ALICE)
        assert not rules.full
        rules.keep(EDIT_HERE, ALICE)
        assert rules.full
