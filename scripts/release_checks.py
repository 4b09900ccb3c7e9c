"""What has to be right before a release: `scripts/release` runs this, with the libraries of the lock.

`problems` says what is not, before anything is built; `main` then builds, looks at what came out, and prints what is
left to a person: the push.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCKS = {"requirements.lock": ("build",), "requirements-dev.lock": ("build", "dev")}
"""Which groups of dependencies each lock has beside those of Weft itself."""

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_HEADING = re.compile(r"## (?P<version>\S+)(?: - (?P<date>\S+))?")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def problems(root: Path, *, tag: bool) -> list[str]:
    """Return what stands against a release of the commit that is checked out, a line each.

    Args:
        tag: whether the tag is still to be made.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text())
    version = project["project"]["version"]
    return [
        *_tree_problems(root),
        *_changelog_problems((root / "CHANGELOG.md").read_text(), version),
        *_tag_problems(root, version, tag=tag),
        *(problem for lock, groups in LOCKS.items() for problem in _lock_problems(root / lock, project, groups)),
    ]


def _tree_problems(root: Path) -> Iterator[str]:
    if changes := _git(root, "status", "--porcelain"):
        yield f"there are changes that are not committed:\n{changes}"


def _changelog_problems(text: str, version: str) -> Iterator[str]:
    if not _VERSION.fullmatch(version):
        yield f"pyproject.toml: {version} is not a version of the form 1.2.3"
    sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]
    if sections and sections[0].startswith("## Unreleased"):
        if re.search(r"^- ", sections[0], re.MULTILINE):
            yield f"CHANGELOG.md: there are lines under Unreleased, which belong under {version} or wait for the next"
        sections = sections[1:]
    top = _HEADING.match(sections[0]) if sections else None
    if top is None or top["version"] != version:
        yield f"CHANGELOG.md: the newest version is {top['version'] if top else 'missing'}, in pyproject.toml {version}"
    elif not _is_date(top["date"]):
        yield f"CHANGELOG.md: {version} has no date of the form 2026-01-31"
    elif not re.search(r"^- ", sections[0], re.MULTILINE):
        yield f"CHANGELOG.md: {version} has no lines"


def _is_date(text: str | None) -> bool:
    try:
        return date.fromisoformat(text or "").isoformat() == text
    except ValueError:
        return False


def _tag_problems(root: Path, version: str, *, tag: bool) -> Iterator[str]:
    wanted, head = f"v{version}", _git(root, "rev-parse", "HEAD")
    here = [name for name in _git(root, "tag", "--points-at", "HEAD").split() if name.startswith("v")]
    # ^{commit}: an annotated tag is an object of its own.
    there = _git(root, "rev-parse", "--quiet", "--verify", f"refs/tags/{wanted}^{{commit}}")
    if there and there != head:
        yield f"the tag {wanted} is at another commit, {there[:7]}: a version is released once"
    yield from (f"this commit has the tag {name}, pyproject.toml has {version}" for name in here if name != wanted)
    if not there and not tag:
        yield f"this commit has no tag {wanted}: scripts/release --tag makes it once all else is right"


def _lock_problems(lock: Path, project: dict[str, Any], groups: tuple[str, ...]) -> Iterator[str]:
    """Compare a lock with what is asked for; whether newer versions exist is not looked at."""
    pins: dict[str, list[str]] = {}
    for name, version in _PIN.findall(lock.read_text()):
        pins.setdefault(canonicalize_name(name), []).append(version)
    asked = [
        *project["project"]["dependencies"],
        *(one for group in groups for one in project["dependency-groups"][group]),
    ]
    for requirement in map(Requirement, asked):
        found = pins.get(canonicalize_name(requirement.name), [])
        if not found or not all(requirement.specifier.contains(version, prereleases=True) for version in found):
            has = ", ".join(found) or "nothing"
            yield f"{lock.name}: it has {has} for {requirement}: run scripts/lock"


def _git(root: Path, *arguments: str) -> str:
    """Return what git prints; nothing where it fails, as with a tag that is not there."""
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def built(root: Path) -> tuple[list[Path], list[str]]:
    """Build; return the files, and what is wrong with them."""
    subprocess.run([str(root / "scripts" / "build")], stdout=subprocess.DEVNULL, check=True)
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    files = sorted((root / "dist").glob("weft-*"))
    if [path.name for path in files] != [f"weft-{version}-py3-none-any.whl", f"weft-{version}.tar.gz"]:
        return files, [f"dist has {', '.join(path.name for path in files)} and not wheel and sdist of {version}"]
    with zipfile.ZipFile(files[0]) as wheel:
        commit = wheel.read("bot/_commit").decode().strip()
    head = _git(root, "rev-parse", "HEAD")
    return files, [] if head.startswith(commit) else [
        f"the wheel says that it is of {commit}, this commit is {head[:7]}"
    ]


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Check, build, tag if that is asked for, and print what to push; return 1 if something is not right."""
    parser = argparse.ArgumentParser(prog="scripts/release", description="Look whether this commit can be released.")
    parser.add_argument("--tag", action="store_true", help="make the tag if there is none")
    tag = parser.parse_args(arguments).tag
    if found := problems(root, tag=tag):
        return _refused(found)
    files, found = built(root)
    if found:
        return _refused(found)
    name = f"v{tomllib.loads((root / 'pyproject.toml').read_text())['project']['version']}"
    if tag and not _git(root, "tag", "--list", name):
        subprocess.run(["git", "-C", str(root), "tag", "--annotate", name, "--message", f"Weft {name[1:]}"], check=True)
    for path in files:
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(root)}")
    print(
        f"All is right. To publish it: git push origin {_git(root, 'branch', '--show-current') or 'HEAD:main'} {name}"
    )
    return 0


def _refused(found: list[str]) -> int:
    for problem in found:
        print(f"not yet: {problem}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
