"""Who may choose which value of an option (pure).

In some modes an agent no longer asks people before it acts, so to choose one is to answer all cards that are still to
come. No name tells for certain which modes these are. `docs/adr` has why the rule is what it is.
"""

from __future__ import annotations

from collections.abc import Collection

from acp.session_options import Kind, SessionOption
from bot.model import Actor

CAUTIOUS = frozenset({"plan", "read-only"})
"""Modes of known agents in which they do less than usual."""

_HARMLESS = frozenset({"model", "thought_level", "model_config"})
"""Categories of the protocol that have nothing to do with what an agent may do."""


def harmless(option: SessionOption) -> bool:
    """Return whether everybody may choose any value of an option."""
    return option.category in _HARMLESS or (not option.category and option.kind in (Kind.MODEL, Kind.EFFORT))


def anybody_may(option: SessionOption, value: str, start: str | None, listed: Collection[str]) -> bool:
    """Return whether everybody who may prompt may choose a value.

    Args:
        start: the value with which sessions of the thread's agent begin; None: not known.
        listed: modes, and ids of other options, that the settings leave to everybody.
    """
    if harmless(option):
        return True
    # Not by the category alone: an option of an agent's own may loosen what it asks under any name.
    cautious = option.kind is Kind.MODE and value in CAUTIOUS
    return cautious or value == start or value in listed or option.id in listed


def may_choose(by: Actor, option: SessionOption, value: str, start: str | None, listed: Collection[str]) -> bool:
    """Return whether a person, who may prompt, may choose a value."""
    return by.owner or by.approver or anybody_may(option, value, start, listed)
