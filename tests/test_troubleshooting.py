"""docs/troubleshooting.md: what it lists is what Weft says, and what Weft tells a person as an error is on it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from acp.errors import SpawnFailure
from bot.chat import gateway
from bot.config import EX_CONFIG, EX_SECOND_INSTANCE
from bot.model import Outcome
from bot.reply.render import HEADLINES
from bot.work.errors import LOGIN, ROWS
from tests.test_docs import CONFIGURATION

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
SPEAKING = ("fail", "warn", "leave", "ConfigError", "ServiceError", "AgentsFileError", "AddressUnusable", "Unusable")
"""What is called with a text for the person who has to mend something."""
LEAST = 5
"""Characters of a fragment, below which it would be found anywhere."""

GOES_ON = re.compile(r"\"\s*\n\s*[rf]*\"")

Message = tuple[str, ...]
"""The fragments of a message, between what differs each time."""


@cache
def listed() -> list[Message]:
    """The messages in the first columns of the tables."""
    cells = [line.split(" | ")[0] for line in PAGE.splitlines() if line.startswith("| ")]
    return [fragments(one) for cell in cells for one in re.findall(r"`([^`]+)`", cell)]


def fragments(text: str) -> Message:
    return tuple(part for one in text.split("…") if (part := one.strip(" ,:;")))


@cache
def said() -> str:
    """The sources, in which texts that go on in the next line are joined: to parse all of them takes seconds."""
    python = [path for package in ("acp", "pool", "bot") for path in (ROOT / package).rglob("*.py")]
    pages = [one for one in (ROOT / "bot/sandbox/page").rglob("*.js") if "vendor" not in one.parts]
    joined = [GOES_ON.sub("", path.read_text()) for path in python]
    return "\0".join([*joined, *(path.read_text() for path in [*(ROOT / "scripts").glob("*.sh"), *pages])])


def on_the_page(text: str) -> bool:
    return any(all(fragment in text for fragment in message) for message in listed())


def test_every_message_on_the_page_is_one_that_weft_says() -> None:
    assert len(listed()) > 300
    assert [one for message in listed() for one in message if len(one) < LEAST] == []
    assert [one for message in listed() for one in message if one not in said()] == []


def texts_for_people() -> Iterator[tuple[str, str]]:
    """What commands say of a fault, with where it is said; ``…`` for what is put in."""
    places = [*(ROOT / "bot").glob("*.py"), *(ROOT / "bot/ops").rglob("*.py")]
    places += [path for name in ("agents", "service", "setup") for path in (ROOT / "bot" / name).glob("*.py")]
    for path in places:
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in SPEAKING:
                for text in filter(None, map(written, call.args)):
                    yield path.name, text


def written(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(one.value) if isinstance(one, ast.Constant) else "…" for one in node.values)
    return ""


def test_every_fault_that_a_command_tells_is_on_the_page() -> None:
    """The doctor's findings, and what ends a command with 78: a new one takes a row."""
    found = [one for one in texts_for_people() if one[1].count(" ") > 2]
    assert len(found) > 70
    assert [one for one in found if not on_the_page(one[1])] == []


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param([one.value for one in SpawnFailure], id="why no agent starts"),
        pytest.param([*gateway._FATAL_CLOSES.values(), gateway._LOGIN_REFUSED, gateway._INTENTS], id="Discord's noes"),
        pytest.param([row.advice for row in ROWS.values() if row.advice not in ("", LOGIN)], id="errors of agents"),
        pytest.param(
            re.findall(r'^    \[\d+, "(.+)"\],$', (ROOT / "bot/sandbox/page/wording.js").read_text(), re.MULTILINE),
            id="the page",
        ),
        pytest.param(re.findall(r'die "([^"]+)"', (ROOT / "scripts/venv.sh").read_text()), id="installing"),
    ],
)
def test_every_reason_of_a_kind_is_on_the_page(texts: list[str]) -> None:
    assert texts
    assert [text for text in texts if not on_the_page(text)] == []


def test_every_outcome_and_every_exit_code_is_on_the_page() -> None:
    """O1"""
    outcomes = re.findall(r"^\| `([^`]+)` \| `([a-z_]+)` \|", PAGE, re.MULTILINE)
    assert {(shown, word) for shown, word in outcomes} == {(HEADLINES[one], one.value) for one in Outcome}
    codes = re.findall(r"^\| ([0-9]+) \|", PAGE, re.MULTILINE)
    assert codes == [one for one in re.findall(r"^\| ([0-9]+) \|", CONFIGURATION, re.MULTILINE) if one != "0"]
    assert {str(EX_CONFIG), str(EX_SECOND_INSTANCE)} < set(codes)
