"""The bot's socket: who may call, what one call is answered, and what hostile callers cost the others (M1)."""

from __future__ import annotations

import os
import resource
import socket
import stat
from contextlib import AsyncExitStack

import anyio
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acp.errors import leaves
from bot.app import serve_tools
from bot.config import ConfigError
from bot.mcp.listener import NO_ACCESS, ListenerLimits, ToolListener
from bot.mcp.protocol import CALL_BYTES, VERSION, Answer, Call, Hello
from bot.mcp.server import Bot
from bot.mcp.tools import Ask, SetTitle
from bot.ops.address import AddressUnusable
from tests.clock import flying

from .host import OTHER, THREAD, TITLED, call_line, connected, said, serving, short_directory

REFUSED = Answer(text=NO_ACCESS, error=True)
ASK: dict[str, object] = {"question": "Which one?"}


@pytest.mark.asyncio
async def test_a_call_is_carried_out_for_the_session_of_its_token_and_counted() -> None:
    """M1"""
    async with serving() as host:
        assert await host.title() == Answer(text=TITLED.format(1))
        assert await host.title(OTHER) == Answer(text=TITLED.format(2))
        assert host.called == [(1, SetTitle(title="x")), (2, SetTitle(title="x"))]
        assert host.counted.seen == {("set_title", "done"): 2}


@pytest.mark.parametrize("token", ["", "x", "ü" * 43, "o" * 300])
@pytest.mark.asyncio
async def test_who_has_no_token_of_a_session_learns_nothing_else(token: str) -> None:
    """M1"""
    async with serving() as host:
        assert await said(host, Hello.model_construct(version=VERSION, token=token).line()) == REFUSED
        assert (host.called, host.counted.seen) == ([], {})


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"\xff\n", b'{"version":1}\n', b"[" * 400 + b"\n", b'{"token":1}\n'])
@pytest.mark.asyncio
async def test_what_is_no_token_is_refused_like_a_wrong_one(line: bytes) -> None:
    """M1"""
    async with serving() as host:
        assert await said(host, line) == REFUSED


@pytest.mark.asyncio
async def test_a_token_dies_with_its_session() -> None:
    """M1"""
    async with serving() as host:
        assert not (await host.title()).error
        host.offers[THREAD].withdraw()
        assert await host.title() == REFUSED
        host.sessions.offer(THREAD)
        old = Bot(str(host.path), host.tokens[OTHER])
        host.offers[OTHER].withdraw()
        host.sessions.offer(OTHER)
        assert await old.call("set_title", {"title": "x"}) == REFUSED
        assert not (await host.title(OTHER)).error


@pytest.mark.asyncio
async def test_a_call_that_names_another_thread_is_refused() -> None:
    """M1: there is no identity but the token's"""
    async with serving() as host:
        for_another = await host.bot().call("set_title", {"title": "x", "thread_id": 2})
        assert (for_another.error, "thread_id" in for_another.text) == (True, True)
        framed = Call(tool="set_title", arguments={"title": "x"}).line().replace(b"{", b'{"thread_id":2,', 1)
        assert (await said(host, host.hello() + framed) or REFUSED).error
        assert host.called == []


@pytest.mark.asyncio
async def test_arguments_are_validated_in_the_bot_and_told_without_their_values() -> None:
    """M1: the program is not trusted"""
    async with serving() as host:
        wrong = await host.bot().call("set_title", {"title": ""})
        assert wrong.error
        assert wrong.text.startswith("The arguments of set_title are not right: title: ")
        unknown = await host.bot().call("format_disk", {"secret": "s3cret"})
        assert unknown.text.startswith("There is no such tool. The tools are: send_file, ask,")
        assert host.counted.seen == {("set_title", "invalid"): 1, ("unknown", "invalid"): 1}
        assert host.called == []


@pytest.mark.asyncio
async def test_a_refusal_is_a_sentence_for_the_model_and_a_fault_is_not_told() -> None:
    """M1, R5"""
    async with serving() as host:
        refused = await host.bot().call("start_thread", {"prompt": "x"})
        assert refused == Answer(text="A thread that was started like this starts no further ones.", error=True)
        failed = await host.bot().call("send_file", {"path": "x"})
        assert (failed.error, "secret" in failed.text) == (True, False)
        assert host.counted.seen == {("start_thread", "refused"): 1, ("send_file", "failed"): 1}


@pytest.mark.asyncio
async def test_each_call_is_a_line_in_the_log_without_what_was_said_or_the_token() -> None:
    """M1, R5"""
    async with serving() as host:
        with structlog.testing.capture_logs() as events:
            await host.bot().call("set_title", {"title": "s3cret"})
        (event,) = events
        assert {name: event[name] for name in ("event", "tool", "thread", "outcome")} == {
            "event": "tool.called",
            "tool": "set_title",
            "thread": 1,
            "outcome": "done",
        }
        token = host.tokens[THREAD]
        assert not {"s3cret", token} & {str(value) for value in event.values()}
        assert token not in repr(host.bot())


@pytest.mark.asyncio
async def test_a_call_whose_caller_goes_away_is_withdrawn() -> None:
    """M1"""
    async with serving() as host:
        async with connected(host) as stream:
            await stream.send(host.hello() + call_line("ask", **ASK))
            await host.asks(1)
        await host.asks(0)
        with anyio.move_on_after(60) as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(host.bot().call, "ask", ASK)
                await host.asks(1)
                scope.cancel()
        await host.asks(0)
        await host.title()
        assert host.counted.seen["ask", "cancelled"] == 2


@pytest.mark.asyncio
async def test_a_call_under_way_ends_with_its_session() -> None:
    """M1: even if its process outlives it"""
    async with serving() as host, connected(host) as stream:
        await stream.send(host.hello() + call_line("ask", **ASK))
        await host.asks(1)
        host.offers[THREAD].withdraw()
        await host.asks(0)
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()


@pytest.mark.asyncio
async def test_calls_under_way_end_with_the_bot_and_their_callers_are_told() -> None:
    """M1, R1"""
    answers: list[Answer] = []
    async with serving() as host, anyio.create_task_group() as callers:

        async def ask() -> None:
            answers.append(await host.bot().call("ask", ASK))

        callers.start_soon(ask)
        await host.asks(1)
        await host.stop()
        assert host.asking == 0
    assert [(each.error, "stopped or restarted" in each.text) for each in answers] == [(True, True)]
    assert not host.path.exists()
    assert (await host.title()).text.startswith("Weft cannot be reached")


@pytest.mark.asyncio
async def test_a_session_makes_so_many_calls_a_minute_and_is_told_when_to_try_again() -> None:
    """M2"""
    async with serving(ListenerLimits(calls=3, window=600, pace=0)) as host:
        assert [(await host.title()).error for _ in range(3)] == [False] * 3
        limited = await host.title()
        assert limited == Answer(text="Too many calls: at most 3 in 600 s. Try again in 200 s.", error=True)
        assert not (await host.title(OTHER)).error
        assert host.counted.seen == {("set_title", "done"): 4, ("set_title", "limited"): 1}


@pytest.mark.asyncio
async def test_a_session_has_so_many_calls_under_way() -> None:
    """M1"""
    async with serving(ListenerLimits(at_once=2, pace=0)) as host, anyio.create_task_group() as callers:
        for _ in range(2):
            callers.start_soon(host.bot().call, "ask", ASK)
        await host.asks(2)
        assert (await host.title()).text == "2 calls are under way already: wait for one of them."
        assert not (await host.title(OTHER)).error
        callers.cancel_scope.cancel()
    assert host.called.count((1, Ask(question="Which one?"))) == 2


# Hostile callers


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"x" * 20_000_000, id="no newline"),
        pytest.param(b'{"tool":"' + b"x" * 20_000_000, id="no end"),
        pytest.param(b"[" * (CALL_BYTES - 1) + b"\n", id="deep"),
        pytest.param(b'{"tool":"x","arguments":' * 9 + b"\n", id="cut"),
    ],
)
@pytest.mark.asyncio
async def test_what_is_too_long_or_no_call_ends_its_connection_only(sent: bytes, known: bool) -> None:
    """M1"""
    async with serving() as host:
        answered = await said(host, host.hello() + sent if known else sent)
        assert answered is None or answered.error
        assert not (await host.title()).error
        assert len(host.called) <= 2


@pytest.mark.parametrize("length", [0, 10, -1, None])
@pytest.mark.asyncio
async def test_who_does_not_finish_is_cut_off(length: int | None) -> None:
    """M1"""
    async with serving(ListenerLimits(patience=0.2, pace=0)) as host, connected(host) as stream:
        await stream.send(host.hello()[:length])
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()


@pytest.mark.asyncio
async def test_who_does_not_read_its_answers_keeps_nobody_waiting() -> None:
    """M1"""
    async with serving(ListenerLimits(patience=5, at_once=2, pace=0)) as host, AsyncExitStack() as open_ones:
        for _ in range(2):
            stream = await open_ones.enter_async_context(connected(host))
            await stream.send(host.hello() + call_line("read_thread", limit=50))
        assert not (await host.title(OTHER)).error
        async with flying(5):
            await host.counts("read_thread", "done", 2)
        assert not (await host.title()).error  # both places are free again


@pytest.mark.asyncio
async def test_a_thousand_connections_that_say_nothing_leave_the_others_alone() -> None:
    """M1"""
    limits = ListenerLimits(waiting=8, pace=0)
    async with serving(limits) as host, AsyncExitStack() as open_ones:
        before = open_files()
        for _ in range(500):
            await open_ones.enter_async_context(connected(host))
        assert not (await host.title()).error
        # Both ends are in this process; of the listener's, the oldest were closed.
        assert open_files() - before <= 500 + limits.waiting + 8


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.asyncio
async def test_too_many_open_files_make_callers_wait_and_not_the_listener_end() -> None:
    """M1"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(ListenerLimits(pace=0, retry=0.05)) as host:
        with socket.socket(socket.AF_UNIX) as caller, structlog.testing.capture_logs() as events:
            next_one = os.dup(caller.fileno())
            os.close(next_one)
            resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, hard))
            try:
                caller.connect(str(host.path))
                caller.sendall(host.hello() + call_line())
                while not events:  # noqa: ASYNC110  the log is all that tells
                    await anyio.sleep(0.001)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await host.counts("set_title", "done", 1)
        assert events[0]["event"] == "tools.not_accepting"


@pytest.mark.asyncio
async def test_who_only_connects_is_slowed_down() -> None:
    """M1"""
    async with serving(ListenerLimits(pace=0.05)) as host:
        started = anyio.current_time()
        for _ in range(5):
            assert await said(host, b"\n") == REFUSED
        assert anyio.current_time() - started >= 0.2


@pytest.mark.asyncio
async def test_more_said_after_a_call_withdraws_it() -> None:
    """M1: a call is all that a connection carries"""
    async with serving() as host, connected(host) as stream:
        await stream.send(host.hello() + call_line("ask", **ASK))
        await host.asks(1)
        await stream.send(host.hello() + call_line())
        await host.asks(0)
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await stream.receive()
        assert len(host.called) == 1


@pytest.mark.asyncio
async def test_a_program_of_another_version_is_told_so() -> None:
    """M1"""
    async with serving() as host:
        newer = Hello(version=VERSION + 1, token=host.tokens[THREAD]).line()
        assert "updated" in (await said(host, newer) or REFUSED).text
        assert await said(host, Hello(version=VERSION + 1, token="x").line()) == REFUSED


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
CALLS = st.builds(
    lambda tool, arguments: Call.model_construct(tool=tool, arguments=arguments),
    st.sampled_from(["ask", "set_title", "read_thread", "nothing", ""]),
    st.dictionaries(st.sampled_from(["title", "question", "fields", "options", "limit", "before"]) | st.text(), JSON),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(max_size=600) | CALLS.map(lambda call: call.line()), max_size=12))
@pytest.mark.asyncio
async def test_whatever_is_sent_the_listener_goes_on(sent: list[bytes]) -> None:
    """M1"""
    async with serving(ListenerLimits(calls=1000, pace=0, patience=5)) as host:
        for each in sent:
            async with connected(host) as stream:
                await stream.send(host.hello() + each)
            async with flying(5):  # where it waits for the rest
                answered = await said(host, each)
            assert answered is None or answered == REFUSED
        await host.asks(0)
        assert not (await host.title()).error


# The socket


@pytest.mark.asyncio
async def test_the_socket_is_its_owners_only_replaces_one_of_a_killed_run_and_goes() -> None:
    """M1, R4"""
    async with serving() as host:
        assert stat.S_IMODE(host.path.stat().st_mode) == 0o600
        assert not (await host.title()).error
        await host.stop()
    assert not host.path.exists()
    with short_directory() as directory:
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(str(directory / "socket"))
        async with serving(directory=directory) as host:
            assert not (await host.title()).error


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to be somebody else")
@pytest.mark.asyncio
async def test_another_user_is_refused_before_it_can_show_a_token() -> None:
    """M1"""
    async with serving() as host:
        host.path.parent.chmod(0o711)
        host.path.chmod(0o666)
        code = "import socket, sys; s = socket.socket(1); s.connect(sys.argv[1]); print(s.makefile().readline())"
        command = ["/usr/bin/env", "python3", "-c", code, str(host.path)]
        done = await anyio.run_process(command, user=65534, env={"PATH": os.defpath})
        assert Answer.model_validate_json(done.stdout) == REFUSED
        assert host.called == []


@pytest.mark.asyncio
async def test_a_path_that_somebody_listens_on_is_not_taken_away() -> None:
    """M1"""
    async with serving() as host:
        with pytest.raises(ExceptionGroup) as caught:
            async with serving(directory=host.path.parent):
                pass
        assert isinstance(leaves(caught.value)[0], AddressUnusable)
        assert not (await host.title()).error


@pytest.mark.asyncio
async def test_a_bot_that_cannot_listen_to_agents_says_so_and_does_not_start() -> None:
    """M1"""
    async with serving() as host, anyio.create_task_group() as work:
        another = ToolListener(host.sessions.find, host.call, host.counted)
        with pytest.raises(ConfigError, match="can't be listened on"):
            await serve_tools(work, host.path, another)
