"""What an agent can reach, and what it leaves behind, behind each wrapper of ``docs/isolation.md`` (R5, P9)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot import __file__ as bot_file
from tests.agents.scenario import SCRIPT, ScriptedAgent
from tests.e2e.process import connected, mention, until_shown
from tests.e2e.walls import Walled, walled, works
from tests.recipes import wrapper

OPEN_TO_THE_SAME_USER = {
    "token in an environment",
    "environment of the bot",
    "credential",
    "files of the bot",
    "state",
}
"""What is not closed to a process of the bot's user, or only by the bot's own doing; see ``docs/limits.md``."""


def needs(*argv: str) -> pytest.MarkDecorator:
    """Skip a test where a wrapper is missing or not allowed to do its work, with the reason."""
    reason = works(*argv)
    return pytest.mark.skipif(bool(reason), reason=reason)


pytestmark = pytest.mark.usefixtures("cold_start")  # agents look into the bot's own environment

bubblewrapped = needs("bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "true")


def installed_elsewhere() -> list[Path]:
    """Return where the code is that agents' servers run, if it is not the one that is tested: that is let in as is."""
    show = [sys.executable, "-P", "-c", "import bot; print(bot.__path__[0])"]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = Path(subprocess.run(show, env=variables, capture_output=True, text=True, check=True).stdout.strip())
    return [found] if found != Path(bot_file).parent else []


def bubblewrap() -> list[str]:
    """Return the printed recipe, with what the scripted agent needs beside a real one: its source."""
    printed = wrapper("Bubblewrap")
    places = [str(place) for place in (SCRIPT.parent, *installed_elsewhere())]
    workspace = printed.index("--bind")
    return [*printed[:workspace], *(word for one in places for word in ("--ro-bind", one, one)), *printed[workspace:]]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    path = tmp_path / "workspace"
    path.mkdir()
    return path


async def converse(walled_bot: Walled) -> None:
    """Two prompts in a thread, and a thread beside it."""
    thread_id = await walled_bot.ask("hello")
    said = await walled_bot.discord.owner.say(thread_id, "hello")
    await walled_bot.discord.wait_for(
        lambda fd: any(one.reference_id == said.id and "hello is done" in one.content for one in fd.messages(thread_id))
    )
    await walled_bot.ask("hello")


@bubblewrapped
@pytest.mark.asyncio
async def test_in_bubblewrap_the_conversation_works_and_the_five_paths_are_closed(
    tmp_path: Path, workspace: Path
) -> None:
    """R5: own environment, the bot's, the credential, open files, the state: the agent sees none of it."""
    async with walled(tmp_path, workspace, bubblewrap()) as walled_bot:
        await converse(walled_bot)
        assert await walled_bot.probe() == []
        assert await walled_bot.bot.signalled(signal.SIGTERM) == 0
        await walled_bot.until_gone()
        walled_bot.discord.assert_clean()


@pytest.mark.soak
@bubblewrapped
@pytest.mark.asyncio
async def test_in_bubblewrap_an_agent_has_its_tools(tmp_path: Path, workspace: Path) -> None:
    """M1: by nothing but what the recipe lets in."""
    async with walled(tmp_path, workspace, bubblewrap()) as walled_bot:
        thread_id = await walled_bot.ask("tools")
        (answer,) = [one.content for one in walled_bot.discord.messages(thread_id) if "tools is done" in one.content]
        assert "read_thread" in answer
        assert "It reads." in answer, "the socket is within its reach"
        assert await walled_bot.bot.signalled(signal.SIGTERM) == 0
        await walled_bot.until_gone()


@pytest.mark.soak
@bubblewrapped
@pytest.mark.asyncio
async def test_in_bubblewrap_a_daemon_without_any_mark_ends_with_its_agent(tmp_path: Path, workspace: Path) -> None:
    """P9: what cleared its environment and forked twice is found by nothing but its namespace."""
    async with walled(tmp_path, workspace, bubblewrap()) as walled_bot:
        thread_id = await walled_bot.ask("leave")
        assert len(walled_bot.napping()) == 1
        assert await (await walled_bot.discord.owner.slash(thread_id, "reset")).told()
        await walled_bot.until_gone()
        await walled_bot.ask("hello")
        assert await walled_bot.bot.signalled(signal.SIGTERM) == 0


@pytest.mark.soak
@bubblewrapped
@pytest.mark.asyncio
async def test_in_bubblewrap_nothing_outlives_a_bot_that_was_killed(tmp_path: Path, workspace: Path) -> None:
    """P9: without a next start that would look for it, and although the agent does not care that nobody listens."""
    async with walled(tmp_path, workspace, bubblewrap(), ignore_eof=True) as walled_bot:
        await walled_bot.ask("leave")
        assert len(walled_bot.napping()) == 1
        walled_bot.bot.process.kill()
        await walled_bot.until_gone()


@pytest.mark.soak
@bubblewrapped
@pytest.mark.asyncio
async def test_in_bubblewrap_a_thread_does_not_see_the_directory_of_another(tmp_path: Path, workspace: Path) -> None:
    """R5: each has its own, and there is nothing else."""
    (workspace / "secret").write_text("of another thread")
    threads = tmp_path / "threads"
    threads.mkdir()
    look = f"ls {workspace} {threads} / >{threads}/$(basename $PWD)/seen 2>&1"
    printed = [*wrapper("Bubblewrap"), "sh", "-c", f"{look}; exec sleep 60"]
    (tmp_path / "weft.toml").write_text(
        f"[agents.walled]\ncommand = 'ignored'\nworkspace = '{threads}/{{thread_id}}'\n"
        f"wrapper = {printed!r}\nstart_timeout = 3.0\n"
    )
    await look_around(tmp_path, threads, workspace)


async def look_around(directory: Path, threads: Path, hidden: Path) -> None:
    """Let a program that is no agent look around where two agents would start."""
    nobody = ScriptedAgent((), directory / "none")
    async with connected(directory, nobody, WEFT_AGENT_COMMAND="") as (discord, bot):
        for _ in range(2):
            thread_id = await mention(discord, "go")
            await until_shown(discord, thread_id, "could not start")
            seen = (threads / str(thread_id) / "seen").read_text()
            assert f"cannot access '{hidden}'" in seen
            assert [line for line in seen.splitlines() if line.isdigit()] == [str(thread_id)]
            assert "var" not in seen.split()
        assert await bot.signalled(signal.SIGTERM) == 0


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that other users may enter, with the scripted agent in it."""
    with tempfile.TemporaryDirectory(prefix="weft-test-", dir="/tmp") as name:
        place = Path(name)
        place.chmod(0o755)
        for source in SCRIPT.parent.glob("*.py"):
            shutil.copy(source, place)
        yield place


def python_for_others(prefix: list[str]) -> str:
    """Return an interpreter that another user may run, or why there is none."""
    return next((one for one in (sys.executable, "/usr/bin/python3") if not works(*prefix, one, "-c", "")), "")


@pytest.mark.soak
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.asyncio
async def test_as_another_user_the_five_paths_are_closed_and_nothing_is_left(tmp_path: Path, open_place: Path) -> None:
    """R5, P9"""
    recipe = [word.replace("=weft-agent", "=nobody") for word in wrapper("Another user")]
    recipe = ["--regid=nogroup" if word.startswith("--regid") else word for word in recipe]
    python = python_for_others(recipe)
    if not python:
        pytest.skip("nobody may run no Python here")
    workspace = open_place / "workspace"
    workspace.mkdir()
    shutil.chown(workspace, "nobody", "nogroup")
    program = [python, "-I", "-S", str(open_place / SCRIPT.name)]
    async with walled(tmp_path, workspace, recipe, program) as walled_bot:
        await converse(walled_bot)
        assert await walled_bot.probe() == []
        await walled_bot.ask("hello")
        assert await walled_bot.bot.signalled(signal.SIGTERM) == 0
        await walled_bot.until_gone()


@pytest.mark.asyncio
async def test_without_a_wall_the_token_is_neither_handed_over_nor_in_the_state(
    tmp_path: Path, workspace: Path
) -> None:
    """R5: what an agent of the bot's user finds elsewhere is in docs/limits.md."""
    async with walled(tmp_path, workspace, []) as walled_bot:
        await converse(walled_bot)
        assert set(await walled_bot.probe()) <= OPEN_TO_THE_SAME_USER
        assert await walled_bot.bot.signalled(signal.SIGTERM) == 0
