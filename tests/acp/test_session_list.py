"""The sessions that an agent lists: pages, bounds, and entries that can't be read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from acp import session_list
from acp.errors import ProtocolError, RequestTimeout
from acp.session_list import MOST_PAGES, MOST_SESSIONS, ListedSession, SessionList, read_pages
from tests.acp.connections import connected, methods

pytestmark = pytest.mark.asyncio


def entry(name: str, **more: Any) -> dict[str, Any]:
    return {"sessionId": name, "cwd": "/work", **more}


def pages(*given: Any) -> Callable[[dict[str, Any]], Awaitable[Any]]:
    """Return what answers with one page after the other, each but the last with a cursor of its own."""
    left = list(given)

    async def ask(params: dict[str, Any]) -> Any:
        await anyio.lowlevel.checkpoint()
        number = len(given) - len(left)
        assert params == ({"cursor": f"after {number}"} if number else {})
        page = left.pop(0)
        if isinstance(page, Exception):
            raise page
        return page | {"nextCursor": f"after {number + 1}"} if left and isinstance(page, dict) else page

    return ask


async def test_pages_are_followed_to_the_last_and_each_session_counts_once() -> None:
    """S1: of one that comes again, the first entry counts, as agents list the latest first."""
    found = await read_pages(
        pages(
            {"sessions": [entry("a", title="One", updatedAt="2026-11-30T01:00:00Z")]},
            {"sessions": [entry("b", updatedAt="yesterday"), entry("a", title="Old")]},
            {"sessions": []},
        )
    )
    assert found == SessionList(
        (ListedSession("a", "/work", "One", 1_796_000_400.0), ListedSession("b", "/work")), complete=True
    )


@pytest.mark.parametrize(
    "bad",
    [
        None, 7, {}, {"sessionId": "x"}, entry(""), entry("x" * 257), {"sessionId": 1, "cwd": "/"},
        entry("x") | {"cwd": "work"},
        entry("x") | {"cwd": "/a\0b"}, entry("x") | {"cwd": "/" * 5000}, entry("x") | {"cwd": ["/"]},
    ],
)  # fmt: skip
async def test_an_entry_that_cannot_be_opened_is_left_out_alone(bad: Any) -> None:
    """S1"""
    found = await read_pages(pages({"sessions": [bad, entry("good", title=["no text"], updatedAt=5)]}))
    assert found == SessionList((ListedSession("good", "/work"),), complete=True)


@pytest.mark.parametrize("result", [None, [], "x", {"sessions": None}, {"sessions": {}, "nextCursor": 3}])
async def test_a_page_that_cannot_be_read_is_an_empty_one(result: Any) -> None:
    """S1"""
    assert await read_pages(pages(result)) == SessionList((), complete=True)


async def test_an_agent_that_goes_on_for_ever_is_asked_for_so_many_pages_only() -> None:
    """S1: also one that goes round in a circle, and one that says everything at once."""
    asked = 0

    async def ask(params: dict[str, Any]) -> Any:
        nonlocal asked
        await anyio.lowlevel.checkpoint()
        asked += 1
        return {"sessions": [entry(f"s{asked}")], "nextCursor": f"c{asked}"}

    async def circle(params: dict[str, Any]) -> Any:
        await anyio.lowlevel.checkpoint()
        return {"sessions": [entry("s")], "nextCursor": "same"}

    endless = await read_pages(ask)
    assert (len(endless.sessions), endless.complete, asked) == (MOST_PAGES, False, MOST_PAGES)
    assert await read_pages(circle) == SessionList((ListedSession("s", "/work"),), complete=False)
    many = await read_pages(pages({"sessions": [entry(str(number)) for number in range(MOST_SESSIONS + 1)]}))
    assert (len(many.sessions), many.complete) == (MOST_SESSIONS, False)


async def test_what_came_before_a_failure_is_kept_and_without_it_the_failure_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """S1: bounded in time, all pages together."""
    failed = ProtocolError("gone")
    assert await read_pages(pages({"sessions": [entry("a")]}, failed)) == SessionList(
        (ListedSession("a", "/work"),), complete=False
    )
    with pytest.raises(ProtocolError):
        await read_pages(pages(failed))
    monkeypatch.setattr(session_list, "LIST_LIMIT", 0.0)
    with anyio.fail_after(30), pytest.raises(RequestTimeout):
        await read_pages(lambda _: anyio.sleep_forever())


async def test_a_connection_asks_only_an_agent_that_says_that_it_can_list(tmp_path: Path) -> None:
    """S1"""
    source = """
        greet(agentCapabilities={'sessionCapabilities': {'list': {}}})
        answer(hear(), {"sessions": [{"sessionId": "s1", "cwd": "/work"}]})
    """
    async with connected(source, tmp_path) as connection:
        assert connection.can_list
        assert [one.session_id for one in (await connection.list_sessions()).sessions] == ["s1"]
    assert methods(tmp_path)[-1:] == []
    (tmp_path / "other").mkdir()
    async with connected("greet()", tmp_path / "other") as connection:
        assert not connection.can_list
