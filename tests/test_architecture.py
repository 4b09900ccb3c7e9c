"""The walls of the house: who may import what, and which calls are not used anywhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

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


# One test, as parsing all modules takes a second, in each worker of the tests that looks at them.
def test_modules_import_only_what_they_may() -> None:
    imported = {name: set(imports(tree)) for name, tree in modules().items()}
    roots = {name: {one.split(".")[0] for one in found} for name, found in imported.items()}

    def importing(packages: Iterable[str], below: str = "") -> set[str]:
        return {name for name, found in roots.items() if name.startswith(below) and found & set(packages)}

    # 1. A layer imports only the layers below it.
    for layer, forbidden in BELOW.items():
        assert any(name.startswith(f"{layer}/") for name in roots)
        assert importing(forbidden, f"{layer}/") == set()
    # 2. Discord is imported under chat and in the composition root only.
    assert {
        name for name in importing({"discord"}) if not name.startswith("bot/chat/") and name != "bot/app.py"
    } == set()
    # 3. Agents and pool are written against anyio.
    assert {name for name in importing({"asyncio"}) if not name.startswith("bot/")} == set()
    # 4. Only the metrics know in which format they are told.
    assert importing({"prometheus_client"}) == {"bot/ops/metrics.py"}
    # 5. A pure module does no input or output.
    first_lines = {name: (ast.get_docstring(tree) or "").split("\n")[0] for name, tree in modules().items()}
    pure = {name for name, line in first_lines.items() if "(pure)" in line}
    assert "acp/schema.py" in pure
    assert pure & importing({"anyio", "asyncio", "discord", "aiohttp", "socket", "subprocess", "threading"}) == set()
    # 6. The loopback Discord knows nothing of the rest of the bot.
    for name in (name for name in imported if name.startswith("bot/sandbox/")):
        ours = {module for module in imported[name] if module.split(".")[0] in BELOW}
        assert {module for module in ours if not module.startswith("bot.sandbox")} == set(), name


def test_every_task_belongs_to_a_task_group() -> None:
    for name, tree in modules().items():
        nodes = list(ast.walk(tree))
        calls = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        calls |= {node.id for node in nodes if isinstance(node, ast.Name)}
        assert calls & {"create_task", "ensure_future", "gather", "preexec_fn"} == set(), name


@pytest.mark.long(11)
def test_no_possessive_quantifier_follows_a_group() -> None:
    """Before Python 3.11.5 such a one matches what its group does not (CPython 106052); atomic groups are right."""
    possessive = re.compile(r"\)(?:[*+?]|\{\d*,?\d*\})\+")
    assert possessive.search("(?:a|b)++")
    texts = {
        (name, node.value)
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert {(name, text) for name, text in texts if possessive.search(text)} == set()
