"""Names of branches: git takes each of them, whatever a thread is called."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.work.workspace.branches import LONGEST, branch_name, taken_branches
from tests.bot.work.repositories import ENVIRONMENT, make_repository, needs_git, run_git
from tests.repeat import long_run

ODD = (
    "",
    "..",
    ".lock",
    "@{",
    "--help",
    "a..b",
    "x.lock",
    "/",
    "\x00\x1b",
    "é",
    "ß",
    "🦊",
    "שלום",
    "修复",
    "HEAD",
    "İ",
)
TITLES = st.text(max_size=200) | st.lists(st.sampled_from(ODD), max_size=5).map("".join)


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Fix the login", "fix-the-login"),
        ("  Über-Prüfung: Größe…  ", "uber-prufung-grosse"),
        ("修复登录", "thread"),
        ("🦊", "thread"),
        ("..@{-1}.lock", "1-lock"),
        ("--force", "force"),
        ("a\x00b\u202ec/d\\e~^:?*[", "a-b-c-d-e"),
        ("", "thread"),
        ("x" * 10_000, "x" * 41),
    ],
)
def test_a_name_says_what_the_thread_is_about(title: str, slug: str) -> None:
    """W2"""
    name = branch_name(title, 1_300_000_000_000_000_000, ())
    assert re.fullmatch(rf"weft/{slug}-[0-9a-f]{{3}}", name), name


@needs_git
@settings(max_examples=60)
@given(TITLES, st.integers(min_value=1, max_value=2**63))
def test_git_takes_every_name(title: str, thread_id: int) -> None:
    """W2"""
    name = branch_name(title, thread_id, ())
    assert len(name) <= LONGEST
    assert name.isascii()
    done = subprocess.run(["git", "check-ref-format", "--branch", name], env=ENVIRONMENT, check=False)
    assert done.returncode == 0, name


@given(st.lists(st.tuples(st.sampled_from(ODD), st.integers(0, 5)), max_size=40))
def test_no_two_threads_get_one_name(threads: list[tuple[str, int]]) -> None:
    """W2: not even with one title and one id, nor one below the other."""
    taken: list[str] = ["weft"] if len(threads) % 2 else []
    for title, thread_id in threads:
        taken.append(branch_name(title, thread_id, taken))
    assert len(set(taken)) == len(taken)
    assert not [one for one in taken for other in taken if other.startswith(f"{one}/")]


def test_a_branch_in_the_way_is_stepped_around() -> None:
    """W2: where there is a branch `weft`, there can be none below it; nor one where there are branches below it."""
    assert branch_name("x", 1, {"Weft", "main"}).startswith("weft-threads/x-")
    first = branch_name("x", 1, ())
    assert branch_name("x", 1, {first}) != first
    assert branch_name("x", 1, {f"{first}/below"}) != first


@needs_git
@pytest.mark.asyncio
async def test_the_branches_that_a_repository_has(tmp_path: Path) -> None:
    """W2: packed ones and others."""
    make_repository(tmp_path, "--initial-branch=main")
    run_git(tmp_path, "branch", "weft/x")
    run_git(tmp_path, "pack-refs", "--all")
    run_git(tmp_path, "branch", "loose")
    assert await taken_branches(tmp_path) == {"main", "weft/x", "loose"}


@pytest.mark.soak
def test_names_of_many_threads_stay_short() -> None:
    """W2"""
    taken: set[str] = set()
    for number in range(long_run(20_000, 2_000)):
        taken.add(branch_name("the same title", number, taken))
    assert max(map(len, taken)) <= LONGEST
