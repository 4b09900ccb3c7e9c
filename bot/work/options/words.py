"""What people, the settings and sentences call options and their values (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from acp.session_options import OFF, ON, Kind, SessionOption, Way, first_of
from bot.reply.sanitise import inline_code

Options = tuple[SessionOption, ...]

_LABELS = {Kind.MODEL: "Model", Kind.MODE: "Mode", Kind.EFFORT: "Effort"}
_SPOKEN = {"on": ON, "off": OFF, "yes": ON, "no": OFF}


def label(option: SessionOption) -> str:
    """Return how an option is called in a sentence, as Discord Markdown."""
    return _LABELS.get(option.kind) or inline_code(option.name, 60)


def shown(option: SessionOption, value: str) -> str:
    """Return how a value is called in a sentence, as Discord Markdown."""
    return inline_code(option.name_of(value), 60) if value else "not known"


def resolve(options: Options, said: Mapping[str, str]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return values by option for what the settings say by id or kind, value or name; and what is not offered."""
    found: dict[str, str] = {}
    unknown: list[tuple[str, str]] = []
    for key, wanted in said.items():
        kinds = [kind for kind in Kind if kind is not Kind.OTHER and kind == key]
        option = next((one for one in options if one.id == key), None) or (
            first_of(options, kinds[0]) if kinds else None
        )
        value = value_of(option, wanted) if option is not None else None
        if option is not None and value is not None:
            found[option.id] = value  # the later word is the nearer one: that of the channel
        elif options:
            unknown.append((key, wanted))
    return found, unknown


def value_of(option: SessionOption, said: str) -> str | None:
    """Return the value that a text stands for: itself, or the one with that name."""
    if option.offers(said):
        return said
    if option.way is Way.BOOLEAN:
        return _SPOKEN.get(said.casefold())
    folded = said.casefold().strip()
    return next((one.value for one in option.values if one.name.casefold() == folded), None)


def without_secrets(options: Options, redact: Callable[[str], str], limit: int | None = None) -> Options:
    """Return options with nothing secret in names and descriptions, which are cut to ``limit`` characters then.

    Ids and values stay: the agent has to know them again.
    """
    # Redacted before it is cut: of a secret that the cut divides, the rest would not be recognised for certain.
    texts = "\n".join([*map(_texts, options), ""])
    if redact(texts) == texts:
        redact = str  # as good as always, and then nothing has to be looked at one by one

    def clean(text: str) -> str:
        return redact(text)[:limit]

    return tuple(
        replace(
            option,
            name=clean(option.name),
            description=clean(option.description),
            values=tuple(
                replace(one, name=clean(one.name), description=clean(one.description), group=clean(one.group))
                for one in option.values
            ),
        )
        for option in options
    )


def _texts(option: SessionOption) -> str:
    values = (f"{one.name}\n{one.description}\n{one.group}" for one in option.values)
    return "\n".join([option.name, option.description, *values])
