"""Starting and ending real agent processes."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from acp.engine import LaunchSpec
from acp.errors import AgentSpawnError, SpawnFailure
from acp.process import AgentProcess, agent_environment, named, spawn_error
from acp.shutdown import StopStage
from acp.stderr_tail import STDERR_KEPT
from tests.acp.children import ENV, QUICK_STOP, gone, lines_of, python, with_a_shell
from tests.agents import alive


def script(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


async def refusal(argv0: str, cwd: Path) -> AgentSpawnError:
    with anyio.fail_after(30), pytest.raises(AgentSpawnError) as caught:
        await AgentProcess.start(LaunchSpec(argv=(argv0,), cwd=str(cwd), env=ENV))
    return caught.value


# --- a start that fails ------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("program", ["no-such-program-anywhere", "./missing", "/nonexistent/agent"])
async def test_a_missing_program_is_not_found(program: str, tmp_path: Path) -> None:
    """P7."""
    error = await refusal(program, tmp_path)
    assert error.failure is SpawnFailure.NOT_FOUND
    assert program in str(error)
    assert not error.transient


@pytest.mark.asyncio
async def test_a_file_without_the_executable_bit_is_not_executable(tmp_path: Path) -> None:
    """P7."""
    error = await refusal(script(tmp_path / "agent", "#!/bin/sh\n", 0o644), tmp_path)
    assert error.failure is SpawnFailure.NOT_EXECUTABLE


@pytest.mark.asyncio
async def test_a_script_whose_interpreter_is_missing_says_so(tmp_path: Path) -> None:
    """P7."""
    error = await refusal(script(tmp_path / "agent", "#!/nonexistent/interpreter\n"), tmp_path)
    assert error.failure is SpawnFailure.BAD_FORMAT
    assert "interpreter" in str(error)


@pytest.mark.asyncio
async def test_a_file_that_is_no_program_has_a_bad_format(tmp_path: Path) -> None:
    """P7."""
    error = await refusal(script(tmp_path / "agent", "\x01\x02 garbage"), tmp_path)
    assert error.failure is SpawnFailure.BAD_FORMAT


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["missing", "a file"])
async def test_a_bad_working_directory_is_told_apart_from_a_missing_program(kind: str, tmp_path: Path) -> None:
    """P7."""
    cwd = tmp_path / "here"
    if kind == "a file":
        cwd.write_text("")
    error = await refusal("/bin/true", cwd)
    assert error.failure is SpawnFailure.BAD_DIRECTORY
    assert str(cwd) in str(error)


def test_a_lack_of_resources_may_pass() -> None:
    """P7."""
    error = spawn_error(LaunchSpec(("/bin/true",), "/", ENV), OSError(24, "Too many open files"))
    assert error.failure is SpawnFailure.OTHER
    assert error.transient
    assert "Too many open files" in str(error)


# --- while it runs -----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_the_agent_gets_its_environment_its_directory_and_a_marker_and_nothing_else(tmp_path: Path) -> None:
    """P9, R5."""
    source = "import os; print(sorted(os.environ.items()), os.getcwd(), os.getsid(0) == os.getpid(), sep='\\n')"
    process = await AgentProcess.start(python(source, tmp_path))
    with anyio.fail_after(30):
        await process.wait()
        environ, cwd, leads = (await process.stdout.receive()).decode().splitlines()
    expected = {"PATH": ENV["PATH"], "WEFT_AGENT": process.marker}
    found = {name: value for name, value in eval(environ) if name != "LC_CTYPE"}  # set by Python itself
    assert (expected, str(tmp_path), "True") == (found, cwd, leads)
    await process.stop(QUICK_STOP)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("act", "described"), [("sys.exit(3)", "exit status 3"), ("os.kill(os.getpid(), 9)", "signal 9 (SIGKILL)")]
)
async def test_the_end_says_how_it_came(act: str, described: str, tmp_path: Path) -> None:
    """T1."""
    process = await AgentProcess.start(python(f"import os, sys; {act}", tmp_path))
    with anyio.fail_after(30):
        ended = await process.wait()
    assert ended.describe() == described
    assert process.exit() == ended
    assert (await process.stop(QUICK_STOP)).stage is StopStage.GONE


@pytest.mark.asyncio
async def test_the_end_is_seen_although_a_process_it_started_holds_the_pipes(tmp_path: Path) -> None:
    """T1."""
    process = await AgentProcess.start(with_a_shell(tmp_path, "sys.exit(4)"))
    with anyio.fail_after(30):
        [shell] = await lines_of(tmp_path / "pids", 1)
        await gone(process.pid)
        with anyio.fail_after(30):
            ended = await process.wait()
    assert ended.returncode == 4
    assert alive(int(shell))
    await process.stop(QUICK_STOP)
    assert not alive(int(shell))


@pytest.mark.asyncio
async def test_the_last_64_kib_of_stderr_are_kept(tmp_path: Path) -> None:
    """T9."""
    source = "import sys; sys.stderr.write('x' * 1_000_000 + 'the end'); sys.exit(1)"
    process = await AgentProcess.start(python(source, tmp_path))
    with anyio.fail_after(30):
        await process.drain_stderr()
        ended = await process.wait()
    assert len(ended.stderr_tail) == STDERR_KEPT
    assert ended.stderr_tail.endswith("xthe end")
    await process.stop(QUICK_STOP)


# --- which environment it gets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("HOME", "PATH", "LANG", "LC_ALL", "TZ", "TERM", "TMPDIR", "USER", "SHELL", "XDG_STATE_HOME", "SSL_CERT_FILE"),
        *("NODE_EXTRA_CA_CERTS", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"),
    ],
)
def test_what_programs_need_to_run_is_let_through(name: str) -> None:
    """R5."""
    assert agent_environment({name: "x"}, ()) == {name: "x"}


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "HOMER", "WEFT_AGENT", "LD_PRELOAD"])
def test_everything_else_stays_with_the_bot(name: str) -> None:
    """R5."""
    assert agent_environment({name: "x"}, ()) == {}


def test_names_from_the_settings_are_let_through() -> None:
    """R5."""
    environ = {"API_KEY": "1", "TOOL_A": "2", "TOOL_B": "3", "TOO": "4"}
    assert agent_environment(environ, ["API_KEY", "TOOL_*"]) == {"API_KEY": "1", "TOOL_A": "2", "TOOL_B": "3"}
    assert named(environ, iter(["API_KEY", "TOOL_*"])) == {"API_KEY": "1", "TOOL_A": "2", "TOOL_B": "3"}


@pytest.mark.parametrize(
    "name", ["DISCORD_TOKEN", "WEFT_DATABASE_URL", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]
)
@pytest.mark.parametrize("extra", ["itself", "*"])
def test_the_token_and_the_supervisor_are_withheld_even_when_asked_for(name: str, extra: str) -> None:
    """R5."""
    assert agent_environment({name: "x"}, [name if extra == "itself" else extra]) == {}


@pytest.mark.parametrize("extra", ["PGPASSWORD", "PG*", "*"])
def test_the_databases_password_is_withheld_where_the_state_is_in_one(extra: str) -> None:
    """R5: whose password it is else is for the settings to say."""
    password = {"PGPASSWORD": "secret"}
    assert agent_environment(password, [extra]) == password
    assert agent_environment(password | {"WEFT_DATABASE_URL": "postgresql://weft@db/weft"}, [extra]) == {}
