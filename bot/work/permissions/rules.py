"""Rules that answer permission requests in a person's place: what a rule covers, which one wins (pure).

`bot.work.permissions.asks` says what a request is about, `verdict` what the rules make of it, `suggest` which rule
would allow it from now on, `option_for` which of the agent's options that is. An allow rule has to cover all that a
request does, and what is not understood is not covered; a deny rule matches if any of it does, and where that can't be
told a person decides. docs/permissions.md says the same to those who write rules.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from acp.schema import PermissionOption
from bot.reply.sanitise import spelled
from bot.work.permissions.asks import Ask, Place
from bot.work.permissions.command_lines import runs_others
from bot.work.permissions.command_patterns import Match, fits, is_glob, may_fit, pattern_for, pattern_of

KINDS = ("read", "edit", "delete", "move", "search", "execute", "think", "fetch", "switch_mode", "other")
"""The kinds of the protocol; what has none is ``other``."""

_OF_FILES = frozenset({"read", "edit", "delete", "move"})


@dataclass(frozen=True, slots=True)
class Rule:
    """What is allowed, denied, or takes two people; what is not None has to match.

    Attributes:
        kind: of the tool call, such as ``edit``.
        command: a pattern for the words of a command.
        path: a pattern for paths, relative to the workspace or absolute; of a command, for its directory.
    """

    kind: str | None = None
    command: str | None = None
    path: str | None = None

    def __str__(self) -> str:
        where = f"in {self.path}" if self.command and self.path else self.path
        return " ".join(part for part in (self.kind, self.command, where) if part)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that hold for a request; `+` adds those of another place."""

    allow: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()
    two_person: tuple[Rule, ...] = ()

    def __add__(self, other: Rules) -> Rules:
        return Rules(self.allow + other.allow, self.deny + other.deny, self.two_person + other.two_person)


class Mode(StrEnum):
    """What happens to a request that no rule decides."""

    ASK = "ask"
    DENY = "deny"
    ALLOW = "allow"


class Ruling(StrEnum):
    """How a request is decided."""

    ALLOW = "allow"
    DENY = "deny"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules make of a request.

    Attributes:
        rule: the one that decided; None: the mode did, or nothing.
        two_person: it takes two people, of whom `Ruling.ASK` is the way to ask.
    """

    ruling: Ruling
    rule: Rule | None = None
    two_person: bool = False


def verdict(ask: Ask, rules: Rules, mode: Mode) -> Verdict:
    """Return what the rules say: deny before two people, these before allow, and the mode where none matches."""
    # All of them, also beyond a match: one that only may match keeps every rule from allowing.
    denied = [(rule, _denies(rule, ask)) for rule in rules.deny]
    for rule, match in denied:
        if match is Match.YES:
            return Verdict(Ruling.DENY, rule)
    two = next((rule for rule in rules.two_person if _denies(rule, ask) is not Match.NO), None)
    if two is not None:
        # One rule is less than one person: where nobody is asked, nobody can agree.
        return Verdict(Ruling.DENY if mode is Mode.DENY else Ruling.ASK, two, two_person=True)
    # A deny rule that may match: nobody but a person can tell.
    free = ask.complete and all(match is Match.NO for _, match in denied)
    allowed = next((rule for rule in rules.allow if free and covers(rule, ask)), None)
    if allowed is not None:
        return Verdict(Ruling.ALLOW, allowed)
    if mode is Mode.ALLOW and free:
        return Verdict(Ruling.ALLOW)
    return Verdict(Ruling.DENY if mode is Mode.DENY else Ruling.ASK)


def suggest(ask: Ask) -> Rule | None:
    """Return the rule that allows just this from now on; None if no rule could."""
    if ask.words is not None:
        inside = ask.directory.inside
        path = "/".join(map(_literally, inside)) if inside else None
        rule = Rule(command=pattern_for(ask.words), path=path)
    elif len(ask.kinds) == 1 and len(set(ask.places)) == 1:
        (kind,), place = ask.kinds, ask.places[0]
        parts, root = (place.parts, "/") if place.inside is None else (place.inside, "")
        rule = Rule(kind=kind, path=root + "/".join(map(_literally, parts)))
    else:
        return None
    # Tried on the request itself: what is kept has to do what the card says.
    return rule if not problem_of(rule, allow=True) and ask.complete and covers(rule, ask) else None


def option_for(ruling: Ruling, options: Sequence[PermissionOption]) -> PermissionOption | None:
    """Return the option that a rule takes: what holds this once, and nothing that stays.

    None: of an allowed request that a person has to answer it, of a denied one that it is cancelled.
    """
    kind = "allow_once" if ruling is Ruling.ALLOW else "reject_once"
    found = [option for option in options if option.kind == kind]
    # Several ways to say yes are a question, and a rule has no answer to it.
    return None if not found or (ruling is Ruling.ALLOW and len(found) > 1) else found[0]


# --- rules --------------------------------------------------------------------------------------------------------


def problem_of(rule: Rule, *, allow: bool) -> str:
    """Return what is wrong with a rule; empty if nothing is. ``allow``: it is to allow something."""
    if rule.kind is None and rule.command is None and rule.path is None:
        return "says nothing: give it kind, command or path"
    if rule.kind is not None and rule.kind not in KINDS:
        return f"{rule.kind!r} is not a kind of tool call: {', '.join(KINDS)}"
    if rule.path is not None and (problem := _path_problem(rule.path)):
        return problem
    if rule.command is None:
        if allow and (rule.kind == "execute" or (rule.kind == "other" and rule.path is None)):
            return f"would allow anything: {rule.kind} needs a {'command' if rule.kind == 'execute' else 'path'}"
        return ""
    if rule.kind not in (None, "execute"):
        return f"can never match: what runs a command is of the kind execute, not {rule.kind}"
    try:
        pattern = pattern_of(rule.command)
    except ValueError:
        return f"{rule.command!r} has a quote that is not closed"
    if not pattern.words and (allow or not pattern.more):
        return f"{rule.command!r} names no program"
    if allow and is_glob(pattern.words[0]):
        return f"{rule.command!r} would allow any program: write the first word without * and ?"
    if allow and not pattern.literal and runs_others(pattern.words):
        return f"can never match: {pattern.words[0]} runs other commands, so write all of its words, without * and ?"
    return ""


def covers(rule: Rule, ask: Ask) -> bool:
    """Return whether an allow rule covers all that a request does."""
    # That kind and no other: what is something else besides is not covered.
    if not ask.whole or (rule.kind is not None and ask.kinds != {rule.kind}):
        return False
    # A plan that is agreed to changes what comes next: no path of it says what.
    if "switch_mode" in ask.kinds and rule.kind is None:
        return False
    if rule.command is None:
        # Without a path it is about the workspace, without what begins with a dot there.
        known = bool(ask.places) or not ask.kinds & _OF_FILES
        return ask.runs is None and known and _cover(rule.path or "**", ask.places, needed=rule.path is not None)
    if ask.words is None or not fits(pattern_of(rule.command), ask.words):
        return False
    if rule.path is None:
        inside = all(place.clear and place.inside is not None for place in ask.places)
        return inside and not ask.changes and ask.directory.clear and ask.directory.inside == ()
    return _cover(rule.path, (*ask.places, ask.directory), needed=True)


def _cover(path: str, places: Sequence[Place], *, needed: bool) -> bool:
    pattern = _segments(path)
    return bool(places or not needed) and all(
        place.clear and seen is not None and _path_fits(pattern, seen)
        for place in places
        for seen in (place.parts if path.startswith("/") else place.inside,)
    )


def _denies(rule: Rule, ask: Ask) -> Match:
    """Return whether a deny rule matches anything in a request."""
    kind = Match.YES if rule.kind is None or rule.kind in ask.kinds else Match.NO
    command = path = Match.YES
    if rule.command is not None:
        runs = ask.runs or ask.hints
        command = Match.NO if runs is None else may_fit(pattern_of(rule.command), runs)
    if rule.path is not None:
        places = (*ask.places, *ask.mentioned, *((ask.directory,) if rule.command is not None else ()))
        unknown = not ask.complete or (not ask.places and bool(ask.kinds & _OF_FILES))
        path = max((_path_may_fit(rule.path, place) for place in places), default=Match.NO)
        # What it names is not known: then the path may be among it.
        path = max(path, Match(int(unknown)))
    # All that the rule says has to match, so the least certain of it counts.
    return min(kind, command, path)


# --- paths --------------------------------------------------------------------------------------------------------


def _segments(pattern: str) -> tuple[str, ...]:
    parts = tuple(part for part in pattern.split("/") if part not in ("", "."))
    return (*parts, "**") if pattern.endswith("/") else parts


def _path_problem(pattern: str) -> str:
    if not pattern.strip() or spelled(pattern) != pattern or re.search(r"[\t\n]", pattern):
        return f"{spelled(pattern)!r} is not a path"
    if pattern.startswith("~") or ".." in pattern.split("/"):
        return f"{pattern!r} can never match: write the path in full, or from the workspace, without ~ and .."
    return ""


def _literally(name: str) -> str:
    return re.sub(r"[*?\[]", r"[\g<0>]", name)


def _path_fits(pattern: Sequence[str], parts: Sequence[str], *, hidden: bool = False) -> bool:
    """Return whether a pattern matches a path; ``hidden``: its globs match names that begin with a dot, too."""
    states = _with_empty(pattern, {0})
    for part in parts:
        following = set()
        for at in (at for at in states if at < len(pattern)):
            # As in a shell: "**" must not reach .git/hooks, .env and their like.
            if part.startswith(".") and not hidden and not pattern[at].startswith("."):
                continue
            if pattern[at] == "**":
                following.add(at)
            elif fnmatchcase(part, pattern[at]):
                following.add(at + 1)
        states = _with_empty(pattern, following)
    return len(pattern) in states


def _with_empty(pattern: Sequence[str], states: set[int]) -> set[int]:
    """Return the places in a pattern that can be reached since ``**`` stands for nothing, too."""
    reached = set(states)
    for at in range(len(pattern)):
        if at in reached and pattern[at] == "**":
            reached.add(at + 1)
    return reached


def _path_may_fit(path: str, place: Place) -> Match:
    pattern = _segments(_folded(path))
    seen = [place.parts] if path.startswith(("/", "**/")) else []
    seen += [place.inside] if place.inside is not None and not path.startswith("/") else []
    # To forbid, names that begin with a dot are no exception.
    if any(_path_fits(pattern, [_folded(part) for part in parts], hidden=True) for parts in seen):
        return Match.YES
    return Match.NO if place.clear else Match.MAYBE


def _folded(name: str) -> str:
    """Return a name so that all that some file system takes for the same is equal: in any case, composed or not."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
