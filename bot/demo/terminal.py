"""A conversation in the terminal: its lines are the owner's messages, answers and commands, and Weft's are printed.

A line that begins as a slash command does is read by the commands that the bot has registered. `bot.demo.transcript`
prints messages. The mutable state is how much was printed, and what the
owner has said and answered so far.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import click
from anyio import CancelScope

from bot.chat.inbound import ASIDE
from bot.demo.stage import Stage
from bot.demo.transcript import CardButton, LivePrinter, card_buttons, named
from bot.sandbox import CallbackType, FakeDiscord, Interaction, Message

HELP = (
    "Type a message, such as help. "
    "Also: a number answers a question, /stop /status /diff /queue /reset, /new TEXT for another thread, /quit."
)
TOUR = "Each thread works on its own branch: try edit, then /diff, /commit and /merge."
NO_PROJECT = "Without a project to work on, since {why}: threads have no branches to /commit and /merge here."
TEXT_LIMIT = 1950
"""UTF-16 units of a message: Discord takes 2,000, and the mention needs some of them."""

_READ_SIZE = 64 * 1024
_DEFERRED = 60.0  # seconds until an answer has to be there that Weft thinks about

TERMINAL_S_OWN = ("new", "quit")
_COMMAND = re.compile(r"/[A-Za-z][\w-]*(?!\S)")  # not a path such as /etc/hosts, with which a prompt may begin
_SUB_COMMAND, _TEXT = 1, 3


def text_problem(text: str) -> str:
    """Say why the owner can't post a text, or nothing."""
    if not text.strip():
        return "there is nothing in it to ask for"
    length = len(clean(text).encode("utf-16-le")) // 2
    return f"{length} characters are too long: Discord takes {TEXT_LIMIT}" if length > TEXT_LIMIT else ""


def clean(text: str) -> str:
    """Return the text as Discord can take it: what was no UTF-8 on the command line becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


async def converse_on(on_stage: Stage) -> int:
    """Take lines and print what Weft posts until end of input or /quit; return 0."""
    click.echo(HELP)
    if on_stage.no_project:
        click.echo(NO_PROJECT.format(why=on_stage.no_project))
    elif on_stage.bot.dispatcher.thread_settings.agents.projects:
        click.echo(TOUR)
    screen = Screen(on_stage.discord)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(screen.follow)
        await Terminal(on_stage, screen).run()
        tasks.cancel_scope.cancel()
    screen.end()
    return 0


class Screen:
    """Prints what Weft posts, as it grows; the mutable state is how much of the changes was printed."""

    def __init__(self, discord: FakeDiscord) -> None:
        self._discord = discord
        self._changes = discord.state.changes
        self._printer = LivePrinter(discord.bot_user.id)
        self._seen = 0

    async def follow(self) -> None:
        """Print every change until cancelled."""
        while True:
            self.print_new()
            await self._changes.wait()

    def print_new(self) -> None:
        """Print the changes since the last call; the terminal itself prints the answers that only one person sees."""
        fresh, self._seen = self._changes.log[self._seen :], len(self._changes.log)
        names = names_in(self._discord)
        for message in fresh:
            if not message.ephemeral:
                click.echo(self._printer.show(message, names), nl=False)

    def tell(self, text: str) -> None:
        """Print what only the owner sees."""
        click.echo(self._printer.interrupt(named(text, names_in(self._discord))), nl=False)

    def end(self) -> None:
        """Print what is left, and the end of the last line."""
        self.print_new()
        click.echo(self._printer.line_end(), nl=False)


def names_in(discord: FakeDiscord) -> dict[int, str]:
    """Return the names of the people, roles, channels and threads by their ids."""
    state = discord.state
    people = {member.user.id: member.user.name for member in state.members.values()}
    places = {channel.id: channel.name for channel in state.channels.values()}
    return people | places | {role.id: role.name for role in state.roles.values()}


class Terminal:
    """Takes lines from the terminal as the owner's messages, answers and commands.

    The mutable state is the thread that lines go to, the prompts so far, and the cards that were answered.
    """

    def __init__(self, on_stage: Stage, screen: Screen) -> None:
        self._stage = on_stage
        self._screen = screen
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
            # Whichever comes first: all outcomes, or a question that nobody is left to answer.
            tasks.start_soon(self._until_asked, tasks.cancel_scope)
            for prompt in self._prompts:
                await self._stage.outcome(prompt)
            tasks.cancel_scope.cancel()

    async def _until_asked(self, scope: CancelScope) -> None:
        # With nobody left to answer, a question would hold the end up until it expires.
        await self._discord.wait_for(lambda _: self._open_card(), timeout=math.inf)
        scope.cancel()

    async def _take(self, line: str) -> None:
        # A number is an answer only while something is asked.
        card = self._open_card() if line.isdecimal() else None
        if card is not None:
            await self._answer(*card, int(line))
        elif is_command(line):
            await self._command(line)
        elif problem := text_problem(line):
            self._screen.tell(f"Not sent: {problem}.")
        elif self._thread is None:
            await self._open(line)
        else:
            said = await self._discord.owner.say(self._thread, line)
            if is_for_weft(said):
                self._prompts.append(said.id)

    async def _answer(self, message_id: int, buttons: list[CardButton], number: int) -> None:
        if not 1 <= number <= len(buttons):
            self._screen.tell(f"choose 1 to {len(buttons)}" if len(buttons) > 1 else "there is only 1 to choose")
            return
        # Before the press, so that a number that follows at once is for the next card.
        self._pressed.add(message_id)
        await self._tell(await press(self._discord, message_id, buttons[number - 1]))

    async def _open(self, text: str) -> None:
        message = await self._discord.owner.say(self._discord.channel_id, text, mention_bot=True)
        self._prompts.append(message.id)
        # Later lines go into the thread, which is there a moment after the message.
        await self._discord.wait_for(lambda discord: any(thread.id == message.id for thread in discord.threads()))
        self._thread = message.id

    async def _command(self, line: str) -> None:
        # The terminal's own, before the bot's command of that name: it opens a thread by a mention, as people do.
        if line.partition(" ")[0] == "/new":
            await self._new(line.removeprefix("/new").strip())
            return
        # The bot registers its commands while it already takes messages.
        await self._discord.wait_for(lambda discord: discord.commands)
        try:
            use = parse(line, self._discord.commands)
        except NotACommand as problem:
            self._screen.tell(str(problem))
            return
        place = self._thread or self._discord.channel_id
        await self._tell(await self._discord.owner.slash(place, use.path, **use.options))

    async def _new(self, text: str) -> None:
        if problem := text_problem(text):
            self._screen.tell(f"Not sent: {problem}.")
        else:
            await self._open(text)

    async def _tell(self, answer: Interaction) -> None:
        """Print an answer that only the person who asked for it sees, once it is there."""
        if not answer.acked:
            self._screen.tell("no answer")
        elif answer.ephemeral:
            try:
                await self._discord.wait_for(lambda _: not answer.waiting, timeout=_DEFERRED)
            except TimeoutError:
                self._screen.tell("no answer")
                return
            if answer.original_removed:
                return  # what was done stands in the thread, for everybody
            text = str((answer.response or {}).get("content", ""))
            files = self._discord.message(answer.original_id).attachments if answer.original_id is not None else ()
            self._screen.tell("\n".join([text, *(one.content.decode(errors="replace") for one in files)]))

    def _open_card(self) -> tuple[int, list[CardButton]] | None:
        """Return the card that a number answers: one of the present thread, else the latest of another."""
        cards = [
            (thread.id == self._thread, message.id, buttons)
            for thread in self._discord.threads()
            for message in self._discord.messages(thread.id)
            if message.id not in self._pressed and (buttons := card_buttons(message))
        ]
        # One of the present thread first, then the latest: that is what a person has just read.
        return max(cards, key=lambda card: card[:2])[1:] if cards else None


async def press(discord: FakeDiscord, message_id: int, button: CardButton) -> Interaction:
    """Press a button as the owner; a form that it opens is sent as it stands, or declined, as a terminal has none."""
    pressed = await discord.owner.click(message_id, button.custom_id)
    if pressed.kind is not CallbackType.MODAL:
        return pressed
    try:
        return await discord.owner.submit_modal(pressed)
    except ValueError:  # something has to be filled in
        return await discord.owner.click(message_id, f"{button.custom_id.rpartition(':')[0]}:decline")


def is_for_weft(message: Message) -> bool:
    """Whether a message in one of Weft's threads gets an answer: no aside, and to nobody else (D1)."""
    return not (
        message.content.startswith(ASIDE) or message.mentions or message.mention_roles or message.mention_everyone
    )


async def input_lines() -> AsyncIterator[str]:
    """Yield the lines of standard input without their white space; waiting for one can be cancelled."""
    number, rest = None if sys.stdin is None else sys.stdin.fileno(), b""
    while number is not None:
        with suppress(PermissionError):  # a file can't be waited for, and need not be
            await anyio.wait_readable(number)
        data = os.read(number, _READ_SIZE)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines if data else [*lines, rest]:
            yield line.decode(errors="replace").strip()
        # After the lines: the last one may have no end.
        if not data:
            return


@dataclass(frozen=True, slots=True)
class CommandUse:
    """A command by its name, with that of the sub-command after a space, and the values of its options."""

    path: str
    options: Mapping[str, str] = field(default_factory=dict)


class NotACommand(ValueError):
    """The line can't be used; the text says why, and what could be meant."""


def is_command(line: str) -> bool:
    """Whether a line is meant as a command, be there one or not."""
    return _COMMAND.match(line) is not None


def parse(line: str, registered: Iterable[Mapping[str, Any]]) -> CommandUse:
    """Return what a line asks for; a command with sub-commands alone stands for its first.

    Raises:
        NotACommand: there is no such command, or its options don't fit.
    """
    name, *words = line.removeprefix("/").split()
    known = {command["name"]: command for command in registered}
    if name not in known:
        raise NotACommand(_no_such(f"/{name}", [f"/{one}" for one in (*known, *TERMINAL_S_OWN)]))
    command, path = known[name], name
    below = {option["name"]: option for option in command.get("options") or [] if option["type"] == _SUB_COMMAND}
    if below:
        first, *words = words or list(below)[:1]
        path = f"{name} {first}"
        if first not in below:
            raise NotACommand(_no_such(f"/{path}", [f"/{name} {one}" for one in below]))
        command = below[first]
    return CommandUse(path, _options(path, command.get("options") or [], words))


def _options(path: str, declared: Sequence[Mapping[str, Any]], words: Sequence[str]) -> dict[str, str]:
    """Take the words for the options in their order; a text at the end has all that are left."""
    if declared and declared[-1]["type"] == _TEXT and not declared[-1].get("choices") and len(words) > len(declared):
        words = [*words[: len(declared) - 1], " ".join(words[len(declared) - 1 :])]
    if len(words) > len(declared):
        raise NotACommand(f"/{path} takes no {words[len(declared)]!r}")
    for option in declared[len(words) :]:
        if option.get("required"):
            raise NotACommand(f"/{path} needs {_form(option)}")
    for option, word in zip(declared, words, strict=False):
        if option.get("choices") and word not in _choices(option):
            raise NotACommand(f"/{path} needs {_form(option)}, not {word!r}")
    return {option["name"]: word for option, word in zip(declared, words, strict=False)}


def _choices(option: Mapping[str, Any]) -> list[str]:
    return [str(choice["value"]) for choice in option.get("choices") or []]


def _form(option: Mapping[str, Any]) -> str:
    return " or ".join(_choices(option)) or option["name"]


def _no_such(wanted: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(wanted, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(sorted(set(known)))}."
    return f"no such command: {wanted}. {hint}"
