"""What a permission request asks for."""

from __future__ import annotations

from typing import Any

import pytest

from bot.reply.request_detail import command_in, json_text


@pytest.mark.parametrize(
    ("raw_input", "command"),
    [
        ({"command": "ls -l"}, "ls -l"),
        ({"command": ["bash", "-lc", "echo 'a b'"]}, """bash -lc 'echo '"'"'a b'"'"''"""),
        ({"cmd": "make"}, "make"),
        ({"command": ""}, None),
        ({"command": 5}, None),
        ("ls", None),
        (None, None),
    ],
)
def test_the_command_is_found_in_what_agents_send(raw_input: Any, command: str | None) -> None:
    """D6"""
    found = command_in(raw_input)
    assert (found[1] if found else None) == command


def test_an_input_without_a_command_is_shown_as_json() -> None:
    assert json_text({"url": "http://é"}) == '{\n  "url": "http://é"\n}'
    assert json_text({}) == json_text(None) == ""


def test_json_says_which_control_characters_a_text_holds_and_which_escapes_it_spells() -> None:
    """D6"""
    assert json_text(["\x1b\r\b", "\\u001b\\r"]) == '[\n  "<U+001B><U+000D><U+0008>",\n  "\\\\u001b\\\\r"\n]'
    assert json_text([10**30, "\ud83d", "\x1b", {5: None}]) == f'[{10**30}, "\ud83d", "<U+001B>", {{"5": null}}]'
