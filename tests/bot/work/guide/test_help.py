"""What `/help` says, by the place and what goes on there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.chat.commands.tree import COMMANDS
from bot.model import QueueMode
from bot.reply.sanitise import units
from bot.work.guide.help import GROUPS, Kind, Situation, help_on

IDLE = Situation(Kind.THREAD, 100, "<@1>", "`claude`", directory="`~/app`")
WORKING = replace(IDLE, running=42)


@pytest.mark.parametrize(
    ("here", "first", "buttons"),
    [
        (
            Situation(Kind.CHANNEL, 7, "<@1>", "the agent"),
            "**Mention me and say what you want done.**",
            ["Inbox", "Status"],
        ),
        (Situation(Kind.GUEST_THREAD, 8, "<@1>", "the agent", context=20), "**Mention me, and I answer", []),
        (
            IDLE,
            "**Just write: every message here goes to `claude`**, which works in `~/app`.",
            ["Status", "Start afresh"],
        ),
        (WORKING, "**`claude` is working.** Keep writing: what you send waits for its turn.", ["Stop", "Status"]),
        (
            replace(WORKING, mode=QueueMode.STEER),
            "**`claude` is working.** Keep writing: it gets what",
            ["Stop", "Status"],
        ),
        (replace(WORKING, asking=True), "**The agent waits for an answer** from whoever asked", ["Stop", "Status"]),
        (replace(WORKING, asking=True, asked=True), "**The agent waits for your answer", ["Inbox", "Stop", "Status"]),
        (
            replace(WORKING, kind=Kind.DIRECT, asking=True, asked=True),
            "**The agent waits for your answer.** Press a button on its card.",
            ["Stop", "Status"],
        ),
        (replace(WORKING, waiting=2), "**`claude` is working.**", ["Stop", "Queue", "Status"]),
    ],
)
def test_help_begins_with_what_one_can_do_here_and_now(here: Situation, first: str, buttons: list[str]) -> None:
    """K5: at most five lines before the commands, and no promise that a button of another place keeps."""
    found = help_on(here, ["new", "stop", "brand-new"])
    lines = found.text.splitlines()
    assert lines[0].startswith(first)
    assert 1 <= len([line for line in lines if not line.startswith("-#")]) <= 5
    assert lines[-3:] == ["-# Conversation: `/new`", "-# While it works: `/stop`", "-# More: `/brand-new`"]
    assert [button.label for button in found.buttons] == buttons
    assert all(f":{here.place_id}:" in button.custom_id for button in found.buttons)


def test_every_command_is_listed_once_and_all_of_it_is_one_message() -> None:
    """K5."""
    found = help_on(replace(WORKING, asked=True, waiting=3), [command.name for command in COMMANDS])
    assert all(found.text.count(f"`/{command.name}`") == 1 for command in COMMANDS)
    names = [name for group in GROUPS.values() for name in group]
    assert len(names) == len(set(names))
    assert units(found.text) < 1200


def test_a_channel_names_its_projects_and_which_one_its_threads_work_on() -> None:
    """W1, K5"""
    here = Situation(Kind.CHANNEL, 7, "<@1>", "`claude`", ("claude", "codex"), ("web", "shop"), "web")
    assert help_on(here, []).text.splitlines()[2] == (
        "In the thread, just keep writing. `/new` lets you choose agent, project, title and files first. "
        "Agents here: `claude`, `codex`. Projects: `web`, `shop`. Threads here work on `web`, if you name no other."
    )
    plain = Situation(Kind.CHANNEL, 7, "<@1>", "the agent")
    assert help_on(plain, []).text.splitlines()[2].endswith("`/new` lets you choose title and files first.")
