"""Footer and outcome lines."""

from __future__ import annotations

import re

import pytest

from acp.errors import AgentExit
from acp.schema import Cost
from acp.snapshot import BY_AGENT, ContextUse, Lost, PromptError
from bot.model import Outcome
from bot.reply.render import (
    HEADLINES,
    coarse,
    duration,
    footer,
    outcome_lines,
)
from bot.reply.sanitise import units
from tests.bot.reply.samples import snapshot, tool


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0 s"), (4.9, "0 s"), (59, "55 s"), (60, "1 min"), (3599, "59 min"), (3900, "1 h 05 min")],
)
def test_a_running_time_changes_seldom(seconds: float, shown: str) -> None:
    """D3: time alone causes few edits."""
    assert coarse(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.4, "1 s"),
        (4, "4 s"),
        (59.2, "1 min"),
        (90, "1 min 30 s"),
        (600, "10 min"),
        (3660, "1 h 1 min"),
        (7200, "2 h"),
    ],
)
def test_a_limit_of_time_is_never_told_shorter_than_it_is(seconds: float, shown: str) -> None:
    """D6: a card that waits for four seconds does not wait for zero."""
    assert duration(seconds) == shown


# --- the end


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.ANSWERED])
def test_every_outcome_is_told_as_a_sentence(outcome: Outcome) -> None:
    """O1: the outcome's own word is for logs and metrics."""
    (line,) = outcome_lines(outcome, reason="why")
    assert re.fullmatch(rf"(⏹|⚠️) \*\*{HEADLINES[outcome]}(\*\* |[:.]\*\*).*\.", line)
    assert str(outcome) not in line or outcome.isalpha()


def test_a_plain_answer_needs_no_line() -> None:
    """O1"""
    assert outcome_lines(Outcome.ANSWERED, snapshot(stop_reason="end_turn")) == ()


@pytest.mark.parametrize("reason", ["refusal", "max_tokens", "max_turn_requests"])
def test_an_answer_that_ran_into_a_limit_gets_a_line(reason: str) -> None:
    """O1"""
    (line,) = outcome_lines(Outcome.ANSWERED, snapshot(stop_reason=reason))
    assert line.startswith("-# ⚠️ The agent")


def test_a_dead_agent_is_shown_with_its_exit_and_last_words_redacted() -> None:
    """O1"""
    died = snapshot(exit=AgentExit(-9, "start\nkey sk-123 `bad`\n\n"))
    lines = outcome_lines(Outcome.AGENT_DIED, died, redact=lambda text: text.replace("sk-123", "[secret]"))
    told = "⚠️ **The agent crashed:** signal 9 (SIGKILL), last said `key [secret] ˋbad`. Write again to go on."
    assert lines == (told,)


NOT_STARTED, FIXED = "⚠️ **The agent could not start:**", " Send it again once that is fixed."


def start(stderr: str) -> tuple[str, ...]:
    return outcome_lines(Outcome.COULD_NOT_START, reason="no", stderr=stderr)


def test_a_failed_start_shows_the_last_lines_of_stderr_in_a_block_below_the_last() -> None:
    """O1: the ten last that are not empty; one alone stands in the line already."""
    many = "\n\n".join(f"  line {number}" for number in range(20))
    shown = "\n".join(f"  line {number}" for number in range(10, 20))
    assert start(many) == (f"{NOT_STARTED} `no: line 19`.{FIXED}", f"```\n{shown}\n```")
    assert start("\nonly\n \n") == (f"{NOT_STARTED} `no: only`.{FIXED}",)
    assert start("\x1b[0m\n \n") == (f"{NOT_STARTED} `no`.{FIXED}",)


@pytest.mark.parametrize("line", ["```", "`" * 300, "a```\n@everyone", "\u202e" * 200, "x" * 5000, "👩‍👩‍👧" * 500])
def test_stderr_neither_leaves_its_block_nor_outgrows_the_message(line: str) -> None:
    """O1, D9: nothing in it has an effect."""
    headline, block = start("\n".join([line] * 12))
    assert units(block) <= 900
    assert units(headline) + units(block) < 2000
    assert (block[:4], block[-4:], block.count("```")) == ("```\n", "\n```", 2)
    assert "\u202e" not in headline + block


def test_long_lines_of_stderr_do_not_push_the_short_ones_out() -> None:
    """O1: a program prints the whole line of its source that failed, and then says why."""
    _, block = start("\n".join(["x" * 5000, "    ^", "Error: no key", "    at main"]))
    assert block == "```\n" + "x" * 199 + "…\n    ^\nError: no key\n    at main\n```"


def test_who_stopped_is_named_and_cannot_smuggle_markdown_in() -> None:
    """O1"""
    assert outcome_lines(Outcome.STOPPED, by="**Ann**\n@here") == ("⏹ **Stopped** by `**Ann** @here`.",)


def test_a_forced_stop_says_so() -> None:
    """O1, T6"""
    lines = outcome_lines(Outcome.STOPPED, snapshot(cancelled_by="Ann", killed=True))
    assert lines == ("⏹ **Stopped** by `Ann`. The agent did not react, so it was ended.",)


def test_a_turn_that_the_agent_ended_unasked_is_stopped_by_the_agent() -> None:
    """O1"""
    assert outcome_lines(Outcome.STOPPED, snapshot(cancelled_by=BY_AGENT)) == ("⏹ **Stopped** by the agent.",)


def test_a_failed_turn_shows_the_agents_message() -> None:
    """O1"""
    failed = snapshot(error=PromptError("quota used up", -32603))
    assert outcome_lines(Outcome.FAILED, failed) == ("⚠️ **Failed:** `quota used up`. Send it again to retry.",)


def test_what_was_not_kept_is_counted() -> None:
    """T10"""
    lines = outcome_lines(Outcome.ANSWERED, snapshot(text_cut=12_345, tools_cut=3))
    assert lines == (
        "-# 12,345 bytes of the answer were left out: it was too long",
        "-# 3 more tool calls are not listed",
    )


def test_the_footer_names_what_is_known() -> None:
    """D5"""
    turn = snapshot(
        tools=(tool(), tool(), tool()), context=ContextUse(82_000, 200_000), cost=Cost(amount=0.0213), model="sonnet"
    )
    assert footer(turn, 12.3) == "-# 12 s · 3 tools · 41% of context · $0.02 · `sonnet`"
    assert footer(snapshot(model="sonnet", mode="plan`"), 1) == "-# 1 s · `sonnet` · `plan`"


def test_the_footer_leaves_out_what_is_unknown() -> None:
    """D5"""
    assert footer(snapshot(), 75) == "-# 1 min 15 s"
    assert footer(snapshot(context=ContextUse(5, 0), cost=Cost(amount=0), tools=(tool(),)), 0.4) == "-# 0 s · 1 tool"


def test_a_small_or_foreign_amount_is_still_an_amount() -> None:
    """D5"""
    assert footer(snapshot(cost=Cost(amount=0.0012)), 1) == "-# 1 s · $0.0012"
    assert footer(snapshot(cost=Cost(amount=1.5, currency="EUR")), 1) == "-# 1 s · 1.50 EUR"


def test_the_footer_has_at_most_its_room() -> None:
    """D5"""
    turn = snapshot(
        model="m" * 300, mode="p" * 300, cost=Cost(amount=1e30, currency="X" * 99), context=ContextUse(10**40, 1)
    )
    assert units(footer(turn, 1e9)) <= 120


def test_numbers_beyond_all_reason_do_not_cost_the_footer() -> None:
    """O1: whatever an agent says of its context and its bill, the turn has its end."""
    turn = snapshot(context=ContextUse(10**400, 1), cost=Cost(amount=float("inf")))
    assert footer(turn, 1) == "-# 1 s"
    assert footer(snapshot(context=ContextUse(-(10**400), 1), cost=Cost(amount=float("nan"))), 1) == "-# 1 s"


@pytest.mark.parametrize(
    ("lost", "lines"),
    [
        (Lost(), ()),
        (Lost().one_more(20_000_000), ("-# ⚠️ A message of the agent was too large (20 MB) and is missing here.",)),
        (
            Lost().one_more(20_000_000).one_more(17_000_000).one_more(None),
            (
                "-# ⚠️ 2 messages of the agent were too large (37 MB in all) and are missing here.",
                "-# ⚠️ A message of the agent was not readable and is missing here.",
            ),
        ),
    ],
)
def test_what_was_dropped_is_told_with_the_end(lost: Lost, lines: tuple[str, ...]) -> None:
    """T9."""
    assert outcome_lines(Outcome.ANSWERED, snapshot(lost=lost)) == lines
