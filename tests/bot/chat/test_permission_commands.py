"""`/permissions answer` and `/inbox` through a real client: what is listed for whom, and what an answer does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from acp.jsonrpc import Response
from acp.open_request import OpenRequest
from acp.permission_request import PermissionRequest
from bot.chat.authorize import Policy, Reason
from bot.chat.commands.inbox import ALL_QUIET, fitting
from bot.chat.commands.permissions import NO_SUCH_OPTION, NOT_OPEN
from bot.chat.gateway import DiscordGateway
from bot.model import Actor, ThreadPlace
from bot.reply.port import Body, Button
from bot.reply.sanitise import units
from bot.sandbox import FakeDiscord, Person
from pool.store import Decision
from tests.bot.chat.harness import Decider, running_chat
from tests.pool.samples import decision

SECRET = "hunter2hunter2"
UNKNOWN_CHANNEL, UNKNOWN_MEMBER = 10003, 10007
"""What Discord says of what is gone, and of somebody who is not in a private thread."""


@dataclass
class Scene:
    """A channel with a thread in it, people who are let in, and an approver."""

    fd: FakeDiscord
    dispatcher: Decider
    gateway: DiscordGateway
    thread_id: int

    @property
    def alice(self) -> Person:
        return self.fd.user("alice")

    @property
    def judge(self) -> Person:
        return self.fd.user("judge")

    def place(self, thread_id: int = 0, channel_id: int = 0) -> ThreadPlace:
        return ThreadPlace(self.fd.guild_id, thread_id or self.thread_id, channel_id or self.fd.channel_id)

    def ask(self, title: str = "rm", **changes: Any) -> str:
        place = changes.pop("place", None) or self.place()
        card, _ = self.dispatcher.asked(place, Actor(self.alice.id, "alice"), title, **changes)
        return card.token

    async def answer(self, by: Person, token: str, option: str = "0", where: int = 0) -> str:
        told = await by.slash(where or self.thread_id, "permissions answer", request=token, option=option)
        assert told.ephemeral
        return str((told.response or {})["content"])

    async def suggested(self, by: Person, option: str, typed: str = "", where: int = 0, **given: str) -> dict[str, str]:
        found = await by.autocomplete(where or self.thread_id, "permissions answer", option, typed, **given)
        return {choice["name"]: choice["value"] for choice in (found.response or {})["choices"]}

    async def post(self, body: Body) -> int:
        return await self.gateway.chat.thread(self.thread_id).send(body, nonce=f"n{self.fd.state.ids()}")

    async def inbox(self, by: Person) -> str:
        told = await by.slash(self.fd.channel_id, "inbox")
        assert told.ephemeral
        return str((told.response or {})["content"])


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    async with FakeDiscord() as fd:
        judges = fd.add_role("judges")
        alice, _ = fd.user("alice"), fd.user("judge", roles=[judges])
        policy = Policy(users=frozenset({alice.id, fd.user("bob").id}), approvers=frozenset({judges}))
        async with running_chat(fd, policy, dispatcher=(dispatcher := Decider()), secrets=(SECRET,)) as chat:
            thread = await fd.start_thread(alice, await alice.say(fd.channel_id, "topic"), "topic")
            yield Scene(fd, dispatcher, chat.gateway, thread.id)
        fd.assert_clean(allow={UNKNOWN_CHANNEL, UNKNOWN_MEMBER})


@pytest.mark.asyncio
async def test_a_request_is_answered_from_its_thread_and_from_the_channel_above_it() -> None:
    """C1: the same function as the button's; also by the option's name, and in an archived thread."""
    async with scene() as at:
        first, second, third = at.ask(), at.ask(), at.ask()
        assert await at.answer(at.alice, first) == "Answered: `Allow`"
        assert await at.answer(at.judge, second, "Reject", at.fd.channel_id) == "Answered: `Reject`"
        await at.fd.archive(at.thread_id)
        assert await at.answer(at.alice, third, "1") == "Answered: `Reject`"
        assert await at.answer(at.alice, third) == NOT_OPEN


@pytest.mark.asyncio
async def test_what_is_not_open_here_is_not_answered_here() -> None:
    """C1, D6: by whoever may not decide it, in another channel, before its card is there, or with no such option."""
    async with scene() as at:
        token, unseen = at.ask(), at.ask(message_id=0)
        other = at.fd.add_channel("other")
        assert await at.answer(at.fd.user("bob"), token) == NOT_OPEN
        assert await at.answer(at.alice, token, where=other) == NOT_OPEN
        assert await at.answer(at.alice, unseen) == NOT_OPEN
        for option in ("7", "", "allow it all"):
            assert await at.answer(at.alice, token, option) == NO_SUCH_OPTION
        assert [card.token for card in at.dispatcher.permissions.waiting()] == [token, unseen]


@pytest.mark.asyncio
async def test_suggestions_are_the_requests_here_and_the_options_of_the_one_that_was_chosen() -> None:
    """C1, R5: without secrets, each under a name of its own, for nobody but those who may decide."""
    async with scene() as at:
        tokens = [at.ask(), at.ask(), at.ask(f"echo {SECRET}")]
        found = await at.suggested(at.alice, "request")
        assert found == {"0 s: rm": tokens[0], "0 s: rm (2)": tokens[1], "0 s: echo [secret]": tokens[2]}
        assert await at.suggested(at.judge, "request", "ECHO", at.fd.channel_id) == {"0 s: echo [secret]": tokens[2]}
        assert await at.suggested(at.alice, "request", tokens[1]) == {"0 s: rm (2)": tokens[1]}
        assert await at.suggested(at.alice, "request", SECRET) == {}
        assert await at.suggested(at.alice, "option", request=tokens[0]) == {"Allow": "0", "Reject": "1"}
        assert await at.suggested(at.alice, "option", request="?") == {}
        for other in (at.fd.user("bob"), at.fd.user("mallory")):
            assert await at.suggested(other, "request") == {}
            assert await at.suggested(other, "option", request=tokens[0]) == {}


@pytest.mark.asyncio
async def test_the_inbox_has_what_waits_for_whoever_looks_the_oldest_first() -> None:
    """A2: with links, and without what they have agreed to already."""
    async with scene() as at:
        assert await at.inbox(at.judge) == ALL_QUIET
        at.ask(f"make {SECRET}", message_id=71)
        token = at.ask("npm test", message_id=72, approvers=True, two_person=True)
        link = f"https://discord.com/channels/{at.fd.guild_id}/{at.thread_id}"
        lines = [f"- 0 s: `make [secret]` {link}/71", f"- 0 s: `npm test` {link}/72"]
        assert await at.inbox(at.judge) == "\n".join(["**Waiting for your answer**", *lines])
        assert (await at.answer(at.judge, token)).startswith("You have agreed to `Allow`.")
        assert await at.inbox(at.judge) == "\n".join(["**Waiting for your answer**", lines[0]])
        assert await at.inbox(at.alice) == "\n".join(["**Waiting for your answer**", *lines])
        assert await at.inbox(at.fd.user("bob")) == ALL_QUIET
        # A question is answered in its thread alone.
        by = Actor(at.alice.id, "alice")
        question = at.dispatcher.questioned(at.place(), by, {"name": {"type": "string"}}, message_id=73)
        assert (await at.inbox(at.alice)).splitlines()[-1] == f"- 0 s: `Which one?` {link}/73"
        assert await at.answer(at.alice, question.token) == NOT_OPEN
        assert await at.inbox(at.fd.user("bob")) == ALL_QUIET


@pytest.mark.asyncio
async def test_nobody_learns_of_threads_that_they_do_not_see() -> None:
    """A2, C1, D2: a hidden channel, another server, and a private thread that they are no member of."""
    async with scene() as at:
        fd, alice = at.fd, at.alice
        hidden = fd.add_channel("hidden")
        fd.overwrite(hidden, fd.guild_id, deny=["view_channel"])
        fd.overwrite(hidden, fd.bot_user.id, allow=["view_channel"])
        at.ask("hidden", place=at.place(1, hidden))
        at.ask("elsewhere", place=ThreadPlace(12, at.thread_id, fd.channel_id))
        private = await fd.start_private_thread(alice, fd.channel_id, "between us")
        at.ask("private", place=at.place(private.id))
        assert await at.inbox(at.judge) == ALL_QUIET
        assert await at.suggested(at.judge, "request", where=fd.channel_id) == {}
        assert (await at.inbox(alice)).count("\n- ") == 1
        assert "`private`" in await at.inbox(alice)
        await fd.archive(private.id)
        assert await at.inbox(at.judge) == ALL_QUIET
        assert "`private`" in await at.inbox(alice)


def test_a_long_list_says_how_much_is_missing() -> None:
    """A2: within what a message may have."""
    assert fitting(["a", "b"]) == "a\nb"
    text = fitting(["🟥" * 90] * 30)
    assert text.splitlines()[-1] == f"-# and {30 - text.count('🟥🟥') // 45} more"
    assert 1700 < units(text) <= 2000


def noted(request: PermissionRequest) -> list[Any]:
    """Return what the agent is answered, from now on."""
    answers: list[Any] = []

    def note(_request: OpenRequest, response: Response) -> None:
        answers.append(response.result)

    request._answer = note
    return answers


@pytest.mark.asyncio
async def test_of_two_who_press_in_the_same_moment_exactly_one_counts() -> None:
    """C1, D6: on the button and by the command; with two people, one is the first and one the second."""
    async with scene() as at:
        by, press = Actor(at.alice.id, "alice"), "weft:perm:{}:{}"
        for two_person in (False, True):
            card, request = at.dispatcher.asked(at.place(), by, approvers=True, two_person=two_person)
            answers = noted(request)
            buttons = tuple(Button(press.format(card.token, number), str(number)) for number in range(2))
            message_id = await at.post(Body("card", buttons))
            pressed = [at.alice.begin_click(message_id, press.format(card.token, 0))]
            pressed.append(at.judge.begin_click(message_id, press.format(card.token, 0)))
            told = sorted([await one.told() for one in pressed])
            first = "You have agreed to `Allow`. Somebody else has to agree, too."
            late = "Already answered by `alice`." if not two_person else first
            assert told == sorted(["Answered: `Allow`", late])
            assert answers == [{"outcome": {"outcome": "selected", "optionId": "yes"}}]
            by_both = "Already answered by `alice` and `judge`." if two_person else "Already answered by `alice`."
            late_press = await at.judge.click(message_id, press.format(card.token, 1))
            assert await late_press.told() == by_both
            assert await at.answer(at.judge, card.token) == NOT_OPEN


@pytest.mark.asyncio
async def test_what_somebody_agreed_to_counts_no_more_once_a_reload_takes_their_right() -> None:
    """C1: by the roles of their press; while nobody is logged in, what was known holds."""
    async with scene() as at:
        judges = next(iter(at.gateway.current().policy.approvers))
        judge, stranger = Actor(1, "judge", frozenset({judges})), Actor(2, "stranger")
        assert at.gateway.rights(judge, at.place()) == replace(judge, approver=True)
        assert at.gateway.rights(stranger, at.place()) is None
        card, _ = at.dispatcher.asked(at.place(), Actor(at.alice.id, "alice"), approvers=True, two_person=True)
        assert (await at.answer(at.judge, card.token)).startswith("You have agreed")
        at.gateway.allow(replace(at.gateway.current().policy, approvers=frozenset()))
        at.dispatcher.permissions.recheck(at.gateway.rights)
        assert card.agreed == {}
        assert await at.answer(at.judge, card.token) == Reason.PERSON
        client, at.gateway._client = at.gateway._client, None
        assert at.gateway.rights(stranger, at.place()) == stranger
        at.gateway._client = client


@pytest.mark.asyncio
async def test_what_somebody_agreed_to_counts_no_more_once_they_press_without_the_role() -> None:
    """C1: Discord tells of a lost role with the next press, whatever it is on, and also if it is refused."""
    async with scene() as at:
        card, _ = at.dispatcher.asked(at.place(), Actor(at.alice.id, "alice"), approvers=True, two_person=True)
        assert (await at.answer(at.judge, card.token)).startswith("You have agreed")
        at.dispatcher.permissions.recheck(at.gateway.rights)
        assert [by.id for by in card.agreed.values()] == [at.judge.id]
        at.fd.user("judge", roles=[at.fd.add_role("others")])
        assert await at.answer(at.judge, card.token) == Reason.PERSON
        at.dispatcher.permissions.recheck(at.gateway.rights)
        assert card.agreed == {}


@pytest.mark.asyncio
async def test_the_audit_of_the_server_has_what_its_reader_may_see() -> None:
    """C5, D2: an approver learns nothing of a hidden channel, a private thread or what is gone."""
    async with scene() as at:
        fd = at.fd
        hidden = fd.add_channel("hidden")
        fd.overwrite(hidden, fd.guild_id, deny=["view_channel"])
        fd.overwrite(hidden, fd.bot_user.id, allow=["view_channel"])
        private = await fd.start_private_thread(at.alice, fd.channel_id, "between us")
        places = {"hidden": hidden, "private": private.id, "gone": 4242, "open": at.thread_id, "channel": fd.channel_id}
        made = [decision(thread_id=place, what=what) for what, place in places.items()]

        async def last(_count: int, *, guild_id: int) -> list[Decision]:
            assert guild_id == fd.guild_id
            return made

        at.dispatcher.decisions = cast("Any", SimpleNamespace(last=last))
        told = await (await at.judge.slash(at.thread_id, "audit", server=True)).told()
        assert [what for what in places if f"`{what}`" in told] == ["open", "channel"]
