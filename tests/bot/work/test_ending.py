"""Each way a prompt can end: which outcome it is, and what its thread is told."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
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
from acp.snapshot import BY_AGENT, Ending, Phase, PromptError, TurnSnapshot
from bot.model import Outcome, Verbosity
from bot.reply.sanitise import units
from bot.work.ending import (
    USE_LOGIN,
    TurnEnd,
    crashed,
    end_of_error,
    end_of_snapshot,
    final_reply,
    interrupted,
    lines,
    not_opened,
    stopped,
)
from tests.bot.reply.samples import snapshot, tool
from tests.bot.work.samples import ALICE, inbound

NOT_STARTED, FIXED = "⚠️ **The agent could not start:**", " Send it again once that is fixed."
SECRET = "hunter2-hunter2-hunter2"


def ended(ending: Ending = Ending.ANSWERED, **fields: Any) -> TurnSnapshot:
    return snapshot(**{"phase": Phase.ENDED, "ending": ending, "stop_reason": "end_turn", **fields})


def told(end: TurnEnd) -> str:
    return "\n".join(lines(end, str))


def without_secret(text: str) -> str:
    return text.replace(SECRET, "[secret]")


# --- turns that reached the agent ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", list(Ending))
def test_each_ending_of_a_turn_is_the_outcome_of_its_name(ending: Ending) -> None:
    """O1."""
    turn = ended(ending)
    end = end_of_snapshot(turn)
    assert (end.outcome, end.snapshot) == (Outcome(ending.value), turn)


def test_an_answer_needs_no_line() -> None:
    """O1."""
    assert told(end_of_snapshot(ended())) == ""


@pytest.mark.parametrize("stop_reason", ["refusal", "max_tokens", "max_turn_requests"])
def test_an_answer_that_was_cut_short_has_a_line(stop_reason: str) -> None:
    """O1."""
    end = end_of_snapshot(ended(stop_reason=stop_reason))
    assert end.outcome is Outcome.ANSWERED
    assert told(end).startswith("-# ⚠️ The agent ")


def test_an_error_in_place_of_the_answer_is_told_with_its_message() -> None:
    """O1."""
    end = end_of_snapshot(ended(Ending.FAILED, error=PromptError("model overloaded", -32603)))
    assert (end.outcome, told(end)) == (Outcome.FAILED, "⚠️ **Failed:** `model overloaded`. Send it again to retry.")


def test_a_turn_that_somebody_stopped_names_them() -> None:
    """O1."""
    assert told(end_of_snapshot(ended(Ending.STOPPED, cancelled_by="bob"))) == "⏹ **Stopped** by `bob`."


def test_a_stop_that_the_agent_ignored_was_forced() -> None:
    """O1, T6."""
    end = end_of_snapshot(ended(Ending.STOPPED, cancelled_by="bob", killed=True))
    assert told(end) == "⏹ **Stopped** by `bob`. The agent did not react, so it was ended."


def test_a_hard_timeout_that_had_to_be_forced_reads_as_any_other() -> None:
    """O1, T2."""
    assert told(end_of_snapshot(ended(Ending.TIMED_OUT, killed=True))) == "⚠️ **Timed out.** Write again to go on."


def test_a_turn_that_nobody_stopped_was_stopped_by_the_agent() -> None:
    """O1."""
    assert told(end_of_snapshot(ended(Ending.STOPPED, cancelled_by=BY_AGENT))) == "⏹ **Stopped** by the agent."


def test_a_dead_agent_is_told_with_its_status_and_its_last_words() -> None:
    """O1."""
    turn = ended(Ending.AGENT_DIED, exit=AgentExit(3, "warming up\nout of memory\n\n"))
    assert told(end_of_snapshot(turn)) == (
        "⚠️ **The agent crashed:** exit status 3, last said `out of memory`. Write again to go on."
    )


def test_an_agent_that_is_out_of_reach_did_not_crash() -> None:
    """O1: nobody knows how it ended, or whether it did."""
    turn = ended(Ending.AGENT_DIED, exit=AgentExit(None, "warm\n", reason="node-2 is gone", unreachable=True))
    end = end_of_snapshot(turn)
    assert end.outcome is Outcome.AGENT_UNREACHABLE
    assert told(end) == (
        "⚠️ **The agent can't be reached:** connection lost: node-2 is gone, last said `warm`. "
        "Write again to go on, on another machine if need be."
    )


def test_a_prompt_that_is_answered_with_a_demand_to_log_in_has_failed() -> None:
    """O1: -32000; it ran, and what was said is shown."""
    turn = ended(Ending.FAILED, error=PromptError("Authentication required", -32000), text="so far")
    end = end_of_snapshot(turn)
    assert (end.outcome, end.snapshot) == (Outcome.FAILED, turn)
    sentence = "⚠️ **Failed:** `log in to the agent first: Authentication required`. Send it again to retry."
    assert told(end) == f"{sentence}\n{USE_LOGIN}"


def test_a_stopped_turn_that_needs_a_login_is_stopped() -> None:
    """O1, T6."""
    end = end_of_snapshot(ended(Ending.STOPPED, cancelled_by="bob", error=PromptError("Authentication", -32000)))
    assert end.outcome is Outcome.STOPPED


# --- prompts without a session -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AgentSpawnError("agent: not found", failure=SpawnFailure.NOT_FOUND), "agent: not found"),
        (ProtocolError("no session id"), "no session id"),
        (RequestTimeout("initialize", 60), "initialize was not answered within 60 s"),
        (RequestFailed("session/new", -32603, "disk full"), "session/new failed: disk full (-32603)"),
        (AgentExited(AgentExit(3)), "the agent ended (exit status 3)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_prompt_without_a_session_could_not_start_and_says_why(error: AcpError, reason: str) -> None:
    """O1, P7."""
    end = end_of_error(error)
    assert (end.outcome, end.snapshot, told(end)) == (
        Outcome.COULD_NOT_START,
        None,
        f"{NOT_STARTED} `{reason}`.{FIXED}",
    )


def test_a_start_that_failed_is_told_with_status_and_last_words() -> None:
    """O1."""
    error = AgentSpawnError(
        "the agent ended during its start",
        failure=SpawnFailure.EXITED,
        exit=AgentExit(-9, "one\n\ntwo\n \n"),
    )
    assert told(end_of_error(error)) == (
        f"{NOT_STARTED} `the agent ended during its start (signal 9 (SIGKILL)): two`.{FIXED}\n```\none\ntwo\n```"
    )


def test_a_status_that_the_message_has_is_not_said_twice() -> None:
    """O1."""
    end = end_of_error(AgentExited(AgentExit(3, "oops")))
    assert told(end) == f"{NOT_STARTED} `the agent ended (exit status 3): oops`.{FIXED}"


def test_a_death_in_a_turn_is_told_with_its_last_line_only() -> None:
    """O1."""
    turn = ended(Ending.AGENT_DIED, exit=AgentExit(3, "one\ntwo"))
    assert "one" not in told(end_of_snapshot(turn))


def test_a_session_that_needs_a_login_says_log_in() -> None:
    """O1: -32000."""
    reason = end_of_error(RequestFailed("session/new", -32000, "Authentication required")).reason
    assert reason == "log in to the agent first: Authentication required"


def test_a_message_that_says_log_in_is_left_as_it_is() -> None:
    """O1."""
    reason = end_of_error(RequestFailed("session/new", -32000, "Log in with `agent login`")).reason
    assert reason == "Log in with `agent login`"


def test_a_login_error_without_a_message_says_log_in_all_the_same() -> None:
    """O1."""
    assert end_of_error(RequestFailed("session/new", -32000, "")).reason == "log in to the agent first"


# --- ends that the bot decides -------------------------------------------------------------------------------------


def test_a_prompt_that_never_began_names_who_stopped_it() -> None:
    """O1, Q7."""
    assert told(stopped("bob")) == "⏹ **Stopped** by `bob`."


def test_the_stop_of_the_bot_says_what_to_do_next() -> None:
    """O1, R1."""
    end = interrupted()
    assert end.outcome is Outcome.INTERRUPTED
    assert "send this message again" in told(end)


def test_what_was_said_before_the_stop_of_the_bot_is_kept() -> None:
    """R1, T6."""
    turn = ended(Ending.STOPPED, text="so far")
    assert (interrupted(turn).outcome, interrupted(turn).snapshot) == (Outcome.INTERRUPTED, turn)


def test_a_turn_that_was_answered_before_the_stop_of_the_bot_is_answered() -> None:
    """O1, R1."""
    assert interrupted(ended()).outcome is Outcome.ANSWERED


def test_a_fault_of_ours_tells_nothing_of_its_inside() -> None:
    """O1, Q10."""
    assert told(crashed()) == "⚠️ **Failed:** `something went wrong in Weft itself`. Send it again to retry."


def test_a_thread_that_could_not_be_opened_says_why() -> None:
    """O1, D1."""
    assert told(not_opened("missing permission")) == (
        "⚠️ **Failed:** `the thread could not be opened: missing permission`. Send it again to retry."
    )


# --- secrets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [
        end_of_error(AgentSpawnError("no", failure=SpawnFailure.EXITED, exit=AgentExit(1, f"key {SECRET}"))),
        end_of_error(AgentSpawnError("no", failure=SpawnFailure.EXITED, exit=AgentExit(1, f"{SECRET}\nkey {SECRET}"))),
        end_of_error(RequestFailed("session/new", -32603, "no", {"details": f"bad key {SECRET}"})),
        end_of_snapshot(ended(Ending.FAILED, error=PromptError("no", -32603, f"bad key {SECRET}"))),
        end_of_snapshot(ended(Ending.FAILED, error=PromptError(f"bad key {SECRET}"))),
        end_of_snapshot(ended(Ending.AGENT_DIED, exit=AgentExit(1, f"key {SECRET}"))),
        end_of_snapshot(ended(Ending.FAILED, error=PromptError(SECRET, -32000))),
    ],
    ids=["start", "start with more lines", "start data", "data", "error", "death", "login"],
)
def test_no_end_tells_a_secret(end: TurnEnd) -> None:
    """O1, R5."""
    text = "\n".join(lines(end, without_secret))
    assert SECRET not in text
    assert "[secret]" in text


@pytest.mark.parametrize("length", [895, 905], ids=["reason", "reason-2"])
def test_a_secret_at_the_border_of_a_long_reason_is_cut_out_before_the_reason_is_cut(length: int) -> None:
    """R5: a part of a secret is one, too."""
    end = end_of_snapshot(ended(Ending.FAILED, error=PromptError("x" * (length - len(SECRET) // 2) + SECRET)))
    assert SECRET[:8] not in "\n".join(lines(end, without_secret))


def test_a_secret_at_the_border_of_the_last_words_is_cut_out_before_they_are_cut() -> None:
    """R5."""
    turn = ended(Ending.AGENT_DIED, exit=AgentExit(1, "x" * 288 + SECRET))
    assert SECRET[:8] not in "\n".join(lines(end_of_snapshot(turn), without_secret))


def test_a_secret_of_several_lines_is_cut_out_before_the_last_lines_are_taken() -> None:
    """R5: its last line alone would not be known for a part of it."""
    key = "-----BEGIN-----\nabcdef\n-----END-----"
    end = end_of_error(AgentExited(AgentExit(1, f"bad key\n{key}")))
    text = "\n".join(lines(end, lambda words: words.replace(key, "[secret]")))
    assert text == (f"{NOT_STARTED} `the agent ended (exit status 1): [secret]`.{FIXED}\n```\nbad key\n[secret]\n```")


# --- the last state of a reply -------------------------------------------------------------------------------------


def test_a_turn_has_a_footer_with_its_time() -> None:
    """D5."""
    reply = final_reply(end_of_snapshot(ended()), inbound(1), 12.0, str, kept=True)
    assert (reply.outcome, reply.lines, reply.footer) == (Outcome.ANSWERED, (), "-# 12 s")


def test_below_an_answer_stands_as_much_of_the_work_as_was_chosen() -> None:
    """V1, D5: the end and the footer keep their room, and without text the answer is the work (T4)."""
    tools = (
        tool(title="npm test", status="completed", output="key 123\nok"),
        tool(id="t2", title="npm run lint", status="failed"),
    )
    done = replace(ended(), text="Done.", tools=tools, thoughts="I *think*")

    def below(verbosity: Verbosity, snapshot: TurnSnapshot = done) -> list[str]:
        end, redact = end_of_snapshot(snapshot), partial(re.sub, "123", "[x]")
        reply = final_reply(end, inbound(1), 12.0, redact, kept=True, verbosity=verbosity)
        assert units(reply.tail()) < 2000
        return reply.tail().split("\n")

    assert below(Verbosity.QUIET) == ["-# 12 s · 2 tools"]
    assert below(Verbosity.NORMAL) == ["-# ✓ `npm test` · ✗ `npm run lint`", "-# 12 s · 2 tools"]
    assert below(Verbosity.VERBOSE) == [
        "-# 💭 I \\*think\\*", "-# ✓ `npm test`", "```", "key [x]", "ok", "```",
        "-# ✗ `npm run lint` (failed)", "-# 12 s · 2 tools",
    ]  # fmt: skip
    assert below(Verbosity.VERBOSE, replace(done, text=""))[0] == "-# 12 s · 2 tools"
    much = replace(done, tools=tuple(replace(tools[0], id=str(n), output="y" * 9000) for n in range(99)), tools_cut=3)
    failed = replace(much, ending=Ending.FAILED, error=PromptError("z" * 3000))
    told = below(Verbosity.VERBOSE, failed)
    assert "**Failed:**" in told[-3]
    assert (told[-2], told[-1]) == ("-# 3 more tool calls are not listed", "-# 12 s · 102 tools")


def test_a_prompt_that_never_began_has_no_footer_and_notifies_nobody() -> None:
    """D5, D9."""
    reply = final_reply(stopped("bob"), inbound(1), 999.0, str, kept=True)
    assert (reply.footer, reply.ping) == ("", None)


def test_the_end_notifies_whom_it_is_told_to() -> None:
    """D9: in the text and beside it, or Discord notifies nobody."""
    reply = final_reply(end_of_snapshot(ended()), inbound(1), 12.0, str, kept=True, ping=ALICE.id)
    assert (reply.ping, reply.tail()) == (ALICE.id, "<@11>\n-# 12 s")


@pytest.mark.parametrize(
    ("end", "kept", "labels"),
    [(interrupted(), True, ["Continue"]), (interrupted(), False, []), (stopped("bob"), True, [])],
)
def test_only_an_interrupted_prompt_that_is_kept_can_be_gone_on_with(
    end: TurnEnd, kept: bool, labels: list[str]
) -> None:
    """R2: the button names the thread and the prompt."""
    reply = final_reply(end, inbound(7), 0.0, str, kept=kept)
    assert [button.label for button in reply.buttons] == labels
    assert all(button.custom_id == "weft:go:100:7" for button in reply.buttons)
