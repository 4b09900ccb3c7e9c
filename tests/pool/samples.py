"""Decisions, rules, transcripts, spending, work trees and schedules to keep."""

from __future__ import annotations

from typing import Any

from pool.store import Decision, KeptRule, KeptSchedule, KeptTranscript, KeptWorkTree, Spent


def decision(number: int = 1, **fields: Any) -> Decision:
    """The decision of a person about a command; ``number`` is in its time and its command."""
    usual: dict[str, Any] = {
        "at": 1_764_000_000.0 + number,
        "guild_id": 10,
        "thread_id": 1,
        "prompt_id": 7,
        "asker_id": 3,
        "asker_name": "alice",
        "what": f"rm -r build/{number}",
        "kind": "execute",
        "decided_by": "person",
        "person_id": 4,
        "person_name": "bob ü🧵",
        "rule": None,
        "option": "Allow once",
        "outcome": "allowed",
    }
    return Decision(**(usual | fields))


def rule(rule_id: int = 1, **fields: Any) -> KeptRule:
    usual: dict[str, Any] = {
        "rule_id": rule_id,
        "agent": "claude",
        "workspace": "/work",
        "allow": True,
        "kind": "execute",
        "command": "npm test",
        "path": None,
        "added_by_id": 4,
        "added_by_name": "bob",
        "added_at": 1_764_000_000.5,
        "thread_id": 1,
        "prompt_id": 7,
        "request": "npm test -- login",
    }
    return KeptRule(**(usual | fields))


def transcript(turn_id: int = 1, thread_id: int = 1, at: int = 1_764_000_000, payload: bytes = b"") -> KeptTranscript:
    return KeptTranscript(turn_id, thread_id, at, payload or f"turn {turn_id}\0".encode())


def spent(prompt_id: int = 7, **fields: Any) -> Spent:
    """What a turn of alice's took: a dollar."""
    usual: dict[str, Any] = {
        "prompt_id": prompt_id,
        "at": 1_764_000_000,
        "day": "2025-11-24",
        "person_id": 3,
        "thread_id": 1,
        "agent": "claude",
        "money": 1_000_000,
        "currency": "USD",
        "tokens": 500,
        "session": "first",
        "total": 3_000_000,
        "context": 9_000,
    }
    return Spent(**(usual | fields))


def work_tree(thread_id: int = 1, **fields: Any) -> KeptWorkTree:
    usual: dict[str, Any] = {
        "thread_id": thread_id,
        "project": "shop",
        "repository": "/srv/shop",
        "directory": f"/state/worktrees/shop/{thread_id}",
        "branch": "weft/fix-login-7c2",
        "base": "main",
        "base_commit": "9f3c",
        "state": "ready",
        "setup": "done",
        "made_at": 1_764_000_000,
        "used_at": 1_764_000_060,
    }
    return KeptWorkTree(**(usual | fields))


def schedule(schedule_id: int = 1, **fields: Any) -> KeptSchedule:
    usual: dict[str, Any] = {
        "schedule_id": schedule_id,
        "guild_id": 10,
        "channel_id": 12,
        "thread_id": 1,
        "author_id": 3,
        "author_name": "alice ü🧵",
        "cron": "0 9 * * 1-5",
        "zone": "Europe/Berlin",
        "prompt": "What failed last night?",
        "paused": "",
        "created_at": 1_764_000_000,
        "due_at": 1_764_057_600,
        "fired_at": 0,
    }
    return KeptSchedule(**(usual | fields))
