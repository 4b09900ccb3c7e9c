"""The page as a person finds their way on it: by the roles and names that a screen reader tells, never by its styles.

One `Client` is one person in one browser context; it fails the test for whatever `watch` has seen.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio
from discord.utils import snowflake_time
from playwright.async_api import Browser, Error, Locator, Page, expect

from bot.sandbox import FakeDiscord, Message
from tests.browser.chromium import PATIENCE
from tests.browser.watch import Watch

PHONE = (390, 844)

BEGIN = datetime(2026, 3, 2, 9, 41, 10, tzinfo=UTC)
"""When the server begins for those who look at pictures; the seconds leave room for a slow run within the minute."""

# Every date that the page makes is moved. Numbers stay as they are, so that "how long ago" is right.
_CLOCK = """(() => {
    const real = Date;
    globalThis.Date = class extends real {
        constructor(...given) {
            if (given.length === 0) super(real.now() + SHIFT);
            else if (given.length === 1 && !(given[0] instanceof real)) super(new real(given[0]).getTime() + SHIFT);
            else super(...given);
        }
    };
})();"""


# As whom the page begins; it remembers that over a reload. An empty page has no storage.
_PERSON = """if (location.protocol === "http:" && !sessionStorage.getItem("sandbox.person")) {
    sessionStorage.setItem("sandbox.person", JSON.stringify("WHO"));
}"""

# What scrolls is whatever does around the list: the page may put it into a box or not.
_DISTANCE = """log => {
    const scrolls = (box) => /auto|scroll/.test(getComputedStyle(box).overflowY) && box.scrollHeight > box.clientHeight;
    let box = log;
    while (box.parentElement && !scrolls(box)) box = box.parentElement;
    return box.scrollHeight - box.scrollTop - box.clientHeight;
}"""
_FRAMES = """count => new Promise((done) => {
    const next = () => (count-- ? requestAnimationFrame(next) : done());
    next();
})"""


@dataclass(frozen=True, slots=True)
class Client:
    """A person's page."""

    discord: FakeDiscord
    page: Page
    watch: Watch

    # -- places ----------------------------------------------------------------------------------------------------

    @property
    def channels(self) -> Locator:
        return self.page.get_by_role("navigation", name="Channels")

    @property
    def place(self) -> Locator:
        """The name of the place that is open."""
        return self.page.get_by_role("main").get_by_role("heading", level=1)

    @property
    def log(self) -> Locator:
        return self.page.get_by_role("log")

    async def open(self, name: str) -> None:
        """Go to a channel, forum or thread by its name."""
        await self.channels.get_by_role("link", name=name, exact=True).click()
        await expect(self.place).to_have_text(name)

    async def distance_from_end(self) -> float:
        """Return how far the view is from the newest message, in pixels."""
        return float(await self.log.evaluate(_DISTANCE))

    async def scroll(self, down: int) -> None:
        """Turn the wheel above the messages; returns once the view has moved and come to rest."""
        before = last = await self.distance_from_end()
        await self.point_at_messages()
        await self.page.mouse.wheel(0, down)
        with anyio.fail_after(PATIENCE / 1000):
            while (now := await self.distance_from_end()) == before or now != last:
                last = now
                await self.frames(2)

    async def point_at_messages(self) -> None:
        """Put the pointer above the newest messages; hovering the list would scroll it."""
        box = await self.composer.bounding_box()
        assert box is not None
        await self.page.mouse.move(box["x"] + 100, box["y"] - 150)

    async def frames(self, count: int) -> None:
        """Wait until the page has been drawn so often."""
        await self.page.evaluate(_FRAMES, count)

    # -- messages --------------------------------------------------------------------------------------------------

    @property
    def composer(self) -> Locator:
        return self.page.get_by_role("textbox", name=re.compile("^Message "))

    async def send(self, text: str) -> None:
        """Type a message and send it by Enter; a command by its name would open the picker."""
        await self.composer.fill(text)
        await self.composer.press("Enter")
        await expect(self.composer).to_have_value("")

    async def mention(self, text: str) -> None:
        """Send a message that begins with the bot's mention, as the page puts it on the wire."""
        await self.send(f"<@{self.discord.bot_user.id}> {text}")

    def message(self, which: str | re.Pattern[str] | Message | int) -> Locator:
        """A message by its id, or those that have a text in them."""
        if isinstance(which, Message | int):
            number = which if isinstance(which, int) else which.id
            return self.log.locator(f'[data-message-id="{number}"]')
        return self.log.get_by_role("article").filter(has_text=which)

    def content(self, text: str | re.Pattern[str]) -> Locator:
        """The texts of messages that have a text in them; quotes of it in replies are not meant."""
        return self.log.locator(".content").filter(has_text=text)

    async def action(self, message: Locator, name: str) -> None:
        """Press a button of a message's toolbar, which shows where the pointer is."""
        await message.hover()
        toolbar = message.get_by_role("toolbar", name="Message actions")
        await toolbar.get_by_role("button", name=name).click()

    async def command(self, name: str, **options: str) -> None:
        """Use a slash command: choose it from the picker by its name, fill its options in by theirs, and send it."""
        await self.composer.press_sequentially(f"/{name}")
        picker = self.page.get_by_role("listbox", name="Commands")
        await picker.get_by_role("option", name=re.compile(rf"^\/{re.escape(name)}\b")).first.click()
        await expect(picker).to_have_count(0)
        for option, value in options.items():
            await self.option(option).fill(value)
        await self.page.keyboard.press("Enter")
        await expect(self.composer).to_be_visible()

    def option(self, name: str) -> Locator:
        """The field of a command's option."""
        named = re.compile(rf"^{re.escape(name)}\b")
        return self.page.get_by_role("combobox", name=named).or_(self.page.get_by_role("textbox", name=named))

    # -- what lies over it -----------------------------------------------------------------------------------------

    def dialog(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("dialog", name=name)

    async def act_as(self, name: str) -> None:
        """Go on as another person."""
        await self.page.get_by_role("button", name=re.compile("^Acting as ")).click()
        choice = re.compile(rf"^{re.escape(name)}\b")
        await self.page.get_by_role("menu", name="Act as").get_by_role("menuitemradio", name=choice).click()
        await expect(self.page.get_by_role("button", name=f"Acting as {name}")).to_be_visible()

    @asynccontextmanager
    async def reconnecting(self, *, resumable: bool) -> AsyncIterator[None]:
        """Cut the page's connection; what the block does, within half a second, the page does not hear at once.

        Args:
            resumable: whether the server still knows the session then.
        """
        sessions = self.discord.gateway.people._sessions
        async with self.page.expect_websocket() as anew:
            for session in list(sessions.values()):
                if session.connection is not None:
                    session.connection.drop()
                if not resumable:
                    del sessions[session.id]
            yield
        await anew.value

    async def close_panel(self) -> None:
        """Put the panel with things to try away."""
        await self.page.get_by_role("button", name="Close panel").click()

    def allow(self, pattern: str) -> None:
        """Expect a fault that the test itself brings about."""
        self.watch.allow(pattern)


@asynccontextmanager
async def visiting(
    browser: Browser,
    discord: FakeDiscord,
    person: str = "owner",
    *,
    size: tuple[int, int] = (1280, 800),
    dark: bool = True,
    touch: bool = False,
    pictured: bool = False,
    zone: str = "UTC",
) -> AsyncIterator[Client]:
    """Open the page as a person, in a context that shares nothing with others; what went wrong on it fails the test.

    Args:
        size: of the window, in pixels of the page.
        touch: it is a phone, with fingers.
        pictured: as for pictures, with two pixels for one and a clock that always begins at the same minute.
        zone: where the person is.
    """
    watch = Watch(discord.url)
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        has_touch=touch,
        is_mobile=touch,
        locale="en-GB",
        timezone_id=zone,
        device_scale_factor=2 if pictured else 1,
    )
    try:
        context.set_default_timeout(PATIENCE)
        await watch.over(context)
        await context.add_init_script(_PERSON.replace("WHO", str(discord.user(person).id)))
        if pictured:
            shift = BEGIN - snowflake_time(discord.guild_id)
            await context.add_init_script(_CLOCK.replace("SHIFT", str(int(shift.total_seconds() * 1000))))
        client = Client(discord, await context.new_page(), watch)
        try:
            await client.page.goto(discord.one_time_url())  # as the demo opens it
            await expect(client.composer).to_be_visible()
            yield client
            assert watch.unexpected() == []
        except Exception as exc:
            await _tell(client, exc)
            raise
    finally:
        await context.close()


async def _tell(client: Client, error: Exception) -> None:
    """Add to an error what went wrong on the page so far, what was done with it last, and what it shows."""
    error.add_note("\n".join(client.watch.faults))
    error.add_note("\n".join(await client.watch.last_input(client.page)))
    with suppress(Error):  # it may be the page's end that is told of
        error.add_note(await client.page.locator("body").aria_snapshot(timeout=2_000))
