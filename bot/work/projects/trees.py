"""All that people see and do of work trees, in one place for commands, buttons and tools."""

from __future__ import annotations

from dataclasses import dataclass

from bot.work.projects.actions import TreeActions
from bot.work.projects.listing import TreeList
from bot.work.projects.tending import Tending
from bot.work.projects.upkeep import Upkeep


@dataclass(frozen=True, slots=True)
class Trees:
    """What people do in a thread with a work tree, which trees there are, and which are removed."""

    actions: TreeActions
    list: TreeList
    tending: Tending
    upkeep: Upkeep
