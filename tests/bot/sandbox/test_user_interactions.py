"""Commands, components and modals of people's clients, answered by the unmodified discord.py over the same sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import discord
import pytest
from discord import app_commands

from bot.sandbox import DiscordError, FakeDiscord, interactions
from bot.sandbox.model import PERMISSIONS
from tests.bot.sandbox.client import Bot, point_library, running
from tests.bot.sandbox.person import PersonClient, client_of
from tests.bot.sandbox.raw import SILENT, Answer, Raw

pytestmark = pytest.mark.asyncio

Click = discord.Interaction[discord.Client]
MENU: list[dict[str, Any]] = [
    {
        "type": 1,
        "components": [
            {"type": 2, "style": 1, "label": "Go", "custom_id": "go"},
            {"type": 2, "style": 1, "label": "Off", "custom_id": "off", "disabled": True},
            {"type": 2, "style": 5, "label": "Link", "url": "http://127.0.0.1/"},
        ],
    },
    {
        "type": 1,
        "components": [
            {
                "type": 3,
                "custom_id": "pick",
                "max_values": 2,
                "options": [{"label": one, "value": one} for one in "abc"],
            }
        ],
    },
    {"type": 1, "components": [{"type": 8, "custom_id": "where"}]},
]


class Form(discord.ui.Modal, title="Form"):
    """A modal with one field."""

    name: discord.ui.TextInput[Self] = discord.ui.TextInput(label="Name", custom_id="name", max_length=5)

    async def on_submit(self, interaction: Click) -> None:
        await interaction.response.send_message(f"hello {self.name.value}")


def add_commands(bot: Bot) -> None:
    group = app_commands.Group(name="queue", description="The queue")

    @group.command(description="Sets the mode")
    async def mode(
        interaction: Click,
        mode: str,
        times: app_commands.Range[int, 1, 5] = 1,
        who: discord.Member | None = None,
        file: discord.Attachment | None = None,
    ) -> None:
        content = "" if file is None else (await file.read()).decode()
        await interaction.response.send_message(f"{mode} {times} {who} {content}")

    @mode.autocomplete("mode")
    async def suggest(_interaction: Click, text: str) -> list[app_commands.Choice[str]]:
        return [app_commands.Choice(name=text + "er", value="steer")]

    @bot.tree.command(description="Whispers")
    async def whisper(interaction: Click) -> None:
        await interaction.response.defer(thinking=True, ephemeral=True)
        await interaction.edit_original_response(content="psst")
        await interaction.delete_original_response()

    @bot.tree.command(description="Shows a button")
    async def card(interaction: Click) -> None:
        await interaction.response.send_message("card", ephemeral=True, view=Pressed())

    @bot.tree.command(description="Asks")
    async def ask(interaction: Click) -> None:
        await interaction.response.send_modal(Form())

    @bot.tree.command(description="Says nothing")
    async def silent(_interaction: Click) -> None:
        return

    @bot.tree.command(description="For moderators")
    @app_commands.default_permissions(manage_guild=True)
    @app_commands.guild_only()
    async def rule(interaction: Click) -> None:
        await interaction.response.send_message("ruled")

    bot.tree.add_command(group)


class Pressed(discord.ui.View):
    """A view with one button."""

    @discord.ui.button(label="Go", custom_id="go")
    async def go(self, interaction: Click, _button: discord.ui.Button[Self]) -> None:
        await interaction.response.edit_message(content=f"pressed by {interaction.user}", view=None)


@asynccontextmanager
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[FakeDiscord, Bot, PersonClient]]:
    """A bot with the commands, and alice's client."""
    async with FakeDiscord() as fd:
        point_library(monkeypatch, fd)
        async with running(Bot(), fd) as bot, client_of(fd, fd.user("alice")) as alice:
            add_commands(bot)
            await bot.tree.sync()
            await alice.event("GUILD_CREATE")
            yield fd, bot, alice


async def interact(
    client: PersonClient, fd: FakeDiscord, kind: int, data: Any, *, files: Any = (), **more: Any
) -> Answer:
    body = {
        "type": kind,
        "application_id": str(fd.application_id),
        "guild_id": str(fd.guild_id),
        "channel_id": str(fd.channel_id),
        "session_id": client.session_id,
        "nonce": "77",
        "data": data,
        **more,
    }
    return await client.call("POST", "/interactions", body, files=files)


def command(fd: FakeDiscord, name: str, *options: dict[str, Any], **more: Any) -> dict[str, Any]:
    registered = next(one for one in fd.commands if one["name"] == name)
    return {"id": registered["id"], "name": name, "type": 1, "options": [*options], **more}


def mode(*options: dict[str, Any]) -> dict[str, Any]:
    return {"name": "mode", "type": 1, "options": [*options]}


STEER = {"name": "mode", "type": 3, "value": "steer"}


async def test_a_command_with_options_and_a_file_is_answered_to_the_session_that_gave_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        stage(monkeypatch) as (fd, bot, alice),
        client_of(fd, alice.person) as tab,
        client_of(fd, fd.owner) as bob,
    ):
        given = [
            {"name": "times", "type": 4, "value": 3},
            {"name": "who", "type": 6, "value": str(fd.owner.id)},
            {"name": "file", "type": 11, "value": "0"},
        ]
        data = command(fd, "queue", mode(STEER, *given), attachments=[{"id": "0", "filename": "a.txt"}])
        answer = await interact(alice, fd, 2, data, files=[("x", b"inside")])
        assert (answer.status, answer.data) == (204, None)
        done = await alice.event("INTERACTION_SUCCESS")

        names = [name for name, _ in alice.events[2:]]
        created, shown = alice.events[2][1], alice.events[3][1]
        assert names == ["INTERACTION_CREATE", "MESSAGE_CREATE", "INTERACTION_SUCCESS"]
        assert created == done == {"id": created["id"], "nonce": "77"}
        assert shown["content"] == "steer 3 owner inside"
        who = shown["interaction_metadata"]
        assert (who["id"], who["type"], who["name"]) == (created["id"], 2, "queue mode")
        assert who["user"]["username"] == "alice"
        assert await tab.names_until(fd, "1") == ["GUILD_CREATE", "MESSAGE_CREATE"]
        assert await bob.names_until(fd, "1") == ["GUILD_CREATE", "MESSAGE_CREATE"]
        assert "interaction_metadata" not in fd.rest_calls("POST", "callback")[-1].answer.decode()
        (message,) = (await bob.call("GET", f"/channels/{fd.channel_id}/messages")).data
        assert message["interaction_metadata"]["name"] == "queue mode"
        assert [one for one in bot.events if one[0] == "interaction"]
        fd.assert_clean()


async def test_what_is_for_one_person_reaches_their_clients_alone_and_is_in_no_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with stage(monkeypatch) as (fd, _, alice), client_of(fd, fd.owner) as owner:
        await interact(alice, fd, 2, command(fd, "whisper"))
        flags = [(await alice.event("MESSAGE_CREATE"))["flags"]]
        update = await alice.event("MESSAGE_UPDATE")
        assert [*flags, update["flags"], update["content"]] == [64 | 128, 64, "psst"]
        gone = await alice.event("MESSAGE_DELETE")
        assert gone["id"] == update["id"]
        assert await owner.names_until(fd, "1") == ["GUILD_CREATE"]

        await interact(alice, fd, 2, command(fd, "card"))
        card = await alice.event("MESSAGE_CREATE")
        where = f"/channels/{fd.channel_id}/messages"
        assert (await alice.call("GET", where)).data == []
        assert (await alice.call("GET", f"{where}/{card['id']}")).code == 10008
        press = {"component_type": 2, "custom_id": "go"}
        assert (await interact(owner, fd, 3, press, message_id=card["id"])).code == 10008
        with pytest.raises(DiscordError, match="Unknown Message"):
            fd.owner.begin_click(int(card["id"]), "go")
        assert (await interact(alice, fd, 3, press, message_id=card["id"])).status == 204
        pressed = await alice.event("MESSAGE_UPDATE")
        assert (pressed["id"], pressed["content"], pressed["flags"]) == (card["id"], "pressed by alice", 64)
        assert await owner.names_until(fd, "2") == []


async def test_a_modal_opens_and_is_sent_by_the_one_who_opened_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(monkeypatch) as (fd, _, alice), client_of(fd, fd.owner) as owner:
        await interact(alice, fd, 2, command(fd, "ask"))
        opened = await alice.event("INTERACTION_MODAL_CREATE")
        assert (opened["title"], opened["nonce"], opened["application"]["name"]) == ("Form", "77", "Weft")
        assert (await alice.event("INTERACTION_SUCCESS"))["id"] == opened["id"]

        def filled(value: Any, **changes: Any) -> dict[str, Any]:
            field = {"type": 4, "custom_id": "name", "value": value, **changes}
            parts = [{"type": 1, "components": [field]}]
            return {"id": opened["id"], "custom_id": opened["custom_id"], "components": parts}

        for wrong in (filled("123456"), filled(""), filled(7), filled("x", custom_id="other")):
            assert (await interact(alice, fd, 5, wrong)).code == 50035
        assert (await interact(owner, fd, 5, filled("x"))).code == 50035
        assert (await interact(alice, fd, 5, {**filled("x"), "custom_id": "y"})).code == 50035
        assert (await interact(alice, fd, 5, {**filled("x"), "id": "1"})).code == 10062
        assert (await interact(alice, fd, 5, filled("bob"))).status == 204
        shown = await alice.event("MESSAGE_CREATE")
        assert (shown["content"], shown["interaction_metadata"]["type"]) == ("hello bob", 5)
        assert (await interact(alice, fd, 5, filled("again"))).status == 204


async def test_suggestions_come_while_an_option_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(monkeypatch) as (fd, _, alice):
        typed = {"name": "mode", "type": 3, "value": "ste", "focused": True}
        assert (await interact(alice, fd, 4, command(fd, "queue", mode(typed)))).status == 204
        offered = await alice.event("APPLICATION_COMMAND_AUTOCOMPLETE_RESPONSE")
        assert offered == {"choices": [{"name": "steer", "value": "steer"}], "nonce": "77"}
        for wrong in ({**typed, "focused": False}, {**typed, "name": "times"}, {**typed, "value": 7}):
            assert (await interact(alice, fd, 4, command(fd, "queue", mode(wrong)))).code == 50035


async def test_no_answer_in_time_is_a_failure_and_a_later_answer_comes_too_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with stage(monkeypatch) as (fd, bot, alice):
        monkeypatch.setattr(interactions, "ACKNOWLEDGE_SECONDS", 0.05)
        await interact(alice, fd, 2, command(fd, "silent"))
        failed = await alice.event("INTERACTION_FAILURE")
        assert (failed["nonce"], failed["reason_code"]) == ("77", 2)
        monkeypatch.setattr(interactions, "ACKNOWLEDGE_SECONDS", 3.0)
        raw = Raw(fd, alice._session)
        used = fd.interaction_state(int(failed["id"]))
        late = await raw.call("POST", f"/interactions/{used.id}/{used.token}/callback", {"type": 4, "data": {}})
        assert late.code == 10062
        await interact(alice, fd, 2, command(fd, "queue", mode(STEER)))
        await alice.event("INTERACTION_SUCCESS")
        assert fd.interactions[-1].deadline is not None
        assert fd.interactions[-1].deadline.cancelled()
        assert bot.is_ready()


async def test_components_are_checked_against_the_message_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(monkeypatch) as (fd, _, alice):
        hidden = fd.add_channel("hidden")
        fd.overwrite(hidden, fd.guild_id, deny=["view_channel"])
        raw = Raw(fd, alice._session)
        message = await raw.post(fd.channel_id, "menu", components=MENU, allowed_mentions=SILENT)

        async def press(kind: int, custom_id: Any, values: Any = None, **more: Any) -> int:
            data = {"component_type": kind, "custom_id": custom_id, **({} if values is None else {"values": values})}
            answer = await interact(alice, fd, 3, data, **{"message_id": str(message.id), **more})
            return answer.code if answer.data else answer.status

        assert await press(2, "go") == 204
        assert await press(3, "pick", ["a", "c"]) == 204
        assert await press(8, "where", [str(fd.channel_id)]) == 204
        refused: list[tuple[int, Any, Any]] = [
            (2, "off", None),
            (2, "gone", None),
            (2, None, None),
            (3, "go", None),
            (3, "pick", []),
            (3, "pick", ["a", "b", "c"]),
            (3, "pick", ["a", "a"]),
            (3, "pick", ["z"]),
            (3, "pick", "a"),
            (3, "pick", [1]),
            (8, "where", [str(hidden)]),
            (8, "where", ["x"]),
        ]
        assert [await press(*one) for one in refused] == [50035] * len(refused)
        assert await press(2, "go", message_id="1") == 10008
        assert await press(2, "go", application_id="1") == 10002
        assert await press(2, "go", guild_id="1") == 10004
        assert await press(2, "go", channel_id=str(hidden)) == 50001
        assert await press(2, "go", channel_id="general") == 50035
        assert await press(2, "go", session_id="session-of-another") == 50035
        assert await press(2, "go", nonce="n" * 26) == 50035
        await raw.edit(fd.channel_id, message.id, "menu", components=[])
        assert await press(2, "go") == 50035
        assert len(fd.interactions) == 3


@pytest.mark.parametrize(
    "options",
    [
        [],
        [STEER],
        [mode()],
        [mode(STEER, STEER)],
        [mode(STEER, {"name": "other", "type": 3, "value": "x"})],
        [mode({**STEER, "value": 7})],
        [mode({**STEER, "value": "x" * 6001})],
        [mode(STEER, {"name": "times", "type": 4, "value": "3"})],
        [mode(STEER, {"name": "times", "type": 4, "value": True})],
        [mode(STEER, {"name": "times", "type": 4, "value": 6})],
        [mode(STEER, {"name": "who", "type": 6, "value": "1"})],
        [mode(STEER, {"name": "who", "type": 6, "value": "alice"})],
        [mode(STEER, {"name": "file", "type": 11, "value": "0"})],
        [{"name": "mood", "type": 1, "options": [STEER]}],
        "nonsense",
        [7],
    ],
)
async def test_options_that_no_client_would_send_are_refused(options: Any) -> None:
    async with FakeDiscord() as fd, client_of(fd, fd.owner) as owner:
        fd.state.commands[""] = [QUEUE]
        answer = await interact(owner, fd, 2, {"id": "5", "name": "queue", "type": 1, "options": options})
        assert answer.code in (50035, 10007), answer.data
        assert fd.interactions == []


QUEUE: dict[str, Any] = {
    "id": "5",
    "name": "queue",
    "type": 1,
    "version": "1",
    "options": [
        {
            "name": "mode",
            "type": 1,
            "options": [
                {"name": "mode", "type": 3, "required": True},
                {"name": "times", "type": 4, "min_value": 1, "max_value": 5},
                {"name": "who", "type": 6},
                {"name": "file", "type": 11},
            ],
        }
    ],
}


async def test_the_index_has_what_one_may_use_and_nothing_else_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(monkeypatch) as (fd, _, alice), client_of(fd, fd.owner) as owner:
        path = f"/guilds/{fd.guild_id}/application-command-index"

        async def names(client: PersonClient, place: str = path) -> set[str]:
            return {one["name"] for one in (await client.call("GET", place)).data["application_commands"]}

        everyones = {"queue", "whisper", "card", "ask", "silent"}
        assert await names(alice) == everyones
        assert await names(owner) == everyones | {"rule"}
        assert (await interact(alice, fd, 2, command(fd, "rule"))).code == 50013
        assert (await interact(owner, fd, 2, command(fd, "rule"))).status == 204
        fd.user("alice", [fd.add_role("mods", PERMISSIONS["manage_guild"])])
        assert await names(alice) == everyones | {"rule"}

        dm = fd.open_dm(alice.person)
        assert await names(alice, f"/channels/{dm}/application-command-index") == everyones
        assert (await interact(alice, fd, 2, command(fd, "rule"), channel_id=str(dm), guild_id=None)).code == 10063
        assert (await interact(alice, fd, 2, command(fd, "ask"), channel_id=str(dm), guild_id=None)).status == 204
        assert (await interact(owner, fd, 2, command(fd, "ask"), channel_id=str(dm), guild_id=None)).code == 50001
        fd.overwrite(fd.channel_id, fd.guild_id, deny=["use_application_commands"])
        assert (await interact(alice, fd, 2, command(fd, "ask"))).code == 50013
        assert (await interact(alice, fd, 2, {**command(fd, "ask"), "name": "rule"})).code == 10063
        assert (await interact(alice, fd, 2, {**command(fd, "ask"), "id": "1"})).code == 10063
        assert (await interact(alice, fd, 9, {})).code == 50035
        assert (await interact(alice, fd, 2, [])).code == 50035
