"""Does what a person asks for and words the answer: the same for a typed word, a slash command and a button.

Below `client` and `interactions`, which both need it: words are typed in messages, the rest are interactions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import anyio
import structlog

from bot.chat.inbound import Command
from bot.model import Actor
from bot.work.dispatcher import Dispatcher
from bot.work.ports import Answer

log = structlog.get_logger(__name__)

SAVE_LIMIT = 1.5
"""Seconds that an answer waits until what it promises is written down; Discord waits three for the answer."""

SOON = 0.2
"""Seconds in which the second answer takes the place of the first.

An agent that is well needs a few milliseconds; one that hangs must not keep a person from their first answer. With
`SAVE_LIMIT` it is less than Discord waits.
"""

NOT_SAVED = "-# In force now, but not saved yet: if Weft restarts in the next few minutes, ask again."
FAILED = "Something went wrong on my side; the details are in the log."
NOT_IN_THREAD = "Use this command inside a Weft thread."
ELSEWHERE = Answer(NOT_IN_THREAD, accepted=False)
ELSEWHERE_OR_EVERYWHERE = Answer(f"{NOT_IN_THREAD} For the whole server, set `everywhere`.", accepted=False)

Act = Callable[[Dispatcher, Actor], Answer]


def run_command(wanted: Command | Act, dispatcher: Dispatcher, thread_id: int | None, by: Actor, at: int) -> Answer:
    """Do what was asked for and return the answer; a failure is an answer too.

    Args:
        wanted: a command that can also be typed, or what a button or another command does.
        at: the snowflake of the message or interaction that asks.
    """
    # No await: what a person stops must not change between their press and the decision.
    try:
        if not isinstance(wanted, Command):
            return wanted(dispatcher, by)
        if wanted is Command.STATUS:
            return Answer(dispatcher.controls.status(thread_id), accepted=True)
        if thread_id is None:
            return ELSEWHERE
        if wanted is Command.STOP_ALL:
            return dispatcher.controls.stop_all(thread_id, by, at)
        # A catch-up may find the word after newer messages have begun: it does not apply to those.
        return dispatcher.controls.stop(thread_id, by, before=at)
    except Exception:
        # If raised, it would end in discord.py's log, and the person would wait for an answer that never comes.
        log.exception("command.failed", asked=at)
        return Answer(FAILED, accepted=False)


async def look_first(wanted: Command | Act, dispatcher: Dispatcher, thread_id: int | None) -> None:
    """Have what is about to be told of other machines be of now; bounded, and nothing for all else."""
    if wanted is Command.STATUS and thread_id is None:
        await dispatcher.controls.look_at_nodes()


async def saved(answer: Answer, dispatcher: Dispatcher) -> Answer:
    """Return the answer, with a line below it if what it promises is not written down within Discord's time."""
    if not answer.lasting:
        return answer
    with anyio.move_on_after(SAVE_LIMIT):
        if await dispatcher.saved():
            return answer
    # After the first line: below that there may be a quotation, which has no end.
    first, *rest = answer.text.split("\n", 1)
    return replace(answer, text="\n".join([first, NOT_SAVED, *rest]))


async def soon(answer: Answer, asked_at: float) -> Answer:
    """Return the answer that follows this one if it comes at once: then one says it all.

    Args:
        asked_at: when it was asked for, by the loop's clock. The agent does its part while the promise is written.
    """
    if answer.later is not None:
        with anyio.CancelScope(deadline=asked_at + SOON):
            return await answer.later
    return answer
