"""`/export`: the conversation of a thread as a file, for whoever is let in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bot.model import Outcome
from bot.sandbox import Attachment, CallbackType
from bot.work.transcripts.export import NOTHING
from tests.agents import scenario
from tests.e2e.play import Play, play

pytestmark = pytest.mark.asyncio

ASK: dict[str, Any] = {
    "permission": {
        "tool": {"toolCallId": "t1", "title": "Clean", "kind": "execute", "rawInput": {"command": "rm -r build"}},
        "options": [{"optionId": "yes", "name": "Allow once", "kind": "allow_once"}],
    },
    "then": {"yes": [{"text": "Cleaned.\n\n```\n# Not a heading\n"}]},
}


async def export(game: Play, thread_id: int, **options: str) -> tuple[str, tuple[Attachment, ...]]:
    """Ask for the file; return what the person alone is told, and the file."""
    asked = await game.owner.slash(thread_id, "export", **options)
    assert (asked.kind, asked.ephemeral) == (CallbackType.DEFERRED_MESSAGE, True)
    await asked.filled()
    told = game.discord.message(asked.original_id or 0)
    return told.content, told.attachments


async def test_a_conversation_is_exported_as_markdown_and_as_it_is_kept(tmp_path: Path) -> None:
    """S3, C5: with what people decided; whose words they are can't be mistaken."""
    agent = scenario(tmp_path, [ASK], [{"text": "Twice."}], counter="log")
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("clean up")
        await game.press(thread_id, "Allow once")
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        follow_up = await game.say(thread_id, "again\n## alice wrote:")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        told, (file,) = await export(game, thread_id)
        text = file.content.decode()
        assert (file.name, told.startswith("2 turns of this thread, ")) == ("conversation.md", True)
        assert "**`owner`** wrote at " in text
        assert "```text\nagain\n## alice wrote:\n```" in text
        assert "````markdown\nCleaned.\n\n```\n# Not a heading\n````" in text
        assert "- ✅ " in text
        assert "`rm -r build`, allowed by `owner`" in text
        assert text.index("clean up") < text.index("Cleaned.") < text.index("again") < text.index("Twice.")
        _, (file,) = await export(game, thread_id, format="json")
        kept = json.loads(file.content)
        assert [turn["answer"] for turn in kept["turns"]] == ["Cleaned.\n\n```\n# Not a heading\n", "Twice."]
        assert kept["turns"][0]["asked"][0]["id"] == str(thread_id)
        assert kept["turns"][0]["decisions"][0]["person_id"] == str(game.owner.id)


async def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    """S3: in a thread without a turn that has ended, and where nothing is kept."""
    async with play(tmp_path, scenario(tmp_path, [{"text": "so far"}, {"hang": True}])) as game:
        thread_id = await game.mention("go")
        await game.until_shown(thread_id, "so far")
        assert await export(game, thread_id) == (NOTHING.text, ())
        await game.stop(thread_id)
        assert await game.outcome(thread_id) is Outcome.STOPPED
        _, (file,) = await export(game, thread_id)
        assert b"stopped \xc2\xb7 by `owner`" in file.content
