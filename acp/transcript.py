"""What an agent said and did in one turn, put together from its updates (pure).

The mutable state is the answer, the tool calls, what was handed over, the plan, the reasoning, and the latest of
each metadata.
"""

from __future__ import annotations

from typing import Any

from acp.answer_text import AnswerText, Thoughts
from acp.handed import HandedFiles
from acp.schema import (
    AgentMessageChunk,
    AgentThoughtChunk,
    ConfigOptionUpdate,
    Cost,
    CurrentModeUpdate,
    Plan,
    PlanEntry,
    SessionInfoUpdate,
    SessionUpdate,
    ToolCallUpdate,
    UsageUpdate,
)
from acp.snapshot import ContextUse
from acp.tool_calls import ToolCalls, block_text

_THOUGHTS_HEAD, _THOUGHTS_TAIL = 16_384, 49_152
"""Bytes of the agent's reasoning that are kept."""
_PLAN_STEPS = 200


class Transcript:
    """What was said and done in a turn; `acp.turn_deadlines.TurnLimits` says what the bounds are."""

    def __init__(
        self,
        text_bytes: int,
        tool_calls: int,
        head: int,
        tail: int,
        model: str | None,
        mode: str | None,
        handed: HandedFiles | None = None,
    ) -> None:
        self.answer = AnswerText(text_bytes)
        self.thoughts = Thoughts(_THOUGHTS_HEAD, _THOUGHTS_TAIL)
        self.tools = ToolCalls(tool_calls, head, tail)
        self.handed = handed or HandedFiles(0, 0)
        self.plan: tuple[PlanEntry, ...] = ()
        self.context: ContextUse | None = None
        self.cost: Cost | None = None
        self.first_cost: Cost | None = None
        self.model = model
        self.mode = mode
        self.title: str | None = None

    def feed(self, update: SessionUpdate) -> bool:
        """Take an update; True if it can be seen."""
        # Chunks come first: there are a thousand of them for each of the others.
        if isinstance(update, AgentMessageChunk):
            block = update.content
            # A text has no data: what is no text may be a file, which is posted below the answer.
            handed = block.text is None and self.handed.take_from_message(block)
            self.answer.append(update.message_id, "" if handed else block_text(block))
        elif isinstance(update, ToolCallUpdate):
            self.take_tool_call(update, asked=False)
            self.handed.take_from_tool(update.content or ())
        elif isinstance(update, AgentThoughtChunk):
            self.thoughts.append(update.message_id, block_text(update.content))
        elif isinstance(update, Plan):
            self.plan = tuple(update.entries[:_PLAN_STEPS])  # whole each time: the agent's list replaces the last
        elif isinstance(update, UsageUpdate):
            self.context = ContextUse(update.used, update.size)
            self.cost = update.cost or self.cost  # the agent may name it once only
            self.first_cost = self.first_cost or update.cost
        elif isinstance(update, SessionInfoUpdate):
            # Null takes a title back, an absent one does not: agents send the other fields alone.
            self.title = update.title if "title" in update.model_fields_set else self.title
        elif isinstance(update, CurrentModeUpdate):
            self.mode = update.current_mode_id
        elif isinstance(update, ConfigOptionUpdate):
            self.model = chosen_option(update.config_options, "model") or self.model
            self.mode = chosen_option(update.config_options, "mode") or self.mode
        else:
            return False
        return True

    def take_tool_call(self, update: ToolCallUpdate, *, asked: bool) -> None:
        """Take news of a tool call, ``asked`` with a permission request, which may be the first sight of it."""
        if self.tools.merge(update, asked=asked):
            # Only a new one parts the text: updates of those that run come in the middle of a message.
            self.answer.interrupt()


def chosen_option(options: list[dict[str, Any]], category: str) -> str | None:
    """Return the name of what is chosen in the session option of a category; its value where it has no name."""
    for option in options:
        if category in (option.get("category"), option.get("id")):
            value = option.get("currentValue")
            return _name_of(value, option.get("options")) or value if isinstance(value, str) else None
    return None


def _name_of(value: str, choices: Any) -> str | None:
    """Look a value up among its choices, which may come in groups."""
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict):
            continue
        name = choice.get("name") if choice.get("value") == value else _name_of(value, choice.get("options"))
        if isinstance(name, str):
            return name
    return None
