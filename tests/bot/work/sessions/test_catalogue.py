"""Which sessions are in a list, and whose they are: by the agent, by the threads, and by directories."""

from __future__ import annotations

from typing import Any

import pytest

from acp.session_list import ListedSession
from bot.work.sessions.catalogue import Entry, home_in, merged
from pool.store import KnownSession, ThreadSession

OWN: dict[str, str | None] = {"/srv/{thread_id}": None, "/state/worktrees/web/{thread_id}": "web"}


@pytest.mark.parametrize(
    ("pattern", "cwd", "home"),
    [
        ("/srv/work", "/srv/work", 0),
        ("/srv/work/", "/srv/work", 0),
        ("/srv/work", "/srv/work/", 0),
        ("/srv/work", "/srv/work/sub", None),
        ("/srv/work", "/srv/work/../../etc", None),
        ("/srv/work", "/srv/workshop", None),
        ("/srv/work", "/", None),
        ("/srv/{thread_id}", "/srv/123", 123),
        ("/srv/{thread_id}/repo", "/srv/123/repo", 123),
        ("/srv/{thread_id}/{thread_id}", "/srv/1/1", 1),
        ("/srv/{thread_id}/{thread_id}", "/srv/1/2", None),
        ("/srv/{thread_id}", "/srv", None),
        ("/srv/{thread_id}", "/srv/12a", None),
        ("/srv/{thread_id}", "/srv/123/..", None),
        ("/srv/{thread_id}", "/srv/" + "1" * 21, None),
        ("/srv/a.c", "/srv/abc", None),
    ],
)
def test_a_session_works_in_a_threads_directory_or_in_none(pattern: str, cwd: str, home: int | None) -> None:
    """S1: nothing below one, and nothing that only leads there."""
    assert home_in(cwd, ["/nowhere", pattern]) == home


def threads(*entries: Entry) -> dict[str, tuple[int | None, int | None, set[int]]]:
    return {one.session_id: (one.thread_id, one.home, set(one.threads)) for one in entries}


def test_whose_a_session_is_and_was_stands_with_it() -> None:
    """S1: the thread that has it says all; of one that nobody has, all that had it count, and whose directory it is."""
    listed = [
        ListedSession("held", "/srv/1"),
        ListedSession("given up", "/srv/1", "Old"),
        ListedSession("copy", "/srv/1"),
        ListedSession("kept copy", "/srv/1"),
        ListedSession("fork given up", "/srv/1"),
        ListedSession("machine", "/srv/9"),
        ListedSession("elsewhere", "/home/me", "private"),
    ]
    ours = [ThreadSession(4, "held", "p", "/srv/1", "Mine", 50), ThreadSession(5, "kept copy", "p", "/srv/1", None, 40)]
    known = [
        KnownSession("held", 1, held=False),
        KnownSession("held", 4, held=True),
        KnownSession("given up", 2, held=False),
        KnownSession("given up", 3, held=False),
        KnownSession("copy", 1, held=False, copy=True),
        KnownSession("kept copy", 5, held=True),
        KnownSession("kept copy", 1, held=False, copy=True),
        KnownSession("fork given up", 1, held=False, copy=True),
        KnownSession("fork given up", 6, held=False),
    ]
    entries, elsewhere = merged(listed, ours, known, OWN, "p")
    assert threads(*entries) == {
        "held": (4, 1, {4}),
        "given up": (None, 1, {1, 2, 3}),
        "kept copy": (5, 1, {5}),
        "fork given up": (None, 1, {1, 6}),
        "machine": (None, 9, {9}),
    }
    assert elsewhere == 1
    assert [(one.session_id, one.title) for one in entries[:2]] == [("held", "Mine"), ("kept copy", "")]


def test_the_latest_come_first_and_what_an_agent_does_not_list_is_there_all_the_same() -> None:
    """S1"""
    at: dict[str, Any] = {"a": 10.0, "b": 30.0, "c": None}
    listed = [ListedSession(name, "/srv/work", updated_at=when) for name, when in at.items()]
    entries, _ = merged(listed, [ThreadSession(1, "d", "p", "/old", "T", 20)], [], {"/srv/work": None}, "p")
    assert [(one.session_id, one.thread_id, one.home) for one in entries] == [
        ("b", None, None),
        ("d", 1, None),
        ("a", None, None),
        ("c", None, None),
    ]


def test_a_session_of_a_project_says_which_one() -> None:
    """S1, W1: whoever goes on with it works there, and nowhere else."""
    listed = [ListedSession("one", "/srv/1"), ListedSession("two", "/state/worktrees/web/2")]
    entries, elsewhere = merged(listed, [], [], OWN, "p")
    assert {one.session_id: (one.home, one.project) for one in entries} == {"one": (1, None), "two": (2, "web")}
    assert elsewhere == 0
