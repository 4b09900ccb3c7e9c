"""Questions of agents from the card to the agent: choices, forms over several steps, pages, and every other end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bot.model import Outcome
from bot.sandbox import CallbackType, Interaction, Message
from tests.agents import ScriptedAgent, Step, scenario
from tests.clock import let_pass
from tests.e2e.play import LIMIT, Play, play
from tests.repeat import in_soak

pytestmark = pytest.mark.asyncio

COLOURS = [{"const": "#F00", "title": "Red", "description": "like fire"}, {"const": "#00F", "title": "Blue"}]
CHOICE = {
    "colour": {"type": "string", "title": "Colour", "oneOf": COLOURS},
    "other": {"type": "string", "title": "Other"},
}
TEN = {f"field_{number}": {"type": "string", "title": f"Field {number}"} for number in range(8)} | {
    "port": {"type": "integer", "title": "Port", "minimum": 1, "maximum": 65535},
    "tags": {"type": "array", "title": "Tags", "items": {"type": "string", "enum": ["a", "b", "c"]}, "default": ["b"]},
}


def asking(directory: Path, *asked: dict[str, Any], **keys: Any) -> ScriptedAgent:
    return scenario(directory, [{"text": "Well. "}, *({"elicit": one} for one in asked)], [{"echo": True}], **keys)


def form(properties: dict[str, Any], *required: str, message: str = "Which **one**, @everyone?") -> dict[str, Any]:
    return {
        "message": message,
        "requestedSchema": {"type": "object", "properties": properties, "required": [*required]},
    }


def answers(agent: ScriptedAgent) -> list[dict[str, Any]]:
    """Return what the agent got for its questions."""
    heard = (entry["message"] for entry in agent.events("received"))
    return [message["result"] for message in heard if "action" in message.get("result", {})]


def buttons(message: Message) -> dict[str, str]:
    """Return the ids of a message's buttons by their labels."""
    found = [one for row in message.components for one in row["components"]]
    return {one["label"]: one.get("custom_id", one.get("url")) for one in found}


async def card(game: Play, thread_id: int) -> Message:
    """Wait for an open question; return its message."""

    def look(_: object) -> list[Message]:
        shown = game.replies(thread_id) if game.opened(thread_id) else []
        return [one for one in shown if any(":ask:" in str(value) for value in buttons(one).values())]

    await game.discord.wait_for(lambda discord: bool(look(discord)), timeout=LIMIT)
    return look(None)[0]


def told(game: Play, interaction: Interaction) -> Message:
    """Return the message that only the person sees."""
    assert interaction.acked
    message = game.discord.message(interaction.original_id or 0)
    assert message.ephemeral
    return message


async def test_a_choice_is_answered_by_a_button_without_a_form(tmp_path: Path) -> None:
    """C6, A1: announced, as it works, and the requester is pinged."""
    agent = asking(tmp_path, form(CHOICE))
    async with play(tmp_path, agent, pings=True) as game:
        thread_id = await game.mention("paint it")
        shown = await card(game, thread_id)
        assert list(buttons(shown)) == ["Red", "Blue", "Other answer…", "Decline"]
        assert "> Which \\*\\*one\\*\\*, \\@everyone?\n• Red: like fire\n" in shown.content
        assert [int(one) for one in shown.mentions] == [game.owner.id]
        # Both in the same instant: one counts, the other is told.
        pressed = [game.owner.begin_click(shown.id, buttons(shown)[label]) for label in ("Blue", "Red")]
        for one in pressed:
            await one.settle()
        assert [told(game, one).content for one in pressed] == ["Answered: `Blue`", "Already answered by `owner`."]
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert answers(agent) == [{"action": "accept", "content": {"colour": "#00F"}}]
        closed = game.discord.message(shown.id)
        assert (closed.components, closed.content.splitlines()[-1]) == ([], "✅ `Blue` by `owner`")
    started = next(entry["message"] for entry in agent.events("received"))
    assert started["params"]["clientCapabilities"]["elicitation"] == {"form": {}, "url": {}}


async def test_ten_fields_are_filled_in_over_steps_and_a_mistake_is_corrected(tmp_path: Path) -> None:
    """C6: what was typed is never typed again, and nothing of it is in the log or the thread."""
    agent = asking(tmp_path, form(TEN, "port"))
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("configure it")
        shown = await card(game, thread_id)
        assert list(buttons(shown)) == ["Answer…", "Decline"]
        opened = await game.owner.click(shown.id, buttons(shown)["Answer…"])
        assert opened.response is not None
        assert (opened.kind, opened.response["title"]) == (CallbackType.MODAL, "Answer the agent (1 of 2)")
        first = told(game, await game.owner.submit_modal(opened, f0="zero", f1=""))
        assert list(buttons(first)) == ["Next (2 of 2)…", "Change…"]
        # The second step, wrong at first; the answer to it takes the place of the one before.
        second = await game.owner.click(first, buttons(first)["Next (2 of 2)…"])
        refused = told(game, await game.owner.submit_modal(second, f8="twelve", f7="seven"))
        assert refused.id == first.id
        assert refused.content == "Not sent yet; what you typed is kept.\n`Port`: takes a whole number, not 'twelve'."
        assert answers(agent) == []
        again = await game.owner.click(refused, buttons(refused)["Correct…"])
        assert again.response is not None
        parts = {part["component"]["custom_id"]: part for part in again.response["components"]}
        assert (parts["f7"]["component"]["value"], parts["f8"]["component"]["value"]) == ("seven", "twelve")
        assert parts["f8"]["description"] == "⚠ Port takes a whole number, not 'twelve'"
        sent = told(game, await game.owner.submit_modal(again, f8="12", f9=["0", "2"]))
        assert (sent.content, sent.components) == ("Your answer was sent.", [])
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        content = {"field_0": "zero", "field_7": "seven", "port": 12, "tags": ["a", "c"]}
        assert answers(agent) == [{"action": "accept", "content": content}]
        assert game.discord.message(shown.id).content.endswith("\n✅ Answered by `owner`")
        # A form that somebody still has open when it is over.
        late = await game.owner.submit_modal(second, f8="13")
        assert told(game, late).content == "Already answered by `owner`."


@pytest.mark.parametrize(
    ("end", "action", "line"),
    [
        ("Decline", "decline", "⛔ Declined by `owner`"),
        *in_soak(
            [
                ("time-out", "cancel", "⌛ No answer in time, so the question was cancelled."),
                ("stop", "cancel", "⏹ Cancelled: the turn ended before anyone answered."),
            ]
        ),
    ],
)
async def test_a_question_without_an_answer_ends_as_the_protocol_says(
    end: str, action: str, line: str, tmp_path: Path
) -> None:
    """C6, T6: and a stranger ends nothing."""
    agent = asking(tmp_path, form(CHOICE))
    async with play(tmp_path, agent, permission_timeout=10.0 if end == "time-out" else 30.0) as game:
        thread_id = await game.mention("paint it")
        shown = await card(game, thread_id)
        if end == "Decline":
            stranger = await game.discord.user("mallory").click(shown.id, buttons(shown)["Decline"])
            assert not told(game, stranger).content.startswith("Declined")
            await game.owner.click(shown.id, buttons(shown)["Decline"])
        elif end == "stop":
            await game.stop(thread_id)
        else:
            let_pass(10)
        await game.outcome(thread_id)
        await game.until_shown(thread_id, line)
        assert answers(agent) == [{"action": action}]
        assert game.discord.message(shown.id).components == []


async def test_a_page_is_linked_with_its_host_and_completed_by_the_agent(tmp_path: Path) -> None:
    """C6: only by https, and the answer is no more than that somebody went there."""
    page = {"mode": "url", "message": "Log in, please.", "elicitationId": "e1"}
    steps: list[Step] = [
        {"elicit": {**page, "url": "http://example.org/"}},
        {"elicit": {**page, "url": "https://example.org:8443/login?x=1"}},
        {"complete": "e1"},
        {"text": " done"},
    ]
    agent = scenario(tmp_path, steps)
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("log in")
        shown = await card(game, thread_id)
        assert buttons(shown)["Open example.org:8443"] == "https://example.org:8443/login?x=1"
        assert "The page is on **example.org:8443**:\n<https://example.org:8443/login?x=1>" in shown.content
        await game.owner.click(shown.id, buttons(shown)["Done"])
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert "⛔ Not linked: only pages with https are linked here." in game.shown(thread_id)
        await game.until_shown(thread_id, "✅ The agent says that this is done.")
        assert answers(agent) == [{"action": "cancel"}, {"action": "accept"}]


@pytest.mark.parametrize("long", [False, True], ids=["messages", "file"])
async def test_a_plan_is_shown_in_full_before_its_buttons(long: bool, tmp_path: Path) -> None:
    """C7: to be read like an answer, and not once more on the card."""
    plan = "## The plan\n\n1. **Look** around\n2. Write" + "\n\nAnd so on, at length." * (300 if long else 1)
    call: dict[str, Any] = {
        "toolCallId": "t1",
        "title": "Ready to code?",
        "kind": "switch_mode",
        "rawInput": {"plan": plan, "model": "m"},
    }
    call["content"] = [{"type": "content", "content": {"type": "text", "text": plan}}]
    ask = {"permission": {"tool": call}, "then": {"allow": [{"text": "begun"}], "*": []}}
    agent = scenario(tmp_path, [{"text": "I have a plan."}, ask])
    async with play(tmp_path, agent) as game:
        thread_id = await game.mention("plan it")
        card_id, _ = await game.card(thread_id)
        above = [one for one in game.replies(thread_id) if one.id < card_id]
        shown = next(one for one in above if "The agent's plan" in one.content)
        assert above[-1].id == shown.id
        assert "## The plan\n\n1. **Look** around\n2. Write" in shown.content
        if long:
            (file,) = shown.attachments
            assert (file.name, file.content.decode()) == ("plan.md", f"{plan}\n")
            assert f"all of it ({len(plan):,} characters) is in the file" in shown.content
        card = game.discord.message(card_id)
        assert "Look" not in card.content
        assert '"model": "m"' in card.content
        assert card.attachments == ()
        await game.press(thread_id, "Allow")
        assert await game.outcome(thread_id) is Outcome.ANSWERED
        assert "begun" in game.shown(thread_id)


async def test_what_cannot_be_asked_is_refused_with_the_reason(tmp_path: Path) -> None:
    """C6: a thousand fields, nested ones, and more questions than a turn may ask at once."""
    many = {f"f{number}": {"type": "string"} for number in range(1000)}
    nested = {"deep": {"type": "object", "properties": {"deeper": {"$ref": "#"}}}}
    agent = asking(tmp_path, form(many), form(nested, "deep"))
    async with play(tmp_path, agent) as game:
        thread_id, outcome = await game.ask("ask me anything")
        assert outcome is Outcome.ANSWERED
        assert answers(agent) == []
        shown = game.shown(thread_id)
        assert shown.count("asked a question that can't be asked here") == 2
        assert '"code": -32602' in shown
        assert "the form has 1,000 fields and may have 25" in shown


async def test_a_turn_that_waits_for_an_answer_lends_its_place(tmp_path: Path) -> None:
    """C6, Q6: and has it back before it goes on."""
    agent = asking(tmp_path, form(CHOICE), counter="log")
    async with play(tmp_path, agent, lane_main=1) as game:
        first = await game.mention("paint it")
        shown = await card(game, first)
        second = await game.mention("meanwhile")
        assert await game.outcome(second) is Outcome.ANSWERED
        await game.owner.click(shown.id, buttons(shown)["Red"])
        assert await game.outcome(first) is Outcome.ANSWERED
        assert json.dumps({"action": "accept", "content": {"colour": "#F00"}}) in game.shown(first)
