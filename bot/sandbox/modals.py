"""Modals: what Discord refuses of one that a bot shows, and what a user who fills it in sends (pure).

Labels around text inputs and string selects, and text inputs in rows, as bots made them before. What else a label may
hold (radio groups, checkboxes, uploads, the other selects) is checked for its id alone.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bot.sandbox.checks import ACTION_ROW, MAX_CUSTOM_ID, MAX_ROWS, STRING_SELECT, check_options, utf16_length
from bot.sandbox.errors import InvalidForm
from bot.sandbox.model import Json

TEXT_INPUT, TEXT_DISPLAY, LABEL = 4, 10, 18
MAX_TITLE, MAX_LABEL, MAX_ABOUT = 45, 45, 100
MAX_TYPED = 4000
MAX_PLACEHOLDER = 100

Filled = Mapping[str, str | Sequence[str]]
"""What a user typed, or the values that were chosen, by the fields' custom ids."""


def check_modal(data: Json) -> None:
    """Raise a form error unless Discord would show the modal: 1 to 5 parts below a title."""
    _check_length(data.get("title"), 1, MAX_TITLE, "data.title")
    _check_length(data.get("custom_id"), 1, MAX_CUSTOM_ID, "data.custom_id")
    parts = data.get("components") or []
    if not 1 <= len(parts) <= MAX_ROWS:
        raise InvalidForm("data.components", f"Must be between 1 and {MAX_ROWS} in length.", "BASE_TYPE_BAD_LENGTH")
    for index, part in enumerate(parts):
        _check_part(part, f"data.components.{index}")
    # Over all parts: what is sent back is told apart by these alone.
    counted = Counter(field["custom_id"] for field in fields_of(parts))
    if repeated := [custom_id for custom_id, count in counted.items() if count > 1]:
        reason = f"Component custom id cannot be duplicated: {repeated[0]}"
        raise InvalidForm("data.components", reason, "COMPONENT_CUSTOM_ID_DUPLICATED")


def fields_of(components: list[Json]) -> Iterator[Json]:
    """Every part of a modal that can be filled in, in labels or in rows."""
    for one in components:
        held = [one["component"]] if "component" in one else one.get("components") or []
        yield from held or ([one] if "custom_id" in one else [])


def submitted(modal: Json, values: Filled) -> Json:
    """The data of a submitted modal.

    Raises:
        LookupError: it has no such field.
        ValueError: the user's client would not send that.

    """
    known = {one["custom_id"] for one in fields_of(modal.get("components") or [])}
    if values.keys() - known:
        raise LookupError(f"the modal has no fields {sorted(values.keys() - known)}, only {sorted(known)}")
    return {"custom_id": modal["custom_id"], "components": _fill(modal["components"], values)}


def _check_part(part: Json, path: str) -> None:
    kind = part.get("type")
    if kind == LABEL:
        _check_length(part.get("label"), 1, MAX_LABEL, f"{path}.label")
        if part.get("description") is not None:
            _check_length(part["description"], 1, MAX_ABOUT, f"{path}.description")
        if not isinstance(part.get("component"), dict):
            raise InvalidForm(f"{path}.component", "This field is required", "BASE_TYPE_REQUIRED")
        _check_field(part["component"], f"{path}.component")
    elif kind == ACTION_ROW:
        for index, field in enumerate(part.get("components") or []):
            _check_length(field.get("label"), 1, MAX_LABEL, f"{path}.components.{index}.label")
            _check_field(field, f"{path}.components.{index}")
    elif kind != TEXT_DISPLAY:
        raise InvalidForm(f"{path}.type", f"Value of field 'type' must be one of (1, 10, 18), not {kind!r}.")


def _check_field(field: Json, path: str) -> None:
    _check_length(field.get("custom_id"), 1, MAX_CUSTOM_ID, f"{path}.custom_id")
    if field.get("type") == STRING_SELECT:
        check_options(field, path)
        # Of a select in a modal, "required" says whether it may be left alone; Discord takes it for true.
        if field.get("required", True) and field.get("min_values") == 0:
            raise InvalidForm(f"{path}.min_values", "Must be at least 1 for a required select.")
    elif field.get("type") == TEXT_INPUT:
        if field.get("style") not in (1, 2):
            raise InvalidForm(f"{path}.style", "Value must be one of {1, 2}.", "BASE_TYPE_CHOICES")
        least, most = field.get("min_length") or 0, field.get("max_length")
        if not 0 <= least <= MAX_TYPED or (most is not None and not max(1, least) <= most <= MAX_TYPED):
            raise InvalidForm(path, f"Lengths must be between 0 and {MAX_TYPED}.", "NUMBER_TYPE_MAX")
        _check_length(field.get("value") or "", 0, most or MAX_TYPED, f"{path}.value")
        _check_length(field.get("placeholder") or "", 0, MAX_PLACEHOLDER, f"{path}.placeholder")


def _check_length(text: object, least: int, most: int, path: str) -> None:
    if not isinstance(text, str) or not least <= utf16_length(text) <= most:
        raise InvalidForm(path, f"Must be between {least} and {most} in length.", "BASE_TYPE_BAD_LENGTH")


def _fill(components: list[Json], values: Filled) -> list[Json]:
    filled: list[Json] = []
    for index, component in enumerate(components):
        shape: Json = {"type": component["type"], "id": component.get("id", index + 1)}
        if "custom_id" in component:
            shape |= {"custom_id": component["custom_id"], **_filled_in(component, values)}
        if "components" in component:
            shape["components"] = _fill(component["components"], values)
        if "component" in component:
            (shape["component"],) = _fill([component["component"]], values)
        filled.append(shape)
    return filled


def _filled_in(field: Json, values: Filled) -> Json:
    """What is sent for a field: what stands in it where the user leaves it alone."""
    given = values.get(field["custom_id"])
    if field["type"] == TEXT_INPUT:
        # A client sends every field, also those that nobody touched.
        typed = given if isinstance(given, str) else field.get("value") or ""
        _check_typed(field, typed)
        return {"value": typed}
    offered = field.get("options") or []
    standing = [one["value"] for one in offered if one.get("default")]
    chosen = standing if given is None else [given] if isinstance(given, str) else [*given]
    _check_chosen(field, chosen, [one["value"] for one in offered])
    return {"values": chosen}


def _check_typed(field: Json, text: str) -> None:
    if not text and not field.get("required", True):
        return
    least, most = max(field.get("min_length") or 0, 1), field.get("max_length") or MAX_TYPED
    if not least <= utf16_length(text) <= most:
        raise ValueError(f"{field['custom_id']!r} takes {least} to {most} characters, not {utf16_length(text)}")


def _check_chosen(select: Json, values: list[str], offered: list[Any]) -> None:
    if not values and not select.get("required", True):
        return
    least, most = select.get("min_values", 1), select.get("max_values", 1)
    if not least <= len(values) <= most:
        raise ValueError(f"{select['custom_id']!r} takes {least} to {most} values, not {len(values)}")
    if offered and set(values) - set(offered):
        raise ValueError(f"{select['custom_id']!r} offers {offered}, not {values}")
