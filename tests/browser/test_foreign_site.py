"""What a web site in the same browser can do to the sandbox: nothing, even where it knows key and token."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from PIL import Image
from playwright.async_api import Browser, expect

from bot.sandbox import FakeDiscord
from bot.sandbox.objects import message_json

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Each way of a site to reach a server of this machine; "no" is what the browser or the server must make of it.
_ATTEMPTS = """async ({url, gateway, channel, file, key, token}) => {
    const failed = (promise) => promise.then(() => "yes", () => "no");
    const loaded = (element, source) => new Promise((done) => {
        element.onload = () => done("yes");
        element.onerror = () => done("no");
        element.src = source;
        document.body.append(element);
    });
    const message = JSON.stringify({content: "from elsewhere"});
    const say = JSON.stringify({text: "from elsewhere"});
    const messages = `${url}/api/v10/channels/${channel}/messages`;
    const simple = {method: "POST", mode: "no-cors", headers: {"Content-Type": "text/plain"}};
    await fetch(`${url}/_sandbox/say`, {...simple, body: say}).catch(() => null);
    await fetch(messages, {...simple, body: message}).catch(() => null);
    return {
        read: await failed(fetch(`${url}/api/v10/gateway`)),
        session: await failed(fetch(`${url}/_sandbox/session`, {headers: {"X-Sandbox-Key": key}})),
        write: await failed(fetch(messages, {method: "POST", headers: {Authorization: token}, body: message})),
        module: await failed(import(`${url}/page/store.js`)),
        picture: await loaded(document.createElement("img"), file),
        script: await loaded(document.createElement("script"), `${url}/page/main.js`),
        websocket: await new Promise((done) => {
            const socket = new WebSocket(gateway);
            socket.onopen = () => done("yes");
            socket.onerror = () => done("no");
        }),
    };
}"""


@asynccontextmanager
async def foreign_site() -> AsyncIterator[str]:
    """Another origin: a server on another port."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>Elsewhere</title><body></body>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_a_foreign_site_can_neither_read_nor_write_nor_embed_anything(chromium: Browser) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (1, 1)).save(picture, "PNG")
    async with FakeDiscord() as discord, foreign_site() as elsewhere:
        message = await discord.owner.say(discord.channel_id, files=[("a.png", picture.getvalue())])
        context = await chromium.new_context()
        try:
            page = await context.new_page()
            await page.goto(elsewhere)
            found = await page.evaluate(
                _ATTEMPTS,
                {
                    "url": discord.url,
                    "gateway": discord.gateway_url,
                    "channel": str(discord.channel_id),
                    "file": message_json(discord.state, message)["attachments"][0]["url"],
                    "key": discord.key,
                    "token": discord.token_of(discord.owner),
                },
            )
            assert set(found.values()) == {"no"}, json.dumps(found)
            await page.evaluate("url => { document.body.innerHTML = `<iframe src=${url}></iframe>`; }", discord.url)
            frame = page.frame_locator("iframe")
            await expect(frame.get_by_text("Other web sites may not use this server.")).to_be_visible()
            async with context.expect_page() as opened:
                await page.evaluate("address => { globalThis.opened = open(address); }", discord.page_url)
            mine = await opened.value
            await mine.get_by_role("textbox", name="Message general").wait_for()
            # The page is there for the person; the site that opened it has lost hold of it.
            assert await page.evaluate("globalThis.opened.closed")
            assert await mine.evaluate("globalThis.opener === null")
        finally:
            await context.close()
        assert [one.id for one in discord.messages(discord.channel_id)] == [message.id]
