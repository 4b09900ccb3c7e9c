"""Turns as four real agents play them: the order, the shapes and the oddities of their updates, as scenario steps.

Each `*_turn` is one prompt turn with a shell command that is asked for, run and reported, and a closing text. Use it
with the scenario's ``behaviour`` of the same name. The `*_error` functions are what each does when its model fails.
"""

from __future__ import annotations

from typing import Any

from tests.agents.scenario import Step, allow_options, text_update, usage_update

COMMAND, OUTPUT = "ls -1", "one\ntwo\n"
OPENCODE_OPTIONS = allow_options(("once", "allow_once"), ("always", "allow_always"), ("reject", "reject_once"))
CLAUDE_OPTIONS = allow_options(("allow-once", "allow_once"), ("reject", "reject_once"))
CODEX_OPTIONS = allow_options(
    ("allow_once", "allow_once"), ("accept_execpolicy_amendment", "allow_always"), ("cancel", "reject_once")
)
GEMINI_OPTIONS = allow_options(
    ("proceed_always", "allow_always"), ("proceed_once", "allow_once"), ("cancel", "reject_once")
)


def _call(tool_id: str, **fields: Any) -> Step:
    return {"update": {"sessionUpdate": "tool_call", "toolCallId": tool_id, "kind": "execute", **fields}}


def _change(tool_id: str, **fields: Any) -> Step:
    return {"update": {"sessionUpdate": "tool_call_update", "toolCallId": tool_id, **fields}}


def _content(text: str) -> list[Step]:
    return [{"type": "content", "content": {"type": "text", "text": text}}]


def _ask(tool_id: str, options: list[Step], allowed: dict[str, list[Step]], refused: list[Step]) -> Step:
    tool = {"toolCallId": tool_id, "title": COMMAND, "kind": "execute", "rawInput": {"command": COMMAND}}
    return {"permission": {"tool": tool, "options": options}, "then": {**allowed, "*": refused}}


def _closing(text: str | None, **keys: Any) -> list[Step]:
    return [] if text is None else [{"text": text, "chunks": 3, **keys}]


def opencode_turn(text: str | None = "Two entries.", output: str = OUTPUT) -> list[Step]:
    """The output as snapshots, a file write although we offer none, a refusal that ends silently, usage in the turn."""
    run = [
        _change("call_1", status="in_progress", content=_content(output)),
        {"request": {"method": "fs/write_text_file", "params": {"path": "/nowhere/x.txt", "content": "x"}}},
        _change("call_1", status="completed", content=_content(output), rawOutput={"output": output}),
        *_closing(text, id="msg_2"),
        {"update": usage_update(cost=0.01)},
    ]
    return [
        *([] if text is None else [{"text": "Looking.", "id": "msg_1"}]),
        _call("call_1", title="bash", status="pending", rawInput={}),
        _change("call_1", title=COMMAND, status="in_progress", rawInput={"command": COMMAND}),
        _ask("call_1", OPENCODE_OPTIONS, {"once": run, "always": run}, [_change("call_1", status="failed")]),
    ]


def claude_turn(text: str | None = "Two entries.", output: str = OUTPUT) -> list[Step]:
    """Output first in `_meta`, then fenced; the title and the cost come after the response."""
    response = {"stdout": output, "stderr": ""}
    run = [
        _change("toolu_1", _meta={"claudeCode": {"toolResponse": response}}),
        _change("toolu_1", status="completed", content=_content(f"```console\n{output}\n```"), rawOutput=output),
        *_closing(text, id="msg_2"),
    ]
    refused = [_change("toolu_1", status="failed"), {"text": "I was not allowed to.", "id": "msg_2"}]
    return [
        {
            "late": [
                [0.003, {"sessionUpdate": "session_info_update", "title": "Listing"}],
                [0.006, usage_update(cost=0.02)],
            ]
        },
        {"thought": "What is here?"},
        _call("toolu_1", title="Terminal", status="pending", _meta={"claudeCode": {"toolName": "Bash"}}),
        _change("toolu_1", title=COMMAND, rawInput={"command": COMMAND}),
        _ask("toolu_1", CLAUDE_OPTIONS, {"allow-once": run}, refused),
    ]


def codex_turn(text: str | None = "Two entries.", output: str = OUTPUT) -> list[Step]:
    """A terminal although we offer none, its output only in `_meta`; a refusal ends the turn as cancelled."""
    terminal = {"terminal_id": "exec_1"}
    run = [
        _call("exec_1", title=COMMAND, status="in_progress", content=[{"type": "terminal", "terminalId": "exec_1"}]),
        _change("exec_1", _meta={"terminal_output_delta": {**terminal, "data": output}}),
        _change("exec_1", status="completed", _meta={"terminal_exit": {**terminal, "exit_code": 0, "signal": None}}),
        *_closing(text, id="msg_2"),
        {"update": usage_update()},
    ]
    refused = [_change("exec_1", status="failed"), {"respond": {"stopReason": "cancelled"}}]
    return [
        {"update": {"sessionUpdate": "session_info_update", "title": "the prompt"}},
        _ask("exec_1", CODEX_OPTIONS, {"allow_once": run, "accept_execpolicy_amendment": run}, refused),
    ]


def gemini_turn(text: str | None = "Two entries.") -> list[Step]:
    """Permission for a tool call that is never announced, no output anywhere, tokens only in the response's `_meta`."""
    run = [
        _change("run_shell-1", status="completed", title=COMMAND, kind="execute", content=[]),
        *_closing(text, id=None),
        {"respond": {"stopReason": "end_turn", "_meta": {"quota": {"token_count": {"input_tokens": 900}}}}},
    ]
    refused = [_change("run_shell-1", status="failed", content=[]), {"text": "Not run.", "id": None}]
    return [
        {"thought": "What is here?", "id": None},
        _ask("run_shell-1", GEMINI_OPTIONS, {"proceed_once": run, "proceed_always": run}, refused),
    ]


def retried_text(text: str = "d0 d1", rest: str = " d2") -> list[Step]:
    """A model stream that broke: the same text again under a new messageId, then the rest (codex)."""
    return [{"text": text, "id": "msg_1"}, {"text": text, "id": "msg_2"}, {"text": rest, "id": "msg_2"}]


def opencode_error(message: str = "bad request") -> list[Step]:
    """An internal error, and the usage right after it."""
    return [{"error": {"code": -32603, "message": message}}, {"update": usage_update()}]


def claude_error(message: str = "API Error: 400") -> list[Step]:
    """The error as text *and* as an error response."""
    return [{"text": message, "id": "msg_1"}, {"error": {"code": -32603, "message": f"Internal error: {message}"}}]


def codex_error(message: str = "stream disconnected") -> list[Step]:
    """An ordinary end of the turn whose text, without a messageId, is the error."""
    return [{"update": text_update(message)}, {"respond": {"stopReason": "end_turn"}}]


def gemini_error(status: int = 500, message: str = "terminated") -> list[Step]:
    """An error response whose code is the HTTP status: 400, 401 or 500."""
    return [{"error": {"code": status, "message": message}}]


def auth_error() -> list[Step]:
    """The login has expired."""
    return [{"error": {"code": -32000, "message": "Authentication required"}}]
