"""A form that an agent asks people to fill in: its fields, its steps, and which answers it takes (pure).

Source: the restricted JSON schema of the Agent Client Protocol's elicitation: a flat object of texts, numbers, booleans
and choices. The schema is an agent's, so nothing of it is run: references are not followed, and patterns are shown to
people but not tried, since an expression can be made to take for ever. What cannot be asked is refused with the reason.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import Enum, auto
from typing import Any
from urllib.parse import urlsplit

from bot.reply.request_detail import is_short_line

Given = Mapping[str, Sequence[str]]
"""What a person typed or chose, by the key of the field: one text, or the numbers of choices."""

IN_A_STEP = 5
"""Fields that Discord takes in one modal."""

MOST_TYPED = 4000
MOST_CHOICES = 25
"""Characters of a text, and options of a menu: Discord's limits."""

MOST_BUTTONS = 5
_MOST_FIELDS = 25
_MOST_OPTIONS = 500
_LARGEST = 128 * 1024
_BUTTON_LIMIT = 80
_LONGEST_NUMBER = 40
_LARGEST_INTEGER = 2**53  # beyond, agents that read numbers as doubles get another one

YES, NO = "0", "1"

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATE_TIME = re.compile(
    _DATE.pattern + r"[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")

FORMATS = {
    "email": "an e-mail address",
    "uri": "an address such as https://example.org",
    "date": "a date such as 2026-01-31",
    "date-time": "a time such as 2026-01-31T09:30:00Z",
}
"""What people read about a format; others are not checked."""


class Kind(Enum):
    """What a field takes."""

    TEXT = auto()
    NUMBER = auto()
    INTEGER = auto()
    YES_NO = auto()
    CHOICE = auto()
    CHOICES = auto()


class Unaskable(ValueError):
    """A form can't be asked; the text says why, for the agent."""


class Wrong(ValueError):
    """An answer is none that a field takes; the text says why, for people, and goes on from the field's name."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a field's options: what the agent gets for it, and what people read."""

    value: str
    name: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a form.

    Attributes:
        default: what stands in it at first, as `Given` has it.
        least, most: characters of a text, size of a number, or how many choices; None: any.
        format: a key of `FORMATS`, or "".
        pattern: an expression that the agent wants texts to match; only shown.
    """

    key: str
    kind: Kind
    title: str
    about: str = ""
    required: bool = False
    default: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    format: str = ""
    pattern: str = ""
    choices: tuple[Choice, ...] = ()

    @property
    def typed(self) -> bool:
        """Whether it is filled in by typing: a menu holds only so many choices."""
        return not self.choices or len(self.choices) > MOST_CHOICES

    @property
    def buttoned(self) -> bool:
        """Whether its options fit on buttons."""
        few = 0 < len(self.choices) <= MOST_BUTTONS
        return few and all(is_short_line(one.name, _BUTTON_LIMIT) for one in self.choices)

    @property
    def takes(self) -> str:
        """What people read about what it takes; "" if there is nothing to say."""
        if self.choices:
            several = _bounds(self.least, self.most) or "any" if self.kind is Kind.CHOICES else "one"
            return f"{several} of {_counted(len(self.choices), 'option')}"
        if self.kind is Kind.TEXT:
            length = _bounds(self.least or None, self.most)
            length = length and f"{length} character{'' if (self.most or self.least) == 1 else 's'}"
            match = f"matching {self.pattern}" if self.pattern else ""
            return ", ".join(one for one in (FORMATS.get(self.format, ""), length, match) if one)
        number = {Kind.INTEGER: "a whole number", Kind.NUMBER: "a number"}.get(self.kind, "")
        bounds = _bounds(self.least, self.most)
        # "a number from 1 to 9", but "a number at least 1"
        return f"{number} {'from ' if ' to ' in bounds else ''}{bounds}".strip()

    def read(self, given: Sequence[str]) -> Any:
        """Return the value for the agent; None: it stays empty.

        Raises:
            Wrong: it takes no such answer.
        """
        # A field that is left empty has no answer, and not an empty one.
        given = [one for one in given if one]
        if not given:
            if self.required:
                raise Wrong("needs an answer")
            return None
        match self.kind:
            case Kind.YES_NO:
                return given[0] == YES
            case Kind.CHOICE:
                return self._chosen(given)[0]
            case Kind.CHOICES:
                chosen = self._chosen(given)
                if self.least is not None and len(chosen) < self.least:
                    raise Wrong(f"needs at least {_counted(self.least, 'option')}")
                if self.most is not None and len(chosen) > self.most:
                    raise Wrong(f"takes at most {_counted(self.most, 'option')}")
                return chosen
            case Kind.TEXT:
                return self._text(given[0])
        return self._number(given[0].strip())

    def _chosen(self, given: Sequence[str]) -> list[str]:
        if not self.typed:
            numbers = [int(one) for one in given if one.isascii() and one.isdecimal()]
            chosen = [self.choices[number].value for number in numbers if number < len(self.choices)]
            if not chosen:
                raise Wrong("has no such option")
            return [*dict.fromkeys(chosen)]
        # One a line where several are wanted: names may hold any other sign.
        wanted = given[0].split("\n") if self.kind is Kind.CHOICES else [given[0]]
        known = {name.strip().casefold(): one.value for one in self.choices for name in (one.name, one.value)}
        chosen = []
        for name in (one.strip() for one in wanted if one.strip()):
            if name.casefold() not in known:
                raise Wrong(f"has no option {_quoted(name)}")
            if known[name.casefold()] not in chosen:
                chosen.append(known[name.casefold()])
        if not chosen:
            raise Wrong("needs an answer")
        return chosen

    def _text(self, text: str) -> str:
        # The pattern is not tried: an agent's expression can be made to take for ever.
        if self.least is not None and len(text) < self.least:
            raise Wrong(f"needs at least {_counted(self.least, 'character')} and has {len(text)}")
        if self.most is not None and len(text) > self.most:
            raise Wrong(f"takes at most {_counted(self.most, 'character')} and has {len(text)}")
        if self.format in FORMATS and not _has_format(text, self.format):
            raise Wrong(f"takes {FORMATS[self.format]}")
        return text

    def _number(self, text: str) -> int | float:
        whole = self.kind is Kind.INTEGER
        if len(text) > _LONGEST_NUMBER or not (_INTEGER if whole else _NUMBER).fullmatch(text):
            raise Wrong(f"takes a {'whole ' if whole else ''}number, not {_quoted(text)}")
        # What was typed as a whole number is sent as one: 8080 and not 8080.0.
        number: int | float = int(text) if _INTEGER.fullmatch(text) else float(text)
        if not math.isfinite(number) or (isinstance(number, int) and abs(number) > _LARGEST_INTEGER):
            raise Wrong(f"takes no number as large as {_quoted(text)}")
        if self.least is not None and number < self.least:
            raise Wrong(f"must be at least {_written(self.least)}")
        if self.most is not None and number > self.most:
            raise Wrong(f"must be at most {_written(self.most)}")
        return number


@dataclass(frozen=True, slots=True)
class Form:
    """What an agent asks for.

    Attributes:
        left_out: titles of fields that nobody has to fill in and that can't be asked here.
    """

    fields: tuple[Field, ...]
    left_out: tuple[str, ...] = ()

    @property
    def steps(self) -> tuple[tuple[Field, ...], ...]:
        """The fields by modals, as evenly as it goes."""
        count = max(1, math.ceil(len(self.fields) / IN_A_STEP))
        size = math.ceil(len(self.fields) / count)
        # Without fields there is no step; the size would be none either.
        return tuple(self.fields[start : start + size] for start in range(0, len(self.fields), size or 1))

    @property
    def quick(self) -> Field | None:
        """The one choice that answers the question by itself, the other fields being nobody's duty; None: none does."""
        choices = [one for one in self.fields if one.kind in (Kind.CHOICE, Kind.YES_NO, Kind.CHOICES)]
        if len(choices) != 1 or choices[0].kind is Kind.CHOICES or choices[0].typed:
            return None
        return None if any(one.required for one in self.fields if one is not choices[0]) else choices[0]

    def read(self, given: Given, fields: Sequence[Field] | None = None) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the content for the agent, and by key what is wrong with ``fields``, of all if None."""
        content: dict[str, Any] = {}
        wrong: dict[str, str] = {}
        for field in self.fields if fields is None else fields:
            try:
                value = field.read(given.get(field.key, ()))
            except Wrong as exc:
                wrong[field.key] = str(exc)
            else:
                if value is not None:
                    content[field.key] = value
        return content, wrong


def read_form(schema: Mapping[str, Any]) -> Form:
    """Return the form that a schema describes.

    Raises:
        Unaskable: it can't be asked; of optional fields for which that holds, only those are left out.
    """
    # First, as it bounds all that is read below.
    if _is_larger(schema, _LARGEST):
        raise Unaskable(f"the requestedSchema is larger than {_LARGEST:,} bytes")
    properties, required = schema.get("properties", {}), schema.get("required") or []
    if schema.get("type", "object") != "object" or not isinstance(properties, dict) or not isinstance(required, list):
        raise Unaskable("the requestedSchema is not an object with properties")
    if len(properties) > _MOST_FIELDS:
        raise Unaskable(f"the form has {len(properties):,} fields and may have {_MOST_FIELDS}")
    if unknown := [key for key in required if not isinstance(key, str) or key not in properties]:
        raise Unaskable(f"the form requires fields that it does not describe: {unknown[0]!r}")
    fields, left_out = [], []
    for key, described in properties.items():
        try:
            fields.append(_field(key, described, required=key in required))
        except Unaskable as exc:
            if key in required:
                raise Unaskable(f"the field {key!r} can't be asked: {exc}") from None
            title = described.get("title") if isinstance(described, dict) else None
            left_out.append(title if isinstance(title, str) and title.strip() else key)
    return Form(tuple(fields), tuple(left_out))


def without_secrets(form: Form, redact: Callable[[str], str]) -> Form:
    """Return a form with secrets taken out of what people read; what the agent gets stays as it is.

    Before anything of it is cut: the rest of a cut secret would not be recognised.
    """

    def shown(field: Field) -> Field:
        choices = tuple(replace(one, name=redact(one.name), about=redact(one.about)) for one in field.choices)
        default = tuple(map(redact, field.default))
        return replace(field, title=redact(field.title), about=redact(field.about), choices=choices, default=default)

    return replace(form, fields=tuple(map(shown, form.fields)), left_out=tuple(map(redact, form.left_out)))


def _field(key: str, described: Any, *, required: bool) -> Field:
    if not isinstance(described, dict):
        raise Unaskable("it is not described by an object")
    named = described.get("type", "string" if {"enum", "oneOf"} & described.keys() else None)
    kinds = {"string": Kind.TEXT, "number": Kind.NUMBER, "integer": Kind.INTEGER, "boolean": Kind.YES_NO}
    kind = Kind.CHOICES if named == "array" else kinds.get(named) if isinstance(named, str) else None
    # A reference is not followed: it may lead anywhere, and in a circle.
    if kind is None or "$ref" in described:
        raise Unaskable("only texts, numbers, booleans and choices can be asked")
    choices: tuple[Choice, ...] = ()
    least, most = _number(described, "minimum"), _number(described, "maximum")
    if kind is Kind.CHOICES:
        items = described.get("items")
        choices = _choices(items if isinstance(items, dict) else {}, "anyOf", "oneOf")
        least, most = _number(described, "minItems"), _number(described, "maxItems")
        if not choices:
            raise Unaskable("its items have no options")
    elif kind is Kind.TEXT and {"enum", "oneOf"} & described.keys():
        kind, choices, least, most = Kind.CHOICE, _choices(described, "oneOf"), None, None
        if not choices:
            raise Unaskable("it has no options")
    elif kind is Kind.TEXT:
        least, most = _number(described, "minLength"), _number(described, "maxLength")
        if least is not None and least > MOST_TYPED:
            raise Unaskable(f"nobody can type more than {MOST_TYPED:,} characters here")
    elif kind is Kind.YES_NO:
        least = most = None
        choices = (Choice(YES, "Yes"), Choice(NO, "No"))
    if kind in (Kind.CHOICE, Kind.CHOICES) and len(choices) > _MOST_OPTIONS:
        raise Unaskable(f"it has {len(choices):,} options and may have {_MOST_OPTIONS}")
    text = kind is Kind.TEXT
    field = Field(
        key=key,
        kind=kind,
        title=_words(described, "title") or key or "(unnamed)",
        about=_words(described, "description"),
        required=required,
        least=least,
        most=most,
        format=_words(described, "format") if text else "",
        pattern=_words(described, "pattern") if text else "",
        choices=choices,
    )
    return _with_default(field, described.get("default"))


def _with_default(field: Field, default: Any) -> Field:
    """Return the field as it is filled in at first; a default that it can't have is none."""
    given: tuple[str, ...] = ()
    if field.kind is Kind.YES_NO:
        given = (YES if default else NO,) if isinstance(default, bool) else ()
    elif field.choices:
        wanted = default if isinstance(default, list) else [default]
        chosen = [number for number, one in enumerate(field.choices) if one.value in wanted]
        chosen = chosen if field.kind is Kind.CHOICES else chosen[:1]
        given = tuple(str(number) for number in chosen)
        if field.typed:
            given = ("\n".join(field.choices[number].name for number in chosen),) if chosen else ()
    elif isinstance(default, str) and field.kind is Kind.TEXT:
        given = (default,)
    # A boolean is a number in Python, and to nobody else.
    elif isinstance(default, int | float) and not isinstance(default, bool) and field.kind is not Kind.TEXT:
        given = (str(default),)
    if any(len(one) > MOST_TYPED for one in given):
        given = ()  # half of it would look like all of it
    return replace(field, default=given)


def _choices(described: Mapping[str, Any], *titled: str) -> tuple[Choice, ...]:
    """Return the options, with titles where the schema has them; what is no option is dropped."""
    found: dict[str, Choice] = {}
    for word in titled:
        options = described.get(word)
        for one in options if isinstance(options, list) else ():
            value = one.get("const") if isinstance(one, dict) else None
            if isinstance(value, str):
                found.setdefault(value, Choice(value, _words(one, "title") or value, _words(one, "description")))
    values, names = described.get("enum"), described.get("enumNames")
    for number, value in enumerate(values if isinstance(values, list) and not found else ()):
        # The names are of the Model Context Protocol's first version, which agents pass on as it came.
        name = names[number] if isinstance(names, list) and number < len(names) else value
        if isinstance(value, str):
            found.setdefault(value, Choice(value, name if isinstance(name, str) and name.strip() else value))
    return tuple(found.values())


def _words(described: Mapping[str, Any], key: str) -> str:
    value = described.get(key)
    return value.strip() if isinstance(value, str) else ""


def _number(described: Mapping[str, Any], key: str) -> float | None:
    value = described.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _bounds(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return _written(least) if least == most else f"{_written(least)} to {_written(most)}"
    if least is not None:
        return f"at least {_written(least)}"
    return f"at most {_written(most)}" if most is not None else ""


def _written(number: float) -> str:
    """Return a number as people write it: without a point if it is whole."""
    return str(int(number)) if float(number).is_integer() and abs(number) < _LARGEST_INTEGER else str(number)


def _counted(number: float, thing: str) -> str:
    return f"{_written(number)} {thing}{'' if number == 1 else 's'}"


def _quoted(text: str) -> str:
    return f"'{text[:40]}…'" if len(text) > 40 else f"'{text}'"


def _has_format(text: str, name: str) -> bool:
    try:
        # Both: the parser alone takes other forms as well, such as 20260131.
        if name == "date":
            return bool(_DATE.fullmatch(text) and date.fromisoformat(text))
        if name == "date-time":
            return bool(_DATE_TIME.fullmatch(text) and datetime.fromisoformat(text.upper()))
        if name == "email":
            return bool(_EMAIL.fullmatch(text))
        place = urlsplit(text)
        return bool(place.scheme and (place.netloc or place.path)) and not re.search(r"\s", text)
    except ValueError:
        return False


def _is_larger(value: Any, most: int) -> bool:
    """Return whether a JSON value has more than about ``most`` bytes."""
    size, todo = 0, [value]
    # No recursion: it may be of any depth.
    while todo and size <= most:
        item = todo.pop()
        size += len(item) if isinstance(item, str) else 8
        if isinstance(item, dict):
            todo += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            todo += item
    return size > most
