"""What a message shows of a turn that runs, below its text."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acp.schema import PlanEntry
from acp.snapshot import Diff, Phase, TurnSnapshot
from bot.model import Verbosity
from bot.reply.live_status import live_block, plan_lines, status_line, without_block
from bot.reply.pending_reply import below
from bot.reply.sanitise import units
from bot.reply.split import PAGE, take
from tests.bot.reply.discord_reader import read
from tests.bot.reply.samples import snapshot, tool

PLAN = (PlanEntry(content="read", status="completed"), PlanEntry(content="write", status="in_progress"))


# --- while the turn runs


def test_the_status_is_one_small_line_with_time_tool_and_plan() -> None:
    """D5"""
    turn = snapshot(tools=(tool(title="npm test", status="in_progress"),), plan=PLAN, last_event=1027.0)
    assert status_line(turn, 1027.0) == "-# ⏳ 25 s · `npm test` · plan 1/2"


def test_a_silent_agent_is_reported_after_a_minute() -> None:
    """T7"""
    assert status_line(snapshot(last_event=1060.0), 1119.0) == "-# ⏳ 1 min"
    silent = snapshot(last_event=1060.0)
    told = "-# ⏳ 3 min · no sign of life for 2 min: the model provider may be overloaded or refusing"
    assert status_line(silent, 1180.0) == f"{told}. Wait or press Stop"
    assert status_line(replace(silent, last_words="429 `rate limit`"), 1180.0, 200) == (
        f"{told} (it last said `429 ˋrate limit`). Wait or press Stop"
    )
    at_work = replace(silent, tools=(tool(title="make", status="in_progress"),), last_words="429")
    assert status_line(at_work, 1180.0, 200) == (
        "-# ⏳ 3 min · `make` · no sign of life for 2 min: the tool may be slow. Wait or press Stop"
    )


def test_while_a_card_is_open_the_silence_is_the_persons() -> None:
    """T7"""
    assert status_line(snapshot(permissions=("t1",)), 1300.0) == "-# ⏳ 5 min · waiting for an answer"


def test_a_turn_that_is_being_cancelled_says_so() -> None:
    """T6"""
    assert status_line(snapshot(phase=Phase.CANCELLING), 1000.0) == "-# ⏳ 0 s · stopping"


def test_a_status_line_leaves_room_in_the_message() -> None:
    """D5"""
    turn = snapshot(tools=(tool(title="x" * 500, status="in_progress"),), plan=PLAN * 500)
    assert units(status_line(turn, 999_999.0)) <= 120


# --- what stands below it


def step(content: str, status: str = "pending") -> PlanEntry:
    return PlanEntry(content=content, status=status)


BUSY = snapshot(
    tools=(
        tool(id="1", title="Read a.py", kind="read", status="completed"),
        tool(id="2", title="Read b.py", kind="read", status="completed"),
        tool(
            id="3",
            title="Edit a.py",
            kind="edit",
            status="completed",
            diffs=(Diff("/srv/a.py", "one\ntwo\nthree\n", "one\n2\nthree\n"),),
        ),
        tool(id="4", title="npm run lint", kind="execute", status="failed", output="12 problems"),
        tool(id="5", title="npm test", status="in_progress", output="".join(f"ok {n}\n" for n in range(40))),
    ),
    plan=(step("Read the *code*", "completed"), step("Mend <@7>'s bug", "in_progress"), step("Test it")),
    thoughts="The test fails since ||two|| is no number.",
    text_length=4,
)


def test_normally_the_plan_is_a_list_to_tick_and_finished_tools_are_one_line() -> None:
    """V1, D5: what the agent says has no effect."""
    assert live_block(BUSY, 1025.0, 1900) == (
        "-# ⏳ 25 s · `npm test` · plan 1/3\n"
        "-# ☑ Read the \\*code\\*\n"
        "-# ▶ Mend \\<\\@7\\>'s bug\n"
        "-# ☐ Test it\n"
        "-# ✓ 2 reads · ✓ edit `a.py` · ✗ `npm run lint`"
    )


def test_quietly_there_is_a_sign_of_life_and_what_a_person_has_to_know() -> None:
    """V1, T6, T7"""
    quiet = replace(BUSY, last_event=1020.0)
    assert live_block(quiet, 1025.0, 1900, Verbosity.QUIET) == "-# ⏳ 25 s"
    assert live_block(replace(quiet, permissions=("1",)), 1090.0, 1900, Verbosity.QUIET).endswith("for an answer")
    assert "no sign of life for 1 min: the tool may be slow" in live_block(quiet, 1090.0, 1900, Verbosity.QUIET)


def test_verbosely_each_tool_has_its_output_and_its_change_and_thoughts_are_small() -> None:
    """V1"""
    assert live_block(BUSY, 1025.0, 1900, Verbosity.VERBOSE).split("\n", 4)[4] == (
        "-# 💭 The test fails since \\|\\|two\\|\\| is no number.\n"
        "-# ✓ `Read a.py`\n"
        "-# ✓ `Read b.py`\n"
        "-# ✓ `Edit a.py`\n"
        "-# · `/srv/a.py` +1 −1\n"
        "```diff\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n```\n"
        "-# ✗ `npm run lint` (failed)\n"
        "```\n12 problems\n```\n"
        "-# ▸ `npm test` · last 6 of 40 lines\n"
        "```\nok 34\nok 35\nok 36\nok 37\nok 38\nok 39\n```"
    )


def test_what_verbose_has_no_room_for_is_one_line() -> None:
    """V1: the latest tools come first; a secret is taken out before anything is cut."""
    output = "x" * 100 + "sesame-open " + "y" * 100
    tools = tuple(tool(id=str(n), title=f"run {n}", status="completed", output=output) for n in range(30))
    shown = live_block(
        snapshot(tools=tools), 1000.0, 600, Verbosity.VERBOSE, lambda text: text.replace("sesame-open", "[secret]")
    ).split("\n")
    assert shown[:2] == ["-# ⏳ 0 s", "-# ✓ 27 tools"]
    assert shown[-1:] == ["```"]
    assert [line for line in shown if "run" in line] == [f"-# ✓ `run {n}`" for n in (27, 28, 29)]
    assert all("ses" not in line for line in shown)
    last = live_block(snapshot(tools=tools), 1000.0, 250, Verbosity.VERBOSE).split("\n")
    assert last[1:] == ["-# ✓ 29 tools", "-# ✓ `run 29` · no room for its output"]
    long_diff = Diff("a", "".join(f"{n}\n" for n in range(900)), "".join(f"{n}!\n" for n in range(900)))
    edit = tool(title="edit", status="completed", diffs=(long_diff, *[Diff("b", None, "new\n" * 40)] * 3))
    assert live_block(snapshot(tools=(edit,)), 1000.0, 1900, Verbosity.VERBOSE).split("\n")[1:5] == [
        "-# ✓ `edit`",
        "-# · `a` · a large change",
        "-# · `b` +40 −0 · first 10 of 41 lines",
        "```diff",
    ]


@pytest.mark.parametrize(
    ("current", "shown"),
    [(0, (0, 1, 2, 3)), (1, (0, 1, 2, 3)), (5, (4, 5, 6, 7)), (8, (5, 6, 7, 8)), (9, (5, 6, 7, 8))],
)
def test_of_a_long_plan_the_steps_around_the_one_at_work_are_shown(current: int, shown: tuple[int, ...]) -> None:
    """V1: five lines, as there are to see on a phone; ``current`` 9: all nine are done."""
    plan = [step(f"Step {n}", "completed" if n < current else "pending") for n in range(9)]
    if current == 5:
        plan[5] = step("Step 5", "in_progress")
    lines = plan_lines(plan)
    assert [line.split()[-1] for line in lines[:-1]] == [str(n) for n in shown]
    assert lines[-1] == "-# and 5 more"
    assert len(plan_lines(plan[:5])) == 5


def test_a_turn_whose_agent_starts_or_thinks_says_so() -> None:
    """V1: the phase is part of the status line."""
    assert status_line(snapshot(starting=True), 1030.0) == "-# ⏳ 30 s · starting"
    assert "be slow to start. Wait" in status_line(snapshot(starting=True), 1090.0, 200)
    # W2: what comes before the start has its own limit.
    before = snapshot(starting=True, step="setting up: `npm ci`")
    assert status_line(before, 1300.0, 200) == "-# ⏳ 5 min · setting up: `npm ci`"
    assert status_line(snapshot(thoughts="hm"), 1030.0) == "-# ⏳ 30 s · thinking"
    assert status_line(snapshot(thoughts="hm", text_length=1), 1030.0) == "-# ⏳ 30 s"


HOSTILE = st.text(st.sampled_from("`*_~|<>[]()\\:#@/-⏳ 5s\n\u202e👩‍👩‍👧x\x1b"), max_size=300) | st.sampled_from(
    ["-# ⏳ 5 s", "\n-# ⏳ 5 s\n", "# ⏳ 5 s\n```", "x" * 3000, "🟥" * 900, "https://evil.example/@everyone", ""]
)
TOOLS = st.builds(
    lambda title, status, output, old, new, kind: tool(
        title=title, status=status, output=output, kind=kind, diffs=(Diff(title, old, new),) if new else ()
    ),
    HOSTILE,
    st.sampled_from(["pending", "in_progress", "completed", "failed", "?"]),
    HOSTILE,
    st.none() | HOSTILE,
    HOSTILE,
    st.sampled_from(["read", "edit", "switch_mode"]),
)
TURNS = st.builds(
    lambda tools, plan, thoughts, cut: snapshot(tools=tuple(tools), plan=tuple(plan), thoughts=thoughts, tools_cut=cut),
    st.lists(TOOLS, max_size=12),
    st.lists(st.builds(step, HOSTILE, st.sampled_from(["pending", "in_progress", "completed", "?"])), max_size=12),
    HOSTILE,
    st.integers(0, 2000),
)


@settings(deadline=None, max_examples=150)
@given(TURNS, st.text(st.sampled_from("ab `~*\n-#⏳5s|🟥"), max_size=4000), st.sampled_from(Verbosity))
def test_whatever_an_agent_does_the_block_fits_below_its_text_and_is_known_after_a_restart(
    turn: TurnSnapshot, answer: str, verbosity: Verbosity
) -> None:
    """V1, D4, D9, R2: and nothing in it has an effect in Discord."""
    text = take(answer, 0, PAGE).shown
    block = live_block(turn, 1025.0, 2000 - units(text) - 1, verbosity)
    shown = below(text, block)
    assert units(shown) <= 2000
    assert without_block(shown.strip()) == text.strip()
    reading = read(block)
    assert (reading.masked, reading.spoilers) == ([], [])
    bare = re.sub(r"\\[^0-9A-Za-z\s]", "", reading.rest)
    assert not re.search(r"[`*_~|<>\[\]@]|https?://", bare)
    assert all(line.startswith("-# ") for line in reading.rest.split("\n") if line.strip())
