"""How long a page works for each of its frames, and how long they last, from Chromium's trace.

While a frame lasts, other programs may have the processor; only the time that the page works is its own doing.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

from playwright.async_api import Browser, Page

_MARK = "weft-frame"
_MARK_FRAMES = f"""() => {{
    const tick = () => {{
        performance.mark("{_MARK}");
        performance.clearMarks("{_MARK}");
        requestAnimationFrame(tick);
    }};
    requestAnimationFrame(tick);
}}"""


@dataclass(frozen=True, slots=True)
class Frame:
    """What lies between two drawings, in milliseconds.

    Attributes:
        worked: the processor's time of the page's main thread: scripts, style, layout, painting, garbage collection.
        lasted: by the clock.
    """

    worked: float
    lasted: float


@dataclass(slots=True)
class Recording:
    """The frames, once the recording is over."""

    frames: list[Frame] = field(default_factory=list)


@asynccontextmanager
async def recording(browser: Browser, page: Page) -> AsyncIterator[Recording]:
    """Record a page's frames while the block runs; a browser makes one recording at a time."""
    result = Recording()
    await browser.start_tracing(page=page, categories=["blink.user_timing"])
    try:
        await page.evaluate(_MARK_FRAMES)
        yield result
    finally:
        trace = await browser.stop_tracing()
    events = json.loads(trace)["traceEvents"]
    # With each mark come the time of the thread and that of the clock, in microseconds.
    marks = sorted((event["ts"], event["tts"]) for event in events if event["name"] == _MARK)
    result.frames = [Frame((tts - tts0) / 1000, (ts - ts0) / 1000) for (ts0, tts0), (ts, tts) in pairwise(marks)]
