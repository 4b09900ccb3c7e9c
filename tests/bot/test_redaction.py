"""What is recognised as a secret, whole or cut, and what is left as it is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acp.schema import ToolCallUpdate
from bot.redaction import Redactor
from bot.reply.cards import permission_card
from bot.reply.sanitise import inline_code
from bot.reply.split import take

SECRET = "canary-0123456789"


def test_a_secret_is_cut_out_of_nested_values() -> None:
    event = {"event": f"x {SECRET}", "deep": {"list": [SECRET, 3]}, "error": ValueError(SECRET)}
    assert SECRET not in str(Redactor([SECRET])(None, "info", event))


def test_the_longer_of_two_secrets_is_cut_out_whole() -> None:
    assert Redactor([SECRET, SECRET + "-long"]).text(f"<{SECRET}-long>") == "<[secret]>"


def test_very_short_values_are_no_secrets() -> None:
    assert Redactor(["a", ""]).text("a banana") == "a banana"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"Bearer {SECRET[:12]}…", "Bearer [secret]…"),
        (f"`{SECRET[:-1]}` and `{SECRET[:9]}…`", "`[secret]` and `[secret]…`"),
        (f"{SECRET[3:]} and more", "[secret] and more"),
        (f"…{SECRET[-8:]}\n{SECRET[:8]}", "…[secret]\n[secret]"),
        (f"a {SECRET[:9]}xyz", f"a {SECRET[:9]}xyz"),
        (f"{SECRET[:7]}…", f"{SECRET[:7]}…"),
    ],
)
def test_what_a_limit_has_left_of_a_secret_is_cut_out_as_well(text: str, left: str) -> None:
    """R5: titles and last lines are shortened, and long texts split, before they are cleaned; no text grows."""
    assert Redactor([SECRET]).text(text) == left
    assert len(left) <= len(text)


def test_a_secret_is_cut_out_of_a_card_that_shows_it_as_json() -> None:
    """R5, D6: quotes, backslashes and line ends are written otherwise there."""
    key = '-----BEGIN KEY-----\n{"a": "b\\c"}\n'
    call = ToolCallUpdate.parse({"toolCallId": "t", "rawInput": {"env": {"KEY": key, "MORE": "x" * 900}}})
    body, redactor = permission_card("t", call, (), who="<@7>"), Redactor([key])
    assert body.file is not None
    for shown in (redactor.text(body.text), redactor.data(body.file.data).decode()):
        assert '"KEY": "[secret]"' in shown


@pytest.mark.parametrize("length", range(20, 100, 7))
def test_no_length_of_a_title_lets_a_part_of_a_secret_through(length: int) -> None:
    """R5"""
    shown = Redactor([SECRET]).text(inline_code("x" * length + SECRET + "y", 80))
    assert SECRET[:8] not in shown


@pytest.mark.parametrize("size", [1, 3, 7, len(SECRET), 64])
def test_a_secret_is_cut_out_of_a_file_wherever_its_pieces_end(size: int) -> None:
    """R5, F7: in pieces of any size, and of bytes that are no text."""
    content = b"\xff\0" + SECRET.encode() * 2 + b"ab" * 40 + SECRET.encode()[:9] + b"\xfe" + SECRET.encode()
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    cut = b"".join(Redactor([SECRET, "another secret"]).stream(pieces))
    assert cut == content.replace(SECRET.encode(), b"[secret]")
    assert b"".join(Redactor().stream(pieces)) == content


@pytest.mark.parametrize("size", [1, 5, 11, 13, 100])
def test_a_secret_that_holds_another_is_cut_out_of_a_file_as_a_whole(size: int) -> None:
    """R5, F7: the shorter one must not break the longer one while its end is still to come."""
    content = b"x" * 7 + b"user:password@host" + b"y" * 40 + b"password"
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    cut = b"".join(Redactor(["user:password@host", "password"]).stream(pieces))
    assert cut == b"x" * 7 + b"[secret]" + b"y" * 40 + b"[secret]"


SIGNS = "abcXYZ019_*~`-.+/=:#>"
PLACES = ("a {} b", "# {}", "- {} and", "> {}", "**{}**", "`{}`", "```\n{}\n```", "| a | b |\n|---|---|\n| {} | c |\n")


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text(SIGNS, min_size=12, max_size=40), st.sampled_from(PLACES), st.integers(0, 60))
def test_no_conversion_for_discord_lets_a_secret_through(secret: str, place: str, cut: int) -> None:
    """R5, V4: what is escaped, set in a table or made bold is recognised as well, also at the end of a page."""
    text = place.format(secret)
    redact = Redactor([secret]).text
    shown = redact(take(text[: len(text) - cut], redact=redact).shown)
    read = shown.translate({ord("\\"): None, 0x200B: None})
    assert secret[:9] not in read or secret[:8] * 2 in secret


def test_a_secret_that_is_added_later_is_cut_out_as_well() -> None:
    """R5, M1: of a token that begins with one, what is left is worth nothing."""
    redactor = Redactor(["a-long-secret"])
    redactor.add(["key-of-all-tokens"])
    assert redactor.text("key-of-all-tokens1234 a-long-secret") == "[secret]1234 [secret]"
