"""Commands, buttons, modals and followups, with the unmodified discord.py answering."""

import re
from typing import Any, Self

import discord
import pytest
from discord import app_commands

from bot.sandbox import CallbackType, FakeDiscord, Interaction
from tests.bot.sandbox.client import Bot, connected, point_library, running
from tests.bot.sandbox.raw import SILENT, Answer, Raw, SteppedClock, raw_client

pytestmark = pytest.mark.asyncio

Click = discord.Interaction[discord.Client]


class Choose(discord.ui.DynamicItem[discord.ui.Button[Any]], template=r"choose:(?P<what>\w+)"):
    """A button that works for messages of earlier processes."""

    def __init__(self, what: str) -> None:
        super().__init__(discord.ui.Button(label=what, custom_id=f"choose:{what}"))
        self.what = what

    @classmethod
    async def from_custom_id(cls, _click: Click, _item: discord.ui.Item[Any], match: re.Match[str], /) -> Self:
        return cls(match["what"])

    async def callback(self, interaction: Click) -> None:
        await interaction.response.edit_message(content=f"chose {self.what}", view=None)


def add_commands(bot: Bot) -> None:
    @bot.tree.command(description="Echoes")
    async def echo(interaction: Click, text: str, times: int = 1) -> None:
        await interaction.response.send_message(text * times)

    @bot.tree.command(description="Whispers")
    async def whisper(interaction: Click) -> None:
        await interaction.response.send_message("psst", ephemeral=True)

    @bot.tree.command(description="Takes long")
    async def later(interaction: Click) -> None:
        await interaction.response.defer(thinking=True, ephemeral=True)
        await interaction.edit_original_response(content="done")
        await interaction.followup.send("and more")

    @bot.tree.command(description="Asks")
    async def ask(interaction: Click) -> None:
        await interaction.response.send_modal(Form())

    group = app_commands.Group(name="queue", description="The queue")

    @group.command(description="Sets the mode")
    @app_commands.choices(mode=[app_commands.Choice(name="Steer", value="steer")])
    async def mode(interaction: Click, mode: str) -> None:
        await interaction.response.send_message(f"mode {mode}")

    bot.tree.add_command(group)


class Form(discord.ui.Modal, title="Form"):
    """A modal with one field."""

    name: discord.ui.TextInput[Self] = discord.ui.TextInput(label="Name", custom_id="name")

    async def on_submit(self, interaction: Click) -> None:
        await interaction.response.send_message(f"hello {self.name.value}")


async def ready_bot(fd: FakeDiscord, bot: Bot) -> None:
    add_commands(bot)
    await bot.tree.sync()


async def test_a_slash_command_is_registered_used_and_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        await ready_bot(fd, bot)
        used = await fd.user("alice").slash(fd.channel_id, "echo", text="ha", times=3)

        assert {one["name"] for one in fd.commands} >= {"echo", "queue"}
        assert fd.command_syncs == 1
        assert (used.acked, used.kind, used.ephemeral) == (True, CallbackType.MESSAGE, False)
        assert used.response is not None
        assert used.response["content"] == "hahaha"
        assert fd.messages(fd.channel_id)[0].content == "hahaha"
        assert fd.interaction_state(used.id) is used
        fd.assert_clean()


async def test_a_sub_command_and_its_suggestions_work(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeDiscord() as fd:
        point_library(monkeypatch, fd)
        async with running(Bot(), fd) as bot:
            group = app_commands.Group(name="queue", description="The queue")

            @group.command(description="Sets the mode")
            async def mode(interaction: Click, mode: str) -> None:
                await interaction.response.send_message(f"mode {mode}")

            @mode.autocomplete("mode")
            async def suggest(_interaction: Click, text: str) -> list[app_commands.Choice[str]]:
                return [app_commands.Choice(name=text + "er", value="steer")]

            bot.tree.add_command(group)
            await bot.tree.sync()
            offered = await fd.owner.autocomplete(fd.channel_id, "queue mode", "mode", "ste")
            used = await fd.owner.slash(fd.channel_id, "queue mode", mode="steer")
            with pytest.raises(LookupError, match="suggests nothing"):
                await fd.owner.autocomplete(fd.channel_id, "queue mode", "other", "x")

        assert offered.response is not None
        assert offered.response["choices"] == [{"name": "steer", "value": "steer"}]
        assert used.response is not None
        assert used.response["content"] == "mode steer"


async def test_a_wrong_use_of_a_command_is_the_tests_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        await ready_bot(fd, bot)
        with pytest.raises(LookupError, match="no command 'nope'"):
            await fd.owner.slash(fd.channel_id, "nope")
        with pytest.raises(ValueError, match=r"missing \['text'\]"):
            await fd.owner.slash(fd.channel_id, "echo")
        with pytest.raises(LookupError, match="needs one of its sub-commands"):
            await fd.owner.slash(fd.channel_id, "queue")


async def test_an_ephemeral_answer_is_in_no_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        await ready_bot(fd, bot)
        used = await fd.owner.slash(fd.channel_id, "whisper")

        assert used.ephemeral
        assert used.original_id is not None
        assert fd.message(used.original_id).content == "psst"
        assert fd.messages(fd.channel_id) == []


async def test_a_deferred_answer_is_filled_and_followed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        await ready_bot(fd, bot)
        used = await fd.owner.slash(fd.channel_id, "later")
        filled = await used.filled()
        await fd.wait_for(lambda _: used.followups)

        assert used.kind is CallbackType.DEFERRED_MESSAGE
        assert filled["content"] == "done"
        assert used.ephemeral
        assert [one.content for one in used.followups] == ["and more"]
        fd.assert_clean()


async def test_a_modal_is_shown_and_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        await ready_bot(fd, bot)
        opened = await fd.owner.slash(fd.channel_id, "ask")
        sent = await fd.owner.submit_modal(opened, name="Ada")

        assert opened.kind is CallbackType.MODAL
        assert sent.response is not None
        assert sent.response["content"] == "hello Ada"


async def test_a_modal_takes_only_what_fits_its_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        await ready_bot(fd, bot)
        opened = await fd.owner.slash(fd.channel_id, "ask")
        with pytest.raises(ValueError, match="takes 1 to 4000 characters, not 0"):
            await fd.owner.submit_modal(opened)
        with pytest.raises(LookupError, match="no fields"):
            await fd.owner.submit_modal(opened, age="7")


async def test_what_is_chosen_in_selects_reaches_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (fd, bot):
        chosen: list[str] = []

        class Option(discord.ui.Select[Any]):
            async def callback(self, interaction: Click) -> None:
                chosen.extend(self.values)
                await interaction.response.defer()

        class Someone(discord.ui.UserSelect[Any]):
            async def callback(self, interaction: Click) -> None:
                chosen.extend(one.name for one in self.values)
                await interaction.response.defer()

        view = discord.ui.View(timeout=None)
        view.add_item(Option(custom_id="one", options=[discord.SelectOption(label=text) for text in "abc"]))
        view.add_item(Someone(custom_id="who"))
        message = await bot.get_partial_messageable(fd.channel_id).send("which?", view=view)
        picked = await fd.owner.choose(message.id, "one", "b")
        await fd.owner.choose(message.id, "who", fd.user("alice").id)
        with pytest.raises(ValueError, match="offers"):
            await fd.owner.choose(message.id, "one", "z")
        with pytest.raises(ValueError, match="1 to 1 values, not 2"):
            await fd.owner.choose(message.id, "one", "a", "b")

        assert picked.kind is CallbackType.DEFERRED_UPDATE
        assert chosen == ["b", "alice"]


async def test_a_click_reaches_a_dynamic_item_of_an_earlier_process(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeDiscord() as fd:
        point_library(monkeypatch, fd)
        async with running(Bot(), fd) as first:
            view = discord.ui.View(timeout=None)
            view.add_item(Choose("yes"))
            channel = first.get_partial_messageable(fd.channel_id)
            message = await channel.send("well?", view=view)
        second = Bot()
        second.add_dynamic_items(Choose)
        async with running(second, fd):
            clicked = await fd.user("alice").click(message.id, "choose:yes")

        assert clicked.kind is CallbackType.UPDATE
        (shown,) = fd.messages(fd.channel_id)
        assert (shown.content, shown.components) == ("chose yes", [])
        fd.assert_clean()


async def test_only_a_button_that_is_there_can_be_clicked() -> None:
    row = {"type": 1, "components": [{"type": 2, "style": 1, "label": "x", "custom_id": "x", "disabled": True}]}
    async with raw_client() as (fd, raw):
        message = await raw.post(fd.channel_id, components=[row])
        with pytest.raises(LookupError, match="disabled"):
            await fd.owner.click(message.id, "x")
        with pytest.raises(LookupError, match="no component 'y'"):
            await fd.owner.click(message.id, "y")


COMMAND = {"name": "go", "description": "Goes", "type": 1}


async def begun(fd: FakeDiscord, raw: Raw) -> Interaction:
    """A command that nobody has answered yet."""
    await raw.call("PUT", f"/applications/{fd.application_id}/commands", [COMMAND])
    return fd.owner.begin_slash(fd.channel_id, "go")


async def answer(raw: Raw, interaction: Interaction, kind: int = 4, **data: Any) -> Answer:
    """The first answer to an interaction."""
    body = {"type": kind, "data": {"content": "hi", "allowed_mentions": SILENT, **data}}
    return await raw.call("POST", f"/interactions/{interaction.id}/{interaction.token}/callback", body)


async def test_a_second_answer_is_refused_with_40060() -> None:
    async with raw_client() as (fd, raw):
        interaction = await begun(fd, raw)

        assert (await answer(raw, interaction)).status == 204
        second = await answer(raw, interaction)
        assert (second.status, second.code) == (400, 40060)


async def test_an_answer_after_3_seconds_is_refused_with_10062() -> None:
    clock = SteppedClock()
    async with raw_client(clock=clock) as (fd, raw):
        interaction = await begun(fd, raw)
        clock.now += 3.01
        late = await answer(raw, interaction)

        assert (late.status, late.code) == (404, 10062)
        assert not interaction.acked


async def test_an_unacknowledged_interaction_is_reported() -> None:
    async with raw_client() as (fd, raw):
        await begun(fd, raw)
        with pytest.raises(AssertionError, match="never acknowledged"):
            fd.assert_clean()


@pytest.mark.parametrize("kind", [1, 6, 7, 8])
async def test_a_callback_type_that_suits_no_command_is_refused(kind: int) -> None:
    async with raw_client() as (fd, raw):
        assert (await answer(raw, await begun(fd, raw), kind)).code == 50035


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (9, {"custom_id": "m", "title": "T", "components": []}),
        (9, {"custom_id": "m", "title": "x" * 46, "components": [{"type": 1}]}),
        (9, {"custom_id": "", "title": "T", "components": [{"type": 1}]}),
        (8, {"choices": [{"name": "x", "value": "x"}] * 26}),
        (8, {"choices": [{"name": "", "value": "x"}]}),
        (8, {}),
    ],
)
async def test_modals_and_suggestions_out_of_bounds_are_refused(kind: int, data: dict[str, Any]) -> None:
    async with raw_client() as (fd, raw):
        option = {"name": "what", "description": "W", "type": 3, "autocomplete": True}
        await raw.call("PUT", f"/applications/{fd.application_id}/commands", [{**COMMAND, "options": [option]}])
        used = fd.owner.begin_autocomplete if kind == 8 else fd.owner.begin_slash
        interaction = used(fd.channel_id, "go", *(("what", "x") if kind == 8 else ()))

        assert (await answer(raw, interaction, kind, **data)).code == 50035


async def test_the_token_ends_after_15_minutes() -> None:
    clock = SteppedClock()
    async with raw_client(clock=clock) as (fd, raw):
        interaction = await begun(fd, raw)
        path = f"/webhooks/{fd.application_id}/{interaction.token}"
        early = await raw.call("POST", path, {"content": "too early"})
        await answer(raw, interaction)
        clock.now += 899
        in_time = await raw.call("POST", path, {"content": "in time"})
        clock.now += 2
        late = await raw.call("POST", path, {"content": "late"})

        assert (early.status, early.code) == (404, 10015)
        assert in_time.data["content"] == "in time"
        assert (late.status, late.code) == (401, 50027)


async def test_the_first_followup_fills_a_deferred_answer() -> None:
    async with raw_client() as (fd, raw):
        interaction = await begun(fd, raw)
        await answer(raw, interaction, 5)
        with pytest.raises(AssertionError, match="deferred and never answered"):
            fd.assert_clean()
        loading = fd.messages(fd.channel_id)[0]
        path = f"/webhooks/{fd.application_id}/{interaction.token}"
        await raw.call("POST", path, {"content": "here", "allowed_mentions": SILENT})

        (shown,) = fd.messages(fd.channel_id)
        assert (loading.loading, shown.loading) == (True, False)
        assert (loading.id, shown.content) == (shown.id, "here")
        fd.assert_clean()


async def test_the_original_answer_is_read_edited_and_deleted() -> None:
    async with raw_client() as (fd, raw):
        interaction = await begun(fd, raw)
        await answer(raw, interaction)
        path = f"/webhooks/{fd.application_id}/{interaction.token}/messages/@original"
        await raw.call("PATCH", path, {"content": "changed"})
        read = await raw.call("GET", path)
        deleted = await raw.call("DELETE", path)

        assert read.data["content"] == "changed"
        assert deleted.status == 204
        assert (await raw.call("GET", path)).code == 10008


async def test_the_callback_describes_its_message_where_asked() -> None:
    async with raw_client() as (fd, raw):
        interaction = await begun(fd, raw)
        body = {"type": 4, "data": {"content": "hi", "flags": 64}}
        path = f"/interactions/{interaction.id}/{interaction.token}/callback"
        described = (await raw.call("POST", path, body, with_response="1")).data

        assert described["interaction"]["response_message_ephemeral"] is True
        assert described["resource"]["message"]["content"] == "hi"


async def test_a_deferral_is_described_without_a_message() -> None:
    async with raw_client() as (fd, raw):
        interaction = await begun(fd, raw)
        path = f"/interactions/{interaction.id}/{interaction.token}/callback"
        described = (await raw.call("POST", path, {"type": 5}, with_response="1")).data

        assert described["interaction"]["response_message_loading"] is True
        assert "resource" not in described


@pytest.mark.parametrize("name", ["Go", "two words", "", "x" * 33, "bang!"])
async def test_a_bad_command_name_is_refused(name: str) -> None:
    async with raw_client() as (fd, raw):
        path = f"/applications/{fd.application_id}/commands"

        assert (await raw.call("PUT", path, [{**COMMAND, "name": name}])).code == 50035
        assert fd.command_syncs == 0


async def test_a_duplicate_command_is_refused_and_a_kept_one_keeps_its_id() -> None:
    async with raw_client() as (fd, raw):
        path = f"/applications/{fd.application_id}/commands"
        assert (await raw.call("PUT", path, [COMMAND, COMMAND])).code == 50035
        first = await raw.call("PUT", path, [COMMAND])
        second = await raw.call("PUT", path, [{**COMMAND, "description": "Goes on"}])

        assert first.data[0]["id"] == second.data[0]["id"]
        assert (await raw.call("GET", path)).data == fd.commands
        assert fd.command_syncs == 2


async def test_what_the_user_was_told_is_the_answers_text_or_the_first_followups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with FakeDiscord() as fd:
        point_library(monkeypatch, fd)
        async with running(Bot(), fd) as bot:

            async def on_interaction(interaction: Click) -> None:
                if interaction.type is discord.InteractionType.component:
                    await interaction.response.edit_message(view=None)
                    await interaction.followup.send("done", ephemeral=True)

            bot.event(on_interaction)
            await ready_bot(fd, bot)
            view = discord.ui.View()
            view.add_item(discord.ui.Button(label="Do", custom_id="do"))
            message = await bot.get_partial_messageable(fd.channel_id).send("press", view=view)
            pressed = await fd.owner.click(message.id, "do")

            assert await pressed.told() == "done"
            assert pressed.kind is CallbackType.UPDATE
            assert fd.message(message.id).components == []
            assert await (await fd.owner.slash(fd.channel_id, "whisper")).told() == "psst"


async def test_who_may_manage_the_server_is_told_with_the_interaction(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeDiscord() as fd:
        point_library(monkeypatch, fd)
        async with running(Bot(), fd) as bot:

            @bot.tree.command(description="May I?")
            async def may(interaction: Click) -> None:
                await interaction.response.send_message(str(interaction.permissions.manage_guild))

            await bot.tree.sync()
            everyone, managers = fd.user("alice"), fd.user("bob", roles=[fd.add_role("mods", 1 << 5)])
            admins = fd.user("carol", roles=[fd.add_role("admins", 1 << 3)])
            asked = [await one.slash(fd.channel_id, "may") for one in (everyone, managers, admins, fd.owner)]
            assert [await one.told() for one in asked] == ["False", "True", "True", "True"]


@pytest.mark.parametrize(
    "options",
    [
        [{"name": "a", "description": "A", "type": 3}, {"name": "b", "description": "B", "type": 3, "required": True}],
        [{"name": "a", "description": "A", "type": 1}, {"name": "b", "description": "B", "type": 3}],
        [{"name": "a", "description": "A", "type": 3, "choices": [{"name": "x" * 101, "value": "x"}]}],
        [{"name": "a", "description": "A", "type": 3, "choices": [{"name": "", "value": "x"}]}],
    ],
    ids=["required after free", "sub-command beside options", "a long choice", "a choice without a name"],
)
async def test_options_that_discord_would_refuse_are_refused(options: list[dict[str, Any]]) -> None:
    async with raw_client() as (fd, raw):
        path = f"/applications/{fd.application_id}/commands"
        body = [{"name": "queue", "description": "Q", "options": options}]
        assert (await raw.call("PUT", path, body)).code == 50035
