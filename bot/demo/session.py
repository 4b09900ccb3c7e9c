"""``weft demo``: one prompt with its transcript, or a conversation in the terminal.

Everything runs on this machine, on the stage of `bot.demo.stage`. The person in front of the terminal plays the owner
of a Discord server.
"""

from __future__ import annotations

import functools
import math
import os
from enum import StrEnum

import anyio
import anyio.to_thread
import click

from acp.schema import PermissionOption
from bot.config import ConfigError, agent_problem
from bot.demo.stage import DEMO_AGENT, Stage, stage
from bot.demo.transcript import CardButton, LivePrinter, card_buttons, plain_text
from bot.log import Redactor, configure_logging
from bot.outcome import Outcome
from bot.sandbox import Message
from bot.work.permissions import rejecting

HELP = "Type a message. Also: a number answers a question, /stop /status /reset, /new TEXT for another thread, /quit."


class Permission(StrEnum):
    """What the simulated owner does when the agent asks."""

    ALLOW = "allow"
    REJECT = "reject"
    WAIT = "wait"


def one_prompt(prompt: str, argv: tuple[str, ...] | None, permission: Permission, timeout: float) -> int:
    """Post a mention, wait for its outcome, print the thread; 0 if it was answered, else 1."""
    _prepare(argv)
    return anyio.run(functools.partial(_one_prompt, prompt, argv or DEMO_AGENT, permission, timeout))


def converse(argv: tuple[str, ...] | None) -> int:
    """Let a person talk to the agent from the terminal until end of input or /quit."""
    _prepare(argv)
    return anyio.run(_converse, argv or DEMO_AGENT)


def _prepare(argv: tuple[str, ...] | None) -> None:
    configure_logging(os.environ.get("WEFT_LOG_LEVEL", "error").lower(), "auto", Redactor())
    if argv is not None and (problem := agent_problem(argv)):
        raise ConfigError(problem.replace("WEFT_AGENT_COMMAND", "--agent"))


# --- one prompt ------------------------------------------------------------------------------------------------------


async def _one_prompt(prompt: str, argv: tuple[str, ...], permission: Permission, timeout: float) -> int:
    outcome = Outcome.TIMED_OUT
    pressed: dict[int, str] = {}
    async with stage(argv) as on_stage:
        discord = on_stage.discord
        message = await discord.owner.say(discord.channel_id, prompt, mention_bot=True)
        with anyio.move_on_after(timeout):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(press_buttons, on_stage, message.id, permission, pressed)
                outcome = await on_stage.outcome(message.id)
                tasks.cancel_scope.cancel()
        for line in transcript(on_stage, message, pressed):
            click.echo(line)
    click.echo(f"outcome: {outcome}")
    return 0 if outcome is Outcome.ANSWERED else 1


def transcript(on_stage: Stage, first: Message, pressed: dict[int, str]) -> list[str]:
    """Return the prompt and its thread as plain text."""
    discord = on_stage.discord
    names = {discord.owner.id: discord.owner.name, discord.bot_user.id: discord.bot_user.name}
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
        pressed[message_id] = button.label
        await discord.owner.click(message_id, button.custom_id)


def unanswered(
    on_stage: Stage, thread_id: int, permission: Permission, pressed: dict[int, str]
) -> list[tuple[int, CardButton]]:
    """Return the cards that wait, each with the button that the owner presses."""
    if all(thread.id != thread_id for thread in on_stage.discord.threads()):
        return []
    found = []
    for message in on_stage.discord.messages(thread_id):
        buttons = card_buttons(message) if message.id not in pressed else []
        card = on_stage.bot.desk.permissions.find(buttons[0].request) if buttons else None
        wanted = choice(card.request.options, permission) if card else None
        found += [(message.id, button) for button in buttons if card and card.request.options[button.option] is wanted]
    return found


def choice(options: list[PermissionOption], permission: Permission) -> PermissionOption | None:
    """Return the first option that allows once, or the one that rejects."""
    if permission is Permission.REJECT:
        return rejecting(options)
    return next((option for option in options if option.kind == "allow_once"), None)


# --- a conversation --------------------------------------------------------------------------------------------------


async def _converse(argv: tuple[str, ...]) -> int:
    async with stage(argv) as on_stage, anyio.create_task_group() as tasks:
        click.echo(HELP)
        tasks.start_soon(_follow, on_stage)
        await Terminal(on_stage).run()
        tasks.cancel_scope.cancel()
    return 0


async def _follow(on_stage: Stage) -> None:
    changes, seen = on_stage.discord.state.changes, 0
    printer = LivePrinter(on_stage.discord.bot_user.id)
    while True:
        fresh, seen = changes.log[seen:], len(changes.log)
        for message in fresh:
            click.echo(printer.show(message), nl=False)
        await changes.wait()


class Terminal:
    """Takes lines from the terminal as the owner's messages, answers and commands."""

    def __init__(self, on_stage: Stage) -> None:
        self._stage = on_stage
        self._discord = on_stage.discord
        self._thread: int | None = None
        self._prompts: list[int] = []

    async def run(self) -> None:
        """Take lines until the end of input; then wait for what is still running."""
        while (line := await anyio.to_thread.run_sync(_read_line, abandon_on_cancel=True)) is not None:
            if line == "/quit":
                return
            if line:
                await self._take(line)
        # With nobody left to answer, a question would hold the end up until it expires.
        await self._discord.wait_for(lambda _: self._all_over() or self._open_card(), timeout=math.inf)

    def _all_over(self) -> bool:
        return all(prompt in self._stage.outcomes for prompt in self._prompts)

    async def _take(self, line: str) -> None:
        card = self._open_card() if line.isdigit() else None
        if card is not None and 1 <= int(line) <= len(card[1]):
            await self._discord.owner.click(card[0], card[1][int(line) - 1].custom_id)
        elif line.startswith("/new "):
            await self._open(line.removeprefix("/new "))
        elif line in ("/stop", "/status", "/reset"):
            await self._command(line[1:])
        elif self._thread is None:
            await self._open(line)
        else:
            self._prompts.append((await self._discord.owner.say(self._thread, line)).id)

    async def _open(self, text: str) -> None:
        message = await self._discord.owner.say(self._discord.channel_id, text, mention_bot=True)
        self._thread = message.id
        self._prompts.append(message.id)

    async def _command(self, name: str) -> None:
        where = self._thread or self._discord.channel_id
        answer = await self._discord.owner.slash(where, name)
        click.echo(f"\n{(answer.response or {}).get('content', 'no answer')}")

    def _open_card(self) -> tuple[int, list[CardButton]] | None:
        messages = self._discord.messages(self._thread) if self._thread is not None else []
        cards = [(message.id, buttons) for message in messages if (buttons := card_buttons(message))]
        return cards[-1] if cards else None


def _read_line() -> str | None:
    try:
        return input().strip()
    except EOFError:
        return None
