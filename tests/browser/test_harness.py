"""The harness itself: what a page does wrong is seen, whoever looks for it or not."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from aiohttp import web
from playwright.async_api import Browser

from tests.browser import axe
from tests.browser import chromium as chromium_module
from tests.browser.watch import Watch

LIMIT = 60.0

pytestmark = pytest.mark.asyncio(loop_scope="session")

POLICY = (
    "default-src 'none'; script-src 'self'; img-src 'self' http://elsewhere.example; connect-src 'self' ws:; "
    "require-trusted-types-for 'script'"
)
PAGE = """<!doctype html><html lang="en"><title>A page</title>
<main><h1>A page</h1><button id="go">Go</button><img src="/picture.png"></main>
<script src="/script.js"></script></html>"""


@asynccontextmanager
async def served(script: str) -> AsyncIterator[str]:
    """Serve a page with a script and a picture without a name, and nothing else; yields its origin."""

    async def answer(request: web.Request) -> web.Response:
        bodies = {"/": (PAGE, "text/html"), "/script.js": (script, "text/javascript"), "/broken": ("", "text/plain")}
        body, kind = bodies.get(request.path, ("", "image/png"))
        status = 503 if request.path == "/broken" else 200
        return web.Response(text=body, content_type=kind, status=status, headers={"Content-Security-Policy": POLICY})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


WRONGS = {
    "console.error('a word of it')": "console: a word of it",
    "setTimeout(() => { throw new Error('nobody caught it'); })": "error: nobody caught it",
    "alert('boo')": "dialog: alert 'boo'",
    "new Image().src = 'http://elsewhere.example/x.png'": "elsewhere: GET http://elsewhere.example/x.png",
    "new WebSocket('ws://127.0.0.1:1/x')": "elsewhere: ws://127.0.0.1:1/x",
    "new Image().src = 'http://forbidden.example/x.png'": "Content Security Policy",
    "document.body.innerHTML = '<p>x</p>'": "TrustedHTML",
    "fetch('/broken')": "status 503: GET ",
}


@pytest.mark.soak
async def test_whatever_a_page_does_wrong_is_seen(chromium: Browser) -> None:
    steps = ", ".join(f"() => {{ {wrong}; }}" for wrong in WRONGS)
    script = f"const steps = [{steps}]; document.getElementById('go').onclick = () => steps.shift()();"
    async with served(script) as origin, await chromium.new_context() as context:
        watch = Watch(origin)
        await watch.over(context)
        page = await context.new_page()
        await page.goto(origin)
        for told in WRONGS.values():
            assert not any(told in fault for fault in watch.faults)
            await page.get_by_role("button", name="Go").click()
            with anyio.fail_after(LIMIT):
                while not any(told in fault for fault in watch.faults):  # noqa: ASYNC110  the browser tells when it will
                    await anyio.sleep(0.01)
        assert watch.unexpected() == watch.faults
        watch.allow("^(console|error|dialog|elsewhere|status)")
        assert watch.unexpected() == []


async def test_what_was_done_last_with_a_page_is_told(chromium: Browser) -> None:
    """Of a click that is lost: what was under the pointer at the press, where that was, and what at the release."""
    moves = "document.getElementById('go').onpointerdown = ({ target }) => target.style.position = 'fixed';"
    async with served(moves) as origin, await chromium.new_context() as context:
        watch = Watch(origin)
        await watch.over(context)
        page = await context.new_page()
        assert await watch.last_input(page) == []
        await page.goto(origin)
        await page.evaluate("document.getElementById('go').style.inset = '300px auto auto 300px'")
        await page.get_by_role("button", name="Go").click()
        await page.keyboard.press("a")
        told = "\n".join(await watch.last_input(page))
    assert re.search(
        r"""^\d+ ms: pointerdown on button#go "Go" at (\d+,\d+) within .*
(.*\n)*\d+ ms: pointerup on (main|html|body) ".*" at \1 within .*
(.*\n)*\d+ ms: keydown a on """,
        told,
        re.MULTILINE,
    ), told
    assert "click on button" not in told


@pytest.mark.soak
async def test_axe_runs_on_a_page_that_allows_no_scripts_but_its_own(chromium: Browser) -> None:
    async with served("") as origin, await chromium.new_context() as context:
        page = await context.new_page()
        await page.goto(origin)
        found = await axe.findings(page)
    assert [line.split(" ")[0] for line in found] == ["image-alt"]


async def test_without_a_chromium_the_reason_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(chromium_module.NoChromium, match="apt install chromium"):
        chromium_module.program()
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/false\n")
    broken.chmod(0o755)
    assert chromium_module.program() == str(broken)
