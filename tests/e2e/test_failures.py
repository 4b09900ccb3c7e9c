"""What goes wrong with an agent is told in its thread, once, and touches no other thread."""

from __future__ import annotations

import shutil
import stat
import sys
from pathlib import Path

import pytest

from bot.model import Outcome
from tests.agents import Gate, ScriptedAgent, Step, scenario
from tests.agents.behaviours import auth_error, claude_error, codex_error, gemini_error, opencode_error
from tests.e2e.play import play

pytestmark = pytest.mark.asyncio


async def test_an_agent_that_dies_mid_turn_keeps_its_text_and_the_next_message_gets_a_new_one(tmp_path: Path) -> None:
    """T1, O1, P10: with the signal and the last line of stderr."""
    dying: list[Step] = [{"text": "so far"}, {"stderr": "out of memory\n"}, {"kill": 9}]
    agent = scenario(tmp_path, dying, [{"echo": True}], counter="log", resume=True)
    async with play(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.AGENT_DIED
        for part in ("so far", "agent_died", "signal 9 (SIGKILL)", "out of memory"):
            assert part in game.shown(thread_id)
        follow_up = await game.say(thread_id, "again")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert len(agent.pids()) == 2
        assert len(agent.received("session/resume")) == 1


async def test_a_death_is_noticed_while_a_grandchild_keeps_stdout_open(tmp_path: Path) -> None:
    """T1, P9."""
    dying: list[Step] = [{"spawn_shell": "sleep 600", "holds_stdout": True}, {"text": "so far"}, {"exit": 3}]
    agent = scenario(tmp_path, dying)
    async with play(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.AGENT_DIED
        assert "exit status 3" in game.shown(thread_id)


async def test_an_agent_that_dies_between_turns_is_replaced_without_a_word(tmp_path: Path) -> None:
    """P8, P10: the session is resumed in a new process."""
    ending: list[Step] = [{"text": "done"}, {"respond": {"stopReason": "end_turn"}}, {"exit": 0}]
    agent = scenario(tmp_path, ending, [{"echo": True}], counter="log", resume=True)
    async with play(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.ANSWERED
        await game.agents_gone()
        follow_up = await game.say(thread_id, "again")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert len(agent.pids()) == 2
        assert "died" not in game.shown(thread_id)


async def test_a_session_that_the_agent_forgot_starts_afresh_with_a_line(tmp_path: Path) -> None:
    """P8."""
    dying: list[Step] = [{"text": "done"}, {"respond": {"stopReason": "end_turn"}}, {"exit": 0}]
    agent = scenario(tmp_path, dying, [{"echo": True}], counter="log", resume="unknown")
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("go")
        await game.agents_gone()
        follow_up = await game.say(thread_id, "again")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert "starts afresh" in game.shown(thread_id)


async def test_a_replay_that_comes_after_the_load_is_not_shown_again(tmp_path: Path) -> None:
    """P8: gemini answers session/load before most of its replay."""
    ending: list[Step] = [{"text": "done"}, {"respond": {"stopReason": "end_turn"}}, {"exit": 0}]
    agent = scenario(tmp_path, ending, [{"echo": True}], counter="log", behaviour="gemini", load="replay_after")
    async with play(tmp_path, agent) as game:
        thread_id, _ = await game.ask("go")
        await game.agents_gone()
        follow_up = await game.say(thread_id, "again")
        assert await game.outcome(follow_up) is Outcome.ANSWERED
        assert "earlier answer" not in game.shown(thread_id)
        assert "again" in game.shown(thread_id)


async def test_an_agent_whose_program_was_removed_after_the_start_could_not_start(tmp_path: Path) -> None:
    """O1, P7: reported at once."""
    script = scenario(tmp_path)
    program = tmp_path / "agent"
    program.write_text(f"#!/bin/sh\nexec {' '.join(script.argv)}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    agent = ScriptedAgent((str(program),), script.log_path)
    async with play(tmp_path, agent) as game:
        _, outcome = await game.ask("works")
        assert outcome is Outcome.ANSWERED
        program.unlink()
        thread_id, outcome = await game.ask("gone")
        assert outcome is Outcome.COULD_NOT_START
        assert "could_not_start" in game.shown(thread_id)
        assert "not found" in game.shown(thread_id)


async def test_a_workspace_that_vanished_is_told_apart_from_a_missing_program(tmp_path: Path) -> None:
    """O1, P7."""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent) as game:
        shutil.rmtree(tmp_path / "workspace")
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.COULD_NOT_START
        assert "workspace is not a directory" in game.shown(thread_id)


async def test_an_agent_that_ends_at_its_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    """O1."""
    agent = scenario(tmp_path, start={"exit": 3, "stderr": "no licence\n"})
    async with play(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.COULD_NOT_START
        assert "exit status 3" in game.shown(thread_id)
        assert "no licence" in game.shown(thread_id)


async def test_an_agent_that_wants_a_login_says_so(tmp_path: Path) -> None:
    """O1: -32000 on session/new."""
    agent = scenario(tmp_path, start={"auth_required": True})
    async with play(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.COULD_NOT_START
        assert "log in" in game.shown(thread_id).lower()


async def test_a_start_that_hangs_delays_no_other_thread(tmp_path: Path) -> None:
    """P1, O4: the first agent never answers; the second thread's does."""
    agent = scenario(tmp_path, start={"hang": "initialize", "first": 1})
    async with play(tmp_path, agent, start_timeout=2.0) as game:
        stuck = await game.mention("stuck")
        await agent.seen("start")
        _, outcome = await game.ask("hello")
        assert outcome is Outcome.ANSWERED
        assert stuck not in game.on_stage.outcomes
        assert await game.outcome(stuck) is Outcome.COULD_NOT_START
        assert "did not answer" in game.shown(stuck) or "not answered" in game.shown(stuck)


@pytest.mark.parametrize(
    ("steps", "outcome", "words"),
    [
        (opencode_error(), Outcome.FAILED, ["bad request"]),
        (claude_error(), Outcome.FAILED, ["API Error: 400", "Internal error"]),
        (codex_error(), Outcome.ANSWERED, ["stream disconnected"]),
        (gemini_error(401, "unauthorized"), Outcome.FAILED, ["unauthorized"]),
        (gemini_error(500), Outcome.FAILED, ["terminated"]),
        ([{"text": "so far "}, *auth_error()], Outcome.FAILED, ["so far", "log in"]),
    ],
    ids=["opencode", "claude", "codex", "gemini 401", "gemini 500", "login"],
)
async def test_each_shape_of_an_error_ends_the_turn_with_its_message(
    tmp_path: Path, steps: list[dict[str, object]], outcome: Outcome, words: list[str]
) -> None:
    """O1: the four agents tell their model's failures in four ways."""
    agent = scenario(tmp_path, steps, [{"echo": True}])
    async with play(tmp_path, agent) as game:
        thread_id, ended = await game.ask("go")
        assert ended is outcome
        for word in words:
            assert word in game.shown(thread_id)
        follow_up = await game.say(thread_id, "again")
        assert await game.outcome(follow_up) is Outcome.ANSWERED


async def test_a_failure_in_one_thread_changes_nothing_in_another(tmp_path: Path) -> None:
    """O4: a witness streams on while its neighbour dies."""
    gate = Gate(tmp_path / "gate")
    words = {"witness": [{"text": "one "}, gate.step, {"text": "two"}], "die": [{"text": "x"}, {"kill": 11}]}
    agent = scenario(tmp_path, words=words)
    async with play(tmp_path, agent) as game:
        witness = await game.mention("witness")
        await game.until_shown(witness, "one")
        _, outcome = await game.ask("die")
        assert outcome is Outcome.AGENT_DIED
        gate.open()
        assert await game.outcome(witness) is Outcome.ANSWERED
        assert "one two" in game.shown(witness)
        assert "died" not in game.shown(witness)


async def test_no_secret_of_the_bot_reaches_the_agent_or_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R5: the environment is an allow-list."""
    monkeypatch.setenv("CANARY_TOKEN", "canary-0123456789")
    monkeypatch.setenv("DISCORD_TOKEN", "canary-9876543210")
    dump = "import os,sys;sys.stderr.write(repr(dict(os.environ)));sys.exit(1)"
    agent = ScriptedAgent((sys.executable, "-c", dump), tmp_path / "none.log")
    async with play(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.COULD_NOT_START
        assert "PATH" in game.shown(thread_id)
        assert "canary" not in game.shown(thread_id)
        assert game.discord.token not in game.shown(thread_id)
