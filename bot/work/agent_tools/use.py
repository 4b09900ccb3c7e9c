"""What a turn's agent has asked of Weft so far, and the words for it (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from bot.mcp.tools import Ask, ReadThread, Schedule, SendFile, SetTitle, StartThread, ToolArguments
from bot.reply.sanitise import clip, one_line

MOST_RECORDED = 100
"""Calls of one turn that are recorded: it must not push the decisions of people out of the audit."""

_WORDS = 80


@dataclass(slots=True)
class ToolUse:
    """What is counted over a turn.

    Attributes:
        recorded: calls of which there is a row.
        sent: files that were sent.
    """

    recorded: int = 0
    sent: int = 0

    def records(self) -> bool:
        """Count a call that is over; return whether it is recorded."""
        self.recorded += 1
        return self.recorded <= MOST_RECORDED


def in_words(arguments: ToolArguments) -> str:
    """Return a call as its line in the thread and its row in the audit name it; what an agent says in it, in short."""
    match arguments:
        case SendFile(path=path):
            return f"Send a file: {_short(path)}"
        case Ask(question=question):
            return f"Ask: {_short(question)}"
        case ReadThread(limit=limit, before=before):
            return f"Read the thread: {limit} messages" + (f" before {before}" if before else "")
        case StartThread(prompt=prompt, agent=agent, project=project):
            where = "".join(
                f", {kind} {_short(name)}" for kind, name in (("agent", agent), ("project", project)) if name
            )
            return f"Start a thread{where}: {_short(prompt)}"
        case Schedule(when=when, prompt=prompt):
            return f"Schedule {_short(when)}: {_short(prompt)}"
        case SetTitle(title=title):
            return f"Set the title: {_short(title)}"


def _short(text: str) -> str:
    # Cut first: a prompt may have megabytes, and only its beginning is read here.
    return clip(one_line(text[: 4 * _WORDS]), _WORDS)
