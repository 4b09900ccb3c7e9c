"""Plans that people are to agree to: shown in full, as Markdown, and once (C7)."""

from __future__ import annotations

from typing import Any

import pytest

from acp.schema import ToolCallUpdate
from bot.reply.plan import HEADLINE, plan_bodies, plan_of, without_plan
from bot.reply.sanitise import units


def call(plan: str = "", *texts: str, kind: str = "switch_mode", **more: Any) -> ToolCallUpdate:
    content = [{"type": "content", "content": {"type": "text", "text": text}} for text in texts]
    raw = {"toolCallId": "t", "kind": kind, "content": content, **more}
    return ToolCallUpdate.parse(raw | ({"rawInput": {"plan": plan}} if plan else {}))


@pytest.mark.parametrize(
    ("asked", "plan"),
    [
        (call("# A"), "# A"),
        (call("", "# A"), "# A"),
        (call("# A", "# A"), "# A"),
        (call("# A", "# A and more"), "# A and more"),
        (call("", "one", "two"), "one\n\ntwo"),
        (call("", rawInput=["x"]), ""),
        (call("", rawInput={"plan": 7}), ""),
        (call(" \n", "\u200b"), ""),
        (call("# A", kind="edit"), ""),
        (call("x" * (8 * 2**20 + 1)), ""),
    ],
)
def test_a_plan_is_what_a_switch_of_the_mode_says(asked: ToolCallUpdate, plan: str) -> None:
    assert plan_of(asked) == plan


def test_the_card_keeps_all_that_is_not_the_plan() -> None:
    diff = {"type": "diff", "path": "a", "newText": "b"}
    raw: dict[str, Any] = {"toolCallId": "t", "title": "Ready?", "rawInput": {"plan": "P", "x": 1}, "odd": 2}
    raw["content"] = [{"type": "content", "content": {"type": "text", "text": text}} for text in ("P", "other")]
    raw["content"].append(diff)
    asked = ToolCallUpdate.parse(raw)
    shown = without_plan(asked, "P").as_sent()
    assert (shown["content"], shown["rawInput"]) == ([raw["content"][1], diff], {"x": 1})
    assert {key: shown[key] for key in ("title", "odd")} == {"title": "Ready?", "odd": 2}
    assert asked.as_sent()["rawInput"] == {"plan": "P", "x": 1}
    assert without_plan(asked, "another").as_sent() == raw


def test_a_plan_of_up_to_three_messages_is_posted_as_it_is() -> None:
    assert plan_bodies("") == []
    (short,) = plan_bodies("- a\r\n- b\u202e")
    assert (short.text, short.file) == (f"{HEADLINE}\n- a\n- b<U+202E>", None)
    plan = "\n\n".join(f"Step {number}: {'x' * 500}" for number in range(9))
    bodies = plan_bodies(plan)
    assert (len(bodies), [body.file for body in bodies]) == (3, [None] * 3)
    assert all(units(body.text) <= 2000 for body in bodies)
    assert all(f"Step {number}:" in "".join(body.text for body in bodies) for number in range(9))


def test_a_longer_plan_is_a_file_with_its_beginning_and_is_not_posted_without_it() -> None:
    plan = "# Plan\n\n```python\n" + "do()\n" * 3000 + "```"
    (body,) = plan_bodies(plan, lambda text: text.replace("do", "DO"))
    assert body.file is not None
    assert (body.file.name, body.file.data.decode()) == ("plan.md", plan + "\n")
    assert body.text.startswith(f"{HEADLINE}\n# Plan\n")
    assert "DO()" in body.text
    assert body.text.endswith(f"all of it ({len(plan):,} characters) is in the file.")
    assert (units(body.text) <= 2000, body.fileless) == (True, ())
