"""One time of a schedule: the message that asks for it in its thread, and what is kept until that is a prompt (pure).

What is kept has to be enough to go on after a kill at any point: the same text and the same nonce, so that the message
is found if it is there, and is not posted twice.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from bot.model import Actor, Inbound, Lane, QueueMode, ThreadPlace, snowflake_at
from bot.reply.port import MESSAGE_LIMIT, Attachment, Body
from bot.reply.sanitise import clip, inline_code, units
from bot.reply.title import title_of
from bot.work.schedules.cron import MOST_MISSED
from pool.store import KeptSchedule

NAME_LIMIT, GIST_LIMIT = 60, 60
_BY_AGENT = "by_agent"
_CLOCK_DIFFERENCE = 600.0
"""Seconds by which the machine's clock may be ahead of Discord's: the message of a firing is looked for from there."""

_WHOLE = "\n-# The whole prompt is in the file."


@dataclass(frozen=True, slots=True)
class Firing:
    """A time that has come.

    Attributes:
        due: the time, in seconds since the epoch.
        times: how many it stands for: those before it were missed.
        at: when it fired, by the machine's clock.
    """

    due: int
    times: int
    at: int

    @property
    def since(self) -> int:
        """A snowflake that is older than the message of this firing."""
        return snowflake_at(self.at - _CLOCK_DIFFERENCE)

    def nonce(self, schedule: KeptSchedule) -> str:
        """Return what keeps the message from being posted twice within minutes; at most 25 characters."""
        # Of each the end, by which two schedules and two times differ.
        return f"s{schedule.schedule_id:x}"[-16:] + f"{self.due:x}"[-8:]

    def body(self, schedule: KeptSchedule, prompt: str) -> Body:
        """Return the message; ``prompt``: without secrets. The time makes its text this firing's own."""
        by = "by an agent for" if is_by_agent(schedule) else "by"
        head = f"⏰ Scheduled for <t:{self.due}:f> {by} {inline_code(schedule.author_name, NAME_LIMIT)}"
        if self.times > 1:
            count = f"{MOST_MISSED} or more" if self.times > MOST_MISSED else str(self.times)
            head += f"\n-# {count} runs were due while I was away; this one stands for all of them."
        quoted = f"{head}\n>>> {prompt}"
        if units(quoted) <= MESSAGE_LIMIT:
            return Body(quoted)
        room = MESSAGE_LIMIT - units(f"{head}{_WHOLE}\n>>> ")
        file = Attachment("prompt.md", prompt.encode(errors="replace"))
        return Body(f"{head}{_WHOLE}\n>>> {clip(prompt, room)}", file=file)

    def inbound(self, schedule: KeptSchedule, author: Actor, message_id: int) -> Inbound:
        """Return the prompt that the message is; ``author``: with the roles of now."""
        return Inbound(
            message_id=message_id,
            channel_id=schedule.thread_id,
            thread_id=schedule.thread_id,
            guild_id=schedule.guild_id,
            author=author,
            text=schedule.prompt,
            opens_thread=False,
            title=title_of(schedule.prompt) or "Request",
            # It waits for what came meanwhile, whatever people chose for their own messages here.
            mode=QueueMode.QUEUE,
            lane=Lane.BACKGROUND,
            parent_id=place_of(schedule).parent_id,
            on_behalf=True,
            by_agent=is_by_agent(schedule),
        )


def fired(schedule: KeptSchedule, firing: Firing | None) -> KeptSchedule:
    """Return a schedule with a firing that has not become a prompt yet, or without."""
    kept = asdict(firing) if firing is not None else {}
    return replace(schedule, payload=_payload(kept, by_agent=is_by_agent(schedule)))


def made_by_agent(schedule: KeptSchedule) -> KeptSchedule:
    """Return a new schedule as one that an agent has made, which it stays."""
    return replace(schedule, payload=_payload({}, by_agent=True))


def is_by_agent(schedule: KeptSchedule) -> bool:
    """Return whether an agent has made a schedule, in the name of its author."""
    try:
        kept = orjson.loads(schedule.payload)
    except ValueError:
        return False  # `firing_of` says what is wrong with it
    return isinstance(kept, dict) and kept.get(_BY_AGENT) is True


def _payload(kept: dict[str, Any], *, by_agent: bool) -> str:
    return orjson.dumps(kept | ({_BY_AGENT: True} if by_agent else {})).decode()


def firing_of(schedule: KeptSchedule) -> Firing | None:
    """Return the firing that is not a prompt yet, if there is one.

    Raises:
        ValueError: what was kept can't be understood.
    """
    kept = orjson.loads(schedule.payload)
    try:
        kept.pop(_BY_AGENT, None)
        return Firing(**kept) if kept else None
    except TypeError as exc:
        raise ValueError(f"no firing: {schedule.payload[:80]}") from exc


def place_of(schedule: KeptSchedule) -> ThreadPlace:
    """Return where the thread of a schedule is."""
    parent_id = schedule.channel_id if schedule.channel_id != schedule.thread_id else None
    return ThreadPlace(schedule.guild_id, schedule.thread_id, parent_id)
