"""Where a token is about to lie."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bot.setup.cautions import cautions
from bot.setup.writing import Change


@pytest.mark.parametrize(
    ("ignored", "old", "told"),
    [
        (None, None, True),
        ("# .env\nbuild\n", None, True),
        ("/.env\n", None, False),
        ("/.env\n", "A=1\n", True),  # the copy of the old one is not ignored
        (".env*\n", "A=1\n", False),
    ],
)
def test_a_token_that_could_be_committed_is_said(
    tmp_path: Path, ignored: str | None, old: str | None, told: bool
) -> None:
    """R8"""
    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, check=True)
    if ignored is not None:
        (tmp_path / ".gitignore").write_text(ignored)
    (tmp_path / "below").mkdir()
    env_file = tmp_path / "below" / ".env"
    found = [one.text for one in cautions(env_file, "/srv/work", [Change(env_file, old, "A=2\n")])]
    assert found == ([f"{env_file} lies in the git repository {tmp_path}: add .env* to its .gitignore"] if told else [])


def test_a_group_that_can_no_longer_read_the_file_is_said(tmp_path: Path) -> None:
    """R8: as that of a service's user."""
    env_file = tmp_path / ".env"
    env_file.write_text("A=1\n")
    said = []
    for mode in (0o600, 0o640, 0o644):
        env_file.chmod(mode)
        said.append([one.text.partition(";")[0] for one in cautions(env_file, "/srv/work", [])])
    assert said[::2] == [[], []]
    assert said[1][0].endswith("and will be read by its owner alone")


def test_a_token_in_the_workspace_is_said(tmp_path: Path) -> None:
    """R8"""
    inside, beside = tmp_path / "work" / "own" / ".env", tmp_path / ".env"
    workspace = f"{tmp_path}/work/{{thread_id}}"
    assert [one.subject for one in cautions(inside, workspace, [])] == ["token"]
    assert list(cautions(beside, workspace, [])) == []
