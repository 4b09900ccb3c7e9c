"""Components as Discord keeps them: pure functions from a checked tree to one with an id for each component.

What may be sent is decided in `checks`.
"""

from collections.abc import Iterator
from itertools import count

from bot.sandbox.checks import BUTTON, CONTAINER, SELECTS, walk
from bot.sandbox.model import Json

_DEFAULTS: dict[int, Json] = {
    BUTTON: {"disabled": False},
    CONTAINER: {"accent_color": None, "spoiler": False},
    **{kind: {"min_values": 1, "max_values": 1, "disabled": False} for kind in SELECTS},
}


def kept(components: list[Json]) -> list[Json]:
    """The tree with what the client left out; ids that it chose are kept."""
    taken = {one["id"] for one in walk(components) if one.get("id")}
    free = (number for number in count(1) if number not in taken)
    return [_kept(one, free) for one in components]


def _kept(component: Json, free: Iterator[int]) -> Json:
    given = _without_nulls(component)
    shape = {**_DEFAULTS.get(component["type"], {}), **given, "id": component.get("id") or next(free)}
    if "options" in component:
        shape["options"] = [_without_nulls(one) for one in component["options"]]
    if "components" in component:
        shape["components"] = [_kept(one, free) for one in component["components"]]
    if isinstance(component.get("accessory"), dict):
        shape["accessory"] = _kept(component["accessory"], free)
    return shape


def _without_nulls(given: Json) -> Json:
    return {name: value for name, value in given.items() if value is not None}
