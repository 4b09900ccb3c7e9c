"""The walls of the house: who may import what, and which calls are not used anywhere."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
BELOW = {"acp": {"pool", "bot"}, "pool": {"bot"}, "bot": set[str]()}


@cache
def modules() -> dict[str, ast.Module]:
    """All modules by their paths, parsed by the first test that looks at them."""
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text())
        for package in ("acp", "pool", "bot")
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


def roots(tree: ast.Module) -> set[str]:
    return {module.split(".")[0] for module in imports(tree)}


def importing(packages: Iterable[str], modules: dict[str, ast.Module]) -> set[str]:
    """The modules that import any of the packages."""
    return {name for name, tree in modules.items() if roots(tree) & set(packages)}


def test_a_layer_imports_only_the_layers_below_it() -> None:
    for layer, forbidden in BELOW.items():
        own = {name: tree for name, tree in modules().items() if name.startswith(f"{layer}/")}
        assert own
        assert importing(forbidden, own) == set()


def test_discord_is_imported_under_chat_and_in_the_composition_root_only() -> None:
    found = importing({"discord"}, modules())
    assert {name for name in found if not name.startswith("bot/chat/") and name != "bot/app.py"} == set()


def test_agents_and_pool_are_written_against_anyio() -> None:
    assert {name for name in importing({"asyncio"}, modules()) if not name.startswith("bot/")} == set()


def test_only_the_metrics_know_in_which_format_they_are_told() -> None:
    assert importing({"prometheus_client"}, modules()) == {"bot/ops/metrics.py"}


def test_every_task_belongs_to_a_task_group() -> None:
    for name, tree in modules().items():
        nodes = list(ast.walk(tree))
        calls = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        calls |= {node.id for node in nodes if isinstance(node, ast.Name)}
        assert calls & {"create_task", "ensure_future", "gather", "preexec_fn"} == set(), name


def test_a_pure_module_does_no_input_or_output() -> None:
    first_lines = {name: (ast.get_docstring(tree) or "").split("\n")[0] for name, tree in modules().items()}
    pure = {name: modules()[name] for name, line in first_lines.items() if "(pure)" in line}
    assert "acp/schema.py" in pure
    assert importing({"anyio", "asyncio", "discord", "aiohttp", "socket", "subprocess", "threading"}, pure) == set()


def test_the_loopback_discord_knows_nothing_of_the_rest_of_the_bot() -> None:
    for name, tree in modules().items():
        if name.startswith("bot/sandbox/"):
            ours = {module for module in imports(tree) if module.split(".")[0] in {"acp", "pool", "bot"}}
            assert {module for module in ours if not module.startswith("bot.sandbox")} == set(), name
