"""``weft demo``: one prompt with its transcript, or a conversation in the terminal.

Everything runs on this machine, on the stage of `bot.demo.stage`. The person in front of the terminal plays the owner
of a Discord server. Settings of a real bot in the environment are not read; only what agents are let see is.
"""

from __future__ import annotations

import errno
import functools
import math
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

import anyio
import click
from anyio import CancelScope

from acp.schema import PermissionOption
from bot.chat.inbound import ASIDE
from bot.config import ConfigError, agent_problem
from bot.demo.stage import DEMO_AGENT, Stage, stage
from bot.demo.transcript import CardButton, LivePrinter, card_buttons, plain_text
from bot.log import Redactor, configure_logging
from bot.outcome import Outcome
from bot.sandbox import Interaction, Message
from bot.work.permissions import rejecting

HELP = "Type a message. Also: a number answers a question, /stop /status /reset, /new TEXT for another thread, /quit."
TEXT_LIMIT = 1950
"""UTF-16 units of a message: Discord takes 2,000, and the mention needs some of them."""

_LEVELS = ("debug", "info", "warning", "error")
_SIGNALLED = 128  # what a shell adds to a signal's number
_READ_SIZE = 64 * 1024


class Permission(StrEnum):
    """What the simulated owner does when the agent asks."""

    ALLOW = "allow"
    REJECT = "reject"
    WAIT = "wait"


def text_problem(text: str) -> str:
    """Say why the owner can't post a text, or nothing."""
    if not text.strip():
        return "there is nothing in it to ask for"
    length = len(clean(text).encode("utf-16-le")) // 2
    return f"{length} characters are too long: Discord takes {TEXT_LIMIT}" if length > TEXT_LIMIT else ""


def clean(text: str) -> str:
    """Return the text as Discord can take it: what was no UTF-8 on the command line becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def one_prompt(prompt: str, argv: tuple[str, ...] | None, permission: Permission, timeout: float) -> int:
    """Post a mention, wait for its outcome, print the thread; 0 if it was answered, else 1."""
    command, lines = _prepare(argv), list[str]()
    act = functools.partial(_one_prompt, prompt=clean(prompt), permission=permission, timeout=timeout, lines=lines)
    code = anyio.run(_play, command, act)
    for line in lines:
        click.echo(line)
    return code


def converse(argv: tuple[str, ...] | None) -> int:
    """Let a person talk to the agent from the terminal until end of input or /quit."""
    command = _prepare(argv)
    try:
        code: int | None = anyio.run(_play, command, _converse)
    except* BrokenPipeError:
        code = None
    if code is None:  # raised out of its groups: click knows it as the end of all output
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    return code


def _prepare(argv: tuple[str, ...] | None) -> tuple[str, ...]:
    level = os.environ.get("WEFT_LOG_LEVEL", "").lower()
    configure_logging(level if level in _LEVELS else "error", "auto", Redactor())
    if argv is None:
        return DEMO_AGENT
    # The agent starts in a directory of its own, so a path that begins here must be made whole.
    argv = (str(Path(argv[0]).absolute()), *argv[1:]) if argv and "/" in argv[0] else argv
    if problem := agent_problem(argv):
        raise ConfigError(problem.replace("WEFT_AGENT_COMMAND", "--agent"))
    return argv


async def _play(argv: tuple[str, ...], act: Callable[[Stage], Awaitable[int]]) -> int:
    """Return what ``act`` returns; a signal cuts it off, and the stage is taken down in order all the same."""
    code = 0

    async def listen(scope: CancelScope) -> None:
        nonlocal code
        async for number in signals:
            code = _SIGNALLED + number
            scope.cancel()

    agent_env = tuple(os.environ.get("WEFT_AGENT_ENV", "").replace(",", " ").split())
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        # The scope that is cancelled lies inside the stage: from outside, Discord would be gone before the bot's end.
        async with stage(argv, agent_env=agent_env) as on_stage, anyio.create_task_group() as tasks:
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


async def _converse(on_stage: Stage) -> int:
    click.echo(HELP)
    screen = Screen(on_stage)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(screen.follow)
        await Terminal(on_stage).run()
        tasks.cancel_scope.cancel()
    screen.print_new()
    click.echo()
    return 0


class Screen:
    """Prints what Weft posts, as it grows; the mutable state is how much of the changes was printed."""

    def __init__(self, on_stage: Stage) -> None:
        self._changes = on_stage.discord.state.changes
        self._printer = LivePrinter(on_stage.discord.bot_user.id)
        self._seen = 0

    async def follow(self) -> None:
        """Print every change until cancelled."""
        while True:
            self.print_new()
            await self._changes.wait()

    def print_new(self) -> None:
        """Print the changes since the last call; the terminal itself prints the answers that only one person sees."""
        fresh, self._seen = self._changes.log[self._seen :], len(self._changes.log)
        for message in fresh:
            if not message.ephemeral:
                click.echo(self._printer.show(message), nl=False)


class Terminal:
    """Takes lines from the terminal as the owner's messages, answers and commands.

    The mutable state is the thread that lines go to, the prompts so far, and the cards that were answered.
    """

    def __init__(self, on_stage: Stage) -> None:
        self._stage = on_stage
        self._discord = on_stage.discord
        self._thread: int | None = None
        self._prompts: list[int] = []
        self._pressed: set[int] = set()

    async def run(self) -> None:
        """Take lines until the end of input; then wait for what is still running."""
        async for line in input_lines():
            if line == "/quit":
                return
            if line:
                await self._take(line)
        await self._last_outcomes()

    async def _last_outcomes(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._until_asked, tasks.cancel_scope)
            for prompt in self._prompts:
                await self._stage.outcome(prompt)
            tasks.cancel_scope.cancel()

    async def _until_asked(self, scope: CancelScope) -> None:
        # With nobody left to answer, a question would hold the end up until it expires.
        await self._discord.wait_for(lambda _: self._open_card(), timeout=math.inf)
        scope.cancel()

    async def _take(self, line: str) -> None:
        card = self._open_card() if line.isdecimal() else None
        if card is not None and 1 <= int(line) <= len(card[1]):
            self._pressed.add(card[0])
            _tell(await self._discord.owner.click(card[0], card[1][int(line) - 1].custom_id))
        elif line in ("/stop", "/status", "/reset"):
            await self._command(line[1:])
        elif problem := text_problem(line):
            click.echo(f"\nNot sent: {problem}.")
        elif line.startswith("/new "):
            await self._open(line.removeprefix("/new "))
        elif self._thread is None:
            await self._open(line)
        else:
            said = await self._discord.owner.say(self._thread, line)
            if is_for_weft(said):
                self._prompts.append(said.id)

    async def _open(self, text: str) -> None:
        message = await self._discord.owner.say(self._discord.channel_id, text, mention_bot=True)
        self._prompts.append(message.id)
        # Later lines go into the thread, which is there a moment after the message.
        await self._discord.wait_for(lambda discord: any(thread.id == message.id for thread in discord.threads()))
        self._thread = message.id

    async def _command(self, name: str) -> None:
        # The bot registers its commands while it already takes messages.
        await self._discord.wait_for(lambda discord: discord.commands)
        _tell(await self._discord.owner.slash(self._thread or self._discord.channel_id, name))

    def _open_card(self) -> tuple[int, list[CardButton]] | None:
        """Return the card that a number answers: one of the present thread, else the latest of another."""
        cards = [
            (thread.id == self._thread, message.id, buttons)
            for thread in self._discord.threads()
            for message in self._discord.messages(thread.id)
            if message.id not in self._pressed and (buttons := card_buttons(message))
        ]
        return max(cards, key=lambda card: card[:2])[1:] if cards else None


def is_for_weft(message: Message) -> bool:
    """Whether a message in one of Weft's threads gets an answer: no aside, and to nobody else (D1)."""
    return not (
        message.content.startswith(ASIDE) or message.mentions or message.mention_roles or message.mention_everyone
    )


def _tell(answer: Interaction) -> None:
    """Print an answer that only the person who asked for it sees."""
    if not answer.acked:
        click.echo("\nno answer")
    elif answer.ephemeral and answer.response is not None:
        click.echo(f"\n{answer.response.get('content', '')}")


async def input_lines() -> AsyncIterator[str]:
    """Yield the lines of standard input without their white space; waiting for one can be cancelled."""
    number, rest = _input_number(), b""
    while number is not None:
        with suppress(PermissionError):  # a file can't be waited for, and need not be
            await anyio.wait_readable(number)
        data = os.read(number, _READ_SIZE)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines if data else [*lines, rest]:
            yield line.decode(errors="replace").strip()
        if not data:
            return


def _input_number() -> int | None:
    return None if sys.stdin is None else sys.stdin.fileno()
