"""What the pictures show: a team whose agent works on a small shop, played by the scripted agent on the real bot."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from playwright.async_api import Browser, expect

from bot.agents.model import AgentProfile, Agents, Project
from bot.sandbox import FakeDiscord
from tests.agents import Gate, ScriptedAgent, Step, scenario
from tests.agents.offers import select
from tests.bot.work.repositories import ENVIRONMENT, make_repository
from tests.browser.album import Album
from tests.browser.client import PHONE, Client, visiting
from tests.e2e import play as e2e
from tests.e2e.busy import friends, hurry_notices
from tests.e2e.play import Play, play

FORM = {
    "login.ts": 'export const check = (name: string, password: string) => name !== "" && password.length >= 8;\n',
    "signup.test.ts": 'test("refuses an empty name", () => expect(check("", "x")).toBe(false));\n',
}
NEW_TEST = """\
import { check } from "./login";

test("refuses an empty form", () => expect(check("", "")).toBe(false));
test("refuses a short password", () => expect(check("ana", "short")).toBe(false));
test("takes a good one", () => expect(check("ana", "long enough")).toBe(true));
"""
OPTIONS = [
    {"optionId": "yes", "name": "Allow once", "kind": "allow_once"},
    {"optionId": "no", "name": "Reject", "kind": "reject_once"},
]
QUESTION = {
    "message": "Where should I deploy it?",
    "requestedSchema": {
        "type": "object",
        "properties": {
            "server": {"type": "string", "title": "Server", "enum": ["staging", "production"]},
            "version": {"type": "string", "title": "Version", "description": "as in the tag"},
            "checks": {
                "type": "array",
                "title": "Checks before",
                "items": {"type": "string", "enum": ["tests", "smoke test", "load test"]},
            },
        },
        "required": ["server", "version"],
    },
}
ORDERS = b"day,orders\nMonday,90\nTuesday,120\nWednesday,105\nThursday,160\nFriday,150\nSaturday,190\nSunday,215\n"
SIZE = (1100, 820)
LIMIT = 240.0
"""Seconds that all scenes together may take; 10 on a machine that has nothing else to do, 72 on a busy one."""


def _read(number: int, name: str) -> Step:
    return {"tool": {"id": f"r{number}", "title": f"Read {name}", "kind": "read", "locations": [{"path": name}]}}


def _ask(command: str, *then: Step) -> Step:
    tool = {"toolCallId": "ask", "title": command, "kind": "execute", "rawInput": {"command": command}}
    return {
        "permission": {"tool": tool, "options": OPTIONS},
        "then": {"yes": list(then), "*": [{"text": "As you like."}]},
    }


def chart() -> bytes:
    """Return a picture as an agent draws one."""
    picture = Image.new("RGB", (640, 280), "#ffffff")
    draw = ImageDraw.Draw(picture)
    for number, height in enumerate((90, 120, 105, 160, 150, 190, 215)):
        left = 40 + number * 82
        draw.rectangle((left, 250 - height, left + 54, 250), fill="#4f6bed" if number < 6 else "#1f9d63")
    draw.line((24, 250, 616, 250), fill="#333333", width=3)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def team(directory: Path, reading: Gate, deploying: Gate) -> ScriptedAgent:
    """Return the agent that all scenes are played with: the first word of a prompt that it knows is what it does."""
    write = f"import pathlib; pathlib.Path('login.test.ts').write_text({NEW_TEST!r})"
    words: dict[str, list[Step]] = {
        "check": [
            _read(1, "login.ts"),
            {"text": "Two things, in `login.ts`: a name must be there, and the password needs **8 characters**. "},
            {"text": "Nothing tests that yet."},
            {"spend": {"used": 9_000, "cost": 0.02}},
        ],
        "test": [
            {"plan": [["Read the other tests", "completed"], ["Write one", "in_progress"], ["Run it", "pending"]]},
            {"text": "I'll write it the way `signup.test.ts` does: "},
            _read(2, "signup.test.ts"),
            {"text": "one test for each thing that the form refuses, and one for what it takes."},
            reading.step,
            {"python": write},
            {
                "tool": {
                    "id": "w",
                    "title": "Edit login.test.ts",
                    "kind": "edit",
                    "diff": {"path": "login.test.ts", "oldText": None, "newText": NEW_TEST},
                }
            },
            _ask(
                "npm test -- login.test.ts",
                {"tool": {"id": "ask", "title": "npm test -- login.test.ts", "kind": "execute", "output": "3 passed"}},
                {"text": "Done: `login.test.ts` covers an empty form, a short password and a good one."},
                {"spend": {"used": 24_000, "cost": 0.06}},
            ),
        ],
        "slow": [_read(3, "search.ts"), {"text": "It asks for each price by itself; one query for all would do."}],
        "readme": [_read(4, "README.md"), {"text": "It named two commands that are gone; both are out."}],
        "deploy": [{"text": "The build is ready. "}, {"elicit": QUESTION, "then": {"*": [{"text": "On its way."}]}}],
        "tidy": [{"text": "Going through the imports, file by file."}, deploying.step, {"text": "\nTidy."}],
        "sales": [
            {"files": {"{out}/sales.png": base64.b64encode(chart()).decode()}},
            {"text": "Here is the week as a chart; Sunday was the best day so far."},
        ],
        "invoices": [_ask("psql shop -c 'delete from invoices where draft'")],
        "mail": [{"error": {"code": -32603, "message": "the model is overloaded"}}],
    }
    models = [select("model", "opus", "sonnet", "haiku"), select("mode", "ask", "plan")]
    return scenario(directory, [{"text": "Done."}], words=words, options=models)


def on_the_shop(directory: Path, agent: ScriptedAgent) -> Callable[[FakeDiscord, str], Agents]:
    """Return what makes the agents: with a repository that the threads of the first channel work on."""
    make_repository(directory / "shop", "-b", "main", **{name.replace(".", "__"): text for name, text in FORM.items()})
    shop = Project("shop", directory / "shop", directory / "state/worktrees/shop")
    git = {name: value for name, value in ENVIRONMENT.items() if name.startswith("GIT_")}

    def make(discord: FakeDiscord, workspace: str) -> Agents:
        profile = AgentProfile("claude", agent.argv, workspace, fixed=git)
        return Agents(
            {"claude": profile}, "claude", projects={"shop": shop}, channel_projects={discord.channel_id: "shop"}
        )

    return make


@asynccontextmanager
async def at_the_shop(directory: Path) -> AsyncIterator[tuple[Play, Gate, Gate]]:
    """Run the bot for the team; yields the gates at which the agent waits in *working* and *waiting*."""
    reading, tidying = Gate(directory / "reading"), Gate(directory / "tidying")
    agent = team(directory, reading, tidying)
    people: dict[str, Any] = friends("ana", "ben")
    with pytest.MonkeyPatch.context() as patch:
        # Long enough for two messages to be sent before the notice of them.
        hurry_notices(patch, patience=2.5)
        patch.setattr(e2e, "LIMIT", LIMIT)
        async with play(
            directory, agent, agents=on_the_shop(directory, agent), reactions=True, permission_timeout=600, **people
        ) as game:
            yield game, reading, tidying


async def play_scenes(chromium: Browser, directory: Path, album: Album) -> None:
    """Play all scenes and take each picture when it is there to be taken."""
    async with (
        at_the_shop(directory) as (game, reading, tidying),
        visiting(chromium, game.discord, "ana", size=SIZE, pictured=True) as ana,
    ):
        await ana.close_panel()
        await earlier(game, ana)
        await conversation(game, ana, chromium, album, reading)
        await questions(ana, album)
        await files(ana, album)
        await waiting(ana, album, tidying)
        await model(ana, album)
        await inbox(ana, album)


async def ended(person: Client, text: str) -> None:
    """Wait until the answers with a text have their last line: the branch is looked up last."""
    answers = person.content(text)
    await expect(answers.last).to_be_visible()
    for number in range(await answers.count()):
        await expect(answers.nth(number)).to_contain_text("weft/")


async def earlier(game: Play, ana: Client) -> None:
    """What somebody else has asked for, so that the server looks lived in."""
    ben = game.discord.user("ben")
    for text in ("why is the search slow?", "is the readme up to date?"):
        message = await ben.say(game.discord.channel_id, text, mention_bot=True)
        await game.on_stage.outcome(message.id)
        # Read: what is new stands out in the list.
        await ana.open(text)
        await ended(ana, "")
    await ana.open("general")


async def conversation(game: Play, ana: Client, chromium: Browser, album: Album, reading: Gate) -> None:
    """From the mention to the branch: *mention*, *working*, *thread*, *phone*, *branch*."""
    await ana.mention("what does the login form check?")
    name = "what does the login form check?"
    await ana.open(name)
    await ended(ana, "Nothing tests that yet.")
    await ana.open("general")
    await expect(
        ana.message("what does the login form check?").get_by_role("button", name=re.compile("^✅"))
    ).to_be_visible()
    await album.take("mention", ana)
    await ana.open(name)
    await ana.send("add a test for it")
    await expect(ana.content("what it takes.")).to_be_visible()
    await expect(ana.message("what it takes.")).to_contain_text("Write one")
    await album.take("working", ana)
    reading.open()
    card = ana.message("asks for permission")
    await expect(card).to_be_visible()
    await album.take("thread", ana)
    async with visiting(chromium, game.discord, "ana", size=PHONE, touch=True, pictured=True) as phone:
        await phone.page.get_by_role("button", name="Open channels").tap()
        await phone.channels.get_by_role("link", name=name).tap()
        await expect(phone.message("asks for permission")).to_be_visible()
        await album.take("phone", phone)
    await card.get_by_role("button", name="Allow once").click()
    await ended(ana, "and a good one.")
    await ana.message("Only you can see this").get_by_role("button", name="Dismiss message").click()
    await ana.command("diff")
    await expect(ana.message("Only you can see this")).to_contain_text("login.test.ts")
    await album.take("branch", ana)


async def questions(ana: Client, album: Album) -> None:
    await ana.open("general")
    await ana.mention("deploy the shop")
    await ana.open("deploy the shop")
    await ana.message("Where should I deploy it?").get_by_role("button", name="Answer…").click()
    form = ana.dialog("Answer the agent")
    await form.get_by_role("combobox", name="Server").click()
    await ana.page.get_by_role("option", name="staging").click()
    await form.get_by_role("textbox", name="Version").fill("v1.4.0")
    await album.take("question", ana)
    await form.get_by_role("button", name="Cancel").click()


async def files(ana: Client, album: Album) -> None:
    await ana.open("general")
    async with ana.page.expect_file_chooser() as chosen:
        await ana.page.get_by_role("button", name="Attach files").click()
    await (await chosen.value).set_files({"name": "orders.csv", "mimeType": "text/csv", "buffer": ORDERS})
    await ana.mention("draw the sales of last week")
    await ana.open("draw the sales of last week")
    await expect(ana.log.get_by_role("img", name="sales.png")).to_be_visible()
    await ended(ana, "Here is the week")
    await album.take("files", ana)


async def waiting(ana: Client, album: Album, tidying: Gate) -> None:
    await ana.open("general")
    await ana.mention("tidy the imports")
    await ana.open("tidy the imports")
    await expect(ana.content("file by file")).to_be_visible()
    for text in ("and sort them by name", "leave the generated ones alone"):
        await ana.send(text)
    await expect(ana.message("Waiting")).to_contain_text("leave the generated")
    await expect(ana.log.get_by_role("button", name="⏳, 1 reaction")).to_have_count(2)
    await album.take("waiting", ana)
    tidying.open()
    await expect(ana.content("Done.")).to_have_count(2)
    for text in ("Tidy.", "Done."):
        await ended(ana, text)


async def model(ana: Client, album: Album) -> None:
    await ana.composer.press_sequentially("/model")
    await ana.page.get_by_role("listbox", name="Commands").get_by_role("option").first.click()
    await ana.option("model").press_sequentially("o")
    await expect(ana.page.get_by_role("listbox", name="Suggestions").get_by_role("option")).to_have_text(
        ["Opus", "Sonnet"]
    )
    await album.take("model", ana)
    await ana.page.keyboard.press("Escape")
    await ana.page.keyboard.press("Escape")


async def inbox(ana: Client, album: Album) -> None:
    await ana.open("general")
    await ana.mention("remove the draft invoices")
    await ana.mention("mail the customers")
    await ana.mention("thank the team")
    await ana.open("mail the customers")
    await expect(ana.message("overloaded")).to_be_visible()
    await ana.open("thank the team")
    await expect(ana.content("Done.")).to_be_visible()
    await ana.open("general")
    await ana.command("inbox")
    await expect(ana.message("Only you can see this")).to_contain_text("delete from invoices")
    # The threads in the channel behind it are still being drawn.
    await album.take("inbox", ana, about=ana.message("Only you can see this"))
