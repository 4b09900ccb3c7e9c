"""Modals: how a form of the work is shown in Discord, and what comes back of it.

Modals are answered by their custom_id alone, like buttons, so that a form that was sent before a restart, or for what
is over, is answered too; discord.py keeps none of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import discord
from discord import ui

from bot.redaction import Redactor
from bot.work.questions.cards import Modal, ModalField

SUBMITTED = re.compile(r"weft:(?:ask:(?P<question>[A-Za-z0-9_-]+):(?P<step>\d{1,3})|keep:(?P<card>[A-Za-z0-9_-]+))")
"""The custom_id of a modal: a step of a question, or the rule that a card offers."""


def modal_view(modal: Modal, redactor: Redactor) -> ui.Modal:
    """Return a modal as discord.py sends it, without secrets; the agent wrote what is in it."""
    view = ui.Modal(title=redactor.text(modal.title), custom_id=modal.custom_id)
    for field in modal.fields:
        about = redactor.text(field.about)
        component = _menu(field, redactor) if field.options else _text_input(field, redactor)
        view.add_item(ui.Label(text=redactor.text(field.label), description=about or None, component=component))
    # What was sent is answered by its id; discord.py would keep it until its submission, if that ever comes.
    view.stop()
    return view


def _text_input(field: ModalField, redactor: Redactor) -> ui.TextInput[Any]:
    return ui.TextInput(
        custom_id=field.custom_id,
        style=discord.TextStyle.paragraph if field.long else discord.TextStyle.short,
        placeholder=redactor.text(field.hint) or None,
        default=redactor.text("".join(field.value)) or None,
        required=field.required,
        max_length=field.most,
    )


def _menu(field: ModalField, redactor: Redactor) -> ui.Select[Any]:
    options = [
        discord.SelectOption(
            # Not the value: nobody sees it, and what comes back has to be what the agent offered.
            label=redactor.text(one.name),
            value=one.value,
            description=redactor.text(one.about) or None,
            default=one.value in field.value,
        )
        for one in field.options
    ]
    return ui.Select(
        custom_id=field.custom_id,
        required=field.required,
        min_values=field.least,
        max_values=field.most,
        options=options,
    )


def filled_in(data: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return what was typed and chosen, by custom_id, from the data of a submitted modal."""
    return dict(_parts(data.get("components")))


def _parts(components: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    for one in components if isinstance(components, list) else ():
        if not isinstance(one, dict):
            continue
        # In a label there is one part, in a row there may be more.
        yield from _parts([one["component"]] if "component" in one else one.get("components"))
        # A menu has a list, even of one; a text input has a single text.
        values = one["values"] if isinstance(one.get("values"), list) else [one.get("value")]
        if isinstance(one.get("custom_id"), str):
            yield one["custom_id"], tuple(value for value in values if isinstance(value, str))
