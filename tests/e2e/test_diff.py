"""`/diff`: what has changed in a workspace since its thread began, for whoever is let in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.model import Outcome
from bot.sandbox import CallbackType, Message
from bot.work.workspace import changes
from tests.agents import Gate, scenario
from tests.bot.work.repositories import commit, make_repository, needs_git, run_git
from tests.e2e.play import Play, play

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a prompt wait for git, on a busy machine too."""
    monkeypatch.setattr(changes, "WAIT_LIMIT", 30.0)
    monkeypatch.setattr(changes, "LOOK_LIMIT", 30.0)


async def shown(game: Play, thread_id: int) -> Message:
    """Ask for what has changed; return the answer as the person alone sees it."""
    asked = await game.owner.slash(thread_id, "diff")
    assert (asked.kind, asked.ephemeral) == (CallbackType.DEFERRED_MESSAGE, True)
    await asked.filled()
    assert asked.original_id is not None
    return game.discord.message(asked.original_id)


def writes(name: str, text: str) -> dict[str, Any]:
    return {"python": f"import pathlib; pathlib.Path({name!r}).write_text({text!r})"}


@needs_git
async def test_everything_since_the_thread_began_is_shown_whatever_was_committed(tmp_path: Path) -> None:
    """V3: at once while a turn runs, and the same after a commit and a reset."""
    workspace, gate = tmp_path / "workspace", Gate(tmp_path / "gate")
    base = make_repository(workspace, a__txt="one\ntwo\n")
    steps = [writes("a.txt", "one\n2\n"), {"mark": "written"}, gate.step, {"text": "done"}]
    agent = scenario(tmp_path, steps, [writes("new.txt", "x\n" * 40), {"text": "more"}], counter="log")
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("go")
        await agent.seen("mark")
        answer = await shown(game, thread_id)
        assert answer.content.split("\n")[:2] == [f"1 file +1 −1 since `{base[:7]}`", "`a.txt` +1 −1"]
        assert "```diff\ndiff --git a/a.txt b/a.txt\n" in answer.content
        gate.open()
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        commit(workspace)
        await game.owner.slash(thread_id, "reset")
        assert await game.outcome(await game.say(thread_id, "go on")) is Outcome.ANSWERED
        answer = await shown(game, thread_id)
        assert answer.content.split("\n") == [
            f"2 files +41 −1 since `{base[:7]}`",
            "`a.txt` +1 −1",
            "`new.txt` +40 −0",
            "-# Threads share this directory, so this includes what others changed.",
        ]
        (file,) = answer.attachments
        assert (file.name, file.content.count(b"+x\n")) == ("changes.diff", 40)
    assert run_git(workspace, "status", "--porcelain") == "?? new.txt", "nothing of ours, and nothing was staged"


async def test_without_git_it_is_what_the_tools_have_reported(tmp_path: Path) -> None:
    """V3: a long one as a file."""
    new = "x\n" * 40
    change = {"type": "diff", "path": "/w/new.txt", "oldText": None, "newText": new}
    tool = {"tool": {"title": "write", "kind": "edit", "content": [change]}}
    async with play(tmp_path, scenario(tmp_path, [tool, {"text": "done"}])) as game:
        thread_id, _ = await game.ask("go")
        answer = await shown(game, thread_id)
        assert answer.content.split("\n")[:2] == ["1 file +40 −0 by the agent's tools", "`/w/new.txt` +40 −0"]
        assert "is in no git repository." in answer.content
        (file,) = answer.attachments
        assert (file.name, file.content.count(b"+x\n")) == ("changes.diff", 40)
