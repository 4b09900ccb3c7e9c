"""What axe-core, as it is vendored here, finds wrong with a page for people who use it with assistive technology."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from playwright.async_api import Page

SOURCE = Path(__file__).parent / "vendor" / "axe.min.js"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
_BAD = ("serious", "critical")


async def findings(page: Page, *, without: tuple[str, ...] = ()) -> list[str]:
    """Return what is serious or critical, a line for each place; ``without`` names rules that do not fit."""
    # The debugger's way in: no script tag, which the page's policy would refuse.
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(checked().decode())
    result: dict[str, Any] = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:200]} {node['failureSummary']}"
        for rule in result["violations"]
        for node in rule["nodes"]
        if rule["impact"] in _BAD and rule["id"] not in without
    ]


def checked() -> bytes:
    """Return axe-core's script if it is the one that README.md names."""
    script = SOURCE.read_bytes()
    assert hashlib.sha256(script).hexdigest() == SHA256, f"{SOURCE} is not what was taken over"
    return script
