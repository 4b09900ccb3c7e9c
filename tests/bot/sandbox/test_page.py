"""The page's files: what is served, and the headers that bound what the page may do."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp
import pytest
import yarl

import bot.sandbox
from bot.sandbox import FakeDiscord

pytestmark = pytest.mark.asyncio

STYLES = Path(bot.sandbox.__file__).parent / "page/style"


async def test_the_page_comes_with_headers_that_let_nothing_from_elsewhere_in() -> None:
    async with FakeDiscord() as fd, aiohttp.ClientSession() as session:
        answer = await session.get(fd.url + "/")
        text = await answer.text()
    policy = answer.headers["Content-Security-Policy"]
    assert (answer.status, answer.content_type, answer.charset) == (200, "text/html", "utf-8")
    assert "default-src 'none'; script-src 'self'; style-src 'self'; " in policy
    assert f"connect-src 'self' ws://{fd.url.removeprefix('http://')}; " in policy
    assert "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types lit-html dompurify" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "<script>" not in text
    assert " style=" not in text
    # A new sheet is easily forgotten here; the narrow window's replaces rules of the others.
    linked = re.findall(r'href="/page/style/(\w+)\.css"', text)
    assert sorted(linked) == sorted(sheet.stem for sheet in STYLES.glob("*.css"))
    assert linked[-1] == "narrow"


async def test_a_module_is_kept_by_the_browser_until_it_changes() -> None:
    async with FakeDiscord() as fd, aiohttp.ClientSession() as session:
        url = fd.url + "/page/vendor/markdown-it/markdown-it.esm.min.mjs"
        first = await session.get(url)
        again = await session.get(url, headers={"If-None-Match": first.headers["ETag"]})
        other = await session.get(url, headers={"If-None-Match": '"other"'})
    assert (first.content_type, first.headers["Cache-Control"]) == ("text/javascript", "no-cache")
    assert [one.status for one in (first, again, other)] == [200, 304, 200]


@pytest.mark.parametrize(
    "path",
    [
        "/page/../server.py",
        "/page/%2e%2e/server.py",
        "/page/..%2fpage.py",
        "/page/vendor/..%2f..%2findex.html",
        "/page/..%5cindex.html",
        "/page//index.html",
        "/page/%2fetc%2fhostname.txt",
        "/page/vendor",
        "/page/vendor/",
        "/page/",
        "/page/vendor/lit-html/LICENSE",
        "/page/index.html%00.js",
        "/page/" + "a/" * 2000 + "b.js",
    ],
)
async def test_nothing_but_the_page_s_files_is_served(path: str) -> None:
    async with FakeDiscord() as fd, aiohttp.ClientSession() as session:
        # Sent as it stands, as no tidy client would.
        answer = await session.get(yarl.URL(fd.url + path, encoded=True), allow_redirects=False)
        assert answer.status == 404


async def test_the_page_has_one_address() -> None:
    async with FakeDiscord() as fd, aiohttp.ClientSession() as session:
        port = fd.url.rpartition(":")[2]
        answer = await session.get(fd.url, headers={"Host": f"localhost:{port}"}, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (302, fd.url + "/")
