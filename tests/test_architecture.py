"""The walls of the house: who may import what, and which calls are not used anywhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for package in ("acp", "pool", "bot") for path in (ROOT / package).rglob("*.py"))
PURE = [path for path in MODULES if "(pure)" in (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


def roots(path: Path) -> set[str]:
    return {module.split(".")[0] for module in imports(path)}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_layer_imports_only_the_layers_below_it(path: Path) -> None:
    forbidden = {"acp": {"pool", "bot"}, "pool": {"bot"}, "bot": set[str]()}[path.relative_to(ROOT).parts[0]]
    assert roots(path) & forbidden == set()


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_discord_is_imported_under_chat_and_in_the_composition_root_only(path: Path) -> None:
    if name(path).startswith("bot/chat/") or name(path) == "bot/app.py":
        return
    assert "discord" not in roots(path)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_agents_and_pool_are_written_against_anyio(path: Path) -> None:
    if name(path).startswith("bot/"):
        return
    assert "asyncio" not in roots(path)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_the_metrics_know_in_which_format_they_are_told(path: Path) -> None:
    if name(path) != "bot/ops/metrics.py":
        assert "prometheus_client" not in roots(path)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_every_task_belongs_to_a_task_group(path: Path) -> None:
    calls = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)} | {
        node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)
    }
    assert calls & {"create_task", "ensure_future", "gather", "preexec_fn"} == set()


@pytest.mark.parametrize("path", PURE, ids=name)
def test_a_pure_module_does_no_input_or_output(path: Path) -> None:
    assert roots(path) & {"anyio", "asyncio", "discord", "aiohttp", "socket", "subprocess", "threading"} == set()


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_the_loopback_discord_knows_nothing_of_the_rest_of_the_bot(path: Path) -> None:
    if not name(path).startswith("bot/sandbox/"):
        return
    ours = {module for module in imports(path) if module.split(".")[0] in {"acp", "pool", "bot"}}
    assert {module for module in ours if not module.startswith("bot.sandbox")} == set()


def test_there_are_pure_modules_to_look_at() -> None:
    assert "acp/schema.py" in {name(path) for path in PURE}
