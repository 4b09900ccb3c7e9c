"""What must never happen in a page, whatever a test is about: errors, violations, calls to elsewhere, dialogs."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field

import anyio
from playwright.async_api import BrowserContext, ConsoleMessage, Dialog, Page, Request, Response, WebSocket
from playwright.async_api import Error as PageError

_OWN = ("data:", "blob:", "about:blank")

# A click that is lost leaves no trace but this: what was under the pointer at the press, and what at the release.
_INPUT = """(() => {
    const kept = [];
    globalThis.inputOfTest = kept;
    const named = (one) => {
        const text = one.ariaLabel || (one.textContent ?? "").trim().replace(/\\s+/g, " ");
        return `${(one.localName ?? "document")}${one.id ? "#" + one.id : ""} "${text.slice(0, 40)}"`;
    };
    const scrolled = (one) => {
        let box = one;
        while (box && !(/auto|scroll/.test(getComputedStyle(box).overflowY) && box.scrollHeight > box.clientHeight)) {
            box = box.parentElement;
        }
        return box ? `, scrolled to ${Math.round(box.scrollTop)} of ${box.scrollHeight - box.clientHeight}` : "";
    };
    const keep = (event) => {
        const { type, target } = event;
        const within = target instanceof Element;
        const part = within ? (target.closest("button, a, [role]") ?? target) : target;
        const words = [Math.round(performance.now()), "ms:", type];
        if (event.key) words.push(event.key);
        words.push("on", named(part));
        if (event.clientX !== undefined) {
            const { top, bottom, left, right } = part.getBoundingClientRect();
            const [x0, x1, y0, y1] = [left, right, top, bottom].map(Math.round);
            words.push(`at ${Math.round(event.clientX)},${Math.round(event.clientY)} within ${x0}..${x1},${y0}..${y1}`);
        }
        const line = words.join(" ") + (within ? scrolled(target) : "");
        if (type === "scroll" && kept.at(-1)?.type === type) kept.pop();
        kept.push({ type, line });
        if (kept.length > LENGTH) kept.shift();
    };
    const types = ["pointerdown", "pointerup", "pointercancel", "click", "keydown", "focusin", "scroll"];
    for (const type of types) addEventListener(type, keep, { capture: true, passive: true });
})();"""
_KEPT = 40
_TOLD_SECONDS = 2.0


@dataclass  # without slots: Playwright sets attributes on the owners of its handlers
class Watch:
    """Collects what goes wrong in the pages of one person; a violation of the page's policy is an error of its console.

    Attributes:
        origin: where all that the page loads comes from.
        allowed: patterns of what a test itself brings about.
    """

    origin: str
    faults: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    async def over(self, context: BrowserContext) -> None:
        """Watch all pages of a context that has none yet."""
        await context.add_init_script(_INPUT.replace("LENGTH", str(_KEPT)))
        context.on("page", self._page)
        context.on("console", self._console)
        context.on("dialog", self._dialog)
        context.on("request", self._request)
        context.on("response", self._response)

    async def last_input(self, page: Page) -> list[str]:
        """Return the last presses, keys and scrolls of a page, a line each; nothing of a page that does not answer."""
        lines: list[str] = []
        with anyio.move_on_after(_TOLD_SECONDS), suppress(PageError):
            lines = await page.evaluate("(globalThis.inputOfTest ?? []).map((one) => one.line)")
        return lines

    def allow(self, pattern: str) -> None:
        """Expect a fault: the test itself brings it about."""
        self.allowed.append(pattern)

    def unexpected(self) -> list[str]:
        """Return what went wrong so far, without what is allowed."""
        return [fault for fault in self.faults if not any(re.search(one, fault) for one in self.allowed)]

    def _page(self, page: Page) -> None:
        page.on("pageerror", self._error)
        page.on("websocket", self._websocket)
        page.on("crash", lambda _: self.faults.append("the page has crashed"))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            place = message.location.get("url", "")
            self.faults.append(f"console: {message.text} ({place})")

    def _error(self, error: PageError) -> None:
        self.faults.append(f"error: {error.message}\n{error.stack or ''}")

    async def _dialog(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.type} {dialog.message!r}")
        await dialog.dismiss()

    def _request(self, request: Request) -> None:
        if not self._is_own(request.url):
            self.faults.append(f"elsewhere: {request.method} {request.url}")

    def _response(self, response: Response) -> None:
        if response.status >= 500:
            self.faults.append(f"status {response.status}: {response.request.method} {response.url}")

    def _websocket(self, socket: WebSocket) -> None:
        if not self._is_own(socket.url.replace("ws:", "http:", 1)):
            self.faults.append(f"elsewhere: {socket.url}")

    def _is_own(self, url: str) -> bool:
        return url.startswith((self.origin + "/", *_OWN)) or url == self.origin
