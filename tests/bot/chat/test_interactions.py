"""Slash commands and buttons through a real client: what the work is asked, and what the person is told."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from bot.chat import answers
from bot.chat.answers import FAILED, NOT_IN_THREAD
from bot.chat.authorize import Reason
from bot.chat.buttons import EXPIRED, KNOWN
from bot.chat.client import WeftClient
from bot.chat.commands.tree import COMMANDS, UNKNOWN
from bot.chat.interactions import NO_FILE, choices_of
from bot.model import Actor, ThreadPlace
from bot.redaction import REDACTED, Redactor
from bot.reply.port import Attachment, Body, Button, Select, SelectChoice
from bot.sandbox import CallbackType, FakeDiscord, Fault, Interaction
from bot.sandbox.interactions import InteractionType
from bot.work.later_answer import LaterAnswer
from bot.work.ports import Answer
from tests.bot.chat.harness import Decider, FakeDispatcher, MemoryStamp, RunningChat, in_a_thread, running_chat


def told(interaction: Interaction) -> str:
    """Return what only the person was told, within three seconds."""
    assert interaction.acked
    assert interaction.ephemeral
    assert interaction.response is not None
    assert interaction.response["allowed_mentions"]["parse"] == []
    return str(interaction.response["content"])


async def post(chat: RunningChat, thread_id: int, custom_id: str) -> int:
    body = Body("working", (Button(custom_id, "Press"),))
    return await chat.gateway.chat.thread(thread_id).send(body, nonce="n1")


@pytest.mark.asyncio
async def test_stop_and_reset_act_on_the_thread_where_they_are_typed() -> None:
    """T6, Q7, Q8: answered to the person alone, with what came of it."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        assert told(await alice.slash(thread_id, "stop")) == "Stopping."
        assert told(await alice.slash(thread_id, "reset")) == "Starting afresh."
        assert chat.dispatcher.calls == [("stop", thread_id, alice.id, None), ("reset", thread_id, alice.id)]
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_an_answer_says_so_when_what_it_promises_is_not_saved_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Q8, R6: a disk that stalls keeps nobody waiting."""

    class Stalled(FakeDispatcher):
        def reset(self, thread_id: int, by: Actor) -> Answer:
            return Answer("Done.\n>>> more", accepted=True, lasting=True)

        async def saved(self) -> bool:
            await anyio.sleep_forever()
            raise AssertionError

    monkeypatch.setattr(answers, "SAVE_LIMIT", 0.01)
    async with in_a_thread(dispatcher=Stalled()) as (chat, thread_id):
        answer = told(await chat.fd.user("alice").slash(thread_id, "reset"))
        assert answer == f"Done.\n{answers.NOT_SAVED}\n>>> more"


@pytest.mark.asyncio
async def test_status_tells_of_the_thread_or_of_everything() -> None:
    """Q11: in a thread the thread's state, in a channel the bot's."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        assert told(await alice.slash(thread_id, "status")) == "All quiet."
        await alice.slash(chat.fd.channel_id, "status")
        assert chat.dispatcher.calls == [("status", thread_id), ("status", None)]


@pytest.mark.asyncio
@pytest.mark.parametrize("command", ["stop", "reset", "diff"])
async def test_a_thread_command_in_a_channel_says_where_it_belongs(command: str) -> None:
    """T6: nothing is stopped by guess."""
    async with in_a_thread() as (chat, _):
        assert told(await chat.fd.user("alice").slash(chat.fd.channel_id, command)) == NOT_IN_THREAD
        assert chat.dispatcher.calls == []


@pytest.mark.asyncio
@pytest.mark.parametrize("command", ["stop", "status", "reset", "diff"])
async def test_a_stranger_may_use_no_command(command: str) -> None:
    """D2: commands ask the same authorize() as messages."""
    async with in_a_thread() as (chat, thread_id):
        assert told(await chat.fd.user("mallory").slash(thread_id, command)) == Reason.PERSON
        assert chat.dispatcher.calls == []


@pytest.mark.asyncio
async def test_a_command_in_a_channel_that_is_not_listed_is_refused() -> None:
    """D2: a thread counts as its parent, for commands too."""
    async with in_a_thread() as (chat, _):
        alice, other = chat.fd.user("alice"), chat.fd.add_channel("other")
        thread = await chat.fd.start_thread(alice, await alice.say(other, "topic"), "topic")
        assert told(await alice.slash(other, "status")) == Reason.CHANNEL
        assert told(await alice.slash(thread.id, "stop")) == Reason.CHANNEL
        assert chat.dispatcher.calls == []


@pytest.mark.asyncio
async def test_commands_work_in_an_archived_thread_that_is_in_no_cache() -> None:
    """D2, T6: the thread's parent comes with the interaction."""
    async with in_a_thread() as (chat, thread_id):
        await chat.fd.archive(thread_id)
        assert told(await chat.fd.user("alice").slash(thread_id, "status")) == "All quiet."
        assert chat.dispatcher.calls[-1] == ("status", thread_id)


@pytest.mark.asyncio
async def test_a_command_that_fails_is_answered_all_the_same() -> None:
    """D6: an exception in the work leaves nobody without an answer."""
    async with in_a_thread() as (chat, thread_id):
        chat.dispatcher.broken = True
        assert told(await chat.fd.user("alice").slash(thread_id, "stop")) == FAILED
        chat.dispatcher.broken = False
        assert told(await chat.fd.user("alice").slash(thread_id, "stop")) == "Stopping."


def attached(interaction: Interaction, chat: RunningChat) -> dict[str, bytes]:
    """Return the files of the answer that filled a deferred one."""
    assert interaction.original_id is not None
    return {one.name: one.content for one in chat.fd.message(interaction.original_id).attachments}


@pytest.mark.asyncio
async def test_what_takes_longer_is_deferred_and_brings_its_file() -> None:
    """V3, D2: to the person alone; without the file where Discord does not take it, and a fault is an answer, too."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        chat.dispatcher.changes = Answer("1 file", accepted=True, file=Attachment("changes.diff", b"+x\n"))
        asked = await alice.slash(thread_id, "diff")
        assert asked.kind is CallbackType.DEFERRED_MESSAGE
        assert await asked.told() == told(asked) == "1 file"
        assert attached(asked, chat) == {"changes.diff": b"+x\n"}
        chat.fd.faults.next("POST", r"/webhooks/", Fault.status(413, 40005))
        asked = await alice.slash(thread_id, "diff")
        assert await asked.told() == f"1 file{NO_FILE}"
        assert attached(asked, chat) == {}
        assert chat.dispatcher.calls == [("diff", thread_id)] * 2
        chat.dispatcher.broken = True
        assert await (await alice.slash(thread_id, "diff")).told() == FAILED


@pytest.mark.asyncio
async def test_an_answer_is_corrected_when_what_was_asked_for_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """K1, R5: by one that follows, without secrets; one that follows at once is the only one."""
    later = LaterAnswer()

    class Slow(FakeDispatcher):
        def clear(self, thread_id: int, by: Actor) -> Answer:
            return Answer("Telling the agent.", accepted=True, later=later)

    monkeypatch.setattr(answers, "SOON", 0.01)
    async with in_a_thread(dispatcher=Slow(), secrets=("hunter2-hünter2",)) as (chat, thread_id):
        alice = chat.fd.user("alice")
        first = await alice.slash(thread_id, "queue clear")
        assert told(first) == "Telling the agent."
        later.settle(Answer("It has hunter2-hünter2.", accepted=True))
        later.settle(Answer("Too late.", accepted=True))
        await chat.fd.wait_for(lambda _: told(first) == f"It has {REDACTED}.")
        assert told(await alice.slash(thread_id, "queue clear")) == f"It has {REDACTED}."
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_a_menu_comes_without_secrets_and_its_use_is_answered_when_nothing_knows_it() -> None:
    """K1, R5: what people read of it has no secret, what comes back is what was offered."""
    choices = (SelectChoice("a hunter2-hünter2", "first", "hunter2-hünter2!", chosen=True), SelectChoice("b", "second"))
    menu = Select("weft:unknown", choices, "hunter2-hünter2?")
    async with in_a_thread(secrets=("hunter2-hünter2",)) as (chat, thread_id):
        alice = chat.fd.user("alice")
        chat.dispatcher.changes = Answer("Which?", accepted=True, selects=(menu,), buttons=(Button("weft:x", "More"),))
        asked = await alice.slash(thread_id, "diff")
        assert await asked.told() == "Which?"
        (row, below) = chat.fd.message(asked.original_id or 0).components
        (select,) = row["components"]
        assert below["components"][0]["label"] == "More"
        shown = [(one["label"], one["value"], one.get("description"), one["default"]) for one in select["options"]]
        assert shown == [(f"a {REDACTED}", "first", f"{REDACTED}!", True), ("b", "second", None, False)]
        assert select["placeholder"] == f"{REDACTED}?"
        used = await alice.choose(asked.original_id or 0, "weft:unknown", "second")
        assert (used.response or {})["content"] == EXPIRED
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_a_command_of_an_older_version_is_answered() -> None:
    """D7: Discord may still show a command that is no more."""
    async with in_a_thread() as (chat, thread_id):
        chat.fd.state.commands[""].append({**chat.fd.commands[0], "id": "77", "name": "retired"})
        assert told(await chat.fd.user("alice").slash(thread_id, "retired")) == UNKNOWN


@pytest.mark.asyncio
async def test_the_stop_button_stops_the_turn_it_belongs_to() -> None:
    """T6: the prompt's id is in the button, so an old button stops no newer turn."""
    async with in_a_thread() as (chat, thread_id):
        custom_id = f"weft:stop:{thread_id}:42"
        message_id = await post(chat, thread_id, custom_id)
        alice = chat.fd.user("alice")
        assert told(await alice.click(message_id, custom_id)) == "Stopping."
        assert chat.dispatcher.calls == [("stop", thread_id, alice.id, 42)]
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_a_permission_button_gives_the_chosen_option() -> None:
    """D6: request and option go to the work, with who pressed."""
    async with in_a_thread() as (chat, thread_id):
        message_id = await post(chat, thread_id, "weft:perm:Ab_9-x:2")
        alice = chat.fd.user("alice")
        assert told(await alice.click(message_id, "weft:perm:Ab_9-x:2")) == "Allowed."
        assert chat.dispatcher.calls == [("decide", "Ab_9-x", 2, alice.id)]


@pytest.mark.asyncio
@pytest.mark.parametrize("custom_id", ["weft:stop:7:42", "weft:perm:abc:0"])
async def test_a_stranger_may_press_nothing(custom_id: str) -> None:
    """D2, D6: buttons ask the same authorize() as messages."""
    async with in_a_thread() as (chat, thread_id):
        message_id = await post(chat, thread_id, custom_id)
        assert told(await chat.fd.user("mallory").click(message_id, custom_id)) == Reason.PERSON
        assert chat.dispatcher.calls == []


@pytest.mark.asyncio
async def test_an_approver_may_press_cards_and_nothing_else_until_a_reload_takes_the_role_off_the_list() -> None:
    """C1, D2: the rights are those of the press, and the channels that are listed bind approvers, too."""
    async with in_a_thread() as (chat, thread_id):
        role = chat.fd.add_role("approvers")
        judge, policy = chat.fd.user("judge", roles=[role]), chat.gateway.current().policy
        other, press = chat.fd.add_channel("other"), "weft:perm:abc:0"
        card, stop = await post(chat, thread_id, press), f"weft:stop:{thread_id}:42"
        sent = await chat.gateway.chat.thread(thread_id).send(Body("working", (Button(stop, "Stop"),)), nonce="n2")
        elsewhere = await chat.gateway.chat.thread(other).send(Body("card", (Button(press, "Allow"),)), nonce="n3")
        assert told(await judge.click(card, press)) == Reason.PERSON
        chat.gateway.allow(dataclasses.replace(policy, approvers=frozenset({role})))
        assert told(await judge.click(card, press)) == "Allowed."
        assert chat.dispatcher.deciders == [
            Actor(judge.id, "judge", frozenset({role, chat.fd.guild_id}), approver=True)
        ]
        assert told(await judge.click(sent, stop)) == Reason.PERSON
        assert told(await judge.slash(thread_id, "stop")) == Reason.PERSON
        assert told(await judge.click(elsewhere, press)) == Reason.CHANNEL
        chat.gateway.allow(policy)
        assert told(await judge.click(card, press)) == Reason.PERSON
        assert chat.dispatcher.calls == [("decide", "abc", 0, judge.id)]


@pytest.mark.asyncio
@pytest.mark.parametrize("custom_id", ["weft:old:1", "weft:stop:x:1", "weft:perm:a:1:2", "poll:yes"])
async def test_an_unknown_button_says_that_it_expired(custom_id: str) -> None:
    """D6: no press ends in Discord's own error."""
    async with in_a_thread() as (chat, thread_id):
        message_id = await post(chat, thread_id, custom_id)
        assert told(await chat.fd.user("alice").click(message_id, custom_id)) == EXPIRED
        assert chat.dispatcher.calls == []
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_buttons_of_an_earlier_run_still_work() -> None:
    """D6: found by custom_id alone, with nothing in memory."""
    async with FakeDiscord() as fd:
        stamp = MemoryStamp()
        async with running_chat(fd, stamp=stamp) as before:
            message_id = await post(before, fd.channel_id, "weft:perm:abc:1")
        async with running_chat(fd, stamp=stamp) as after:
            assert told(await fd.owner.click(message_id, "weft:perm:abc:1")) == "Allowed."
            assert after.dispatcher.calls == [("decide", "abc", 1, fd.owner.id)]
            assert before.dispatcher.calls == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("custom_id", "call"),
    [
        ("weft:stop:{thread}:1201", ("stop", "thread", "who", 1201)),
        ("weft:perm:Zx3-_9:0", ("decide", "Zx3-_9", 0, "who")),
        ("weft:go:{thread}:1201", ("go on", "thread", 1201, "message", "who")),
        ("weft:now:{thread}:1201", ("promote", "thread", 1201, "who")),
        ("weft:drop:{thread}:1201", ("remove", "thread", 1201, "who")),
        ("weft:end:{thread}:Zx3-_9", ("end left", "thread", "Zx3-_9", "who")),
        ("weft:do:{thread}:status", ("status", "thread")),
        ("weft:do:{thread}:queue", ("queue", "thread")),
        ("weft:do:{thread}:reset", ("reset", "thread", "who")),
    ],
)
async def test_each_kind_of_button_works_as_every_version_has_written_it(
    custom_id: str, call: tuple[object, ...]
) -> None:
    """D6: these texts stand in threads since version 0.1.0 or the one that brought them; they never change."""
    async with in_a_thread() as (chat, thread_id):
        alice, custom_id = chat.fd.user("alice"), custom_id.format(thread=thread_id)
        message_id = await post(chat, thread_id, custom_id)
        assert await (await alice.click(message_id, custom_id)).told() != EXPIRED
        named = {"thread": thread_id, "message": message_id, "who": alice.id}
        assert chat.dispatcher.calls == [tuple(named.get(str(part), part) for part in call)]
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_a_button_works_as_often_as_it_is_pressed() -> None:
    """D6: who is first is the work's decision; every press is answered once."""
    async with in_a_thread() as (chat, thread_id):
        message_id = await post(chat, thread_id, "weft:perm:abc:0")
        for _ in range(3):
            assert told(await chat.fd.user("alice").click(message_id, "weft:perm:abc:0")) == "Allowed."
        assert len(chat.dispatcher.calls) == 3
        chat.fd.assert_clean()


def test_templates_take_whole_ids_only() -> None:
    """D6: nothing is guessed out of a custom_id."""
    assert KNOWN.fullmatch("weft:stop:1:2")
    assert KNOWN.fullmatch("weft:perm:a-B_9:0")
    assert not any(
        KNOWN.fullmatch(wrong) for wrong in ("weft:stop:1", "xweft:stop:1:2", "weft:perm::0", "weft:perm:a:", "")
    )


@pytest.mark.asyncio
async def test_commands_are_registered_once_and_for_servers_only() -> None:
    """R3: a restart registers nothing again; the stamp is what remembers."""
    async with FakeDiscord() as fd:
        stamp = MemoryStamp()
        async with running_chat(fd, stamp=stamp):
            await fd.wait_for(lambda fd: fd.commands)
        first = stamp.value
        async with running_chat(fd, stamp=stamp) as chat:
            await chat.settled(fd.channel_id)
        assert fd.command_syncs == 1
        assert stamp.value == first
        assert {command["name"] for command in fd.commands} == {"help", *(one.name for one in COMMANDS)}
        registered = fd.rest_calls("PUT", "/commands")[0].body
        assert all(command["contexts"] == [0] or command["dm_permission"] is False for command in registered), (
            json.dumps(registered)
        )


@pytest.mark.asyncio
async def test_changed_commands_are_registered_again() -> None:
    """R3: another version's stamp does not hold."""
    async with FakeDiscord() as fd:
        stamp = MemoryStamp("of an older version")
        async with running_chat(fd, stamp=stamp):
            await fd.wait_for(lambda fd: fd.commands)
        assert fd.command_syncs == 1
        assert stamp.value != "of an older version"


@pytest.mark.asyncio
async def test_a_stop_button_stops_nothing_outside_its_own_thread() -> None:
    """D2, D6: the place that was judged is the place that is acted on."""
    async with in_a_thread() as (chat, thread_id):
        message_id = await post(chat, thread_id, "weft:stop:12345:42")
        assert told(await chat.fd.user("alice").click(message_id, "weft:stop:12345:42")) == EXPIRED
        assert chat.dispatcher.calls == []


@pytest.mark.asyncio
@pytest.mark.parametrize("custom_id", ["weft:stop:7:42", "weft:perm:abc:0"])
async def test_a_press_on_a_button_that_was_just_removed_is_answered(custom_id: str) -> None:
    """D6: no press ends in Discord's own error, however late it comes."""
    async with in_a_thread() as (chat, thread_id):
        message_id = await post(chat, thread_id, custom_id)
        alice = chat.fd.user("alice")
        data = {"component_type": 2, "custom_id": custom_id, "id": 1}
        await chat.gateway.chat.thread(thread_id).edit(message_id, Body("done"))
        late = alice.forge(InteractionType.COMPONENT, thread_id, data, chat.fd.message(message_id))
        await late.settle()
        assert told(late) in (EXPIRED, "Allowed.")
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_what_a_person_is_told_of_an_agent_holds_no_secret() -> None:
    """R5: a tool's title or an option's name is the agent's text in an ephemeral answer too."""

    class Chatty(FakeDispatcher):
        def status(self, thread_id: int | None) -> str:
            return "Tool: `echo hunter2hunter2`"

        def decide(self, request: str, option: int, by: Actor, message_id: int = 0) -> Answer:
            return Answer("Answered: hunter2hunter2", accepted=True)

    async with in_a_thread(dispatcher=Chatty(), secrets=("hunter2hunter2",)) as (chat, thread_id):
        alice = chat.fd.user("alice")
        assert told(await alice.slash(thread_id, "status")) == "Tool: `echo [secret]`"
        card = await post(chat, thread_id, "weft:perm:abc:0")
        assert told(await alice.click(card, "weft:perm:abc:0")) == "Answered: [secret]"
        assert told(await alice.slash(thread_id, "stop")) == "Stopping."
        assert told(await alice.slash(thread_id, "reset")) == "Starting afresh."


@pytest.mark.asyncio
async def test_the_continue_button_goes_on_with_its_prompt_and_names_its_message() -> None:
    """R2: which prompt, on which notice, and who asked for it."""
    async with in_a_thread() as (chat, thread_id):
        custom_id = f"weft:go:{thread_id}:42"
        message_id = await post(chat, thread_id, custom_id)
        alice = chat.fd.user("alice")
        assert await (await alice.click(message_id, custom_id)).told() == "Going on."
        assert chat.dispatcher.calls == [("go on", thread_id, 42, message_id, alice.id)]
        assert KNOWN.fullmatch(custom_id)
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_the_continue_button_works_in_its_own_thread_and_for_people_who_may() -> None:
    """R2, D2: nobody goes on elsewhere by a custom_id, and no stranger does."""
    async with in_a_thread() as (chat, thread_id):
        elsewhere, here = f"weft:go:{thread_id + 1}:42", f"weft:go:{thread_id}:42"
        message_id = await post(chat, thread_id, elsewhere)
        assert told(await chat.fd.user("alice").click(message_id, elsewhere)) == EXPIRED
        own = await chat.gateway.chat.thread(thread_id).send(Body("stopped", (Button(here, "Continue"),)), nonce="n2")
        assert told(await chat.fd.user("mallory").click(own, here)) == Reason.PERSON
        assert chat.dispatcher.calls == []


@pytest.mark.asyncio
async def test_a_card_is_answered_in_its_own_thread_only() -> None:
    """C1, C6: whoever has read a token may send it from a place, or a server, in which they have other rights."""
    async with in_a_thread(dispatcher=(work := Decider())) as (chat, thread_id):
        alice = chat.fd.user("alice")
        place = ThreadPlace(12, 12345, 123)
        card, request = work.asked(place, Actor(alice.id, "alice"))
        question = work.questioned(place, Actor(alice.id, "alice"), {"port": {"type": "integer"}})
        presses = [f"weft:perm:{card.token}:0", f"weft:always:{card.token}"]
        presses += [f"weft:ask:{question.token}:{word}" for word in ("step-0", "decline")]
        body = Body("forged", tuple(Button(custom_id, "Press") for custom_id in presses))
        message_id = await chat.gateway.chat.thread(thread_id).send(body, nonce="n1")
        for custom_id in presses:
            assert told(await alice.click(message_id, custom_id)) == EXPIRED
        assert not request.answered
        assert not question.request.answered


def test_a_thousand_names_that_read_alike_are_told_apart_within_discords_limits() -> None:
    """K1, K3: an agent names its values as it likes, and they are suggested at each letter that somebody types."""
    client = object.__new__(WeftClient)
    client.state = cast("Any", SimpleNamespace(redactor=Redactor()))
    interaction = cast("Any", SimpleNamespace(client=client))
    found = [("a" * 100, str(number)) for number in range(1000)]
    first = choices_of(interaction, "", found)
    assert [one.name.rpartition(" ")[2] for one in first] == ["a" * 100, *(f"({number})" for number in range(2, 26))]
    (last,) = choices_of(interaction, "(1000)", found)
    assert (last.value, len(last.name)) == ("999", 100)
