"""The JSON-RPC peer on streams that a test holds the other end of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from acp.errors import AgentExit, AgentExited, ProtocolError, RequestFailed, RequestTimeout
from acp.jsonrpc import Loss, Notification, RequestId, Response
from acp.peer import MOST_ABANDONED, JsonRpcPeer, PeerEnd, PendingRequest
from tests.acp.pipes import Input, Output, line


class Recorder:
    """Notes what it is handed, in order."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.peer: JsonRpcPeer | None = None
        self.last = anyio.Event()

    def on_request(self, request_id: RequestId, method: str, params: dict[str, Any]) -> None:
        self.seen.append((request_id, method, params))
        assert self.peer is not None
        self.peer.respond_error(request_id, -32601, "method not found")

    def on_notification(self, method: str, params: dict[str, Any]) -> None:
        self.seen.append((method, params))
        if method == "last":
            self.last.set()

    def on_loss(self, loss: Loss) -> None:
        self.seen.append(loss)


class Line:
    """A peer with both its pipes in the hands of the test."""

    def __init__(self, **limits: Any) -> None:
        self.output, self.input, self.handler = Output(), Input(), Recorder()
        self.peer = JsonRpcPeer(self.output, self.input, handler=self.handler, **limits)
        self.handler.peer = self.peer
        self.end: PeerEnd | None = None

    async def run(self) -> None:
        self.end = await self.peer.run()

    async def settle(self) -> None:
        """Return once everything that was written before has been handed on."""
        self.handler.last = anyio.Event()
        self.output.write({"method": "last"})
        await self.handler.last.wait()


@asynccontextmanager
async def running(**limits: Any) -> AsyncIterator[Line]:
    held = Line(**limits)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks, held.output, held.input:
            tasks.start_soon(held.run)
            yield held
            tasks.cancel_scope.cancel()


# --- requests and responses --------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_result_comes_to_who_asked() -> None:
    """T5."""
    async with running() as held:
        one, two = held.peer.start_request("one", {"a": 1}), held.peer.start_request("two", {})
        sent = await held.input.read()
        assert [(item["method"], item["id"]) for item in sent] == [("one", one.id), ("two", two.id)]
        held.output.write({"id": two.id, "result": "second"}, {"id": one.id, "result": "first"})
        assert [await one.wait(), await two.wait()] == ["first", "second"]


@pytest.mark.asyncio
async def test_an_error_is_raised_with_its_code_and_data() -> None:
    """T5."""
    async with running() as held:
        pending = held.peer.start_request("m", {})
        held.output.write({"id": pending.id, "error": {"code": 401, "message": "no", "data": {"a": 1}}})
        with pytest.raises(RequestFailed, match=r"m failed: no \(401\)") as caught:
            await pending.wait()
        assert (caught.value.code, caught.value.data) == (401, {"a": 1})


@pytest.mark.asyncio
@pytest.mark.parametrize("odd", [True, 1.0, "1", None, [1], 2, 0, -1])
async def test_an_answer_under_another_id_is_not_the_answer(odd: Any) -> None:
    """T5: True, 1.0 and "1" are not 1."""
    async with running() as held:
        pending = held.peer.start_request("m", {})
        assert pending.id == 1
        held.output.write({"id": odd, "result": "wrong"})
        await held.settle()
        assert not pending.done
        assert held.peer.dropped == 1
        held.output.write({"id": 1, "result": "right"})
        assert await pending.wait() == "right"


@pytest.mark.asyncio
async def test_the_first_of_two_answers_counts() -> None:
    """T5."""
    async with running() as held:
        pending = held.peer.start_request("m", {})
        held.output.write({"id": pending.id, "result": "first"}, {"id": pending.id, "error": {"code": 1}})
        await held.settle()
        assert await pending.wait() == "first"
        assert held.peer.dropped == 1


@pytest.mark.asyncio
async def test_a_request_of_the_other_side_with_the_same_id_is_no_answer() -> None:
    """T5."""
    async with running() as held:
        pending = held.peer.start_request("m", {})
        await held.input.read()
        held.output.write({"id": pending.id, "method": "fs/read_text_file", "result": "x"})
        assert await held.input.read() == [
            {"jsonrpc": "2.0", "id": pending.id, "error": {"code": -32601, "message": "method not found"}}
        ]
        assert not pending.done


@pytest.mark.asyncio
async def test_what_follows_an_answer_is_handed_on_after_its_callback() -> None:
    """T3, T5."""
    async with running() as held:
        seen = held.handler.seen

        def note(pending: PendingRequest) -> None:
            seen.append(("response", pending.result))

        pending = held.peer.start_request("m", {}, on_response=note)
        held.output.write({"method": "before"}, {"id": pending.id, "result": 5}, {"method": "after"})
        await held.settle()
        assert seen[:3] == [("before", {}), ("response", 5), ("after", {})]


@pytest.mark.asyncio
async def test_a_request_that_timed_out_is_forgotten() -> None:
    async with running() as held:
        with pytest.raises(RequestTimeout, match="m was not answered"):
            await held.peer.request("m", {}, timeout=0.01)
        held.output.write({"id": 1, "result": "late"})
        await held.settle()
        assert held.peer.dropped == 1


@pytest.mark.asyncio
async def test_waiting_in_vain_leaves_a_started_request_open() -> None:
    async with running() as held:
        pending = held.peer.start_request("m", {})
        with pytest.raises(RequestTimeout):
            await pending.wait(0.01)
        held.output.write({"id": pending.id, "result": "late"})
        assert await pending.wait(30) == "late"


@pytest.mark.asyncio
async def test_failing_wakes_everyone_now_and_later() -> None:
    """P10, T1."""
    async with running() as held:
        reason = AgentExited(AgentExit(3))
        waiting = held.peer.start_request("m", {})
        held.peer.fail_all(reason)
        held.peer.fail_all(ProtocolError("later"))
        for pending in (waiting, held.peer.start_request("n", {})):
            with pytest.raises(AgentExited) as caught:
                await pending.wait()
            assert caught.value is reason


# --- what is written ---------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_several_messages_of_one_call_are_one_write() -> None:
    """T6."""
    async with running() as held:
        held.peer.send(Response(5, {"a": 1}), Notification("session/cancel", {}))
        assert [item.get("method", item.get("id")) for item in await held.input.read()] == [5, "session/cancel"]


@pytest.mark.asyncio
async def test_writing_never_waits_for_a_reader_that_stalls() -> None:
    """T6."""
    async with running() as held:
        held.input.open = anyio.Event()
        for number in range(1000):
            held.peer.send(Notification("m", {"text": "x" * 1000, "number": number}))
        await held.settle()
        held.input.open.set()
        received: list[dict[str, Any]] = []
        while len(received) < 1000:
            received += await held.input.read()
        assert [item["params"]["number"] for item in received] == list(range(1000))


@pytest.mark.asyncio
async def test_a_reader_that_stalls_for_too_long_counts_as_hung() -> None:
    """T6."""
    held = Line(write_timeout=0.02)
    held.input.open = anyio.Event()
    held.peer.send(Notification("m", {}))
    with anyio.fail_after(30):
        async with held.output, held.input:
            await held.run()
    assert held.end is PeerEnd.HUNG


@pytest.mark.asyncio
async def test_a_reader_for_which_too_much_gathers_counts_as_hung_before_its_time_is_up() -> None:
    """T6, T9: whoever asks and never reads the answers costs bounded memory."""
    held = Line(outbox_limit=1000)
    held.input.open = anyio.Event()
    with anyio.fail_after(30):
        async with held.output, held.input, anyio.create_task_group() as tasks:
            tasks.start_soon(held.run)
            held.peer.send(Notification("first", {}))
            await anyio.wait_all_tasks_blocked()
            for _ in range(1000):
                held.peer.respond_error("x" * 100, -32601, "unknown")
            assert len(held.peer._outbox) < 1500
    assert held.end is PeerEnd.HUNG


@pytest.mark.asyncio
async def test_what_a_dying_process_said_is_read_although_it_reads_no_more() -> None:
    """T1."""
    held = Line()
    held.input.breaks = anyio.Event()
    held.peer.send(Notification("m", {}))
    with anyio.fail_after(30):
        async with held.output, held.input, anyio.create_task_group() as tasks:
            tasks.start_soon(held.run)
            await held.input.breaks.wait()
            held.output.write({"method": "famous last words"})
            held.output.close()
    assert held.handler.seen == [("famous last words", {})]
    assert held.end is PeerEnd.EOF


# --- what is read ------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_noise_is_counted_and_what_follows_is_handed_on() -> None:
    """T9."""
    async with running() as held:
        held.output.write(b"Welcome!\n\x1b[0m\n5\n[]\n\n\xff\xfe\n" + b"[" * 100_000 + b"\n")
        await held.settle()
        assert held.handler.seen == [("last", {})]
        assert held.peer.dropped == 6


@pytest.mark.asyncio
async def test_too_much_noise_before_the_first_message_ends_the_peer() -> None:
    """T9."""
    held = Line(noise_limit=1000)
    held.output.write(b"noise\n" * 300)
    with anyio.fail_after(30):
        async with held.output, held.input:
            await held.run()
    assert held.end is PeerEnd.NOISE


@pytest.mark.asyncio
async def test_noise_after_the_first_message_has_no_bound() -> None:
    """T9."""
    async with running(noise_limit=1000) as held:
        await held.settle()
        held.output.write(b"noise\n" * 300)
        await held.settle()
        assert held.end is None
        assert held.peer.dropped == 300


@pytest.mark.asyncio
async def test_an_answer_that_is_too_long_fails_its_request_at_once() -> None:
    """T9."""
    async with running(max_line=1000) as held:
        pending, other = held.peer.start_request("m", {}), held.peer.start_request("n", {})
        held.output.write({"id": pending.id, "result": "x" * 2000})
        with pytest.raises(RequestFailed, match="too long") as caught:
            await pending.wait()
        assert caught.value.code == -32700
        held.output.write({"id": other.id, "result": 5})
        assert await other.wait() == 5


@pytest.mark.asyncio
async def test_a_message_that_is_dropped_is_told_apart_from_noise_and_from_answers() -> None:
    """T9: with the session that it was about, as far as its line says so."""
    update = b'{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s1","update":"%s'
    async with running(max_line=1000) as held:
        pending = held.peer.start_request("m", {})
        held.output.write(update % (b"x" * 2000) + b'"}}\n', update % b"broken\n", b'{"level":"info"\n')
        held.output.write(b'[{"jsonrpc":"2.0","method":"session/update"}]\n')
        held.output.write(b"{" + b"x" * 2000 + b"\n", {"id": pending.id, "result": "x" * 2000})
        await held.settle()
        assert held.handler.seen[:-1] == [Loss(2083, True, "s1"), Loss(86, False, "s1"), Loss(45, False, None)]
        assert pending.done


@pytest.mark.asyncio
async def test_requests_that_nobody_waits_for_any_more_are_bounded() -> None:
    """T9: the latest answer is still taken, if it comes."""
    taken: list[int] = []
    async with running() as held:
        for _ in range(3 * MOST_ABANDONED):
            pending = held.peer.start_request("m", {}, on_response=lambda one: taken.append(one.id))
            held.peer.abandon(pending)
        assert len(held.peer._open) == MOST_ABANDONED
        held.output.write({"id": 1, "result": 1}, {"id": pending.id, "result": 1})
        await held.settle()
        assert taken == [pending.id]


@pytest.mark.asyncio
async def test_an_answer_that_is_broken_fails_its_request_at_once() -> None:
    """T9."""
    async with running() as held:
        pending = held.peer.start_request("m", {})
        held.output.write(b'{"jsonrpc":"2.0","id":1,"result":{"a":\n')
        with pytest.raises(RequestFailed, match="not valid JSON"):
            await pending.wait()


@pytest.mark.asyncio
async def test_a_last_line_without_an_end_is_handed_on() -> None:
    """T9."""
    held = Line()
    held.output.write(line({"method": "whole"}), line({"method": "cut"}).rstrip())
    held.output.close()
    with anyio.fail_after(30):
        async with held.output, held.input:
            await held.run()
    assert [method for method, _ in held.handler.seen] == ["whole", "cut"]


@pytest.mark.asyncio
async def test_a_flood_gives_others_their_turn() -> None:
    """T9."""
    async with running() as held:
        held.output.write(line({"method": "m"}) * 10_000)
        passes = 0
        while len(held.handler.seen) < 10_000:
            passes += 1
            await anyio.lowlevel.checkpoint()
        assert passes >= 10_000 // 256


@pytest.mark.asyncio
async def test_a_request_that_can_not_be_used_is_answered_with_an_error() -> None:
    """T9: the other side would wait for ever."""
    async with running(max_line=1000) as held:
        for odd in (1.5, True, [1]):
            held.output.write({"id": odd, "method": "m"})
        held.output.write({"id": "long", "method": "m", "params": {"text": "x" * 2000}})
        await held.settle()
        assert held.peer.dropped == 4
        answers: list[dict[str, Any]] = []
        while len(answers) < 4:
            answers += await held.input.read()
        assert [(message["id"], message["error"]["code"]) for message in answers] == [
            (1.5, -32600),
            (True, -32600),
            (None, -32600),
            ("long", -32600),
        ]
        assert "too long" in answers[-1]["error"]["message"]
