"""What somebody who asks for something is answered: it is done, whatever goes wrong, and its promise is kept first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import anyio
import structlog

from bot.chat.inbound import Command
from bot.model import Actor
from bot.work.ports import Answer, DispatcherPort

log = structlog.get_logger(__name__)

SAVE_LIMIT = 1.5
"""Seconds that an answer waits until what it promises is written down; Discord waits three for the answer."""

NOT_SAVED = "-# In force now, but not saved yet: if Weft restarts in the next few minutes, ask again."
FAILED = "Something went wrong on my side; the details are in the log."
NOT_IN_THREAD = "Use this command inside a Weft thread."
ELSEWHERE = Answer(NOT_IN_THREAD, accepted=False)


def run_command(command: Command, dispatcher: DispatcherPort, thread_id: int | None, by: Actor, asked: int) -> Answer:
    """Do what was asked for, typed or as a slash command; ``asked``: the snowflake of the asking."""
    if command is Command.STATUS:
        return Answer(dispatcher.status(thread_id), accepted=True)
    if thread_id is None:
        return ELSEWHERE
    if command is Command.STOP_ALL:
        return dispatcher.stop_all(thread_id, by, asked)
    # A catch-up may find the word when newer messages have begun: it is not about them.
    return dispatcher.stop(thread_id, by, before=asked)


def attempt(act: Callable[[], Answer], asked: int) -> Answer:
    """Return what the work answers; a failure of it is an answer too. ``asked``: the snowflake of the asking."""
    try:
        return act()
    except Exception:
        # Raised on, it would end in discord.py's log, and the person would wait for an answer that never comes.
        log.exception("command.failed", asked=asked)
        return Answer(FAILED, accepted=False)


async def saved(answer: Answer, dispatcher: DispatcherPort) -> Answer:
    """Return the answer, with a line below if what it promises is not written down within Discord's time."""
    if not answer.lasting:
        return answer
    with anyio.move_on_after(SAVE_LIMIT):
        if await dispatcher.saved():
            return answer
    first, *rest = answer.text.split("\n", 1)  # below that may stand a quotation, which has no end
    return replace(answer, text="\n".join([first, NOT_SAVED, *rest]))
