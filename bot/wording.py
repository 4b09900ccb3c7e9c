"""Says in plain words what pydantic finds wrong with a value, and what to write instead (pure)."""

from __future__ import annotations

import difflib
import re
import reprlib
import shlex
import sys
from collections.abc import Iterable

from pydantic_core import ErrorDetails

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)[a-z]*", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(\.\d+)?")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def told(error: ErrorDetails) -> str:
    """Return what is wrong, as a person would say it."""
    kind, value, limits = error["type"], _shown(error["input"]), error.get("ctx", {})
    if kind in ("int_type", "float_type") and _NUMBER.fullmatch(str(error["input"])):
        return f"{value} is text: write it without quotes"
    match kind:
        case "int_parsing" | "int_type" | "int_from_float":
            return f"{value} is not a whole number"
        case "float_parsing" | "float_type" | "finite_number":  # every setting with a fraction is a time
            return f"{value} is not a number: give seconds, such as {_in_seconds(error['input'])}"
        case "greater_than":
            return f"{value} is too small: give more than {limits['gt']:g}"
        case "greater_than_equal":
            return f"{value} is too small: give at least {limits['ge']}"
        case "less_than_equal":
            return f"{value} is too large: give at most {limits['le']:g}"
        case "literal_error":
            return f"{value} is unknown: write {limits['expected']}"
        case "bool_parsing" | "bool_type":
            return f"{value} is neither true nor false"
        case "string_type":
            return f"{value} is not text: put it in quotes"
        case "string_pattern_mismatch":
            return f"{value} is not an absolute path"
        case "list_type":
            return f"{value} is not a list: write [{value}]"
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"{value} is not a table: write {{ NAME = value }}"
        case "missing":
            return "is missing"
        case "too_short" | "string_too_short":
            return "is empty"
    return error["msg"].removeprefix("Value error, ")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return what somebody may have meant who wrote ``name``, or nothing."""
    return next(iter(difflib.get_close_matches(name, list(known), 1)), "")


def installing(extra: str) -> str:
    """Return the command that installs an extra of Weft where this one is installed, and not elsewhere."""
    # By this interpreter: the `pip` of a shell may belong to another one.
    return f"{shlex.quote(sys.executable or 'python3')} -m pip install 'weft[{extra}]'"


def _shown(value: object) -> str:
    # As it is written in TOML.
    if isinstance(value, bool):
        return str(value).lower()
    # Cut, since it becomes one line of a terminal or a log.
    return repr(value) if isinstance(value, str) and len(value) < 80 else reprlib.repr(value)


def _in_seconds(value: object) -> str:
    found = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    return f"{float(found[1]) * _SECONDS[found[2].lower()]:g}" if found else "900"
