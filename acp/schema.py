"""The ACP messages that Weft uses, as tolerant pydantic models (pure).

Source: the Agent Client Protocol, schema version 1. An unknown variant, kind, status or stop reason survives as a plain
value. `acp.wire` says how leniently an object is read, `acp.jsonrpc` handles framing and ids.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, PrivateAttr, ValidationError

from acp.wire import WireModel

PROTOCOL_VERSION = 1
"""The only version offered and accepted: real agents answer a newer draft when offered more."""

# Nobody reads a longer list to its end.
_MAX_ITEMS = 4096

# --- content -----------------------------------------------------------------------------------------------------


class ContentBlock(WireModel):
    """A content block: ``text``, ``image``, ``audio``, ``resource_link``, ``resource`` or a type of the future."""

    type: str
    text: str | None = None
    data: str | None = None
    mime_type: str | None = None
    uri: str | None = None
    name: str | None = None
    size: int | None = None
    resource: dict[str, Any] | None = None


def text_block(text: str) -> ContentBlock:
    """Return a text content block; every agent takes it."""
    return ContentBlock(type="text", text=text)


def image_block(data: str, mime_type: str, uri: str) -> ContentBlock:
    """Return an image, its bytes in base64, for an agent that announced ``image``."""
    return ContentBlock(type="image", data=data, mime_type=mime_type, uri=uri)


def audio_block(data: str, mime_type: str) -> ContentBlock:
    """Return a sound, its bytes in base64, for an agent that announced ``audio``."""
    return ContentBlock(type="audio", data=data, mime_type=mime_type)


def embedded_text(uri: str, text: str, mime_type: str) -> ContentBlock:
    """Return a text with its place, for an agent that announced ``embeddedContext``."""
    return ContentBlock(type="resource", resource={"uri": uri, "text": text, "mimeType": mime_type})


def resource_link(uri: str, name: str, mime_type: str, size: int) -> ContentBlock:
    """Return a pointer to a file of ``size`` bytes that the agent can read for itself; every agent takes it."""
    return ContentBlock(type="resource_link", uri=uri, name=name, mime_type=mime_type, size=size)


class ToolCallContent(WireModel):
    """Something a tool call shows: ``content``, ``diff``, ``terminal`` or a type of the future."""

    type: str
    content: ContentBlock | None = None
    path: str | None = None
    old_text: str | None = None
    new_text: str | None = None
    terminal_id: str | None = None


class ToolCallLocation(WireModel):
    """A file that a tool call touches."""

    path: str
    line: int | None = None


class PlanEntry(WireModel):
    """One step of the agent's plan; status is ``pending``, ``in_progress``, ``completed`` or an unknown word."""

    content: str
    priority: str = "medium"
    status: str = "pending"


class Cost(WireModel):
    """Money spent in the session so far."""

    amount: float
    currency: str = "USD"


class Usage(WireModel):
    """Tokens used by one prompt turn (unstable part of the schema)."""

    total_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


# --- session updates ---------------------------------------------------------------------------------------------


class MessageChunk(WireModel):
    """A piece of a message, whoever says it."""

    content: ContentBlock
    message_id: str | None = None


class AgentMessageChunk(MessageChunk):
    """A piece of the agent's answer."""


class AgentThoughtChunk(MessageChunk):
    """A piece of the agent's reasoning."""


class UserMessageChunk(MessageChunk):
    """A piece of a user's message, sent while history is replayed."""


class ToolCallUpdate(WireModel):
    """News of a tool call; absent fields are unchanged."""

    tool_call_id: str
    title: str | None = None
    kind: str | None = None
    status: str | None = None
    content: list[ToolCallContent] | None = None
    locations: list[ToolCallLocation] | None = None
    raw_input: Any = None
    raw_output: Any = None

    # Who is asked for permission sees all that was sent, also what no model knows.
    _sent: dict[str, Any] | None = PrivateAttr(default=None)

    @classmethod
    def parse(cls, raw: Any) -> Self:
        """Return the model for ``raw``, which it holds on to: see `as_sent`."""
        update = super().parse(raw)
        update._sent = raw
        return update

    def as_sent(self) -> dict[str, Any]:
        """Return the JSON object, with the fields that no model knows and those that could not be read."""
        return self.to_wire() if self._sent is None else self._sent


class ToolCall(ToolCallUpdate):
    """A tool call announced by the agent; otherwise the same as an update."""


class Plan(WireModel):
    """The agent's complete plan; it replaces the one before."""

    entries: list[PlanEntry] = Field(default_factory=list)


class UsageUpdate(WireModel):
    """Tokens in the context window, its size, and the session's cost so far."""

    used: int
    size: int
    cost: Cost | None = None


class SessionInfoUpdate(WireModel):
    """The title of the session; use ``model_fields_set``: absent is unchanged, null is cleared."""

    title: str | None = None


class CurrentModeUpdate(WireModel):
    """The agent switched its mode."""

    current_mode_id: str


class ConfigOptionUpdate(WireModel):
    """The complete list of the session's options."""

    config_options: list[dict[str, Any]] = Field(default_factory=list)


class CommandInput(WireModel):
    """What may follow a command's name: free text."""

    hint: str = ""


class AvailableCommand(WireModel):
    """A command of the agent's own; its name may begin with a slash or not."""

    name: str
    description: str = ""
    input: CommandInput | None = None


class AvailableCommandsUpdate(WireModel):
    """The complete list of the session's commands."""

    available_commands: list[AvailableCommand] = Field(default_factory=list)


class UnknownUpdate(WireModel):
    """An update that this version does not know, or that lacks what it requires."""

    name: str
    raw: Any = None


SessionUpdate = (
    AgentMessageChunk
    | AgentThoughtChunk
    | UserMessageChunk
    | ToolCall
    | ToolCallUpdate
    | Plan
    | UsageUpdate
    | SessionInfoUpdate
    | CurrentModeUpdate
    | ConfigOptionUpdate
    | AvailableCommandsUpdate
    | UnknownUpdate
)

_UPDATES: dict[str, type[SessionUpdate]] = {
    "agent_message_chunk": AgentMessageChunk,
    "agent_thought_chunk": AgentThoughtChunk,
    "user_message_chunk": UserMessageChunk,
    "tool_call": ToolCall,
    "tool_call_update": ToolCallUpdate,
    "plan": Plan,
    "usage_update": UsageUpdate,
    "session_info_update": SessionInfoUpdate,
    "current_mode_update": CurrentModeUpdate,
    "config_option_update": ConfigOptionUpdate,
    "available_commands_update": AvailableCommandsUpdate,
}


OUTPUT_NAMES = frozenset({"agent_message_chunk", "tool_call", "tool_call_update"})
"""Updates that people see: one that can't be understood leaves a gap."""


def decode_update(raw: Any) -> SessionUpdate:
    """Return the update for ``params.update`` of a ``session/update``; never raises on what an agent can send."""
    name = raw.get("sessionUpdate") if isinstance(raw, dict) else None
    model = _UPDATES.get(name) if isinstance(name, str) else None
    # Not an error: a newer agent must not lose its turn to a message that nobody here would have shown.
    if model is None:
        return UnknownUpdate(name=str(name), raw=raw)
    # Validating a line full of small objects would stop everything else.
    whole = raw
    for value in raw.values():
        if type(value) is list and len(value) > _MAX_ITEMS:
            raw = {key: value[:_MAX_ITEMS] if type(value) is list else value for key, value in raw.items()}
            break
    try:
        return model.parse(raw)
    except ValidationError:
        return UnknownUpdate(name=str(name), raw=whole)


# --- requests ----------------------------------------------------------------------------------------------------


class Implementation(WireModel):
    """Name and version of a client or an agent."""

    name: str
    title: str | None = None
    version: str = ""


class PromptCapabilities(WireModel):
    """Content an agent takes in a prompt besides text and resource links."""

    image: bool = False
    audio: bool = False
    embedded_context: bool = False


class SessionCapabilities(WireModel):
    """Session methods beyond new, prompt and cancel; announced by the presence of an object."""

    resume: dict[str, Any] | None = None
    close: dict[str, Any] | None = None
    fork: dict[str, Any] | None = None
    delete: dict[str, Any] | None = None
    listing: dict[str, Any] | None = Field(default=None, alias="list")


class McpCapabilities(WireModel):
    """Transports by which an agent reaches MCP servers, besides stdio."""

    http: bool = False
    sse: bool = False


class AuthCapabilities(WireModel):
    """What there is around a login; announced by the presence of an object."""

    logout: dict[str, Any] | None = None


class AgentCapabilities(WireModel):
    """What the agent can do; an omitted capability is unsupported."""

    load_session: bool = False
    prompt_capabilities: PromptCapabilities = Field(default_factory=PromptCapabilities)
    mcp_capabilities: McpCapabilities = Field(default_factory=McpCapabilities)
    session_capabilities: SessionCapabilities = Field(default_factory=SessionCapabilities)
    auth: AuthCapabilities = Field(default_factory=AuthCapabilities)


class AuthMethod(WireModel):
    """A way to log in to the agent.

    ``type`` is ``agent`` (the agent does it when asked), ``terminal`` (a person runs the agent's command with ``args``
    and the variables ``env``) or a word of the future.
    """

    id: str
    name: str = ""
    description: str | None = None
    type: str = "agent"
    args: list[str] = Field(default_factory=list)
    env: dict[str, Any] = Field(default_factory=dict)


class InitializeResult(WireModel):
    """The agent's answer to ``initialize``."""

    protocol_version: int
    agent_capabilities: AgentCapabilities = Field(default_factory=AgentCapabilities)
    auth_methods: list[AuthMethod] = Field(default_factory=list)
    agent_info: Implementation | None = None


class SessionResult(WireModel):
    """The agent's answer to ``session/new``, ``session/load``, ``session/resume`` and ``session/fork``.

    ``models`` is of an older draft; some agents still send it instead of a config option.
    """

    session_id: str | None = None
    modes: dict[str, Any] | None = None
    models: dict[str, Any] | None = None
    config_options: list[dict[str, Any]] | None = None


class PromptResult(WireModel):
    """The agent's answer to ``session/prompt``; ``stop_reason`` may be a word of the future."""

    stop_reason: str
    usage: Usage | None = None

    @property
    def spent(self) -> Usage | None:
        """The tokens of the turn, also where they stand in ``_meta`` alone: gemini-cli's place for them."""
        counted: Any = self.meta
        for key in ("quota", "token_count"):
            counted = counted.get(key) if isinstance(counted, dict) else None
        if self.usage is not None or not isinstance(counted, dict):
            return self.usage
        parts = {key: counted[key] for key in ("input_tokens", "output_tokens") if type(counted.get(key)) is int}
        return Usage(**parts) if parts else None


class PermissionOption(WireModel):
    """One of the agent's own answers to a permission request.

    ``kind`` is ``allow_once``, ``allow_always``, ``reject_once``, ``reject_always`` or an unknown word.
    """

    option_id: str
    name: str = ""
    kind: str = ""


class PermissionParams(WireModel):
    """Parameters of ``session/request_permission``; its tool call may be the first sight of that tool call."""

    session_id: str
    tool_call: ToolCallUpdate
    options: list[PermissionOption] = Field(default_factory=list)

    @classmethod
    def parse(cls, raw: Any) -> Self:
        """Return the model for ``raw``; its tool call is held on to as it was sent."""
        params = super().parse(raw)
        params.tool_call._sent = raw["toolCall"]
        return params
