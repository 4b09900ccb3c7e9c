"""Checks the shape of the code: fails on import circles and on protocols with only one implementation.

Then it prints figures that no limit is set to: functions and comments of each folder, and the largest files. Run it as
`python scripts/structure.py [ROOT]`.
"""

from __future__ import annotations

import ast
import graphlib
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("acp", "pool", "bot")
MEASURED = ("acp", "pool", "bot/work", "bot/chat", "bot/reply", "bot")
LARGEST = 5

Trees = dict[str, ast.Module]
"""The syntax tree of each module, by its dotted name."""


@cache
def tree_of(path: Path) -> ast.Module:
    """Return the syntax tree of a file, which several checks look at."""
    return ast.parse(path.read_text())


def parsed(root: Path, *folders: str) -> Trees:
    """Return the modules of some folders below ``root``."""
    trees = {}
    for path in sorted(path for folder in folders for path in (root / folder).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        trees[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = tree_of(path)
    return trees


def imports(tree: ast.Module, known: Trees) -> set[str]:
    """Return which known modules a module imports, even if only for its annotations or within a function."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found & known.keys()


def circle(trees: Trees) -> list[str]:
    """Return the modules of one import circle, in order; none if there is no circle."""
    # `from package import module` names the package as well. Its __init__ may re-export what is in it.
    graph = {name: {to for to in imports(tree, trees) if not name.startswith(f"{to}.")} for name, tree in trees.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as exc:
        return list(reversed(exc.args[1]))
    return []


def classes(trees: Trees) -> Iterator[tuple[str, ast.ClassDef]]:
    """Yield every class with the name of its module."""
    for module, tree in trees.items():
        yield from ((module, node) for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def bases(node: ast.ClassDef) -> set[str]:
    """Return a class's bases without their parameters; ``asyncio.Protocol`` is another kind than ``Protocol``."""
    named = (base.value if isinstance(base, ast.Subscript) else base for base in node.bases)
    return {ast.unparse(base).removeprefix("typing.") for base in named}


def own_members(node: ast.ClassDef) -> set[str]:
    """Return the names that a class defines: methods, class attributes, and what its methods set on ``self``."""
    found = {item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)}
    for item in ast.walk(node):
        if isinstance(item, ast.AnnAssign | ast.Assign):
            targets = item.targets if isinstance(item, ast.Assign) else [item.target]
            found.update(target.id for target in targets if isinstance(target, ast.Name))
            found.update(target.attr for target in targets if isinstance(target, ast.Attribute))
    return found - {"__init__"}


def lonely_protocols(ours: Trees, everything: Trees) -> list[str]:
    """Return our protocols that fewer than two classes implement, fakes in tests included."""
    nodes = [node for _, node in classes(everything)]
    by_name = {node.name: node for node in nodes}

    @cache
    def members(node: ast.ClassDef) -> set[str]:
        inherited = (by_name[base] for base in bases(node) & by_name.keys() if base != node.name)
        return own_members(node).union(*map(members, inherited))

    # As for the type checker, whatever has all the names is an implementation.
    concrete = [members(node) for node in nodes if "Protocol" not in bases(node)]
    return [
        f"{module}.{node.name}"
        for module, node in classes(ours)
        if "Protocol" in bases(node) and sum(members(node) <= found for found in concrete) < 2
    ]


def figures(root: Path) -> Iterator[str]:
    """Yield a line for each folder, and one with the largest files."""
    for folder in MEASURED:
        paths = list((root / folder).rglob("*.py"))
        rows = [row.strip() for path in paths for row in path.read_text().splitlines()]
        comments = sum(row.startswith("#") or "  # " in row for row in rows)
        code = sum(bool(row) and not row.startswith("#") for row in rows)
        nodes = (node for path in paths for node in ast.walk(tree_of(path)))
        functions = sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes)
        if rows:
            yield (
                f"{folder}: {len(paths)} files, {len(rows):,} lines, {1000 * functions / len(rows):.0f} functions per"
                f" 1,000 lines, {100 * comments / code:.1f} comments per 100 lines of code"
            )
    paths = [path for package in PACKAGES for path in (root / package).rglob("*.py")]
    sizes = {path.relative_to(root).as_posix(): path.read_text().count("\n") for path in paths}
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:LARGEST]
    yield "largest files: " + ", ".join(f"{name} ({lines})" for name, lines in largest)


def main(root: Path = ROOT) -> int:
    """Print what is wrong, then the figures; return the exit code."""
    ours = parsed(root, *PACKAGES)
    faults = [
        f"protocol with only one implementation: {name}"
        for name in lonely_protocols(ours, parsed(root, *PACKAGES, "tests"))
    ]
    if found := circle(ours):
        faults.append("import circle: " + " -> ".join(found))
    for line in (*figures(root), *faults):
        print(line)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
