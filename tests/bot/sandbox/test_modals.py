"""Modals of the loopback Discord: what is refused of them, what a user can send, and discord.py's own on both ends."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import discord
import pytest

from bot.sandbox.errors import InvalidForm
from bot.sandbox.modals import check_modal, submitted
from tests.bot.sandbox.client import connected

Click = discord.Interaction[discord.Client]


def text(**changes: Any) -> dict[str, Any]:
    return {"type": 4, "custom_id": "name", "style": 1, **changes}


def menu(count: int = 2, **changes: Any) -> dict[str, Any]:
    options = [{"label": f"Option {number}", "value": str(number)} for number in range(count)]
    return {"type": 3, "custom_id": "which", "options": options, **changes}


def label(component: Any, **changes: Any) -> dict[str, Any]:
    return {"type": 18, "label": "Name", "component": component, **changes}


def modal(*parts: Any, **changes: Any) -> dict[str, Any]:
    return {"custom_id": "m", "title": "T", "components": list(parts), **changes}


def test_what_discord_shows_is_let_through() -> None:
    parts = [
        label(text(min_length=1, max_length=4000, value="x" * 4000, placeholder="p" * 100), description="d" * 100),
        label(menu(25, min_values=0, max_values=25, required=False), label="l" * 45),
        {"type": 10, "content": "Read this"},
        {"type": 1, "components": [text(custom_id="old", label="Old")]},
        label({"type": 19, "custom_id": "file"}),
    ]
    check_modal(modal(*parts, title="t" * 45, custom_id="c" * 100))


def options(change: Callable[[list[dict[str, Any]]], Any], **changes: Any) -> dict[str, Any]:
    changed = menu(**changes)
    change(changed["options"])
    return label(changed)


@pytest.mark.parametrize(
    "wrong",
    [
        modal(),
        modal(*[label(text(custom_id=str(number))) for number in range(6)]),
        modal(label(text()), title="t" * 46),
        modal(label(text()), custom_id=""),
        modal(label(text(), label="l" * 46)),
        modal(label(text(), label="")),
        modal(label(text(), description="")),
        modal(label(text(), description="d" * 101)),
        modal(label(None)),
        modal(text()),
        modal({"type": 1, "components": [text()]}),
        modal({"type": 2, "custom_id": "b", "label": "Press"}),
        modal(label(text(style=3))),
        modal(label(text(custom_id=""))),
        modal(label(text(max_length=4001))),
        modal(label(text(max_length=0))),
        modal(label(text(min_length=3, max_length=2))),
        modal(label(text(value="abc", max_length=2))),
        modal(label(text(placeholder="p" * 101))),
        modal(label(text()), label(text())),
        modal(label(menu(0))),
        modal(label(menu(26))),
        modal(label(menu(max_values=3))),
        modal(label(menu(min_values=2))),
        modal(label(menu(min_values=0))),
        modal(options(lambda found: found[0].update(label="l" * 101))),
        modal(options(lambda found: found[0].update(label=""))),
        modal(options(lambda found: found[0].update(description="d" * 101))),
        modal(options(lambda found: found[0].update(value="1"))),
        modal(options(lambda found: [one.update(default=True) for one in found])),
    ],
)
def test_what_discord_refuses_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidForm):
        check_modal(wrong)


def sent(asked: dict[str, Any], **values: Any) -> list[Any]:
    before = copy.deepcopy(asked)
    data = submitted(asked, values)
    assert asked == before
    fields = [part.get("component") or part["components"][0] for part in data["components"]]
    return [field.get("value", field.get("values")) for field in fields]


def test_a_field_that_is_left_alone_sends_what_stands_in_it() -> None:
    chosen = menu(required=False)
    chosen["options"][1]["default"] = True
    asked = modal(label(text(value="main")), label(chosen), label(menu(custom_id="free", required=False)))
    assert sent(asked) == ["main", ["1"], []]
    assert sent(asked, name="other", which=[], free="0") == ["other", [], ["0"]]


@pytest.mark.parametrize(
    "values",
    [{"name": ""}, {"name": "x" * 9}, {"which": []}, {"which": ["0", "1"]}, {"which": "7"}],
)
def test_a_client_sends_only_what_fits(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"takes|offers"):
        sent(modal(label(text(max_length=8)), label(menu())), **{"name": "Ann", "which": "0", **values})


def test_a_field_that_is_not_there_cannot_be_filled_in() -> None:
    with pytest.raises(LookupError, match="no fields"):
        sent(modal(label(text())), age="7")


@pytest.mark.asyncio
async def test_labels_with_texts_and_menus_go_to_the_library_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        got: list[Any] = []

        class Form(discord.ui.Modal, title="Form"):
            async def on_submit(self, interaction: Click) -> None:
                for part in self.children:
                    assert isinstance(part, discord.ui.Label)
                    assert isinstance(part.component, discord.ui.TextInput | discord.ui.Select)
                    got.append(
                        part.component.value
                        if isinstance(part.component, discord.ui.TextInput)
                        else part.component.values
                    )
                await interaction.response.send_message("thanks", ephemeral=True)

        @bot.tree.command(description="Asks")
        async def ask(interaction: Click) -> None:
            form = Form()
            form.add_item(discord.ui.Label(text="Name", component=discord.ui.TextInput(custom_id="name")))
            choices = [discord.SelectOption(label=name, value=name) for name in "abc"]
            select: discord.ui.Select[Any] = discord.ui.Select(custom_id="which", options=choices, max_values=2)
            form.add_item(discord.ui.Label(text="Which", description="One or two", component=select))
            await interaction.response.send_modal(form)

        await bot.tree.sync()
        opened = await fd.owner.slash(fd.channel_id, "ask")
        submit = await fd.owner.submit_modal(opened, name="Ann", which=["c", "a"])
        assert (got, submit.ephemeral) == (["Ann", ["c", "a"]], True)
        fd.assert_clean()
