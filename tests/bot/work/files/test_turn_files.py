"""Which files are removed when, and when a prompt has nothing left to ask."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from acp.schema import text_block
from bot.agents.model import Agents, only
from bot.model import Attachment, QueueMode
from bot.work.files.inbox import KEPT
from bot.work.files.turn_files import TurnFiles, nothing_left
from bot.work.limits import FileLimits
from bot.work.prompt import Brought
from bot.work.task_tracker import TaskTracker
from bot.work.thread_settings import ThreadSettings
from tests.bot.work.fakes import NotedStore
from tests.bot.work.files.test_inbox import put
from tests.bot.work.samples import entry_of, inbound

NOW = 1_900_000_000.0
FILE = Attachment(5, "a.png", 3, "image/png", "https://cdn.discordapp.com/a.png", 100, 1)


def files_of(tracker: TaskTracker, agents: Agents) -> TurnFiles:
    settings = ThreadSettings(tracker, NotedStore(), agents, QueueMode.QUEUE)
    return TurnFiles(tracker, cast("Any", None), settings, FileLimits(), Path("/nonexistent"), wall=lambda: NOW)


@pytest.mark.asyncio
@pytest.mark.parametrize("pattern", ["shared", "{thread_id}", "of-{thread_id}/inner"])
async def test_what_is_older_than_a_week_is_removed_in_every_workspace(tmp_path: Path, pattern: str) -> None:
    """F2"""
    places = [tmp_path / pattern.replace("{thread_id}", str(thread)) for thread in (100, 200)]
    other = tmp_path / "notes"
    for place in (*places, other):
        place.mkdir(parents=True, exist_ok=True)
        for message_id, age in ((1, KEPT + 60), (2, KEPT - 60)):
            put(place, "a.txt", message_id=message_id)
            os.utime(place / ".weft/in" / str(message_id), (NOW - age, NOW - age))
    async with anyio.create_task_group() as tasks:
        files = files_of(TaskTracker(tasks), only((), f"{tmp_path}/{pattern}"))
        tasks.start_soon(files.remove_old_ones)
        with anyio.fail_after(30):
            while any((place / ".weft/in/1").exists() for place in places):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert all((place / ".weft/in/2/a.txt").exists() for place in places)
    assert (other / ".weft/in/1/a.txt").exists()


def test_a_prompt_fails_only_if_its_files_were_all_that_it_had() -> None:
    """F4"""
    entry = entry_of(replace(inbound(1, text=" "), attachments=(FILE,)))
    entry.brought[1] = Brought(left_out=("a.png (image/png, 3 bytes): gone",))
    assert nothing_left(entry) == "none of the files could be passed on: a.png (image/png, 3 bytes): gone"
    entry.brought[1] = replace(entry.brought[1], blocks=(text_block("x"),))
    assert nothing_left(entry) == ""
    assert nothing_left(entry_of(inbound(1, text=""))) == ""
    worded = entry_of(replace(inbound(1), attachments=(FILE,)))
    worded.brought[1] = Brought(left_out=("a.png: gone",))
    assert nothing_left(worded) == ""


def test_what_came_with_a_message_that_was_deleted_is_not_asked() -> None:
    """Q5"""
    entry = entry_of(replace(inbound(1, text="one"), attachments=(FILE,)), inbound(2, text="two"))
    entry.brought[1] = Brought(blocks=(text_block("x"),), left_out=("b: gone",))
    assert [block.text for block in entry.prompt()][1:] == ["x"]
    entry.messages[0] = replace(entry.messages[0], text="", quotes=(), attachments=())
    assert [block.text for block in entry.prompt()] == ["two"]
