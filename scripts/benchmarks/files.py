"""Files: what a large attachment and a large image cost the bot on their way to the agent."""

from __future__ import annotations

import io
import os

from PIL import Image

from bot.sandbox import RateLimits
from scripts.benchmarks.scene import Report, Scene, scene
from scripts.benchmarks.stats import Figures

MIB = 1024 * 1024
LARGEST = 25 * MIB
PHOTOGRAPH = (8000, 6000)  # pixels


async def files() -> Figures:
    """Return how much the bot grows with 25 MiB, and how late its loop is meanwhile and while an image is scaled."""
    async with scene(limits=RateLimits.OFF) as running:
        thread = await running.thread()
        # What is imported and allocated once is no part of what a file costs.
        await _passed_on(running, thread, "small.jpg", photograph(2000, 1500))
        before = await running.report()
        large = await _passed_on(running, thread, "large.bin", os.urandom(LARGEST))
        image = await _passed_on(running, thread, "photograph.jpg", photograph(*PHOTOGRAPH))
    return {
        "in_25mb_growth_mb": (large["rss"] - before["rss"]) / MIB,
        "image_growth_mb": (image["rss"] - before["rss"]) / MIB,
        "loop_lag_ms": max(large["lag_max"], image["lag_max"]) * 1e3,
        "lag_p99_ms": max(large["lag_p99"], image["lag_p99"]) * 1e3,
    }


def photograph(width: int, height: int) -> bytes:
    """Return a JPEG of so many pixels."""
    noise = Image.effect_noise((width // 8, height // 8), 60).resize((width, height)).convert("RGB")
    buffer = io.BytesIO()
    noise.save(buffer, "JPEG")
    return buffer.getvalue()


async def _passed_on(running: Scene, thread: int, name: str, data: bytes) -> Report:
    """Send a file with a prompt; return the report of the bot once the turn is over."""
    asked = await running.discord.owner.say(thread, "bench:hi", files=[(name, data)])
    await running.ended(thread, after=asked.id)
    return await running.report()
