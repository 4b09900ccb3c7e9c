"""``weft demo`` as a process: its page is there before its bot, and it leaves nothing behind, whenever it is ended."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.commands import LIMIT, environment, left_by, started, weft
from tests.repeat import in_soak

ADDRESS = re.compile(r"Weft's demo is open at (http://127\.0\.0\.1:(\d+)/)#(\S+) \(Ctrl-C ends it\)\.\n")
# Every Python that is started imports this first: the bot's process waits until it is let go.
HELD = """
import sys
import tempfile
if "bot.demo.bot_process" in sys.orig_argv:
    open({gate!r}).read()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short path, below which everything is made that is temporary."""
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        yield Path(made)


class Page:
    """A demo at the other end of HTTP."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        ready, _, _ = select.select([process.stdout], [], [], LIMIT)
        assert ready
        line = process.stdout.readline().decode()
        found = ADDRESS.fullmatch(line)
        assert found, line
        self.url, self.port, self.key = found[1], int(found[2]), found[3]

    def get(self, path: str) -> bytes:
        return self._open(path, None)

    def call(self, path: str, body: Any = None) -> Any:
        return json.loads(self._open(f"_sandbox/{path}", None if body is None else json.dumps(body).encode()))

    def _open(self, path: str, data: bytes | None) -> bytes:
        headers = {"Content-Type": "application/json", "X-Sandbox-Key": self.key}
        request = urllib.request.Request(self.url + path, data, headers)
        # No proxy of this machine's environment may come between.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=LIMIT) as answer:
            return bytes(answer.read())

    def until_shown(self, thread: str, text: str) -> None:
        """Ask again until the thread shows a text; each question is a request, so that nobody spins."""
        for _ in range(int(LIMIT * 20)):
            try:
                shown = self.call(f"timeline?channel={thread}")
            except urllib.error.HTTPError:
                shown = {"messages": []}  # the thread is not there yet
            if any(text in message["content"] for message in shown["messages"]):
                return
            select.select([], [], [], 0.05)
        raise AssertionError(text)


@contextmanager
def held_demo(directory: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Start a demo whose bot waits at a gate: a pipe in the file system that opens once somebody writes to it."""
    gate, hooks = directory / "gate", directory / "hooks"
    os.mkfifo(gate)
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(HELD.format(gate=str(gate)))
    path = os.pathsep.join([str(hooks), *filter(None, [os.environ.get("PYTHONPATH")])])
    settings = {"PYTHONPATH": path, "WEFT_AGENT_ENV": "PYTHONPATH"}
    with started(directory, "demo", *arguments, settings=settings) as process:
        yield process, gate


def nothing_is_left(directory: Path, port: int | None = None) -> None:
    assert left_by(directory) == []
    assert list((directory / "tmp").iterdir()) == []
    if port is not None:
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), LIMIT):
            pass


def test_a_page_answers_before_its_bot_is_there(place: Path) -> None:
    """R2: what is written until then is answered when it is; without a terminal to read from, too."""
    with held_demo(place) as (process, gate):
        page = Page(process)
        assert b"<!doctype html>" in page.get("").lower()
        session = page.call("session")
        assert [one["name"] for one in session["people"]] == ["owner", "ana", "ben", "sam"]
        assert all(one["note"] and one["role"] for one in session["people"])
        assert session["tour"]
        assert {"restart-bot", "kill-bot", "kill-agent"} <= {one["id"] for one in session["controls"]}
        assert session["connected"] is False
        early = page.call("say", {"text": "say it was early", "mention": True})["id"]
        gate.write_text("")
        page.until_shown(early, "it was early\n")
        process.send_signal(signal.SIGINT)
        assert (process.wait(LIMIT), process.stderr.read() if process.stderr else b"?") == (130, b"")
    nothing_is_left(place, page.port)


@pytest.mark.parametrize("number", [signal.SIGTERM, *in_soak([signal.SIGINT, signal.SIGHUP])])
def test_a_signal_in_the_start_ends_all(place: Path, number: signal.Signals) -> None:
    """P9: the bot's process is there, and does not listen yet."""
    with held_demo(place) as (process, gate):
        # The other end is opened by the bot's process alone, before anything else of it.
        descriptor = os.open(gate, os.O_WRONLY)
        process.send_signal(number)
        process.send_signal(number)  # once more: nobody is patient
        assert process.wait(LIMIT) == 128 + number
        os.close(descriptor)
        assert process.stderr
        assert process.stderr.read() == b""
    nothing_is_left(place)


def test_a_terminal_with_a_display_gets_the_page_in_the_browser(place: Path) -> None:
    """The browser may take as long as it likes, and the terminal is not its."""
    browser, opened = place / "browser", place / "opened"
    browser.write_text(f'#!/bin/sh\nmkfifo {place}/never\necho "$TERM $1" >{opened}\ncat {place}/never\n')
    browser.chmod(0o755)
    reads, terminal = os.openpty()
    env = environment(place, DISPLAY=":99", BROWSER=str(browser), TERM="xterm")
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "bot", "demo"], cwd=place, env=env, stdin=subprocess.DEVNULL, stdout=terminal
    ) as process:
        try:
            found = re.search(r"http://\S+", os.read(reads, 4096).decode())
            assert found
            for _ in range(int(LIMIT * 20)):
                if opened.exists() and opened.read_text():
                    break
                select.select([], [], [], 0.05)
            address, once = opened.read_text().strip().split("#")
            # Every process can read what the browser was started with, so that is good for one opening.
            assert opened.read_text()[0] == " "
            assert (address, once != found[0].partition("#")[2]) == (found[0].partition("#")[0], True)
            process.send_signal(signal.SIGINT)
            assert process.wait(LIMIT) == 130
            # The browser is the person's, and stays open.
            os.close(os.open(place / "never", os.O_WRONLY | os.O_NONBLOCK))
        finally:
            process.kill()
            os.close(reads)
            os.close(terminal)


@pytest.mark.soak
def test_two_signals_in_a_turn_end_all_at_once(place: Path) -> None:
    """P9: the agent and what waits included."""
    with started(place, "demo", "--no-open", settings={"WEFT_AGENT_ENV": "PYTHONPATH"}) as process:
        page = Page(process)
        thread = page.call("say", {"text": "wait 600", "mention": True})["id"]
        page.until_shown(thread, "Waiting. Stop me")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        assert (process.wait(LIMIT), process.stderr.read() if process.stderr else b"?") == (130, b"")
    nothing_is_left(place, page.port)


@pytest.mark.soak
def test_the_bot_ends_by_itself_when_nobody_serves_its_page_any_more(place: Path) -> None:
    """P9: of a killed demo no process is left."""
    with started(place, "demo", settings={"WEFT_AGENT_ENV": "PYTHONPATH"}) as process:
        page = Page(process)
        thread = page.call("say", {"text": "wait 600", "mention": True})["id"]
        page.until_shown(thread, "Waiting. Stop me")
        process.kill()
        process.wait(LIMIT)
        for _ in range(int(LIMIT * 10)):
            if not left_by(place):
                break
            select.select([], [], [], 0.1)
    assert left_by(place) == []


def test_a_port_that_is_taken_is_one_line_and_78(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = weft(place, "demo", "--port", str(port))
    assert (done.returncode, done.stdout) == (78, "")
    assert re.fullmatch(rf"weft: --port {port}: .*in use.*\n", done.stderr)
    nothing_is_left(place)


def test_the_page_needs_nothing_of_the_bot() -> None:
    """What makes it answer within a second: each of these takes longer to import than all that it needs."""
    code = "import sys, bot.demo.page, bot.demo.cast, bot.demo.tour; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, timeout=LIMIT)
    heavy = {"discord", "pydantic", "sqlalchemy", "mcp", "structlog", "PIL", "bot.app", "bot.config"}
    assert heavy & set(done.stdout.split()) == set()
