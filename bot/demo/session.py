"""``weft demo``: one prompt with its transcript, or a conversation in the terminal.

Everything runs on this machine, on the stage of `bot.demo.stage`. The person in front of the terminal plays the owner
of a Discord server: by a rule where there is one prompt, else through `bot.demo.terminal`. Settings of a real bot in
the environment are not read; only what agents are let see is.
"""

from __future__ import annotations

import errno
import functools
import math
import os
import signal
from collections.abc import Awaitable, Callable
from enum import StrEnum

import anyio
import click
from anyio import CancelScope

from acp.schema import PermissionOption
from bot.demo.chosen_agent import DEMO_AGENT, checked_agent
from bot.demo.stage import Stage, stage
from bot.demo.terminal import clean, converse_on, names_in, press
from bot.demo.transcript import CardButton, card_buttons, plain_text
from bot.log import configure_logging
from bot.model import Outcome
from bot.redaction import Redactor
from bot.sandbox import Message
from bot.work.permissions.cards import rejecting

_LEVELS = ("debug", "info", "warning", "error")
_SIGNALLED = 128  # what a shell adds to a signal's number


class Permission(StrEnum):
    """What the simulated owner does when the agent asks."""

    ALLOW = "allow"
    REJECT = "reject"
    WAIT = "wait"


def one_prompt(prompt: str, argv: tuple[str, ...] | None, permission: Permission, timeout: float) -> int:
    """Post a mention, wait for its outcome, print the thread; 0 if it was answered, else 1."""
    command, lines = _prepare(argv), list[str]()
    act = functools.partial(_one_prompt, prompt=clean(prompt), permission=permission, timeout=timeout, lines=lines)
    code = anyio.run(_play, command, act, False)
    for line in lines:
        click.echo(line)
    return code


def converse(argv: tuple[str, ...] | None) -> int:
    """Let a person talk to the agent from the terminal until end of input or /quit."""
    command = _prepare(argv)
    try:
        # Agents of others work where they always have: it is the demo agent that has something to change there.
        code: int | None = anyio.run(_play, command, converse_on, command == DEMO_AGENT)
    except* BrokenPipeError:
        code = None
    if code is None:  # raised out of its groups: click knows it as the end of all output
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    return code


def _prepare(argv: tuple[str, ...] | None) -> tuple[str, ...]:
    level = os.environ.get("WEFT_LOG_LEVEL", "").lower()
    configure_logging(level if level in _LEVELS else "error", "auto", Redactor())
    return checked_agent(argv)


async def _play(argv: tuple[str, ...], act: Callable[[Stage], Awaitable[int]], with_project: bool) -> int:
    """Return what ``act`` returns; a signal cuts it off, and the stage is taken down in order all the same."""
    code = 0

    async def listen(scope: CancelScope) -> None:
        nonlocal code
        async for number in signals:
            # Set before the cancel, which keeps `act` from returning one.
            code = _SIGNALLED + number
            scope.cancel()

    agent_env = tuple(os.environ.get("WEFT_AGENT_ENV", "").replace(",", " ").split())
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        # The scope that is cancelled lies inside the stage: from outside, Discord would be gone before the bot's end.
        playing = stage(argv, agent_env=agent_env, with_project=with_project)
        async with playing as on_stage, anyio.create_task_group() as tasks:
            tasks.start_soon(listen, tasks.cancel_scope)
            code = await act(on_stage)
            tasks.cancel_scope.cancel()
    return code


# --- one prompt ------------------------------------------------------------------------------------------------------


async def _one_prompt(on_stage: Stage, prompt: str, permission: Permission, timeout: float, lines: list[str]) -> int:
    outcome = Outcome.TIMED_OUT
    pressed: dict[int, str] = {}
    discord = on_stage.discord
    message = await discord.owner.say(discord.channel_id, prompt, mention_bot=True)
    with anyio.move_on_after(timeout):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(press_buttons, on_stage, message.id, permission, pressed)
            outcome = await on_stage.outcome(message.id)
            tasks.cancel_scope.cancel()
    lines += [*transcript(on_stage, message, pressed), f"outcome: {outcome}"]
    return 0 if outcome is Outcome.ANSWERED else 1


def transcript(on_stage: Stage, first: Message, pressed: dict[int, str]) -> list[str]:
    """Return the prompt and its thread as plain text."""
    discord = on_stage.discord
    names = names_in(discord)
    lines = ["── #general", plain_text(first, names, pressed)]
    for thread in discord.threads():
        lines.append(f"── thread: {thread.name}")
        lines += [plain_text(message, names, pressed) for message in discord.messages(thread.id)]
    return lines


async def press_buttons(on_stage: Stage, thread_id: int, permission: Permission, pressed: dict[int, str]) -> None:
    """Answer each permission card of the thread as the owner would; ``pressed`` collects what by message id."""
    discord = on_stage.discord
    while permission is not Permission.WAIT:
        found: list[tuple[int, CardButton]] = []

        def card_is_open(_: object, found: list[tuple[int, CardButton]] = found) -> bool:
            found += unanswered(on_stage, thread_id, permission, pressed)
            return bool(found)

        await discord.wait_for(card_is_open, timeout=math.inf)
        message_id, button = found[0]
        # Before the press: the card is still there when the bot answers, and would be pressed again.
        pressed[message_id] = button.label
        await press(discord, message_id, button)


def unanswered(
    on_stage: Stage, thread_id: int, permission: Permission, pressed: dict[int, str]
) -> list[tuple[int, CardButton]]:
    """Return the cards that wait, each with the button that the owner presses."""
    if all(thread.id != thread_id for thread in on_stage.discord.threads()):
        return []
    found = []
    for message in on_stage.discord.messages(thread_id):
        buttons = card_buttons(message) if message.id not in pressed else []
        card = on_stage.bot.dispatcher.permissions.find(buttons[0].request) if buttons else None
        if card:
            wanted = choice(card.request.options, permission)
            options = [card.request.options[one.option] if one.option is not None else None for one in buttons]
            found += [
                (message.id, one) for one, option in zip(buttons, options, strict=True) if option and option is wanted
            ]
        elif buttons and buttons[0].option is None:
            # A question: its first answer, or none.
            found.append((message.id, buttons[0] if permission is Permission.ALLOW else buttons[-1]))
    return found


def choice(options: list[PermissionOption], permission: Permission) -> PermissionOption | None:
    """Return the first option that allows once, or the one that rejects."""
    if permission is Permission.REJECT:
        return rejecting(options)
    # Never one that allows for good: nobody has agreed to that.
    return next((option for option in options if option.kind == "allow_once"), None)
