"""The recipes of ``docs/isolation.md``, as they are printed there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

PAGE = (Path(__file__).parents[1] / "docs" / "isolation.md").read_text()


def recipes() -> dict[str, list[str]]:
    """Return the TOML of each section, by its heading."""
    sections = re.split(r"^## (.+)\n", PAGE, flags=re.MULTILINE)[1:]
    found = {
        heading: re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
        for heading, text in zip(sections[::2], sections[1::2], strict=True)
    }
    return {heading: blocks for heading, blocks in found.items() if blocks}


def wrapper(heading: str, number: int = 0) -> list[str]:
    """Return the wrapper of a section's recipe."""
    agents: dict[str, Any] = tomllib.loads(recipes()[heading][number])["agents"]
    (agent,) = agents.values()
    return list(agent["wrapper"])
