"""Two secrets, given in each way there is: they stand nowhere but where they have to (R5)."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path

import aiohttp
import anyio
import anyio.to_thread
import psutil
import pytest

from bot.sandbox import FakeDiscord
from tests.agents import ScriptedAgent, Step, scenario
from tests.commands import environment
from tests.e2e.play import LIMIT
from tests.e2e.process import Run, mention, run, shown, until_answered, until_shown
from tests.repeat import in_soak
from tests.warm import WarmPopen

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("cold_start")]

KEY = "canary_0f1e2d3c_4b5a*6978*8796~a5b4`c3d2"
NAME = "CANARY_API_KEY"
OPENED = "health.sock"


def agents(directory: Path, token: str) -> tuple[dict[str, ScriptedAgent], Path]:
    """Write three agents that give away what they know: one has the key, one has not, one fails to start."""
    (directory / "scenarios").mkdir()
    workspace = directory / "workspace"
    workspace.mkdir()
    told = f"{token} and {KEY}"
    leak: list[Step] = [
        {"thought": told},
        {"tool": {"title": told, "output": told}},
        {"stderr": f"{told}\n"},
        {"text": f"this: {told}, all", "chunks": 3},
    ]
    dying = {"stderr": told, "exit": 3}
    found = {
        "keyed": scenario(directory / "scenarios", words={"leak": leak}),
        "other": scenario(directory / "scenarios", words={"leak": leak}),
        "dying": scenario(directory / "scenarios", start=dying),
    }
    lines = ["default = 'keyed'"]
    for name, agent in found.items():
        lines += [f"[agents.{name}]", f"command = {list(agent.argv)!r}", f"workspace = '{workspace}'"]
        lines += [f"env = ['{NAME}']"] if name == "keyed" else []
    (directory / "weft.toml").write_text("\n".join(lines))
    return found, workspace


def given(way: str, directory: Path, token: str) -> tuple[list[str], str, dict[str, str]]:
    """Return options, standard input and variables that hand the secrets over in one of the ways."""
    place = directory / "given" / "discord-token"
    place.parent.mkdir()
    place.write_text(f"{token}\n")
    variables = {"DISCORD_TOKEN": "", NAME: KEY}
    match way:
        case "stdin":
            return ["--token-stdin"], str(place), variables
        case "credential":
            return [], "", variables | {"CREDENTIALS_DIRECTORY": str(place.parent)}
        case "variable":
            return [], "", variables | {"DISCORD_TOKEN": token}
    (directory / ".env").write_text(f"DISCORD_TOKEN={token}\n{NAME}={KEY}\n")
    return [], "", {"DISCORD_TOKEN": ""}


def holders(secret: str, processes: Iterable[psutil.Process]) -> list[int]:
    return [one.pid for one in processes if any(secret in value for value in one.environ().values())]


async def asked(bot_socket: Path) -> str:
    """Return all that the bot says about itself."""
    said = ""
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(bot_socket))) as session:
        for path in ("healthz", "metrics"):
            async with session.get(f"http://localhost/{path}") as answer:
                said += await answer.text()
    return said


async def commanded(directory: Path, *arguments: str, **variables: str) -> str:
    """Return what a command says that is given the same settings."""

    def run_to_its_end() -> bytes:
        with WarmPopen(arguments, directory, environment(directory, **variables)) as process:
            process.stdin.close()
            return process.stdout.read() + process.stderr.read()

    return (await anyio.to_thread.run_sync(run_to_its_end)).decode()


async def talk(discord: FakeDiscord) -> str:
    """Let all three agents leak; return what Discord was told."""
    threads = [await mention(discord, "leak")]
    await until_answered(discord, threads[0], ", all")
    for name, end in (("other", ", all\n-# "), ("dying", "could not start")):
        before = {thread.id for thread in discord.threads()}
        await discord.owner.slash(discord.channel_id, "new", agent=name, prompt="leak")
        await discord.wait_for(lambda fd: {thread.id for thread in fd.threads()} - before)  # noqa: B023
        threads += {thread.id for thread in discord.threads()} - before
        await until_shown(discord, threads[-1], end)
    return "\n".join(shown(discord, place) for place in (discord.channel_id, *threads))


def contents(*directories: Path) -> bytes:
    return b"".join(path.read_bytes() for one in directories for path in one.rglob("*") if path.is_file())


@pytest.mark.long(20)
@pytest.mark.parametrize("way", ["variable", *in_soak(["stdin", "credential", "file"])])
async def test_the_secrets_are_nowhere_but_with_the_agent_that_has_the_key(tmp_path: Path, way: str) -> None:
    """R5, R7: no environment, log line, metric, answer, message or file, although agents say them."""
    async with FakeDiscord() as discord:
        found, workspace = agents(tmp_path, discord.token)
        options, stdin, secret = given(way, tmp_path, discord.token)
        more = secret | {"WEFT_AGENT_COMMAND": "", "WEFT_WORKSPACE": "", "WEFT_LOG_LEVEL": "debug"}
        more["WEFT_HEALTH"] = f"unix:{tmp_path / OPENED}"
        async with run(tmp_path, discord.api_url, "", found["keyed"], *options, stdin=stdin, **more) as bot:
            with anyio.fail_after(LIMIT):
                await discord.ready.wait()
                said = {"discord": await talk(discord), "health": await asked(tmp_path / OPENED)}
                here = {"WEFT_DISCORD_API": discord.api_url} | more
                said["status"] = await commanded(tmp_path, "status", **here)
                # What came on the standard input is known to nobody else: the doctor has to be told anew.
                here |= {"DISCORD_TOKEN": discord.token} if stdin else {}
                said["doctor"] = await commanded(tmp_path, "doctor", **here)
                check_environments(bot, found["keyed"], discord.token)
            assert await bot.signalled(signal.SIGTERM) == 0
        said["requests"] = "".join(repr(call.body) for call in discord.rest_calls())
        said |= {"log": bot.said, "files": contents(tmp_path / "state", workspace).decode(errors="replace")}
        assert [name for name, text in said.items() if bare(discord.token) in bare(text)] == []
        assert [name for name, text in said.items() if bare(KEY) in bare(text)] == []
        assert said["discord"].count("[secret]") >= 4
        assert "is healthy" in said["status"]
        assert "initialize" in said["doctor"]
        discord.assert_clean()


def check_environments(bot: Run, keyed: ScriptedAgent, token: str) -> None:
    children = psutil.Process(bot.process.pid).children(recursive=True)
    assert len(children) == 2
    assert holders(token, children) == []
    assert holders(KEY, children) == [one.pid for one in children if one.cmdline()[-1] == keyed.argv[-1]]


def bare(text: str) -> str:
    """Return the text without what keeps Discord from taking it for markup."""
    return text.replace("\\", "").replace("\u200b", "")
