"""The plan that an agent wants to be allowed to carry out, shown before the card that asks for it (C7, pure).

It is Markdown to be read, like an answer: as messages or, when that would be more than three, as a file with its
beginning. The card then asks without it: once is enough, and the options stay in sight.
"""

from __future__ import annotations

from collections.abc import Callable

from acp.schema import ToolCallUpdate
from bot.reply.long_answer import LONG
from bot.reply.port import Attachment, Body
from bot.reply.sanitise import spelled, visible
from bot.reply.split import PAGE, Open, take

KIND = "switch_mode"
"""The kind of the tool call by which agents ask to leave their plan mode."""

HEADLINE = "📋 **The agent's plan**"
IN_FILE = "-# The beginning of the plan; all of it ({size:,} characters) is in the file."
_FILE_LIMIT = 8 * 2**20
_BEGINNING = 1_500


def plan_of(call: ToolCallUpdate) -> str:
    """Return the plan that a tool call is to carry out; "" if it has none."""
    if call.kind != KIND:
        return ""
    said = [item.content.text for item in call.content or () if item.type == "content" and item.content]
    text = "\n\n".join([one for one in said if one])
    given = call.raw_input.get("plan") if isinstance(call.raw_input, dict) else None
    found = [one for one in (text, given if isinstance(given, str) else "") if visible(one)]
    # Agents send it twice; of two that differ, both stay on the card, and the one with more words is the plan.
    plan = max(found, key=len, default="")
    return plan if len(plan.encode("utf-8", "replace")) <= _FILE_LIMIT else ""


def plan_bodies(plan: str, redact: Callable[[str], str] = str) -> list[Body]:
    """Return the messages that show a plan in full; what has to be in a file is not posted without it."""
    pages: list[str] = []
    # With what can't be seen written out, as on any card: people are going to agree to it.
    text, start = spelled(plan.replace("\r\n", "\n")).strip(), 0
    fence: Open | None = None
    while start < len(text) and len(pages) <= LONG:
        part = take(text, start, PAGE, fence, redact)
        start, fence = start + len(part.source), part.fence
        pages.append(part.shown)
    if len(pages) <= LONG:
        return [Body(f"{HEADLINE}\n{page}" if number == 0 else page) for number, page in enumerate(pages)]
    first = take(text, 0, _BEGINNING, None, redact).shown
    file = Attachment("plan.md", f"{text}\n".encode("utf-8", "replace"))
    # Nobody may approve what they can't see in full: without its file it is not taken.
    return [Body("\n".join([HEADLINE, first, IN_FILE.format(size=len(text))]), file=file, fileless=())]


def without_plan(call: ToolCallUpdate, plan: str) -> ToolCallUpdate:
    """Return a tool call as its card shows it below its plan; all that is not the plan stays."""
    raw = dict(call.as_sent())
    content = raw.get("content")
    if isinstance(content, list):
        raw["content"] = [item for item in content if not _is_plan(item, plan)]
    given = raw.get("rawInput")
    if isinstance(given, dict) and given.get("plan") == plan:
        raw["rawInput"] = {key: value for key, value in given.items() if key != "plan"}
    return ToolCallUpdate.parse(raw)


def _is_plan(item: object, plan: str) -> bool:
    content = item.get("content") if isinstance(item, dict) else None
    return isinstance(content, dict) and content.get("type") == "text" and content.get("text") == plan
