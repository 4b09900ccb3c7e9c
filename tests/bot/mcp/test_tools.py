"""The tools as models read them, and what of their arguments is refused before anything is done (M2)."""

from __future__ import annotations

import jsonschema
import pytest

from bot.mcp.tools import TOOLS, Ask, AskField, ToolArguments, ToolRefused, description, input_schema, validated

GOOD: list[tuple[str, dict[str, object]]] = [
    ("send_file", {"path": "out/a.png"}),
    ("send_file", {"path": "/w/a.png", "caption": "The plot"}),
    ("ask", {"question": "Go on?"}),
    ("ask", {"question": "Which?", "options": ["a", "b"]}),
    ("ask", {"question": "Who?", "fields": [{"name": "who", "label": "Who"}, {"name": "n", "type": "integer"}]}),
    ("ask", {"question": "Who?", "fields": [{"name": "c", "type": "choice", "options": ["a", "b"]}]}),
    ("read_thread", {}),
    ("read_thread", {"limit": 50, "before": "1234567890123456789"}),
    ("start_thread", {"prompt": "Fix it", "agent": "claude", "project": "weft"}),
    ("schedule", {"when": "0 9 * * 1-5", "prompt": "Report"}),
    ("set_title", {"title": "Fix the login"}),
]
BAD: list[tuple[str, dict[str, object], str]] = [
    ("send_file", {}, "path: Field required"),
    ("send_file", {"path": ""}, "path: "),
    ("ask", {"question": "x", "options": ["a"]}, "options: "),
    ("ask", {"question": "x", "options": ["a"] * 26}, "options: "),
    ("ask", {"question": "x", "options": ["a", "b" * 101]}, "options.1: "),
    ("ask", {"question": "x", "options": ["a", "b"], "fields": [{"name": "a"}]}, "give options or fields, not both"),
    ("ask", {"question": "x", "fields": [{"name": "a"}, {"name": "a"}]}, "two fields have the same name"),
    ("ask", {"question": "x", "fields": [{"name": "a", "type": "choice"}]}, "fields.0: options belong to fields"),
    ("ask", {"question": "x", "fields": [{"name": "a", "type": "secret"}]}, "fields.0.type: "),
    ("read_thread", {"limit": 51}, "limit: "),
    ("read_thread", {"before": "../1"}, "before: "),
    ("read_thread", {"thread_id": 7}, "thread_id: Extra inputs are not permitted"),
    ("start_thread", {"prompt": "x" * 16_001}, "prompt: "),
    ("schedule", {"when": "0 9 * * *"}, "prompt: Field required"),
    ("set_title", {"title": "x" * 101}, "title: "),
]


@pytest.mark.parametrize(("tool", "arguments"), GOOD)
def test_what_the_schema_allows_is_taken(tool: str, arguments: dict[str, object]) -> None:
    """M2"""
    jsonschema.Draft202012Validator(input_schema(TOOLS[tool])).validate(arguments)
    assert type(validated(tool, arguments)) is TOOLS[tool]


@pytest.mark.parametrize(("tool", "arguments", "problem"), BAD)
def test_what_is_refused_is_told_by_the_name_of_the_argument(
    tool: str, arguments: dict[str, object], problem: str
) -> None:
    """M2"""
    with pytest.raises(ToolRefused, match=f"^The arguments of {tool} are not right: ") as caught:
        validated(tool, arguments)
    assert problem in str(caught.value)


def test_a_model_may_say_null_for_what_it_leaves_out() -> None:
    """M2"""
    asked = validated("ask", {"question": "x", "options": None, "fields": [{"name": "a", "label": None}]})
    assert asked == Ask(question="x", fields=(AskField(name="a"),))


def test_problems_are_few_and_short_however_many_there_are() -> None:
    """M2"""
    with pytest.raises(ToolRefused) as caught:
        validated("set_title", {"k" * 10_000: 1, **{f"k{number}": 1 for number in range(1000)}})
    assert len(str(caught.value)) < 2000
    assert str(caught.value).endswith("and 997 more.")


@pytest.mark.parametrize("model", TOOLS.values(), ids=TOOLS)
def test_a_tool_is_described_without_what_clients_stumble_over(model: type[ToolArguments]) -> None:
    """M2"""
    schema = input_schema(model)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert not any(word in str(schema) for word in ("$ref", "$defs", "anyOf", "'null'"))
    assert all("description" in each for each in schema["properties"].values() if each["type"] != "boolean")
    assert len(description(model)) > 80
