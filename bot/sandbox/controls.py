"""What people may do to the sandbox on its page: actions and switches, by their ids.

What is shown as "Break something" is made of these; `breakage` has the sandbox's own, and whoever runs the bot adds
others. The mutable state is the positions of the switches and which controls are at work.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from bot.sandbox.model import Json

Run = Callable[[bool | None, int | None], Awaitable[str]]
"""Takes the switch's new position and the id of the place that is open; returns what to tell the person."""


class Kind(StrEnum):
    """What a control looks like."""

    ACTION = "action"
    SWITCH = "switch"


class ControlError(Exception):
    """It cannot be done now; the message is for the person."""


class UnknownControl(LookupError):
    """There is no control of that id."""


@dataclass(frozen=True, slots=True)
class Control:
    """A control; its texts are for people.

    Attributes:
        help: what will be seen, in one or two sentences.
        run: raises `ControlError` where it cannot be done.
        on: the position that a switch begins in.
    """

    id: str
    label: str
    help: str
    group: str
    run: Run
    kind: Kind = Kind.ACTION
    on: bool = False


class Controls:
    """All controls: those that were added, in that order, and after them the sandbox's own.

    Args:
        own: the sandbox's.
        changed: called when a switch has another position.
    """

    def __init__(self, own: Iterable[Control], changed: Callable[[], None]) -> None:
        self._changed = changed
        self._own = {one.id: one for one in own}
        self._added: dict[str, Control] = {}
        self._on = {one.id: one.on for one in self._own.values() if one.kind is Kind.SWITCH}
        self._busy: set[str] = set()

    def add(self, control: Control) -> None:
        """Offer a control; one of the same id is replaced."""
        self._added[control.id] = control
        if control.kind is Kind.SWITCH:
            self._on[control.id] = control.on

    def switches(self) -> dict[str, bool]:
        """The positions by id."""
        return dict(self._on)

    def described(self) -> list[Json]:
        """All controls as the page shows them."""
        return [self._describe(one) for one in {**self._added, **self._own}.values()]

    def _describe(self, control: Control) -> Json:
        shape: Json = {
            "id": control.id,
            "label": control.label,
            "help": control.help,
            "group": control.group,
            "kind": str(control.kind),
        }
        return {**shape, "on": self._on[control.id]} if control.kind is Kind.SWITCH else shape

    async def run(self, control_id: str, on: bool | None, channel_id: int | None) -> str:
        """Do it and return what to tell the person.

        Raises:
            UnknownControl: there is none of that id.
            ControlError: it cannot be done now.
        """
        # Added ones first, as in `described`.
        control = self._added.get(control_id) or self._own.get(control_id)
        if control is None:
            raise UnknownControl(control_id)
        if control.kind is Kind.SWITCH and on is None:
            raise ControlError("Say whether to switch it on or off.")
        # Two pages may press at the same time; no handler has to think of that.
        if control_id in self._busy:
            raise ControlError("That is still under way.")
        self._busy.add(control_id)
        try:
            text = await control.run(on, channel_id)
        finally:
            self._busy.discard(control_id)
        # Only once it was done: a switch that failed stays where it was.
        if control.kind is Kind.SWITCH and on is not None:
            self._on[control_id] = on
            self._changed()
        return text
