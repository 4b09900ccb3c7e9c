"""The demo: one prompt with its transcript, and a conversation over a pipe, as processes of their own."""

from __future__ import annotations

import logging
import os
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner, Result

from acp.schema import PermissionOption
from bot.cli import main
from bot.demo import session
from bot.demo.session import Permission, choice, press_buttons, unanswered
from bot.demo.stage import Stage
from bot.demo.terminal import TEXT_LIMIT, clean, text_problem
from tests import warm
from tests.agents import ScriptedAgent, Step, alive, scenario
from tests.clock import let_pass
from tests.commands import LIMIT, environment, left_by, started, temporary_files
from tests.warm import WarmPopen

REAL_BOT = {
    "DISCORD_TOKEN": "canary.canary.canary",
    "WEFT_DISCORD_API": "https://discord.invalid/api/v10",
    "WEFT_AGENT_COMMAND": "no-such-agent",
    "WEFT_WORKSPACE": "/no/such/directory",
    "WEFT_ALLOWED_CHANNELS": "general",
    "WEFT_ALLOWED_USERS": "100000000000000001",
    "WEFT_MAX_AGENTS": "many",
    "WEFT_LOG_LEVEL": "loud",
}
# Runs the demo under an audit hook that writes down every address asked for or connected to.
WATCHED = """
import os, sys
def watch(event, args):
    if event == "socket.connect" or event == "socket.getaddrinfo":
        address = args[1] if event == "socket.connect" else args
        os.write(log, (repr(address[0] if isinstance(address, tuple) else address) + chr(10)).encode())
log = os.open("addresses", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
sys.addaudithook(watch)
from bot.cli import main
main()
"""


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Most of it can be seen without the start of a process."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def prompt(agent: ScriptedAgent | str, *arguments: str) -> Result:
    command = agent if isinstance(agent, str) else shlex.join(agent.argv)
    return CliRunner().invoke(main, ["demo", "--prompt", "do it", "--agent", command, *arguments])


@pytest.mark.soak
def test_the_settings_of_a_real_bot_neither_stop_the_demo_nor_lead_it_to_a_real_discord(tmp_path: Path) -> None:
    """R5: it talks to this machine only."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", WATCHED, "demo", "--prompt", "say hello"],
        cwd=tmp_path,
        env=environment(tmp_path, **REAL_BOT),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:4] == ["── #general", "owner: @Weft say hello", "── thread: say hello", "Weft: hello"]
    assert lines[-1] == "outcome: answered"
    assert "canary" not in done.stdout
    assert set((tmp_path / "addresses").read_text().split()) <= {"'127.0.0.1'", "''"}
    assert "127.0.0.1" in (tmp_path / "addresses").read_text()
    assert (left_by(tmp_path), temporary_files(tmp_path)) == ([], [])


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(("how", "option"), [("allow", "allow"), ("reject", "reject")])
def test_the_owner_presses_what_was_asked_for(tmp_path: Path, how: str, option: str) -> None:
    """D6."""
    steps: list[Step] = [{"permission": {}, "then": {"*": [{"text": "went on"}]}}]
    agent = scenario(tmp_path, steps)
    done = prompt(agent, "--permission", how)
    assert done.exit_code == 0, done.stderr
    assert f"(owner pressed “{option.title()}”)" in done.stdout
    assert "went on" in done.stdout
    (answer,) = agent.events("answer")
    assert answer["result"]["outcome"] == {"outcome": "selected", "optionId": option}


@pytest.mark.soak
@pytest.mark.usefixtures("in_process")
def test_the_owner_answers_questions_by_their_first_button_and_forms_as_they_stand(tmp_path: Path) -> None:
    """C6: what has to be filled in is declined."""
    choice, text = {"type": "string", "enum": ["x", "y"]}, {"type": "string", "default": "d"}
    schemas: list[dict[str, object]] = [{"properties": {"a": field}} for field in (choice, text)]
    schemas.append({"properties": {"a": {"type": "string"}}, "required": ["a"]})
    agent = scenario(tmp_path, [{"elicit": {"requestedSchema": one}} for one in schemas])
    done = prompt(agent)
    assert done.exit_code == 0, done.stderr
    answers = [entry["result"] for entry in agent.events("answer")]
    first, second = ({"action": "accept", "content": {"a": value}} for value in ("x", "d"))
    assert answers == [first, second, {"action": "decline"}]


@pytest.mark.usefixtures("in_process")
def test_a_question_that_nobody_answers_times_out_and_stays_in_the_transcript(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def until_it_is_asked(on_stage: Stage, thread_id: int, permission: Permission, _: dict[int, str]) -> None:
        await press_buttons(on_stage, thread_id, permission, {})
        await on_stage.discord.wait_for(lambda _: unanswered(on_stage, thread_id, permission, {}), timeout=LIMIT)
        let_pass(LIMIT)

    monkeypatch.setattr(session, "press_buttons", until_it_is_asked)
    agent = scenario(tmp_path, [{"permission": {}, "then": {"*": []}}])
    done = prompt(agent, "--permission", "wait", "--timeout", str(LIMIT))
    assert (done.exit_code, done.stderr) == (1, "")
    assert "[Allow] [Reject]" in done.stdout
    assert done.stdout.splitlines()[-1] == "outcome: timed_out"
    assert [alive(pid) for pid in agent.pids()] == [False]


def test_an_agent_that_takes_too_long_is_timed_out_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    """P9."""
    with WarmPopen(["demo", "--prompt", "wait 30", "--timeout", "1"], tmp_path, environment(tmp_path)) as process:
        assert process.stdout.read().splitlines()[-1] == b"outcome: timed_out"
        assert (process.wait(LIMIT), process.stderr.read()) == (1, b"")
    assert (left_by(tmp_path), temporary_files(tmp_path)) == ([], [])


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("steps", "start", "outcome"),
    [
        ([{"text": "so far"}, {"exit": 3}], {}, "agent_died"),
        ([{"error": {"code": 500, "message": "no model"}}], {}, "failed"),
        ([], {"exit": 4}, "could_not_start"),
    ],
)
def test_any_other_outcome_is_printed_and_exit_1(tmp_path: Path, steps: list[Step], start: Step, outcome: str) -> None:
    """O1, T1."""
    done = prompt(scenario(tmp_path, steps, start=start))
    assert (done.exit_code, done.stderr) == (1, "")
    assert done.stdout.splitlines()[-1] == f"outcome: {outcome}"
    assert (left_by(tmp_path), temporary_files(tmp_path)) == ([], [])


@pytest.mark.usefixtures("in_process")
def test_a_relative_path_to_an_agent_is_meant_from_here(tmp_path: Path) -> None:
    agent = scenario(tmp_path)
    script = tmp_path / "my-agent"
    script.write_text(f"#!/bin/sh\nexec {shlex.join(agent.argv)}\n")
    script.chmod(0o755)
    done = prompt("./my-agent")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "Weft: do it" in done.stdout


@pytest.mark.usefixtures("in_process")
def test_agents_see_what_the_setting_lets_through_and_never_the_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """R5."""
    agent = scenario(tmp_path)
    monkeypatch.setenv("WEFT_AGENT_ENV", "SOME_KEY, DISCORD_TOKEN")
    monkeypatch.setenv("SOME_KEY", "key")
    monkeypatch.setenv("DISCORD_TOKEN", "canary")
    script = tmp_path / "my-agent"
    script.write_text(f"#!/bin/sh\nenv >{tmp_path}/env\nexec {shlex.join(agent.argv)}\n")
    script.chmod(0o755)
    done = prompt(str(script))
    assert done.exit_code == 0, done.stderr
    seen = (tmp_path / "env").read_text()
    assert "SOME_KEY=key\n" in seen
    assert "canary" not in seen


@pytest.mark.parametrize("arguments", [["--prompt", "x"], ["--terminal"]], ids=["prompt", "conversation"])
def test_output_that_nobody_reads_any_more_is_no_crash(tmp_path: Path, arguments: list[str]) -> None:
    command = ["demo", *arguments, "--agent", shlex.join(scenario(tmp_path).argv)]
    with WarmPopen(command, tmp_path, environment(tmp_path)) as process:
        process.stdout.close()
        process.stdin.write(b"go\n")
        process.stdin.flush()
        assert (process.wait(LIMIT), process.stderr.read()) == (1, b"")


@pytest.mark.parametrize(
    ("number", "code", "arguments"), [(signal.SIGTERM, 143, ["--prompt", "go"]), (signal.SIGINT, 130, ["--terminal"])]
)
def test_a_signal_ends_the_demo_and_its_agent_in_order(
    tmp_path: Path, number: signal.Signals, code: int, arguments: list[str]
) -> None:
    """P9: also while it waits for a line from the terminal."""
    agent = scenario(tmp_path, [{"mark": "running"}, {"hang": True}])
    command = ["demo", *arguments, "--agent", shlex.join(agent.argv)]
    with WarmPopen(command, tmp_path, environment(tmp_path)) as process:
        if "--terminal" in arguments:
            process.stdin.write(b"go\n")
            process.stdin.flush()
        until(lambda: agent.marks() == ["running"])
        process.send_signal(number)
        assert process.wait(LIMIT) == code
        assert process.stderr.read() == b""
    assert [alive(pid) for pid in agent.pids()] == [False]
    assert temporary_files(tmp_path) == []


# --- a conversation --------------------------------------------------------------------------------------------------


class Talk:
    """A demo at the other end of pipes."""

    def __init__(self, process: subprocess.Popen[bytes] | WarmPopen) -> None:
        self.process = process
        self.shown = ""

    def type(self, *lines: str) -> None:
        assert self.process.stdin
        self.process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        self.process.stdin.flush()

    def until(self, text: str) -> str:
        """Read on until a text is shown; return all up to it."""
        deadline = time.monotonic() + LIMIT
        while text not in self.shown:
            self._read(deadline, text)
        before, self.shown = self.shown.split(text, 1)
        return before + text

    def end(self, *, close: bool = True) -> str:
        """Close the input, wait for the end and return the rest of the output."""
        assert self.process.stdin
        assert self.process.stdout
        if close:
            self.process.stdin.close()
        rest = self.process.stdout.read().decode()
        assert self.process.stderr
        assert (self.process.wait(LIMIT), self.process.stderr.read()) == (0, b"")
        return self.shown + rest

    def _read(self, deadline: float, text: str) -> None:
        assert self.process.stdout
        number = self.process.stdout.fileno()
        ready, _, _ = select.select([number], [], [], max(0.0, deadline - time.monotonic()))
        data = os.read(number, 65536) if ready else b""
        assert data, f"no {text!r} in {self.shown!r}"
        self.shown += data.decode()


@contextmanager
def talking(
    directory: Path, agent: ScriptedAgent | None = None, *, cold: bool = False, **settings: str
) -> Iterator[Talk]:
    """Talk with a demo, without an agent with its own; ``cold``: as its users start it."""
    # The agent that is tested need not be the one that is installed.
    settings = {"WEFT_AGENT_ENV": "PYTHONPATH", **settings}
    arguments = ["--agent", shlex.join(agent.argv)] if agent else []
    if cold:
        with started(directory, "demo", "--terminal", *arguments, settings=settings) as process:
            yield Talk(process)
    else:
        with WarmPopen(["demo", "--terminal", *arguments], directory, environment(directory, **settings)) as fork:
            yield Talk(fork)


def until(holds: object) -> None:
    deadline = time.monotonic() + LIMIT
    assert callable(holds)
    while not holds():
        assert time.monotonic() < deadline
        select.select([], [], [], 0.01)


@pytest.mark.soak
def test_a_conversation_streams_asks_and_answers_commands(tmp_path: Path) -> None:
    """D6, Q11, V3."""
    with talking(tmp_path, cold=True) as talk:
        talk.until("/quit.\n")
        talk.type("write")
        talk.until("Weft: @owner\n")
        talk.until("1) Allow once")
        talk.until("3) Reject\n")
        talk.type("9")
        assert talk.until("choose 1 to 3\n") == "choose 1 to 3\n"
        talk.type("/foo")
        talk.until("no such command: /foo. ")
        talk.type("1")
        talk.until("I wrote `weft-demo.txt`.")
        talk.until("1 tool")
        talk.type("/status")
        talk.until("Agent")
        talk.type("/queue")
        talk.until("Nothing is waiting here.")
        talk.type("/diff")
        talk.until("+write\n")
        talk.type("/quit")
        talk.end(close=False)
    assert (left_by(tmp_path), temporary_files(tmp_path)) == ([], [])


def test_what_the_agent_changes_is_on_a_branch_and_can_be_shown_committed_and_merged(tmp_path: Path) -> None:
    """W2, W3, W4: in a repository that is gone with the demo."""
    with talking(tmp_path) as talk:
        talk.until("try edit, then /diff, /commit and /merge.\n")
        talk.type("edit Good evening")
        talk.until("3) Reject\n")
        talk.type("1")
        talk.until("I wrote `greeting.py`.")
        talk.until("`weft/edit-good-evening-")
        talk.type("/diff")
        talk.until('+GREETING = "Good evening"\n')
        talk.type("/commit Greet in the evening")
        talk.until("`owner` committed `")
        talk.until("`Greet in the evening`")
        talk.type("/merge")
        talk.until("into `main` · 1 file +1 −1")
        talk.type("/commit")
        talk.until("there is nothing to commit")
        talk.type("/quit")
        talk.end(close=False)
    assert (left_by(tmp_path), temporary_files(tmp_path)) == ([], [])


def test_without_git_the_demo_says_so_and_goes_on(tmp_path: Path) -> None:
    """W2."""
    (tmp_path / "no-programs").mkdir()
    with talking(tmp_path, PATH=str(tmp_path / "no-programs")) as talk:
        talk.until("Without a project to work on, since git is not installed")
        talk.type("say hello")
        talk.until("Weft: hello")
        talk.type("/quit")
        talk.end(close=False)
    assert (left_by(tmp_path), temporary_files(tmp_path)) == ([], [])


def test_the_end_of_input_waits_for_what_was_asked(tmp_path: Path) -> None:
    """D1: an aside gets no answer, so nothing waits for one."""
    with talking(tmp_path, scenario(tmp_path)) as talk:
        talk.type("first", "second", "// an aside", "last")
        shown = talk.end()
    assert [shown.count(f"Weft: {word}") for word in ("first", "second", "//", "last")] == [1, 1, 0, 1]
    assert shown.endswith("\n")


def test_the_end_of_input_ends_a_question_that_nobody_can_answer_now(tmp_path: Path) -> None:
    agent = scenario(tmp_path, [{"permission": {}, "then": {"cancelled": [{"mark": "cancelled"}]}}])
    with talking(tmp_path, agent) as talk:
        talk.type("go", "/new other")
        assert "2) Reject" in talk.end()
    assert not any(alive(pid) for pid in agent.pids())


def test_an_answer_just_before_the_end_of_input_counts(tmp_path: Path) -> None:
    agent = scenario(tmp_path, [{"permission": {}, "then": {"allow": [{"text": "allowed"}]}}])
    with talking(tmp_path, agent) as talk:
        talk.type("go")
        talk.until("2) Reject")
        talk.type("1")
        assert "Weft: allowed" in talk.end()


def test_lines_that_can_not_be_sent_as_they_are_do_no_harm(tmp_path: Path) -> None:
    """Q11: a command is answered once, also before the bot has registered its commands."""
    with talking(tmp_path, scenario(tmp_path)) as talk:
        assert talk.process.stdin
        talk.type("/status", "x" * 3000)
        talk.process.stdin.write(b"a\xffb\n")
        shown = talk.end()
    assert shown.count("0 running, 0 waiting") == 1
    assert "Not sent: 3000 characters are too long" in shown
    assert "Weft: a\ufffdb" in shown


def test_a_file_can_be_the_input(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("one\ntwo")
    arguments = ["demo", "--terminal", "--agent", shlex.join(scenario(tmp_path).argv)]
    shown, errors = tmp_path / "shown", tmp_path / "errors"
    with (tmp_path / "lines").open() as lines, shown.open("wb") as out, errors.open("wb") as err:
        process = warm.start(arguments, tmp_path, environment(tmp_path), lines.fileno(), err.fileno(), out.fileno())
        try:
            assert process.wait_here(LIMIT) == 0
        finally:
            process.close()
    assert errors.read_text() == ""
    assert "Weft: one" in shown.read_text()
    assert "Weft: two" in shown.read_text()


# --- rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("permission", "chosen"), [(Permission.ALLOW, "once"), (Permission.REJECT, "no"), (Permission.WAIT, "once")]
)
def test_only_one_use_is_allowed_never_all_of_them(permission: Permission, chosen: str) -> None:
    """D6."""
    kinds = {"always": "allow_always", "once": "allow_once", "no": "reject_once"}
    options = [PermissionOption(option_id=name, name=name, kind=kind) for name, kind in kinds.items()]
    picked = choice(options, permission)
    assert picked is not None
    assert picked.option_id == chosen


def test_nothing_is_pressed_where_no_option_fits() -> None:
    assert choice([PermissionOption(option_id="a", name="a", kind="allow_always")], Permission.ALLOW) is None


@pytest.mark.parametrize(
    ("text", "fits"), [("x", True), ("x" * TEXT_LIMIT, True), ("x" * (TEXT_LIMIT + 1), False), ("🙂" * 1000, False)]
)
def test_a_text_fits_by_the_units_that_discord_counts(text: str, fits: bool) -> None:
    assert (text_problem(text) == "") is fits


def test_what_was_no_text_on_the_command_line_can_be_sent() -> None:
    assert clean("a\udcffb") == "a?b"
