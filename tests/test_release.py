"""What `scripts/release` refuses, in a copy of this checkout that is fit for a release but for one thing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.release_checks import problems
from tests.packages import TRACKED, Checkout, copied

pytestmark = pytest.mark.skipif(not TRACKED, reason="this is no checkout of git")

VERSION = "9.8.7"


def replaced(root: Path, name: str, pattern: str, text: str) -> None:
    path = root / name
    changed, count = re.subn(pattern, text, path.read_text(), count=1, flags=re.MULTILINE)
    assert count == 1, f"{name} has no {pattern}"
    path.write_text(changed)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A commit whose changelog and metadata have a version that is not released yet."""
    checkout = copied(tmp_path_factory.mktemp("release") / "checkout")
    replaced(checkout.root, "pyproject.toml", r'^version = ".*"$', f'version = "{VERSION}"')
    lines = f"## Unreleased\n\n## {VERSION} - 2026-11-30\n\n### Added\n\n- All of it.\n\n## 0.0.1 - 2026-01-01\n"
    (checkout.root / "CHANGELOG.md").write_text(f"# Changelog\n\n{lines}")
    checkout.commit()
    checkout.stamp()
    return checkout


@pytest.fixture
def checkout(made: Checkout) -> Iterator[Checkout]:
    commit = made.git("rev-parse", "HEAD")
    yield made
    made.git("reset", "-q", "--hard", commit)
    made.git("clean", "-qfd")
    for tag in made.git("tag").split():
        made.git("tag", "-d", tag)


def changelog(pattern: str, text: str) -> Callable[[Checkout], None]:
    return lambda checkout: replaced(checkout.root, "CHANGELOG.md", pattern, text)


def metadata(pattern: str, text: str) -> Callable[[Checkout], None]:
    return lambda checkout: replaced(checkout.root, "pyproject.toml", pattern, text)


FAULTS = [
    pytest.param(
        metadata(r'^version = ".*"$', 'version = "9.9.0"'),
        f"CHANGELOG.md: the newest version is {VERSION}, in pyproject.toml 9.9.0",
        id="another version in the metadata",
    ),
    pytest.param(
        metadata(r'^version = ".*"$', 'version = "next"'), "next is not a version of the form 1.2.3", id="no version"
    ),
    pytest.param(
        changelog(f"^## {VERSION}.*$", f"## {VERSION}"), f"{VERSION} has no date of the form 2026-01-31", id="no date"
    ),
    pytest.param(
        changelog("2026-11-30", "2026-11-31"), f"{VERSION} has no date of the form 2026-01-31", id="no such day"
    ),
    pytest.param(changelog("^- All of it.$", ""), f"CHANGELOG.md: {VERSION} has no lines", id="nothing to tell"),
    pytest.param(
        changelog("^## Unreleased$", "## Unreleased\n\n- One more."),
        "there are lines under Unreleased",
        id="unreleased",
    ),
    pytest.param(
        metadata('^    "click>=.*$', '    "click>=99",'), "for click>=99: run scripts/lock", id="a lock with an old pin"
    ),
    pytest.param(
        metadata('^    "click>=.*$', '    "no-such-thing",'),
        "requirements.lock: it has nothing for no-such-thing: run scripts/lock",
        id="a lock without a library",
    ),
    pytest.param(
        metadata('^    "ruff>=.*$', '    "ruff>=99",'), "requirements-dev.lock: it has ", id="a lock without a tool"
    ),
]


@pytest.mark.parametrize(("change", "problem"), FAULTS)
def test_a_commit_that_does_not_fit_is_refused(
    checkout: Checkout, change: Callable[[Checkout], None], problem: str
) -> None:
    assert problems(checkout.root, tag=True) == []
    change(checkout)
    checkout.commit()
    found = problems(checkout.root, tag=True)
    assert [one for one in found if problem in one], found


def test_what_is_not_committed_is_not_released(checkout: Checkout) -> None:
    (checkout.root / "bot" / "forgotten.py").write_text("")
    assert problems(checkout.root, tag=True) == ["there are changes that are not committed:\n?? bot/forgotten.py"]


def test_the_tag_is_that_of_the_version_and_at_this_commit(checkout: Checkout) -> None:
    assert problems(checkout.root, tag=False) == [
        f"this commit has no tag v{VERSION}: scripts/release --tag makes it once all else is right"
    ]
    checkout.git("tag", "v1.0.0")
    assert problems(checkout.root, tag=True) == [f"this commit has the tag v1.0.0, pyproject.toml has {VERSION}"]
    checkout.git("tag", "-d", "v1.0.0")
    checkout.git("tag", "-a", "-m", "x", f"v{VERSION}")
    assert problems(checkout.root, tag=False) == problems(checkout.root, tag=True) == []
    earlier = checkout.git("rev-parse", "--short=7", "HEAD")
    checkout.git("commit", "-q", "--allow-empty", "-m", "one more")
    assert problems(checkout.root, tag=True) == [
        f"the tag v{VERSION} is at another commit, {earlier}: a version is released once"
    ]


@pytest.mark.soak
def test_a_release_is_built_and_tagged_and_left_to_be_pushed(checkout: Checkout) -> None:
    branch, head = checkout.git("branch", "--show-current"), checkout.git("rev-parse", "HEAD")
    assert checkout.run("scripts/release", exit_code=1) == ""
    assert not (checkout.root / "dist").exists()
    wheel, sdist, last = checkout.run("scripts/release", "--tag").splitlines()
    assert (wheel.split()[1], sdist.split()[1]) == (
        f"dist/weft-{VERSION}-py3-none-any.whl",
        f"dist/weft-{VERSION}.tar.gz",
    )
    assert last == f"All is right. To publish it: git push origin {branch} v{VERSION}"
    assert checkout.git("rev-parse", "HEAD", f"v{VERSION}^{{commit}}").split() == [head, head]
    assert checkout.git("status", "--porcelain") == ""
