"""Rules that answer permission requests in a person's place: what is asked, what a rule covers, who wins (pure).

`ask_of` says what a request is about, `verdict` what the rules make of it, `suggest` which rule would allow it from now
on, `option_for` which of the agent's options that is. An allow rule has to cover all that a request does, and what is
not understood is not covered; a deny rule matches if any of it does, and where that can't be told a person decides.
docs/permissions.md says the same to those who write rules.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from acp.schema import PermissionOption, ToolCallUpdate
from bot.reply.request_detail import COMMAND_KEYS, command_in, content_of
from bot.reply.sanitise import spelled
from bot.work.command_lines import Runs, exact_words, names_in, runs_of, runs_others, script_of
from bot.work.command_patterns import Match, fits, is_glob, may_fit, pattern_for, pattern_of

KINDS = ("read", "edit", "delete", "move", "search", "execute", "think", "fetch", "switch_mode", "other")
"""The kinds of the protocol; what has none is ``other``."""

_OF_FILES = frozenset({"read", "edit", "delete", "move"})
_TOP_KEYS = names_in("toolCallId sessionUpdate _meta title name kind status content locations rawInput rawOutput")

HARMLESS_KEYS = names_in(
    "description reason justification timeout timeout_ms timeoutMs call_id callId turn_id turnId item_id itemId "
    "thread_id threadId approval_id approvalId started_at_ms startedAtMs parsed_cmd parsedCmd command_actions "
    "commandActions available_decisions availableDecisions proposed_execpolicy_amendment "
    "proposedExecpolicyAmendment"
)
"""Keys of an input that change nothing that a command does: what is said of it, how long it may take, ids, how an
agent reads its own command, and what other answers would do."""

_OFF_KEYS = frozenset(
    {"run_in_background", "runInBackground", "is_background", "background", "dangerouslyDisableSandbox"}
)
"""Those that change nothing while they are false."""

_DIRECTORY_KEYS = ("cwd", "workdir", "working_directory", "workingDirectory", "dir_path", "directory")
_WORDS_KEYS = ("args", "arguments", "argv", "commands", "stdin", "input")
_PATH_KEYS = names_in(
    "path paths file files file_path filePath filepath filename abs_path absolute_path absolutePath notebook_path "
    "source destination old_path oldPath new_path newPath"
) | set(_DIRECTORY_KEYS)
_TEXT_KEYS = names_in(
    "content contents text old_string new_string oldString newString old_str new_str old_text new_text oldText "
    "newText old_source new_source replace_all replaceAll expected_replacements edits instruction instructions "
    "offset limit line insert_line insert_text view_range encoding diff query pattern glob include type "
    "output_mode case_sensitive multiline head_limit recursive url urls prompt format max_length"
)
_MOST_VALUES = 5_000
_NOTHING: tuple[Any, ...] = (None, "", [], {})


@dataclass(frozen=True, slots=True)
class Place:
    """A path that a request names.

    Attributes:
        parts: of the absolute path, dots resolved by their letters alone.
        inside: its parts below the workspace; None: it is elsewhere.
        clear: it means the same to everybody. With ``..``, which a link can lead astray, ``~`` or a hidden character it
            does not.
    """

    parts: tuple[str, ...]
    inside: tuple[str, ...] | None
    clear: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request would do.

    Attributes:
        kinds: what the agent calls it, and what is in it: with a command ``execute``, with a change ``edit``.
        words: the command, if it is one of literal words, with nothing hidden.
        runs: all that the command may run; None: there is no command.
        places: the files and directories that it names.
        directory: where the command runs.
        changes: whether it brings changes of files.
        whole: this is all that it would do: an allow rule that covers it covers the request.
        complete: all that the agent said of it is known; else nothing but a person answers it.
    """

    kinds: frozenset[str]
    words: tuple[str, ...] | None
    runs: Runs | None
    places: tuple[Place, ...]
    directory: Place
    changes: bool
    whole: bool
    complete: bool = True


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
    """What becomes of a request."""

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
        return f"{rule.command!r} leaves the program open"
    if allow and not pattern.literal and runs_others(pattern.words):
        return f"can never match: {pattern.words[0]} runs other commands, so write all of its words, without * and ?"
    return ""


def covers(rule: Rule, ask: Ask) -> bool:
    """Return whether an allow rule covers all that a request does."""
    if not ask.whole or (rule.kind is not None and ask.kinds != {rule.kind}):
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
        command = Match.NO if ask.runs is None else may_fit(pattern_of(rule.command), ask.runs)
    if rule.path is not None:
        places = (*ask.places, ask.directory) if rule.command is not None else ask.places
        unknown = not ask.complete or (not places and bool(ask.kinds & _OF_FILES))
        path = max((_path_may_fit(rule.path, place) for place in places), default=Match(int(unknown)))
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
    pattern = _segments(path.lower())
    seen = [place.parts] if path.startswith(("/", "**/")) else []
    seen += [place.inside] if place.inside is not None and not path.startswith("/") else []
    if any(_path_fits(pattern, [part.lower() for part in parts], hidden=True) for parts in seen):
        return Match.YES
    return Match.NO if place.clear else Match.MAYBE


def place_of(path: str, workspace: str) -> Place:
    """Return what a path means to an agent that works in ``workspace``, which is absolute, or empty if unknown."""
    root = _parts(workspace)
    parts = _parts(posixpath.join(workspace or "/", path))
    inside = parts[len(root) :] if workspace and parts[: len(root)] == root else None
    odd = path.startswith("~") or ".." in path.split("/") or ":/" in path or "\\" in path or spelled(path) != path
    return Place(parts, inside, clear=bool(path and workspace) and not odd and not re.search(r"[\t\n]", path))


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in posixpath.normpath(path or "/").split("/") if part)


# --- what is asked ------------------------------------------------------------------------------------------------


def ask_of(call: ToolCallUpdate, workspace: str, *, complete: bool = True) -> Ask:
    """Return what a permission request's tool call would do.

    Args:
        call: with all that the agent has said of it.
        workspace: where the session works, as the agent sees it; empty if that is not known.
        complete: whether the tool call is all that the agent has said, and can be shown.
    """
    sent = call.as_sent()
    raw, kind = sent.get("rawInput"), sent.get("kind")
    fields: Mapping[str, Any] = raw if isinstance(raw, dict) else {}
    diffs, _, odd = content_of(sent)
    whole = complete and not odd and not set(sent) - _TOP_KEYS and isinstance(kind, str | None)
    whole &= isinstance(sent.get("content"), list | None)
    kinds = {kind if isinstance(kind, str) and kind else "other"} | ({"edit"} if diffs else set())
    runs, words = _command_of(sent, fields)
    # Where a diff or a location does not say, the agent's own input may.
    paths = [diff.get("path") for diff in diffs]
    located = sent.get("locations") or []
    paths += [place.get("path") if isinstance(place, dict) else None for place in _listed(located)]
    directory = workspace
    if runs is not None:
        kinds.add("execute")
        key, _ = command_in(raw) or ("", "")
        for name, value in fields.items():
            if name in _DIRECTORY_KEYS and isinstance(value, str) and value:
                whole &= directory in (workspace, value)
                directory = value
            elif name != key and name not in HARMLESS_KEYS and value not in _NOTHING:
                whole &= name in _OFF_KEYS and value is False
        whole &= isinstance(raw, dict)
    else:
        names, values = _inside(fields)
        paths += values
        whole &= names <= _PATH_KEYS | _TEXT_KEYS | HARMLESS_KEYS and (isinstance(raw, dict) or raw in _NOTHING)
    whole &= all(isinstance(path, str) for path in paths)
    places = tuple(place_of(path, workspace) for path in paths if isinstance(path, str))
    return Ask(
        frozenset(kinds),
        words if words and whole else None,
        runs,
        tuple(dict.fromkeys(places)),
        place_of(directory, workspace),
        bool(diffs),
        whole,
        complete,
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _inside(fields: Mapping[str, Any]) -> tuple[set[str], list[Any]]:
    """Return all keys in an input, at any depth, and what stands for paths in it; of one without end, too little."""
    names, paths = set[str](), list[Any]()
    todo: list[Any] = [fields]
    while todo:
        item = todo.pop()
        if len(todo) > _MOST_VALUES:
            return {*names, ""}, [*paths, None]
        if isinstance(item, Mapping):
            for name, value in item.items():
                names.add(name)
                if name in _PATH_KEYS and value not in _NOTHING:
                    paths += _listed(value)
                todo.append(value)
        elif isinstance(item, list):
            todo += item
    return names, paths


def _command_of(sent: Mapping[str, Any], fields: Mapping[str, Any]) -> tuple[Runs | None, tuple[str, ...] | None]:
    """Return what the command of a request may run, None if there is none; and its words, if they are exact."""
    raw = sent.get("rawInput")
    found = command_in(raw)
    given = {key: fields[key] for key in (*COMMAND_KEYS, *_WORDS_KEYS) if fields.get(key) not in _NOTHING}
    if found is None:
        if sent.get("kind") != "execute" and not any(key in given for key in (*COMMAND_KEYS, "commands", "argv")):
            return None, None
        # Some agents say it in the title alone, where nobody can tell what else it is: good enough to forbid.
        runs = runs_of(raw if isinstance(raw, str) else " ".join(map(str, _flat(given) or [sent.get("title") or ""])))
        runs.unreadable = True
        return runs, None
    key, line = found
    value = fields[key]
    command: str | list[str] = value if isinstance(value, str) else list(value)
    if len(given) == 1:
        return runs_of(command), _exactly(command)
    # "command" beside "args", or two commands: what is run of it only the agent knows.
    rest = [str(word) for word in _flat({name: given[name] for name in given if name != key})]
    runs = runs_of(" ".join([line, shlex.join(rest)]))
    for other in [line, *rest]:
        more = runs_of(other)
        runs.commands += more.commands
    runs.unreadable |= set(given) - {key} != {"args"}
    return runs, None


def _exactly(command: str | list[str]) -> tuple[str, ...] | None:
    if isinstance(command, str):
        return exact_words(command)
    script = script_of(command)
    if script is not None:
        return exact_words(script)
    words = exact_words(shlex.join(command))
    # An agent that joins its words again must not run more than is matched.
    return words if words == tuple(command) and not re.search(r"[;&|<>`$]", "".join(command)) else None


def _flat(value: Any) -> list[Any]:
    """Return what is in lists and objects, in order, as far as anybody would read it."""
    found, todo = list[Any](), [value]
    while todo and len(found) < _MOST_VALUES:
        item = todo.pop()
        inner = list(item.values()) if isinstance(item, Mapping) else item
        if isinstance(inner, list):
            todo += reversed(inner)
        else:
            found.append(item)
    return found
