"""Slash commands on the page: found by typing, their options with suggestions, and what they answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.agents import scenario
from tests.agents.offers import many_models, select
from tests.browser.client import visiting
from tests.e2e.play import play

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_command_is_found_and_its_option_is_suggested_by_the_agent(tmp_path: Path, chromium: Browser) -> None:
    """K1: by keys alone; the menu of the same command is a select on the page."""
    agent = scenario(tmp_path, [{"text": "done"}], options=[many_models(60), select("mode", "ask", "plan")])
    async with play(tmp_path, agent) as game, visiting(chromium, game.discord) as owner:
        await owner.mention("one")
        await owner.open("one")
        await expect(owner.content("done")).to_be_visible()
        # 1. Typed, chosen and filled in without the mouse.
        await owner.composer.press_sequentially("/mod")
        picker = owner.page.get_by_role("listbox", name="Commands")
        await expect(picker.get_by_role("option").first).to_be_visible()
        assert [name.split()[0] for name in await picker.get_by_role("option").all_inner_texts()][:2] == [
            "/mode",
            "/model",
        ]
        await owner.page.keyboard.press("ArrowDown")
        await owner.page.keyboard.press("Enter")
        await owner.option("model").press_sequentially("-5")
        suggestions = owner.page.get_by_role("listbox", name="Suggestions").get_by_role("option")
        await expect(suggestions).to_have_count(10)
        await expect(suggestions.nth(1)).to_contain_text("Model-51")
        await owner.page.keyboard.press("ArrowDown")
        await owner.page.keyboard.press("Enter")
        await expect(owner.option("model")).to_have_value("Model-51")
        await owner.page.keyboard.press("Enter")
        await expect(owner.content("Model: Model-51, as of now.")).to_be_visible()
        # 2. Without its option it answers with a menu, by pages.
        await owner.command("mode")
        menu = owner.message("Only you can see this")
        await menu.get_by_role("combobox").click()
        await owner.page.get_by_role("option", name="Plan").click()
        told = menu.filter(has_text="Mode: Plan, as of now.")
        await expect(told).to_be_visible()
        # 3. Everybody sees what was chosen, and nobody the answers after a reload.
        await expect(owner.message("Mode: Plan, as of now (owner)")).to_be_visible()
        await owner.page.reload()
        await expect(owner.message("Mode: Plan, as of now (owner)")).to_be_visible()
        await expect(told).to_have_count(0)
        chosen = [one["params"]["value"] for one in agent.received("session/set_config_option")]
        assert chosen == ["model-51", "plan"]
