"""Child processes for tests: small Python programs, and ways to look at them."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import anyio

from acp.connection import AgentConnection
from acp.engine import LaunchSpec
from acp.shutdown import StopLimits
from tests.agents import alive

AGENT = """
import json, os, sys, time

def say(*messages):
    os.write(1, b"".join(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\\n" for message in messages))

def hear(method=None):
    while True:
        line = sys.stdin.readline()
        if not line:
            sys.exit(0)
        message = json.loads(line)
        with open("heard", "a") as log:
            log.write(line)
        if method is None or message.get("method") == method:
            return message

def answer(message, result):
    say({"id": message["id"], "result": result})

def refuse(message, code, text="no"):
    say({"id": message["id"], "error": {"code": code, "message": text}})

def greet(**agent):
    answer(hear("initialize"), {"protocolVersion": 1, **agent})

def open_session(name="s1"):
    answer(hear("session/new"), {"sessionId": name})

def update(name="s1", **fields):
    return {"method": "session/update", "params": {"sessionId": name, "update": fields}}

def text(words, name="s1"):
    return update(name, sessionUpdate="agent_message_chunk", content={"type": "text", "text": words})

def permission(number, name="s1"):
    options = [{"optionId": "yes", "name": "Yes", "kind": "allow_once"}]
    params = {"sessionId": name, "toolCall": {"toolCallId": "t", "title": "rm"}, "options": options}
    return {"id": number, "method": "session/request_permission", "params": params}

def question(number, **params):
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    params = {"sessionId": "s1", "mode": "form", "message": "Who?", "requestedSchema": schema, **params}
    return {"id": number, "method": "elicitation/create", "params": params}

def page(number, **params):
    where = {"mode": "url", "url": "https://example.org/login", "elicitationId": "e1"}
    return question(number, **{**where, **params})

def listen():
    while True:
        hear()
"""

ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin"}

QUICK_STOP = StopLimits(eof=0.3, term=0.3, kill=1.0)


def python(source: str, cwd: Path) -> LaunchSpec:
    """Return what starts a Python program quickly."""
    return LaunchSpec(argv=(sys.executable, "-I", "-S", "-c", source), cwd=str(cwd), env=ENV)


def agent(source: str, cwd: Path) -> LaunchSpec:
    """Return what starts an agent that does what ``source`` says, in the words of `AGENT`, and then listens."""
    return python(f"{AGENT}\n{dedent(source)}\nlisten()", cwd)


def with_a_shell(cwd: Path, then: str, *, environment: str = "None", pipes: str = "") -> LaunchSpec:
    """Return what starts a program that starts a shell in its own session, writes its id to ``pids``, and goes on."""
    return python(
        "import os, subprocess, sys\n"
        f"child = subprocess.Popen(['sleep', '60'], start_new_session=True, env={environment}, {pipes})\n"
        f"open('pids', 'w').write(f'{{child.pid}}\\n')\n{then}",
        cwd,
    )


async def lines_of(path: Path, count: int) -> list[str]:
    """Return the lines of a file once it has that many whole ones."""
    while (text := _text(path)).count("\n") < count:  # noqa: ASYNC110 - another process writes it
        await anyio.sleep(0.01)
    return text.splitlines()


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def pid_of(connection: AgentConnection) -> int:
    """Return the id of an agent's process, which is on this machine."""
    assert connection.pid is not None
    return connection.pid


async def gone(pid: int) -> None:
    """Wait until the process has ended."""
    while alive(pid):  # noqa: ASYNC110 - nobody tells of the end of a process that is not ours
        await anyio.sleep(0.01)
