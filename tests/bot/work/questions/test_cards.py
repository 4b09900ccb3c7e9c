"""What people see of a question: nothing of the agent's text has an effect, and nothing is missing in silence (C6)."""

from __future__ import annotations

from typing import Any

import pytest

from bot.reply.port import Body
from bot.reply.sanitise import units
from bot.work.questions import cards as question_cards
from bot.work.questions.cards import LABEL, ModalField, form_card, literal, modal, page_card, refused_page
from bot.work.questions.form import Form, read_form, without_secrets


def form(required: tuple[str, ...] = (), **properties: Any) -> Form:
    return read_form({"properties": properties, "required": list(required)})


def card(asked: Form, message: str = "Which?") -> Body:
    return form_card("tok", "claude", message, asked, who="<@7>", ping=7, role=None, deadline="Soon it is cancelled.")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("**a** _b_ ~c~ `d` |e| [f](g)", "\\*\\*a\\*\\* \\_b\\_ \\~c\\~ \\`d\\` \\|e\\| \\[f\\](g)"),
        ("# a\n- b\n> c\n-# d\n+ e", "\\# a\n\\- b\n\\> c\n\\-# d\n\\+ e"),
        ("<@1> @everyone <#2> <t:1>", "\\<@1> \\@everyone \\<#2> \\<t:1>".replace("<@", "<\\@")),
        ("https://a.org :smile: 10:30", "https\\://a.org \\:smile: 10:30"),
        ("\\* a\u202eb\x1b[31m", "\\\\\\* a<U+202E>b<U+001B>\\[31m".replace("<U", "\\<U")),
        ("read-only: yes", "read-only: yes"),
    ],
)
def test_what_an_agent_says_is_taken_literally(said: str, shown: str) -> None:
    assert literal(said) == shown


def test_a_card_quotes_the_message_and_names_the_fields() -> None:
    asked = form(
        ("port",),
        port={"type": "integer", "title": "Port", "minimum": 1, "maximum": 9, "description": "to listen on"},
        note={"type": "string"},
        odd={"type": "object"},
    )
    shown = card(asked, "Which?\nNow, please.")
    assert shown.text.splitlines() == [
        "<@7>",
        "❓ **The agent asks** (`claude`)",
        "> Which?",
        "> Now, please.",
        "• Port (required): a whole number from 1 to 9. to listen on",
        "• note",
        "-# 1 optional field can't be asked here and stays empty.",
        "-# <@7> may answer. Soon it is cancelled.",
    ]
    assert [(one.custom_id, one.label) for one in shown.buttons] == [
        ("weft:ask:tok:step-0", "Answer…"),
        ("weft:ask:tok:decline", "Decline"),
    ]
    assert (shown.ping, shown.file) == (7, None)
    closed = question_cards.closed(shown, "Over.")
    assert (closed.text.splitlines()[-1], closed.buttons) == ("Over.", ())


def test_a_question_without_fields_is_a_yes_or_no() -> None:
    assert [(one.custom_id, one.label) for one in card(form()).buttons] == [
        ("weft:ask:tok:done", "OK"),
        ("weft:ask:tok:decline", "Decline"),
    ]
    assert [one.label for one in card(form(sure={"type": "boolean"})).buttons] == ["Yes", "No", "Decline"]


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        ("x" * 901, form()),
        ("line\n" * 26, form()),
        ("\\" * 500, form()),
        ("m", read_form({"properties": {name: {"type": "string", "description": "d" * 200} for name in "abcde"}})),
        ("m", form(a={"type": "string", "description": "d" * 301})),
        ("m", form(a={"enum": [f"option {number}" for number in range(30)]})),
        ("m", form(a={"oneOf": [{"const": "a", "title": "t" * 101}, {"const": "b"}]})),
    ],
)
def test_what_has_no_room_is_in_the_file(message: str, asked: Form) -> None:
    shown = card(asked, message)
    assert units(shown.text) <= 2000
    assert "the whole question is in the file" in shown.text
    assert shown.file is not None
    told = shown.file.data.decode()
    assert message.strip() in told
    for field in asked.fields:
        assert all(part in told for part in (field.title, field.about, *(one.name for one in field.choices)))


@pytest.mark.parametrize("sign", ["\\", "\u202e", "😀", "`", "\n", "x\n"])
def test_a_card_fits_whatever_is_said(sign: str) -> None:
    huge = {"type": "string", "title": sign * 3000, "description": sign * 3000}
    asked = form(("a",), a=huge, b={**huge, "enum": [sign * 3000 + "1", "2"]})
    assert units(card(asked, sign * 60_000).text) <= 2000
    for given in ({}, {"a": (sign * 4000,)}):
        for part in modal("tok", asked, 0, given, {"a": sign * 3000}).fields:
            assert 0 < units(part.label) <= LABEL
            assert units(part.about) <= 100
            assert units(part.hint) <= 100
            assert units("".join(part.value)) <= part.most or part.options
            assert all(0 < units(one.name) <= 100 and units(one.about) <= 100 for one in part.options)


def fields(asked: Form, step: int = 0, **given: tuple[str, ...]) -> list[ModalField]:
    return list(modal("tok", asked, step, given, {}).fields)


def test_a_modal_has_the_fields_of_its_step_with_what_was_given() -> None:
    asked = form(
        ("name", "tags"),
        name={"type": "string", "title": "Name", "maxLength": 10, "default": "main"},
        text={"type": "string", "description": "anything"},
        sure={"type": "boolean", "default": True},
        tags={"type": "array", "items": {"enum": list("abc")}, "maxItems": 2},
        many={"enum": [str(number) for number in range(30)]},
        last={"type": "integer"},
    )
    first, second = modal("tok", asked, 0, {}, {}), modal("tok", asked, 1, {}, {})
    assert (first.custom_id, first.title) == ("weft:ask:tok:0", "Answer the agent (1 of 2)")
    assert [one.custom_id for one in (*first.fields, *second.fields)] == [f"f{number}" for number in range(6)]
    name, text, sure, tags, many, last = (*fields(asked, text=("so far",)), *fields(asked, 1))
    assert (name.value, name.most, name.long, name.required) == (("main",), 20, False, True)
    assert (text.value, text.about, text.long, text.most) == (("so far",), "anything", True, 4000)
    assert ([one.name for one in sure.options], sure.value, sure.least, sure.most) == (["Yes", "No"], ("0",), 0, 1)
    assert (tags.least, tags.most, tags.required) == (1, 2, True)
    assert (many.options, many.long, many.hint) == ((), False, "one of 30 options")
    assert (last.hint, last.required) == ("a whole number", False)
    assert modal("tok", form(a={"type": "string"}), 0, {}, {}).title == "Answer the agent"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://example.org", ""),
        ("https://example.org:8443/a?b=c#d", ""),
        ("https://bücher.example/", "its address is too long or has characters that no address has"),
        ("https://xn--bcher-kva.example/", ""),
        ("http://example.org", "only pages with https are linked here"),
        ("http://localhost:1234/", "only pages with https are linked here"),
        ("javascript:alert(1)", "only pages with https are linked here"),
        ("file:///etc/passwd", "only pages with https are linked here"),
        ("https://github.com@evil.example/", "its address hides which host it is on"),
        ("https:///login", "its address hides which host it is on"),
        ("https://[1/", "its address can't be read"),
        ("https://example.org:x/", "its address can't be read"),
        (f"https://{'a' * 64}.org/", "its address can't be read"),
        ("https://example.org/\nb", "its address is too long or has characters that no address has"),
        (
            "https://example.org/> <https://evil.example",
            "its address is too long or has characters that no address has",
        ),
        ("https://example.org\\@evil.example/", "its address hides which host it is on"),
        (f"https://example.org/{'a' * 1200}", "its address is too long or has characters that no address has"),
    ],
)
def test_people_are_sent_only_to_plain_https_pages(url: str, why: str) -> None:
    assert refused_page(url) == why


@pytest.mark.parametrize(("length", "linked"), [(100, True), (512, True), (513, False), (1200, False)])
def test_a_page_is_linked_and_its_address_stands_in_full(length: int, linked: bool) -> None:
    url = "https://example.org/".ljust(length, "a")
    shown = page_card("tok", "", "Log in.\n" * 2000, url, who="<@7>", ping=None, role=5, deadline="Soon.")
    assert units(shown.text) <= 2000
    assert "The page is on **example.org**:" in shown.text
    assert f"<{url}>" in shown.text
    assert [one.label for one in shown.buttons] == [*(["Open example.org"] if linked else []), "Done", "Decline"]
    assert (shown.buttons[0].url == url) is linked
    assert shown.file is not None


def test_what_is_cut_shows_no_part_of_a_secret() -> None:
    """R5, C6: nor is a value changed that the agent gets."""
    secret = "sk-0123456789abcdef"
    for room in range(LABEL + 60):
        said = f"{'x' * room} {secret}"
        asked = form(a={"type": "string", "title": said, "description": said, "default": said}, b={"enum": [said, "z"]})
        clean = without_secrets(asked, lambda text: text.replace(secret, "█"))
        assert "sk-" not in repr(modal("tok", clean, 0, {}, {}))
        assert "sk-" not in card(clean).text
        assert clean.read({"b": ("0",)})[0] == {"b": said}
