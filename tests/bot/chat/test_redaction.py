"""The way out to Discord: no configured secret passes, whatever carries it; all else passes as it is."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import bot.chat
from bot.chat.authorize import Policy
from bot.demo.transcript import card_buttons
from bot.model import Actor, QueueMode
from bot.redaction import REDACTED, Redactor
from bot.reply.port import Attachment, Body, Button
from bot.sandbox import FakeDiscord, Fault, Message
from bot.work.ports import Answer
from tests.bot.chat.harness import FakeDispatcher, RunningChat, running_chat

SECRET = "hunter2-hünter2"
REDACTOR = Redactor([SECRET])
BODY = Body(
    text=f"a {SECRET} b",
    buttons=(Button("weft:perm:x:0", f"Use {SECRET}", "success"), Button("weft:perm:x:1", "No", disabled=True)),
    file=Attachment("command.txt", f"export KEY={SECRET}\n".encode()),
    ping=11,
)
PROMPT = 42


class LeakyDispatcher(FakeDispatcher):
    """A dispatcher all of whose answers hold the secret."""

    def stop(self, thread_id: int, by: Actor, prompt: int | None = None, before: int | None = None) -> Answer:
        super().stop(thread_id, by, prompt, before)
        return Answer(f"Stopping {SECRET}", accepted=True)

    def status(self, thread_id: int | None) -> str:
        super().status(thread_id)
        return f"Tool: {SECRET}"

    def reset(self, thread_id: int, by: Actor) -> Answer:
        super().reset(thread_id, by)
        return Answer(f"Reset {SECRET}", accepted=True)

    def decide(self, request: str, option: int, by: Actor, message_id: int = 0) -> Answer:
        super().decide(request, option, by)
        return Answer(f"Answered: {SECRET}", accepted=False)

    def stop_all(self, thread_id: int, by: Actor, before: int) -> Answer:
        super().stop_all(thread_id, by, before)
        return Answer(f"Stopping all {SECRET}", accepted=True)

    def queue(self, thread_id: int, guild_id: int | None = None) -> str:
        super().queue(thread_id, guild_id)
        return f"1. {SECRET}"

    async def diff(self, thread_id: int) -> Answer:
        await super().diff(thread_id)
        return Answer(f"`{SECRET}` +1", accepted=True, file=Attachment(f"{SECRET}.diff", f"+{SECRET}\n".encode()))

    def choose_mode(self, place_id: int, mode: QueueMode, by: Actor, *, server: bool) -> Answer:
        super().choose_mode(place_id, mode, by, server=server)
        return Answer(f"Mode {SECRET}", accepted=True)

    def clear(self, thread_id: int, by: Actor) -> Answer:
        super().clear(thread_id, by)
        return Answer(f"Removed {SECRET}", accepted=True)

    def promote(self, thread_id: int, prompt: int, by: Actor) -> Answer:
        super().promote(thread_id, prompt, by)
        return Answer(f"Next {SECRET}", accepted=True)

    def remove(self, thread_id: int, prompt: int, by: Actor) -> Answer:
        super().remove(thread_id, prompt, by)
        return Answer(f"Out {SECRET}", accepted=True)

    def renew(self, thread_id: int | None, agent: str | None, by: Actor, project: str | None = None) -> Answer:
        super().renew(thread_id, agent, by, project)
        return Answer(f"With {SECRET}", accepted=not self.refuses)

    def end_left(self, thread_id: int, token: str, by: Actor) -> Answer:
        super().end_left(thread_id, token, by)
        return Answer(f"Ending {SECRET}", accepted=True)

    def go_on(self, thread_id: int, prompt: int, notice: int, by: Actor) -> Answer:
        super().go_on(thread_id, prompt, notice, by)
        return Answer(f"Going on {SECRET}", accepted=True)


@asynccontextmanager
async def leaking() -> AsyncIterator[tuple[RunningChat, int]]:
    """Yield a chat that knows the secret, and a thread that it opened."""
    async with FakeDiscord() as fd, running_chat(fd, Policy(), dispatcher=LeakyDispatcher(), secrets=(SECRET,)) as chat:
        await fd.owner.say(fd.channel_id, "start", mention_bot=True)
        inbound = await chat.dispatcher.inbound()
        await chat.gateway.chat.open_thread(inbound)
        yield chat, inbound.thread_id


def labels(message: Message) -> list[tuple[str, bool]]:
    return [
        (button["label"], button.get("disabled", False)) for row in message.components for button in row["components"]
    ]


@pytest.mark.asyncio
async def test_a_message_is_posted_without_the_secret_in_text_labels_and_file() -> None:
    """R5."""
    async with leaking() as (chat, thread_id):
        port = chat.gateway.chat.thread(thread_id)
        first = await port.send(Body("first"), nonce="n0")
        message = chat.fd.message(await port.send(BODY, nonce="n1", reply_to=first))
        assert message.content == f"a {REDACTED} b"
        assert labels(message) == [(f"Use {REDACTED}", False), ("No", True)]
        assert [(one.name, one.content) for one in message.attachments] == [
            ("command.txt", f"export KEY={REDACTED}\n".encode())
        ]
        body = chat.fd.rest_calls("POST", f"/channels/{thread_id}/messages")[-1].body
        assert (body["nonce"], message.reference_id) == ("n1", first)
        assert [int(one) for one in body["allowed_mentions"]["users"]] == [11]


@pytest.mark.asyncio
async def test_a_link_is_a_button_without_an_id_and_without_the_secret() -> None:
    """C6, R5: without it, it would lead nowhere."""
    async with leaking() as (chat, thread_id):
        links = [Button("", f"Open {SECRET}", url=f"https://example.org/{end}") for end in ("login", f"?key={SECRET}")]
        body = Body("open", (*links, Button("weft:ask:a:done", "Done")))
        message_id = await chat.gateway.chat.thread(thread_id).send(body, nonce="n1")
        (row,) = chat.fd.message(message_id).components
        shown = [tuple(one.get(key) for key in ("label", "style", "url", "custom_id")) for one in row["components"]]
        assert shown == [
            (f"Open {REDACTED}", 5, "https://example.org/login", None),
            ("Done", 2, None, "weft:ask:a:done"),
        ]


@pytest.mark.asyncio
async def test_an_edit_is_made_without_the_secret() -> None:
    """R5."""
    async with leaking() as (chat, thread_id):
        port = chat.gateway.chat.thread(thread_id)
        message_id = await port.send(Body("before"), nonce="n1")
        await port.edit(message_id, BODY)
        message = chat.fd.message(message_id)
        assert (message.content, labels(message)) == (f"a {REDACTED} b", [(f"Use {REDACTED}", False), ("No", True)])


@pytest.mark.asyncio
async def test_a_message_without_a_secret_or_a_file_is_left_as_it_is() -> None:
    """R5."""
    async with leaking() as (chat, thread_id):
        message = chat.fd.message(await chat.gateway.chat.thread(thread_id).send(Body("plain"), nonce="n1"))
        assert (message.content, message.components, message.attachments) == ("plain", [], ())


@pytest.mark.asyncio
async def test_a_refusal_is_posted_without_the_secret() -> None:
    """R5."""
    async with leaking() as (chat, _):
        inbound = chat.dispatcher.inbounds[0]
        await chat.gateway.chat.refuse(inbound, f"failed: {SECRET}")
        answer = await chat.fd.wait_message(inbound.channel_id, lambda one: one.reference_id == inbound.message_id)
        assert answer.content == f"failed: {REDACTED}"


@pytest.mark.asyncio
async def test_what_carries_no_text_of_an_agents_is_in_nobodys_way() -> None:
    """R5: threads are opened, signs set."""
    async with leaking() as (chat, thread_id):
        inbound = chat.dispatcher.inbounds[0]
        await chat.gateway.chat.acknowledge(inbound, "👀")
        await chat.gateway.chat.thread(thread_id).typing()
        assert [thread.id for thread in chat.fd.threads()] == [inbound.thread_id]
        assert chat.fd.bot_user.id in chat.fd.message(inbound.message_id).reactions["👀"]
        assert len(chat.fd.rest_calls("POST", f"/channels/{thread_id}/typing")) == 1


@pytest.mark.parametrize("text", [SECRET * 2, f"{SECRET}\n{SECRET}", f"`{SECRET}`", SECRET])
def test_no_text_grows_when_secrets_are_cut_out(text: str) -> None:
    """R5: what fitted a message fits it still."""
    assert SECRET not in REDACTOR.text(text)
    assert len(REDACTOR.text(text)) <= len(text)


def test_a_secret_within_a_longer_secret_leaves_nothing_of_it() -> None:
    """R5: the longest goes first."""
    redactor = Redactor([SECRET, f"{SECRET}-and-more"])
    assert redactor.text(f"{SECRET}-and-more") == REDACTED


@pytest.mark.asyncio
async def test_no_answer_to_a_command_or_a_button_tells_a_secret() -> None:
    """R5: tool titles and option names are the agent's; the work is asked as ever."""
    async with leaking() as (chat, thread_id):
        owner, port = chat.fd.owner, chat.gateway.chat.thread(thread_id)
        names = [f"weft:{kind}:{thread_id}:{PROMPT}" for kind in ("stop", "now", "drop", "go")]
        names += [f"weft:end:{thread_id}:left", "weft:perm:token:0"]
        notice = await port.send(Body("notice", tuple(Button(name, "Press") for name in names)), nonce="n1")

        async def pressed(custom_id: str) -> str:
            return await (await owner.click(notice, custom_id)).told()

        async def typed(command: str, **options: object) -> str:
            return await (await owner.slash(thread_id, command, **options)).told()

        assert await typed("stop") == f"Stopping {REDACTED}"
        assert await typed("status") == f"Tool: {REDACTED}"
        assert await typed("reset") == f"Reset {REDACTED}"
        asked = await owner.slash(thread_id, "diff")
        assert await asked.told() == f"`{REDACTED}` +1"
        (file,) = chat.fd.message(asked.original_id or 0).attachments
        assert (file.name, file.content) == (f"{REDACTED}.diff", f"+{REDACTED}\n".encode())
        assert await typed("stop", what="all") == f"Stopping all {REDACTED}"
        assert await typed("queue show") == f"1. {REDACTED}"
        assert await typed("queue mode", mode="steer") == f"Mode {REDACTED}"
        assert await typed("queue clear") == f"Removed {REDACTED}"
        assert await typed("new", agent="claude") == f"With {REDACTED}"
        assert await pressed("weft:perm:token:0") == f"Answered: {REDACTED}"
        assert await pressed(names[0]) == f"Stopping {REDACTED}"
        assert await pressed(names[1]) == f"Next {REDACTED}"
        assert await pressed(names[2]) == f"Out {REDACTED}"
        assert await pressed(names[4]) == f"Ending {REDACTED}"
        assert await pressed(names[3]) == f"Going on {REDACTED}"
        calls = [call for call in chat.dispatcher.calls if call[0] != "stop all"]
        assert calls == [
            ("stop", thread_id, owner.id, None),
            ("status", thread_id),
            ("reset", thread_id, owner.id),
            ("diff", thread_id),
            ("queue", thread_id),
            ("mode", thread_id, QueueMode.STEER, owner.id, False),
            ("clear", thread_id, owner.id),
            ("renew", thread_id, "claude", owner.id),
            ("renew", None, "claude", owner.id),
            ("decide", "token", 0, owner.id),
            ("stop", thread_id, owner.id, PROMPT),
            ("promote", thread_id, PROMPT, owner.id),
            ("remove", thread_id, PROMPT, owner.id),
            ("end left", thread_id, "left", owner.id),
            ("go on", thread_id, PROMPT, notice, owner.id),
        ]


@pytest.mark.asyncio
async def test_a_canary_that_goes_every_way_out_of_chat_arrives_nowhere() -> None:
    """R5: messages, edits, files and their names, thread names, answers, refusals, and errors of Discord's."""
    async with leaking() as (chat, thread_id):
        fd, dispatcher, owner, talk = chat.fd, chat.dispatcher, chat.fd.owner, chat.gateway.chat
        port, opener = talk.thread(thread_id), dispatcher.inbounds[0]
        # 1. What the work and the reply post: a card with a file that Discord refuses, too, in a lesser shape.
        leaky = (Button("weft:perm:t:0", SECRET), Button("weft:perm:t:1", f"No {SECRET}"))
        card = Body(SECRET, leaky, Attachment(f"{SECRET}.txt", SECRET.encode()), fileless=leaky[1:])
        await port.edit(await port.send(card, nonce="c1"), Body(f"done {SECRET}", leaky))
        fd.faults.next("POST", r"/messages$", Fault.status(403, 50013))
        lesser = fd.message(await port.send(card, nonce="c2"))
        assert [button.label for button in card_buttons(lesser)] == [f"No {REDACTED}"]
        # 2. Names of threads: they quote what people reply to, an agent's words among it.
        named = await owner.say(fd.channel_id, f"<@{fd.bot_user.id}> go")
        await dispatcher.wait(lambda dispatcher: any(one.message_id == named.id for one in dispatcher.inbounds))
        await talk.open_thread(dataclasses.replace(dispatcher.inbounds[-1], title=f"Why {SECRET}?"))
        assert [thread.name for thread in fd.threads() if thread.id == named.id] == [f"Why {REDACTED}?"]
        # 3. Answers where somebody wrote: to the work's refusals, to typed commands, cut at the limit of a message.
        await talk.refuse(opener, f"{'x' * 1993} {SECRET}")
        refusal = await fd.wait_message(fd.channel_id, lambda one: one.reference_id == opener.message_id)
        assert refusal.content.endswith(f" {REDACTED[:5]}…")
        for command in ("stop", "stop all", "status"):
            said = await owner.say(thread_id, command)
            answer = await fd.wait_message(thread_id, lambda one, said=said: one.reference_id == said.id)  # type: ignore[misc]
            assert REDACTED in answer.content
        # 4. A thread that can't be opened: what Discord says about it is told.
        fd.faults.next("POST", r"/threads$", Fault.status(400, 50035))
        await owner.slash(fd.channel_id, "new")
        await fd.wait_message(fd.channel_id, lambda one: "could not be opened" in one.content)
        # 5. A request that is declined once its message stands there.
        dispatcher.refuses = True
        assert await (await owner.slash(thread_id, "new", prompt="go")).told() == f"With {REDACTED}"
        fd.assert_clean(allow={50013, 50035})
        sent = repr([(call.path, call.body) for call in fd.rest_calls()]) + repr(fd.messages(thread_id))
        assert SECRET not in sent
        assert REDACTED in sent


def test_nothing_else_in_chat_posts_anything() -> None:
    """R5: whoever adds a way out has to send it through the one that redacts."""
    posting = {
        "send",
        "send_message",
        "edit",
        "edit_message",
        "edit_original_response",
        "reply",
        "create_thread",
        "start_thread_with_message",
        "start_thread_without_message",
        "request",
    }
    found = {
        (path.stem, node.func.attr)
        for path in Path(bot.chat.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in posting
    }
    port = {("port", name) for name in ("send", "edit", "start_thread_with_message", "request")}
    interactions = {
        ("interactions", name) for name in ("send", "send_message", "edit_message", "edit_original_response", "request")
    }
    assert found == port | interactions
