"""Buttons: found by their custom_id alone, so that they work on messages of an earlier run too.

What a press does is decided by the work; an unknown or outdated button is answered, never left to Discord's error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self, cast

import discord
from discord import ui

from bot.chat import selects
from bot.chat.authorize import Purpose
from bot.chat.commands import projects
from bot.chat.commands.control import reset, status
from bot.chat.commands.inbox import inbox
from bot.chat.commands.queue import show
from bot.chat.commands.schedules import on_schedule_press
from bot.chat.commands.sessions import on_list_press
from bot.chat.interactions import agent_place, asker_of, respond, respond_later, tell, thread_place_of
from bot.chat.modals import SUBMITTED, filled_in
from bot.model import Actor
from bot.work.dispatcher import Dispatcher
from bot.work.login.logins import OUT
from bot.work.permissions.rule_keeping import FIELD
from bot.work.ports import Answer
from bot.work.projects.tending import Press
from bot.work.questions.registry import QuestionRegistry

EXPIRED = "This button has expired."
EXPIRED_HERE = Answer(EXPIRED, accepted=False)
TEMPLATE = (
    r"weft:(?:(?P<action>go|stop|now|drop|allow|details):(?P<thread>\d+):(?P<prompt>\d+)"
    r"|end:(?P<left_in>\d+):(?P<token>[A-Za-z0-9_-]+)"
    r"|inbox:(?P<listed_at>\d+)"
    r"|do:(?P<here>\d+):(?P<word>status|queue|inbox|reset)"
    r"|auth:(?P<account_in>\d+):(?P<way>[0-9a-z]+)"
    r"|perm:(?P<request>[A-Za-z0-9_-]+):(?P<option>\d+)"
    r"|always:(?P<card>[A-Za-z0-9_-]+)"
    r"|page:(?P<paged_in>\d+):(?P<paged>all|[0-9a-f]{16}):(?P<page>\d{1,3}):[en]"
    r"|list:(?P<list>[A-Za-z0-9_-]+):(?:open-(?P<entry>\d{1,4})|page-(?P<list_page>\d{1,3}))"
    r"|scheds:(?P<sched_page>\d{1,3}):[en]"
    r"|sched:(?P<schedule>\d+):(?P<sched_what>pause|resume|remove):(?P<sched_at>\d{1,3})"
    r"|resolve:(?P<resolve_in>\d+):(?P<attempt>\d+)"
    r"|trees:(?P<trees_in>\d+):(?P<trees_page>\d{1,3})"
    r"|tree:(?P<tree_in>\d+):(?P<tree>[0-9a-f]{16}):(?P<press>remove|anyway|sure)"
    r"|ask:(?P<question>[A-Za-z0-9_-]+):(?:(?P<reply>done|decline)|pick-(?P<pick>\d{1,3})|step-(?P<step>\d{1,3})))"
)
# Old messages keep their buttons: a format that was once posted is read for ever. Add to these, change none.
KNOWN = re.compile(TEMPLATE)
COMMANDS: Mapping[str, object] = {"status": status, "queue": show, "inbox": inbox, "reset": reset}
"""The commands that buttons stand for."""


class WeftButton(ui.DynamicItem[ui.Button[Any]], template=TEMPLATE):
    """Stops, goes on with, allows or removes a prompt, shows what was done, ends what is left, or answers a request."""

    match: re.Match[str]

    @classmethod
    async def from_custom_id(
        cls, _interaction: discord.Interaction[Any], item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        button = cls(cast("ui.Button[Any]", item))
        button.match = match
        return button

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        named = self.match
        if await _answered_by_its_own(interaction, named):
            return
        message_id = interaction.message.id if interaction.message is not None else 0

        def act(dispatcher: Dispatcher, by: Actor) -> Answer:
            # It names no place, since it is about whoever presses it: it stands in answers that they alone see.
            if named["listed_at"] and not (interaction.message is not None and interaction.message.flags.ephemeral):
                return EXPIRED_HERE
            if named["listed_at"]:
                return dispatcher.inbox.clear(by.id, interaction.guild_id, int(named["listed_at"]) / 1000)
            # 1. A permission request or a question: its token cannot be guessed, but read, and sent from elsewhere.
            asked = named["request"] or named["card"] or named["question"]
            # A token that is not remembered is let through: the registries know how to answer for an earlier run (C4).
            if asked and is_elsewhere(interaction, dispatcher, asked):
                return Answer(EXPIRED, accepted=False)
            if named["request"]:
                return dispatcher.decide(named["request"], int(named["option"]), by, message_id)
            if named["card"]:
                return dispatcher.rules.open(named["card"], by, message_id)
            if named["question"]:
                return answer_question(dispatcher.questions, named, by, message_id)
            # 2. The rest names its thread. Whether the person may was decided for the place of the press, and a
            # forged custom_id can name any other.
            thread_id = int(named["thread"] or named["left_in"] or named["paged_in"])
            if interaction.channel_id != thread_id:
                return Answer(EXPIRED, accepted=False)
            if named["paged"]:
                return turn_page(interaction, dispatcher, named["paged"], int(named["page"]))
            if named["token"]:
                return dispatcher.controls.end_left(thread_id, named["token"], by)
            prompt = int(named["prompt"])
            match named["action"]:
                case "stop":
                    return dispatcher.controls.stop(thread_id, by, prompt=prompt)
                case "now":
                    return dispatcher.controls.promote(thread_id, prompt, by)
                case "drop":
                    return dispatcher.controls.remove(thread_id, prompt, by)
                case "allow":
                    return dispatcher.controls.allow(thread_id, prompt, message_id, by)
            return dispatcher.controls.go_on(thread_id, prompt, message_id, by)

        # The other buttons stay until the work changes their message: it shows a turn or a queue, and has more of them.
        decides = (
            named["request"] or named["card"] or named["question"] or named["listed_at"] or named["action"] == "allow"
        )
        # Approvers decide without being let in to prompt (C1).
        purpose = Purpose.DECIDE if decides else Purpose.PROMPT
        await respond(interaction, act, purpose=purpose, once=named["action"] in ("go", "allow"))


async def _answered_by_its_own(interaction: discord.Interaction[Any], named: re.Match[str]) -> bool:
    """Answer a press that is for a list, a work tree or a command with its own answer; False: it is another."""
    # Each of these compares by itself where it was pressed with what its custom_id names, which anybody can forge.
    if named["action"] == "details":
        await show_details(interaction, int(named["thread"]), int(named["prompt"]))
        return True
    if named["list"]:
        await on_list_press(interaction, named)
        return True
    if named["schedule"] or named["sched_page"]:
        await on_schedule_press(interaction, named)
        return True
    if named["attempt"]:
        await projects.on_resolve(interaction, int(named["resolve_in"]), named["attempt"])
        return True
    if named["trees_in"]:
        await projects.on_page(interaction, int(named["trees_in"]), int(named["trees_page"]))
        return True
    if named["tree"]:
        await projects.on_tree(interaction, int(named["tree_in"]), named["tree"], cast("Press", named["press"]))
        return True
    if named["word"]:
        await do_here(interaction, int(named["here"]), named["word"])
        return True
    if named["way"]:
        await change_login(interaction, int(named["account_in"]), named["way"])
        return True
    return False


async def do_here(interaction: discord.Interaction[Any], place_id: int, word: str) -> None:
    """Do what the command of that name does, in the place of the press."""
    if interaction.channel_id != place_id:
        await respond(interaction, lambda _work, _by: EXPIRED_HERE)
        return
    command: Any = COMMANDS[word]
    # The command as it is, with the check who may: a button gives nobody a right.
    await command.callback(interaction)


async def change_login(interaction: discord.Interaction[Any], place_id: int, way: str) -> None:
    """Log in to the agent of the place of a press, or out; it waits for the agent."""
    # As for the others: a forged custom_id can name any place.
    if interaction.channel_id != place_id:
        await respond(interaction, lambda _work, _by: EXPIRED_HERE, purpose=Purpose.DECIDE)
        return
    by = asker_of(interaction)

    async def act(dispatcher: Dispatcher) -> Answer:
        of, logins = agent_place(interaction, dispatcher), dispatcher.logins
        return await (logins.log_out(of, by) if way == OUT else logins.log_in(of, way, by))

    await respond_later(interaction, act, purpose=Purpose.DECIDE)


async def show_details(interaction: discord.Interaction[Any], thread_id: int, turn_id: int) -> None:
    """Show what an agent did in a turn of the thread in which somebody presses (V2)."""
    if interaction.channel_id != thread_id:
        await respond(interaction, lambda _work, _by: EXPIRED_HERE)
        return
    await respond_later(interaction, lambda work: work.transcripts.details(thread_id, turn_id))


def is_elsewhere(interaction: discord.Interaction[Any], dispatcher: Dispatcher, token: str) -> bool:
    """Return whether a request or a question is shown in another thread than that of a press.

    The roles of a person are those of the server of the press: an approver of one server is none in the next.
    """
    place = dispatcher.place_of(token)
    return place is not None and place.thread_id != interaction.channel_id


def turn_page(interaction: discord.Interaction[Any], dispatcher: Dispatcher, paged: str, page: int) -> Answer:
    """Return another page of a menu."""
    place = thread_place_of(interaction)
    if place is None:
        return Answer(EXPIRED, accepted=False)
    return dispatcher.options.menu(place, None if paged == "all" else paged, page)


def answer_question(questions: QuestionRegistry, named: re.Match[str], by: Actor, message_id: int) -> Answer:
    """Do what a button of a question stands for; ``message_id``: of its card."""
    token = named["question"]
    if ended := questions.of_earlier_run(token, message_id):
        return ended
    if named["pick"]:
        return questions.choose(token, int(named["pick"]), by)
    if named["step"]:
        return questions.open_step(token, int(named["step"]), by)
    return questions.agree(token, by) if named["reply"] == "done" else questions.decline(token, by)


async def on_interaction(interaction: discord.Interaction[Any]) -> None:
    """Answer a form, and the use of a component that nothing here handles, or that its message no longer has."""
    used: Mapping[str, Any] = {**interaction.data} if interaction.data else {}
    custom_id = str(used.get("custom_id", ""))
    if interaction.type is discord.InteractionType.modal_submit:
        await _on_modal(interaction, SUBMITTED.fullmatch(custom_id), filled_in(used))
    if interaction.type is not discord.InteractionType.component:
        return
    rows = interaction.message.components if interaction.message is not None else []
    pressable = [one for row in rows if isinstance(row, discord.ActionRow) for one in row.children]
    # discord.py stays silent on the use of a button or a menu that the message no longer has.
    kinds = discord.Button | discord.SelectMenu
    stands = any(isinstance(one, kinds) and one.custom_id == custom_id for one in pressable)
    known = KNOWN.fullmatch(custom_id) or selects.KNOWN.fullmatch(custom_id)
    # The rest is answered by the items that `tree` registered. Not here as well: an interaction takes one answer.
    if not (known and stands):
        await tell(interaction, EXPIRED)


async def _on_modal(
    interaction: discord.Interaction[Any], named: re.Match[str] | None, given: dict[str, tuple[str, ...]]
) -> None:
    if named is None:
        await tell(interaction, EXPIRED)
        return
    message_id = interaction.message.id if interaction.message is not None else 0

    def act(dispatcher: Dispatcher, by: Actor) -> Answer:
        if is_elsewhere(interaction, dispatcher, named["card"] or named["question"]):
            return Answer(EXPIRED, accepted=False)
        if named["card"]:
            return dispatcher.rules.keep(named["card"], "".join(given.get(FIELD, ())), by, message_id)
        ended = dispatcher.questions.of_earlier_run(named["question"], message_id)
        return ended or dispatcher.questions.fill_in(named["question"], int(named["step"]), given, by)

    await respond(interaction, act, purpose=Purpose.DECIDE)
