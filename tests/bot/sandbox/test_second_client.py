"""The loopback Discord with a client library of other hands and another language: discord.js, unmodified.

What only discord.py forgives would show here. The library comes from npm with the versions of its lock and is kept
beside the virtual environment; where that or Node is missing, the test says so and is skipped.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.text import TextReceiveStream

from bot.sandbox import CallbackType, FakeDiscord

pytestmark = pytest.mark.asyncio

HERE = Path(__file__).parent / "second_client"
INSTALL_SECONDS = 45.0
OLDEST_NODE = 18


@pytest.fixture(scope="module")
def modules() -> Path:
    """The directory with the installed library."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("discord.js needs Node and npm")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"discord.js needs Node {OLDEST_NODE} or newer, this is {version.strip()}")
    stamp = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    installed = Path(sys.prefix) / "node-clients" / stamp
    if not installed.is_dir():
        _install(npm, installed)
    return installed


def _install(npm: str, place: Path) -> None:
    """Install into a directory beside it first, so that a half of it is never taken for the whole."""
    place.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, made)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        try:
            subprocess.run(command, cwd=made, capture_output=True, text=True, check=True, timeout=INSTALL_SECONDS)
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm did not install discord.js within {INSTALL_SECONDS:.0f} s")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"npm can't install discord.js: {error.stderr.strip()[:200]}")
        if not place.is_dir():
            made.rename(place)


@asynccontextmanager
async def running(fd: FakeDiscord, modules: Path) -> AsyncIterator[Process]:
    """The client as a process of its own, which ends with its standard input."""
    environment = {
        "PATH": str(Path(shutil.which("node") or "").parent),
        "NODE_CLIENT_MODULES": str(modules),
        "DISCORD_API": f"{fd.url}/api",
        "DISCORD_TOKEN": fd.token,
    }
    async with await anyio.open_process(["node", str(HERE / "client.mjs")], env=environment, stderr=None) as process:
        try:
            yield process
            assert process.stdin is not None
            await process.stdin.aclose()
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()


async def told(output: ByteReceiveStream) -> list[dict[str, Any]]:
    """All that the client said until its end."""
    text = "".join([part async for part in TextReceiveStream(output)])
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.soak
async def test_discord_js_receives_posts_edits_answers_and_resumes(modules: Path) -> None:
    with anyio.fail_after(30):
        async with FakeDiscord() as fd, running(fd, modules) as client:
            assert client.stdout is not None
            alice = fd.user("alice")
            await fd.ready.wait()
            await alice.say(fd.channel_id, "hello")
            answered = await fd.wait_message(fd.channel_id, lambda m: m.content == "you said hello")
            pressed = await alice.click(answered.id, "go")
            await fd.wait_message(fd.channel_id, lambda m: m.content == "and more")

            assert pressed.kind is CallbackType.UPDATE
            assert fd.message(answered.id).content == "alice pressed"
            assert fd.message(answered.id).components == []

            await fd.gateway.close(4000)
            await alice.say(fd.channel_id, "missed")
            await fd.wait_message(fd.channel_id, lambda m: m.content == "you said missed")
            await fd.wait_for(lambda f: len(f.rest_calls("PUT", "/reactions")) == 2)

            assert (fd.gateway.identifies, fd.gateway.resumes) == (1, 1)
            assert [one.status for one in fd.rest_calls() if one.status >= 400] == []
            assert client.stdin is not None
            await client.stdin.aclose()
            heard = await told(client.stdout)

    assert heard[0] == {"event": "ready", "user": "Weft", "channels": ["general"]}
    assert heard[1:] == [{"event": "message", "text": text, "author": "alice"} for text in ("hello", "missed")]
