"""A turn that runs as text: its status line and, below that, its plan, its tools and its thoughts (pure).

How much of it is shown is a matter of the thread's verbosity (V1). It stands below the text of the last message, takes
only the room that the text leaves, and costs what it shows, however long the turn is. Its first line is a status line;
what the others begin with, and code blocks between them, tell it from an answer after a restart: `without_block()`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from acp.schema import PlanEntry
from acp.snapshot import Phase, TurnSnapshot
from bot.model import Verbosity
from bot.reply.render import coarse
from bot.reply.sanitise import clip, inline_code, plain_line, units, visible
from bot.reply.tool_details import tool_details
from bot.reply.tools import SMALL, tools_in_short

SILENCE = 60.0
"""Seconds without an event after which the status line says so (T7)."""

STATUS_LIMIT = 110
"""Units of a status line for which there is room below any text."""

_LONGEST_STATUS = 400
_BLOCK_LIMIT = 1_300
"""Units of all of it: more would move the answer off the screen while it is read."""
_LAST_WORDS = 120
_TITLE_LIMIT = 60
_STEPS, _STEP_LIMIT = 4, 70
"""Steps of a longer plan that are shown, as there are five lines to see on a phone, and characters of each."""
_THOUGHT_LIMIT = 200
_MOST_TOOLS = 100
_STEP_SIGNS = {"completed": "☑", "in_progress": "▶"}

_STATUS = re.compile(r"-# ⏳ (?:\d+ s|\d+ min|\d+ h \d{2} min)(?: · .*)?")
_BELOW_STATUS = re.compile(r"-# (?:[☑▶☐💭✓✗⛔▸·] |and [\d,]+ more).*")


def live_block(
    snapshot: TurnSnapshot,
    now: float,
    room: int,
    verbosity: Verbosity = Verbosity.NORMAL,
    redact: Callable[[str], str] = str,
) -> str:
    """Return what stands below the text of a turn that runs.

    Args:
        room: units that the text leaves; the status line is there in any case, in at most `STATUS_LIMIT`.
        redact: takes secrets out, before anything is cut.
    """
    status = status_line(snapshot, now, max(STATUS_LIMIT, min(_LONGEST_STATUS, room)), verbosity)
    if verbosity is Verbosity.QUIET:
        return status
    lines, room = [status], min(room, _BLOCK_LIMIT) - units(status)
    # A plan is whole or not there: without its last lines it would look like another plan.
    parts = ["\n".join(plan_lines(snapshot.plan, redact))]
    if verbosity is Verbosity.VERBOSE:
        parts.append(thought_line(snapshot.thoughts, redact))
    for part in parts:
        if part and units(part) < room:
            lines.append(part)
            room -= units(part) + 1
    if verbosity is Verbosity.VERBOSE:
        work = tool_details(snapshot.tools, snapshot.tools_cut, room - 1, redact)
    else:
        # An edit costs what it shows and not what the turn has done: only the latest are looked at, and nothing is
        # compared to count the lines of a change.
        done = [tool for tool in snapshot.tools if not tool.unfinished]
        before = max(0, len(done) - _MOST_TOOLS)
        work = tools_in_short(done[before:], before + snapshot.tools_cut, counted=False)
    return "\n".join([*lines, work] if work and units(work) < room else lines)


def status_line(
    snapshot: TurnSnapshot, now: float, limit: int = STATUS_LIMIT, verbosity: Verbosity = Verbosity.NORMAL
) -> str:
    """Return what the turn is doing in one small line: ``-# ⏳ 25 s · `npm test` · plan 2/5``.

    A quiet one says only for how long it runs, and what people should know to go on waiting or not.
    """
    parts, quiet = [coarse(now - snapshot.started)], verbosity is Verbosity.QUIET
    silent, tool = snapshot.silent_for(now), snapshot.current_tool
    if snapshot.phase is Phase.CANCELLING:
        parts.append("stopping")
    elif snapshot.permissions:
        # Not "no sign of life": it is the person who is awaited.
        parts.append("waiting for an answer")
    else:
        parts += [snapshot.step or "starting"] if snapshot.starting else []
        thinking = snapshot.thoughts and not snapshot.text_length
        doing = inline_code(tool.title or tool.kind, _TITLE_LIMIT) if tool else "thinking" if thinking else ""
        parts += [doing] if doing and not quiet else []
        # What is done before the agent starts has its own limit, and is no silence of the agent's.
        lost = silent >= SILENCE and not (snapshot.starting and snapshot.step)
        parts += [f"no sign of life for {coarse(silent)}: {why_silent(snapshot)}"] if lost else []
    if snapshot.plan and not quiet:
        done = sum(entry.status == "completed" for entry in snapshot.plan)
        parts.append(f"plan {done}/{len(snapshot.plan)}")
    return clip("-# ⏳ " + " · ".join(parts), limit)


def why_silent(snapshot: TurnSnapshot) -> str:
    """Return what a long silence may mean, what to do, and the agent's last words on its stderr (T7)."""
    if snapshot.current_tool is not None:
        return "the tool may be slow. Wait or press Stop"
    if snapshot.starting:
        return "the agent may be slow to start. Wait or press Stop"
    # While a provider refuses or is overloaded, agents keep retrying for minutes without saying so.
    said = f" (it last said {inline_code(snapshot.last_words, _LAST_WORDS)})" if snapshot.last_words else ""
    return f"the model provider may be overloaded or refusing{said}. Wait or press Stop"


def plan_lines(plan: Sequence[PlanEntry], redact: Callable[[str], str] = str) -> list[str]:
    """Return a plan as a list of boxes to tick; of a long one the steps around the one at work, and how many more."""
    first, last = 0, len(plan)
    if len(plan) > _STEPS + 1:
        states = [entry.status for entry in plan]
        # The step at work, else the next one, else the last.
        current = next((states.index(one) for one in ("in_progress", "pending") if one in states), len(plan))
        first = min(max(0, current - 1), len(plan) - _STEPS)
        last = first + _STEPS
    steps = [(entry.status, redact(entry.content[: 16 * _STEP_LIMIT])) for entry in plan[first:last]]
    lines = [f"{SMALL}{_STEP_SIGNS.get(status, '☐')} {plain_line(step, _STEP_LIMIT)}" for status, step in steps]
    more = len(plan) - len(lines)
    return [*lines, f"{SMALL}and {more:,} more"] if more else lines


def thought_line(thoughts: str, redact: Callable[[str], str] = str) -> str:
    """Return the end of the agent's reasoning as a small line; empty if there is nothing to see."""
    said = redact(thoughts)
    if not visible(said):
        return ""
    # The end, as that is what it thinks now; from the beginning of a word on.
    end = said[-_THOUGHT_LIMIT:]
    if len(end) < len(said):
        end = f"…{end.partition(' ')[2] or end}"
    return f"{SMALL}💭 {plain_line(end, 2 * _THOUGHT_LIMIT)}"


def without_block(text: str) -> str | None:
    """Return what stands above the live block of a message as Discord gives it back; None: it has none."""
    lines = text.split("\n")
    # The last status line: one further up can only be the agent's.
    for number in reversed(range(len(lines))):
        if _STATUS.fullmatch(lines[number]):
            return "\n".join(lines[:number]).strip() if _is_below_status(lines[number + 1 :]) else None
    return None


def _is_below_status(lines: Sequence[str]) -> bool:
    """Return whether these lines can be what stands below a status line, and nothing else."""
    in_code = False
    for number, line in enumerate(lines):
        if in_code:
            in_code = line != "```"
        elif number and line.startswith("```"):
            in_code = True
        elif not _BELOW_STATUS.fullmatch(line):
            return False
    return not in_code
