"""Which Weft this is, from the files of real repositories, read without git."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bot import version
from bot.cli import main


def git(directory: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-C", str(directory), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    git(tmp_path, "init", "-q", "-b", "main", str(path))
    git(path, "commit", "-q", "--allow-empty", "-m", "first")
    return path


@pytest.mark.parametrize("how", ["loose", "packed", "detached", "nested/name"])
def test_the_commit_of_a_clone_is_read_from_its_files(repository: Path, how: str) -> None:
    if how == "packed":
        git(repository, "branch", "another")
        git(repository, "pack-refs", "--all")
    elif how == "detached":
        git(repository, "checkout", "-q", "--detach")
    elif how != "loose":
        git(repository, "checkout", "-q", "-b", how)
    assert version.commit_of(repository) == git(repository, "rev-parse", "HEAD")


@pytest.mark.parametrize("packed", [False, True])
def test_the_commit_of_a_work_tree_is_that_of_its_own_branch(repository: Path, tmp_path: Path, packed: bool) -> None:
    tree = tmp_path / "tree"
    git(repository, "worktree", "add", "-q", "-b", "side", str(tree))
    git(tree, "commit", "-q", "--allow-empty", "-m", "second")
    if packed:
        git(repository, "pack-refs", "--all")
    assert version.commit_of(tree) == git(tree, "rev-parse", "HEAD") != git(repository, "rev-parse", "HEAD")


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({}, id="no repository"),
        pytest.param({".git": "gitdir: /nowhere"}, id="a work tree that was moved"),
        pytest.param({".git/HEAD": "ref: refs/heads/main"}, id="no commit yet"),
        pytest.param({".git/HEAD": "ref: refs/heads/main", ".git/refs/heads/main": "a\nlie"}, id="no commit"),
        pytest.param({".git/HEAD": "ref: ../pyproject.toml", "pyproject.toml": "secret"}, id="another file"),
        pytest.param({".git/config": ""}, id="no HEAD"),
        pytest.param({".git/HEAD": "\udcff"}, id="no text"),
        pytest.param({".git/HEAD": "ref: \0"}, id="no name"),
    ],
)
def test_a_version_is_told_whatever_the_checkout_looks_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> None:
    """``weft --version`` never fails, and tells nothing of files that are no repository's."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, errors="surrogateescape")
    monkeypatch.setattr(version, "CHECKOUT", tmp_path)
    forget()
    done = CliRunner().invoke(main, ["--version"])
    assert (done.exit_code, done.output) == (0, f"weft {version.version()}\n")


def test_a_checkout_says_its_own_version_and_commit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed may be an older state of the checkout."""
    (repository / "pyproject.toml").write_text('[project]\nname = "weft"\nversion = "77.1"\n')
    monkeypatch.setattr(version, "CHECKOUT", repository)
    forget()
    done = CliRunner().invoke(main, ["--version"])
    assert done.output == f"weft 77.1 ({git(repository, 'rev-parse', '--short=7', 'HEAD')})\n"


def forget() -> None:
    version.version.cache_clear()
    version.commit.cache_clear()


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    forget()
