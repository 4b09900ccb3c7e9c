"""The recipes in the documentation: each is a file that Weft takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.agents.file import AgentsFile
from tests.recipes import recipes

CHANNEL = 123456789012345678
BLOCKS = [(heading, block) for heading, blocks in recipes().items() for block in blocks]


@pytest.mark.parametrize(("heading", "block"), BLOCKS, ids=[heading for heading, _ in BLOCKS])
def test_a_recipe_can_be_used_as_it_is_printed(heading: str, block: str) -> None:
    """R5: it needs nothing but what it says."""
    (agent,) = AgentsFile(Path("weft.toml"), block).agents()
    assert agent.wrapper or agent.limits, heading


def test_the_file_on_the_page_of_agents_can_be_used_as_it_is_printed() -> None:
    """P12"""
    page = (Path(__file__).parents[3] / "docs" / "agents.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    agents = AgentsFile(Path("weft.toml"), block).agents("/srv")
    assert (agents.names, agents.default, agents.channels) == (("claude", "codex"), "claude", {CHANNEL: "codex"})


def test_there_is_a_recipe_for_each_kind_of_wall() -> None:
    wrappers = {heading: AgentsFile(Path("weft.toml"), blocks[-1]).agents() for heading, blocks in recipes().items()}
    programs = [agent.wrapper[0] for agents in wrappers.values() for agent in agents]
    assert programs == ["bwrap", "setpriv", "systemd-run", "docker", "ssh"]
