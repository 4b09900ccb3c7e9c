"""What each error of an agent, and each of our own, becomes for the people in the thread: a row each."""

from __future__ import annotations

from typing import Any

import pytest

from acp.errors import (
    AcpError,
    AgentExit,
    AgentExited,
    AgentSpawnError,
    ProtocolError,
    RequestFailed,
    RequestTimeout,
    SpawnFailure,
)
from acp.snapshot import Ending, Phase, PromptError, TurnSnapshot
from acp.turn import Turn
from acp.turn_deadlines import TurnLimits
from bot.model import Outcome
from bot.work.ending import USE_LOGIN, TurnEnd, end_of_error, end_of_snapshot, lines
from bot.work.errors import FREE_FORM, ROWS, with_data
from tests.bot.reply.samples import snapshot

METHODS = ("ChatGPT", "API key")
FAILED, NOT_STARTED, DIED = "⚠️ **Failed:**", "⚠️ **The agent could not start:**", "⚠️ **The agent crashed:**"
AGAIN, FIXED, GO_ON = " Send it again to retry.", " Send it again once that is fixed.", " Write again to go on."


def ended(error: AcpError) -> TurnSnapshot:
    """Return a turn in which the prompt was answered by an error."""
    turn = Turn(TurnLimits(), 0.0)
    turn.fail(error, 1.0)
    turn.tick(10.0)
    return turn.snapshot()


def refused(code: int, message: str, method: str = "session/prompt", data: Any = None) -> RequestFailed:
    return RequestFailed(method, code, message, data)


# --- errors in the place of the answer to a prompt -----------------------------------------------------------------

BUSY, FAULT = "the model's provider wants fewer requests, try again later", "the model's provider has a fault"
LOST = "the agent may no longer know this conversation"


def sentence(end: TurnEnd) -> str:
    """Return what is said about an end; below it, a demand to log in names the command that helps (K4)."""
    told, *below = lines(end, str)
    assert below == ([USE_LOGIN] if end.login else [])
    return told


@pytest.mark.parametrize(
    ("code", "message", "line"),
    [
        # An agent whose provider refuses, has a fault or ends the stream: one code, and the message says which.
        (-32603, "Bad Request: model not found", f"{FAILED} `Bad Request: model not found`.{AGAIN}"),
        (-32603, "Unauthorized: invalid key", f"{FAILED} `Unauthorized: invalid key`.{AGAIN}"),
        (-32603, "Too Many Requests", f"{FAILED} `Too Many Requests`.{AGAIN}"),
        (-32603, "Internal error", f"{FAILED} `Internal error`.{AGAIN}"),
        # Agents that pass on the status code of their provider.
        (400, "bad request", f"{FAILED} `bad request`.{AGAIN}"),
        (401, "API key not valid", f"{FAILED} `log in to the agent first: API key not valid`.{AGAIN}"),
        (429, "quota exceeded", f"{FAILED} `{BUSY}: quota exceeded`.{AGAIN}"),
        (500, "terminated", f"{FAILED} `{FAULT}, try again later: terminated`.{AGAIN}"),
        (502, "Bad Gateway", f"{FAILED} `{FAULT}, try again later: Bad Gateway`.{AGAIN}"),
        (503, "overloaded", f"{FAILED} `{FAULT}, try again later: overloaded`.{AGAIN}"),
        (529, "overloaded", f"{FAILED} `{FAULT}, try again later: overloaded`.{AGAIN}"),
        # Codes of the protocol.
        (-32000, "Authentication required", f"{FAILED} `log in to the agent first: Authentication required`.{AGAIN}"),
        (-32000, "Please log in first", f"{FAILED} `Please log in first`.{AGAIN}"),
        (-32000, "", f"{FAILED} `log in to the agent first`.{AGAIN}"),
        (-32002, "Resource not found", f"{FAILED} `{LOST}: Resource not found`.{AGAIN}"),
        (-32602, "Session not found", f"{FAILED} `{LOST}: Session not found`.{AGAIN}"),
        (-32601, "Method not found", f"{FAILED} `Method not found`.{AGAIN}"),
        (-32600, "Invalid request", f"{FAILED} `Invalid request`.{AGAIN}"),
        (-32700, "Parse error", f"{FAILED} `Parse error`.{AGAIN}"),
        (-32022, "Unsupported protocol version", f"{FAILED} `Unsupported protocol version`.{AGAIN}"),
        (-32800, "Request cancelled", "⏹ **Stopped** by the agent."),
        # Codes of their own.
        (1001, "app-server exited", f"{FAILED} `a part of the agent has ended, try again: app-server exited`.{AGAIN}"),
        (4711, "out of paper", f"{FAILED} `out of paper`.{AGAIN}"),
        (0, "", f"⚠️ **Failed.**{AGAIN}"),
    ],
)
def test_an_error_in_place_of_the_answer(code: int, message: str, line: str) -> None:
    """O1."""
    assert sentence(end_of_snapshot(ended(refused(code, message)))) == line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ProtocolError("out of step"), f"{FAILED} `out of step`.{AGAIN}"),
        (RequestTimeout("session/prompt", 60), f"{FAILED} `session/prompt was not answered within 60 s`.{AGAIN}"),
        (AgentExited(AgentExit(3, "oom\n")), f"{DIED} exit status 3, last said `oom`.{GO_ON}"),
        (AgentExited(AgentExit(-9)), f"{DIED} signal 9 (SIGKILL).{GO_ON}"),
    ],
)
def test_a_fault_on_the_way_to_the_answer(error: AcpError, line: str) -> None:
    """O1."""
    assert sentence(end_of_snapshot(ended(error))) == line


def test_an_agent_that_tells_the_fault_as_its_answer_is_taken_at_its_word() -> None:
    """O1: an error text and `end_turn` is an answer: its words are not interpreted."""
    turn = snapshot(phase=Phase.ENDED, ending=Ending.ANSWERED, text="429 Too Many Requests", stop_reason="end_turn")
    end = end_of_snapshot(turn)
    assert (end.outcome, lines(end, str)) == (Outcome.ANSWERED, ())


def test_an_agent_that_stays_mute_over_the_fault_times_out() -> None:
    """O1, T2."""
    turn = snapshot(phase=Phase.ENDED, ending=Ending.TIMED_OUT, killed=True)
    assert sentence(end_of_snapshot(turn)) == f"⚠️ **Timed out.**{GO_ON}"


@pytest.mark.parametrize("code", sorted(ROWS))
@pytest.mark.parametrize("ending", [Ending.STOPPED, Ending.TIMED_OUT])
def test_what_we_decided_counts_more_than_the_code(ending: Ending, code: int) -> None:
    """O1, T6."""
    turn = snapshot(phase=Phase.ENDED, ending=ending, cancelled_by="bob", error=PromptError("no", code))
    assert end_of_snapshot(turn, METHODS).outcome is Outcome(ending.value)


# --- errors in the place of a session ------------------------------------------------------------------------------


STARTS: list[tuple[AcpError, str]] = [
    (
        AgentSpawnError("agent: not found", failure=SpawnFailure.NOT_FOUND),
        "agent: not found",
    ),
    (
        AgentSpawnError("agent: not executable", failure=SpawnFailure.NOT_EXECUTABLE),
        "agent: not executable",
    ),
    (
        AgentSpawnError("agent: no program", failure=SpawnFailure.BAD_FORMAT),
        "agent: no program",
    ),
    (
        AgentSpawnError("/srv/gone: no such directory", failure=SpawnFailure.BAD_DIRECTORY),
        "/srv/gone: no such directory",
    ),
    (
        AgentSpawnError("the agent ended early", failure=SpawnFailure.EXITED, exit=AgentExit(1, "\nno node\n")),
        "the agent ended early (exit status 1): no node",
    ),
    (
        AgentSpawnError("the agent did not answer within 60 s", failure=SpawnFailure.TIMEOUT),
        "the agent did not answer within 60 s",
    ),
    (
        AgentSpawnError("the agent speaks protocol version 2, not 1", failure=SpawnFailure.PROTOCOL),
        "the agent speaks protocol version 2, not 1",
    ),
    (
        AgentSpawnError("Authentication required: log in with ChatGPT", failure=SpawnFailure.AUTH_REQUIRED),
        "Authentication required: log in with ChatGPT",
    ),
    *(
        (AgentSpawnError(text, failure=failure), text)
        for failure, text in {
            SpawnFailure.UNREACHABLE: "farm-1 does not answer: Connection refused",
            SpawnFailure.NO_ROOM: "no node has room for it: 2 Insufficient memory",
            SpawnFailure.IMAGE: "the image agents:3 can't be had: not found",
            SpawnFailure.RIGHTS: "the cluster does not let Weft create pods",
        }.items()
    ),
    (
        AgentSpawnError("the pool is closing", failure=SpawnFailure.OTHER),
        "the pool is closing",
    ),
    (AgentExited(AgentExit(3)), "the agent ended (exit status 3)"),
    (RequestTimeout("session/new", 60), "session/new was not answered within 60 s"),
    (ProtocolError("no session id"), "no session id"),
    (refused(-32603, "service failure", "session/load"), "session/load failed: service failure (-32603)"),
    (refused(-32002, "not found", "session/new"), "session/new failed: not found (-32002)"),
    (refused(-32602, "bad cwd", "session/new"), "session/new failed: bad cwd (-32602)"),
    (refused(-32022, "unsupported", "initialize"), "initialize failed: unsupported (-32022)"),
    (refused(-32800, "cancelled", "session/new"), "session/new failed: cancelled (-32800)"),
    (refused(429, "slow down", "session/new"), "session/new failed: slow down (429)"),
    (refused(-32000, "no account", "session/new"), "log in to the agent first: no account"),
    (refused(401, "no account", "session/new"), "log in to the agent first: no account"),
]


@pytest.mark.parametrize(("error", "words"), STARTS)
def test_an_error_in_place_of_a_session(error: AcpError, words: str) -> None:
    """O1, P7."""
    assert sentence(end_of_error(error)) == f"{NOT_STARTED} `{words}`.{FIXED}"


def test_every_reason_for_a_failed_start_has_a_row() -> None:
    """P7."""
    assert {error.failure for error, _ in STARTS if isinstance(error, AgentSpawnError)} == set(SpawnFailure)


# --- what an error's data says -------------------------------------------------------------------------------------

GENERIC = "Internal error"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("disk full", f"{GENERIC}: disk full"),
        ({"message": "disk full"}, f"{GENERIC}: disk full"),
        ({"details": "disk full"}, f"{GENERIC}: disk full"),
        ({"detail": "disk full"}, f"{GENERIC}: disk full"),
        ({"error": "disk full"}, f"{GENERIC}: disk full"),
        ({"error": {"message": "disk full", "code": 28}}, f"{GENERIC}: disk full"),
        ({"message": None, "details": "disk full"}, f"{GENERIC}: disk full"),
        ({"message": "first", "details": "second"}, f"{GENERIC}: first"),
        (" disk\n full \n", f"{GENERIC}: disk full"),
        # What adds nothing, or is no text.
        ("internal error", GENERIC),
        ("Internal error: disk full", "Internal error: disk full"),
        ("", GENERIC),
        ({}, GENERIC),
        ({"errorKind": "unknown"}, GENERIC),
        ({"details": 5}, GENERIC),
        (["disk full"], GENERIC),
        (5, GENERIC),
        (True, GENERIC),
        ({"error": {"error": {"error": {"error": "too deep"}}}}, GENERIC),
    ],
    ids=str,
)
def test_the_words_in_an_errors_data_are_told_behind_its_message(data: Any, words: str) -> None:
    """O1."""
    assert sentence(end_of_snapshot(ended(refused(-32603, GENERIC, data=data)))) == f"{FAILED} `{words}`.{AGAIN}"


def test_data_without_a_message_stands_alone() -> None:
    """O1."""
    assert with_data("", "disk full") == "disk full"


@pytest.mark.parametrize(
    ("code", "message", "line"),
    [
        (429, "Error", f"{FAILED} `{BUSY}: Error: see below`.{AGAIN}"),
        (-32000, "No", f"{FAILED} `log in to the agent first: No: see below`.{AGAIN}"),
        (-32800, "Request cancelled", "⏹ **Stopped** by the agent."),
    ],
)
def test_data_stands_behind_the_advice_of_a_known_code(code: int, message: str, line: str) -> None:
    """O1."""
    assert sentence(end_of_snapshot(ended(refused(code, message, data="see below")))) == line


def test_data_that_says_log_in_is_advice_enough() -> None:
    """O1: -32000."""
    end = end_of_snapshot(ended(refused(-32000, "No", data={"details": "log in with `agent login`"})))
    assert sentence(end) == f"{FAILED} `No: log in with ˋagent login`.{AGAIN}"


def test_long_data_is_cut() -> None:
    """O1, T9: it is an agent's."""
    (line,) = lines(end_of_snapshot(ended(refused(-32603, GENERIC, data="x" * 100_000))), str)
    assert line.startswith(f"{FAILED} `{GENERIC}: xxx")
    assert line.endswith(f"x…`.{AGAIN}")
    assert len(line) < 1000


@pytest.mark.parametrize("chained", [0, 1, 2])
def test_the_data_of_a_refused_start_is_told_however_the_error_came(chained: int) -> None:
    """O1, P10: the pool tells each who waits with an error of its own, chained to the agent's."""
    error: AcpError = refused(-32603, GENERIC, "session/new", data="disk full")
    for _ in range(chained):
        wrapped = AgentSpawnError(str(error), failure=SpawnFailure.OTHER)
        wrapped.__cause__, error = error, wrapped
    line = f"{NOT_STARTED} `session/new failed: {GENERIC} (-32603): disk full`.{FIXED}"
    assert sentence(end_of_error(error)) == line


# --- ways to log in, secrets, tables -------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [-32000, 401])
def test_the_ways_to_log_in_are_named_where_they_are_known(code: int) -> None:
    """O1."""
    end = end_of_snapshot(ended(refused(code, "no account")), METHODS)
    assert sentence(end) == f"{FAILED} `log in with ChatGPT or API key: no account`.{AGAIN}"


def test_the_ways_to_log_in_are_named_when_a_session_is_refused() -> None:
    """O1."""
    end = end_of_error(refused(-32000, "no account", "session/new"), METHODS)
    assert sentence(end) == f"{NOT_STARTED} `log in with ChatGPT or API key: no account`.{FIXED}"


def test_many_ways_to_log_in_do_not_hide_the_message() -> None:
    """O1, T9: names are an agent's."""
    end = end_of_snapshot(ended(refused(-32000, "no account")), [f"way {number}" for number in range(1000)])
    assert lines(end, str)[0].endswith(f"way 4: no account`.{AGAIN}")


@pytest.mark.parametrize("code", [*sorted(ROWS), -32603, 400])
def test_no_message_tells_a_secret(code: int) -> None:
    """O1, R5."""
    end = end_of_snapshot(ended(refused(code, "key hunter2 is wrong")))
    assert "hunter2" not in "\n".join(lines(end, lambda text: text.replace("hunter2", "[secret]")))


def test_a_code_without_a_row_is_a_failure_with_its_message() -> None:
    """O1."""
    assert (FREE_FORM.outcome, FREE_FORM.advice) == (Outcome.FAILED, "")
