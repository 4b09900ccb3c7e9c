"""Whoever may not gets nothing, whatever there is: every command and every custom_id, without a list of them here (D2).

What is registered with Discord says which commands there are; the patterns of custom_ids say what can be pressed and
sent. So what is new is tried from its first day. `test_authorisation_matrix` says who may do what, way by way.
"""

from __future__ import annotations

import importlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import discord
import pytest

from bot.chat import selects
from bot.chat.authorize import Policy, Reason
from bot.chat.buttons import EXPIRED, KNOWN
from bot.chat.commands.sessions import EXPIRED as LIST_EXPIRED
from bot.chat.commands.tree import answer_interactions
from bot.chat.modals import SUBMITTED
from bot.model import Actor, Inbound, ThreadPlace
from bot.reply.port import Body, Button
from bot.sandbox import FakeDiscord, Interaction, Message, Person
from bot.sandbox.interactions import InteractionType
from bot.sandbox.model import User
from scripts.benchmarks.commands import filled, uses
from tests.bot.chat.harness import Decider, RunningChat, running_chat

# Of these a person with an approver role alone may see something: they are about what agents ask, and about what
# approvers answer for beside that.
DECIDING = {
    "audit",
    "board",
    "help",
    "inbox",
    "login",
    "logout",
    "merge",
    "permissions answer",
    "permissions list",
    "permissions revoke",
    "pr",
    "schedules",
    "worktrees",
}
DECIDING_IDS = re.compile(r"weft:(perm|always|ask|keep|allow|auth|inbox|scheds?|trees?):.*")
BUTTONS_A_MESSAGE = 25
parser = importlib.import_module("re._parser")


def examples(pattern: re.Pattern[str], given: dict[str, str]) -> list[str]:
    """Return a text for each alternative of a pattern, with these texts for its groups, ``digits`` for open numbers."""
    names = {number: name for name, number in pattern.groupindex.items()}

    def of(parsed: Any) -> Iterator[str]:
        for parts in itertools.product(*(list(one(str(kind), value)) for kind, value in parsed)):
            yield "".join(parts)

    def one(kind: str, value: Any) -> Iterator[str]:
        if kind == "LITERAL":
            yield chr(value)
        elif kind == "BRANCH":
            for branch in value[1]:
                yield from of(branch)
        elif kind == "SUBPATTERN":
            name = names.get(value[0], "")
            yield from [given[name]] if name in given else of(value[3])
        elif kind == "MAX_REPEAT":
            least, most, inner = value
            text = next(of(inner))
            yield given["digits"] if text == "1" and most > 100 else text * max(1, least)
        elif kind == "IN":
            first, inside = value[0]
            yield "1" if str(first) == "CATEGORY" else chr(inside if str(first) == "LITERAL" else inside[0])
        else:
            raise NotImplementedError(f"{kind} in {pattern.pattern}")

    found = list(of(parser.parse(pattern.pattern)))
    assert all(pattern.fullmatch(text) for text in found)
    return found


def test_there_is_an_example_of_each_alternative() -> None:
    pattern = re.compile(r"a:(?:(?P<word>go|stop):(?P<place>\d+)|b-[0-9a-f]{2}|c:(?P<page>\d{1,3}):[en])")
    assert examples(pattern, {"digits": "42"}) == ["a:go:42", "a:stop:42", "a:b-00", "a:c:1:e"]
    pressed = examples(KNOWN, {"digits": "42"})
    assert {"weft:go:42:42", "weft:drop:42:42"} <= set(pressed)
    named = {name for text in pressed for name, value in KNOWN.fullmatch(text).groupdict().items() if value}  # type: ignore[union-attr]
    assert named == set(KNOWN.groupindex)


def expired(custom_id: str) -> str:
    if custom_id.startswith("weft:list:"):
        return LIST_EXPIRED.text
    return selects.EXPIRED if selects.KNOWN.fullmatch(custom_id) else EXPIRED


async def opened(chat: RunningChat, by: Person) -> int:
    """Have a thread opened by a mention; return its id."""
    said = await by.say(chat.fd.channel_id, "open", mention_bot=True)
    inbound = Inbound(said.id, chat.fd.channel_id, said.id, chat.fd.guild_id, Actor(by.id, by.name), "", True, "open")
    await chat.gateway.chat.open_thread(inbound)
    return said.id


def answer_of(interaction: Interaction) -> str:
    assert interaction.ephemeral, interaction
    return str((interaction.response or {}).get("content"))


async def refusals(person: Person, place: int, known: list[Any]) -> dict[str, str]:
    """Use every command and every suggestion there; return what each says."""
    said = {}
    for use in known:
        values = {one["name"]: filled(one, person.id, place) for one in use.given}
        interaction = await person.slash(place, use.path, **values)
        assert interaction.acked, use.path
        said[use.path] = answer_of(interaction)
        for option in use.suggesting:
            suggested = await person.autocomplete(place, use.path, option, "")
            assert (suggested.response or {}).get("choices") == [], (use.path, option)
    return said


async def sent(by: Person, place: int, custom_id: str) -> Interaction:
    """Send a form that nobody opened here."""
    part = {"type": 4, "custom_id": "f0", "value": "main"}
    data = {"custom_id": custom_id, "components": [{"type": 18, "id": 1, "component": part}]}
    interaction = by.forge(InteractionType.MODAL, place, data)
    await interaction.settle()
    return interaction


async def chosen(by: Person, place: int, custom_id: str, message: Message) -> Interaction:
    """Choose in a menu, which stands in this message for the moment."""
    menu = {"type": 3, "custom_id": custom_id, "options": [{"label": "x", "value": "x"}]}
    forged = replace(message, components=[{"type": 1, "components": [menu]}])
    data = {"custom_id": custom_id, "component_type": 3, "values": ["x"]}
    interaction = by.forge(InteractionType.COMPONENT, place, data, forged)
    await interaction.settle()
    return interaction


async def forged(
    chat: RunningChat, here: int, pressers: dict[str, Person], given: dict[str, str]
) -> dict[tuple[str, str], str]:
    """Press, choose and send everything in a thread that is about another one; return each answer by who and id."""
    found: dict[tuple[str, str], str] = {}
    buttons = [Button(custom_id, "x") for custom_id in examples(KNOWN, given)]
    for start in range(0, len(buttons), BUTTONS_A_MESSAGE):
        body = Body("forged", tuple(buttons[start : start + BUTTONS_A_MESSAGE]))
        message_id = await chat.gateway.chat.thread(here).send(body, nonce=f"f{start}")
        for button, (who, person) in itertools.product(body.buttons, pressers.items()):
            found[who, str(button.custom_id)] = answer_of(await person.click(message_id, str(button.custom_id)))
    message = chat.fd.message(message_id)
    for custom_id, (who, person) in itertools.product(examples(selects.KNOWN, given), pressers.items()):
        found[who, custom_id] = answer_of(await chosen(person, here, custom_id, message))
    for custom_id, (who, person) in itertools.product(examples(SUBMITTED, given), pressers.items()):
        found[who, custom_id] = answer_of(await sent(person, here, custom_id))
    return found


def test_what_can_be_pressed_is_known_here() -> None:
    """A pattern of its own for buttons or menus would be tried by nobody."""
    client = discord.Client(intents=discord.Intents.none())
    answer_interactions(client)
    handled = {pattern.pattern for pattern in client._connection._view_store._dynamic_items}
    assert handled == {KNOWN.pattern, selects.KNOWN.pattern}


@pytest.mark.asyncio
@pytest.mark.usefixtures("no_pause_before_identify")
async def test_nobody_gets_anything_of_a_command_or_a_custom_id_that_is_not_for_them() -> None:
    """D2, C1: refused before anything is done, and told to them alone; what is of another thread has expired."""
    async with FakeDiscord() as fd:
        judges, crew = fd.add_role("judges"), fd.add_role("crew")
        asker, approver, stranger = fd.user("asker"), fd.user("approver", roles=[judges]), fd.user("stranger")
        robot = fd._join(User(fd.state.ids(), "robot", bot=True), [crew, judges])
        policy = Policy(
            channels=frozenset({fd.channel_id}),
            users=frozenset({asker.id}),
            roles=frozenset({crew}),
            approvers=frozenset({judges}),
        )
        dispatcher = Decider()
        async with running_chat(fd, policy, dispatcher=dispatcher) as chat:
            await chat.caught_up()
            # No client offers guild commands in direct messages; should one come, the bot refuses it by itself.
            fd.state.command_contexts.clear()
            here, other = await opened(chat, asker), await opened(chat, asker)
            there = ThreadPlace(fd.guild_id, other, fd.channel_id)
            by = Actor(asker.id, asker.name)
            card, _ = dispatcher.asked(there, by, approvers=True)
            question = dispatcher.questioned(there, by, {"which": {"type": "string"}}, approvers=True)
            known = list(uses(one for listed in fd.state.commands.values() for one in listed))
            assert len(known) >= len(DECIDING)
            dispatcher.calls.clear()
            # 1. Commands, and what they suggest, by those who may not, and where nobody may.
            tried: list[tuple[Person, int, Reason, list[Any]]] = [
                (stranger, here, Reason.PERSON, known),
                (stranger, fd.channel_id, Reason.PERSON, known),
                (approver, here, Reason.PERSON, [use for use in known if use.path not in DECIDING]),
                (robot, here, Reason.BOT, known),
                (asker, fd.add_channel("unlisted"), Reason.CHANNEL, known),
                (asker, fd.open_dm(asker), Reason.DIRECT, known),
            ]
            for person, place, reason, some in tried:
                said = await refusals(person, place, some)
                assert {path: text for path, text in said.items() if text != reason} == {}, (person.name, reason)
            # In direct messages roles say nothing, and there is no channel that lets one in.
            chat.gateway.allow(replace(policy, direct=True))
            for person in (stranger, approver):
                said = await refusals(person, fd.open_dm(person), known)
                assert set(said.values()) == {Reason.UNLISTED}, person.name
            chat.gateway.allow(policy)
            assert dispatcher.calls == []
            # 2. Who may is let in, an approver to what agents ask; what a command does then is said by its own tests.
            for person, some in ((asker, known), (approver, [use for use in known if use.path in DECIDING])):
                for use in some:
                    values = {one["name"]: filled(one, person.id, here) for one in use.given}
                    let_in = await person.slash(here, use.path, **values)
                    assert let_in.acked, use.path
                    assert str((let_in.response or {}).get("content")) not in set(Reason), (person.name, use.path)
            dispatcher.calls.clear()
            # 3. What is pressed or sent in one thread, and is about another.
            given = {"digits": str(other), "request": card.token, "card": card.token, "question": question.token}
            people = {"asker": asker, "approver": approver, "stranger": stranger, "robot": robot}
            found = await forged(chat, here, people, given)
        wanted = {
            (who, custom_id): expired(custom_id)
            if who == "asker" or (who == "approver" and DECIDING_IDS.fullmatch(custom_id))
            else Reason.BOT
            if who == "robot"
            else Reason.PERSON
            for who, custom_id in found
        }
        assert {one: text for one, text in found.items() if text != wanted[one]} == {}
        assert dispatcher.calls == []
        assert dispatcher.permissions.find(card.token) is card
        assert dispatcher.questions.find(question.token) is question
