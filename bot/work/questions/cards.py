"""What people see of an agent's question: its card, its modals, its end (pure).

Everything that the agent says stands as its text: quoted, with what can't be seen written out, and with signs of
Discord's own (Markdown, mentions, links) taken literally. What does not fit is in a file, in full.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from bot.reply.cards import ended
from bot.reply.port import Attachment, Body, Button
from bot.reply.sanitise import clip, code_block, in_full, inline_code, one_line, spelled, units
from bot.work.questions.form import MOST_TYPED, Choice, Field, Form, Given, Kind

MODAL_TITLE, LABEL, ABOUT, OPTION = 45, 45, 100, 100
"""Characters that Discord takes in the parts of a modal, and in each part of an option."""

_LONGEST_LINK = 512  # of a button
_LONGEST_PAGE = 1200
_MESSAGE_ROOM, _FIELDS_ROOM = 900, 600
_MOST_LINES = 25
_LINE = 300
_NAME = 60
_SHORT_TEXT = 100
_ANSWER = "Answer…"
_WHOLE = "**Only the beginning is shown; the whole question is in the file.**"

_MARKUP = re.compile(r"[\\`*_~|<\[\]@]|:(?=//|\w+:)|^[ \t]*[-+#>]", re.MULTILINE)

NOT_TAKEN = "⏹ The agent asked a question, but Discord refused to show it, so it was cancelled."
EXPIRED = "⌛ No answer in time, so the question was cancelled."
CANCELLED = "⏹ Cancelled: the turn ended before anyone answered."
COMPLETED = "✅ The agent says that this is done."


@dataclass(frozen=True, slots=True)
class ModalField:
    """A part of a modal: a text to type or, with ``options``, a menu to choose from.

    Attributes:
        custom_id: names it in what comes back.
        value: the text that stands in it, or the values of the options that are chosen at first.
        least, most: how many options are chosen; ``most`` is also the longest text.
    """

    custom_id: str
    label: str
    about: str = ""
    required: bool = False
    long: bool = False
    hint: str = ""
    value: tuple[str, ...] = ()
    options: tuple[Choice, ...] = ()
    least: int = 0
    most: int = MOST_TYPED


@dataclass(frozen=True, slots=True)
class Modal:
    """A form as Discord shows it, up to five fields of it."""

    custom_id: str
    title: str
    fields: tuple[ModalField, ...]


def literal(text: str) -> str:
    """Return an agent's text so that Discord shows it as it is, however it was meant."""
    return _MARKUP.sub(lambda sign: f"{sign.group()[:-1]}\\{sign.group()[-1]}", in_full(text))


def refused_page(url: str) -> str:
    """Return why people are not sent to a page; "" if they may be."""
    try:
        place = urlsplit(url)
        host = (place.hostname or "").encode("idna").decode()
        # Read for its error: a port that is no number shows here alone.
        _ = place.port
    except ValueError:
        return "its address can't be read"
    if place.scheme != "https":
        return "only pages with https are linked here"
    # What stands before an @ is read as the host by people, and is none.
    if not host or "@" in place.netloc:
        return "its address hides which host it is on"
    if len(url) > _LONGEST_PAGE or not url.isascii() or not url.isprintable() or re.search(r'[\s\\"<>`]', url):
        return "its address is too long or has characters that no address has"
    return ""


def form_card(
    token: str, agent: str, message: str, form: Form, *, who: str, ping: int | None, role: int | None, deadline: str
) -> Body:
    """Return the card of a form; ``who`` may answer, as Discord Markdown."""
    quoted, whole = _quoted(message, _MESSAGE_ROOM)
    lines, complete = _field_lines(form)
    head = [*_ping(ping, role), f"❓ **The agent asks**{_named(agent)}", *quoted, *lines]
    if form.left_out:
        count = len(form.left_out)
        what = (
            "1 optional field can't be asked here and stays"
            if count == 1
            else (f"{count} optional fields can't be asked here and stay")
        )
        head.append(f"-# {what} empty.")
    file = None
    if not (whole and complete):
        head.append(_WHOLE)
        file = Attachment("question.txt", in_full(_in_full(message, form)).encode("utf-8", "replace"))
    return Body("\n".join([*head, f"-# {who} may answer. {deadline}"]), _form_buttons(token, form), file, ping, role)


def page_card(
    token: str, agent: str, message: str, url: str, *, who: str, ping: int | None, role: int | None, deadline: str
) -> Body:
    """Return the card of a page that people are asked to open."""
    quoted, whole = _quoted(message, _MESSAGE_ROOM - max(0, len(url) - 300))
    # As it is looked up: letters that only look like others show as what they are.
    host = urlsplit(url).netloc.encode("idna").decode()
    head = [*_ping(ping, role), f"🔗 **The agent asks you to open a page**{_named(agent)}", *quoted]
    # In angle brackets, or Discord would fetch the page for a preview.
    head += [f"The page is on **{literal(host)}**:", f"<{url}>"]
    file = None
    if not whole:
        head.append(_WHOLE)
        file = Attachment("question.txt", in_full(message).encode("utf-8", "replace"))
    last = f"-# {who} may answer. Press Done when you have finished there. {deadline}"
    link = (Button("", clip(f"Open {host}", 80), url=url),) if len(url) <= _LONGEST_LINK else ()
    buttons = (*link, _button(token, "done", "Done", "success"), _button(token, "decline", "Decline", "secondary"))
    return Body("\n".join([*head, last]), buttons, file, ping, role)


def refused_page_card(agent: str, message: str, url: str, why: str) -> Body:
    """Return what stands in place of a page that nobody is sent to."""
    quoted, _ = _quoted(message, _MESSAGE_ROOM)
    shown = code_block(in_full(clip(url, 300)))
    head = [f"🔗 **The agent asks you to open a page**{_named(agent)}", *quoted, shown]
    return Body("\n".join([*head, f"⛔ Not linked: {why}. The question was cancelled."]))


def unaskable_card(agent: str, why: str) -> Body:
    """Return what stands in place of a question that can't be asked."""
    asked = f"⏹ The agent{_named(agent)} asked a question that can't be asked here, and was told why"
    return Body(f"{asked}: {literal(clip(why, 300))}.")


def closed(card: Body, end: str) -> Body:
    """Return a card after its end: without buttons, with ``end`` in place of who may answer."""
    return Body(ended(card.text, end), file=card.file, ping=card.ping, role=card.role)


def modal(token: str, form: Form, step: int, given: Given, wrong: Mapping[str, str]) -> Modal:
    """Return a step of a form with what was given so far, and what is wrong with it beside its field."""
    steps = form.steps
    number = f" ({step + 1} of {len(steps)})" if len(steps) > 1 else ""
    fields = tuple(_modal_field(form, field, given, wrong.get(field.key, "")) for field in steps[step])
    return Modal(f"weft:ask:{token}:{step}", f"Answer the agent{number}", fields)


def step_button(token: str, step: int, label: str) -> Button:
    """Return the button that opens a step of a form."""
    return _button(token, f"step-{step}", label, "primary")


def answered(name: str, choice: str = "") -> str:
    """Return the last line of a card that somebody answered, with the option where a button chose it."""
    what = inline_code(spelled(choice)) if choice else "Answered"
    return f"✅ {what} by {inline_code(name, _NAME)}"


def declined(name: str) -> str:
    """Return the last line of a card that somebody declined."""
    return f"⛔ Declined by {inline_code(name, _NAME)}"


def opened(name: str) -> str:
    """Return the last line of a card whose page somebody went through."""
    return f"✅ {inline_code(name, _NAME)} is done with the page"


def title_of(field: Field) -> str:
    """Return a field's title as inline code."""
    return inline_code(spelled(field.title), _NAME)


def _ping(ping: int | None, role: int | None) -> list[str]:
    return [f"<@{ping}>"] if ping is not None else [f"<@&{role}>"] if role is not None else []


def _named(agent: str) -> str:
    return f" ({inline_code(spelled(agent), _NAME)})" if agent else ""


def _button(token: str, action: str, label: str, style: str) -> Button:
    return Button(f"weft:ask:{token}:{action}", label, style)  # type: ignore[arg-type]


def _form_buttons(token: str, form: Form) -> tuple[Button, ...]:
    decline = _button(token, "decline", "Decline", "secondary")
    if not form.fields:
        return (_button(token, "done", "OK", "success"), decline)
    quick = form.quick
    if quick is None or not quick.buttoned:
        return (step_button(token, 0, _ANSWER), decline)
    options = [
        _button(token, f"pick-{number}", clip(one_line(spelled(one.name)), 80), "primary")
        for number, one in enumerate(quick.choices)
    ]
    more = [_button(token, "step-0", "Other answer…", "secondary")] if len(form.fields) > 1 else []
    return (*options, *more, decline)


def _quoted(text: str, room: int) -> tuple[list[str], bool]:
    """Return as much of a text as there is room for, as a quotation, and whether that is all."""
    # Looked at no further than it may be shown: it may have any length.
    head, shown = text[:room], [] if text.strip() else ["> …"]
    for line in literal(head.strip()).split("\n"):
        if len(shown) == _MOST_LINES:
            return shown, False
        if units(line) + 3 > room:
            return [*shown, f"> {clip(line, max(1, room - 4))}"], False
        shown.append(f"> {line}")
        room -= units(line) + 3
    return shown, len(head) == len(text)


def _field_lines(form: Form) -> tuple[list[str], bool]:
    """Return the fields in short, and whether that and the modals say all that there is to say."""
    # Typed options, and what is longer than a menu's line, stand in full in the file alone.
    complete = not any(
        one.choices and (one.typed or any(max(len(word.name), len(word.about)) > OPTION for word in one.choices))
        for one in form.fields
    )
    shown: list[str] = []
    room = _FIELDS_ROOM
    for line in _described(form):
        text = clip(literal(one_line(line[: 2 * _LINE])), _LINE)
        if len(shown) == _MOST_LINES or units(text) + 1 > room:
            return shown, False
        complete = complete and text == literal(one_line(line))
        shown.append(text)
        room -= units(text) + 1
    return shown, complete


def _described(form: Form) -> list[str]:
    """Return what the fields take, one a line; of options on buttons, what these don't say."""
    if form.quick is not None and form.quick.buttoned:
        return [f"• {one.name}: {one.about}" for one in form.quick.choices if one.about]
    lines = []
    for field in form.fields:
        words = ". ".join(one for one in (field.takes, field.about) if one)
        lines.append(f"• {field.title}{_need(field)}" + (f": {words}" if words else ""))
    return lines


def _need(field: Field) -> str:
    return " (required)" if field.required else ""


def _in_full(message: str, form: Form) -> str:
    parts = [message, ""]
    for field in form.fields:
        parts += ["", f"=== {field.title}{_need(field)} ==="]
        parts += [one for one in (field.about, field.takes) if one]
        parts += [f"- {one.name}" + (f": {one.about}" if one.about else "") for one in field.choices]
    return "\n".join(parts) + "\n"


def _modal_field(form: Form, field: Field, given: Given, wrong: str) -> ModalField:
    value = tuple(given.get(field.key, field.default))
    label = clip(one_line(spelled(field.title)) or "?", LABEL)
    about = f"⚠ {field.title} {wrong}" if wrong else field.about
    about = clip(one_line(spelled(about)), ABOUT)
    # By its number: the agent's key may be longer than Discord takes.
    custom_id = f"f{form.fields.index(field)}"
    hint = clip(one_line(spelled(field.takes)), ABOUT)
    if field.typed:
        several = field.kind is Kind.CHOICES
        most = MOST_TYPED
        if field.kind is Kind.TEXT and field.most is not None and field.most >= 1:
            # Twice, as Discord may count a sign outside the basic plane as two.
            most = min(MOST_TYPED, 2 * int(field.most))
        long = several or (field.kind is Kind.TEXT and not field.format and most > 2 * _SHORT_TEXT)
        # Discord takes no form in which a text is longer than its field.
        if units("".join(value)) > most:
            value = ()
        return ModalField(custom_id, label, about, field.required, long, hint, value, most=most)
    options = tuple(
        Choice(
            str(number), clip(one_line(spelled(one.name)) or "?", OPTION), clip(one_line(spelled(one.about)), OPTION)
        )
        for number, one in enumerate(field.choices)
    )
    many = len(options) if field.kind is Kind.CHOICES else 1
    most = min(many, int(field.most)) if field.kind is Kind.CHOICES and field.most and field.most >= 1 else many
    least = min(most, max(1, int(field.least or 1))) if field.required else 0
    return ModalField(custom_id, label, about, field.required, False, hint, value[:most], options, least, most)
