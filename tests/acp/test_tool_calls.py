"""Tool calls as each agent reports them."""

from __future__ import annotations

from typing import Any

import pytest

from acp.schema import ContentBlock, SessionUpdate, ToolCallUpdate, decode_update, text_block
from acp.snapshot import Diff, Location, ToolState
from acp.tool_calls import ToolCalls, block_text, has_result

KIB = 1024


def calls(most: int = 10, head: int = 64 * KIB, tail: int = 192 * KIB) -> ToolCalls:
    return ToolCalls(most, head, tail)


def tool(name: str, call_id: str = "c1", **fields: Any) -> ToolCallUpdate:
    update: SessionUpdate = decode_update({"sessionUpdate": name, "toolCallId": call_id, **fields})
    assert isinstance(update, ToolCallUpdate)
    return update


def content(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "content", "content": {"type": "text", "text": text}} for text in texts]


def state_after(*updates: ToolCallUpdate) -> ToolState:
    table = calls()
    for update in updates:
        table.merge(update)
    (state,) = table.states()
    return state


def test_snapshots_of_the_output_replace_one_another() -> None:
    """T4: opencode sends the output so far again and again, and the same as rawOutput at the end."""
    state = state_after(
        tool("tool_call", title="bash", kind="execute", status="pending", rawInput={}),
        tool("tool_call_update", status="in_progress", title="List files", rawInput={"command": "ls"}),
        tool("tool_call_update", status="in_progress", content=content("a\n")),
        tool("tool_call_update", status="in_progress", content=content("a\nb\n")),
        tool("tool_call_update", status="completed", content=content("a\nb\nc\n"), rawOutput={"output": "other"}),
    )
    assert state == ToolState(
        id="c1",
        title="List files",
        kind="execute",
        status="completed",
        output="a\nb\nc\n",
        raw_input={"command": "ls"},
    )


def test_terminal_deltas_accumulate() -> None:
    """T4: codex names a terminal in the content; the output is in `_meta.terminal_output_delta` alone."""
    state = state_after(
        tool("tool_call", title="ls", status="in_progress", content=[{"type": "terminal", "terminalId": "t"}]),
        tool("tool_call_update", _meta={"terminal_output_delta": {"data": "one\n", "terminal_id": "t"}}),
        tool("tool_call_update", _meta={"terminal_output_delta": {"data": "two\n"}}),
        tool("tool_call_update", status="completed", _meta={"terminal_exit": {"exit_code": 0}}),
    )
    assert (state.output, state.status) == ("one\ntwo\n", "completed")


def test_fenced_content_counts_more_than_the_tool_response_and_raw_output() -> None:
    """T4: claude sends the response in `_meta`, then fenced content with a rawOutput string."""
    state = state_after(
        tool("tool_call", title="Terminal", status="pending"),
        tool("tool_call_update", _meta={"claudeCode": {"toolResponse": {"stdout": "hi", "stderr": "oops"}}}),
        tool("tool_call_update", status="completed", content=content("```console\nhi\n```"), rawOutput="hi"),
    )
    assert state.output == "```console\nhi\n```"


def test_the_tool_response_is_the_output_where_there_is_no_content() -> None:
    """T4: claude's `_meta.claudeCode.toolResponse` comes before rawOutput."""
    state = state_after(
        tool("tool_call", title="Terminal"),
        tool("tool_call_update", _meta={"claudeCode": {"toolResponse": {"stdout": "out", "stderr": "err"}}}),
        tool("tool_call_update", rawOutput="raw"),
    )
    assert state.output == "out\nerr"


def test_raw_output_is_a_string_or_has_an_output() -> None:
    """T4: rawOutput is the last resort, in both shapes."""
    assert state_after(tool("tool_call", title="x", rawOutput="text")).output == "text"
    assert state_after(tool("tool_call", title="x", rawOutput={"output": "field"})).output == "field"
    assert state_after(tool("tool_call", title="x", rawOutput={"output": 3})).output == ""
    assert state_after(tool("tool_call", title="x", rawOutput=[1])).output == ""


def test_terminal_deltas_count_more_than_raw_output() -> None:
    """T4: content blocks, `_meta.terminal_output_delta`, `rawOutput`, in that order."""
    state = state_after(
        tool("tool_call_update", _meta={"terminal_output_delta": {"data": "delta"}}, rawOutput="raw"),
    )
    assert state.output == "delta"


def test_malformed_meta_is_no_output() -> None:
    """T9: `_meta` is anybody's."""
    state = state_after(
        tool("tool_call", title="x", _meta={"terminal_output_delta": "text", "claudeCode": {"toolResponse": [1]}}),
        tool("tool_call_update", _meta={"terminal_output_delta": {"data": 5}, "claudeCode": 1}),
    )
    assert state.output == ""


def test_an_update_creates_a_tool_call_that_was_never_announced() -> None:
    """T8: gemini asks for permission and updates the call without announcing it."""
    table = calls()
    asked = tool("tool_call_update", title="rm -r build", kind="execute", status="pending")
    assert table.merge(asked, asked=True)
    assert not table.merge(tool("tool_call_update", status="completed", content=[]))
    (state,) = table.states()
    assert (state.title, state.status, state.from_permission) == ("rm -r build", "completed", True)


def test_an_empty_content_list_takes_nothing_away() -> None:
    """T4: gemini ends a call with `content: []`; the diff that was asked about stays."""
    diff = {"type": "diff", "path": "/a.txt", "oldText": None, "newText": "hello"}
    state = state_after(
        tool("tool_call_update", content=[diff], kind="edit"),
        tool("tool_call_update", status="completed", content=[]),
    )
    assert state.diffs == (Diff("/a.txt", None, "hello"),)


def test_absent_fields_are_unchanged() -> None:
    """T8: an update carries what is new."""
    state = state_after(
        tool("tool_call", title="Edit", kind="edit", status="pending", locations=[{"path": "/a", "line": 3}]),
        tool("tool_call_update", status="in_progress"),
    )
    assert state == ToolState(id="c1", title="Edit", kind="edit", status="in_progress", locations=(Location("/a", 3),))


def test_unknown_kinds_and_states_survive() -> None:
    """T9: words of the future are kept as they are."""
    state = state_after(tool("tool_call", title="x", kind="teleport", status="beaming"))
    assert (state.kind, state.status, state.unfinished) == ("teleport", "beaming", False)


def test_long_output_keeps_64_and_192_kib() -> None:
    """T10: 256 KiB of output a tool, head 64, tail 192; the rest is counted."""
    state = state_after(tool("tool_call", title="x", content=content("h" * 100 * KIB + "t" * 300 * KIB)))
    assert state.output_cut == 144 * KIB
    assert state.output.startswith("h" * 64 * KIB + "\n[")
    assert state.output.endswith("]\n" + "t" * 192 * KIB)


def test_diffs_too_large_to_keep_are_counted() -> None:
    """T10: a diff is kept whole or not at all."""
    table = calls(head=10, tail=10)
    small = {"type": "diff", "path": "/s", "oldText": "a", "newText": "b"}
    large = {"type": "diff", "path": "/l", "oldText": "", "newText": "x" * 30}
    table.merge(tool("tool_call", title="x", content=[small, large]))
    (state,) = table.states()
    assert (state.diffs, state.diffs_cut) == ((Diff("/s", "a", "b"),), 1)


def test_tool_calls_beyond_the_limit_are_counted_once_each() -> None:
    """T10: 1,000 tool calls a turn; the rest is counted."""
    table = calls(most=2)
    for call_id in ("a", "b", "c", "d", "c"):
        table.merge(tool("tool_call", call_id, title=call_id))
    assert [state.id for state in table.states()] == ["a", "b"]
    assert table.cut == 2


def test_a_kept_tool_call_is_updated_when_the_table_is_full() -> None:
    """T10: the limit is one on new tool calls."""
    table = calls(most=1)
    table.merge(tool("tool_call", "a", title="a"))
    table.merge(tool("tool_call", "b", title="b"))
    table.merge(tool("tool_call_update", "a", status="completed"))
    assert [state.status for state in table.states()] == ["completed"]


def test_states_without_news_are_the_same_objects() -> None:
    """T10: a snapshot costs what changed."""
    table = calls()
    table.merge(tool("tool_call", "a", title="a"))
    table.merge(tool("tool_call", "b", title="b"))
    first = table.states()
    assert table.states() is first
    table.merge(tool("tool_call_update", "b", status="completed"))
    second = table.states()
    assert second[0] is first[0]
    assert second[1] is not first[1]


def test_content_blocks_say_what_can_be_said() -> None:
    """T4: links and embedded text are shown, what can't be shown is named."""
    link = ContentBlock(type="resource_link", uri="file:///a", name="a.txt")
    embedded = ContentBlock(type="resource", resource={"uri": "file:///b", "text": "body"})
    blob = ContentBlock(type="resource", resource={"uri": "file:///c", "blob": "AA=="})
    said = [block_text(block) for block in (text_block("t"), link, embedded, blob, ContentBlock(type="image"))]
    assert said == ["t", "[a.txt](file:///a)", "body", "[file:///c]", "[image]"]
    assert block_text(ContentBlock(type="hologram")) == ""


def test_only_results_count_as_results() -> None:
    """O3: outside a turn only text and tool results are shown."""
    assert has_result(tool("tool_call_update", status="completed"))
    assert has_result(tool("tool_call_update", status="in_progress", content=content("x")))
    assert has_result(tool("tool_call_update", _meta={"terminal_output_delta": {"data": "x"}}))
    assert not has_result(tool("tool_call", title="x", status="pending"))
    assert not has_result(tool("tool_call_update", status="in_progress", title="new"))


def titles(table: ToolCalls) -> list[tuple[str, str]]:
    return [(state.title, state.status) for state in table.states()]


@pytest.mark.parametrize("called", ["mcp__weft__send_file", "weft.send_file", "weft_send-file", "send_file (Weft MCP)"])
@pytest.mark.parametrize("reported_first", [True, False])
def test_the_call_of_a_tool_of_ours_is_shown_once_whichever_way_it_is_heard_of_first(
    called: str, reported_first: bool
) -> None:
    """M2"""
    table, report = calls(), tool("tool_call", title=called, status="pending")
    if reported_first:
        table.merge(report)
    own = table.begin_own("send_file", "Send a file: a.txt")
    assert own is not None
    table.merge(report)
    assert titles(table) == [("Send a file: a.txt", "in_progress")]
    table.end_own(own, failed=False)
    table.merge(tool("tool_call_update", status="completed"))
    assert titles(table) == [("Send a file: a.txt", "completed")]
    # One for one: a call that never got to us is shown as the agent reports it.
    table.merge(tool("tool_call", "c2", title=called, status="failed"))
    assert titles(table)[1:] == [(called, "failed")]


@pytest.mark.parametrize(
    "other",
    [
        {"title": "grep send_file weft/", "kind": "execute"},
        {"title": "write"},
        {"title": "weft send_file", "content": [{"type": "diff", "path": "/a", "newText": "x"}]},
    ],
)
def test_no_other_call_hides_behind_one_of_ours(other: dict[str, Any]) -> None:
    """M2: not even one that is called like ours at first, and something else once it is hidden."""
    table = calls()
    table.begin_own("send_file", "Send a file")
    table.merge(tool("tool_call", title="weft_send_file"))
    assert titles(table) == [("Send a file", "in_progress")]
    table.merge(tool("tool_call_update", **other))
    assert titles(table) == [("Send a file", "in_progress"), (other["title"], "pending")]


def test_a_call_of_ours_has_no_id_that_an_agent_could_give_one() -> None:
    """M2: and beyond the bound it is not kept."""
    table = calls(most=2)
    own = table.begin_own("ask", "Ask")
    table.merge(tool("tool_call", own or "", title="other"))
    assert titles(table) == [("Ask", "in_progress"), ("other", "pending")]
    assert table.begin_own("ask", "Ask") is None
