"""What is shared by all who wait in a task group: the errors that come out of it."""

from __future__ import annotations

from typing import cast

from acp.errors import leaves


def test_errors_are_found_however_deep_they_lie() -> None:
    """R3."""
    one, two, three = (ValueError(str(number)) for number in range(3))
    nested = ExceptionGroup("a", [one, ExceptionGroup("b", [ExceptionGroup("c", [two]), three])])
    assert leaves(cast("ExceptionGroup[ValueError]", nested)) == [one, two, three]
