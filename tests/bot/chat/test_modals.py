"""Forms on their way to Discord and back: without secrets, and whatever comes back (C6, R5)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bot.chat.modals import filled_in, modal_view
from bot.redaction import REDACTED, Redactor
from bot.work.questions.cards import Modal, ModalField
from bot.work.questions.form import Choice

SECRET = "hunter2hunter2"


@pytest.mark.asyncio
async def test_a_form_is_shown_without_the_secret_wherever_it_stands() -> None:
    """R5: an agent wrote all of it."""
    text = ModalField("f0", SECRET, SECRET, hint=SECRET, value=(f"a {SECRET}",), required=True, long=True, most=99)
    menu = ModalField("f1", "Menu", value=("0",), options=(Choice("0", SECRET, SECRET), Choice("1", "b")), most=1)
    view = modal_view(Modal("weft:ask:tok:0", SECRET, (text, menu)), Redactor((SECRET,)))
    shown = view.to_dict()
    assert SECRET not in json.dumps(shown)
    first, second = (part["component"] for part in shown["components"])
    assert (shown["title"], first["value"], first["style"], first["max_length"]) == (REDACTED, f"a {REDACTED}", 2, 99)
    assert (second["required"], second["min_values"], second["max_values"]) == (False, 0, 1)
    assert [one.get("default", False) for one in second["options"]] == [True, False]
    assert view.is_finished()


@pytest.mark.parametrize(
    ("data", "given"),
    [
        ({}, {}),
        ({"components": 7}, {}),
        ({"components": [None, {"type": 18}, {"type": 18, "component": {"custom_id": 5, "value": "x"}}]}, {}),
        ({"components": [{"component": {"custom_id": "f0", "value": "x"}}]}, {"f0": ("x",)}),
        ({"components": [{"component": {"custom_id": "f0", "values": ["1", 2, "3"]}}]}, {"f0": ("1", "3")}),
        ({"components": [{"components": [{"custom_id": "f0", "value": "old"}]}]}, {"f0": ("old",)}),
        ({"components": [{"component": {"custom_id": "f0"}}]}, {"f0": ()}),
    ],
)
def test_what_was_filled_in_is_read_whatever_its_form(data: dict[str, Any], given: dict[str, Any]) -> None:
    assert filled_in(data) == given
