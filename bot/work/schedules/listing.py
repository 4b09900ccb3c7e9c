"""What `/schedules` answers: schedules with when they run next, and buttons to pause, resume and remove them (pure).

A button names the schedule that it is for, so it works after a restart, and whatever the list has become meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bot.reply.port import Button
from bot.reply.sanitise import inline_code, plain_line
from bot.work.ports import Answer
from bot.work.schedules.cron import told
from bot.work.schedules.firing import is_by_agent
from pool.store import KeptSchedule

PAGE = 4
"""Schedules at once: each has a row of buttons, and the fifth row turns the page."""

NONE = "There are no schedules here yet. Make one with `/schedule` in one of my threads."
_PROMPT_LIMIT, _NAME_LIMIT, _WHY_LIMIT = 100, 32, 120


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads the list: where, when, and what they may change; ``redact`` takes secrets out."""

    thread_id: int | None
    user_id: int
    zone: str
    now: float
    may_change: Callable[[KeptSchedule], bool]
    redact: Callable[[str], str]


def page_of(rows: Sequence[KeptSchedule], page: int, reader: Reader, said: str = "") -> Answer:
    """Return a page of schedules; ``said``: what stands above, after something was pressed."""
    pages = max(1, -(-len(rows) // PAGE))
    page = min(page, pages - 1)  # the last one may have become empty meanwhile
    lines = [said] if said else []
    if not rows:
        return Answer("\n".join([*lines, NONE]), accepted=True)
    head = f"**Schedules** · new ones here use {inline_code(reader.zone)} time"
    lines.append(head if pages == 1 else f"{head} · page {page + 1} of {pages}")
    buttons: list[Button] = []
    for number, row in enumerate(rows[page * PAGE : (page + 1) * PAGE], page * PAGE + 1):
        lines += _lines(number, row, reader)
        if reader.may_change(row):
            at, what = len(buttons) // 2, "resume" if row.paused else "pause"
            buttons += [
                Button(f"weft:sched:{row.schedule_id}:{what}:{page}", f"{what.capitalize()} {number}", row=at),
                Button(f"weft:sched:{row.schedule_id}:remove:{page}", f"Remove {number}", "danger", row=at),
            ]
    if pages > 1:
        # Both stand on each page: what is pressed again and again must not move under the finger.
        buttons += [
            Button(f"weft:scheds:{max(0, page - 1)}:e", "Earlier", disabled=page == 0, row=4),
            Button(f"weft:scheds:{min(pages - 1, page + 1)}:n", "Next", disabled=page == pages - 1, row=4),
        ]
    return Answer("\n".join(lines), accepted=True, buttons=tuple(buttons))


def _lines(number: int, row: KeptSchedule, reader: Reader) -> list[str]:
    # Redacted before it is cut: the rest of a cut secret would not be recognised for certain.
    what = inline_code(reader.redact(row.prompt), _PROMPT_LIMIT)
    if row.paused:
        when = f"⏸️ {plain_line(row.paused, _WHY_LIMIT)}"
    elif row.due_at:
        when = f"next {told(row.due_at, row.zone, reader.now)} (<t:{row.due_at}:R>)"
    else:
        when = "never again"
    zone = f" {inline_code(row.zone)}" if row.zone != reader.zone else ""
    where = f" · <#{row.thread_id}>" if row.thread_id != reader.thread_id else ""
    agents = " · made by an agent" if is_by_agent(row) else ""
    whose = f" · by {inline_code(row.author_name, _NAME_LIMIT)}" if row.author_id != reader.user_id else ""
    return [f"{number}. {inline_code(row.cron)}{zone} · {when}{where}{agents}{whose}", what]
