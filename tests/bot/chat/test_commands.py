"""What `/queue`, its buttons and `/new` do, through a real client and the loopback Discord."""

from __future__ import annotations

import pytest

from bot.chat.answers import NOT_IN_THREAD
from bot.chat.authorize import Policy, Reason
from bot.chat.buttons import EXPIRED, KNOWN
from bot.chat.commands.board import NOT_HERE, NOT_YOURS
from bot.chat.commands.new import NO_TITLE
from bot.chat.commands.queue import NOT_FOR_SERVER
from bot.model import Actor, QueueMode
from bot.reply.cards import turn_button
from bot.reply.port import Body
from bot.sandbox import CallbackType, FakeDiscord, Fault, Interaction, Message
from bot.sandbox.model import ADMINISTRATOR, PERMISSIONS
from bot.work.outside.boards import ENDED, HERE
from bot.work.ports import Answer
from tests.bot.chat.harness import RunningChat, in_a_thread, running_chat

from .test_interactions import told

PROMPT = 42


async def waiting(chat: RunningChat, thread_id: int, names: int | None = None) -> Message:
    """Post the notice of a waiting message; its buttons name the thread ``names`` instead of its own."""
    where = thread_id if names is None else names
    body = Body("Waiting: 1 before it", (turn_button("now", where, PROMPT), turn_button("drop", where, PROMPT)))
    return chat.fd.message(await chat.gateway.chat.thread(thread_id).send(body, nonce="n1"))


def only_told(interaction: Interaction) -> str:
    """Return what the person alone was told as the first answer."""
    assert interaction.kind is CallbackType.MESSAGE
    assert interaction.ephemeral
    return str((interaction.response or {})["content"])


@pytest.mark.asyncio
async def test_stop_ends_the_turn_unless_all_is_asked_for() -> None:
    """Q7: `/stop`, `/stop turn` and `/stop all`, whose border is its own snowflake."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        assert only_told(await alice.slash(thread_id, "stop")) == "Stopping."
        assert only_told(await alice.slash(thread_id, "stop", what="turn")) == "Stopping."
        asked = await alice.slash(thread_id, "stop", what="all")
        assert only_told(asked) == "Stopping all."
        one = ("stop", thread_id, alice.id, None)
        assert chat.dispatcher.calls == [one, one, ("stop all", thread_id, alice.id, asked.id)]
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_the_queue_is_shown_and_cleared_to_the_one_who_asks() -> None:
    """Q5, Q11"""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        assert only_told(await alice.slash(thread_id, "queue show")) == "Nothing waits."
        assert only_told(await alice.slash(thread_id, "queue clear")) == "Cleared."
        assert chat.dispatcher.calls == [("queue", thread_id), ("clear", thread_id, alice.id)]


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", QueueMode)
async def test_a_threads_queue_mode_is_chosen_and_everybody_there_is_told(mode: QueueMode) -> None:
    """Q2: it is their messages that it is about."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        used = await alice.slash(thread_id, "queue mode", mode=mode.value)
        assert not used.ephemeral
        assert await used.told() == f"From now on: {mode}."
        assert chat.dispatcher.calls == [("mode", thread_id, mode, alice.id, False)]
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_a_mode_that_was_not_accepted_is_told_to_the_asker_only() -> None:
    """Q2"""
    async with in_a_thread() as (chat, thread_id):
        chat.dispatcher.refuses = True
        only_told(await chat.fd.user("alice").slash(thread_id, "queue mode", mode="steer"))


@pytest.mark.asyncio
@pytest.mark.parametrize("permissions", [PERMISSIONS["manage_guild"], ADMINISTRATOR])
async def test_the_servers_queue_mode_is_chosen_by_those_who_manage_the_server(permissions: int) -> None:
    """Q2, D2: in a channel as well as in a thread."""
    async with in_a_thread("bob") as (chat, _):
        bob = chat.fd.user("bob", roles=[chat.fd.add_role("mods", permissions)])
        used = await bob.slash(chat.fd.channel_id, "queue mode", mode="followup", everywhere=True)
        assert await used.told() == "From now on: followup."
        assert chat.dispatcher.calls == [("mode", chat.fd.guild_id, QueueMode.FOLLOWUP, bob.id, True)]


@pytest.mark.asyncio
async def test_the_owner_of_weft_chooses_for_a_server_without_managing_it() -> None:
    """Q2, D2"""
    async with in_a_thread() as (chat, thread_id):
        operator = chat.fd.user("operator")
        await operator.slash(thread_id, "queue mode", mode="queue", everywhere=True)
        assert chat.dispatcher.calls == [("mode", chat.fd.guild_id, QueueMode.QUEUE, operator.id, True)]


@pytest.mark.asyncio
async def test_others_choose_for_no_server_and_outside_threads_for_nothing() -> None:
    """Q2, D2"""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        assert only_told(await alice.slash(thread_id, "queue mode", mode="queue", everywhere=True)) == NOT_FOR_SERVER
        outside = only_told(await alice.slash(chat.fd.channel_id, "queue mode", mode="queue"))
        assert outside == f"{NOT_IN_THREAD} For the whole server, set `everywhere`."
        for command in ("queue show", "queue clear"):
            assert only_told(await alice.slash(chat.fd.channel_id, command)) == NOT_IN_THREAD
        assert only_told(await alice.slash(chat.fd.channel_id, "stop", what="all")) == NOT_IN_THREAD
        assert chat.dispatcher.calls == []


@pytest.mark.asyncio
@pytest.mark.parametrize("command", ["queue show", "queue clear", "queue mode", "verbosity"])
async def test_a_stranger_may_not_touch_the_queue(command: str) -> None:
    """D2: also not one who manages the server."""
    async with in_a_thread() as (chat, thread_id):
        mallory = chat.fd.user("mallory", roles=[chat.fd.add_role("mods", ADMINISTRATOR)])
        options = {"mode": "queue", "everywhere": True} if command.endswith("mode") else {}
        assert only_told(await mallory.slash(thread_id, command, **options)) == Reason.PERSON
        assert chat.dispatcher.calls == []


@pytest.mark.asyncio
@pytest.mark.parametrize(("kind", "answer"), [("now", "It runs next."), ("drop", "Removed.")])
async def test_an_accepted_press_is_told_to_the_presser_and_the_notice_left_to_the_work(kind: str, answer: str) -> None:
    """Q5: by whoever may write there; the notice has buttons of others, too."""
    async with in_a_thread("bob") as (chat, thread_id):
        notice, bob = await waiting(chat, thread_id), chat.fd.user("bob")
        pressed = await bob.click(notice, f"weft:{kind}:{thread_id}:{PROMPT}")
        assert only_told(pressed) == answer
        assert chat.fd.message(notice.id) == notice
        call = {"now": "promote", "drop": "remove"}[kind]
        assert chat.dispatcher.calls == [(call, thread_id, PROMPT, bob.id)]
        chat.fd.assert_clean()


@pytest.mark.asyncio
@pytest.mark.parametrize(("kind", "answer"), [("now", "It runs next."), ("drop", "Removed."), ("go", "Going on.")])
async def test_a_press_without_effect_leaves_the_buttons(kind: str, answer: str) -> None:
    """Q5, R2: only its presser is told."""
    async with in_a_thread() as (chat, thread_id):
        chat.dispatcher.refuses = True
        body = Body(
            "notice",
            (turn_button("now", thread_id, 1), turn_button("drop", thread_id, 1), turn_button("go", thread_id, 1)),
        )
        notice = await chat.gateway.chat.thread(thread_id).send(body, nonce="n1")
        assert only_told(await chat.fd.user("alice").click(notice, f"weft:{kind}:{thread_id}:1")) == answer
        assert chat.fd.message(notice).components


@pytest.mark.asyncio
async def test_the_continue_button_vanishes_once_it_was_accepted() -> None:
    """R2, V2: nobody presses it twice."""
    async with in_a_thread() as (chat, thread_id):
        for number, more in enumerate(((), (turn_button("details", thread_id, 1),))):
            body = Body("notice", (turn_button("go", thread_id, 1), *more))
            notice = await chat.gateway.chat.thread(thread_id).send(body, nonce=f"n{number}")
            pressed = await chat.fd.user("alice").click(notice, f"weft:go:{thread_id}:1")
            assert await pressed.told() == "Going on."
            left = [one["label"] for row in chat.fd.message(notice).components for one in row["components"]]
            assert left == [one.label for one in more], "what only shows something stays"


@pytest.mark.asyncio
async def test_a_press_is_answered_even_where_the_message_cannot_be_changed() -> None:
    """R2, D6: what was done is told."""
    async with in_a_thread() as (chat, thread_id):
        body = Body("notice", (turn_button("go", thread_id, 1),))
        notice = await chat.gateway.chat.thread(thread_id).send(body, nonce="n1")
        chat.fd.faults.next("POST", r"/callback$", Fault.status(400, 50083))
        pressed = await chat.fd.user("alice").click(notice, f"weft:go:{thread_id}:1")
        assert only_told(pressed) == "Going on."
        assert len(chat.dispatcher.calls) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["now", "drop"])
async def test_the_buttons_act_in_their_own_thread_and_for_people_who_may(kind: str) -> None:
    """Q5, D2: the place that was judged is the place that is acted on."""
    async with in_a_thread() as (chat, thread_id):
        notice = await waiting(chat, thread_id, names=thread_id + 1)
        elsewhere = f"weft:{kind}:{thread_id + 1}:{PROMPT}"
        assert only_told(await chat.fd.user("alice").click(notice, elsewhere)) == EXPIRED
        assert only_told(await chat.fd.user("mallory").click(notice, elsewhere)) == Reason.PERSON
        assert chat.dispatcher.calls == []
        assert chat.fd.message(notice.id).components == notice.components


def test_the_buttons_that_are_made_are_the_buttons_that_are_known() -> None:
    """Q5, R2"""
    made = [turn_button(kind, 1, 2) for kind in ("now", "drop", "go", "details")]
    assert [button.label for button in made] == ["Send now", "Remove", "Continue", "Details"]
    assert all(KNOWN.fullmatch(button.custom_id) for button in made)


def seen(interaction: Interaction) -> tuple[int, str]:
    """Return the id and the text of what everybody was told, with no one notified."""
    assert interaction.acked
    assert not interaction.ephemeral
    assert interaction.original_id is not None
    assert interaction.response is not None
    assert interaction.response["allowed_mentions"]["parse"] == []
    return interaction.original_id, str(interaction.response["content"])


@pytest.mark.asyncio
async def test_in_a_channel_it_opens_a_thread_from_its_answer_and_asks_there() -> None:
    """D1, O2: from its answer on, the prompt fares like a message."""
    async with in_a_thread() as (chat, _):
        alice = chat.fd.user("alice")
        command = await alice.slash(chat.fd.channel_id, "new", agent="codex", prompt="  mend *it*\nnow ")
        message_id, text = seen(command)
        assert text == "A new conversation.\n>>> mend *it*\nnow"
        inbound = await chat.dispatcher.inbound(2)
        assert chat.dispatcher.calls == [("renew", None, "codex", alice.id)] * 2 + [
            ("assign", message_id, chat.fd.channel_id, "codex")
        ]
        assert (inbound.message_id, inbound.thread_id, inbound.channel_id) == (
            message_id,
            message_id,
            chat.fd.channel_id,
        )
        assert (inbound.author.id, inbound.text, inbound.title) == (alice.id, "mend *it*\nnow", "mend it")
        assert (inbound.opens_thread, inbound.parent_id) == (True, None)
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_in_a_channel_without_a_prompt_it_opens_a_thread_to_write_in() -> None:
    """D1: every message in it is a prompt, and none that is posted while Weft is away is lost."""
    async with in_a_thread() as (chat, _):
        alice = chat.fd.user("alice")
        message_id, text = seen(await alice.slash(chat.fd.channel_id, "new", agent="codex"))
        assert text == "A new conversation. Write in the thread what you want done."
        await chat.fd.wait_for(lambda fd: any(thread.id == message_id for thread in fd.threads()))
        (thread,) = (thread for thread in chat.fd.threads() if thread.id == message_id)
        assert (thread.name, len(chat.dispatcher.inbounds)) == ("New conversation with codex", 1)
        said = await alice.say(message_id, "hello")
        inbound = await chat.dispatcher.inbound(2)
        assert (inbound.message_id, inbound.thread_id, inbound.parent_id) == (said.id, message_id, chat.fd.channel_id)
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_a_new_thread_has_the_name_and_the_agent_the_files_that_were_given() -> None:
    """S4: files alone ask something, too, as they do in a message (F1)."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        files: dict[str, tuple[str, bytes]] = {"file": ("a`b.txt", b"one"), "file5": ("five.png", b"5")}
        message_id, text = seen(await alice.slash(chat.fd.channel_id, "new", title="Read *this*", **files))
        assert text == "A new conversation.\n-# With `a\u02cbb.txt`, `five.png`"
        inbound = await chat.dispatcher.inbound(2)
        assert (inbound.title, inbound.text, inbound.files) == ("Read this", "", 2)
        assert [(one.name, one.size, one.message_id) for one in inbound.attachments] == [
            ("a`b.txt", 3, message_id),
            ("five.png", 1, message_id),
        ]
        calls = list(chat.dispatcher.calls)
        refused = await alice.slash(thread_id, "new", title="other", prompt="go")
        assert only_told(refused) == NO_TITLE
        assert chat.dispatcher.calls == calls, "the conversation goes on"
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_a_thread_that_can_not_be_opened_is_told() -> None:
    """O1: nobody waits for a thread that does not come."""
    async with FakeDiscord() as fd, running_chat(fd) as chat:
        fd.deny("create_public_threads", fd.channel_id)
        message_id, _ = seen(await fd.owner.slash(fd.channel_id, "new"))
        answer = "The thread could not be opened: I lack the permission Create Public Threads here (code 50013)"
        await fd.wait_for(lambda fd: any(one.content == answer for one in fd.messages(fd.channel_id)))
        assert [one.reference_id for one in fd.messages(fd.channel_id) if one.content == answer] == [message_id]
        assert chat.dispatcher.inbounds == []


@pytest.mark.asyncio
async def test_in_a_thread_it_begins_anew_there() -> None:
    """Q8: as a reset does, and everybody in the thread sees it."""
    async with in_a_thread() as (chat, thread_id):
        alice = chat.fd.user("alice")
        assert seen(await alice.slash(thread_id, "new", agent="codex"))[1] == "A new conversation."
        message_id, text = seen(await alice.slash(thread_id, "new", prompt="go on"))
        assert text == "A new conversation.\n>>> go on"
        asked = [("renew", thread_id, "codex", alice.id), ("renew", thread_id, None, alice.id)]
        assert [call for call in chat.dispatcher.calls if call[1] is not None] == asked
        inbound = await chat.dispatcher.inbound(2)
        assert (inbound.message_id, inbound.thread_id, inbound.channel_id) == (message_id, thread_id, thread_id)
        assert (inbound.text, inbound.opens_thread, inbound.parent_id) == ("go on", False, chat.fd.channel_id)
        chat.fd.assert_clean()


@pytest.mark.asyncio
async def test_what_the_desk_refuses_is_told_to_the_person_alone_and_nothing_begins() -> None:
    """Q8: an agent that there is not, or a bot that stops."""
    async with in_a_thread() as (chat, _):
        chat.dispatcher.refuses = True
        answer = await chat.fd.user("alice").slash(chat.fd.channel_id, "new", agent="nope", prompt="go")
        assert told(answer) == "No."
        assert [call[0] for call in chat.dispatcher.calls] == ["renew"]
        assert len(chat.dispatcher.inbounds) == 1


@pytest.mark.asyncio
async def test_a_stranger_may_neither_use_it_nor_learn_which_agents_there_are() -> None:
    """D2"""
    async with in_a_thread() as (chat, thread_id):
        mallory = chat.fd.user("mallory")
        for place in (thread_id, chat.fd.channel_id):
            assert told(await mallory.slash(place, "new", prompt="go")) == Reason.PERSON
        assert await suggested(chat, "mallory", "") == []
        assert await suggested(chat, "mallory", "", "project") == []
        assert chat.dispatcher.calls == []
        assert len(chat.dispatcher.inbounds) == 1


async def suggested(chat: RunningChat, name: str, typed: str, option: str = "agent") -> list[str]:
    shown = await chat.fd.user(name).autocomplete(chat.fd.channel_id, "new", option, typed)
    assert shown.response is not None
    return [choice["value"] for choice in shown.response["choices"]]


@pytest.mark.asyncio
async def test_agents_are_suggested_by_what_was_typed() -> None:
    """D7"""
    async with in_a_thread() as (chat, _):
        assert await suggested(chat, "alice", "") == ["claude", "codex", "gemini"]
        assert await suggested(chat, "alice", "C") == ["claude", "codex"]
        assert await suggested(chat, "alice", "xyz") == []


@pytest.mark.asyncio
async def test_a_new_thread_works_on_the_project_that_was_chosen() -> None:
    """W1: suggested by what was typed."""
    async with in_a_thread() as (chat, _):
        assert await suggested(chat, "alice", "", "project") == ["web", "shop"]
        assert await suggested(chat, "alice", "w", "project") == ["web"]
        alice = chat.fd.user("alice")
        command = await alice.slash(chat.fd.channel_id, "new", project="web", prompt="mend it")
        message_id, _ = seen(command)
        await chat.dispatcher.inbound(2)
        assert chat.dispatcher.calls == [
            ("renew", None, None, alice.id, "web"),
            ("renew", None, None, alice.id),
            ("assign", message_id, chat.fd.channel_id, None, "web"),
        ]


@pytest.mark.asyncio
async def test_a_long_prompt_is_shown_cut_and_asked_whole() -> None:
    """D4"""
    async with FakeDiscord() as fd, running_chat(fd, Policy()) as chat:
        _, text = seen(await fd.owner.slash(fd.channel_id, "new", prompt="x" * 5000))
        assert (len(text), text[-1]) == (2000, "…")
        assert (await chat.dispatcher.inbound()).text == "x" * 5000


@pytest.mark.asyncio
async def test_a_prompt_that_is_asked_for_by_a_command_is_taken_once() -> None:
    """O1: Weft's own message comes by the gateway, too, and is no prompt there."""
    async with FakeDiscord() as fd, running_chat(fd) as chat:
        await fd.owner.slash(fd.channel_id, "new", prompt="go")
        await chat.dispatcher.inbound()
        await chat.settled(fd.channel_id)
        assert [one.text for one in chat.dispatcher.inbounds] == ["go"]


@pytest.mark.asyncio
async def test_a_bot_that_stops_between_its_answer_and_the_prompt_says_so() -> None:
    """O1, R1: the next run would not look for a message that is Weft's own."""
    async with FakeDiscord() as fd, running_chat(fd) as chat:
        dispatcher, renew = chat.dispatcher, chat.dispatcher.renew

        def once(thread_id: int | None, agent: str | None, by: Actor, project: str | None = None) -> Answer:
            answer = renew(thread_id, agent, by, project)
            dispatcher.refuses = True
            return answer

        dispatcher.renew = once  # type: ignore[method-assign]
        message_id, _ = seen(await fd.owner.slash(fd.channel_id, "new", agent="codex", prompt="go"))
        await fd.wait_for(lambda fd: any(one.reference_id == message_id for one in fd.messages(fd.channel_id)))
        assert fd.messages(fd.channel_id)[-1].content == "No."
        assert [call[0] for call in dispatcher.calls] == ["renew", "renew"]
        assert dispatcher.inbounds == []


@pytest.mark.asyncio
async def test_a_board_is_put_up_and_ended_by_who_looks_after_the_server() -> None:
    """A3, D2: `/board` and `/board off`; a person who is only let in is told who can."""
    async with in_a_thread() as (chat, thread_id):
        keeper = chat.fd.user("keeper", [chat.fd.add_role("keepers", PERMISSIONS["manage_guild"])])
        alice, channel_id = chat.fd.user("alice"), chat.fd.channel_id
        chat.gateway.allow(Policy(users=frozenset({alice.id, keeper.id})))
        boards = chat.dispatcher.outside.boards
        assert only_told(await alice.slash(channel_id, "board")) == NOT_YOURS.text
        assert only_told(await keeper.slash(thread_id, "board")) == NOT_HERE.text
        assert boards == set()
        assert only_told(await keeper.slash(channel_id, "board")) == HERE.text
        assert boards == {channel_id}
        assert only_told(await alice.slash(channel_id, "board", what="off")) == NOT_YOURS.text
        assert only_told(await chat.fd.owner.slash(channel_id, "board", what="off")) == ENDED.text
        assert boards == set()
        chat.fd.assert_clean()
