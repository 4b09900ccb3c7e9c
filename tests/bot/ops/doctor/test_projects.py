"""What the doctor says of projects, with the real git."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bot.agents.model import AgentProfile, Agents, Project
from bot.ops.doctor.finding import Verdict, ok, warn
from bot.ops.doctor.projects import check_projects
from tests.bot.work.repositories import make_repository, needs_git

pytestmark = [pytest.mark.asyncio, needs_git]


def agents(tmp_path: Path, *projects: Project, wrapper: tuple[str, ...] = ()) -> Agents:
    red = AgentProfile("red", ("red",), str(tmp_path), wrapper=wrapper)
    return Agents({"red": red}, "red", projects={one.name: one for one in projects})


def of(tmp_path: Path, name: str, **fields: object) -> Project:
    return Project(name, tmp_path / name, tmp_path / "state" / name, **fields)  # type: ignore[arg-type]


async def test_each_project_is_looked_at(tmp_path: Path) -> None:
    """W1, W2: git, the repository, its base, and the variables that are to be given."""
    make_repository(tmp_path / "web", "-b", "main")
    (tmp_path / "notes").mkdir()
    known = agents(
        tmp_path,
        of(tmp_path, "web", env=("NPM_TOKEN", "KNOWN")),
        of(tmp_path, "notes", worktree=False),
    )
    git, *found = await check_projects(known, {"KNOWN": "x"})
    assert (git.verdict, git.subject) == (Verdict.OK, "git")
    assert found == [
        ok("project", f"web: {tmp_path}/web, from main"),
        warn("agent env", "NPM_TOKEN is listed in projects.web.env, but is not set"),
        ok("project", f"notes: {tmp_path}/notes, which all its threads share"),
    ]


async def test_what_git_can_not_work_with_is_told(tmp_path: Path) -> None:
    """W2"""
    make_repository(tmp_path / "web", "-b", "main")
    make_repository(tmp_path / "shop", "-b", "main")
    shutil.rmtree(tmp_path / "shop/.git/objects")
    _, based, broken = await check_projects(
        agents(tmp_path, of(tmp_path, "web", base="nowhere"), of(tmp_path, "shop")), {}
    )
    assert (based.verdict, broken.verdict) == (Verdict.FAIL, Verdict.FAIL)
    assert based.text == f"web: {tmp_path}/web: its repository has no branch `nowhere`: set `base` to one that it has"


async def test_who_may_not_commit_and_what_is_trusted_is_pointed_out(tmp_path: Path) -> None:
    """R5, W2"""
    make_repository(tmp_path / "web", "-b", "main")
    project = of(tmp_path, "web", hooks=True)
    _, _, *cautions = await check_projects(agents(tmp_path, project, wrapper=("bwrap", "{workspace}")), {})
    assert cautions == [
        warn("project", "web: hooks = true: what agents write into its .git is run as your user"),
        warn(
            "project",
            "web: red may not be able to commit: its wrapper does not name {repository} (docs/isolation.md)",
        ),
    ]
    for wrapper in (("bwrap", "{repository}/.git"), ("docker", "-v", f"{tmp_path}/web:{tmp_path}/web")):
        _, _, *cautions = await check_projects(agents(tmp_path, project, wrapper=wrapper), {})
        assert len(cautions) == 1


@pytest.mark.parametrize(("version", "text"), [("2.29.3", "git 2.29 is too old"), ("none", "git does not work here")])
async def test_a_git_that_is_too_old_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, text: str
) -> None:
    """W2: it knows too little of work trees."""
    make_repository(tmp_path / "web", "-b", "main")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").write_text(f"#!/bin/sh\necho git version {version}\n")
    (tmp_path / "bin/git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    found, *_ = await check_projects(agents(tmp_path, of(tmp_path, "web")), {})
    assert (found.verdict, found.text.startswith(text)) == (Verdict.FAIL, True)


async def test_without_projects_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert await check_projects(agents(tmp_path), {}) == []
