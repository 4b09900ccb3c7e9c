"""What people and agents write, as it stands on the page: Discord's dialect, and nothing of a hostile text.

All of it is rendered in one page, by the page's own modules and under its policy; no message is sent for that.
"""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Page

from bot.sandbox import FakeDiscord
from tests.browser.client import visiting

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Gives the structure of the rendered text: tags without attributes, but for those that carry meaning here.
_RENDER = """async sources => {
    const { html, render } = await import("/page/vendor/lit-html/lit-html.js");
    const { markdown, plainText } = await import("/page/views/markdown.js");
    const store = {
        namesVersion: 1, guild: { id: "1" }, roles: new Map([["7", { name: "Team" }]]),
        user: (id) => (id === "5" ? { id } : undefined), displayName: () => "ana <b>",
        place: (id) => (id === "9" ? { id } : undefined), placeName: () => "general",
    };
    const app = { store };
    const mentioned = ["data-user", "data-role", "data-channel", "data-message", "data-command"];
    const kept = ["href", "start", "datetime", ...mentioned];
    const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
    const shape = (node) => {
        if (node.nodeType === Node.TEXT_NODE) return escaped(node.data);
        if (node.nodeType !== Node.ELEMENT_NODE || node.matches("button")) return "";
        const inner = [...node.childNodes].map(shape).join("");
        if (node.matches("bdi, .hidden, .code-block")) return inner;
        if (node.matches(".spoiler")) return `<spoiler>${inner}</spoiler>`;
        const tag = node.localName;
        const held = kept.filter((one) => node.hasAttribute(one)).map((one) => ` ${one}=${node.getAttribute(one)}`);
        const name = node.className && tag === "span" ? `${tag}.${node.className}` : tag;
        return `<${name}${held.join("")}>${inner}</${tag}>`;
    };
    return sources.map((source) => {
        const root = document.createElement("div");
        const began = performance.now();
        render(html`${markdown(app, source)}`, root);
        const took = performance.now() - began;
        const shown = [...root.firstElementChild.childNodes].map(shape).join("");
        return { shape: shown, plain: plainText(app, source), took };
    });
}"""

# Whether what an edit leaves as it was is still the same: a selection in it, a spoiler that is open.
_EDIT = """async ([before, after]) => {
    const { html, render } = await import("/page/vendor/lit-html/lit-html.js");
    const { markdown } = await import("/page/views/markdown.js");
    const root = document.createElement("div");
    const show = (text) => render(html`${markdown({ store: { namesVersion: 1 } }, text)}`, root);
    show(before);
    const first = [...root.firstElementChild.children];
    show(after);
    const now = [...root.firstElementChild.children];
    return now.map((one) => first.indexOf(one));
}"""

DIALECT = {
    "**bold** *it* _it_ __under__ ~~gone~~": (
        "<p><strong>bold</strong> <em>it</em> <em>it</em> <u>under</u> <s>gone</s></p>"
    ),
    "***both*** ***a** b* ***a* b**": (
        "<p><em><strong>both</strong></em> <em><strong>a</strong> b</em> <strong><em>a</em> b</strong></p>"
    ),
    "||no **peeking**||": "<p><spoiler>no <strong>peeking</strong></spoiler></p>",
    "snake_case and 3 * 4 * 5 and **open": "<p>snake_case and 3 * 4 * 5 and **open</p>",
    "one\ntwo\n\nfour": "<p>one\ntwo\n\nfour</p>",
    "\n\n  \ntrimmed\n\n": "<p>trimmed</p>",
    "# A\n## B\n### C\n#### D\n-# small": "<h2>A</h2><h3>B</h3><h4>C</h4><p>#### D</p><small>small</small>",
    "> one\n> two\nout": "<blockquote><p>one\ntwo</p></blockquote><p>out</p>",
    "in\n>>> all\n- x": "<p>in</p><blockquote><p>all</p><ul><li><p>x</p></li></ul></blockquote>",
    "- a\n  - b\n- c\n1. d\n5. e": (
        "<ul><li><p>a</p><ul><li><p>b</p></li></ul></li><li><p>c</p></li></ul>"
        "<ol start=1><li><p>d</p></li><li><p>e</p></li></ol>"
    ),
    "- a\n  ```\n  - no\n  ```\n- b": "<ul><li><p>a</p><pre><code>- no</code></pre></li><li><p>b</p></li></ul>",
    "`a*b*` ``c`d`` `open": "<p><code>a*b*</code> <code>c`d</code> `open</p>",
    "say ```nope``` now": "<p>say </p><pre><code>nope</code></pre><p> now</p>",
    "```\n<b> & *x*\n```": "<pre><code>&lt;b&gt; &amp; *x*</code></pre>",
    "```diff\n+ a\n```": "<pre><code><span.hljs-addition>+ a</span></code></pre>",
    "```ansi\n\x1b[1;31mred\x1b[0m\n```": "<pre><code><span.ansi-bold ansi-red>red</span></code></pre>",
    "```\nno end": "<p>```\nno end</p>",
    r"\*no\* \_no\_ \`no\` \<@5>": "<p>*no* _no_ `no` &lt;@5&gt;</p>",
    "<@5> <@!5> <@&7> <#9> <@6> <#8>": (
        "<p><span.mention data-user=5>@ana &lt;b&gt;</span> <span.mention data-user=5>@ana &lt;b&gt;</span> "
        "<span.mention data-role=7>@Team</span> <span.mention data-channel=9>general</span> "
        "<span.mention data-user=6>@unknown-user</span> <span.mention>unknown</span></p>"
    ),
    "</queue show:12> <:blob:1234>": (
        "<p><span.mention data-command=queue show>/queue show</span> <span.emoji-name>:blob:</span></p>"
    ),
    "<t:0:d> <t:99999999999999> <t:8640000000001>": (
        "<p><time datetime=1970-01-01T00:00:00.000Z>1/1/70</time> &lt;t:99999999999999&gt; &lt;t:8640000000001&gt;</p>"
    ),
    "https://e.com/a_b_c. (https://e.com/x_(y))": (
        "<p><a href=https://e.com/a_b_c>https://e.com/a_b_c</a>. "
        "(<a href=https://e.com/x_(y)>https://e.com/x_(y)</a>)</p>"
    ),
    "<https://e.com/> [*docs*](https://e.com/d 'x') [docs](<https://e.com/d>)": (
        "<p><a href=https://e.com/>https://e.com/</a> [<em>docs</em>](<a href=https://e.com/d>https://e.com/d</a> 'x') "
        "<a href=https://e.com/d>docs</a></p>"
    ),
    "https://discord.com/channels/1/9/77": "<p><span.mention data-channel=9 data-message=77>general"
    "<span.jump-sign></span></span></p>",
}

HOSTILE = {
    "<img src=x onerror=alert(1)><script>alert(1)</script>": (
        "<p>&lt;img src=x onerror=alert(1)&gt;&lt;script&gt;alert(1)&lt;/script&gt;</p>"
    ),
    "&lt;b&gt; &#60;": "<p>&amp;lt;b&amp;gt; &amp;#60;</p>",
    "[x](javascript:alert(1)) [x](data:text/html,x) <javascript:x>": (
        "<p>[x](javascript:alert(1)) [x](data:text/html,x) &lt;javascript:x&gt;</p>"
    ),
    "[https://bank.example](https://evil.example)": (
        "<p>[https://bank.example](<a href=https://evil.example/>https://evil.example</a>)</p>"
    ),
    '[x](https://e.com/"onmouseover=alert(1))': "<p><a href=https://e.com/%22onmouseover=alert(1)>x</a></p>",
    "![x](https://e.com/a.png)": "<p>!<a href=https://e.com/a.png>x</a></p>",
    "| a |\n|---|\n| 1 |": "<p>| a |\n|---|\n| 1 |</p>",
    "```diff\n</code></pre><img src=x>\n```": "<pre><code>&lt;/code&gt;&lt;/pre&gt;&lt;img src=x&gt;</code></pre>",
    '</x" onclick="y:1> <t:1:R\' x>': (
        '<p><span.mention data-command=x" onclick="y>/x" onclick="y</span> &lt;t:1:R\' x&gt;</p>'
    ),
    "@everyone @here": "<p>@everyone @here</p>",
}

# One of each rule that looks for an end that never comes; a text that no Discord would send at the last.
ENDLESS = ("**" * 4000, "*a " * 2600, "_a " * 2600, "[" * 8000, "[a](" * 2000, "|| " * 2600, "`" * 7999, "> " * 4000)
DEEP = ("\n".join(" " * 2 * depth + "- x" for depth in range(80)), "- a\n" * 2000, "```" * 2600, "<" * 8000)
SLOWEST_MS = 1500.0


async def rendered(page: Page, sources: list[str]) -> list[dict[str, object]]:
    """Return the shape and the plain text of each, and how many milliseconds it took."""
    answers: list[dict[str, object]] = await page.evaluate(_RENDER, sources)
    return answers


async def test_texts_become_what_people_know_from_discord_and_nothing_else(chromium: Browser) -> None:
    """The page's Markdown: its dialect, hostile text, texts that take long, lines without end."""
    async with FakeDiscord() as discord, visiting(chromium, discord) as ana:
        wanted = DIALECT | HOSTILE
        found = await rendered(ana.page, [*wanted])
        assert {source: one["shape"] for source, one in zip(wanted, found, strict=True)} == wanted

        slow = await rendered(ana.page, [*ENDLESS, *DEEP, "x" * 1_000_000])
        assert [one["took"] for one in slow if float(str(one["took"])) > SLOWEST_MS] == []
        assert "992,000 more characters" in str(slow[-1]["shape"])

        plain = await rendered(ana.page, ["# A\n<@5> said **no** ||x|| `c`", "a\n- b\n- c"])
        assert [one["plain"] for one in plain] == ["A @ana <b> said no ▒▒▒▒ c", "a b c"]

        growing = ["# A\n||b||\n```\nc\n```\nd", "# A\n||b||\n```\nc\n```\nd and e\n- f"]
        assert await ana.page.evaluate(_EDIT, growing) == [0, 1, 2, -1, -1]

        await discord.owner.say(discord.channel_id, "x" * 2000)
        await ana.message("xxx").wait_for()
        widths = await ana.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] == widths[1]
