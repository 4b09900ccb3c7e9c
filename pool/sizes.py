"""Sizes as people write them in the settings: ``512M``, ``4G`` (pure)."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Field

_SIZE = re.compile(r"([0-9]+)([KMGT]?)")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

# Below this no agent starts: a smaller number usually lacks its unit.
_LEAST_MEMORY = 16 * 2**20


def _bytes(value: object) -> object:
    # What is no text goes on to pydantic, which takes a number of bytes and refuses the rest in its own words.
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value)
    if found is None:
        raise ValueError(f'{value!r} is not a size such as "512M" or "4G"')
    return int(found[1]) * _UNITS[found[2]]


Memory: TypeAlias = Annotated[int, BeforeValidator(_bytes), Field(ge=_LEAST_MEMORY)]
"""What an agent may take of a machine's memory: a size, or bytes."""
