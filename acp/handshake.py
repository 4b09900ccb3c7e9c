"""What is said to an agent before its first prompt, and what its answers mean (pure)."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import ValidationError

from acp.elicitation import ElicitationMode
from acp.errors import (
    AUTH_REQUIRED,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    RESOURCE_NOT_FOUND,
    AcpError,
    AgentExited,
    AgentSpawnError,
    ProtocolError,
    RequestFailed,
    RequestTimeout,
    SpawnFailure,
)
from acp.schema import PROTOCOL_VERSION, Implementation, InitializeResult, SessionResult

UNKNOWN_SESSION = (RESOURCE_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR)
"""What real agents answer when they do not know a session; everything else leaves the session as it is."""

How = Literal["new", "resumed", "loaded", "copied"]
"""How a session came about; ``copied``: it is a copy of another one, made for good."""


def introduction(elicitation: Iterable[ElicitationMode] = ()) -> dict[str, Any]:
    """Return the parameters of ``initialize``; ``elicitation``: the kinds of questions that people can be asked."""
    client = Implementation(name="weft", version=importlib.metadata.version("weft"))
    # Nothing is offered: an agent has its own files and terminals, which its own sandbox and permissions guard.
    capabilities: dict[str, Any] = {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False}
    # An agent leaves out options that are on or off, unless this says that they can be shown and set.
    capabilities["session"] = {"configOptions": {"boolean": {}}}
    # An agent may take its question tool away from the model, or offer it, by this alone.
    if modes := [*elicitation]:
        capabilities["elicitation"] = {mode: {} for mode in modes}
    return {"protocolVersion": PROTOCOL_VERSION, "clientCapabilities": capabilities, "clientInfo": client.to_wire()}


def understood(raw: Any) -> InitializeResult:
    """Return the agent's answer to ``initialize``.

    Raises:
        AgentSpawnError: it is malformed, or of a protocol version other than ours.
    """
    try:
        agent = InitializeResult.parse(raw)
    except ValidationError as exc:
        text = "the agent's answer to initialize is malformed"
        raise AgentSpawnError(text, failure=SpawnFailure.PROTOCOL) from exc
    if agent.protocol_version != PROTOCOL_VERSION:
        text = f"the agent speaks protocol version {agent.protocol_version}, not {PROTOCOL_VERSION}"
        raise AgentSpawnError(text, failure=SpawnFailure.PROTOCOL)
    return agent


def ways(agent: InitializeResult) -> tuple[tuple[How, str], ...]:
    """Return the ways to open a session that exists, best first: resuming replays nothing."""
    announced = agent.agent_capabilities
    found: list[tuple[How, str]] = []
    if announced.session_capabilities.resume is not None:
        found.append(("resumed", "session/resume"))
    if announced.load_session:
        found.append(("loaded", "session/load"))
    return tuple(found)


def can_steer(agent: InitializeResult) -> bool:
    """Whether text can be put into a running turn (an extension; announced in ``_meta``, never probed)."""
    steering = (agent.meta or {}).get("steering")
    return isinstance(steering, dict) and steering.get("supported") is True


def login_error(agent: InitializeResult, error: RequestFailed) -> AgentSpawnError:
    """Return what to tell when the agent wants a login first: how to do that."""
    # Named as the agent does: the person may have to pick one of them on another screen.
    methods = " or ".join(method.name or method.id for method in agent.auth_methods)
    advice = f"log in with {methods}" if methods else "log in with the agent's own command line"
    return AgentSpawnError(f"{error.message}: {advice}", failure=SpawnFailure.AUTH_REQUIRED)


def start_error(error: AcpError) -> AgentSpawnError:
    """Return what to tell of a handshake that failed."""
    if isinstance(error, AgentExited):
        text = f"the agent ended before it answered ({error.exit.describe()})"
        return AgentSpawnError(text, failure=SpawnFailure.EXITED, exit=error.exit)
    if isinstance(error, RequestTimeout):
        text = f"the agent did not answer within {error.seconds:g} s"
        return AgentSpawnError(text, failure=SpawnFailure.TIMEOUT)
    # Apart from a refusal: no retry helps, and the person can do something about it.
    if isinstance(error, RequestFailed) and error.code == AUTH_REQUIRED:
        return AgentSpawnError(f"{error.message}: log in first", failure=SpawnFailure.AUTH_REQUIRED)
    text = str(error) if isinstance(error, ProtocolError) else f"the agent refused the handshake: {error}"
    return AgentSpawnError(text, failure=SpawnFailure.PROTOCOL)


def session_result(raw: Any) -> SessionResult:
    """Return the answer to a request that opens a session; the one to session/load may be null."""
    # The session works without what could not be read; that an id is missing is seen by who needs one.
    try:
        return SessionResult.parse(raw)
    except ValidationError:
        return SessionResult()
