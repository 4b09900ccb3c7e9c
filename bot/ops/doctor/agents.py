"""Whether each agent starts, introduces itself and opens a session; it is ended with all its processes (P9).

The session is opened in an empty directory that goes again, or where a wrapper has its sessions work, and is deleted
where the agent can do that. No prompt is sent. Sources for what it says of itself: the Agent Client Protocol's
`initialize` and `session/new`, schema version 1. Models come in their own field from agents that follow an older draft,
and as a session's options from others.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio

from acp.connection import AgentConnection, ConnectionLimits, OpenedSession, open_connection
from acp.engine import LaunchSpec
from acp.errors import AcpError, AgentExit, AgentSpawnError, SpawnFailure
from acp.handshake import can_steer
from acp.schema import InitializeResult, SessionResult
from acp.shutdown import StopReport
from bot.ops.doctor.finding import Finding, Verdict, fail, ok, several, warn

Redact = Callable[[str], str]


async def check_agents(agents: Mapping[str, LaunchSpec], limits: ConnectionLimits, redact: Redact) -> list[Finding]:
    """Check one agent after the other. The first is the default: what is wrong with another only warns."""
    findings: list[Finding] = []
    for number, (name, spec) in enumerate(agents.items()):
        found = await check_agent(name, spec, limits, redact)
        if number:
            fails = Verdict.FAIL
            found = [dataclasses.replace(one, verdict=Verdict.WARN) if one.verdict is fails else one for one in found]
        findings += found
    return findings


async def check_agent(name: str, spec: LaunchSpec, limits: ConnectionLimits, redact: Redact = str) -> list[Finding]:
    """Start an agent, let it introduce itself, open a session, end it.

    Args:
        redact: takes secrets out of what the agent wrote to stderr.
    """
    with tempfile.TemporaryDirectory(prefix="weft-doctor-", ignore_cleanup_errors=True) as directory:
        there = spec if spec.session_cwd else dataclasses.replace(spec, cwd=directory)
        return [
            # All of it: an agent may put a secret into its name as well as into an error.
            dataclasses.replace(finding, text=f"{name}: {redact(finding.text)}")
            for finding in await _meet(there, limits)
        ]


async def _meet(spec: LaunchSpec, limits: ConnectionLimits) -> list[Finding]:
    began = anyio.current_time()
    try:
        async with open_connection(spec, limits) as connection:
            took = anyio.current_time() - began
            opened = await _open(connection, spec.directory)
    except AcpError as exc:
        ended = exc.exit if isinstance(exc, AgentSpawnError) else None
        return [fail("initialize", f"{exc}{last_words(ended)}")]
    # After the block, since only its end says what the agent left behind.
    hello = ok("initialize", f"{name_of(connection.agent)}, after {took:.1f} s; {abilities(connection.agent)}")
    session = opened if isinstance(opened, Finding) else _refusal(opened, connection.exit())
    return [hello, session, *_left(connection.stop_report)]


async def _open(connection: AgentConnection, directory: str) -> Finding | AcpError:
    began = anyio.current_time()
    try:
        opened = await connection.open_session(directory, None)
    except AcpError as exc:
        # Not raised: how the agent ended and what it left has to be told as well.
        return exc
    took = anyio.current_time() - began
    trouble = await _delete(connection, opened)
    told = [f"opened after {took:.1f} s", choices(opened.result), trouble]
    return (warn if trouble else ok)("session", "; ".join(filter(None, told)))


async def _delete(connection: AgentConnection, opened: OpenedSession) -> str:
    """Leave no session behind where the agent can forget one; say why that failed, or nothing."""
    try:
        await connection.delete_session(opened.session)
    except AcpError as exc:
        return f"the trial session could not be deleted: {exc}"
    return ""


def _refusal(error: AcpError, ended: AgentExit | None) -> Finding:
    if isinstance(error, AgentSpawnError) and error.failure is SpawnFailure.AUTH_REQUIRED:
        return fail("login", f"{error}")
    return fail("session", f"{error}{last_words(ended)}")


def last_words(ended: AgentExit | None) -> str:
    """Return the last line that the agent wrote to stderr, if it wrote any."""
    lines = [line.strip() for line in ended.stderr_tail.splitlines() if line.strip()] if ended else []
    return f"; its last line on stderr: {lines[-1]}" if lines else ""


def _left(report: StopReport | None) -> list[Finding]:
    pids = report.leaked_pids() if report else ()
    return [warn("left", f"these processes could not be ended: {', '.join(map(str, pids))}")] if pids else []


def default_name(argv: tuple[str, ...]) -> str:
    """Return the name of an agent that the settings give none: its program's."""
    return Path(argv[0]).name


# --- what an agent says of itself ------------------------------------------------------------------------------------


def name_of(agent: InitializeResult) -> str:
    """Return the agent's name and version."""
    who = agent.agent_info
    return f"{who.title or who.name} {who.version}".strip() if who else "an agent without a name"


def abilities(agent: InitializeResult) -> str:
    """Return what the agent announced that makes a difference to Weft."""
    announced = agent.agent_capabilities
    prompts, mcp = announced.prompt_capabilities, announced.mcp_capabilities
    takes = {"images": prompts.image, "audio": prompts.audio, "embedded files": prompts.embedded_context}
    servers = {"stdio": True, "http": mcp.http, "sse": mcp.sse}
    parts = [
        _sessions(agent),
        "takes messages into a running turn" if can_steer(agent) else "",
        f"reads {_present(takes)}" if any(takes.values()) else "reads text only",
        f"MCP over {_present(servers)}",
    ]
    return "; ".join(filter(None, parts))


def _sessions(agent: InitializeResult) -> str:
    announced = agent.agent_capabilities
    more = announced.session_capabilities
    can = {
        "resumed": more.resume is not None,
        "loaded": announced.load_session,
        "forked": more.fork is not None,
        "listed": more.listing is not None,
        "closed": more.close is not None,
        "deleted": more.delete is not None,
    }
    lost = "" if can["resumed"] or can["loaded"] else "sessions end with the process"
    able = f"sessions can be {_present(can)}" if any(can.values()) else ""
    return ", ".join(filter(None, (able, lost)))


def _present(what: dict[str, bool]) -> str:
    return ", ".join(name for name, there in what.items() if there)


def choices(result: SessionResult) -> str:
    """Return the modes and models that a session offers, and which are set."""
    modes = _option(result, "mode") or _listed(result.modes, "availableModes", "id", "currentModeId")
    models = _option(result, "model") or _listed(result.models, "availableModels", "modelId", "currentModelId")
    return "; ".join(filter(None, (_told("modes", *modes), _told("models", *models))))


def _told(what: str, ids: list[str], current: str) -> str:
    return f"{what}: {several(ids)}{f' (set: {current})' if current else ''}" if ids else ""


def _option(result: SessionResult, category: str) -> tuple[list[str], str] | None:
    for option in result.config_options or ():
        # Nothing is taken for granted here: options are passed on as the agent has sent them.
        if option.get("category", option.get("id")) == category and (ids := list(_values(option.get("options")))):
            return ids, _text(option.get("currentValue"))
    return None


def _values(options: Any) -> Iterator[str]:
    """Give the values of a list of options, those in groups as well."""
    for option in options if isinstance(options, list) else ():
        # A group has no value, only further options.
        if isinstance(option, dict) and isinstance(option.get("value"), str):
            yield option["value"]
        elif isinstance(option, dict) and "value" not in option:
            yield from _values(option.get("options"))


def _listed(offer: dict[str, Any] | None, items: str, key: str, current: str) -> tuple[list[str], str]:
    listed = (offer or {}).get(items)
    found = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    return [item[key] for item in found if isinstance(item.get(key), str)], _text((offer or {}).get(current))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
