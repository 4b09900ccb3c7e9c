"""Lines of the terminal as slash commands, by those that the bot has registered."""

from __future__ import annotations

from typing import Any

import discord
import pytest

from bot.chat.commands.tree import answer_interactions
from bot.demo.terminal import CommandUse, NotACommand, is_command, parse


@pytest.fixture(scope="module")
def registered() -> list[dict[str, Any]]:
    tree = answer_interactions(discord.Client(intents=discord.Intents.none()))
    return [dict(command.to_dict(tree)) for command in tree.get_commands()]


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("/foo", True),
        ("/queue show", True),
        ("/", False),
        ("// an aside", False),
        ("/etc/hosts is wrong", False),
        ("/2 of it", False),
        ("do /stop", False),
    ],
)
def test_a_path_or_an_aside_is_no_command(line: str, meant: bool) -> None:
    """D1."""
    assert is_command(line) is meant


@pytest.mark.parametrize(
    ("line", "use"),
    [
        ("/status", CommandUse("status")),
        ("/stop all", CommandUse("stop", {"what": "all"})),
        ("/queue", CommandUse("queue show")),
        ("/queue clear", CommandUse("queue clear")),
        ("/queue mode steer", CommandUse("queue mode", {"mode": "steer"})),
        ("/commit Say good  day", CommandUse("commit", {"message": "Say good day"})),
        ("/schedule @hourly look at it", CommandUse("schedule", {"when": "@hourly", "prompt": "look at it"})),
    ],
)
def test_words_name_sub_commands_and_options(registered: list[dict[str, Any]], line: str, use: CommandUse) -> None:
    """Q11."""
    assert parse(line, registered) == use


def test_a_command_that_there_is_not_is_told_which_there_are(registered: list[dict[str, Any]]) -> None:
    with pytest.raises(NotACommand) as caught:
        parse("/xyzzy", registered)
    names = sorted([*(f"/{command['name']}" for command in registered), "/quit"])
    assert str(caught.value) == f"no such command: /xyzzy. There are {', '.join(names)}."


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/stats", "no such command: /stats. Did you mean /status?"),
        ("/quite", "no such command: /quite. Did you mean /quit?"),
        ("/queue shwo", "no such command: /queue shwo. Did you mean /queue show?"),
        ("/reset now", "/reset takes no 'now'"),
        ("/queue mode", "/queue mode needs queue or followup or interrupt or steer"),
        ("/stop it", "/stop needs turn or all, not 'it'"),
    ],
)
def test_a_line_that_fits_no_command_is_told_what_would(registered: list[dict[str, Any]], line: str, told: str) -> None:
    with pytest.raises(NotACommand) as caught:
        parse(line, registered)
    assert str(caught.value) == told
