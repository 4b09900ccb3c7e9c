"""What the agent asks on the page: by whom it may be answered, forms, two people, and what waits for whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from bot.agents.model import AgentProfile, Agents
from bot.model import Outcome
from bot.sandbox import FakeDiscord
from bot.work.permissions.rules import Rule, Rules
from tests.agents import scenario
from tests.browser.client import Client, visiting
from tests.e2e.play import play

pytestmark = pytest.mark.asyncio(loop_scope="session")

OPTIONS = [
    {"optionId": "yes", "name": "Allow once", "kind": "allow_once"},
    {"optionId": "no", "name": "Reject", "kind": "reject_once"},
]
FORM = {
    "message": "Where to?",
    "requestedSchema": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "title": "Name"},
            "port": {"type": "integer", "title": "Port", "minimum": 1, "maximum": 65535},
            "tags": {"type": "array", "title": "Tags", "items": {"type": "string", "enum": ["a", "b", "c"]}},
        },
        "required": ["port"],
    },
}


def ask(command: str) -> dict[str, Any]:
    tool = {"toolCallId": "t1", "title": command, "kind": "execute", "rawInput": {"command": command}}
    return {
        "permission": {"tool": tool, "options": OPTIONS},
        "then": {"yes": [{"text": "It is pushed."}], "no": [{"text": "It stays here."}]},
    }


def approver(discord: FakeDiscord) -> dict[str, Any]:
    role = discord.add_role("approvers")
    discord.user("judge", roles=[role])
    discord.user("mallory")
    return {"approver_roles": (role,)}


async def told(person: Client, text: str) -> None:
    """Wait for an answer that this person alone sees, and put it away."""
    answer = person.message("Only you can see this").filter(has_text=text)
    await expect(answer).to_be_visible()
    await answer.get_by_role("button", name="Dismiss message").click()
    await expect(answer).to_have_count(0)


async def test_two_people_agree_to_a_command_and_a_stranger_decides_nothing(tmp_path: Path, chromium: Browser) -> None:
    """C1, D6, A2: on a page each, at the same time; the inbox leads an approver to the card."""
    agent = scenario(tmp_path, [ask("git push origin main")])
    rules = Rules(two_person=(Rule(command="git push*"),))

    def agents(_discord: FakeDiscord, workspace: str) -> Agents:
        return Agents({"red": AgentProfile("red", agent.argv, workspace, rules=rules)}, "red")

    async with (
        play(tmp_path, agent, agents=agents, invite=approver) as game,
        visiting(chromium, game.discord) as owner,
        visiting(chromium, game.discord, "judge") as judge,
    ):
        await owner.mention("push it")
        await owner.open("push it")
        card = owner.message("asks for permission")
        await expect(card).to_contain_text("git push origin main")
        # 1. The requester agrees, which is not enough.
        await card.get_by_role("button", name="Allow once").click()
        await told(owner, "Somebody else has to agree, too.")
        await expect(card).to_contain_text("One more person has to agree.")
        # 2. The inbox takes the approver to the thread.
        await judge.command("inbox")
        waits = judge.message("Waiting for your answer")
        await waits.get_by_role("link").first.click()
        await expect(judge.place).to_have_text("push it")
        theirs = judge.message("asks for permission")
        await expect(theirs).to_be_visible()
        await judge.page.get_by_role("button", name="Jump to present").click()
        # 3. A stranger sees the same buttons, and is refused.
        await owner.act_as("mallory")
        await owner.open("push it")
        await card.get_by_role("button", name="Allow once").click()
        await told(owner, "You are not on the list")
        assert game.on_stage.outcomes == {}
        # 4. The second agrees; everybody sees by whom.
        await theirs.get_by_role("button", name="Allow once").click()
        await expect(owner.content("It is pushed.")).to_be_visible()
        for person in (owner, judge):
            await expect(person.message("asks for permission")).to_contain_text("Allow once by owner and judge")
            await expect(person.message("asks for permission").get_by_role("button", name="Allow once")).to_have_count(
                0
            )
        (thread,) = game.discord.threads()
        assert await game.outcome(thread.id) is Outcome.ANSWERED


async def test_a_form_is_filled_in_and_a_mistake_is_corrected_without_typing_it_again(
    tmp_path: Path, chromium: Browser
) -> None:
    """C6: the page refuses what is too long or missing, the bot what is no number; cancelled, nothing is sent."""
    agent = scenario(tmp_path, [{"elicit": FORM}])
    async with play(tmp_path, agent) as game, visiting(chromium, game.discord) as owner:
        await owner.mention("deploy")
        await owner.open("deploy")
        card = owner.message("Where to?")
        form = owner.dialog("Answer the agent")
        await card.get_by_role("button", name="Answer…").click()
        await form.get_by_role("button", name="Cancel").click()
        await expect(form).to_have_count(0)
        await card.get_by_role("button", name="Answer…").click()
        await form.get_by_role("textbox", name="Name").fill("first\nsecond")
        # Required and empty: it stays open.
        await form.get_by_role("button", name="Submit").click()
        await expect(form.get_by_role("textbox", name="Port")).to_be_visible()
        await form.get_by_role("textbox", name="Port").fill("twelve")
        await form.get_by_role("button", name="Submit").click()
        refused = owner.message("Only you can see this")
        await expect(refused).to_contain_text("takes a whole number, not 'twelve'")
        await refused.get_by_role("button", name="Correct…").click()
        await expect(form.get_by_role("textbox", name="Name")).to_have_value("first\nsecond")
        await expect(form).to_contain_text("Port takes a whole number, not 'twelve'")
        await form.get_by_role("textbox", name="Port").fill("12")
        await form.get_by_role("button", name="Submit").click()
        await expect(refused).to_contain_text("Your answer was sent.")
        await expect(card).to_contain_text("Answered by owner")
        (thread,) = game.discord.threads()
        assert await game.outcome(thread.id) is Outcome.ANSWERED
    heard = (entry["message"] for entry in agent.events("received"))
    assert [one["result"]["content"] for one in heard if "action" in one.get("result", {})] == [
        {"name": "first\nsecond", "port": 12}
    ]
