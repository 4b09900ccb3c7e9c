"""What the tests of agents' tools play: agents that call tools, and what they were told."""

from __future__ import annotations

from typing import Any

from tests.agents import ScriptedAgent, Step


def call(tool: str, /, *, wait: bool = True, sdk: bool = False, **arguments: Any) -> Step:
    """A step that calls a tool, and says nothing of what it was told."""
    step: Step = {"call": {"tool": tool, "arguments": arguments, "sdk": sdk}, "then": {"*": []}}
    return step if wait else step | {"wait": False}


def told(agent: ScriptedAgent) -> list[tuple[bool, str]]:
    """Return what the agent's calls came to, in that order: whether each was done, and the text that it got."""
    return [(not entry["error"], entry["text"]) for entry in agent.events("tool_answer")]


def refusals(agent: ScriptedAgent) -> list[str]:
    """Return what the agent was told about calls that were not done."""
    return [text for done, text in told(agent) if not done]
