"""The door to Discord: no configured secret passes, whatever carries it; all else passes as it is."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio
import pytest

from bot.log import REDACTED, Redactor
from bot.model import Actor, Inbound, QueueMode
from bot.reply.port import Attachment, Body, Button
from bot.work.ports import Answer
from bot.work.redacted import RedactedChat, RedactedDesk
from tests.bot.reply.fakes import FakeThread
from tests.bot.work.fakes import FakeChat
from tests.bot.work.samples import ALICE, inbound

SECRET = "hunter2-hünter2"
REDACTOR = Redactor([SECRET])
BODY = Body(
    text=f"a {SECRET} b",
    buttons=(Button("weft:perm:x:0", f"Use {SECRET}", "success"), Button("weft:perm:x:1", "No", disabled=True)),
    file=Attachment("command.txt", f"export KEY={SECRET}\n".encode()),
    ping=11,
)
CLEANED = Body(
    text=f"a {REDACTED} b",
    buttons=(Button("weft:perm:x:0", f"Use {REDACTED}", "success"), Button("weft:perm:x:1", "No", disabled=True)),
    file=Attachment("command.txt", f"export KEY={REDACTED}\n".encode()),
    ping=11,
)


@pytest.fixture
def chat() -> FakeChat:
    return FakeChat(threads={100: FakeThread(delay=0.0)})


@pytest.mark.asyncio
async def test_a_message_is_posted_without_the_secret_in_text_labels_and_file(chat: FakeChat) -> None:
    """R5."""
    message_id = await RedactedChat(chat, REDACTOR).thread(100).send(BODY, nonce="n1", reply_to=5)
    (call,) = chat.threads[100].calls
    assert (call.message_id, call.body, call.nonce, call.reply_to) == (message_id, CLEANED, "n1", 5)


@pytest.mark.asyncio
async def test_an_edit_is_made_without_the_secret(chat: FakeChat) -> None:
    """R5."""
    thread = RedactedChat(chat, REDACTOR).thread(100)
    message_id = await thread.send(Body("before"), nonce="n1")
    await thread.edit(message_id, BODY)
    assert [call.body for call in chat.threads[100].of("edit")] == [CLEANED]


@pytest.mark.asyncio
async def test_a_message_without_a_secret_or_a_file_is_left_as_it_is(chat: FakeChat) -> None:
    """R5."""
    await RedactedChat(chat, REDACTOR).thread(100).send(Body("plain"), nonce="n1")
    assert [call.body for call in chat.threads[100].calls] == [Body("plain")]


@pytest.mark.asyncio
async def test_a_refusal_is_posted_without_the_secret(chat: FakeChat) -> None:
    """R5."""
    await RedactedChat(chat, REDACTOR).refuse(inbound(1), f"failed: {SECRET}")
    assert chat.refused == [(1, f"failed: {REDACTED}")]


@pytest.mark.asyncio
async def test_everything_else_is_passed_on(chat: FakeChat) -> None:
    """R5: the filter is in nobody's way."""
    filtered = RedactedChat(chat, REDACTOR)
    with anyio.fail_after(5):
        await filtered.open_thread(inbound(1))
        await filtered.acknowledge(inbound(1), "👀")
        await filtered.thread(100).typing()
    assert (chat.opened, chat.acknowledged, chat.threads[100].typed) == ([1], [(1, "👀")], 1)


@pytest.mark.parametrize("text", [SECRET * 2, f"{SECRET}\n{SECRET}", f"`{SECRET}`", SECRET])
def test_no_text_grows_when_secrets_are_cut_out(text: str) -> None:
    """R5: what fitted a message fits it still."""
    assert SECRET not in REDACTOR.text(text)
    assert len(REDACTOR.text(text)) <= len(text)


def test_a_secret_within_a_longer_secret_leaves_nothing_of_it() -> None:
    """R5: the longest goes first."""
    redactor = Redactor([SECRET, f"{SECRET}-and-more"])
    assert redactor.text(f"{SECRET}-and-more") == REDACTED


# --- answers to commands and buttons -------------------------------------------------------------------------------


@dataclass
class EchoDesk:
    """A desk all of whose answers hold the secret."""

    calls: list[tuple[object, ...]] = field(default_factory=list)

    async def saved(self) -> bool:
        return True

    def at_rest(self, thread_id: int) -> bool:
        return True

    def forget(self, *gone: int) -> None:
        self.calls.append(("forget", *gone))

    def authors(self) -> frozenset[tuple[int, int]]:
        return frozenset()

    def roles_now(self, guild_id: int, user_id: int, roles: frozenset[int]) -> None:
        self.calls.append(("roles", guild_id, user_id, roles))

    def submit(self, inbound: Inbound) -> None:
        self.calls.append(("submit", inbound))

    def stop(self, thread_id: int, by: Actor, prompt: int | None = None, before: int | None = None) -> Answer:
        self.calls.append(("stop", thread_id, by, prompt))
        return Answer(f"Stopping {SECRET}", accepted=True)

    def status(self, thread_id: int | None) -> str:
        self.calls.append(("status", thread_id))
        return f"Tool: {SECRET}"

    def reset(self, thread_id: int, by: Actor) -> Answer:
        self.calls.append(("reset", thread_id, by))
        return Answer(f"Reset {SECRET}", accepted=True)

    def decide(self, request: str, option: int, by: Actor) -> Answer:
        self.calls.append(("decide", request, option, by))
        return Answer(f"Answered: {SECRET}", accepted=False)

    def pending(self) -> frozenset[int]:
        return frozenset({7})

    def hold(self) -> None:
        self.calls.append(("hold",))

    def release(self) -> None:
        self.calls.append(("release",))

    def missed(self, inbound: Inbound) -> None:
        self.calls.append(("missed", inbound))

    def waiting(self) -> dict[int, list[int]]:
        return {8: [9]}

    def edited(self, message_id: int, text: str) -> None:
        self.calls.append(("edited", message_id, text))

    def deleted(self, message_id: int) -> None:
        self.calls.append(("deleted", message_id))

    def stop_all(self, thread_id: int, by: Actor, before: int) -> Answer:
        self.calls.append(("stop_all", thread_id, by, before))
        return Answer(f"Stopping all {SECRET}", accepted=True)

    def queue(self, thread_id: int, guild_id: int | None = None) -> str:
        self.calls.append(("queue", thread_id))
        return f"1. {SECRET}"

    def choose_mode(self, place_id: int, mode: QueueMode, by: Actor, *, server: bool) -> Answer:
        self.calls.append(("choose_mode", place_id, mode, by, server))
        return Answer(f"Mode {SECRET}", accepted=True)

    def clear(self, thread_id: int, by: Actor) -> Answer:
        self.calls.append(("clear", thread_id, by))
        return Answer(f"Removed {SECRET}", accepted=True)

    def end_left(self, thread_id: int, token: str, by: Actor) -> Answer:
        self.calls.append(("end_left", thread_id, token, by))
        return Answer(f"Ending {SECRET}", accepted=True)

    def promote(self, thread_id: int, prompt: int, by: Actor) -> Answer:
        self.calls.append(("promote", thread_id, prompt, by))
        return Answer(f"Next {SECRET}", accepted=True)

    def remove(self, thread_id: int, prompt: int, by: Actor) -> Answer:
        self.calls.append(("remove", thread_id, prompt, by))
        return Answer(f"Out {SECRET}", accepted=True)

    def agents(self) -> tuple[str, ...]:
        return ("claude",)

    def renew(self, thread_id: int | None, agent: str | None, by: Actor) -> Answer:
        self.calls.append(("renew", thread_id, agent, by))
        return Answer(f"With {SECRET}", accepted=True)

    def assign(self, thread_id: int, agent: str) -> None:
        self.calls.append(("assign", thread_id, agent))

    def go_on(self, thread_id: int, prompt: int, notice: int, by: Actor) -> Answer:
        self.calls.append(("go_on", thread_id, prompt, notice, by))
        return Answer(f"Going on {SECRET}", accepted=True)

    def thread_gone(self, thread_id: int, reason: str) -> None:
        self.calls.append(("thread_gone", thread_id, reason))


def test_no_answer_of_the_desk_tells_a_secret() -> None:
    """R5: tool titles and option names are the agent's."""
    desk = RedactedDesk(EchoDesk(), REDACTOR)
    assert desk.stop(100, ALICE) == Answer(f"Stopping {REDACTED}", accepted=True)
    assert desk.status(100) == f"Tool: {REDACTED}"
    assert desk.reset(100, ALICE) == Answer(f"Reset {REDACTED}", accepted=True)
    assert desk.decide("token", 0, ALICE) == Answer(f"Answered: {REDACTED}", accepted=False)
    assert desk.go_on(100, 1, 2, ALICE) == Answer(f"Going on {REDACTED}", accepted=True)
    assert desk.stop_all(100, ALICE, 9) == Answer(f"Stopping all {REDACTED}", accepted=True)
    assert desk.queue(100) == f"1. {REDACTED}"
    assert desk.choose_mode(100, QueueMode.STEER, ALICE, server=True) == Answer(f"Mode {REDACTED}", accepted=True)
    assert desk.clear(100, ALICE) == Answer(f"Removed {REDACTED}", accepted=True)
    assert desk.promote(100, 1, ALICE) == Answer(f"Next {REDACTED}", accepted=True)
    assert desk.remove(100, 1, ALICE) == Answer(f"Out {REDACTED}", accepted=True)
    assert desk.renew(100, "claude", ALICE) == Answer(f"With {REDACTED}", accepted=True)


def test_the_desk_gets_every_call_as_it_was_made() -> None:
    """R5."""
    echo, message = EchoDesk(), inbound(1, text=SECRET)
    desk = RedactedDesk(echo, REDACTOR)
    desk.submit(message)
    desk.stop(100, ALICE, prompt=5)
    desk.status(None)
    desk.reset(100, ALICE)
    desk.decide("token", 2, ALICE)
    assert desk.pending() == {7}
    assert desk.waiting() == {8: [9]}
    desk.hold()
    desk.release()
    desk.missed(message)
    desk.go_on(100, 1, 2, ALICE)
    desk.edited(5, "new")
    desk.deleted(6)
    desk.choose_mode(100, QueueMode.STEER, ALICE, server=True)
    desk.thread_gone(100, "deleted")
    desk.renew(None, "claude", ALICE)
    desk.assign(100, "claude")
    assert desk.agents() == ("claude",)
    assert echo.calls == [
        ("submit", message),
        ("stop", 100, ALICE, 5),
        ("status", None),
        ("reset", 100, ALICE),
        ("decide", "token", 2, ALICE),
        ("hold",),
        ("release",),
        ("missed", message),
        ("go_on", 100, 1, 2, ALICE),
        ("edited", 5, "new"),
        ("deleted", 6),
        ("choose_mode", 100, QueueMode.STEER, ALICE, True),
        ("thread_gone", 100, "deleted"),
        ("renew", None, "claude", ALICE),
        ("assign", 100, "claude"),
    ]
