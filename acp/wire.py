"""JSON objects of the protocol, decoded leniently (pure).

Source: the Agent Client Protocol's schema asks clients to drop a malformed non-critical field rather than the message
that holds it. `acp.schema` says which objects there are.
"""

from __future__ import annotations

import copy
from typing import Any, Self

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
            error = exc
        # A copy: others hold on to the object as it was sent, and what is dropped here they still show.
        try:
            pruned = copy.deepcopy(raw)
        except RecursionError:
            raise error from None
        # Several rounds, as what is dropped may have hidden the next error; bounded, as each looks at the whole object.
        for _ in range(_PRUNE_ROUNDS):
            # All of a round at once: one by one, a list of a thousand bad items would take a thousand rounds.
            if not _drop(pruned, [item["loc"] for item in error.errors(include_url=False)]):
                break
            try:
                return cls.model_validate(pruned)
            except ValidationError as exc:
                error = exc
        raise error


def _drop(raw: Any, paths: list[tuple[int | str, ...]]) -> bool:
    """Delete the deepest part of ``raw`` that each path reaches; False, and nothing deleted, if one reaches none."""
    found: dict[tuple[int, int | str], dict[Any, Any] | list[Any]] = {}
    for path in paths:
        target: tuple[Any, int | str] | None = None
        here = raw
        for key in path:
            # The path of a missing field ends early: that costs the object that lacks it.
            if key in here if isinstance(here, dict) else isinstance(here, list) and isinstance(key, int):
                target, here = (here, key), here[key]
        if target is None:
            return False
        found[id(target[0]), target[1]] = target[0]
    # List items from the back, so that the other indexes stay true.
    for (_, key), container in sorted(found.items(), key=lambda item: str(item[0][1]).zfill(12), reverse=True):
        del container[key]  # type: ignore[arg-type]
    return True
