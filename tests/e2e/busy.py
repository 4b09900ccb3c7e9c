"""What tests of busy threads share: agents that treat a second prompt differently, and what may be seen of it."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest

from bot.sandbox import Message
from bot.work import parts, reactions
from bot.work.queue_notices import QueueNotices
from bot.work.skipped import SkippedMessages
from tests.agents import Gate, ScriptedAgent, Step
from tests.e2e.play import LIMIT, Play, hurry_discord

AGENTS: dict[str, dict[str, Any]] = {
    "merges": {"second": "merges"},
    "queues": {"second": "queues"},
    "cancels": {"second": "cancels"},
    "steers": {"second": "queues", "steering": True},
}
"""What an agent does with a second prompt in its session, if it ever got one; the last offers a way to put text in."""

BUSY: list[Step] = [{"text": "so far "}, {"hang": True}]


def hurry_notices(monkeypatch: pytest.MonkeyPatch, *, patience: float = 0.1) -> None:
    """Shorten the waits before waiting messages are told that they wait, and before ends are told together."""
    hurry_discord(monkeypatch)
    monkeypatch.setattr(parts, "QueueNotices", partial(QueueNotices, patience=patience))
    monkeypatch.setattr(parts, "SkippedMessages", partial(SkippedMessages, burst=0.1))
    monkeypatch.setattr(reactions, "PATIENCE", 0.02)


def friends(*names: str, **settings: Any) -> dict[str, Any]:
    """Return settings with which these people may speak, too."""
    return {"invite": lambda discord: {"allowed_users": tuple(discord.user(name).id for name in names)}, **settings}


def held(gate: Gate) -> list[Step]:
    """A turn that says something, waits for the gate, and says more."""
    return [{"text": "so far "}, gate.step, {"text": "and done"}]


async def begun(game: Play, text: str = "first") -> int:
    """Ask for a turn that is seen to run; return its thread."""
    thread_id = await game.mention(text)
    await game.until_shown(thread_id, "so far")
    return thread_id


async def notice_of(game: Play, thread_id: int, *texts: str) -> Message:
    """Wait for the notice of a thread in which these messages wait, in this order."""

    def look() -> list[Message]:
        notices = [one for one in game.replies(thread_id) if "Waiting" in one.content]
        return [one for one in notices if listed(one) == list(texts)]

    await game.discord.wait_for(lambda _: look(), timeout=LIMIT)
    return look()[0]


def listed(notice: Message) -> list[str]:
    """The texts of the messages that a notice lists."""
    return re.findall(r"^-# \d+\. `.*?`: `(.*)`$", notice.content, re.MULTILINE)


async def until_gone(game: Play, notice: int) -> None:
    """Wait until a notice is deleted."""
    await game.discord.wait_for(lambda fd: notice not in fd.state.messages, timeout=LIMIT)


def answers(game: Play, thread_id: int) -> list[tuple[int | None, str]]:
    """What Weft has answered, in order: the message that each stands below, and its text without the footer."""
    replies = game.replies(thread_id)
    ended = [one for one in replies if "\n-# " in one.content and not one.components]
    return [(one.reference_id, one.content.split("\n-# ")[0]) for one in ended]


def assert_one_prompt_at_a_time(agent: ScriptedAgent) -> None:
    """Fail if a prompt reached a session in which another one was open (Q1)."""
    opened: dict[str, Any] = {}
    sessions: dict[tuple[int, Any], str] = {}
    for entry in agent.log():
        if entry["event"] == "responded" and (entry["pid"], entry["id"]) in sessions:
            opened.pop(sessions.pop((entry["pid"], entry["id"])))
        elif entry["event"] == "received" and entry["message"].get("method") == "session/prompt":
            session = f"{entry['pid']} {entry['message']['params']['sessionId']}"
            assert session not in opened, f"two prompts were open at once: {opened[session]} and {entry['message']}"
            opened[session] = entry["message"]
            sessions[entry["pid"], entry["message"]["id"]] = session
