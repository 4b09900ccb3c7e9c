"""Kept turns as Markdown: whose words are whose, whatever they say."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from acp.schema import PlanEntry
from acp.snapshot import Diff, ToolState
from bot.model import Actor, Quote
from bot.reply.port import MESSAGE_LIMIT
from bot.reply.sanitise import units
from bot.work.transcripts.markdown import DETAILS, KeptTurn, details_message, details_text, fenced, turn_text
from bot.work.transcripts.record import FinishedTurn, packed, unpacked
from tests.bot.work.samples import inbound
from tests.bot.work.transcripts.turns import over, rich
from tests.pool.samples import decision


def kept(turn: FinishedTurn, *decisions: int) -> KeptTurn:
    return KeptTurn(unpacked(packed(turn, str)), [decision(one) for one in decisions])


def outside(markdown: str) -> list[str]:
    """Return the lines that stand in no fence, without inline code, as CommonMark reads them."""
    lines, fence = list[str](), ""
    for line in re.split(r"\r\n|\r|\n", markdown):
        run = re.fullmatch(r" {0,3}(`{3,}|~{3,})([^`]*)", line)
        if fence:
            if run and run[1].startswith(fence) and not run[2].strip():
                fence = ""
        elif run:
            fence = run[1]
        else:
            lines.append(re.sub(r"`[^`]*`", "", line))
    assert not fence, "a fence that is not closed"
    return lines


def test_a_turn_reads_as_a_conversation() -> None:
    """S3: prompts, answer, tools, decisions and files by name, with their times, the agent and its model."""
    text = turn_text(kept(rich(), 1))
    assert text == (
        "## 2025-11-24 16:01 UTC, `claude` (`large`)\n\n"
        "**`alice`** wrote at 2025-11-24 16:00 UTC:\n\n```text\nbuild it\n```\n\n"
        "It quotes `Reply to bob (12)`:\n\n```text\nthe old plan\n```\n\nFiles: `plan.txt`\n\n"
        "**`bob`** wrote while the agent worked at 2025-11-24 16:01 UTC:\n\n```text\nand test it\n```\n\n"
        "**Answer**: answered · 12 s · 2 tools · 41% of context · $0.02\n\n```markdown\nDone.\n```\n\n"
        "Files: `chart.png`\n\n"
        "**Thoughts**\n\n```text\nHm.\n```\n\n**Plan**\n\n- [x] `edit`\n\n**Tools**\n\n"
        "✓ `edit a.py`\n\nChanged `a.py`\n\n```diff\n--- a.py\n+++ a.py\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n```\n\n"
        "(Too large to keep: 1 more of its changes.)\n\n"
        "✗ `tests` (failed)\n\n```sh\nnpm test\n```\n\n```text\n1 failed\n```\n\n"
        "(Not kept: 7 bytes of its output.)\n\n⛔ `rm` (not allowed)\n\n"
        "**Decisions**\n\n- ✅ 2025-11-24 16:00 UTC: `rm -r build/1`, allowed by `bob ü🧵`"
    )
    brief = turn_text(kept(over(thoughts="Hm.", tools=(ToolState("1", "ls", output="x" * 900),))), brief=True)
    assert ("Hm." in brief, "500 characters left out" in brief) == (False, True)


HOSTILE = st.lists(
    st.sampled_from(
        ["```", "````", "~~~~", "`", "\n", "\r", "\x0b", "\u2028", "# OUT", "**Answer**", "> OUT", "<!--", " "]
    ),
    max_size=12,
).map("".join)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(HOSTILE)
def test_no_text_gets_out_of_its_place(text: str) -> None:
    """S3, V2: an agent can't write a heading of ours, nor words of somebody else's."""
    text = f"{text}\nOUT"
    tool = ToolState("1", text, text, text, text, diffs=(Diff(text, None, text),), raw_input={"command": text})
    prompt = replace(inbound(7, text=text), author=Actor(1, text), quotes=(Quote(text, text),))
    turn = over([prompt], text=text, thoughts=text, tools=(tool,), model=text, plan=(PlanEntry(content=text),))
    turn = replace(turn, agent=text)
    for markdown in (turn_text(kept(turn)), turn_text(kept(turn), brief=True), details_text(kept(turn)), fenced(text)):
        assert not [line for line in outside(markdown) if "OUT" in line or "<!--" in line]
    assert "OUT" not in "\n".join(outside(details_message(kept(turn))[0])).replace("NOT_", "")


def test_few_details_are_a_message_and_many_are_a_file() -> None:
    """V2: on a phone, what ran is seen first."""
    text, file = details_message(
        kept(over(thoughts="Hm.", tools=(ToolState("1", "ls", status="completed", output="a"),)))
    )
    assert (text, file) == ("-# What the agent thought:\n```\nHm.\n```\n✓ `ls`\n```\na\n```", None)
    tools = tuple(ToolState(str(number), f"step {number}", output="y" * 500) for number in range(40))
    text, file = details_message(kept(over(text="Hi.", tools=tools)))
    assert text.splitlines()[-2:] == [
        "-# and 36 more",
        f"-# All of it, with thoughts, outputs and changes, is in `{DETAILS}`.",
    ]
    assert units(text) < MESSAGE_LIMIT
    assert file is not None
    assert file.data.count(b"y" * 500) == 40
    assert "Hi." not in file.data.decode(), "the answer is above the button"
