"""Forms that agents ask people to fill in: every type of the schema, every wrong answer, and hostile schemas (C6)."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from bot.work.questions.form import IN_A_STEP, NO, YES, Choice, Form, Kind, Unaskable, read_form


def form(required: tuple[str, ...] = (), **properties: Any) -> Form:
    return read_form({"type": "object", "properties": properties, "required": list(required)})


def one(**described: Any) -> Form:
    return form(("x",), x=described)


def answer(asked: Form, *typed: str) -> Any:
    """Return the value of the only field, or what is wrong with it."""
    content, wrong = asked.read({"x": typed})
    return content["x"] if content else wrong.get("x")


NAMES = [{"const": "#F00", "title": "Red", "description": "like fire"}, {"const": "#00F", "title": "Blue"}]
MULTI = {"type": "array", "items": {"anyOf": NAMES}}


@pytest.mark.parametrize(
    ("described", "kind", "typed", "value"),
    [
        ({"type": "string"}, Kind.TEXT, ["a\nb "], "a\nb "),
        ({"type": "string", "format": "email"}, Kind.TEXT, ["a@b"], "a@b"),
        ({"type": "string", "format": "uri"}, Kind.TEXT, ["https://a.org/b?c"], "https://a.org/b?c"),
        ({"type": "string", "format": "date"}, Kind.TEXT, ["2026-02-28"], "2026-02-28"),
        ({"type": "string", "format": "date-time"}, Kind.TEXT, ["2026-02-28T01:02:03Z"], "2026-02-28T01:02:03Z"),
        ({"type": "string", "format": "shoe-size"}, Kind.TEXT, ["44"], "44"),
        ({"type": "string", "pattern": "^a+$"}, Kind.TEXT, ["b"], "b"),
        ({"type": "integer", "minimum": 1, "maximum": 65535}, Kind.INTEGER, [" 8080 "], 8080),
        ({"type": "number"}, Kind.NUMBER, ["-1.5e3"], -1500.0),
        ({"type": "number"}, Kind.NUMBER, ["7"], 7),
        ({"type": "boolean"}, Kind.YES_NO, [YES], True),
        ({"type": "boolean"}, Kind.YES_NO, [NO], False),
        ({"type": "string", "enum": ["a", "b"]}, Kind.CHOICE, ["1"], "b"),
        ({"type": "string", "enum": ["a", "b"], "enumNames": ["A"]}, Kind.CHOICE, ["0"], "a"),
        ({"enum": ["a", 7, "b"]}, Kind.CHOICE, ["1"], "b"),
        ({"type": "string", "oneOf": NAMES}, Kind.CHOICE, ["0"], "#F00"),
        ({"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}, Kind.CHOICES, ["0", "1"], ["a", "b"]),
        ({**MULTI, "minItems": 1, "maxItems": 1}, Kind.CHOICES, ["1"], ["#00F"]),
        ({"type": "string", "enum": [str(n) for n in range(26)]}, Kind.CHOICE, [" 25 "], "25"),
        (
            {"type": "array", "items": {"enum": [f"n{n}" for n in range(26)]}},
            Kind.CHOICES,
            ["N1\n\nn2\nn1"],
            ["n1", "n2"],
        ),
    ],
)
def test_each_type_of_the_schema_is_a_field(described: Any, kind: Kind, typed: list[str], value: Any) -> None:
    asked = one(**described)
    assert (asked.fields[0].kind, answer(asked, *typed)) == (kind, value)
    assert type(answer(asked, *typed)) is type(value)


@pytest.mark.parametrize(
    ("described", "typed", "said"),
    [
        ({"type": "string"}, [], "needs an answer"),
        ({"type": "string"}, [""], "needs an answer"),
        ({"type": "string", "minLength": 3}, ["ab"], "needs at least 3 characters and has 2"),
        ({"type": "string", "maxLength": 1}, ["ab"], "takes at most 1 character and has 2"),
        ({"type": "string", "format": "email"}, ["ann"], "takes an e-mail address"),
        ({"type": "string", "format": "email"}, ["ann @b"], "takes an e-mail address"),
        ({"type": "string", "format": "uri"}, ["example.org"], "takes an address such as https://example.org"),
        ({"type": "string", "format": "uri"}, ["http://[1"], "takes an address such as https://example.org"),
        ({"type": "string", "format": "date"}, ["2026-02-30"], "takes a date such as 2026-01-31"),
        ({"type": "string", "format": "date"}, ["20260228"], "takes a date such as 2026-01-31"),
        ({"type": "string", "format": "date-time"}, ["2026-02-28T01:02"], "takes a time such as 2026-01-31T09:30:00Z"),
        ({"type": "integer"}, ["twelve"], "takes a whole number, not 'twelve'"),
        ({"type": "integer"}, ["1.0"], "takes a whole number, not '1.0'"),
        ({"type": "integer"}, ["1_0"], "takes a whole number, not '1_0'"),
        ({"type": "integer"}, ["٣"], "takes a whole number, not '٣'"),
        ({"type": "integer"}, ["9" * 39], f"takes no number as large as '{'9' * 39}'"),
        ({"type": "integer"}, ["9" * 4000], f"takes a whole number, not '{'9' * 40}…'"),
        ({"type": "number"}, ["nan"], "takes a number, not 'nan'"),
        ({"type": "number"}, ["1e999"], "takes no number as large as '1e999'"),
        ({"type": "number", "minimum": 0.5}, ["0"], "must be at least 0.5"),
        ({"type": "integer", "maximum": 1234567}, ["1234568"], "must be at most 1234567"),
        ({"type": "boolean"}, [], "needs an answer"),
        ({"type": "string", "enum": ["a"]}, ["7"], "has no such option"),
        ({"type": "string", "enum": ["a"]}, ["-1"], "has no such option"),
        ({**MULTI, "minItems": 2}, ["0"], "needs at least 2 options"),
        ({**MULTI, "maxItems": 1}, ["0", "1"], "takes at most 1 option"),
        ({"type": "string", "enum": [str(n) for n in range(26)]}, ["26"], "has no option '26'"),
        ({"type": "array", "items": {"enum": [str(n) for n in range(26)]}}, [" \n "], "needs an answer"),
    ],
)
def test_a_wrong_answer_is_explained(described: Any, typed: list[str], said: str) -> None:
    assert answer(one(**described), *typed) == said


def test_what_nobody_has_to_fill_in_may_stay_empty() -> None:
    asked = form(a={"type": "string", "minLength": 3}, b={"type": "boolean"}, c=MULTI)
    assert asked.read({"a": [""], "c": []}) == ({}, {})
    assert asked.read({"a": ["xyz"]}, asked.fields[:1]) == ({"a": "xyz"}, {})


@pytest.mark.parametrize(
    ("described", "stands"),
    [
        ({"type": "string", "default": "main"}, ("main",)),
        ({"type": "string", "default": 7}, ()),
        ({"type": "string", "default": "x" * 4001}, ()),
        ({"type": "integer", "default": 3000}, ("3000",)),
        ({"type": "integer", "default": True}, ()),
        ({"type": "boolean", "default": False}, (NO,)),
        ({"type": "boolean", "default": "no"}, ()),
        ({"type": "string", "oneOf": NAMES, "default": "#00F"}, ("1",)),
        ({**MULTI, "default": ["#00F", "#F00", "green"]}, ("0", "1")),
        ({"type": "array", "items": {"enum": [str(n) for n in range(26)]}, "default": ["3", "5"]}, ("3\n5",)),
    ],
)
def test_a_default_stands_in_its_field_at_first(described: Any, stands: tuple[str, ...]) -> None:
    assert one(**described).fields[0].default == stands


def test_a_field_says_what_it_is_for_and_what_it_takes() -> None:
    asked = form(
        ("port",),
        port={"type": "integer", "title": " Port ", "description": "to listen on", "minimum": 1024, "maximum": 65535},
        name={"type": "string", "minLength": 2, "maxLength": 2, "pattern": "^[a-z]+$"},
        mail={"type": "string", "format": "email", "title": 7},
        ok={"type": "boolean"},
        some={**MULTI, "minItems": 1},
    )
    assert [(one.title, one.about, one.required) for one in asked.fields[:3]] == [
        ("Port", "to listen on", True),
        ("name", "", False),
        ("mail", "", False),
    ]
    assert [one.takes for one in asked.fields] == [
        "a whole number from 1024 to 65535",
        "2 characters, matching ^[a-z]+$",
        "an e-mail address",
        "one of 2 options",
        "at least 1 of 2 options",
    ]
    assert asked.fields[4].choices[0] == Choice("#F00", "Red", "like fire")


def test_one_is_counted_in_the_singular() -> None:
    one = [{"minLength": 1, "maxLength": 1}, {"maxLength": 1}, {"minLength": 1}, {"minLength": 1, "maxLength": 2}]
    asked = read_form({"properties": {str(number): {"type": "string"} | keys for number, keys in enumerate(one)}})
    assert [field.takes for field in asked.fields] == [
        "1 character",
        "at most 1 character",
        "at least 1 character",
        "1 to 2 characters",
    ]


@pytest.mark.parametrize(("count", "steps"), [(0, []), (1, [1]), (5, [5]), (6, [3, 3]), (10, [5, 5]), (11, [4, 4, 3])])
def test_fields_are_spread_evenly_over_steps(count: int, steps: list[int]) -> None:
    asked = read_form({"properties": {f"f{number}": {"type": "string"} for number in range(count)}})
    assert [len(step) for step in asked.steps] == steps
    assert [one for step in asked.steps for one in step] == list(asked.fields)
    assert all(size <= IN_A_STEP for size in steps)


CHOICE = {"type": "string", "enum": ["a", "b"]}
OTHER = {"type": "string", "title": "Other"}


@pytest.mark.parametrize(
    ("properties", "required", "quick"),
    [
        ({"q": CHOICE}, (), "q"),
        ({"q": CHOICE, "q_custom": OTHER}, ("q",), "q"),
        ({"sure": {"type": "boolean"}}, ("sure",), "sure"),
        ({"q": CHOICE, "why": OTHER}, ("why",), None),
        ({"q": CHOICE, "p": CHOICE}, (), None),
        ({"q": CHOICE, "p": MULTI}, (), None),
        ({"p": MULTI}, (), None),
        ({"q": {"enum": [str(n) for n in range(26)]}}, (), None),
        ({"why": OTHER}, (), None),
        ({}, (), None),
    ],
)
def test_a_single_choice_answers_the_question_by_itself(
    properties: dict[str, Any], required: tuple[str, ...], quick: str | None
) -> None:
    found = form(required, **properties).quick
    assert (found.key if found else None) == quick


@pytest.mark.parametrize(
    ("names", "buttoned"),
    [(["a"] * 1, True), (list("abcde"), True), (list("abcdef"), False), (["x" * 81], False), (["a\nb"], False)],
)
def test_few_short_options_fit_on_buttons(names: list[str], buttoned: bool) -> None:
    assert one(enum=names).fields[0].buttoned is buttoned


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"type": "object", "properties": {"x": value}}
    return value


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "array"}, "the requestedSchema is not an object with properties"),
        ({"properties": []}, "the requestedSchema is not an object with properties"),
        ({"properties": {}, "required": "x"}, "the requestedSchema is not an object with properties"),
        ({"properties": {}, "required": ["x"]}, "the form requires fields that it does not describe: 'x'"),
        ({"properties": {}, "required": [["x"]]}, "the form requires fields that it does not describe: ['x']"),
        (
            {"properties": {f"f{number}": {"type": "string"} for number in range(1000)}},
            "the form has 1,000 fields and may have 25",
        ),
        ({"properties": {"x": {"enum": [str(n) for n in range(100_000)]}}}, "is larger than 131,072 bytes"),
        ({"properties": {"x": {"type": "string", "title": "t" * 200_000}}}, "is larger than 131,072 bytes"),
        (nested(100_000), "is larger than 131,072 bytes"),
    ],
)
def test_a_schema_that_is_no_form_is_refused_with_the_reason(schema: Any, why: str) -> None:
    with pytest.raises(Unaskable) as caught:
        read_form(schema)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("described", "why"),
    [
        (None, "it is not described by an object"),
        (nested(50), "only texts, numbers, booleans and choices can be asked"),
        ({"$ref": "#/properties/x", "type": "string"}, "only texts, numbers, booleans and choices can be asked"),
        ({"type": ["string", "null"]}, "only texts, numbers, booleans and choices can be asked"),
        ({"type": "colour"}, "only texts, numbers, booleans and choices can be asked"),
        ({"type": "array"}, "its items have no options"),
        ({"type": "array", "items": {"type": "string"}}, "its items have no options"),
        ({"type": "string", "enum": []}, "it has no options"),
        ({"type": "string", "oneOf": [{"const": 1}, "a"]}, "it has no options"),
        ({"type": "string", "minLength": 4001}, "nobody can type more than 4,000 characters here"),
        ({"enum": [str(n) for n in range(501)]}, "it has 501 options and may have 500"),
    ],
)
def test_a_field_that_cannot_be_asked_is_left_out_unless_it_is_required(described: Any, why: str) -> None:
    asked = form(x=described, y={"type": "string"})
    assert ([field.key for field in asked.fields], asked.left_out) == (["y"], ("x",))
    with pytest.raises(Unaskable, match="the field 'x' can't be asked") as caught:
        form(("x",), x=described)
    assert why in str(caught.value)


def test_no_expression_and_no_reference_of_an_agents_is_followed() -> None:
    evil = {"type": "string", "pattern": "^(a+)+$", "$defs": {"x": {"$ref": "#/$defs/x"}}, "minimum": 10**400}
    began = time.process_time()
    assert answer(one(**evil), "a" * 3999 + "!") == "a" * 3999 + "!"
    assert answer(one(type="number", minimum=10**400), "1") == 1
    assert answer(one(type="string", format="date"), "1" * 4000) == "takes a date such as 2026-01-31"
    assert answer(one(type="string", format="email"), "@" * 4000) == "takes an e-mail address"
    assert answer(one(type="number"), "1" * 4000 + "e") is not None
    # Processor time, and an expression that is tried would take years.
    assert time.process_time() - began < 5


FIELDS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("string")}, optional={"minLength": st.integers(0, 5), "maxLength": st.integers(5, 9)}
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])},
        optional={"minimum": st.integers(-9, 0), "maximum": st.integers(0, 9)},
    ),
    st.just({"type": "boolean"}),
    st.just({"type": "string", "enum": ["a", "b", "c"]}),
    st.fixed_dictionaries(
        {"type": st.just("array"), "items": st.just({"type": "string", "enum": ["a", "b", "c"]})},
        optional={"minItems": st.integers(0, 2), "maxItems": st.integers(2, 3)},
    ),
)
TYPED = st.lists(st.one_of(st.sampled_from(["0", "1", "2", "7", "-3", "1.5", "x"]), st.text(max_size=10)), max_size=3)


@given(st.dictionaries(st.sampled_from("abcd"), FIELDS, min_size=1), st.data())
def test_what_a_form_takes_its_schema_takes_too(properties: dict[str, Any], data: st.DataObject) -> None:
    required = data.draw(st.lists(st.sampled_from(sorted(properties)), unique=True))
    schema = {"type": "object", "properties": properties, "required": required}
    content, wrong = read_form(schema).read({key: data.draw(TYPED) for key in properties})
    if not wrong:
        Draft202012Validator(schema).validate(json.loads(json.dumps(content)))
