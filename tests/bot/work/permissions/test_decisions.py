"""What is recorded of a decision, in which order, and what a disk does to it (C5)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from acp.schema import ToolCallUpdate
from bot.redaction import Redactor
from bot.work.permissions.decisions import KEEP_LIMIT, WHAT_LIMIT, Decisions, what_of
from bot.work.task_tracker import TaskTracker
from pool.storage.operations import Nothing
from pool.storage.writer import Submitted
from pool.store import Decision
from tests.bot.reply.fakes import in_virtual_time
from tests.pool.memory import MemoryStore
from tests.pool.samples import decision

SECRET = "sk-123456789012"


@dataclass
class SlowStore(MemoryStore):
    """Writes when it is told to."""

    handed_in: list[Submitted[None]] = field(default_factory=list)
    broken: bool = False

    def decided(self, decision: Decision) -> Submitted[None]:
        super().decided(decision)
        if self.broken:
            raise anyio.ClosedResourceError
        self.handed_in.append(Submitted(Nothing()))
        return self.handed_in[-1]


@asynccontextmanager
async def recording(store: MemoryStore) -> AsyncIterator[Decisions]:
    async with anyio.create_task_group() as tasks:
        yield Decisions(TaskTracker(tasks), store, Redactor([SECRET]).text)
        tasks.cancel_scope.cancel()


def call(**fields: Any) -> ToolCallUpdate:
    return ToolCallUpdate.parse({"toolCallId": "t", **fields})


@in_virtual_time
async def test_a_decision_is_handed_in_at_once_and_shown_when_it_is_written() -> None:
    """C5: a kill before that loses nothing that anybody saw."""
    store, shown = SlowStore(), list[str]()
    async with recording(store) as decisions:
        decisions.record(decision(), lambda: shown.append("end"))
        assert await store.decisions(9) == [decision()], "with no await in between"
        await anyio.sleep(KEEP_LIMIT - 1)
        assert shown == []
        store.handed_in[0].done.set()
        await anyio.sleep(0.01)
        assert shown == ["end"]


@in_virtual_time
async def test_a_disk_that_hangs_or_a_store_that_is_gone_keeps_no_end_away() -> None:
    """C5, T6"""
    store, shown = SlowStore(), list[str]()
    async with recording(store) as decisions:
        decisions.record(decision(), lambda: shown.append("hung"))
        await anyio.sleep(KEEP_LIMIT + 1)
        store.broken = True
        decisions.record(decision(), lambda: shown.append("gone"))
        decisions.record(decision())
        assert shown == ["hung", "gone"]


@in_virtual_time
async def test_a_decision_that_was_handed_in_is_shown_though_the_work_ends() -> None:
    """C5, R1"""
    shown = list[str]()
    async with recording(SlowStore()) as decisions:
        decisions.record(decision(), lambda: shown.append("end"))
    assert shown == ["end"]


@pytest.mark.asyncio
async def test_a_row_is_bounded_and_without_secrets_and_the_log_has_no_words_of_others() -> None:
    """C5, R5: a decision has the words of agents and people."""
    noisy = f"echo {SECRET} \x1b[2J\n\ud800" + "x" * 10_000_000
    texts: dict[str, Any] = dict.fromkeys(
        ("what", "kind", "asker_name", "person_name", "rule", "option", "reason"), noisy
    )
    store = MemoryStore()
    async with recording(store) as decisions:
        with capture_logs() as lines:
            decisions.record(replace(decision(), **texts))
    (row,) = await store.decisions(1)
    assert row.what.startswith("echo [secret] <U+001B>[2J<U+000A><U+D800>xxx")
    assert len(row.what) == WHAT_LIMIT
    assert all(SECRET not in getattr(row, name) and len(getattr(row, name)) <= WHAT_LIMIT for name in texts)
    (line,) = (line for line in lines if line["event"] == "permission.decided")
    assert line["log_level"] == "info"
    assert (line["outcome"], line["decided_by"], line["person"], line["thread"]) == ("allowed", "person", 4, 1)
    assert not any("echo" in str(value) for key, value in line.items() if key != "reason"), "that is in our words"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"title": "Run it", "rawInput": {"command": "rm -r build", "cwd": "/w"}}, "rm -r build"),
        ({"title": "Run it", "rawInput": {"command": ["rm", "a b"]}}, "rm 'a b'"),
        ({"title": "a", "locations": [{"path": f"/{n}"} for n in "abcd"]}, "a · /a · /b · /c · 1 more places"),
        ({"title": "Edit", "content": [{"type": "diff", "path": "/w/x.py", "newText": ""}]}, "Edit · /w/x.py"),
        ({}, "an unnamed tool"),
        ({"title": "a\nb"}, "a<U+000A>b"),
    ],
)
def test_what_was_asked_is_told_in_a_line(fields: dict[str, Any], expected: str) -> None:
    """C5"""
    assert what_of(call(**fields)) == expected
