"""Who may do what, where: one table, each cell driven through the real client on the loopback Discord (D2, C1).

Everybody tries everything everywhere, on one boot. A word that is not in `EFFECTS` or `REFUSALS` is a cell that can't
exist; `IMPOSSIBLE` says why.

    asker       is listed by id, and asked in a thread of their own
    approver    has an approver role and is on no other list
    both        is listed and has an approver role
    stranger    is on no list, though a thread of theirs is there
    robot       is a bot, listed by its id
    former      had a listed role when they wrote, and lost it
    left        had a listed role, and has left the server

    message     writes a prompt: in a channel as a mention
    edit        edits one that was written while they had their role
    card        presses a permission card: outside other people's threads it is the card of their own turn
    form        opens the form of a question by its button, which is theirs where the card is
    modal       sends one with a text, also as a client does that had it open before anything changed
    select      sends one with a choice of a menu
    stop        presses a Stop button; ``/stop`` is the command
    suggest     types into an option of a command that suggests the names of agents
    /answer     answers a request by command; in a channel that of their own turn in a thread there
    choices     types into the option of that command that suggests requests
    /inbox      looks at what waits for them
    catch-up    has written while Weft was away, before the role was lost and the server left
    /agent      runs a command of the agent's
    details     presses *Details* below a turn
    /export     asks for the conversation
    /handoff    gives the thread another agent
    commands    types into the option of that command that suggests them
    /login      looks at how one logs in to an agent
    /model      asks for the menu of models
    menu        chooses in one that somebody else got, in the same thread or for another one
    models      types into the option of /model
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from bot.chat.answers import NOT_IN_THREAD
from bot.chat.authorize import Policy, Reason
from bot.chat.commands.board import NOT_HERE
from bot.chat.commands.inbox import ALL_QUIET
from bot.chat.commands.permissions import NOT_OPEN
from bot.chat.selects import EXPIRED as MENU_EXPIRED
from bot.model import Actor, Inbound, ThreadPlace
from bot.reply.port import Body, Button
from bot.sandbox import FakeDiscord, Interaction, Message, Person
from bot.sandbox.interactions import CallbackType, InteractionType
from bot.sandbox.model import User
from bot.work.controls import AT_WORK
from bot.work.outside.boards import HERE, MOVED
from bot.work.questions.registry import SENT
from bot.work.slash.commands import NO_COMMANDS
from tests.bot.chat.choices import CHOSEN_MODEL, MENU
from tests.bot.chat.harness import DETAILS, LOGINS, Decider, RunningChat, running_chat

WAYS = (
    "message", "edit", "card", "form", "modal", "select", "stop", "/stop", "suggest", "/answer", "choices", "/inbox",
    "catch-up",
)  # fmt: skip
PLACES = ("own", "other", "listed", "unlisted", "dm")
TABLE = """
who      where    message edit  card    form    modal   select  stop    /stop   suggest /answer choices /inbox  catch-up
asker    own      taken   taken decided shown   decided decided done    done    agents  decided shown   shown   taken
asker    other    taken   taken theirs  theirs  theirs  theirs  done    done    agents  theirs  none    shown   taken
asker    listed   taken   taken decided shown   decided decided done    outside agents  decided shown   shown   taken
asker    unlisted no      no    CHANNEL CHANNEL CHANNEL CHANNEL CHANNEL CHANNEL none    CHANNEL none    CHANNEL no
asker    dm       no      no    DIRECT  DIRECT  DIRECT  DIRECT  DIRECT  DIRECT  none    DIRECT  none    DIRECT  no
approver own      no      no    decided shown   decided decided PERSON  PERSON  none    decided shown   shown   no
approver other    no      no    decided shown   decided decided PERSON  PERSON  none    decided shown   shown   no
approver listed   no      no    decided shown   decided decided PERSON  PERSON  none    decided shown   shown   no
approver unlisted no      no    CHANNEL CHANNEL CHANNEL CHANNEL CHANNEL CHANNEL none    CHANNEL none    CHANNEL no
approver dm       no      no    DIRECT  DIRECT  DIRECT  DIRECT  DIRECT  DIRECT  none    DIRECT  none    DIRECT  no
both     own      taken   taken decided shown   decided decided done    done    agents  decided shown   shown   taken
both     other    taken   taken decided shown   decided decided done    done    agents  decided shown   shown   taken
both     listed   taken   taken decided shown   decided decided done    outside agents  decided shown   shown   taken
both     unlisted no      no    CHANNEL CHANNEL CHANNEL CHANNEL CHANNEL CHANNEL none    CHANNEL none    CHANNEL no
both     dm       no      no    DIRECT  DIRECT  DIRECT  DIRECT  DIRECT  DIRECT  none    DIRECT  none    DIRECT  no
stranger own      no      no    PERSON  PERSON  PERSON  PERSON  PERSON  PERSON  none    PERSON  none    PERSON  no
stranger other    no      no    PERSON  PERSON  PERSON  PERSON  PERSON  PERSON  none    PERSON  none    PERSON  no
stranger listed   no      no    PERSON  PERSON  PERSON  PERSON  PERSON  PERSON  none    PERSON  none    PERSON  no
stranger unlisted no      no    CHANNEL CHANNEL CHANNEL CHANNEL CHANNEL CHANNEL none    CHANNEL none    CHANNEL no
stranger dm       no      no    DIRECT  DIRECT  DIRECT  DIRECT  DIRECT  DIRECT  none    DIRECT  none    DIRECT  no
robot    own      taken   taken theirs  theirs  theirs  theirs  done    done    agents  theirs  none    none    taken
robot    other    taken   taken theirs  theirs  theirs  theirs  done    done    agents  theirs  none    none    taken
robot    listed   taken   taken theirs  theirs  theirs  theirs  done    outside agents  theirs  none    none    taken
robot    unlisted no      no    CHANNEL CHANNEL CHANNEL CHANNEL CHANNEL CHANNEL none    CHANNEL none    CHANNEL no
robot    dm       no      no    DIRECT  DIRECT  DIRECT  DIRECT  DIRECT  DIRECT  none    DIRECT  none    DIRECT  no
former   own      no      no    PERSON  PERSON  PERSON  PERSON  PERSON  PERSON  none    PERSON  none    PERSON  no
former   other    no      no    PERSON  PERSON  PERSON  PERSON  PERSON  PERSON  none    PERSON  none    PERSON  no
former   listed   no      no    PERSON  PERSON  PERSON  PERSON  PERSON  PERSON  none    PERSON  none    PERSON  no
former   unlisted no      no    CHANNEL CHANNEL CHANNEL CHANNEL CHANNEL CHANNEL none    CHANNEL none    CHANNEL no
former   dm       no      no    DIRECT  DIRECT  DIRECT  DIRECT  DIRECT  DIRECT  none    DIRECT  none    DIRECT  no
left     own      gone    gone  gone    gone    gone    gone    gone    gone    gone    gone    gone    gone    no
left     other    gone    gone  gone    gone    gone    gone    gone    gone    gone    gone    gone    gone    no
left     listed   gone    gone  gone    gone    gone    gone    gone    gone    gone    gone    gone    gone    no
left     unlisted gone    gone  gone    gone    gone    gone    gone    gone    gone    gone    gone    gone    no
left     dm       no      no    DIRECT  DIRECT  DIRECT  DIRECT  DIRECT  DIRECT  none    DIRECT  none    DIRECT  no
"""
# Decided as another way is, with other words for what it does: by the other's word, or by place and that word.
LIKE: dict[str, tuple[str, dict[str, str]]] = {
    "/agent": ("/stop", {}),
    "/notify": ("/stop", {}),
    "details": ("stop", {}),
    "/export": ("/stop", {}),
    "/handoff": ("/stop", {}),
    "commands": ("suggest", {"own agents": "shown", "other agents": "shown", "listed agents": "none"}),
    "/login": ("/inbox", {"shown": "done", "none": "done"}),
    "/model": ("/stop", {}),
    "menu": ("/stop", {}),
    "models": ("suggest", {"own agents": "shown", "other agents": "shown", "listed agents": "none"}),
}
BOARD = "/board"
"""Puts up a board, in a channel and not in a thread: whom the card's way lets in, and who looks after threads."""
IMPOSSIBLE = {"gone": "Discord lets nobody write or press in a server that they have left"}

Cell = tuple[str, str, str]


def expected() -> dict[Cell, str]:
    head, *rows = [line.split() for line in TABLE.strip().splitlines()]
    assert head == ["who", "where", *WAYS]
    cells = {(who, where, way): word for who, where, *words in rows for way, word in zip(WAYS, words, strict=True)}
    for way, (other, other_words) in LIKE.items():
        for who, where in {(who, where) for who, where, _ in cells}:
            word = cells[who, where, other]
            cells[who, where, way] = other_words.get(f"{where} {word}") or other_words.get(word, word)
    for who, where in {(who, where) for who, where, _ in cells}:
        word, in_thread = cells[who, where, "card"], where in ("own", "other")
        if word in ("decided", "theirs"):
            word = "thread" if in_thread else "done" if who in ("approver", "both") else "theirs"
        cells[who, where, BOARD] = word
    return cells


@dataclass
class Stage:
    """The people, the places, and what stands there."""

    chat: RunningChat
    people: dict[str, Person]
    places: dict[tuple[str, str], int]
    cards: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    stops: dict[int, tuple[int, str]] = field(default_factory=dict)
    asked: dict[tuple[str, str], str] = field(default_factory=dict)
    forms: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)

    def pairs(self, *, gone: bool = False) -> Iterator[tuple[str, str, Person, int]]:
        """Yield who can be where: not in the server whoever has left it."""
        for (who, where), place in self.places.items():
            if gone or who != "left" or where == "dm":
                yield who, where, self.people[who], place

    async def everybody_says(self, text: str, *, gone: bool = False) -> dict[tuple[str, str], int]:
        return {
            (who, where): (await person.say(place, text, mention_bot=where in ("listed", "unlisted"))).id
            for who, where, person, place in self.pairs(gone=gone)
        }

    async def everybody(
        self, act: Callable[[Person, int, str, str], Awaitable[Interaction]]
    ) -> dict[tuple[str, str], Interaction]:
        return {(who, where): await act(person, place, who, where) for who, where, person, place in self.pairs()}


async def set_up(chat: RunningChat, people: dict[str, Person], unlisted: int) -> Stage:
    fd, listed = chat.fd, chat.fd.channel_id

    async def thread_of(person: Person) -> int:
        said = await person.say(listed, "open", mention_bot=True)
        by = Actor(person.id, person.name)
        await chat.gateway.chat.open_thread(Inbound(said.id, listed, said.id, fd.guild_id, by, "", True, "open"))
        return said.id

    other = await thread_of(fd.owner)
    places: dict[tuple[str, str], int] = {}
    for who, person in people.items():
        own, dm = await thread_of(person), fd.open_dm(person)
        places |= {(who, "own"): own, (who, "other"): other, (who, "listed"): listed}
        places |= {(who, "unlisted"): unlisted, (who, "dm"): dm}
    # Each place is known to Weft by a prompt of its owner's, so that a catch-up looks there.
    for place in dict.fromkeys(place for (_, where), place in places.items() if where != "dm"):
        await fd.owner.say(place, "by the owner", mention_bot=True)
    await chat.settled(listed)
    stage = Stage(chat, people, places)
    assert isinstance(chat.dispatcher, Decider)
    await post_cards(stage, chat.dispatcher)
    return stage


async def post_cards(stage: Stage, dispatcher: Decider) -> None:
    """Post in each place the cards that can be pressed there, and a Stop button."""
    buttons: dict[int, list[Button]] = {place: [] for place in stage.places.values()}
    tokens: dict[tuple[str, str], str] = {}
    for (who, where), place in stage.places.items():
        asked_by = stage.chat.fd.owner if where == "other" else stage.people[who]
        in_thread = ThreadPlace(
            stage.chat.fd.guild_id, stage.places[who, "other" if where == "other" else "own"], stage.chat.fd.channel_id
        )
        robot, by = who == "robot" and where != "other", Actor(asked_by.id, asked_by.name)
        # What is pressed is answered where it stands; a command reaches a thread from its channel, too.
        here = in_thread if where in ("own", "other") else replace(in_thread, thread_id=place)
        card, _ = dispatcher.asked(here, by, approvers=True, for_owners=robot)
        other, _ = dispatcher.asked(in_thread, by, approvers=True, for_owners=robot)
        stage.asked[who, where] = other.token
        text, menu = (
            dispatcher.questioned(here, by, {"which": one}, approvers=True, for_owners=robot).token
            for one in ({"type": "string"}, {"type": "string", "enum": ["a", "b"]})
        )
        stage.forms[who, where] = text, menu
        buttons[place].append(Button(f"weft:ask:{text}:step-0", f"{who} {where} form"))
        tokens[who, where] = f"weft:perm:{card.token}:0"
        buttons[place].append(Button(tokens[who, where], f"{who} {where}"))
    for number, (place, row) in enumerate(buttons.items()):
        stop = f"weft:stop:{place}:42"
        body = Body("a card", (*row, Button(stop, "Stop"), Button(f"weft:details:{place}:42", "Details")))
        message_id = await stage.chat.gateway.chat.thread(place).send(body, nonce=f"m{number}")
        stage.stops[place] = message_id, stop
        stage.cards |= {pair: (message_id, tokens[pair]) for pair in tokens if stage.places[pair] == place}


TYPED = {"type": 4, "custom_id": "f0", "value": "main"}
CHOSEN = {"type": 3, "custom_id": "f0", "values": ["1"]}


async def send(by: Person, place: int, token: str, part: dict[str, Any]) -> Interaction:
    """Send a form, whether this person could open it or not."""
    data = {"custom_id": f"weft:ask:{token}:0", "components": [{"type": 18, "id": 1, "component": part}]}
    sent = by.forge(InteractionType.MODAL, place, data)
    await sent.settle()
    return sent


async def slash_later(by: Person, place: int, name: str) -> Interaction:
    """Give a command that is answered later, and wait for that."""
    used = await by.slash(place, name)
    await used.filled()
    return used


async def choose_in(by: Person, place: int, menus: dict[int, Message]) -> Interaction:
    """Choose in the menu of a place, as it was; where there is none, in that of another."""
    message = menus.get(place) or next(iter(menus.values()))
    (select,) = message.components[0]["components"]
    data = {"custom_id": select["custom_id"], "component_type": 3, "values": [select["options"][0]["value"]]}
    sent = by.forge(InteractionType.COMPONENT, place, data, message)
    await sent.settle()
    return sent


def word_of(interaction: Interaction) -> str:
    """Return the table's word for an answer, which only the person sees."""
    data = interaction.response or {}
    if interaction.kind is CallbackType.MODAL:
        return "shown"
    if "choices" in data:
        names = {choice["name"] for choice in data["choices"]}
        return "none" if not names else "agents" if names == {"claude", "codex", "gemini"} else "shown"
    text = str(data["content"])
    # What edits the message that was pressed is as private as that one.
    assert interaction.ephemeral or interaction.kind is CallbackType.UPDATE
    refusals = {str(reason): reason.name for reason in Reason if reason}
    words = {
        "Answered: `Allow`": "decided",
        SENT: "decided",
        "Stopping.": "done",
        DETAILS: "done",
        AT_WORK.text: "done",
        NO_COMMANDS: "done",
        LOGINS: "done",
        NOT_HERE.text: "thread",
        HERE.text: "done",
        MOVED.text: "done",
        "Chosen.": "done",
        MENU.text: "done",
        CHOSEN_MODEL.text: "done",
        MENU_EXPIRED: "outside",
        NOT_OPEN: "theirs",
        ALL_QUIET: "none",
    }
    # Some say how to choose for more than a thread as well.
    begins = {NOT_IN_THREAD: "outside", "Only ": "theirs", "**Waiting for your answer**": "shown"}
    return refusals.get(text) or words.get(text) or next((begins[one] for one in begins if text.startswith(one)), text)


@pytest.mark.asyncio
@pytest.mark.usefixtures("no_pause_before_identify")
async def test_everybody_may_do_what_the_table_says_and_nothing_else() -> None:
    """D2, C1: buttons, commands, messages, edits and what is fetched after a gap ask one function."""
    async with FakeDiscord() as fd:
        devs, judges, guests = (fd.add_role(name) for name in ("devs", "judges", "guests"))
        unlisted = fd.add_channel("unlisted")
        people = {
            "asker": fd.user("asker"),
            "approver": fd.user("approver", roles=[judges]),
            "both": fd.user("both", roles=[judges]),
            "stranger": fd.user("stranger", roles=[guests]),
            "robot": fd._join(User(fd.state.ids(), "robot", bot=True), [judges, devs]),
            "former": fd.user("former", roles=[devs, guests]),
            "left": fd.user("left", roles=[devs]),
        }
        policy = Policy(
            channels=frozenset({fd.channel_id}),
            users=frozenset(people[who].id for who in ("asker", "both", "robot")),
            roles=frozenset({devs}),
            approvers=frozenset({judges}),
        )
        dispatcher = Decider()
        async with running_chat(fd, policy, dispatcher=dispatcher) as chat:
            await chat.caught_up()
            # No client offers guild commands in direct messages; should one come, the bot refuses it by itself.
            fd.state.command_contexts.clear()
            stage = await set_up(chat, people, unlisted)
            # 1. While all of them have their roles: what is edited later, and what is missed.
            first = await stage.everybody_says("first", gone=True)
            await chat.settled(fd.channel_id)
            async with chat.gap():
                missed = await stage.everybody_says("missed", gone=True)
                fd.user("former", roles=[guests])
                fd.kick(people["left"])
            # 2. As things are now.
            for who, where, person, _ in stage.pairs():
                await person.edit(first[who, where], "second")
            said = await stage.everybody_says("now")
            await chat.settled(fd.channel_id)
            menus = {
                place: fd.message((await people["asker"].slash(place, "model")).original_id or 0)
                for (_, where), place in stage.places.items()
                if where in ("own", "other")
            }
            pressed = {
                "card": await stage.everybody(lambda by, _, who, where: by.click(*stage.cards[who, where])),
                "form": await stage.everybody(
                    lambda by, place, who, where: by.click(
                        stage.stops[place][0], f"weft:ask:{stage.forms[who, where][0]}:step-0"
                    )
                ),
                "modal": await stage.everybody(
                    lambda by, place, who, where: send(by, place, stage.forms[who, where][0], TYPED)
                ),
                "select": await stage.everybody(
                    lambda by, place, who, where: send(by, place, stage.forms[who, where][1], CHOSEN)
                ),
                "stop": await stage.everybody(lambda by, place, _, __: by.click(*stage.stops[place])),
                "/stop": await stage.everybody(lambda by, place, _, __: by.slash(place, "stop")),
                "/inbox": await stage.everybody(lambda by, place, _, __: by.slash(place, "inbox")),
                BOARD: await stage.everybody(lambda by, place, _, __: by.slash(place, "board")),
                "choices": await stage.everybody(
                    lambda by, place, _, __: by.autocomplete(place, "permissions answer", "request", "")
                ),
                "/answer": await stage.everybody(
                    lambda by, place, who, where: by.slash(
                        place, "permissions answer", request=stage.asked[who, where], option="0"
                    )
                ),
                "/login": await stage.everybody(lambda by, place, _, __: slash_later(by, place, "login")),
                "/notify": await stage.everybody(lambda by, place, _, __: by.slash(place, "notify", when="never")),
                "/handoff": await stage.everybody(lambda by, place, _, __: by.slash(place, "handoff", agent="x")),
                "/export": await stage.everybody(lambda by, place, _, __: slash_later(by, place, "export")),
                "details": await stage.everybody(
                    lambda by, place, _, __: by.click(stage.stops[place][0], f"weft:details:{place}:42")
                ),
                "/agent": await stage.everybody(lambda by, place, _, __: by.slash(place, "agent", command="x")),
                "commands": await stage.everybody(
                    lambda by, place, _, __: by.autocomplete(place, "agent", "command", "")
                ),
                "/model": await stage.everybody(lambda by, place, _, __: by.slash(place, "model")),
                "menu": await stage.everybody(lambda by, place, _, __: choose_in(by, place, menus)),
                "models": await stage.everybody(lambda by, place, _, __: by.autocomplete(place, "model", "model", "")),
                "suggest": await stage.everybody(lambda by, place, _, __: by.autocomplete(place, "new", "agent", "")),
            }
        taken = {inbound.message_id for inbound in dispatcher.inbounds}
        edited = {revision[1] for revision in dispatcher.revisions if revision[0] == "edited"}
        found: dict[Cell, str] = {
            (*pair, way): word_of(one) for way, all_ in pressed.items() for pair, one in all_.items()
        }
        for way, ids, known in (("message", said, taken), ("edit", first, edited), ("catch-up", missed, taken)):
            found |= {(*pair, way): "taken" if message_id in known else "no" for pair, message_id in ids.items()}
        wanted = expected()
        assert wanted.keys() == {
            (who, where, way) for who in people for where in PLACES for way in (*WAYS, *LIKE, BOARD)
        }
        impossible = {cell for cell, word in wanted.items() if word in IMPOSSIBLE}
        assert {cell: word for cell, word in found.items() if word != wanted[cell] and cell not in impossible} == {}
        assert wanted.keys() - impossible <= found.keys()
