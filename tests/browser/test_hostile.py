"""Texts that mean no good, wherever text is shown on the page: they stay texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.agents import scenario
from tests.browser.client import Client, visiting
from tests.e2e.busy import friends
from tests.e2e.play import play

pytestmark = pytest.mark.asyncio(loop_scope="session")

RUN = "window.canary='dead'"
SHORT = f'<img src=x onerror="{RUN}">\u202e'
TEXTS = [
    f"<script>{RUN}</script><svg onload={RUN}><b>bold</b>",
    f"[a](javascript:{RUN}) [b](data:text/html,<script>{RUN}</script>) [c](vbscript:x) <javascript:{RUN}>",
    f"![d](http://elsewhere.example/x.png) [e]( javascript:{RUN}) [f](java\tscript:{RUN}) [g](&#106;avascript:{RUN})",
    f"```html\n<script>{RUN}</script>\n``` `<script>{RUN}</script>` ||<iframe src=//elsewhere.example>||",
    "<@99999999999999999> <#1> <@&2> <:name:12345678901234567> <a:b:12345678901234567> <t:9999999999999:R> </x:1>",
    "<t:9999999999999>",
    "${7*7} {{constructor.constructor('alert(1)')()}} <!--lit-part--> ?lit$ <?lit$1$>",
    "\u202e\u2066reversed\u2069 \u200b\u0000\ufeff" + "Z\u0300\u0301\u0302" * 200,
    "[" * 900 + "](" * 400,
    "*" * 1000 + "_" * 900,
    "> " * 900,
    "- " * 900,
    "||" * 900 + "x",
    "# # # " * 300,
    "x" * 2000,
]

# What the page itself has besides texts: nothing in it runs, loads, posts or leads anywhere but to the web.
LOOK = """() => {
    const bad = [];
    const links = /^(https?:|blob:|mailto:|#|\\/)/i;
    const forbidden = /^(iframe|object|embed|base|meta|frame|applet|portal|template|style|link|script)$/i;
    for (const one of document.body.querySelectorAll("*")) {
        if (forbidden.test(one.localName)) bad.push(one.localName);
        if (one.localName === "form" && one.closest(".content")) bad.push("form");
        for (const { name, value } of one.attributes) {
            if (/^on/i.test(name) || name === "srcdoc" || name === "formaction") bad.push(`${one.localName} ${name}`);
            if (/^(href|src|xlink:href|action|data|poster)$/i.test(name) && !links.test(value) &&
                !(one.localName === "img" && /^data:image\\/(png|svg)/.test(value))) {
                bad.push(`${one.localName} ${name}=${value}`);
            }
        }
    }
    return bad;
}"""


async def untouched(person: Client, title: str) -> None:
    assert await person.page.evaluate("window.canary") == "alive"
    assert await person.page.evaluate(LOOK) == []
    assert await person.page.title() == title


async def test_hostile_texts_change_nothing_but_what_is_read(tmp_path: Path, chromium: Browser) -> None:
    """T8: in messages, names of people, threads and files, embeds, cards, buttons and an agent's answer."""
    tool = {"toolCallId": "t", "title": SHORT, "kind": "execute", "rawInput": {"command": f"echo '{TEXTS[0]}'"}}
    options = [{"optionId": "yes", "name": SHORT, "kind": "allow_once"}]
    ask = {"permission": {"tool": tool, "options": options}, "then": {"*": [{"text": "\n\n".join(TEXTS[:7])}]}}
    agent = scenario(tmp_path, [{"title": SHORT}, {"tool": {"id": "a", "title": SHORT, "output": TEXTS[0]}}, ask])
    embed = {
        "title": TEXTS[0],
        "description": TEXTS[1],
        "url": f"javascript:{RUN}",
        "fields": [{"name": SHORT, "value": SHORT}],
    }
    also: dict[str, Any] = {"embeds": [{"type": "rich", **embed, "footer": {"text": SHORT}, "timestamp": "never"}]}
    async with play(tmp_path, agent, **friends(SHORT)) as game, visiting(chromium, game.discord) as owner:
        discord, channel = game.discord, game.discord.channel_id
        eve = discord.user(SHORT)
        await owner.page.evaluate("window.canary = 'alive'")
        title = await owner.page.title()
        # 1. Messages, each shown as it is written, with files and an embed.
        for text in TEXTS:
            await eve.say(channel, text)
        last = await eve.say(
            channel, "the last", also=also, files=[(f"{SHORT}.html", b"<script>1</script>"), ("a.svg", b"<svg/>")]
        )
        await eve.say(channel, "long", files=[("long.txt", b"x" * 1_000_000)])
        await expect(owner.message(last)).to_be_visible()
        await expect(owner.content("<script>").first).to_contain_text(TEXTS[0])
        await untouched(owner, title)
        # 2. A thread's name, in the list and above its messages.
        await discord.start_thread(eve, last, SHORT)
        await owner.channels.get_by_role("link", name="onerror").click()
        await expect(owner.place).to_contain_text("<img src=x onerror=")
        await owner.open("general")
        # 3. An agent's words in a card, its buttons, the answer and the name that it gives the thread.
        await owner.mention("go")
        await owner.channels.get_by_role("link", name="go", exact=True).click()
        card = owner.message("asks for permission")
        await expect(card).to_contain_text("<script>")
        await card.get_by_role("button", name="onerror").click()
        await expect(owner.content("vbscript").last).to_be_visible()
        await untouched(owner, await owner.page.title())
        # 4. The page still does what it is asked.
        await owner.open("general")
        await owner.send("still here")
        await expect(owner.content("still here")).to_be_visible()
        await untouched(owner, title)
