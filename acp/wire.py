"""JSON objects of the protocol, decoded leniently (pure).

Source: the Agent Client Protocol's schema asks clients to drop a malformed non-critical field rather than the message
that holds it. `acp.schema` says which objects there are.
"""

from __future__ import annotations

import copy
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

_PRUNE_ROUNDS = 8


class WireModel(BaseModel):
    """A JSON object of the protocol: camelCase on the wire, unknown fields ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, serialize_by_alias=True
    )

    meta: dict[str, Any] | None = Field(default=None, alias="_meta")

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object, without the fields that were never set."""
        return self.model_dump(by_alias=True, exclude_unset=True)

    @classmethod
    def parse(cls, raw: Any) -> Self:
        """Return the model for ``raw``, dropping malformed optional parts.

        Raises:
            ValidationError: a required field is missing or malformed, or ``raw`` is no object.
        """
        try:
            return cls.model_validate(raw)
        except ValidationError as exc:
            return _parse_pruned(cls, raw, exc)


_Model = TypeVar("_Model", bound=WireModel)
_Container = dict[str, Any] | list[Any]


def _parse_pruned(model: type[_Model], raw: Any, error: ValidationError) -> _Model:
    """Drop what ``error`` names and try again, a few times; the fast path never comes here."""
    # A copy: others hold on to the object as it was sent, and what is dropped here they still show.
    try:
        pruned = copy.deepcopy(raw)
    except RecursionError:
        raise error from None
    # Several rounds, as what is dropped may have hidden the next error; bounded, as each looks at the whole object.
    for _ in range(_PRUNE_ROUNDS):
        # All of a round at once: one by one, a list of a thousand bad items would take a thousand rounds.
        targets = [_deepest(pruned, item["loc"]) for item in error.errors(include_url=False)]
        if not all(targets):
            raise error
        _delete([target for target in targets if target is not None])
        try:
            return model.model_validate(pruned)
        except ValidationError as exc:
            error = exc
    raise error


def _deepest(raw: Any, path: tuple[int | str, ...]) -> tuple[_Container, Any] | None:
    """Return the deepest (container, key) that ``path`` reaches; a missing field costs the object that lacks it."""
    found: tuple[_Container, Any] | None = None
    here = raw
    for key in path:
        known = key in here if isinstance(here, dict) else isinstance(here, list) and isinstance(key, int)
        if known:
            found = (here, key)
            here = here[key]
    return found


def _delete(targets: list[tuple[_Container, Any]]) -> None:
    """Remove each target once; list items from the back, so that the other indexes stay true."""
    unique = {(id(container), key): container for container, key in targets}
    for (_, key), container in sorted(unique.items(), key=lambda item: str(item[0][1]).zfill(12), reverse=True):
        del container[key]
