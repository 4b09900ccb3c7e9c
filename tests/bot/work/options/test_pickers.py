"""Menus and suggestions: what Discord takes whatever agents send, and what a choice stands for."""

from __future__ import annotations

import pytest

from acp.session_options import Kind, SessionOption, read_options
from bot.chat.buttons import KNOWN as BUTTONS
from bot.chat.selects import KNOWN as MENUS
from bot.reply.sanitise import units
from bot.work.options.pickers import (
    NOTHING,
    PAGE,
    digest,
    option_menu,
    option_named,
    suggestions,
    value_digested,
    value_menu,
)
from bot.work.options.words import resolve, value_of
from tests.agents.offers import boolean, grouped, many_models, select

THREAD = 1_234_567_890_123_456_789
HOSTILE = "**@everyone** `x`\u202e\n" + "😀" * 90


def one(raw: object) -> SessionOption:
    (option,) = read_options([raw])
    return option


def test_whatever_an_agent_names_its_values_a_menu_can_be_sent() -> None:
    """K1, D9: labels of at most 100 units, on one line, that hide nothing; ids that fit."""
    names = [{"value": f"{n}{HOSTILE}", "name": HOSTILE, "description": HOSTILE} for n in range(60)]
    option = one({**select("x" * 200, "a"), "name": HOSTILE, "options": names})
    for page in (None, 0, 1, 2, 99):
        answer = value_menu(THREAD, option, lambda _value: False, page)
        (menu,) = answer.selects
        assert 1 <= len(menu.choices) <= PAGE
        assert len({choice.value for choice in menu.choices}) == len(menu.choices)
        texts = [text for choice in menu.choices for text in (choice.label, choice.description)]
        assert max(map(units, [*texts, menu.placeholder])) <= 100
        assert not any("\u202e" in text or "\n" in text for text in texts)
        assert MENUS.fullmatch(menu.custom_id)
        assert all(BUTTONS.fullmatch(button.custom_id) for button in answer.buttons)
        assert len({menu.custom_id, *(button.custom_id for button in answer.buttons)}) == 3
        assert units(answer.text) < 500
    assert max(len(value) for _, value in suggestions(option.values)) <= 100


def test_a_menu_opens_where_the_current_value_is_and_a_page_that_is_gone_is_the_last() -> None:
    """K1"""
    option = one(grouped(many_models(60), 20)).choosing("model-30")
    pages = [value_menu(THREAD, option, lambda _value: True, page) for page in (None, 0, 99)]
    assert [answer.selects[0].choices[0].label for answer in pages] == ["Model-25", "Model-00", "Model-50"]
    assert [one.label for one in pages[0].selects[0].choices if one.chosen] == ["Model-30"]
    assert pages[0].selects[0].choices[0].description == "Group 2 · use model-25"
    assert [[button.disabled for button in answer.buttons] for answer in pages] == [
        [False, False],
        [True, False],
        [False, True],
    ]


def test_all_options_are_listed_with_what_is_chosen_and_a_long_list_is_cut() -> None:
    """K1"""
    options = read_options([select("model", "a", "b"), boolean("fast"), *(select(f"o{n}", "x") for n in range(30))])
    answer = option_menu(THREAD, options)
    assert answer.text.splitlines()[:2] == ["Model: `A`", "`Fast`: `off`"]
    assert answer.text.splitlines()[-1] == "-# and 12 more in the menu"
    assert [len(option_menu(THREAD, options, page).selects[0].choices) for page in (0, 1)] == [25, 7]
    assert option_menu(THREAD, ()).text == NOTHING


def test_options_with_long_names_are_counted_where_they_have_no_room() -> None:
    """K1: nothing is cut without saying how much, and a message has 2,000 units."""
    raw = [
        {**select(f"o{n}", "a"), "name": f"{n} {HOSTILE}", "options": [{"value": "a", "name": HOSTILE}]}
        for n in range(20)
    ]
    *listed, more = option_menu(THREAD, read_options(raw)).text.split("\n")
    assert units("\n".join([*listed, more])) <= 2000
    assert 0 < len(listed) < 20
    assert more == f"-# and {20 - len(listed)} more in the menu"


def test_an_option_and_a_value_are_found_by_id_digest_or_name() -> None:
    """K1"""
    options = read_options([{**select("reasoning_effort", "low", "high"), "name": "Think"}, boolean("fast")])
    effort, fast = options
    assert [option_named(options, said) for said in ("reasoning_effort", "THINK ", digest("fast"), "none")] == [
        effort,
        effort,
        fast,
        None,
    ]
    assert [value_of(effort, said) for said in ("high", "HIGH ", "highest")] == ["high", "high", None]
    assert [value_of(fast, said) for said in ("true", "On", "no", "maybe")] == ["true", "true", "false", None]
    assert (value_digested(effort, digest("low")), value_digested(effort, "low")) == ("low", None)


@pytest.mark.parametrize("word", ["reasoning_effort", "effort"])
def test_what_the_settings_say_is_found_by_id_or_kind_and_the_later_word_counts(word: str) -> None:
    """K1: an agent that offers nothing yet may still do so."""
    options = read_options([select("model", "opus"), select("reasoning_effort", "low", "high")])
    said = {"effort": "high", "model": "Opus", "temper": "cool", word: "low"}
    assert resolve(options, said) == ({"reasoning_effort": "low", "model": "opus"}, [("temper", "cool")])
    assert resolve((), said) == ({}, [])
    assert options[1].kind is Kind.EFFORT
