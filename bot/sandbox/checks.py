"""What Discord refuses in a request's body: pure functions from a body to a checked value.

Lengths of text are counted in UTF-16 units, the strictest reading of Discord's limit.
"""

import re
from collections import Counter
from collections.abc import Iterator

from bot.sandbox.errors import DiscordError, InvalidForm
from bot.sandbox.model import Json, MessageFlags

MAX_CONTENT = 2000
MAX_NONCE = 25
MAX_CUSTOM_ID = 100
MAX_LABEL = 80
MAX_ROWS = 5
MAX_IN_ROW = 5
MAX_COMPONENTS = 40
MAX_V2_TEXT = 4000
MAX_EMBEDS = 10
MAX_EMBED_TEXT = 6000
MAX_THREAD_NAME = 100
MAX_COMMANDS = 100
MAX_CHOICES = 25
MAX_OPTION = 100
MAX_APPLIED_TAGS = 5
AUTO_ARCHIVE_MINUTES = frozenset({60, 1440, 4320, 10080})

ACTION_ROW, BUTTON, TEXT_DISPLAY, CONTAINER = 1, 2, 10, 17
STRING_SELECT = 3
SELECTS = frozenset({STRING_SELECT, 5, 6, 7, 8})
LINK_STYLE, PREMIUM_STYLE = 5, 6
_V2_ONLY = frozenset({9, 10, 11, 12, 13, 14, 17})
MAX_EMOJI = 32
_SERVER_EMOJI = re.compile(r"\w{2,32}:[0-9]{5,20}", re.ASCII)
_SUB_COMMANDS = frozenset({1, 2})
_COMMAND_NAME = re.compile(r"[-_'\w]{1,32}")
_EMBED_LIMITS = {"title": 256, "description": 4096}


def utf16_length(text: str) -> int:
    """The length in UTF-16 code units."""
    # Halves of surrogate pairs too: JSON can hold them, so they must not break the count.
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def check_content(content: object, path: str = "content") -> str:
    """The message text; None counts as empty."""
    if content is None:
        return ""
    if not isinstance(content, str):
        raise InvalidForm(path, "Must be a string.")
    if utf16_length(content) > MAX_CONTENT:
        raise InvalidForm(path, f"Must be {MAX_CONTENT} or fewer in length.", "BASE_TYPE_MAX_LENGTH")
    return content


def check_nonce(nonce: object) -> str | int | None:
    """A nonce of up to 25 characters or digits."""
    if nonce is None:
        return None
    # A bool is an int in Python, and none in JSON.
    if not isinstance(nonce, int | str) or isinstance(nonce, bool) or len(str(nonce)) > MAX_NONCE:
        raise InvalidForm("nonce", f"Must be {MAX_NONCE} or fewer in length.", "NONCE_TYPE_STRING_TOO_LONG")
    return nonce


def walk(components: list[Json]) -> Iterator[Json]:
    """Every component, containers before what they hold."""
    for component in components:
        yield component
        yield from walk(component.get("components") or [])
        if isinstance(component.get("accessory"), dict):
            yield from walk([component["accessory"]])


def check_components(value: object, flags: int) -> list[Json]:
    """The component tree of a message."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidForm("components", "Only iterables may be used in a ListType.")
    if flags & MessageFlags.COMPONENTS_V2:
        _check_v2(value)
    else:
        _check_rows(value)
    for component in walk(value):
        _check_component(component)
    _check_unique_ids(value)
    return value


def _check_rows(rows: list[Json]) -> None:
    if len(rows) > MAX_ROWS:
        raise InvalidForm("components", f"Must be {MAX_ROWS} or fewer in length.", "BASE_TYPE_BAD_LENGTH")
    for index, row in enumerate(rows):
        if row.get("type") != ACTION_ROW:
            raise InvalidForm(f"components.{index}.type", "Value of field 'type' must be one of (1,).")


def _check_v2(components: list[Json]) -> None:
    everything = list(walk(components))
    if not everything or len(everything) > MAX_COMPONENTS:
        raise InvalidForm("components", f"Must be between 1 and {MAX_COMPONENTS} in length.", "BASE_TYPE_BAD_LENGTH")
    text = sum(utf16_length(str(one.get("content", ""))) for one in everything if one.get("type") == TEXT_DISPLAY)
    if text > MAX_V2_TEXT:
        raise InvalidForm("components", f"The total text must be {MAX_V2_TEXT} or fewer in length.")


def _check_component(component: Json) -> None:
    kind = component.get("type")
    if kind == ACTION_ROW:
        held = component.get("components") or []
        if not 1 <= len(held) <= MAX_IN_ROW:
            raise InvalidForm("components", f"Must be between 1 and {MAX_IN_ROW} in length.", "BASE_TYPE_BAD_LENGTH")
    elif kind == BUTTON:
        _check_button(component)
    elif kind in SELECTS:
        _check_custom_id(component)
        if kind == STRING_SELECT:
            check_options(component, "components")
    elif kind not in _V2_ONLY:
        raise InvalidForm("components", f"Unknown component type {kind!r}.")


def _check_button(button: Json) -> None:
    if button.get("style") == LINK_STYLE:
        if not button.get("url"):
            raise InvalidForm("components", "A url is required.", "BUTTON_COMPONENT_URL_REQUIRED")
    # A premium button has neither an address nor an id.
    elif button.get("style") != PREMIUM_STYLE:
        _check_custom_id(button)
    label = button.get("label")
    if label is not None and utf16_length(label) > MAX_LABEL:
        raise InvalidForm("components.label", f"Must be {MAX_LABEL} or fewer in length.", "BASE_TYPE_BAD_LENGTH")
    if not label and not button.get("emoji") and button.get("style") != PREMIUM_STYLE:
        raise InvalidForm("components", "A button needs a label or an emoji.")


def _check_custom_id(component: Json) -> None:
    custom_id = component.get("custom_id")
    if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= MAX_CUSTOM_ID:
        reason = f"Must be between 1 and {MAX_CUSTOM_ID} in length."
        raise InvalidForm("components.custom_id", reason, "BASE_TYPE_BAD_LENGTH")


def _check_unique_ids(components: list[Json]) -> None:
    # Over all rows: two buttons in different ones may not share an id either.
    counted = Counter(one["custom_id"] for one in walk(components) if "custom_id" in one)
    for custom_id, count in counted.items():
        if count > 1:
            reason = f"Component custom id cannot be duplicated: {custom_id}"
            raise InvalidForm("components", reason, "COMPONENT_CUSTOM_ID_DUPLICATED")


def check_embeds(value: object) -> list[Json]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MAX_EMBEDS:
        raise InvalidForm("embeds", f"Must be {MAX_EMBEDS} or fewer in length.", "BASE_TYPE_MAX_LENGTH")
    # The limit is for all of them together.
    if sum(_embed_text(embed) for embed in value) > MAX_EMBED_TEXT:
        raise InvalidForm("embeds", f"Embed size exceeds maximum size of {MAX_EMBED_TEXT}", "MAX_EMBED_SIZE_EXCEEDED")
    # Discord adds the type where it is left out.
    return [{"type": "rich", **embed} for embed in value]


def _embed_text(embed: Json) -> int:
    for name, limit in _EMBED_LIMITS.items():
        if utf16_length(embed.get(name) or "") > limit:
            raise InvalidForm(f"embeds.{name}", f"Must be {limit} or fewer in length.", "BASE_TYPE_MAX_LENGTH")
    fields = embed.get("fields") or []
    texts = [embed.get(name) or "" for name in _EMBED_LIMITS]
    texts += [(embed.get("footer") or {}).get("text") or "", (embed.get("author") or {}).get("name") or ""]
    for one in fields:
        texts += [one.get("name") or "", one.get("value") or ""]
    return sum(utf16_length(text) for text in texts)


def check_thread_name(value: object, path: str = "name") -> str:
    if not isinstance(value, str) or not 1 <= utf16_length(value.strip()) <= MAX_THREAD_NAME:
        reason = f"Must be between 1 and {MAX_THREAD_NAME} in length."
        raise InvalidForm(path, reason, "BASE_TYPE_BAD_LENGTH")
    return value.strip()


def check_auto_archive(value: object) -> int:
    """The minutes after which a thread is archived."""
    if value is None:
        return 1440
    # Both: 60.0 is in the set as well.
    if value not in AUTO_ARCHIVE_MINUTES or not isinstance(value, int):
        raise InvalidForm("auto_archive_duration", "Value must be one of (60, 1440, 4320, 10080).")
    return value


def check_commands(value: object) -> list[Json]:
    """The list of a bulk overwrite; names are unique per type."""
    if not isinstance(value, list) or len(value) > MAX_COMMANDS:
        raise InvalidForm("commands", f"Must be {MAX_COMMANDS} or fewer in length.", "BASE_TYPE_MAX_LENGTH")
    seen = Counter((one.get("name"), one.get("type", 1)) for one in value)
    for index, command in enumerate(value):
        _check_command(command, str(index))
        if seen[command.get("name"), command.get("type", 1)] > 1:
            reason = "Application command names must be unique"
            raise InvalidForm(f"{index}.name", reason, "APPLICATION_COMMANDS_DUPLICATE_NAME")
    return value


def _check_command(command: Json, path: str) -> None:
    name = command.get("name")
    chat_input = command.get("type", 1) == 1
    if not isinstance(name, str) or not 1 <= len(name) <= 32:
        raise InvalidForm(f"{path}.name", "Must be between 1 and 32 in length.", "BASE_TYPE_BAD_LENGTH")
    # Names in context menus may have spaces and capitals.
    if chat_input and (not _COMMAND_NAME.fullmatch(name) or name != name.lower()):
        raise InvalidForm(f"{path}.name", "Command name is invalid", "APPLICATION_COMMAND_INVALID_NAME")
    description = command.get("description")
    if chat_input and (not isinstance(description, str) or not 1 <= len(description) <= 100):
        raise InvalidForm(f"{path}.description", "Must be between 1 and 100 in length.", "BASE_TYPE_BAD_LENGTH")
    options = command.get("options") or []
    if len(options) > 25:
        raise InvalidForm(f"{path}.options", "Must be 25 or fewer in length.", "BASE_TYPE_MAX_LENGTH")
    _check_options(options, f"{path}.options")


def _check_options(options: list[Json], path: str) -> None:
    """Options in themselves and beside each other: no sub-command next to others, none required after a free one."""
    for index, option in enumerate(options):
        _check_option(option, f"{path}.{index}")
    if len({option.get("type") in _SUB_COMMANDS for option in options}) > 1:
        reason = "Sub-command and sub-command group option types are mutually exclusive to all other types"
        raise InvalidForm(path, reason, "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID")
    needed = [bool(option.get("required")) for option in options]
    # Reversed, as True sorts after False: the required ones come first.
    if needed != sorted(needed, reverse=True):
        reason = "Required options must be placed before non-required options"
        raise InvalidForm(path, reason, "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID")


def _check_option(option: Json, path: str) -> None:
    name = option.get("name")
    if not isinstance(name, str) or not _COMMAND_NAME.fullmatch(name) or name != name.lower():
        raise InvalidForm(f"{path}.name", "Command name is invalid", "APPLICATION_COMMAND_INVALID_NAME")
    if not 1 <= len(option.get("description") or "") <= 100:
        raise InvalidForm(f"{path}.description", "Must be between 1 and 100 in length.", "BASE_TYPE_BAD_LENGTH")
    if len(option.get("choices") or []) > 25:
        raise InvalidForm(f"{path}.choices", "Must be 25 or fewer in length.", "BASE_TYPE_MAX_LENGTH")
    if any(not 1 <= len(choice.get("name") or "") <= 100 for choice in option.get("choices") or []):
        raise InvalidForm(f"{path}.choices", "Must be between 1 and 100 in length.", "BASE_TYPE_BAD_LENGTH")
    _check_options(option.get("options") or [], f"{path}.options")


def check_options(select: Json, path: str) -> None:
    """Raise a form error where a string select offers too much, too little or the same twice."""
    options = select.get("options")
    if not isinstance(options, list) or not 1 <= len(options) <= MAX_CHOICES:
        raise InvalidForm(f"{path}.options", f"Must be between 1 and {MAX_CHOICES} in length.", "BASE_TYPE_BAD_LENGTH")
    for index, option in enumerate(options):
        for name, least in (("label", 1), ("value", 1), ("description", 0)):
            text = option.get(name) or ""
            if not isinstance(text, str) or not least <= utf16_length(text) <= MAX_OPTION:
                reason = f"Must be between {least} and {MAX_OPTION} in length."
                raise InvalidForm(f"{path}.options.{index}.{name}", reason, "BASE_TYPE_BAD_LENGTH")
    if len({option["value"] for option in options}) < len(options):
        raise InvalidForm(
            f"{path}.options", "The specified option value is already used", "SELECT_OPTION_VALUE_DUPLICATED"
        )
    least, most = select.get("min_values", 1), select.get("max_values", 1)
    if not 0 <= least <= most or not 1 <= most <= len(options):
        raise InvalidForm(f"{path}.max_values", f"Must be between 1 and {len(options)}.", "NUMBER_TYPE_MAX")
    if sum(bool(option.get("default")) for option in options) > most:
        raise InvalidForm(f"{path}.options", f"At most {most} options may be chosen at first.")


def check_suggestions(data: Json) -> None:
    """The choices that are offered for what was typed so far."""
    choices = data.get("choices")
    if not isinstance(choices, list) or len(choices) > MAX_CHOICES:
        raise InvalidForm("data.choices", f"Must be {MAX_CHOICES} or fewer in length.", "BASE_TYPE_MAX_LENGTH")
    if any(not 1 <= utf16_length(choice.get("name") or "") <= 100 for choice in choices):
        raise InvalidForm("data.choices", "Must be between 1 and 100 in length.", "BASE_TYPE_BAD_LENGTH")


def is_emoji(text: str) -> bool:
    """Whether it can be an emoji by its characters; one of a server, `name:id`, by its form."""
    if _SERVER_EMOJI.fullmatch(text):
        return True
    # Keycaps begin with a digit, and of all emoji one alone (U+2139) counts as a letter.
    plain = text.isascii() or len(text) > MAX_EMOJI
    return not plain and not any(one.isspace() or (one.isalpha() and one != "\u2139") for one in text)


def check_not_empty(content: str, *parts: object) -> None:
    """Raise 50006 where a message has nothing to show."""
    if not content.strip() and not any(parts):
        raise DiscordError(50006)
