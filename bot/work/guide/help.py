"""What `/help` answers: what one can do here and now, and which commands there are (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from bot.model import QueueMode
from bot.reply.cards import turn_button
from bot.reply.port import Button
from bot.reply.sanitise import inline_code
from bot.work.ports import Answer

GROUPS = {
    "Conversation": ("new", "agent", "fork", "handoff", "sessions", "reset"),
    "While it works": ("stop", "status", "queue", "verbosity"),
    "On a schedule": ("schedule", "schedules"),
    "What it did": ("diff", "export", "audit", "board"),
    "Work trees": ("commit", "merge", "pr", "worktrees"),
    "What waits for you": ("inbox", "permissions", "notify"),
    "The agent": ("model", "mode", "effort", "options", "login", "logout"),
}
"""The commands by what they are for; what is in none of these stands last."""

_WAITS = {
    QueueMode.QUEUE: "what you send waits for its turn",
    QueueMode.FOLLOWUP: "everything sent meanwhile is asked together afterwards",
    QueueMode.INTERRUPT: "what you send ends this turn and runs next",
    QueueMode.STEER: "it gets what you send at once",
}


class Kind(Enum):
    """Where help is asked for."""

    CHANNEL = auto()
    THREAD = auto()
    """One in which each message is a prompt."""
    DIRECT = auto()
    """Direct messages: all of them are prompts."""
    GUEST_THREAD = auto()
    """One that belongs to other people."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is so where help is asked for.

    Attributes:
        place_id: the thread or channel.
        weft: how Weft is mentioned.
        agent: what the agent of the place is called amid a sentence, as Discord Markdown.
        agents: the names of all of them, where there is a choice.
        projects: the names of what threads may work on; ``project``: what those of the channel do.
        directory: where it works, as Discord Markdown; "" if that is not known.
        running: the message whose turn runs; None: none does.
        asked: whether that turn waits for an answer of whoever asks for help; ``asking``: of anybody.
        waiting: how many messages wait for their turn.
        context: how many earlier messages a mention brings along.
    """

    kind: Kind
    place_id: int
    weft: str
    agent: str
    agents: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    project: str | None = None
    directory: str = ""
    running: int | None = None
    asked: bool = False
    asking: bool = False
    waiting: int = 0
    mode: QueueMode = QueueMode.QUEUE
    context: int = 0


def help_on(here: Situation, commands: Iterable[str]) -> Answer:
    """Return what one can do, in a few short lines, with buttons for what is likely next; ``commands``: their names."""
    lines, buttons = _advice(here)
    return Answer("\n".join([*lines, *_listed(commands)]), accepted=True, buttons=buttons)


def _advice(here: Situation) -> tuple[list[str], tuple[Button, ...]]:
    # 1. Where a conversation begins.
    if here.kind is Kind.CHANNEL:
        which = f" Agents here: {', '.join(map(inline_code, here.agents))}." if here.agents else ""
        which += f" Projects: {', '.join(map(inline_code, here.projects))}." if here.projects else ""
        which += f" Threads here work on {inline_code(here.project)}, if you name no other." if here.project else ""
        choices = [*(["agent"] if here.agents else []), *(["project"] if here.projects else []), "title"]
        first = f"{', '.join(choices)} and files first"
        begin = [
            "**Mention me and say what you want done.** I open a thread for it:",
            f"> {here.weft} why does the login fail?",
            f"In the thread, just keep writing. `/new` lets you choose {first}.{which}",
        ]
        return begin, (_button(here, "inbox", "Inbox"), _button(here, "status", "Status"))
    if here.kind is Kind.GUEST_THREAD:
        reads = f" I also read up to {here.context} earlier messages." if here.context else ""
        return [f"**Mention me, and I answer in this thread.**{reads}"], ()
    # 2. In a conversation: what it needs first, then what it does.
    lines, buttons = [], []
    if here.asked:
        # Neither of the two commands is there in direct messages.
        direct = here.kind is Kind.DIRECT
        other = "" if direct else ", or use `/permissions answer`"
        lines.append(f"**The agent waits for your answer.** Press a button on its card{other}.")
        buttons += [] if direct else [_button(here, "inbox", "Inbox", "primary")]
    elif here.asking:
        lines.append("**The agent waits for an answer** from whoever asked, or from an approver.")
    elif here.running is not None:
        lines.append(f"**{here.agent[:1].upper()}{here.agent[1:]} is working.** Keep writing: {_WAITS[here.mode]}.")
    else:
        place = f", which works in {here.directory}" if here.directory else ""
        lines.append(f"**Just write: every message here goes to {here.agent}**{place}.")
    if here.running is not None:
        lines.append("Start a message with `!steer` to tell it at once, or with `!interrupt` to cut in.")
        lines.append("**Stop**, or the word `stop` alone, ends the turn; what waits goes on.")
        buttons.append(turn_button("stop", here.place_id, here.running))
    else:
        lines.append("Attach files and images; reply to a message, or link to it, to show what you mean.")
        if here.kind is Kind.DIRECT:
            lines.append("Everything you write here is one conversation; `/new` begins another.")
        else:
            lines.append("Begin with `//`, or mention somebody else, to talk among yourselves.")
    if here.waiting:
        lines.append(f"Waiting: {here.waiting}. Each can be sent now, edited or deleted.")
        buttons.append(_button(here, "queue", "Queue"))
    buttons.append(_button(here, "status", "Status"))
    if here.running is None and not here.waiting:
        buttons.append(_button(here, "reset", "Start afresh"))
    return lines, tuple(buttons)


def _button(here: Situation, word: str, label: str, style: str = "secondary") -> Button:
    return Button(f"weft:do:{here.place_id}:{word}", label, style="primary" if style == "primary" else "secondary")


def _listed(commands: Iterable[str]) -> list[str]:
    """Return a line for each group of commands that are there."""
    left = dict.fromkeys(commands)
    left.pop("help", None)
    lines = []
    for group, names in GROUPS.items():
        there = [name for name in names if name in left]
        for name in there:
            del left[name]
        if there:
            lines.append(_line(group, there))
    return [*lines, _line("More", left)] if left else lines


def _line(group: str, names: Iterable[str]) -> str:
    return f"-# {group}: {' '.join(f'`/{name}`' for name in names)}"
