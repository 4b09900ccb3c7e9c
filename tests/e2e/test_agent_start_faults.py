"""An agent that does not start: each fault, what its thread is told, and a witness that streams through it.

fault                                          test
missing, not executable, bad interpreter,      test_an_agent_that_cannot_be_started_is_told_at_once_with_the_reason
  wrong format, directory missing
no retry where none can help                   test_a_start_that_no_retry_can_heal_is_never_held_back
a failed start leaves no open file             test_failed_starts_leave_no_open_file
dies at its start, with words on stderr        test_an_agent_that_ends_at_its_start_is_told_with_its_last_words
dies at each start                             test_a_crash_loop_is_held_back_with_a_line_that_says_until_when
a message after the hold is over               test_after_the_hold_the_agent_is_tried_again
never answers initialize or session/new        test_a_start_that_is_never_answered_is_given_up_and_leaves_no_process
noise before the first message                 test_noise_before_the_first_message_is_skipped
noise and nothing else                         test_noise_without_a_message_is_a_failed_start
another protocol version                       test_an_agent_of_another_protocol_version_is_told_apart
a session refused                              test_an_agent_that_refuses_a_session_is_told_with_its_own_words
a login that is wanted                         test_an_agent_that_wants_a_login_says_so
the wrapper fails                              test_a_wrapper_that_fails_says_why
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import anyio
import psutil
import pytest

from acp.engine import LaunchSpec
from acp.errors import AgentSpawnError
from acp.process import AgentProcess
from bot import derived_settings
from bot.config import Settings
from bot.model import Outcome
from pool.model import PoolLimits
from tests.agents import ScriptedAgent, scenario
from tests.clock import let_pass
from tests.e2e.play import LIMIT, Play, play
from tests.e2e.process import connected, mention, shown, until_shown
from tests.e2e.witness import gone, hurry, witnessed, words
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio

NOT_STARTED, FIXED = "⚠️ **The agent could not start:**", " Send it again once that is fixed."


def as_program(directory: Path) -> tuple[ScriptedAgent, Path]:
    """An agent behind a program of its own, which the test can break after the witness has started."""
    script = scenario(directory, words=words(directory))
    program = directory / "agent"
    program.write_text(f"#!/bin/sh\nexec {' '.join(script.argv)}\n")
    program.chmod(0o755)
    return ScriptedAgent((str(program),), script.log_path), program


def remove(program: Path) -> None:
    program.unlink()


def lock(program: Path) -> None:
    program.chmod(0o644)


def replace(program: Path, content: bytes) -> None:
    """Put another file in its place: the one that runs can't be written to."""
    program.unlink()
    program.write_bytes(content)
    program.chmod(0o755)


def misname_interpreter(program: Path) -> None:
    replace(program, b"#!/nonexistent/interpreter\n")


def garble(program: Path) -> None:
    replace(program, b"\x00\x01\x02\x03" * 100)


def remove_workspace(program: Path) -> None:
    shutil.rmtree(program.parent / "workspace")


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (remove, "{program} could not be started: not found"),
        (misname_interpreter, "{program} names an interpreter that does not exist"),
        *in_soak(
            [
                (lock, "{program} could not be started: not executable"),
                (garble, "{program} could not be started: not a program this machine can run"),
                (remove_workspace, "{workspace} is not a directory"),
            ]
        ),
    ],
    ids=["missing", "bad interpreter", "not executable", "wrong format", "no directory"],
)
async def test_an_agent_that_cannot_be_started_is_told_at_once_with_the_reason(
    tmp_path: Path, fault: Callable[[Path], None], line: str
) -> None:
    """O1, P7, O4."""
    agent, program = as_program(tmp_path)
    async with witnessed(tmp_path, agent) as game:
        fault(program)
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.COULD_NOT_START
        why = line.format(program=program, workspace=tmp_path / "workspace")
        assert game.shown(thread_id) == f"{NOT_STARTED} `{why}`.{FIXED}"
        assert len(agent.pids()) == 1


async def test_a_start_that_no_retry_can_heal_is_never_held_back(tmp_path: Path) -> None:
    """P7: each message tells the reason; once the program is back, the next message works."""
    agent, program = as_program(tmp_path)
    async with witnessed(tmp_path, agent) as game:
        kept = program.read_bytes()
        remove(program)
        thread_id, _ = await game.ask("one")
        for text in ("two", "three", "four"):
            assert await game.outcome(await game.say(thread_id, text)) is Outcome.COULD_NOT_START
        shown = [reply.content for reply in game.replies(thread_id)]
        assert shown == [f"{NOT_STARTED} `{program} could not be started: not found`.{FIXED}"] * 4
        program.write_bytes(kept)
        program.chmod(0o755)
        assert await game.outcome(await game.say(thread_id, "five")) is Outcome.ANSWERED


async def test_failed_starts_leave_no_open_file(tmp_path: Path) -> None:
    """P7"""
    garbage = tmp_path / "agent"
    replace_with = [tmp_path / "missing", garbage]
    garbage.write_bytes(b"\x00\x01")
    garbage.chmod(0o755)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  the names are numbers, not paths
    for program in replace_with * 25:
        with pytest.raises(AgentSpawnError):
            await AgentProcess.start(LaunchSpec((str(program),), str(tmp_path), {}))
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


async def test_an_agent_that_ends_at_its_start_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """O1, R5, O4: the exit status, and the ten last lines of its stderr without secrets."""
    monkeypatch.setenv("CANARY_KEY", "canary-0123456789")
    loading = [f"loading {number}" for number in range(12)]
    stderr = "\n".join([*loading, "", "```", "key canary-0123456789 is not valid", "", ""])
    agent = scenario(tmp_path, words=words(tmp_path), start={"after": 1, "exit": 3, "stderr": stderr})
    async with witnessed(tmp_path, agent, agent_env=("CANARY_KEY",)) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.COULD_NOT_START
        line = "the agent ended before it answered (exit status 3): key [secret] is not valid"
        block = "\n".join([*loading[-8:], "`\u200b``", "key [secret] is not valid"])
        assert game.shown(thread_id) == f"{NOT_STARTED} `{line}`.{FIXED}\n```\n{block}\n```"


async def test_an_agent_that_ends_at_its_start_without_a_word_is_told_with_its_status(tmp_path: Path) -> None:
    """O1, O4."""
    agent = scenario(tmp_path, words=words(tmp_path), start={"after": 1, "exit": 1})
    async with witnessed(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.COULD_NOT_START
        line = "the agent ended before it answered (exit status 1)"
        assert game.shown(thread_id) == f"{NOT_STARTED} `{line}`.{FIXED}"


async def test_a_crash_loop_is_held_back_with_a_line_that_says_until_when(tmp_path: Path) -> None:
    """P7, O4: three failed starts in a row; another thread has a breaker of its own."""
    agent = scenario(tmp_path, words=words(tmp_path), start={"after": 1, "first": 4, "exit": 3})
    async with witnessed(tmp_path, agent) as game:
        thread_id, _ = await game.ask("one")
        for text in ("two", "three"):
            assert await game.outcome(await game.say(thread_id, text)) is Outcome.COULD_NOT_START
        held = await game.say(thread_id, "four")
        assert await game.outcome(held) is Outcome.COULD_NOT_START
        last = game.replies(thread_id)[-1].content
        said, _, seconds = last.removesuffix(f" s`.{FIXED}").rpartition(" ")
        assert said == f"{NOT_STARTED} `the agent failed to start 3 times in a row; next try in"
        assert 0 < int(seconds) <= 60
        assert len(agent.pids()) == 4
        _, outcome = await game.ask("another thread")
        assert outcome is Outcome.ANSWERED


async def test_after_the_hold_the_agent_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P7"""

    def short(settings: Settings) -> PoolLimits:
        return PoolLimits(max_agents=settings.max_agents, crash_starts=1, crash_window=0.5)

    monkeypatch.setattr(derived_settings, "pool_limits", short)
    agent = scenario(tmp_path, words=words(tmp_path), start={"after": 1, "first": 2, "exit": 3})
    async with witnessed(tmp_path, agent) as game:
        thread_id, _ = await game.ask("one")
        await game.outcome(await game.say(thread_id, "two"))
        assert "next try in 1 s" in game.shown(thread_id)
        await answered_again(game, thread_id)


async def answered_again(game: Play, thread_id: int) -> None:
    """Ask until an answer comes; what is told in between is that the start is held back."""
    with anyio.fail_after(LIMIT):
        while await game.outcome(await game.say(thread_id, "again")) is not Outcome.ANSWERED:
            assert "next try in 1 s" in game.replies(thread_id)[-1].content
            await anyio.sleep(0.1)


@pytest.mark.parametrize(
    ("method", "line"),
    [
        ("session/new", "session/new was not answered within 10 s"),
        *in_soak([("initialize", "the agent did not answer within 10 s")]),
    ],
)
async def test_a_start_that_is_never_answered_is_given_up_and_leaves_no_process(
    tmp_path: Path, method: str, line: str
) -> None:
    """P1, P9, O4: other threads do not wait for it."""
    agent = scenario(tmp_path, words=words(tmp_path), start={"after": 1, "first": 2, "hang": method})
    async with witnessed(tmp_path, agent, start_timeout=10) as game:
        stuck = await game.mention("stuck")
        await agent.seen("start", 2)
        _, outcome = await game.ask("hello")
        assert outcome is Outcome.ANSWERED
        assert stuck not in game.on_stage.outcomes
        let_pass(10)
        assert await game.outcome(stuck) is Outcome.COULD_NOT_START
        assert game.shown(stuck) == f"{NOT_STARTED} `{line}`.{FIXED}"
        await gone(agent.pids()[1])
        assert await game.outcome(await game.say(stuck, "again")) is Outcome.ANSWERED


NOISE = [
    "Windows PowerShell",
    "\x1b[32mprofile loaded\x1b[0m \x1b]0;title\x07",
    "npm warn deprecated inflight@1.0.6",
    '"a string"',
    "5",
    "null",
    "[1, 2]",
    "NaN",
    "{}",
    '{"level": "info", "id": 1, "msg": "an answer to no one", "result": {}}',
    '{"id": 1, "result": {"protocolVersion": 1}}',
    '{"jsonrpc": "1.0", "id": 1, "result": {"protocolVersion": 99}}',
    "{" * 10_000,
    "x" * 100_000,
    "",
]


async def test_noise_before_the_first_message_is_skipped(tmp_path: Path) -> None:
    """T9, T5: banners, escape sequences, scalars, and logs that look like the answer to ``initialize``."""
    agent = scenario(tmp_path, words=words(tmp_path), start={"noise": NOISE, "stderr": "Debugger attached.\n"})
    async with witnessed(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("hello")
        assert outcome is Outcome.ANSWERED
        assert game.shown(thread_id).startswith("hello\n-# ")


async def test_noise_without_a_message_is_a_failed_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T9, P9: after 16 MiB, long before the start's time is over, and without costing memory."""
    hurry(monkeypatch)
    start = {"after": 1, "noise_bytes": 30_000_000, "hang": "initialize"}
    agent = scenario(tmp_path, words=words(tmp_path), start=start)
    async with witnessed(tmp_path, agent, start_timeout=60) as game:
        before = psutil.Process().memory_info().rss
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.COULD_NOT_START
        line = "the agent wrote more than 16,777,216 bytes and no message of the protocol"
        assert game.shown(thread_id) == f"{NOT_STARTED} `{line}`.{FIXED}"
        assert psutil.Process().memory_info().rss - before < 64 * 1024 * 1024


async def test_an_agent_of_another_protocol_version_is_told_apart(tmp_path: Path) -> None:
    """O1"""
    agent = scenario(tmp_path, words=words(tmp_path), start={"after": 1, "protocolVersion": 7})
    async with witnessed(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.COULD_NOT_START
        assert game.shown(thread_id) == f"{NOT_STARTED} `the agent speaks protocol version 7, not 1`.{FIXED}"


async def test_an_agent_that_refuses_a_session_is_told_with_its_own_words(tmp_path: Path) -> None:
    """O1, O4: those in the error's data, too."""
    error = {"code": -32603, "message": "Internal error", "data": {"details": "model not found"}}
    start = {"after": 1, "answers": {"session/new": {"error": error}}}
    agent = scenario(tmp_path, words=words(tmp_path), start=start)
    async with witnessed(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.COULD_NOT_START
        line = "session/new failed: Internal error (-32603): model not found"
        assert game.shown(thread_id) == f"{NOT_STARTED} `{line}`.{FIXED}"


async def test_an_agent_whose_program_was_removed_after_the_start_could_not_start(tmp_path: Path) -> None:
    """O1, P7: reported at once."""
    agent, program = as_program(tmp_path)
    async with play(tmp_path, agent) as game:
        _, outcome = await game.ask("works")
        assert outcome is Outcome.ANSWERED
        program.unlink()
        thread_id, outcome = await game.ask("gone")
        assert outcome is Outcome.COULD_NOT_START
        assert "could not start" in game.shown(thread_id)
        assert "not found" in game.shown(thread_id)


async def test_a_workspace_that_vanished_is_told_apart_from_a_missing_program(tmp_path: Path) -> None:
    """O1, P7."""
    agent = scenario(tmp_path)
    async with play(tmp_path, agent) as game:
        shutil.rmtree(tmp_path / "workspace")
        thread_id, outcome = await game.ask("go")
        assert outcome is Outcome.COULD_NOT_START
        assert "workspace is not a directory" in game.shown(thread_id)


async def test_the_last_words_of_a_failed_start_are_told(tmp_path: Path) -> None:
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


# --- wrappers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrapper", "said"),
    [
        (["sh", "-c", "echo no wall today >&2; exit 7", "--"], ["no wall today", "7"]),
        *in_soak(
            [
                (["sh", "-c", "kill -KILL $$", "--"], ["SIGKILL"]),
                (["env", "/no/such/program"], ["No such file or directory", "127"]),
            ]
        ),
    ],
)
async def test_a_wrapper_that_fails_says_why(tmp_path: Path, wrapper: list[str], said: list[str]) -> None:
    """P12, O1"""
    (tmp_path / "weft.toml").write_text(
        f"[agents.walled]\ncommand = 'an-agent'\nworkspace = '{tmp_path}'\nwrapper = {wrapper!r}\n"
    )
    nobody = ScriptedAgent((), tmp_path / "none")
    async with connected(tmp_path, nobody, WEFT_AGENT_COMMAND="") as (discord, bot):
        thread_id = await mention(discord, "go")
        await until_shown(discord, thread_id, "could not start")
        text = shown(discord, thread_id)
        assert [part for part in said if part not in text] == []
        assert await bot.signalled(signal.SIGTERM) == 0


async def test_a_wrapper_that_goes_away_later_is_named(tmp_path: Path) -> None:
    """P12, O1: it was there when the bot started."""
    wrapper = tmp_path / "wall"
    wrapper.write_text("#!/bin/sh\n")
    wrapper.chmod(0o755)
    (tmp_path / "weft.toml").write_text(
        f"[agents.walled]\ncommand = 'an-agent'\nworkspace = '{tmp_path}'\nwrapper = ['{wrapper}']\n"
    )
    nobody = ScriptedAgent((), tmp_path / "none")
    async with connected(tmp_path, nobody, WEFT_AGENT_COMMAND="") as (discord, bot):
        wrapper.unlink()
        thread_id = await mention(discord, "go")
        await until_shown(discord, thread_id, "could not start")
        assert "wall" in shown(discord, thread_id)
        assert await bot.signalled(signal.SIGTERM) == 0
