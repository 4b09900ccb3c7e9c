"""The pages: links lead somewhere, names, settings and keys are those of the code, decisions are short."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel

from bot.agents.tables import AgentPermissionsTable, AgentTable, BudgetTable, LimitsTable, ProjectTable
from bot.config import Settings
from pool.storage.steps import STEPS

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))
EXAMPLES = [ROOT / ".env.example", ROOT / "weft.toml.example"]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
SETTINGS = {"DISCORD_TOKEN"} | {f"WEFT_{name.upper()}" for name in Settings.model_fields if name != "discord_token"}
TABLES: dict[str, type[BaseModel]] = {"limits": LimitsTable, "permissions": AgentPermissionsTable}
AGENT_KEYS = (set(AgentTable.model_fields) - set(TABLES)) | {
    f"{table}.{key}" for table, model in TABLES.items() for key in model.model_fields
}
NO_SETTINGS = {
    "WEFT_SOAK",
    "WEFT_TEST_SERVERS",
    "WEFT_CLUSTER_CACHE",
    "WEFT_AGENT",  # marks what an agent has started (P9)
    "WEFT_STATE",
    "WEFT_ENGINE_STATE",
    "WEFT_MCP_SOCKET",  # what an agent passes on to `weft mcp` (M1)
    "WEFT_MCP_TOKEN",
    "WEFT_PYTHON",  # the scripts' own
    "WEFT_BENCH_SDK_PYTHON",
    "WEFT_DISCORD_OPENAPI",
}
DECISION_LIMIT = 40  # lines
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
NAMED = re.compile(r"`((?:acp|pool|bot)/[\w/]+):([A-Za-z_][\w.]*)`((?:,\s`[A-Za-z_][\w.]*`)*)")
KEYED_BY_ID = re.compile(r"(dict|set|OrderedDict|Counter|Recent|RecentMap)\[(tuple\[)?int\b")
NOT_THE_BOT = ("bot/sandbox/", "bot/demo/", "bot/ops/doctor/")


@cache
def modules() -> dict[str, ast.Module]:
    """All modules by their paths, parsed by the first test that looks at them."""
    return {
        path.relative_to(ROOT).with_suffix("").as_posix(): ast.parse(path.read_text())
        for package in ("acp", "pool", "bot")
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_link_to_a_page_of_ours_leads_to_it(path: Path) -> None:
    broken = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", path.read_text()):
        place, _, anchor = link.partition("#")
        target = path.parent / place if place else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", [*PAGES, *EXAMPLES], ids=name)
def test_every_setting_that_is_named_is_there(path: Path) -> None:
    named = set(re.findall(r"\bWEFT_[A-Z]+(?:_[A-Z]+)*\b", path.read_text()))
    assert named - SETTINGS - NO_SETTINGS == set()


def test_there_is_a_row_for_each_setting_with_its_default() -> None:
    """Settings: where the table gives a value, it is the one in force, and the one in `.env.example`."""
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| [^|]*\| ([^|]*) \|", CONFIGURATION, re.MULTILINE))
    assert set(rows) == SETTINGS
    example = dict(re.findall(r"^#(WEFT_[A-Z_]+)=(.+)$", EXAMPLES[0].read_text(), re.MULTILINE))
    assert {setting: rows[setting].strip("`") for setting in example} == example
    for setting, value in example.items():
        default = Settings.model_fields[setting.removeprefix("WEFT_").lower()].default
        assert default is None or str(default).lower() == value, setting


def test_there_is_a_row_for_each_key_of_an_agent_and_a_project() -> None:
    """P12, W1"""
    table = CONFIGURATION.partition("| key of an agent |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([a-z_.]+)` \|", table, re.MULTILINE)
    assert set(rows) == AGENT_KEYS
    budget = CONFIGURATION.partition("| key of `[budget]` |")[2].partition("\n\n")[0]
    assert [key for key in BudgetTable.model_fields if f"`{key}`" not in budget] == []
    table = CONFIGURATION.partition("| key of a project |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)) == set(ProjectTable.model_fields)
    example = EXAMPLES[1].read_text()
    assert [key for key in AGENT_KEYS if f"{key.rpartition('.')[2]} = " not in example] == []


@pytest.mark.parametrize("path", DECISIONS, ids=name)
def test_a_decision_is_short_and_has_a_number_of_its_own(path: Path) -> None:
    number = path.name[:4]
    assert [other.name for other in DECISIONS if other.name.startswith(number)] == [path.name]
    assert path.read_text().startswith(f"# {int(number)}. ")
    assert len(path.read_text().splitlines()) <= DECISION_LIMIT


def test_every_test_that_the_rules_name_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "rules.md").read_text()))
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named
    assert [one for one in sorted(named) if f"def {one}(" not in tests] == []


def names_on_the_page() -> set[tuple[str, str]]:
    """What docs/architecture.md names as `module:name`; names that follow after a comma are of the same module."""
    found = NAMED.findall(ARCHITECTURE)
    return {(module, one) for module, first, others in found for one in (first, *re.findall(r"[\w.]+", others))}


def attributes(holder: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """The attributes that a class declares in its body or sets on `self`, each with its annotation."""
    for node in ast.walk(holder):
        if isinstance(node, ast.AnnAssign | ast.Assign):
            annotation = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
            for target in [node.target] if isinstance(node, ast.AnnAssign) else node.targets:
                if isinstance(target, ast.Name) and node in holder.body:
                    yield target.id, annotation
                elif isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
                    yield target.attr, annotation


def definitions(tree: ast.Module) -> set[str]:
    named = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = {node.name for node in tree.body if isinstance(node, named)}
    for holder in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        found |= {f"{holder.name}.{node.name}" for node in holder.body if isinstance(node, named)}
        found |= {f"{holder.name}.{attribute}" for attribute, _ in attributes(holder)}
    return found


def test_what_the_architecture_names_is_in_the_code() -> None:
    named = names_on_the_page()
    assert len(named) > 100
    known = {(module, one) for module, tree in modules().items() for one in definitions(tree)}
    assert sorted(named - known) == []


def test_the_architecture_names_every_map_keyed_by_an_id() -> None:
    """One that grows for ever is found late: the page says of each when it forgets."""
    maps = {
        (module, f"{holder.name}.{attribute}")
        for module, tree in modules().items()
        if not module.startswith(("acp/", *NOT_THE_BOT))
        for holder in tree.body
        if isinstance(holder, ast.ClassDef)
        for attribute, annotation in attributes(holder)
        if KEYED_BY_ID.match(annotation)
    }
    assert len(maps) > 20
    assert sorted(maps - names_on_the_page()) == []


def test_nothing_is_told_twice_in_the_changelog() -> None:
    lines = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("- ")]
    assert len(lines) == len(set(lines))


def test_the_upgrade_notes_name_the_format_of_the_state() -> None:
    """Whoever goes back to an older version has to know that it cannot read the file."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    notes = (ROOT / "docs" / "operations.md").read_text().partition(f"### To {version}\n")[2]
    assert f"of format {len(STEPS)};" in notes
    assert f"The state has format {len(STEPS)} " in (ROOT / "CHANGELOG.md").read_text().partition(f"## {version} - ")[2]
