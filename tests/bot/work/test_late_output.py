"""Output outside a turn: collected until it is quiet, then one message that nothing in it can break."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from acp.schema import AgentMessageChunk, SessionUpdate, decode_update, text_block
from bot.reply.port import Body
from bot.reply.sanitise import units
from bot.work.late_output import HEADING, QUIET, LateOutput, late_message, late_text
from tests.bot.reply.fakes import in_virtual_time
from tests.bot.work.fakes import chunk, running_work, tool_update

ALMOST = QUIET * 0.9


@asynccontextmanager
async def late_output() -> AsyncIterator[tuple[LateOutput, list[Body]]]:
    said: list[Body] = []
    async with anyio.create_task_group() as tasks:
        yield LateOutput(tasks, said.append), said
        tasks.cancel_scope.cancel()


@in_virtual_time
async def test_what_comes_close_together_is_one_message() -> None:
    """O3."""
    async with late_output() as (late, said):
        for word in ("one ", "two ", "three"):
            late.feed(chunk(word))
            await anyio.sleep(ALMOST)
        assert said == []
        await anyio.sleep(QUIET)
        assert said == [Body(f"{HEADING}\none two three")]


@in_virtual_time
async def test_what_comes_after_the_quiet_is_a_message_of_its_own() -> None:
    """O3: nothing is lost, nothing is shown twice."""
    async with late_output() as (late, said):
        for word in ("one", "two"):
            late.feed(chunk(word))
            await anyio.sleep(2 * QUIET)
        assert [body.text for body in said] == [f"{HEADING}\none", f"{HEADING}\ntwo"]


@in_virtual_time
async def test_an_agent_that_never_falls_silent_is_shown_all_the_same() -> None:
    """O3, T2 in spirit: a wait on another party has a limit."""
    async with late_output() as (late, said):
        for _ in range(60):
            late.feed(chunk("word "))
            await anyio.sleep(ALMOST)
        assert len(said) > 1


@in_virtual_time
async def test_updates_that_show_nothing_make_no_message() -> None:
    """O3: metadata never makes a message."""
    async with late_output() as (late, said):
        late.feed(decode_update({"sessionUpdate": "usage_update", "used": 1, "size": 2}))
        late.feed(tool_update(status="in_progress", title="npm test"))
        late.feed(chunk(""))
        await anyio.sleep(10 * QUIET)
        assert said == []


@in_virtual_time
async def test_what_was_not_shown_yet_is_bounded() -> None:
    """T10: an agent may say anything between two messages."""
    async with late_output() as (late, said):
        for _ in range(50):
            late.feed(chunk("x" * 100_000))
        assert sum(len(part) for part in late._parts) <= 100_000
        await anyio.sleep(2 * QUIET)
        ((body),) = said
        assert units(body.text) <= 2000
        assert "characters more" in body.text


@pytest.mark.parametrize(
    "update",
    [
        {"sessionUpdate": "agent_thought_chunk", "content": {"type": "text", "text": "hm"}},
        {"sessionUpdate": "user_message_chunk", "content": {"type": "text", "text": "hello"}},
        {"sessionUpdate": "usage_update", "used": 1, "size": 2},
        {"sessionUpdate": "plan", "entries": [{"content": "a", "status": "pending", "priority": "low"}]},
        {"sessionUpdate": "current_mode_update", "currentModeId": "code"},
        {"sessionUpdate": "tool_call", "toolCallId": "t", "title": "npm test", "status": "pending"},
        {"sessionUpdate": "something_new", "text": "hello"},
    ],
    ids=lambda update: update["sessionUpdate"],
)
def test_only_text_and_tool_results_are_output(update: dict[str, object]) -> None:
    """O3."""
    assert late_text(decode_update(update)) == ""


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_the_result_of_a_tool_is_named_with_its_title_as_code(status: str) -> None:
    """O3."""
    text = late_text(tool_update(status=status, title="rm `x` @everyone"))
    assert text.startswith({"completed": "\n✓ ", "failed": "\n✗ "}[status] + "`rm ˋxˋ @everyone`")


def test_a_result_without_a_title_is_told() -> None:
    """O3, T8."""
    assert late_text(tool_update(status="completed")) == "\n✓ `a tool call`\n"


def test_what_a_tool_printed_is_shown_also_without_a_status() -> None:
    """O3, T4."""
    printed = decode_update({"sessionUpdate": "tool_call_update", "toolCallId": "t1", "rawOutput": "one\ntwo"})
    assert "```\none\ntwo\n```" in late_text(printed)


def test_a_picture_is_named() -> None:
    """O3: what can't be shown as text is not lost without a word."""
    content = {"type": "image", "data": "", "mimeType": "image/png"}
    assert late_text(decode_update({"sessionUpdate": "agent_message_chunk", "content": content})) == "[image]"


def test_text_is_shown_as_it_is() -> None:
    """O3."""
    update: SessionUpdate = chunk("**hello** `world`")
    assert late_text(update) == "**hello** `world`"


# --- the message ---------------------------------------------------------------------------------------------------


def test_a_short_text_is_shown_whole() -> None:
    """O3."""
    assert late_message("hello\n") == "hello\n"


@pytest.mark.parametrize("character", ["x", "é", "語", "🦊", "👩‍👩‍👧", "e\u0301"])
def test_a_long_text_fits_one_message_and_says_how_much_is_left_out(character: str) -> None:
    """O3, T10: Discord counts UTF-16 units; no character is cut in two."""
    text = character * 5000
    message = late_message(text)
    shown, _, more = message.partition("\n-# … and ")
    assert units(f"{HEADING}\n{message}") <= 2000
    assert shown == character * (len(shown) // len(character))
    assert len(shown) + int(more.removesuffix(" characters more").replace(",", "")) == len(text)


def test_a_code_block_that_is_cut_is_closed() -> None:
    """D4: the line about the rest stands outside of it."""
    shown, _, more = late_message("```python\n" + "print(1)\n" * 1000).rpartition("\n")
    assert shown.count("```") == 2
    assert shown.rstrip().endswith("```")
    assert more.startswith("-# … and ")


def test_a_code_block_that_the_agent_left_open_is_closed() -> None:
    """D4."""
    assert late_message("```\nx").count("```") == 2


def test_terminal_escapes_are_not_shown() -> None:
    """O3."""
    assert late_message("\x1b[31mred\x1b[0m\x07") == "red"


# --- from the agent to the thread ----------------------------------------------------------------------------------


@in_virtual_time
async def test_output_outside_a_turn_that_never_goes_quiet_is_shown_in_the_end_and_bounded() -> None:
    """O3, T10."""
    said: list[Body] = []
    update = AgentMessageChunk(content=text_block("word " * 2000))
    async with anyio.create_task_group() as tasks:
        late = LateOutput(tasks, said.append)
        for _ in range(100):
            late.feed(update)
            await anyio.sleep(0.5)
            assert sum(len(part) for part in late._parts) < 200_000
        assert said
        tasks.cancel_scope.cancel()


@in_virtual_time
async def test_output_outside_a_turn_that_can_not_be_shown_hurts_nobody() -> None:
    """O4."""

    def fail(_body: Body) -> None:
        raise RuntimeError("broken")

    async with anyio.create_task_group() as tasks:
        late = LateOutput(tasks, fail)
        late.feed(AgentMessageChunk(content=text_block("text")))
        await anyio.sleep(5)
        tasks.cancel_scope.cancel()


@in_virtual_time
async def test_a_thread_with_output_outside_a_turn_keeps_no_editor() -> None:
    """Q10: idle threads are forgotten."""
    async with running_work() as work:
        work.post(1)
        await work.outcome(1)
        on_late = work.agents.sessions[0].on_late
        assert on_late is not None
        on_late(AgentMessageChunk(content=text_block("by the way")))
        await anyio.sleep(10)
        assert "by the way" in "\n".join(work.chat.texts(100))
        assert work.dispatcher._editors._editors == {}


@in_virtual_time
async def test_output_after_the_end_is_left_alone() -> None:
    """R1, O4: the agent's reader must not meet a task group that is closed."""
    async with running_work() as work:
        work.post(1)
        await work.outcome(1)
    on_late = work.agents.sessions[0].on_late
    assert on_late is not None
    on_late(AgentMessageChunk(content=text_block("too late")))
