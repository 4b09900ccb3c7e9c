"""``weft.toml.example``: every line of it is valid, also those that are off."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.agents.file import AgentsFile
from bot.agents.tables import AgentPermissionsTable, AgentTable, BudgetTable, LimitsTable, ProjectTable
from bot.work.permissions.rules import Rule

EXAMPLE = Path(__file__).parents[3] / "weft.toml.example"
LINES = EXAMPLE.read_text().splitlines()
OFF = [number for number, line in enumerate(LINES) if re.match(r'#("?\w+"?) = ', line)]


ENGINES = {"kind", "hosts", "image", "volumes", "namespace"}
"""Keys of engines' tables in the example: each kind has a page of its own with all of them."""

TABLES = [number for number, line in enumerate(LINES) if re.match(r"#?\[", line)]


def with_tables(numbers: tuple[int, ...]) -> set[int]:
    """The lines, with the heads of their tables and what a project can't do without."""
    found = set(numbers)
    for number in numbers:
        found.add(max(table for table in TABLES if table <= number))
    if any("project" in LINES[number] for number in found):
        found |= {number for number, line in enumerate(LINES) if line in ("#[projects.web]", '#path = "/srv/web"')}
    # An agent of an engine needs all of its own table and of the engine's; an engine says little without the rest.
    for table in [table for table in found if LINES[table].startswith(("#[agents.", "#[engines."))]:
        found |= whole(table)
    if any(LINES[number] == "#[agents.far]" for number in found):
        found |= whole(LINES.index("#[engines.farm]"))
    return found


def whole(table: int) -> set[int]:
    """The lines of a table that are off, with its head."""
    end = min((other for other in TABLES if other > table), default=len(LINES))
    return {table, *(number for number in OFF if table < number < end)}


def switched_on(*lines: int) -> str:
    numbers = with_tables(lines) if lines else set()
    return "\n".join(line.removeprefix("#") if number in numbers else line for number, line in enumerate(LINES))


def test_the_example_is_valid_as_it_is() -> None:
    """Settings and exits."""
    agents = AgentsFile(EXAMPLE, EXAMPLE.read_text()).agents("/srv")
    assert (agents.names, agents.default) == (("claude", "codex"), "claude")


@pytest.mark.parametrize("number", OFF, ids=lambda number: LINES[number].split(" ")[0])
def test_a_line_that_is_off_can_be_switched_on(number: int) -> None:
    """Settings and exits."""
    before = AgentsFile(EXAMPLE, EXAMPLE.read_text()).agents("/srv")
    after = AgentsFile(EXAMPLE, switched_on(number)).agents("/srv")
    # Those that show their default change nothing.
    assert after != before or LINES[number].startswith(
        ("#sessions_per_process = 1", '#mode = "ask"', "#currency", "#worktree = true")
    )


def test_all_lines_together_are_valid() -> None:
    """Settings and exits: the example needs no workspace then, for that agent."""
    agents = AgentsFile(EXAMPLE, switched_on(*OFF)).agents("/srv")
    assert agents.channels == {123456789012345678: "codex", 123456789012345679: "claude"}
    assert agents.channel_options == {123456789012345679: {"mode": "plan"}}
    assert agents.profiles["claude"].options == {"model": "opus", "effort": "high"}
    assert [agents.profiles[name].modes for name in ("claude", "codex")] == [{"acceptEdits", "auto"}, {"acceptEdits"}]
    assert agents.channel_projects == {123456789012345680: "web"}
    web = agents.projects["web"]
    assert (web.path, web.agent, web.setup, web.rules.allow) == (
        Path("/srv/web"),
        "codex",
        ("npm", "ci"),
        (Rule(command="npm test"),),
    )
    assert agents.profiles["claude"].limits
    assert [len(agents.profiles[name].rules.deny) for name in ("claude", "codex")] == [3, 2]


def test_every_setting_has_its_line() -> None:
    """Settings and exits."""
    shown = {match[1] for line in LINES if (match := re.match(r"#?(\w+) = ", line))}
    tables = (AgentTable, LimitsTable, AgentPermissionsTable, BudgetTable, ProjectTable)
    every = {"default", *(key for table in tables for key in table.model_fields)}
    assert shown - ENGINES == every - {"limits", "permissions"}
